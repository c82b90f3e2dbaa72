use super::*;
use crate::dataset::Dataset;
use crate::objects::Kind;

/// A segmentation of one pixel row, a frame for each slice height and segment.
fn segmentation(kind: &str, bits: u16, columns: u16, frames: &[(f64, u16)]) -> Dataset {
    let mut set = Dataset::new();
    let class = if kind == "LABELMAP" { Kind::Labelmap } else { Kind::Seg };
    set.put_text(tags::SOP_CLASS, b"UI", class.class_uid());
    set.put_text(tags::SEGMENTATION_TYPE, b"CS", kind);
    set.put_u16(tags::ROWS, &[1]);
    set.put_u16(tags::COLUMNS, &[columns]);
    set.put_u16(tags::BITS_ALLOCATED, &[bits]);
    set.put_text(tags::FRAMES, b"IS", frames.len().to_string());
    let of = |tag, vr: &[u8; 2], text: &str| {
        let mut item = Dataset::new();
        item.put_text(tag, vr, text);
        vec![item]
    };
    let mut shared = Dataset::new();
    shared
        .put_items(tags::PLANE_ORIENTATION, of(tags::IMAGE_ORIENTATION, b"DS", "1\\0\\0\\0\\1\\0"));
    shared.put_items(tags::PIXEL_MEASURES, of(tags::PIXEL_SPACING, b"DS", "1\\1"));
    set.put_items(tags::SHARED, vec![shared]);
    let groups = frames.iter().map(|(height, segment)| {
        let mut groups = Dataset::new();
        let position = of(tags::IMAGE_POSITION, b"DS", &format!("0\\0\\{height}"));
        groups.put_items(tags::PLANE_POSITION, position);
        let mut number = Dataset::new();
        number.put_u16(tags::REFERENCED_SEGMENT, &[*segment]);
        groups.put_items(tags::SEGMENT_IDENTIFICATION, vec![number]);
        groups
    });
    set.put_items(tags::PER_FRAME, groups.collect());
    set
}

/// A slice of pixel data, and how many pixels have several segments.
fn plane(frames: &Frames, slice: usize, pixels: &[u8]) -> Result<(Vec<u8>, u64), MaskError> {
    let mut out = vec![9; usize::from(frames.size[1])];
    let bytes = |span: Span, bytes: &mut Vec<u8>| {
        let start = span.start as usize;
        bytes.extend_from_slice(&pixels[start..start + span.length]);
        Ok::<_, MaskError>(())
    };
    let overlaps = frames.plane(slice, bytes, &mut out)?;
    Ok((out, overlaps))
}

#[test]
fn frames_are_sorted_into_slices_and_bits_found() {
    let set = segmentation("BINARY", 1, 3, &[(5.0, 1), (0.0, 1), (5.001, 2)]);
    let frames = Frames::new(&set, false).unwrap();
    assert_eq!(frames.slices.len(), 2);
    assert_eq!(frames.slices[1].frames, [(0, 1), (2, 2)]);
    // Frames 110, 011, 101: from the lowest bit on.
    let pixels = [0b0111_0011, 0b1];
    assert_eq!(plane(&frames, 0, &pixels).unwrap(), (vec![0, 1, 1], 0));
    assert_eq!(plane(&frames, 1, &pixels).unwrap(), (vec![2, 1, 2], 1));
    assert!(matches!(plane(&frames, 2, &pixels), Err(MaskError::NoSlice { slice: 2 })));
    // Decompressed frames begin with a byte each.
    let frames = Frames::new(&set, true).unwrap();
    assert_eq!(frames.span(2), Span { frame: 2, start: 0, length: 1 });
    assert_eq!(plane(&frames, 0, &[0b101]).unwrap(), (vec![1, 0, 1], 0));
}

#[test]
fn half_a_share_is_inside() {
    let mut set = segmentation("FRACTIONAL", 8, 4, &[(0.0, 1)]);
    set.put_u16(tags::FRACTIONAL_MAXIMUM, &[100]);
    let frames = Frames::new(&set, false).unwrap();
    assert_eq!(plane(&frames, 0, &[0, 49, 50, 100]).unwrap().0, [0, 0, 1, 1]);
    set.put_u16(tags::FRACTIONAL_MAXIMUM, &[0]);
    assert!(matches!(Frames::new(&set, false), Err(MaskError::Element { .. })));
}

#[test]
fn numbers_are_labels_but_for_the_background() {
    let mut set = segmentation("LABELMAP", 16, 3, &[(0.0, 0)]);
    set.put_u16(tags::PADDING_VALUE, &[300]);
    let frames = Frames::new(&set, false).unwrap();
    assert_eq!(plane(&frames, 0, &[44, 1, 7, 0, 0, 0]).unwrap().0, [0, 7, 0]);
    let large = plane(&frames, 0, &[0, 1, 7, 0, 0, 0]);
    assert!(matches!(large, Err(MaskError::Number { number: 256 })));
}

