//! Layouts of made slices.

use monet_dicom::objects::masks::Plane;
use monet_dicom::vector::{length, minus};
use proptest::prelude::*;

use super::super::space::turned;
use super::layout::OFF;
use super::{Apart, Layout, Slices};

const SIZE: [u16; 2] = [5, 7];

/// Slices at these heights along a normal, shifted along their rows by so much of their height.
fn slices(heights: &[f64], shear: f64) -> Slices {
    let orientation = [0.6, 0.8, 0.0, 0.0, 0.0, -1.0];
    let normal = [-0.8, 0.6, 0.0];
    let plane = |height: &f64| Plane {
        position: [0, 1, 2].map(|k| 9.0 + height * (normal[k] + shear * orientation[k])),
        orientation,
        spacing: [0.7, 1.1],
    };
    let planes = heights.iter().map(plane).collect();
    Slices { size: SIZE, planes, distance: None, thickness: None }
}

/// The same slices, rows for columns: turned, or seen from the other side.
fn turned_over(slices: &Slices, mirrored: bool) -> Slices {
    let plane = |plane: &Plane| {
        let [a, b, c, d, e, f] = plane.orientation;
        let [between_rows, between_columns] = plane.spacing;
        let (last, sign) = if mirrored { (0.0, 1.0) } else { (f64::from(SIZE[1]) - 1.0, -1.0) };
        Plane {
            position: plane.place([last, 0.0]),
            orientation: [d, e, f, sign * a, sign * b, sign * c],
            spacing: [between_columns, between_rows],
        }
    };
    let planes = slices.planes.iter().map(plane).collect();
    Slices { size: [SIZE[1], SIZE[0]], planes, ..slices.clone() }
}

/// Index along the slices of each frame, of which the first pixel must come to lie where it is.
fn laid(layout: &Layout, slices: &Slices) -> Vec<i64> {
    let layout = layout.facing(&slices.planes[0]).unwrap();
    let index = |plane: &Plane| {
        let index = layout.place(plane, slices.size).unwrap();
        let mut place = layout.geometry().affine.apply(index.map(|n| n as f64));
        if let Some(own) = layout.places().get(index[2] as usize) {
            place = own.shifted(place);
        }
        // A frame may lie so far off the voxels that it is laid onto.
        let most = OFF * length(layout.geometry().spacing) + 1e-6;
        assert!(length(minus(place, turned(plane.position))) <= most);
        index[2]
    };
    slices.planes.iter().map(index).collect()
}

proptest! {
    /// Whatever their distances and their tilt, and whatever is left out of each mask: a slice of
    /// one is the same slice of the other.
    #[test]
    fn slices_of_two_masks_are_the_same_slices(
        distances in prop_oneof![
            prop::collection::vec(Just(1.3), 6..20),
            prop::collection::vec(prop::sample::select(vec![1.3, 1.3, 2.6, 5.2]), 6..20),
            prop::collection::vec(1.0f64..1.9, 6..20),
        ],
        shear in prop_oneof![Just(0.0), -0.5f64..0.5],
        kept in prop::collection::vec(0u8..4, 20),
        over in prop::option::of(any::<bool>()),
    ) {
        let heights: Vec<f64> = distances.iter().scan(0.0, |height, distance| {
            *height += distance;
            Some(*height)
        }).collect();
        let of = |bit: u8| -> Vec<f64> {
            let kept = kept.iter().map(|bits| bits & bit == 0);
            heights.iter().zip(kept).filter(|(_, kept)| *kept).map(|(height, _)| *height).collect()
        };
        let [a, b] = [of(1), of(2)];
        prop_assume!(!a.is_empty() && !b.is_empty());
        let (one, mut other) = (slices(&a, shear), slices(&b, shear));
        if let Some(mirrored) = over {
            other = turned_over(&other, mirrored);
        }
        let layout = match Layout::of(&[&one, &other]) {
            // Slices left out may hide how near slices of one mask can be.
            Err(Apart::Between { .. }) => return Ok(()),
            layout => layout.unwrap().unwrap(),
        };
        let (p, q) = (laid(&layout, &one), laid(&layout, &other));
        prop_assert!(p.is_sorted_by(|a, b| a < b) && q.is_sorted_by(|a, b| a < b));
        for (height, index) in a.iter().zip(&p) {
            let same = b.iter().position(|other| other == height);
            prop_assert!(same.is_none_or(|at| q[at] == *index));
        }
    }
}

#[test]
fn what_does_not_belong_together_is_told() {
    let one = slices(&[0.0, 1.0, 2.0, 3.0], 0.0);
    let between = slices(&[0.5, 1.5], 0.0);
    assert!(matches!(Layout::of(&[&one, &between]), Err(Apart::Between { .. })));
    let mut angle = one.clone();
    angle.planes[1].orientation = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    assert!(matches!(Layout::of(&[&one, &angle]), Err(Apart::Angle)));
    let smaller = Slices { size: [5, 6], ..one.clone() };
    assert!(matches!(Layout::of(&[&one, &smaller]), Err(Apart::Size { .. })));
    let layout = Layout::of(&[&one]).unwrap().unwrap();
    let mut off = one.planes[2];
    off.position[2] += 0.2;
    assert!(matches!(layout.place(&off, SIZE), Err(Apart::Off { .. })));
    assert!(matches!(Layout::of(&[]), Ok(None)));
}

#[test]
fn positions_that_make_no_sense_are_no_panic() {
    for number in [f64::NAN, f64::INFINITY, 1e300, -1e9, 1e-300] {
        let mut odd = slices(&[0.0, 1.0, 2.0], 0.0);
        odd.planes[1].position[0] = number;
        let _ = Layout::of(&[&odd, &odd]);
        odd.planes[1].spacing = [number; 2];
        let _ = Layout::of(&[&odd]);
        odd.planes[0].orientation = [number; 6];
        if let Ok(Some(layout)) = Layout::of(&[&odd]) {
            for plane in &odd.planes {
                let _ = layout.place(plane, SIZE);
            }
        }
    }
}
