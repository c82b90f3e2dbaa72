//! A stack of slices that was found, as a volume.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use monet_dicom::objects::masks::Plane;
use monet_dicom::series::{Image, Member, Place, Scan, SeriesKey, Shape, Slice, Stack};

use super::oddity::{Number, Oddity};
use super::{space, unread};
use crate::package::SeriesTexts;
use crate::text::{plain, shown};
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
    /// Slices of its series that are in other stacks.
    siblings: usize,
}

impl Series {
    /// The stacks of what was found at a path.
    #[must_use]
    pub fn all(path: &Path, scan: &Arc<Scan>) -> Vec<Self> {
        let key = |stack: &Stack| &scan.images[stack.members[0].image].key;
        let mut slices: HashMap<&SeriesKey, usize> = HashMap::new();
        for stack in &scan.stacks {
            *slices.entry(key(stack)).or_default() += stack.members.len();
        }
        let of = |stack: usize| {
            let own = &scan.stacks[stack];
            // Without a UID nothing says that slices are of one series.
            let is_named = !key(own).series.is_empty();
            let siblings = if is_named { slices[key(own)] - own.members.len() } else { 0 };
            let shape = own.shape(&scan.images);
            Self { path: path.to_owned(), shape, scan: scan.clone(), stack, siblings }
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
        if !shape.missing.is_empty() {
            const SHOWN: usize = 5;
            let at_mm = shape.missing.iter().copied().take(SHOWN).collect();
            all.push(Oddity::Gap { count: shape.missing.len(), at_mm });
        } else if !shape.is_regular && stack.repeated.is_empty() {
            let [least_mm, most_mm] = shape.distances;
            all.push(Oddity::Uneven { least_mm, most_mm });
        }
        if let Some(degrees) = shape.tilt {
            all.push(Oddity::Tilt { degrees });
        }
        let count = |members: &[_]| Some(members.len()).filter(|count| *count > 0);
        let files = |members: &[Member]| {
            members.iter().map(|member| member.image).collect::<BTreeSet<_>>().len()
        };
        let named = |slice| {
            let image = self.slice(slice).1;
            let uids = [&image.key.study, &image.key.series, &image.instance];
            uids.iter().all(|uid| monet_dicom::uid::is_valid(uid))
        };
        let others = [
            (!shape.is_straight).then_some(Oddity::Crooked),
            count(&stack.repeated).map(|count| Oddity::Repeated { count }),
            self.conflict(),
            self.undecodable(),
            Some(files(&stack.duplicates))
                .filter(|n| *n > 0)
                .map(|n| Oddity::Duplicates { count: n }),
            Some(self.siblings).filter(|n| *n > 0).map(|n| Oddity::Siblings { count: n }),
            self.left_out(),
            image.is_localizer().then_some(Oddity::Localizer),
            (!(0..self.slices()).all(named)).then_some(Oddity::NoUids),
            image.samples.inverted.then_some(Oddity::Inverted),
            image.lossy.then_some(Oddity::Lossy),
        ];
        all.extend(others.into_iter().flatten());
        all
    }

    /// What whoever uses its result is to know: its oddities, and which files beside its own
    /// cannot be read.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let odd = self.oddities().into_iter().map(|odd| odd.to_string());
        odd.chain(unread(&self.scan)).collect()
    }

    /// Files of its instances with other content than another file of the instance.
    fn conflict(&self) -> Option<Oddity> {
        let conflicts = &self.stack().conflicts;
        let name = |image: usize| shown(&self.scan.places[image].name()).to_string();
        let files = conflicts.first()?.map(name);
        Some(Oddity::Conflict { count: conflicts.len(), files })
    }

    /// Images whose pixels cannot be read, as far as their headers show it.
    fn undecodable(&self) -> Option<Oddity> {
        let images: BTreeSet<usize> = self.stack().members.iter().map(|m| m.image).collect();
        let reason = |image: &usize| self.scan.images[*image].undecodable.as_deref();
        let mut all = images.iter().filter(|image| reason(image).is_some()).peekable();
        let first = **all.peek()?;
        let file = shown(&self.scan.places[first].name()).to_string();
        let reason = reason(&first).unwrap_or_default().to_owned();
        Some(Oddity::Undecodable { count: all.count(), file, reason })
    }

    /// Images of its series that are in no stack.
    fn left_out(&self) -> Option<Oddity> {
        let key = &self.first().key;
        let (count, reason) = self.scan.left_out.get(key).filter(|_| !key.series.is_empty())?;
        let reason = plain(&reason.to_string()).into_owned();
        Some(Oddity::LeftOut { count: *count, reason })
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
        let apart: String = apart
            .iter()
            .map(|(what, value)| match value.abs() < 1e6 {
                true => format!(", {what} {value}"),
                false => format!(", {what} {}", Number(*value)),
            })
            .collect();
        let [x, y, z] = [x, y, z].map(Number);
        format!(
            "series {number} {} {:?}{apart}: {width}x{height}x{} {x}x{y}x{z} mm {} \
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
