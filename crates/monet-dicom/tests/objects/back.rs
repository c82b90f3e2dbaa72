//! Objects are read again: own ones give back their labels, those of others what others find.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use monet_dicom::objects::masks::{self, Contours, Frames, MaskError, Plane, Span};
use monet_dicom::objects::{LabelmapWriter, ObjectError, Slice};
use monet_dicom::read::{Instance, PixelPlace, Source, read};

use proptest::prelude::*;

use super::cases::{self, Case};
use super::{judge, labelmap, real, rtstruct, seg};
use monet_testing::judges::{dicom_python, real_dicom};

fn parsed(file: Vec<u8>) -> Instance {
    read(Box::new(Cursor::new(file)), &masks::keep()).unwrap()
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Mask(#[from] MaskError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A plane of a segmentation.
fn frames_plane(
    frames: &Frames,
    slice: usize,
    source: &mut dyn Source,
    offset: u64,
    plane: &mut [u8],
) -> Result<u64, Error> {
    let bytes = |span: Span, bytes: &mut Vec<u8>| {
        bytes.resize(span.length, 0);
        source.seek_to(offset + span.start)?;
        Ok(source.read_exact(bytes)?)
    };
    frames.plane(slice, bytes, plane)
}

/// Planes of a segmentation, with each slice's source image.
fn frames(file: Vec<u8>) -> (Frames, Vec<Vec<u8>>) {
    let Instance { header, mut source } = parsed(file);
    let place = header.pixels.unwrap().place;
    let PixelPlace::Native { offset, .. } = place else { panic!("{place:?}") };
    let frames = Frames::new(&header.data, false).unwrap();
    let pixels = usize::from(frames.size[0]) * usize::from(frames.size[1]);
    let planes = (0..frames.slices.len()).map(|slice| {
        let mut plane = vec![9; pixels];
        let overlaps = frames_plane(&frames, slice, &mut source, offset, &mut plane);
        assert_eq!(overlaps.unwrap(), 0);
        plane
    });
    let planes = planes.collect();
    (frames, planes)
}

fn numbers<const N: usize>(text: &[u8]) -> [f64; N] {
    let text = std::str::from_utf8(text).unwrap();
    let numbers: Vec<f64> = text.split('\\').map(|n| n.trim().parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

fn plane(slice: &Slice) -> Plane {
    Plane {
        position: numbers(&slice.position),
        orientation: numbers(&slice.orientation),
        spacing: numbers(&slice.spacing),
    }
}

/// The planes of slices that have frames are the case's, and others are empty.
fn assert_same(case: &Case, (frames, planes): (Frames, Vec<Vec<u8>>)) {
    let mut shown = vec![false; case.planes.len()];
    let mut order = Vec::new();
    for (slice, found) in frames.slices.iter().zip(planes) {
        let source = slice.source.clone().unwrap();
        let is_source = |s: &Slice| (s.instance_uid.clone(), s.frame) == source;
        let at = case.context.source.slices.iter().position(is_source).unwrap();
        assert!(case.planes[at] == found, "slice {at} of {}", case.name);
        shown[at] = true;
        order.push(at);
        let source = &case.context.source.slices[at];
        if frames.frame_of_reference.is_some() {
            let (found, wanted) = (slice.plane.unwrap(), plane(source));
            let off = (0..3).map(|k| (found.position[k] - wanted.position[k]).abs());
            assert!(off.fold(0.0, f64::max) < 1e-9, "{}", case.name);
            assert_eq!(found.orientation, wanted.orientation);
            assert_eq!(found.spacing, wanted.spacing);
        }
    }
    // Slices come along the normal, which may be the other way.
    assert!(order.is_sorted() || order.iter().rev().is_sorted(), "{}: {order:?}", case.name);
    for (plane, _) in case.planes.iter().zip(shown).filter(|(_, shown)| !shown) {
        assert!(plane.iter().all(|pixel| *pixel == 0), "{}", case.name);
    }
    let labels: Vec<_> = case.context.segments.iter().map(|s| s.label.clone()).collect();
    let found: Vec<_> = frames.segments.iter().map(|(_, label)| label.clone()).collect();
    assert_eq!(found, labels);
}

#[test]
fn segmentations_give_their_labels_back() {
    for case in cases::made_up() {
        assert_same(&case, frames(seg(&case).unwrap().0));
    }
}

#[test]
fn label_maps_give_their_labels_back() {
    let folder = tempfile::tempdir().unwrap();
    for case in cases::made_up() {
        let path = folder.path().join(case.name);
        labelmap(&case, &path);
        assert_same(&case, frames(fs::read(path).unwrap()));
    }
}

#[test]
fn structure_sets_give_their_labels_back() {
    for case in cases::made_up() {
        let file = match rtstruct(&case) {
            Ok((file, _)) => file,
            Err(ObjectError::NoFrameOfReference) => continue,
            Err(error) => panic!("{}: {error}", case.name),
        };
        let header = parsed(file).header;
        let contours = Contours::new(&header.data).unwrap();
        let source = &case.context.source;
        assert_eq!(contours.frame_of_reference.as_deref(), Some("1.2.826.0.1.1.9"));
        let planes = source.slices.iter().map(plane).collect();
        let regions = contours.onto([source.rows, source.columns], planes).unwrap();
        assert_eq!(regions.left_out, 0, "{}", case.name);
        for (slice, expected) in case.planes.iter().enumerate() {
            let mut found = vec![9; expected.len()];
            assert_eq!(regions.plane(slice, &mut found).unwrap(), 0);
            assert!(found == *expected, "slice {slice} of {}", case.name);
        }
    }
}

/// Reads what may be an object, to the end, and does not care what comes of it.
fn read_all(file: Vec<u8>) {
    let Ok(Instance { header, mut source }) = read(Box::new(Cursor::new(file)), &masks::keep())
    else {
        return;
    };
    let offset = match header.pixels.map(|pixels| pixels.place) {
        Some(PixelPlace::Native { offset, .. }) => offset,
        _ => 0,
    };
    if let Ok(frames) = Frames::new(&header.data, false) {
        let pixels = usize::from(frames.size[0]) * usize::from(frames.size[1]);
        let mut plane = vec![0; pixels.min(1 << 20)];
        for slice in 0..frames.slices.len() {
            let _ = frames_plane(&frames, slice, &mut source, offset, &mut plane);
        }
    }
    if let Ok(contours) = Contours::new(&header.data) {
        let plane = |z: f64| Plane {
            position: [-20.5, -30.25, z],
            orientation: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            spacing: [0.75, 0.5],
        };
        let planes = (0..9).map(|i| plane(-100.0 + 2.5 * f64::from(i))).collect();
        let Ok(regions) = contours.onto([5, 7], planes) else { return };
        for slice in 0..9 {
            let _ = regions.plane(slice, &mut [0; 35]);
        }
    }
}

/// A small object of each kind.
static SMALL: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    let case = cases::made_up().into_iter().find(|case| case.name == "odd_size").unwrap();
    let mut writer = LabelmapWriter::new(&case.context, Vec::new()).unwrap();
    case.planes.iter().for_each(|plane| writer.push(plane).unwrap());
    [seg(&case).unwrap().0, writer.finish().unwrap().0, rtstruct(&case).unwrap().0]
});

proptest! {
    #[test]
    fn damaged_objects_do_no_harm(
        kind in 0_usize..3,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9),
    ) {
        let mut file = SMALL[kind].clone();
        for (at, value) in damage {
            let at = at.index(file.len());
            file[at] = value;
        }
        read_all(file);
    }
}

/// Segmentations of others, of which pydicom tells the labels.
#[test]
fn segmentations_of_others_are_read() {
    let (Some(python), Some(data)) = (dicom_python(), real_dicom()) else { return };
    for path in ["dcmqi_liver/liver_seg.dcm", "ucsf_br06/seg/1-1.dcm"] {
        let file = data.join(path);
        let (frames, planes) = frames(fs::read(&file).unwrap());
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("planes"), planes.concat()).unwrap();
        let heights = frames.slices.iter().map(|slice| {
            let [x, y, z] = slice.plane.unwrap().position;
            format!("{x}\t{y}\t{z}\n")
        });
        fs::write(folder.path().join("positions"), heights.collect::<String>()).unwrap();
        let args = ["same_frames", file.to_str().unwrap(), folder.path().to_str().unwrap()];
        eprintln!("{}", judge(&python, &args));
    }
}

