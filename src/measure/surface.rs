//! Distance between the surfaces of two label volumes.
//!
//! A label's surface is its voxels with at least one of the six face neighbours outside the label
//! (or outside the volume). Distances run between voxel centres in world millimetres, as the affine
//! places them; axes need not be perpendicular. Memory follows the voxels of the surfaces and never
//! the extent of the volumes.

use std::collections::TryReserveError;

use super::grid;
use super::label_volume::{LabelVolume, each_of};
use super::nearest::{Frame, Index, Nearest};
use crate::volume::{AxisMap, Geometry};

/// The percentile that leaves out the farthest stray voxels.
const PERCENTILE: f64 = 0.95;

/// How far apart two surfaces are, in millimetres. From every surface voxel of either volume the
/// distance to the nearest surface voxel of the other is taken, both directions pooled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hausdorff {
    /// The largest of the distances: the Hausdorff distance. One stray voxel decides it.
    pub max: f64,
    /// Their 95th percentile, with linear interpolation between ranks: HD95, as MedPy has it.
    pub p95: f64,
}

/// Hausdorff distances of one label, of 8 or 16 bits a voxel. `None` where either volume lacks the
/// label, since there is no distance to nothing.
///
/// # Panics
/// When a volume has not the geometry's number of voxels, the label is 0 (background), or memory
/// runs out.
#[must_use]
pub fn hausdorff<L: Copy + Into<u16>>(
    pred: &[L],
    truth: &[L],
    label: L,
    geometry: &Geometry,
) -> Option<Hausdorff> {
    let voxels: usize = geometry.size.iter().product();
    assert!(
        pred.len() == voxels && truth.len() == voxels,
        "label volumes of another size than their geometry"
    );
    let label = label.into();
    assert!(label > 0, "distances of the background");
    let [pred, truth] = [pred, truth].map(|labels| Array { labels, size: geometry.size });
    let same = AxisMap::IDENTITY;
    let found = distances(&pred, same, &truth, &[label], &Frame::new(&geometry.affine));
    found.expect("memory for surfaces")[0]
}

/// The percentile `part`, 0 to 1, with linear interpolation between ranks, of values in ascending
/// order.
///
/// # Panics
/// Without values, or with a part beyond 0 to 1.
#[must_use]
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let rank = part * (values.len() - 1) as f64;
    let (below, above) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
    below + (above - below) * rank.fract()
}

/// Hausdorff distances of each of these labels, none of them twice or 0; `map` brings the
/// prediction's grid onto the truth's, whose steps are those of `frame`. Each volume is gone
/// through once, and the surfaces of all labels are held at once.
///
/// # Errors
/// Where memory for the surfaces is lacking.
pub(super) fn distances(
    pred: &impl Labelled,
    map: AxisMap,
    truth: &impl Labelled,
    labels: &[u16],
    frame: &Frame,
) -> Result<Vec<Option<Hausdorff>>, TryReserveError> {
    let same = AxisMap::IDENTITY;
    let surfaces = [surfaces(pred, map, labels)?, surfaces(truth, same, labels)?];
    let [pred, truth] = surfaces;
    pred.into_iter().zip(truth).map(|(pred, truth)| between(pred, truth, frame)).collect()
}

/// Hausdorff distances of two surfaces.
fn between(
    pred: Vec<Index>,
    truth: Vec<Index>,
    frame: &Frame,
) -> Result<Option<Hausdorff>, TryReserveError> {
    if pred.is_empty() || truth.is_empty() {
        return Ok(None);
    }
    let mut distances: Vec<f64> = Vec::new();
    distances.try_reserve_exact(pred.len() + truth.len())?;
    let [pred, truth] = [Nearest::new(frame, pred)?, Nearest::new(frame, truth)?];
    for (from, to) in [(&pred, &truth), (&truth, &pred)] {
        // What was nearest to a voxel is near the next one, too.
        let mut near = 0;
        distances.extend(from.voxels().iter().map(|&voxel| to.squared(voxel, &mut near).sqrt()));
    }
    distances.sort_unstable_by(f64::total_cmp);
    Ok(Some(Hausdorff {
        max: distances[distances.len() - 1],
        p95: percentile(&distances, PERCENTILE),
    }))
}

