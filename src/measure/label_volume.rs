//! A label volume in memory, whole, in its file's own axis order.
//!
//! Planes are kept as they are read, in eight bits a voxel where their labels fit and sixteen
//! elsewhere; a plane that is all background takes nothing. So memory follows what a file holds and
//! never what its header claims, and no temporary file is needed, whatever the order of the axes.

use std::collections::TryReserveError;
use std::convert::Infallible;
use std::path::{Path, PathBuf};

use super::score::MeasureError;
use super::unread::Unread;
use crate::volume::{Geometry, SlicePlace, SliceSource, VolumeWarning};

/// The most voxels that a label volume may have: 1024 slices of 1024 × 1024. A pair of that size
/// takes 2 GiB where labels fit into eight bits.
pub const MAX_LABEL_VOXELS: u64 = 1 << 30;

/// How far a stored value may lie from a whole number and still be that label: slopes and
/// resampling leave such traces. Above 16384 single precision, in which voxels come, tells twice as
/// much apart at best.
const ROUNDING: f32 = 1e-3;

/// A label volume in memory: labels 0 (background) to 65535 on the file's own grid.
#[derive(Debug, Clone)]
pub struct LabelVolume {
    geometry: Geometry,
    /// The place of each plane, where planes are not evenly spaced; empty elsewhere.
    places: Vec<SlicePlace>,
    planes: Vec<Plane>,
    counts: Vec<u64>,
    warnings: Vec<VolumeWarning>,
}

/// One step along the third axis.
#[derive(Debug, Clone)]
enum Plane {
    Background,
    Narrow(Vec<u8>),
    Wide(Vec<u16>),
}

impl LabelVolume {
    /// Reads a label volume of any NIfTI type; values are rounded where they are within a
    /// thousandth of a whole number.
    ///
    /// # Errors
    /// [`MeasureError::Volume`], [`MeasureError::NoLabel`], [`MeasureError::Channels`],
    /// [`MeasureError::TooLarge`], [`MeasureError::Memory`]
    pub fn read(path: &Path) -> Result<Self, MeasureError> {
        Unread::open(path)?.read()
    }

    /// Takes the labels of a volume of which no plane was read.
    pub(super) fn take(path: PathBuf, mut source: SliceSource) -> Result<Self, MeasureError> {
        let mut values = vec![0.0; source.slice_len()];
        let mut labels = vec![0; values.len()];
        let (mut planes, mut counts) = (Vec::new(), vec![0; 1 << 16]);
        while let Some(slice) = source.next_into(&mut values)? {
            for (label, &value) in labels.iter_mut().zip(&values) {
                let whole = round(value);
                *label = whole.ok_or_else(|| MeasureError::NoLabel {
                    path: path.clone(),
                    slice,
                    value,
                })?;
                counts[usize::from(*label)] += 1;
            }
            match Plane::of(&labels) {
                Ok(plane) => planes.push(plane),
                Err(_) => {
                    // Leaves room for the message, and for the subjects that follow.
                    drop(planes);
                    return Err(MeasureError::Memory { path });
                }
            }
        }
        let (grid, geometry) = (source.grid(), *source.geometry());
        let (places, warnings) = (grid.places().to_vec(), grid.warnings().to_vec());
        Ok(Self { geometry, places, planes, counts, warnings })
    }

    /// The grid, with axes in the file's order.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The place of each plane along the third axis, where planes are not evenly spaced; empty
    /// elsewhere.
    #[must_use]
    pub fn places(&self) -> &[SlicePlace] {
        &self.places
    }

    /// The label at an index of the grid.
    ///
    /// # Panics
    /// When the index is outside the grid.
    #[must_use]
    pub fn label(&self, [x, y, z]: [usize; 3]) -> u16 {
        let at = y * self.geometry.size[0] + x;
        match &self.planes[z] {
            Plane::Background => 0,
            Plane::Narrow(labels) => u16::from(labels[at]),
            Plane::Wide(labels) => labels[at],
        }
    }