/// A structure set of others, and the mask that others made of it.
#[test]
fn structure_sets_of_others_are_read() {
    let (Some(python), Some(data)) = (dicom_python(), real_dicom()) else { return };
    for name in ["CT", "MR_T1"] {
        let folder: PathBuf = data.join("sts001").join(name);
        let case = real::case(&python, "sts001", &folder.join("dicom"));
        let header = parsed(fs::read(folder.join("rtstruct/RS.dcm")).unwrap()).header;
        let contours = Contours::new(&header.data).unwrap();
        let source = &case.context.source;
        let planes = source.slices.iter().map(plane).collect();
        let regions = contours.onto([source.rows, source.columns], planes).unwrap();
        assert_eq!(regions.left_out, 0);
        let mut found = case.planes.concat();
        for (slice, plane) in found.chunks_mut(case.planes[0].len()).enumerate() {
            regions.plane(slice, plane).unwrap();
        }
        let mask = folder.join(format!("{name}_mask.nii.gz"));
        eprintln!("{}", same_mask(&python, &mask, &found));
    }
}

fn same_mask(python: &Path, mask: &Path, found: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let planes = folder.path().join("planes");
    fs::write(&planes, found).unwrap();
    judge(python, &["same_mask", mask.to_str().unwrap(), planes.to_str().unwrap()])
}