#[test]
fn what_makes_no_stack_is_an_error() {
    let set = segmentation("BINARY", 1, 3, &[(0.0, 1), (1.0, 1)]);
    let mut turned = set.clone();
    let mut groups = set.items(tags::PER_FRAME).to_vec();
    let mut orientation = Dataset::new();
    orientation.put_text(tags::IMAGE_ORIENTATION, b"DS", "1\\0\\0\\0\\0\\1");
    groups[1].put_items(tags::PLANE_ORIENTATION, vec![orientation]);
    turned.put_items(tags::PER_FRAME, groups);
    assert!(matches!(Frames::new(&turned, false), Err(MaskError::Angle { frame: 2 })));
    let mut more = set.clone();
    more.put_text(tags::FRAMES, b"IS", "3");
    let count = Frames::new(&more, false);
    assert!(matches!(count, Err(MaskError::FrameCount { frames: 3, groups: 2 })));
    let mut other = set.clone();
    other.put_text(tags::SOP_CLASS, b"UI", "1.2");
    assert!(matches!(Frames::new(&other, false), Err(MaskError::Class { .. })));
    let mut deep = set;
    deep.put_u16(tags::BITS_ALLOCATED, &[8]);
    assert!(matches!(Frames::new(&deep, false), Err(MaskError::Element { .. })));
}

/// A structure set of one region, with a contour for each text.
fn structure(contours: &[(&str, &str)]) -> Dataset {
    let mut region = Dataset::new();
    region.put_text(tags::ROI_NUMBER, b"IS", "7");
    region.put_text(tags::ROI_NAME, b"LO", "Liver ");
    let item = |(kind, points): &(&str, &str)| {
        let mut item = Dataset::new();
        item.put_text(tags::CONTOUR_TYPE, b"CS", kind);
        item.put_text(tags::CONTOUR_DATA, b"DS", points);
        item
    };
    let mut of_region = Dataset::new();
    of_region.put_items(tags::CONTOURS, contours.iter().map(item).collect());
    of_region.put_text(tags::REFERENCED_ROI, b"IS", "7");
    let mut set = Dataset::new();
    set.put_text(tags::SOP_CLASS, b"UI", Kind::Rtstruct.class_uid());
    set.put_items(tags::STRUCTURE_SET_ROIS, vec![region]);
    set.put_items(tags::ROI_CONTOURS, vec![of_region]);
    set
}

const CLOSED: &str = "CLOSED_PLANAR";

fn planes(heights: &[f64]) -> Vec<Plane> {
    let orientation = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    let plane = |z: &f64| Plane { position: [0.0, 0.0, *z], orientation, spacing: [2.0, 1.0] };
    heights.iter().map(plane).collect()
}

#[test]
fn contours_in_contours_are_holes() {
    // Rows are 2 mm apart: the outer square has the whole plane, the inner the middle pixel.
    let set = structure(&[
        (CLOSED, "-0.5\\-1\\3\\2.5\\-1\\3\\2.5\\5\\3\\-0.5\\5\\3"),
        (CLOSED, "0.5\\1\\3.2\\1.5\\1\\3.2\\1.5\\3\\3.2\\0.5\\3\\3.2"),
        ("POINT", "1\\1\\3"),
        ("OPEN_PLANAR", "1\\1\\3\\2\\2\\3"),
    ]);
    let contours = Contours::new(&set).unwrap();
    assert_eq!(contours.regions, [Region { number: 7, name: "Liver".into() }]);
    // Slices in any order.
    let regions = contours.onto([3, 3], planes(&[3.0, 0.0])).unwrap();
    assert_eq!(regions.left_out, 0);
    let mut out = [9; 9];
    assert_eq!(regions.plane(0, &mut out).unwrap(), 0);
    assert_eq!(out, [1, 1, 1, 1, 0, 1, 1, 1, 1]);
    regions.plane(1, &mut out).unwrap();
    assert_eq!(out, [0; 9]);
}

#[test]
fn contours_off_the_slices_are_left_out() {
    let set = structure(&[
        (CLOSED, "0\\0\\9\\1\\0\\9\\1\\1\\9"),
        (CLOSED, "0\\0\\0\\1\\0\\0\\1\\1\\2.5"),
        (CLOSED, ""),
    ]);
    let contours = Contours::new(&set).unwrap();
    assert_eq!(contours.onto([3, 3], planes(&[0.0, 3.0])).unwrap().left_out, 3);
    assert_eq!(contours.onto([3, 3], Vec::new()).unwrap().left_out, 3);
    for points in ["1\\2", "1\\2\\x", "nan\\0\\0"] {
        let set = structure(&[(CLOSED, points)]);
        let found = Contours::new(&set).unwrap().onto([3, 3], planes(&[0.0]));
        assert!(matches!(found, Err(MaskError::Element { .. })), "{points}");
    }
}