/// The surfaces of these labels, on the grid that `map` leads to.
fn surfaces(
    volume: &impl Labelled,
    map: AxisMap,
    labels: &[u16],
) -> Result<Vec<Vec<Index>>, TryReserveError> {
    const UNWANTED: u32 = u32::MAX;
    let mut places = vec![UNWANTED; 1 << 16];
    labels.iter().zip(0..).for_each(|(&label, place)| places[usize::from(label)] = place);
    let mut surfaces = vec![Vec::new(); labels.len()];
    volume.each(|at, label| {
        let place = places[usize::from(label)];
        if place != UNWANTED && is_surface(volume, at, label) {
            let surface = &mut surfaces[place as usize];
            surface.try_reserve(1)?;
            surface.push(grid::moved(map, volume.size(), at).map(|i| i as u32));
        }
        Ok::<_, TryReserveError>(())
    })?;
    Ok(surfaces)
}

/// Whether a face neighbour of a voxel of this label is outside the label.
fn is_surface(volume: &impl Labelled, at: [usize; 3], label: u16) -> bool {
    let inner = |axis: usize| {
        let (mut below, mut above) = (at, at);
        below[axis] = below[axis].wrapping_sub(1);
        above[axis] += 1;
        at[axis] > 0
            && above[axis] < volume.size()[axis]
            && volume.label(below) == label
            && volume.label(above) == label
    };
    !(0..3).all(inner)
}

/// What has labels on a grid.
pub(super) trait Labelled {
    fn size(&self) -> [usize; 3];

    fn label(&self, at: [usize; 3]) -> u16;

    /// Calls `visit` with every voxel that is not background, until it fails.
    fn each<E>(&self, visit: impl FnMut([usize; 3], u16) -> Result<(), E>) -> Result<(), E>;
}

impl Labelled for LabelVolume {
    fn size(&self) -> [usize; 3] {
        self.geometry().size
    }

    fn label(&self, at: [usize; 3]) -> u16 {
        self.label(at)
    }

    fn each<E>(&self, visit: impl FnMut([usize; 3], u16) -> Result<(), E>) -> Result<(), E> {
        self.each(visit)
    }
}

/// A caller's labels, the first axis fastest.
struct Array<'a, L> {
    labels: &'a [L],
    size: [usize; 3],
}

