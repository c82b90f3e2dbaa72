//! Distance between the surfaces of two label volumes.
//!
//! A label's surface is its voxels with at least one of the six face neighbours outside the label (or outside the
//! volume). Distances run between voxel centres, in millimetres along the grid's axes, which are taken as perpendicular.
//! The exact Euclidean distance transform is that of Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled
//! Functions", Theory of Computing 8 (2012): three passes of lower envelopes of parabolas.

use crate::volume::Geometry;

/// The percentile that leaves out the farthest stray voxels.
const PERCENTILE: f64 = 0.95;

/// How far apart two surfaces are, in millimetres. From every surface voxel of either volume the distance to the nearest
/// surface voxel of the other is taken, both directions pooled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hausdorff {
    /// The largest of the distances: the Hausdorff distance. One stray voxel decides it.
    pub max: f64,
    /// Their 95th percentile, with linear interpolation between ranks: HD95.
    pub p95: f64,
}

/// Hausdorff distances of one label. `None` where either volume lacks the label, since there is no distance to nothing.
///
/// # Panics
/// When a volume has not the geometry's number of voxels.
#[must_use]
pub fn hausdorff(pred: &[u8], truth: &[u8], label: u8, geometry: &Geometry) -> Option<Hausdorff> {
    let voxels: usize = geometry.size.iter().product();
    assert!(
        pred.len() == voxels && truth.len() == voxels,
        "label volumes of another size than their geometry"
    );
    let window = Window::around([pred, truth], label, geometry)?;
    let surfaces = [pred, truth].map(|labels| window.surface(labels, label));
    if surfaces.iter().any(|s| !s.contains(&true)) {
        return None;
    }
    let mut distances = Vec::new();
    for (from, to) in [(0, 1), (1, 0)] {
        let squared = window.squared_distances(&surfaces[to]);
        let at_surface = surfaces[from].iter().zip(squared).filter(|(surface, _)| **surface);
        distances.extend(at_surface.map(|(_, d)| d.sqrt()));
    }
    distances.sort_by(f64::total_cmp);
    Some(Hausdorff { max: *distances.last()?, p95: percentile(&distances, PERCENTILE) })
}

/// The percentile `part`, 0 to 1, with linear interpolation between ranks, of values in ascending order.
///
/// # Panics
/// Without values, or with a part beyond 0 to 1.
#[must_use]
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let rank = part * (values.len() - 1) as f64;
    let (below, above) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
    below + (above - below) * rank.fract()
}

/// The box around a label in both volumes: outside there is no surface, so that nothing is computed there.
struct Window {
    /// Of the whole volume.
    size: [usize; 3],
    from: [usize; 3],
    /// Voxels of the box.
    lengths: [usize; 3],
    spacing: [f64; 3],
}

impl Window {
    fn around(volumes: [&[u8]; 2], label: u8, geometry: &Geometry) -> Option<Self> {
        let size = geometry.size;
        let (mut from, mut to) = ([usize::MAX; 3], [0; 3]);
        for labels in volumes {
            for (row, voxels) in labels.chunks_exact(size[0]).enumerate() {
                let Some(first) = voxels.iter().position(|&v| v == label) else { continue };
                let last = voxels.iter().rposition(|&v| v == label).unwrap_or(first);
                for (axis, [low, high]) in
                    [[first, last], [row % size[1]; 2], [row / size[1]; 2]].into_iter().enumerate()
                {
                    from[axis] = from[axis].min(low);
                    to[axis] = to[axis].max(high + 1);
                }
            }
        }
        (from[0] < to[0]).then(|| Self {
            size,
            from,
            lengths: [0, 1, 2].map(|axis| to[axis] - from[axis]),
            spacing: geometry.spacing,
        })
    }

    /// Which voxels of the box are the label's surface.
    fn surface(&self, labels: &[u8], label: u8) -> Vec<bool> {
        let is = |at: [usize; 3]| {
            at.iter().zip(self.size).all(|(&i, n)| i < n)
                && labels[(at[2] * self.size[1] + at[1]) * self.size[0] + at[0]] == label
        };
        let mut surface = Vec::with_capacity(self.lengths.iter().product());
        for z in 0..self.lengths[2] {
            for y in 0..self.lengths[1] {
                for x in 0..self.lengths[0] {
                    let at = [self.from[0] + x, self.from[1] + y, self.from[2] + z];
                    let inner = |axis: usize| {
                        // One below 0 wraps to a number beyond any size, which is outside as well.
                        [usize::MAX, 1].into_iter().all(|step| {
                            let mut neighbour = at;
                            neighbour[axis] = neighbour[axis].wrapping_add(step);
                            is(neighbour)
                        })
                    };
                    surface.push(is(at) && !(0..3).all(inner));
                }
            }
        }
        surface
    }

    /// Squared distance in mm² from each voxel of the box to the nearest marked one, of which there is at least one.
    fn squared_distances(&self, marked: &[bool]) -> Vec<f64> {
        let mut field: Vec<f64> = marked.iter().map(|&m| if m { 0.0 } else { f64::INFINITY }).collect();
        let strides = [1, self.lengths[0], self.lengths[0] * self.lengths[1]];
        let mut envelope = Envelope::default();
        for (axis, stride) in strides.into_iter().enumerate() {
            let n = self.lengths[axis];
            // The first voxel of every line along the axis.
            for start in (0..field.len()).filter(|i| i / stride % n == 0) {
                envelope.transform(&mut field[start..], n, stride, self.spacing[axis]);
            }
        }
        field
    }
}

