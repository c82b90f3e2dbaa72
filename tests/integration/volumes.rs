//! Reading and writing volumes through the public API: data types, byte orders, pairs,
//! orientations, channels.

use std::path::Path;

use monet::volume::{LabelSink, Orientation, SliceSource, SourceOptions};
use monet_testing::{
    judges,
    nifti::{self, FLOAT32, Nifti, UINT8},
};

/// Name, NIfTI code, bytes of one voxel with the value -3 (or 200 where unsigned) in little-endian.
fn data_types() -> Vec<(&'static str, i16, Vec<u8>, f32)> {
    vec![
        ("uint8", 2, 200u8.to_le_bytes().to_vec(), 200.0),
        ("int8", 256, (-3i8).to_le_bytes().to_vec(), -3.0),
        ("int16", 4, (-300i16).to_le_bytes().to_vec(), -300.0),
        ("uint16", 512, 60_000u16.to_le_bytes().to_vec(), 60_000.0),
        ("int32", 8, (-70_000i32).to_le_bytes().to_vec(), -70_000.0),
        ("uint32", 768, 4_000_000_000u32.to_le_bytes().to_vec(), 4e9),
        ("int64", 1024, (-5_000_000_000i64).to_le_bytes().to_vec(), -5e9),
        ("uint64", 1280, 5_000_000_000u64.to_le_bytes().to_vec(), 5e9),
        ("float32", 16, 1.5f32.to_le_bytes().to_vec(), 1.5),
        ("float64", 64, (-2.25f64).to_le_bytes().to_vec(), -2.25),
    ]
}

#[test]
fn every_data_type_reads_with_slope_and_intercept_in_both_byte_orders() {
    let folder = tempfile::tempdir().unwrap();
    for (name, code, voxel, value) in data_types() {
        for big_endian in [false, true] {
            for (slope, intercept) in [(1.0, 0.0), (0.5, -1024.0), (0.0, 7.0), (f32::NAN, 7.0)] {
                let mut bytes = voxel.clone();
                if big_endian {
                    bytes.reverse();
                }
                let file = Nifti {
                    datatype: code,
                    bitpix: 8 * voxel.len() as i16,
                    slope,
                    intercept,
                    big_endian,
                    voxels: bytes.repeat(2 * 3 * 4),
                    ..Nifti::new([2, 3, 4], &[])
                };
                let path = file.write(&folder.path().join(format!("{name}.nii.gz")));
                let expected =
                    if slope == 0.5 { (f64::from(value) * 0.5 - 1024.0) as f32 } else { value };
                assert_eq!(
                    nifti::read(&path),
                    vec![expected; 24],
                    "{name} big-endian {big_endian} slope {slope}"
                );
            }
        }
    }
}

#[test]
fn a_pair_of_files_reads_through_either_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = Nifti { magic: *b"ni1\0", vox_offset: 0.0, ..Nifti::blob([4, 3, 2]) };
    for ending in ["", ".gz"] {
        let names = ["hdr", "img"]
            .map(|part| folder.path().join(format!("scan{}.{part}{ending}", ending.len())));
        nifti::write(&names[0], &file.header()[..348]);
        nifti::write(&names[1], &file.voxels);
        let expected: Vec<f32> =
            file.voxels.chunks(2).map(|v| f32::from(i16::from_le_bytes([v[0], v[1]]))).collect();
        assert_eq!(nifti::read(&names[0]), expected);
        assert_eq!(nifti::read(&names[1]), expected);
    }
}

#[test]
fn gzip_is_known_by_its_content_and_may_have_members() {
    let folder = tempfile::tempdir().unwrap();
    let file = Nifti::blob([5, 4, 3]);
    let bytes = file.bytes();
    let path = folder.path().join("misnamed.nii");
    let members = [nifti::gzip(&bytes[..400]), nifti::gzip(&bytes[400..])].concat();
    std::fs::write(&path, members).unwrap();
    let plain = file.write(&folder.path().join("plain.nii"));
    assert_eq!(nifti::read(&path), nifti::read(&plain));
}

/// All 48 axis orders and directions as sform matrices.
fn orientations() -> Vec<(Orientation, [[f32; 4]; 3])> {
    let mut all = Vec::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for signs in 0..8u8 {
            let mut rows = [[0.0; 4]; 3];
            let mut code = ['?'; 3];
            for axis in 0..3 {
                let negative = signs >> axis & 1 == 1;
                rows[order[axis]][axis] = if negative { -2.0 } else { 2.0 };
                code[axis] =
                    [['R', 'L'], ['A', 'P'], ['S', 'I']][order[axis]][usize::from(negative)];
            }
            all.push((code.iter().collect::<String>().parse().unwrap(), rows));
        }
    }
    all
}

