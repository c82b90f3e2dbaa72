//! Stacks of made images.

use super::*;
use crate::dataset::Dataset;
use crate::syntax::Syntax;
use crate::tags;

/// A data set of an axial slice at a height.
fn axial(instance: u32, z: f64) -> Dataset {
    let mut set = Dataset::new();
    set.put_text(tags::STUDY_UID, b"UI", "1.2");
    set.put_text(tags::SERIES_UID, b"UI", "1.2.3");
    set.put_text(tags::SOP_INSTANCE, b"UI", format!("1.2.3.{instance}"));
    set.put_text(tags::MODALITY, b"CS", "CT");
    set.put_text(tags::IMAGE_TYPE, b"CS", "ORIGINAL\\PRIMARY\\AXIAL");
    set.put_text(tags::PHOTOMETRIC, b"CS", "MONOCHROME2");
    set.put_text(tags::INSTANCE_NUMBER, b"IS", instance.to_string());
    set.put_text(tags::PIXEL_SPACING, b"DS", "0.8\\0.7");
    set.put_text(tags::IMAGE_ORIENTATION, b"DS", "1\\0\\0\\0\\1\\0");
    set.put_text(tags::IMAGE_POSITION, b"DS", format!("-10\\-20\\{z}"));
    set.put_u16(tags::SAMPLES_PER_PIXEL, &[1]);
    set.put_u16(tags::ROWS, &[4]);
    set.put_u16(tags::COLUMNS, &[5]);
    set.put_u16(tags::BITS_ALLOCATED, &[16]);
    set.put_u16(tags::PIXEL_REPRESENTATION, &[0]);
    set
}

fn images(sets: impl IntoIterator<Item = Dataset>) -> Vec<Image> {
    sets.into_iter().map(|set| Image::new(&set, &Syntax::ExplicitLittle).unwrap()).collect()
}

/// Axial slices at these heights.
fn at(heights: &[f64]) -> Vec<Image> {
    images(heights.iter().enumerate().map(|(i, z)| axial(i as u32, *z)))
}

fn order(stack: &Stack) -> Vec<usize> {
    stack.members.iter().map(|member| member.image).collect()
}

#[test]
fn slices_are_sorted_by_position_whatever_their_numbers() {
    let images = at(&[6.0, 2.0, 4.0, 0.0]);
    let stacks = stacks(&images);
    assert_eq!(stacks.len(), 1);
    assert_eq!(order(&stacks[0]), [3, 1, 2, 0]);
    let shape = stacks[0].shape(&images);
    assert_eq!(shape.step, [0.0, 0.0, 2.0]);
    assert!(shape.is_grid() && shape.tilt.is_none() && shape.missing.is_empty());
}

#[test]
fn rounded_positions_are_regular() {
    let heights: Vec<f64> = (0..50).map(|i| (f64::from(i) * 62.5).round() / 100.0).collect();
    let images = at(&heights);
    assert!(stacks(&images)[0].shape(&images).is_regular);
}

#[test]
fn gaps_name_the_missing_slices() {
    let images = at(&[0.0, 3.0, 6.0, 15.0, 18.0]);
    let shape = stacks(&images)[0].shape(&images);
    assert!(!shape.is_regular);
    assert_eq!(shape.missing, [9.0, 12.0]);
    assert_eq!(shape.distances, [3.0, 9.0]);
    assert_eq!(shape.step, [0.0, 0.0, 3.0]);
}

#[test]
fn uneven_steps_are_no_gaps() {
    let images = at(&[0.0, 3.0, 6.0, 10.0, 14.0, 19.0]);
    let shape = stacks(&images)[0].shape(&images);
    assert!(!shape.is_regular && shape.missing.is_empty());
}

#[test]
fn tilt_is_told_in_degrees() {
    let tilted = |i: u32| {
        let mut set = axial(i, f64::from(i) * 3.0);
        let y = f64::from(i) * 3.0 * 15_f64.to_radians().tan();
        set.put_text(tags::IMAGE_POSITION, b"DS", format!("0\\{y:.6}\\{}", i * 3));
        set
    };
    let images = images((0..9).map(tilted));
    let shape = stacks(&images)[0].shape(&images);
    assert!(shape.is_grid());
    assert!((shape.tilt.unwrap() - 15.0).abs() < 1e-3, "{shape:?}");
    assert!((shape.distance - 3.0).abs() < 1e-9);
}

