//! Looks through a folder, an archive, a DICOMDIR or a file for images.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::places::{Found, MAX_FILES, Place, places};
use super::{Image, Reason, SeriesKey, Stack, conflicts, stacks};
use crate::read::{Instance, Keep, ReadError};
use crate::{pixels, tags};

/// What was found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Where each image's file is.
    pub places: Vec<Place>,
    /// The images, one a place.
    pub images: Vec<Image>,
    /// What of the images makes a volume.
    pub stacks: Vec<Stack>,
    /// DICOM files that hold no slice of a volume.
    pub passed_over: Vec<(Place, Reason)>,
    /// Of series that have such files with images: how many, and why the first.
    pub left_out: HashMap<SeriesKey, (usize, Reason)>,
    /// Files that are damaged, or hostile, or that a DICOMDIR names and that are not there.
    pub unreadable: Vec<(Place, ReadError)>,
    /// How many files are no DICOM.
    pub others: usize,
}

/// Why nothing could be looked through.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScanError {
    /// A folder or file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The archive or the DICOMDIR is damaged.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: ReadError,
    },
    /// There are too many files.
    #[error("{}: more than {MAX_FILES} files: give a folder of one study", path.display())]
    TooMany {
        /// The folder or archive.
        path: PathBuf,
    },
    /// The caller wanted no more.
    #[error("interrupted")]
    Interrupted,
}

impl Scan {
    /// Looks through a folder with all that is below it, a zip archive, the files that a DICOMDIR
    /// names, or one file. `stop` is asked before each file whether to go on.
    ///
    /// # Errors
    /// [`ScanError`]. A file that cannot be read is no error: it is listed.
    pub fn of(path: &Path, stop: &dyn Fn() -> bool) -> Result<Self, ScanError> {
        let mut scan = Self::default();
        let Found { places, named, refused } = places(path, stop)?;
        scan.unreadable.extend(refused);
        for place in places {
            if stop() {
                return Err(ScanError::Interrupted);
            }
            scan.look_at(place, named);
        }
        scan.stacks = stacks(&scan.images);
        let conflicts = conflicts::conflicts(&scan.images, &scan.places, stop);
        conflicts::told(&mut scan.stacks, &conflicts.ok_or(ScanError::Interrupted)?);
        Ok(scan)
    }

    /// Sorts a file in. One that was `named` is expected to be DICOM.
    fn look_at(&mut self, place: Place, named: bool) {
        const SEQUENCES: &[crate::Tag] = &[tags::SHARED, tags::PER_FRAME];
        const KEEP: Keep = Keep::all().only(TOP).within(SEQUENCES, FRAME).values_up_to(1 << 12);
        let instance = match place.open(&KEEP) {
            Err(ReadError::NotDicom { blank }) if !named && !place.seems_dicom(blank) => {
                self.others += 1;
                return;
            }
            Err(error) => return self.unreadable.push((place, error)),
            Ok(instance) => instance,
        };
        let set = &instance.header.data;
        if set.get(tags::DIRECTORY_RECORDS).is_some() {
            self.others += 1;
            return;
        }
        let image = match instance.header.pixels {
            Some(_) => Image::new(set, &instance.header.syntax),
            None => {
                let text = |tag| set.text(tag).unwrap_or_default().to_owned();
                Err(Reason::NoImage {
                    class: text(tags::SOP_CLASS),
                    modality: text(tags::MODALITY),
                })
            }
        };
        match image {
            Ok(image) => self.take(place, image, &instance),
            Err(reason) => {
                if !matches!(reason, Reason::NoImage { .. } | Reason::Segmentation) {
                    let of_series = self.left_out.entry(SeriesKey::of(set));
                    of_series.or_insert_with(|| (0, reason.clone())).0 += 1;
                }
                self.passed_over.push((place, reason));
            }
        }
    }

    fn take(&mut self, place: Place, mut image: Image, instance: &Instance) {
        let last = self.images.last().map(|last| &last.common);
        if let Some(last) = last.filter(|last| **last == image.common) {
            image.common = last.clone();
        }
        let error = pixels::check(&instance.header, instance.source.length()).err();
        image.undecodable = error.map(|error| match error.advice() {
            Some(advice) => format!("{error}: {advice}").into(),
            None => error.to_string().into(),
        });
        self.images.push(image);
        self.places.push(place);
    }
}

/// What [`Image::new`] looks at.
const TOP: &[crate::Tag] = &[
    tags::DIRECTORY_RECORDS,
    tags::IMAGE_TYPE,
    tags::SOP_CLASS,
    tags::SOP_INSTANCE,
    tags::MODALITY,
    tags::SERIES_DESCRIPTION,
    tags::BODY_PART,
    tags::SLICE_THICKNESS,
    tags::ECHO_TIME,
    tags::SLICE_SPACING,
    tags::TRIGGER_TIME,
    tags::STUDY_UID,
    tags::SERIES_UID,
    tags::SERIES_NUMBER,
    tags::ACQUISITION_NUMBER,
    tags::INSTANCE_NUMBER,
    tags::IMAGE_POSITION,
    tags::IMAGE_ORIENTATION,
    tags::FRAME_OF_REFERENCE,
    tags::TEMPORAL_POSITION,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC,
    tags::FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::PIXEL_SPACING,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PLANAR_CONFIGURATION,
    tags::PIXEL_REPRESENTATION,
    tags::PADDING_VALUE,
    tags::PADDING_LIMIT,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::LOSSY,
    tags::SHARED,
    tags::PER_FRAME,
];

/// What it looks at in functional groups, and the groups themselves.
const FRAME: &[crate::Tag] = &[
    tags::PLANE_POSITION,
    tags::IMAGE_POSITION,
    tags::PLANE_ORIENTATION,
    tags::IMAGE_ORIENTATION,
    tags::PIXEL_MEASURES,
    tags::PIXEL_SPACING,
    tags::SLICE_THICKNESS,
    tags::SLICE_SPACING,
    tags::VALUE_TRANSFORMATION,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::FRAME_CONTENT_SEQUENCE,
    tags::STACK_ID,
    tags::TEMPORAL_INDEX,
    tags::FRAME_ACQUISITION_NUMBER,
    tags::DIFFUSION_SEQUENCE,
    tags::B_VALUE,
    tags::ECHO_SEQUENCE,
    tags::EFFECTIVE_ECHO_TIME,
];