#[test]
fn labels_come_back_as_they_were_pushed_in_every_orientation() {
    let folder = tempfile::tempdir().unwrap();
    for (orientation, sform) in orientations() {
        for model in ["RAS", "LPS", "SRA", "PIL"] {
            let options = SourceOptions {
                orientation: model.parse().unwrap(),
                spool_dir: Some(folder.path().into()),
                ..Default::default()
            };
            let input = Nifti { sform: Some(sform), ..Nifti::blob([5, 6, 7]) }
                .write(&folder.path().join("in.nii"));
            let output = folder.path().join("out.nii.gz");
            let mut source = SliceSource::open(&input, &options).unwrap();
            let mut sink = LabelSink::create(&output, &source, true, Some(folder.path())).unwrap();
            let mut slice = vec![0.0; source.slice_len()];
            let mut pushed = vec![Vec::new(); source.geometry().size[2]];
            while let Some(index) = source.next_into(&mut slice).unwrap() {
                let labels: Vec<u8> = slice.iter().map(|v| (*v as i32 % 251) as u8).collect();
                sink.push(&labels).unwrap();
                pushed[index] = labels;
            }
            sink.finish(true).unwrap();
            let mut written = SliceSource::open(&output, &options).unwrap();
            assert_eq!(written.geometry(), source.geometry(), "{orientation} as {model}");
            let expected: Vec<f32> = pushed.concat().into_iter().map(f32::from).collect();
            assert_eq!(written.read_all().unwrap(), expected, "{orientation} as {model}");
        }
    }
}

#[test]
fn the_same_anatomy_gives_the_same_slices_whatever_the_file_s_orientation() {
    let folder = tempfile::tempdir().unwrap();
    let size = [5usize, 6, 7];
    let value = |at: [usize; 3]| (at[0] + 10 * at[1] + 100 * at[2]) as i16;
    let ras = SourceOptions::default();
    let reference = {
        let voxels: Vec<i16> = (0..5 * 6 * 7).map(|i| value([i % 5, i / 5 % 6, i / 30])).collect();
        let path = Nifti::new(size, &voxels).write(&folder.path().join("ras.nii"));
        SliceSource::open(&path, &ras).unwrap().read_all().unwrap()
    };
    for (orientation, rows) in orientations() {
        // File axis `a` runs along the anatomical axis whose row is not zero.
        let axes = [0, 1, 2].map(|a| (0..3).find(|&r| rows[r][a] != 0.0).unwrap());
        let file_size = axes.map(|r| size[r]);
        let mut voxels = Vec::new();
        for k in 0..file_size[2] {
            for j in 0..file_size[1] {
                for i in 0..file_size[0] {
                    let mut at = [0; 3];
                    for (a, index) in [i, j, k].into_iter().enumerate() {
                        at[axes[a]] =
                            if rows[axes[a]][a] < 0.0 { file_size[a] - 1 - index } else { index };
                    }
                    voxels.push(value(at));
                }
            }
        }
        let path = Nifti { sform: Some(rows), ..Nifti::new(file_size, &voxels) }
            .write(&folder.path().join("f.nii.gz"));
        let mut source = SliceSource::open(&path, &ras).unwrap();
        assert_eq!(source.read_all().unwrap(), reference, "{orientation}");
        source.rewind().unwrap();
        assert_eq!(source.read_all().unwrap(), reference, "{orientation}, second pass");
    }
}

#[test]
fn channels_are_the_fourth_dimension_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let voxels: Vec<i16> = (0..2 * 3 * 4 * 2).collect();
    let file = Nifti { dim: vec![4, 2, 3, 4, 2], ..Nifti::new([2, 3, 4], &voxels) };
    let path = file.write(&folder.path().join("two.nii.gz"));
    let mut source = SliceSource::open(&path, &SourceOptions::default()).unwrap();
    assert_eq!((source.channels(), source.slice_len()), (2, 12));
    let mut slice = vec![0.0; 12];
    for z in 0..4 {
        assert_eq!(source.next_into(&mut slice).unwrap(), Some(z));
        let expected: Vec<f32> = (0..12).map(|i| (z * 6 + i % 6 + i / 6 * 24) as f32).collect();
        assert_eq!(slice, expected);
    }
    assert_eq!(source.next_into(&mut slice).unwrap(), None);
}

#[test]
fn voxels_that_are_not_finite_are_counted_in_each_pass() {
    let folder = tempfile::tempdir().unwrap();
    let values = [1.0, f32::NAN, f32::INFINITY, 2.0, f32::NEG_INFINITY, 3.0, 4.0, 5.0];
    let voxels = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let file = Nifti { datatype: FLOAT32, bitpix: 32, voxels, ..Nifti::new([2, 2, 2], &[]) };
    let path = file.write(&folder.path().join("nan.nii"));
    let mut source = SliceSource::open(&path, &SourceOptions::default()).unwrap();
    for _ in 0..2 {
        let all = source.read_all().unwrap();
        assert_eq!(source.non_finite(), 3);
        assert_eq!(all.iter().filter(|v| v.is_nan()).count(), 3);
    }
}