#[test]
fn a_crooked_stack_is_no_grid() {
    let crooked = |i: u32| {
        let mut set = axial(i, 0.0);
        let x = if i == 2 { 5 } else { 0 };
        set.put_text(tags::IMAGE_POSITION, b"DS", format!("{x}\\0\\{}", i * 3));
        set
    };
    let images = images((0..5).map(crooked));
    let shape = stacks(&images)[0].shape(&images);
    assert!(shape.is_regular && !shape.is_straight && !shape.is_grid());
    assert_eq!(shape.tilt, None, "what lies on no line is not tilted");
}

#[test]
fn the_same_instance_counts_once() {
    let images = at(&[0.0, 1.0, 2.0]);
    let again: Vec<Image> = images.iter().chain(&images[1..2]).cloned().collect();
    let stacks = stacks(&again);
    assert_eq!((stacks.len(), stacks[0].members.len()), (1, 3));
    assert_eq!(stacks[0].duplicates, [Member { image: 3, slice: 0 }]);
}

#[test]
fn slices_at_one_place_are_split_by_what_tells_them_apart() {
    let phase = |i: u32| {
        let mut set = axial(i, f64::from(i / 2));
        set.put_text(tags::ACQUISITION_NUMBER, b"IS", "1");
        set.put_text(tags::ECHO_TIME, b"DS", if i.is_multiple_of(2) { "4.6" } else { "9.2" });
        set
    };
    let images = images((0..10).map(phase));
    let stacks = stacks(&images);
    assert_eq!(stacks.len(), 2);
    assert_eq!(stacks[0].told_apart_by, [("echo time", 4.6)]);
    assert_eq!(stacks[1].told_apart_by, [("echo time", 9.2)]);
    assert_eq!(order(&stacks[1]), [1, 3, 5, 7, 9]);
}

#[test]
fn two_attributes_together_split_what_one_does_not() {
    let phase = |i: u32| {
        let mut set = axial(i, f64::from(i / 4));
        set.put_text(tags::ECHO_TIME, b"DS", if i.is_multiple_of(2) { "4.6" } else { "9.2" });
        set.put_text(tags::TRIGGER_TIME, b"DS", if (i / 2).is_multiple_of(2) { "0" } else { "50" });
        set
    };
    let images = images((0..12).map(phase));
    let stacks = stacks(&images);
    assert_eq!(stacks.len(), 4);
    assert_eq!(stacks[0].told_apart_by, [("echo time", 4.6), ("trigger time", 0.0)]);
}

#[test]
fn what_nothing_tells_apart_is_no_volume() {
    let images = at(&[0.0, 1.0, 1.0, 2.0]);
    let stacks = stacks(&images);
    assert_eq!(stacks.len(), 1);
    assert_eq!(stacks[0].repeated, [Member { image: 2, slice: 0 }]);
}

#[test]
fn series_orientations_and_sizes_are_kept_apart() {
    let mut sets: Vec<Dataset> = (0..4).map(|i| axial(i, f64::from(i))).collect();
    sets[1].put_text(tags::SERIES_UID, b"UI", "1.2.4");
    sets[2].put_text(tags::IMAGE_ORIENTATION, b"DS", "0\\1\\0\\0\\0\\-1");
    sets[3].put_u16(tags::ROWS, &[8]);
    let images = images(sets);
    let found: Vec<Vec<usize>> = stacks(&images).iter().map(order).collect();
    assert_eq!(found, [vec![0], vec![2], vec![3], vec![1]]);
}

