//! A stack of slices that was found, as a volume.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use monet_dicom::objects::masks::Plane;
use monet_dicom::series::{Image, Place, Scan, Shape, Slice, Stack};

use super::{Oddity, space};
use crate::package::SeriesTexts;
use crate::text::plain;
use crate::volume::{
    AxisMap, ByteOrder, Geometry, Grid, Orientation, SlicePlace, VolumeError, VoxelType,
};

/// A stack of a [`Scan`]: what can be a volume. Copies share the scan.
#[derive(Debug, Clone)]
pub struct Series {
    path: PathBuf,
    scan: Arc<Scan>,
    stack: usize,
    shape: Shape,
}

impl Series {
    /// The stacks of what was found at a path.
    #[must_use]
    pub fn all(path: &Path, scan: &Arc<Scan>) -> Vec<Self> {
        let of = |stack: usize| Self {
            path: path.to_owned(),
            shape: scan.stacks[stack].shape(&scan.images),
            scan: scan.clone(),
            stack,
        };
        (0..scan.stacks.len()).map(of).collect()
    }

    /// Where it was looked for.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The stack.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.scan.stacks[self.stack]
    }

    /// How its slices follow one another.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Number of its slices.
    #[must_use]
    pub fn slices(&self) -> usize {
        self.stack().members.len()
    }

    /// A slice with its image and where the image's file is.
    #[must_use]
    pub fn slice(&self, index: usize) -> (&Slice, &Image, &Place) {
        let member = self.stack().members[index];
        let image = &self.scan.images[member.image];
        (&image.slices[member.slice], image, &self.scan.places[member.image])
    }

    /// The image of its first slice.
    #[must_use]
    pub fn first(&self) -> &Image {
        self.slice(0).1
    }

    /// What it says of itself.
    pub(super) fn texts(&self) -> SeriesTexts<'_> {
        let image = self.first();
        SeriesTexts {
            modality: &image.modality,
            image_type: &image.image_type,
            body_part: &image.body_part,
            description: &image.description,
        }
    }

    /// The grid that its slices lie on: rows along the first axis, slices along the third. Where
    /// distances differ, the usual one counts.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        let (slice, image, _) = self.slice(0);
        let Slice { position, orientation, spacing, .. } = *slice;
        let first = Plane { position, orientation, spacing };
        space::grid(first, image.size, self.shape.step, self.slices())
    }

    /// Where it lies in a model's orientation.
    #[must_use]
    pub fn geometry_in(&self, orientation: Orientation) -> Geometry {
        let geometry = self.geometry();
        geometry.oriented(AxisMap::between(geometry.affine.orientation(), orientation))
    }

    /// Its grid, with the type of its samples.
    ///
    /// # Errors
    /// [`VolumeError::Grid`]
    pub fn grid(&self) -> Result<Grid, VolumeError> {
        let samples = self.first().samples;
        let voxel_type = match (samples.bytes, samples.signed) {
            (1, false) => VoxelType::U8,
            (1, true) => VoxelType::I8,
            (2, false) => VoxelType::U16,
            (2, true) => VoxelType::I16,
            (_, false) => VoxelType::U32,
            (_, true) => VoxelType::I32,
        };
        let grid = Grid::new(&self.path, self.geometry(), voxel_type, ByteOrder::Little)?;
        if self.shape.is_regular { Ok(grid) } else { grid.with_places(self.places()) }
    }

    /// The places of slices whose distances differ.
    fn places(&self) -> Vec<SlicePlace> {
        let positions: Vec<[f64; 3]> =
            (0..self.slices()).map(|index| self.slice(index).0.position).collect();
        let Shape { reaches, distance, .. } = &self.shape;
        space::places(&self.geometry(), &positions, reaches, *distance)
    }

    /// What is odd about it.
    #[must_use]
    pub fn oddities(&self) -> Vec<Oddity> {
        let (stack, shape, image) = (self.stack(), &self.shape, self.first());
        let mut all = Vec::new();
        if let Some(first_mm) = shape.missing.first() {
            all.push(Oddity::Gap { count: shape.missing.len(), first_mm: *first_mm });
        } else if !shape.is_regular && stack.repeated.is_empty() {
            let [least_mm, most_mm] = shape.distances;
            all.push(Oddity::Uneven { least_mm, most_mm });
        }
        if let Some(degrees) = shape.tilt {
            all.push(Oddity::Tilt { degrees });
        }
        let count = |members: &[_]| Some(members.len()).filter(|count| *count > 0);
        let named = |slice| {
            let image = self.slice(slice).1;
            let uids = [&image.key.study, &image.key.series, &image.instance];
            uids.iter().all(|uid| monet_dicom::uid::is_valid(uid))
        };
        let others = [
            (!shape.is_straight).then_some(Oddity::Crooked),
            count(&stack.repeated).map(|count| Oddity::Repeated { count }),
            count(&stack.duplicates).map(|count| Oddity::Duplicates { count }),
            image.is_localizer().then_some(Oddity::Localizer),
            (!(0..self.slices()).all(named)).then_some(Oddity::NoUids),
            image.samples.inverted.then_some(Oddity::Inverted),
            image.lossy.then_some(Oddity::Lossy),
        ];
        all.extend(others.into_iter().flatten());
        all
    }

    /// What a person sees of it in one line. Text of the file is escaped.
    #[must_use]
    pub fn summary(&self) -> String {
        let image = self.first();
        let number = image.number.map_or("?".to_owned(), |number| number.to_string());
        let [height, width] = image.size;
        let Geometry { spacing: [x, y, z], affine, .. } = self.geometry();
        let series = self.selector();
        let apart = &self.stack().told_apart_by;
        let apart: String = apart.iter().map(|(what, value)| format!(", {what} {value}")).collect();
        format!(
            "series {number} {} {:?}{apart}: {width}x{height}x{} {x:.3}x{y:.3}x{z:.3} mm {} \
             --series {}",
            plain(&image.modality),
            plain(&image.description),
            self.slices(),
            affine.orientation(),
            plain(&series),
        )
    }

    /// What names it among all that was found: its Series Instance UID, and `:N` behind it where
    /// the series has several stacks, of which it is the N-th.
    #[must_use]
    pub fn selector(&self) -> String {
        let uid = &self.first().key.series;
        self.part().map_or_else(|| uid.clone(), |part| format!("{uid}:{part}"))
    }

    /// Which of the stacks with its Series Instance UID it is, from 1; `None` where there is no
    /// other.
    #[must_use]
    pub fn part(&self) -> Option<usize> {
        let uid = |stack: usize| {
            let member = self.scan.stacks[stack].members[0];
            &self.scan.images[member.image].key.series
        };
        let own = uid(self.stack);
        let mut siblings = (0..self.scan.stacks.len()).filter(|stack| uid(*stack) == own);
        let nth = siblings.clone().position(|stack| stack == self.stack)?;
        siblings.nth(1).map(|_| nth + 1)
    }

    /// A name for files made of it, of its modality and number: `ct-3`, and behind these what
    /// tells it from others of its series.
    #[must_use]
    pub fn file_stem(&self) -> String {
        let image = self.first();
        let modality = image.modality.to_ascii_lowercase();
        let letters: String = modality.chars().filter(char::is_ascii_alphanumeric).collect();
        let number = image.number.map_or(String::new(), |number| format!("-{number}"));
        let part = self.part().map_or(String::new(), |part| format!("-part{part}"));
        // Series numbers are often missing, and not always different.
        let uid = monet_dicom::uid::derived(&[image.key.series.as_bytes()]);
        let mark = &uid[uid.len() - 6..];
        format!("{letters}{number}-{mark}{part}")
    }
}
