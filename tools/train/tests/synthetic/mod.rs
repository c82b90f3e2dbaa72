//! A tiny data set in the Decathlon layout, made up: per subject one bright box of two halves in
//! noise.

use std::fs;
use std::path::{Path, PathBuf};

/// The task that the data are for.
#[allow(dead_code, reason = "not every test file names it")]
pub const TASK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/synthetic/task.toml");

/// The same task for a net that sees neighbours, in coronal slices.
#[allow(dead_code, reason = "not every test file names it")]
pub const STACK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/synthetic/stack.toml");

/// Width, height and slices of a volume.
pub const SIZE: [usize; 3] = [24, 20, 6];

/// A data set of `subjects` in `folder`.
pub fn dataset(folder: &Path, subjects: usize) -> PathBuf {
    let root = folder.join("Task99_Boxes");
    for part in ["imagesTr", "labelsTr"] {
        fs::create_dir_all(root.join(part)).unwrap();
    }
    let entries: Vec<String> = (0..subjects)
        .map(|i| {
            let (image, label) = subject(i);
            nifti(&root.join(format!("imagesTr/box_{i:02}.nii")), SIZE, &image);
            nifti(&root.join(format!("labelsTr/box_{i:02}.nii")), SIZE, &label);
            format!(
                r#"{{"image": "./imagesTr/box_{i:02}.nii", "label": "./labelsTr/box_{i:02}.nii"}}"#
            )
        })
        .collect();
    fs::write(root.join("dataset.json"), format!(r#"{{"training": [{}]}}"#, entries.join(", ")))
        .unwrap();
    root
}

/// Intensities and labels: the box's front half is label 1, its rear half label 2 and brighter.
fn subject(number: usize) -> (Vec<f32>, Vec<f32>) {
    let (left, front) = (4 + number % 5, 3 + number % 3);
    let mut noise = number as u32 + 1;
    let mut image = Vec::new();
    let mut labels = Vec::new();
    for z in 0..SIZE[2] {
        for y in 0..SIZE[1] {
            for x in 0..SIZE[0] {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let inside = (left..left + 10).contains(&x)
                    && (front..front + 12).contains(&y)
                    && (1..5).contains(&z);
                let label = if inside { 1 + (y - front) / 6 } else { 0 };
                image.push(100.0 + 150.0 * label as f32 + (noise >> 24) as f32 / 8.0);
                labels.push(label as f32);
            }
        }
    }
    (image, labels)
}

/// Writes an uncompressed float32 NIfTI-1 file at 1 mm, RAS+ (header:
/// <https://nifti.nimh.nih.gov/nifti-1>).
pub fn nifti(path: &Path, size: [usize; 3], voxels: &[f32]) {
    let mut bytes = vec![0u8; 352];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &348i32.to_le_bytes());
    let dims = [3, size[0], size[1], size[2], 1, 1, 1, 1].map(|d| d as i16);
    dims.iter().enumerate().for_each(|(i, d)| put(40 + 2 * i, &d.to_le_bytes()));
    put(70, &16i16.to_le_bytes()); // float32
    put(72, &32i16.to_le_bytes());
    (0..8).for_each(|i| put(76 + 4 * i, &1f32.to_le_bytes())); // pixdim
    put(108, &352f32.to_le_bytes()); // vox_offset
    put(112, &1f32.to_le_bytes()); // scl_slope
    put(123, &[2]); // millimetres
    put(254, &1i16.to_le_bytes()); // sform_code
    // sform: the identity
    (0..3).for_each(|row| put(280 + 16 * row + 4 * row, &1f32.to_le_bytes()));
    put(344, b"n+1\0");
    bytes.extend(voxels.iter().flat_map(|v| v.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}