#[test]
fn each_frame_has_its_own_place() {
    let item = |tag, vr: &[u8; 2], text: &str| {
        let mut set = Dataset::new();
        set.put_text(tag, vr, text);
        set
    };
    let mut set = axial(1, 0.0);
    set.remove(tags::IMAGE_POSITION);
    set.remove(tags::IMAGE_ORIENTATION);
    set.remove(tags::PIXEL_SPACING);
    set.put_text(tags::FRAMES, b"IS", "3");
    let mut shared = Dataset::new();
    let axes = item(tags::IMAGE_ORIENTATION, b"DS", "1\\0\\0\\0\\1\\0");
    shared.put_items(tags::PLANE_ORIENTATION, vec![axes]);
    let spacing = item(tags::PIXEL_SPACING, b"DS", "2\\3");
    shared.put_items(tags::PIXEL_MEASURES, vec![spacing]);
    let slope = item(tags::RESCALE_SLOPE, b"DS", "4");
    shared.put_items(tags::VALUE_TRANSFORMATION, vec![slope]);
    set.put_items(tags::SHARED, vec![shared]);
    let frame = |z: u32| {
        let mut frame = Dataset::new();
        let place = item(tags::IMAGE_POSITION, b"DS", &format!("0\\0\\{z}"));
        frame.put_items(tags::PLANE_POSITION, vec![place]);
        let own = item(tags::RESCALE_SLOPE, b"DS", "5");
        if z == 0 {
            frame.put_items(tags::VALUE_TRANSFORMATION, vec![own]);
        }
        frame
    };
    set.put_items(tags::PER_FRAME, [10, 0, 5].map(frame).to_vec());
    let images = images([set.clone()]);
    let stacks = stacks(&images);
    let frames: Vec<usize> = stacks[0].members.iter().map(|member| member.slice).collect();
    assert_eq!(frames, [1, 2, 0]);
    let slopes: Vec<f64> = images[0].slices.iter().map(|slice| slice.rescale[0]).collect();
    assert_eq!(slopes, [4.0, 5.0, 4.0]);
    assert_eq!(images[0].slices[0].spacing, [2.0, 3.0]);

    set.put_text(tags::FRAMES, b"IS", "4");
    let found = Image::new(&set, &Syntax::ExplicitLittle).unwrap_err();
    assert_eq!(found, Reason::Groups { frames: 4, groups: 3 });
}

#[test]
fn what_is_no_slice_of_a_volume_says_why() {
    let refused = |change: &dyn Fn(&mut Dataset)| {
        let mut set = axial(1, 0.0);
        change(&mut set);
        Image::new(&set, &Syntax::ExplicitLittle).unwrap_err()
    };
    let without = |tag| refused(&move |set: &mut Dataset| drop(set.remove(tag)));
    assert!(matches!(without(tags::ROWS), Reason::NoImage { .. }));
    assert_eq!(without(tags::IMAGE_POSITION), Reason::NoPositions);
    assert_eq!(without(tags::PIXEL_SPACING), Reason::NoSpacing);
    let put =
        |tag, text: &'static str| refused(&move |set: &mut Dataset| set.put_text(tag, b"CS", text));
    assert_eq!(put(tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\MOSAIC"), Reason::Mosaic);
    assert!(matches!(put(tags::PHOTOMETRIC, "RGB"), Reason::Colour { .. }));
    assert_eq!(put(tags::PIXEL_SPACING, "0\\1"), Reason::NoSpacing);
    assert_eq!(put(tags::IMAGE_ORIENTATION, "1\\0\\0\\1\\0\\0"), Reason::Orientation);
    assert_eq!(put(tags::IMAGE_POSITION, "1\\nan\\0"), Reason::NoPositions);
    assert!(matches!(put(tags::FRAMES, "0"), Reason::Frames { found: 0 }));
    for text in ["nan", "inf", "1,5", "1e400", "x"] {
        assert_eq!(put(tags::RESCALE_SLOPE, text), Reason::Rescale, "{text}");
        assert_eq!(put(tags::RESCALE_INTERCEPT, text), Reason::Rescale, "{text}");
    }
}

#[test]
fn slope_and_intercept_are_what_the_file_says() {
    let rescale = |slope: Option<&str>, intercept: Option<&str>| {
        let mut set = axial(1, 0.0);
        for (tag, text) in [(tags::RESCALE_SLOPE, slope), (tags::RESCALE_INTERCEPT, intercept)] {
            text.into_iter().for_each(|text| set.put_text(tag, b"DS", text));
        }
        images([set])[0].slices[0].rescale
    };
    assert_eq!(rescale(Some("0"), Some("-7")), [0.0, -7.0]);
    assert_eq!(rescale(Some("2.5"), None), [2.5, 0.0]);
    assert_eq!(rescale(None, Some(" 3 ")), [1.0, 3.0]);
    assert_eq!(rescale(Some(""), Some("  ")), [1.0, 0.0]);
}

#[test]
fn padding_is_read_by_the_samples_own_sign() {
    let mut set = axial(1, 0.0);
    set.put_bytes(tags::PADDING_VALUE, b"US", (-2000_i16).to_le_bytes());
    assert_eq!(
        Image::new(&set, &Syntax::ExplicitLittle).unwrap().slices[0].padding,
        Some([63536, 63536])
    );
    set.put_u16(tags::PIXEL_REPRESENTATION, &[1]);
    set.put_bytes(tags::PADDING_LIMIT, b"SS", (-1500_i16).to_le_bytes());
    assert_eq!(
        Image::new(&set, &Syntax::ExplicitLittle).unwrap().slices[0].padding,
        Some([-2000, -1500])
    );
}