    /// All labels, the first axis fastest.
    pub fn labels(&self) -> impl Iterator<Item = u16> + '_ {
        let [width, height, slices] = self.geometry.size;
        (0..slices).flat_map(move |z| {
            (0..height).flat_map(move |y| (0..width).map(move |x| self.label([x, y, z])))
        })
    }

    /// Voxels that have this label.
    #[must_use]
    pub fn voxels(&self, label: u16) -> u64 {
        self.counts[usize::from(label)]
    }

    /// The volume of each label in millilitres.
    pub(super) fn millilitres(&self) -> Vec<f64> {
        let voxel_ml = self.geometry.voxel_ml();
        if self.places.is_empty() {
            return self.counts.iter().map(|voxels| *voxels as f64 * voxel_ml).collect();
        }
        let mut all = vec![0.0; self.counts.len()];
        let Ok(()) = self.each(|[_, _, z], label| {
            all[usize::from(label)] += self.places[z].thickness() * voxel_ml;
            Ok::<_, Infallible>(())
        });
        all
    }

    /// What was odd about the file and was worked around.
    #[must_use]
    pub fn warnings(&self) -> &[VolumeWarning] {
        &self.warnings
    }

    /// Calls `visit` with the index and label of every voxel that is not background, the first axis
    /// fastest.
    ///
    /// # Errors
    /// The first that `visit` returns.
    pub(super) fn each<E>(
        &self,
        mut visit: impl FnMut([usize; 3], u16) -> Result<(), E>,
    ) -> Result<(), E> {
        let width = self.geometry.size[0];
        self.planes.iter().enumerate().try_for_each(|(z, plane)| match plane {
            Plane::Background => Ok(()),
            Plane::Narrow(labels) => {
                each_of(labels, width, |[x, y], label| visit([x, y, z], label))
            }
            Plane::Wide(labels) => each_of(labels, width, |[x, y], label| visit([x, y, z], label)),
        })
    }
}

/// Calls `visit` with every voxel of a plane that is not background.
pub(super) fn each_of<L: Copy + Into<u16>, E>(
    labels: &[L],
    width: usize,
    mut visit: impl FnMut([usize; 2], u16) -> Result<(), E>,
) -> Result<(), E> {
    for (y, row) in labels.chunks_exact(width.max(1)).enumerate() {
        for (x, label) in row.iter().map(|&l| l.into()).enumerate().filter(|(_, label)| *label != 0)
        {
            visit([x, y], label)?;
        }
    }
    Ok(())
}

/// The label that a stored value is.
fn round(value: f32) -> Option<u16> {
    let whole = value.round();
    // Not a number is within nothing.
    let near = (value - whole).abs() <= ROUNDING;
    (near && (0.0..=f32::from(u16::MAX)).contains(&whole)).then_some(whole as u16)
}

impl Plane {
    /// In as few bits as these labels allow.
    fn of(labels: &[u16]) -> Result<Self, TryReserveError> {
        fn kept<L>(labels: &[u16], keep: impl Fn(u16) -> L) -> Result<Vec<L>, TryReserveError> {
            let mut plane = Vec::new();
            plane.try_reserve_exact(labels.len())?;
            plane.extend(labels.iter().map(|&label| keep(label)));
            Ok(plane)
        }
        Ok(match labels.iter().fold(0, |most, &label| most.max(label)) {
            0 => Self::Background,
            1..=255 => Self::Narrow(kept(labels, |label| label as u8)?),
            _ => Self::Wide(kept(labels, |label| label)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hair_off_a_whole_number_is_that_label() {
        for (value, label) in [
            (0.0, Some(0)),
            (-0.0009, Some(0)),
            (0.9996, Some(1)),
            (2.0012, None),
            (2.0009, Some(2)),
            (0.5, None),
            (-1.0, None),
            (65535.0, Some(65535)),
            (65536.0, None),
            (f32::NAN, None),
            (f32::INFINITY, None),
        ] {
            assert_eq!(round(value), label, "{value}");
        }
    }

    #[test]
    fn a_plane_takes_as_few_bits_as_its_labels_allow() {
        assert!(matches!(Plane::of(&[0, 0]).unwrap(), Plane::Background));
        assert!(
            matches!(Plane::of(&[0, 255]).unwrap(), Plane::Narrow(labels) if labels == [0, 255])
        );
        assert!(matches!(Plane::of(&[0, 256]).unwrap(), Plane::Wide(labels) if labels == [0, 256]));
    }
}