/// Lower envelope of parabolas along one line; buffers are kept between lines.
#[derive(Default)]
struct Envelope {
    values: Vec<f64>,
    /// Positions of the parabolas in the envelope, and from where on each is the lowest.
    vertices: Vec<(usize, f64)>,
}

impl Envelope {
    /// Replaces `line[i]` by the least of `line[j] + ((i - j) · spacing)²`.
    fn transform(&mut self, line: &mut [f64], n: usize, stride: usize, spacing: f64) {
        self.values.clear();
        self.values.extend((0..n).map(|i| line[i * stride]));
        self.vertices.clear();
        let squared = spacing * spacing;
        let height = |values: &[f64], i: usize| values[i] + squared * (i * i) as f64;
        for i in (0..n).filter(|&i| self.values[i].is_finite()).collect::<Vec<_>>() {
            let mut begins = f64::NEG_INFINITY;
            while let Some(&(last, since)) = self.vertices.last() {
                let gap = 2.0 * squared * (i - last) as f64;
                begins = (height(&self.values, i) - height(&self.values, last)) / gap;
                if begins > since {
                    break;
                }
                self.vertices.pop();
                begins = f64::NEG_INFINITY;
            }
            self.vertices.push((i, begins));
        }
        let mut at = 0;
        for i in 0..n {
            while self.vertices.get(at + 1).is_some_and(|&(_, begins)| begins < i as f64) {
                at += 1;
            }
            if let Some(&(vertex, _)) = self.vertices.get(at) {
                let distance = i.abs_diff(vertex) as f64 * spacing;
                line[i * stride] = self.values[vertex] + distance * distance;
            }
        }
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
            let mut labels = vec![0; 60];
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
        assert_eq!(hausdorff(&[0; 4], &[0, 1, 0, 0], 1, &geometry), None);
        assert_eq!(hausdorff(&[0; 4], &[0; 4], 1, &geometry), None);
    }

    /// Straight from the definition.
    fn brute_force(pred: &[u8], truth: &[u8], geometry: &Geometry) -> Option<Hausdorff> {
        let [w, h, d] = geometry.size;
        let at = |v: &[u8], x: isize, y: isize, z: isize| {
            let inside = x >= 0 && y >= 0 && z >= 0 && x < w as isize && y < h as isize && z < d as isize;
            inside && v[(z as usize * h + y as usize) * w + x as usize] == 1
        };
        let surface = |v: &[u8]| {
            let mut points = Vec::new();
            for z in 0..d as isize {
                for y in 0..h as isize {
                    for x in 0..w as isize {
                        let faces = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)];
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
            (0..3).map(|i| ((a[i] - b[i]) * geometry.spacing[i]).powi(2)).sum::<f64>().sqrt()
        };
        let nearest =
            |a: &[f64; 3], to: &[[f64; 3]]| to.iter().map(|b| distance(a, b)).fold(f64::INFINITY, f64::min);
        let mut all: Vec<f64> =
            p.iter().map(|a| nearest(a, &t)).chain(t.iter().map(|a| nearest(a, &p))).collect();
        all.sort_by(f64::total_cmp);
        let both = !p.is_empty() && !t.is_empty();
        both.then(|| Hausdorff { max: all[all.len() - 1], p95: percentile(&all, PERCENTILE) })
    }

    fn volumes() -> impl Strategy<Value = ([usize; 3], [f64; 3], Vec<u8>, Vec<u8>)> {
        let sizes = (1usize..7, 1usize..7, 1usize..6).prop_map(|(a, b, c)| [a, b, c]);
        let spacings = (0.3f64..4.0, 0.3f64..4.0, 0.3f64..4.0).prop_map(|(a, b, c)| [a, b, c]);
        (sizes, spacings).prop_flat_map(|(size, spacing)| {
            let labels = || prop::collection::vec(0u8..2, size.iter().product::<usize>());
            (Just(size), Just(spacing), labels(), labels())
        })
    }

    proptest! {
        #[test]
        fn the_fast_way_equals_the_definition((size, spacing, pred, truth) in volumes()) {
            let geometry = geometry(size, spacing);
            let (fast, slow) = (hausdorff(&pred, &truth, 1, &geometry), brute_force(&pred, &truth, &geometry));
            prop_assert_eq!(fast.is_some(), slow.is_some());
            if let (Some(fast), Some(slow)) = (fast, slow) {
                prop_assert!((fast.p95 - slow.p95).abs() < 1e-9, "{fast:?} {slow:?}");
                prop_assert!((fast.max - slow.max).abs() < 1e-9, "{fast:?} {slow:?}");
            }
        }

        #[test]
        fn it_is_symmetric_and_nought_on_itself((size, spacing, pred, truth) in volumes()) {
            let geometry = geometry(size, spacing);
            let there = hausdorff(&pred, &truth, 1, &geometry);
            prop_assert_eq!(there, hausdorff(&truth, &pred, 1, &geometry));
            prop_assert!(there.is_none_or(|d| d.p95 <= d.max));
            if pred.contains(&1) {
                prop_assert_eq!(hausdorff(&pred, &pred, 1, &geometry), Some(Hausdorff { max: 0.0, p95: 0.0 }));
            }
        }
    }
}