impl<L: Copy + Into<u16>> Labelled for Array<'_, L> {
    fn size(&self) -> [usize; 3] {
        self.size
    }

    fn label(&self, [x, y, z]: [usize; 3]) -> u16 {
        self.labels[(z * self.size[1] + y) * self.size[0] + x].into()
    }

    fn each<E>(&self, mut visit: impl FnMut([usize; 3], u16) -> Result<(), E>) -> Result<(), E> {
        let plane = (self.size[0] * self.size[1]).max(1);
        self.labels.chunks_exact(plane).enumerate().try_for_each(|(z, labels)| {
            each_of(labels, self.size[0], |[x, y], label| visit([x, y, z], label))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::volume::Affine;

    fn geometry(size: [usize; 3], spacing: [f64; 3]) -> Geometry {
        let mut rows = [[0.0; 4]; 3];
        (0..3).for_each(|axis| rows[axis][axis] = spacing[axis]);
        Geometry::new(size, Affine(rows))
    }

    #[test]
    fn a_voxel_s_shift_is_its_spacing() {
        let geometry = geometry([5, 4, 3], [0.5, 2.0, 3.0]);
        let at = |x: usize, y: usize, z: usize| {
            let mut labels = vec![0u8; 60];
            labels[(z * 4 + y) * 5 + x] = 1;
            labels
        };
        let apart = |mm| Some(Hausdorff { max: mm, p95: mm });
        assert_eq!(hausdorff(&at(1, 1, 1), &at(2, 1, 1), 1, &geometry), apart(0.5));
        assert_eq!(hausdorff(&at(1, 1, 1), &at(1, 2, 1), 1, &geometry), apart(2.0));
        assert_eq!(hausdorff(&at(1, 1, 1), &at(1, 1, 0), 1, &geometry), apart(3.0));
    }

    #[test]
    fn a_stray_voxel_decides_the_maximum_alone() {
        let geometry = geometry([100, 1, 1], [1.0; 3]);
        // A row is all surface: 40 distances of 0 one way, 40 and one of 60 the other.
        let truth: Vec<u8> = (0..100).map(|x| u8::from(x < 40)).collect();
        let mut pred = truth.clone();
        pred[99] = 1;
        assert_eq!(hausdorff(&pred, &truth, 1, &geometry), Some(Hausdorff { max: 60.0, p95: 0.0 }));
    }

    #[test]
    fn no_label_has_no_distance() {
        let geometry = geometry([2, 2, 1], [1.0; 3]);
        assert_eq!(hausdorff(&[0u8; 4], &[0, 1, 0, 0], 1, &geometry), None);
        assert_eq!(hausdorff(&[0u8; 4], &[0; 4], 1, &geometry), None);
    }

    /// Straight from the definition.
    fn brute_force(pred: &[u8], truth: &[u8], geometry: &Geometry) -> Option<Hausdorff> {
        let [w, h, d] = geometry.size;
        let at = |v: &[u8], x: isize, y: isize, z: isize| {
            let inside =
                x >= 0 && y >= 0 && z >= 0 && x < w as isize && y < h as isize && z < d as isize;
            inside && v[(z as usize * h + y as usize) * w + x as usize] == 1
        };
        let surface = |v: &[u8]| {
            let mut points = Vec::new();
            for z in 0..d as isize {
                for y in 0..h as isize {
                    for x in 0..w as isize {
                        let faces =
                            [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)];
                        let open = faces.iter().any(|(i, j, k)| !at(v, x + i, y + j, z + k));
                        if at(v, x, y, z) && open {
                            points.push([x, y, z].map(|i| i as f64));
                        }
                    }
                }
            }
            points
        };
        let (p, t) = (surface(pred), surface(truth));
        let distance = |a: &[f64; 3], b: &[f64; 3]| {
            let (a, b) = (geometry.affine.apply(*a), geometry.affine.apply(*b));
            (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt()
        };
        let nearest = |a: &[f64; 3], to: &[[f64; 3]]| {
            to.iter().map(|b| distance(a, b)).fold(f64::INFINITY, f64::min)
        };
        let mut all: Vec<f64> =
            p.iter().map(|a| nearest(a, &t)).chain(t.iter().map(|a| nearest(a, &p))).collect();
        all.sort_by(f64::total_cmp);
        let both = !p.is_empty() && !t.is_empty();
        both.then(|| Hausdorff { max: all[all.len() - 1], p95: percentile(&all, PERCENTILE) })
    }

    /// Labels on grids with any spacing, half of them sheared as by a tilted gantry.
    fn volumes() -> impl Strategy<Value = (Geometry, Vec<u8>, Vec<u8>)> {
        let sizes = (1usize..7, 1usize..7, 1usize..6).prop_map(|(a, b, c)| [a, b, c]);
        let spacings = prop::array::uniform3(0.3f64..4.0);
        let shears = prop_oneof![Just([0.0; 3]), prop::array::uniform3(-2.0f64..2.0)];
        (sizes, spacings, shears).prop_flat_map(|(size, spacing, [xy, xz, yz])| {
            let mut geometry = geometry(size, spacing);
            (geometry.affine.0[0][1], geometry.affine.0[0][2], geometry.affine.0[1][2]) =
                (xy, xz, yz);
            let labels = || prop::collection::vec(0u8..2, size.iter().product::<usize>());
            (Just(geometry), labels(), labels())
        })
    }

    proptest! {
        #[test]
        fn the_fast_way_equals_the_definition((geometry, pred, truth) in volumes()) {
            let fast = hausdorff(&pred, &truth, 1, &geometry);
            let slow = brute_force(&pred, &truth, &geometry);
            prop_assert_eq!(fast.is_some(), slow.is_some());
            if let (Some(fast), Some(slow)) = (fast, slow) {
                prop_assert!((fast.p95 - slow.p95).abs() < 1e-9, "{fast:?} {slow:?}");
                prop_assert!((fast.max - slow.max).abs() < 1e-9, "{fast:?} {slow:?}");
            }
        }

        #[test]
        fn it_is_symmetric_and_nought_on_itself((geometry, pred, truth) in volumes()) {
            let there = hausdorff(&pred, &truth, 1, &geometry);
            prop_assert_eq!(there, hausdorff(&truth, &pred, 1, &geometry));
            prop_assert!(there.is_none_or(|d| d.p95 <= d.max));
            if pred.contains(&1) {
                let none = Some(Hausdorff { max: 0.0, p95: 0.0 });
            prop_assert_eq!(hausdorff(&pred, &pred, 1, &geometry), none);
            }
        }
    }
}