#[test]
fn a_qform_places_voxels_as_the_standard_says() {
    let folder = tempfile::tempdir().unwrap();
    // Half a turn about z: b = c = 0, d = 1; the first two axes run to the left and to posterior.
    let file = Nifti {
        sform: None,
        qform: Some([0.0, 0.0, 1.0, 10.0, 20.0, 30.0]),
        ..Nifti::blob([3, 4, 5])
    };
    let path = file.write(&folder.path().join("q.nii"));
    let source = SliceSource::open(&path, &SourceOptions::default()).unwrap();
    assert_eq!(source.grid().geometry().affine.orientation().to_string(), "LPS");
    assert_eq!(source.grid().geometry().affine.apply([1.0, 2.0, 3.0]), [9.0, 18.0, 33.0]);
    assert!(source.grid().warnings().is_empty());
}

#[test]
fn the_written_header_keeps_the_source_s_placement() {
    let folder = tempfile::tempdir().unwrap();
    let sform = [[-0.7, 0.1, 0.0, 12.5], [0.1, 0.7, 0.0, -3.25], [0.0, 0.0, 2.5, 99.0]];
    let file = Nifti {
        sform: Some(sform),
        qform: Some([0.0, 0.0, 0.1, 12.5, -3.25, 99.0]),
        pixdim: [-1.0, 0.7, 0.7, 2.5, 0.0, 0.0, 0.0, 0.0],
        dim: vec![4, 4, 3, 2, 1],
        ..Nifti::blob([4, 3, 2])
    };
    let input = file.write(&folder.path().join("in.nii.gz"));
    let output = folder.path().join("out.nii");
    let source = SliceSource::open(&input, &SourceOptions::default()).unwrap();
    let mut sink = LabelSink::create(&output, &source, false, None).unwrap();
    (0..2).for_each(|_| sink.push(&[1; 12]).unwrap());
    sink.finish(false).unwrap();
    let (before, after) = (file.header(), std::fs::read(&output).unwrap());
    assert_eq!(after.len(), 352 + 24);
    assert!(after[4..38].iter().all(|b| *b == 0), "no text of the source");
    for (what, range) in [("pixdim", 76..108), ("units", 123..124), ("placement", 252..328)] {
        assert_eq!(after[range.clone()], before[range], "{what}");
    }
    assert_eq!(after[40..48], [3, 0, 4, 0, 3, 0, 2, 0]);
    assert_eq!(i16::from_le_bytes([after[70], after[71]]), UINT8);
    assert_eq!(i16::from_le_bytes([after[68], after[69]]), 1002);
    assert_eq!(after[344..348], *b"n+1\0");
}

/// nibabel, which nobody here wrote, must see the same voxels, affine and labels.
#[test]
fn nibabel_agrees() {
    let (Some(python), Some(data)) = (judges::python(), judges::real_data()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    let images = ["spleen_crop", "Task20_SarcomaMR/imagesTr", "Task04_Hippocampus/imagesTr"];
    for path in images.iter().flat_map(|f| volumes(&data.join(f)).into_iter().take(4)) {
        let mut source = SliceSource::open(&path, &SourceOptions::default()).unwrap();
        let voxels = source.read_all().unwrap();
        let sum: f64 =
            voxels.iter().enumerate().map(|(i, v)| f64::from(*v) * ((i % 1009) as f64)).sum();
        let labels = folder.path().join(path.file_name().unwrap());
        let mut sink = LabelSink::create(&labels, &source, false, None).unwrap();
        let plane = source.geometry().size[0] * source.geometry().size[1];
        source.rewind().unwrap();
        let mut slice = vec![0.0; plane];
        while source.next_into(&mut slice).unwrap().is_some() {
            sink.push(&slice.iter().map(|v| (v.abs() as u64 % 251) as u8).collect::<Vec<_>>())
                .unwrap();
        }
        sink.finish(false).unwrap();
        lines += &format!(
            "{}\t{}\t{sum}\t{:?}\n",
            path.display(),
            labels.display(),
            source.geometry().affine.0
        );
    }
    assert!(!lines.is_empty());
    let script = judges::judge("nifti");
    let list = folder.path().join("list.tsv");
    std::fs::write(&list, lines).unwrap();
    let output = std::process::Command::new(python).arg(script).arg(&list).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn volumes(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut all: Vec<_> = entries
        .map(|e| e.unwrap().path())
        .filter(|p| p.to_string_lossy().contains(".nii"))
        .collect();
    all.sort();
    all
}
