//! Label volumes of which the header was read: files, and masks in DICOM on the slices of what they
//! are compared with.

use std::path::{Path, PathBuf};

use super::label_volume::{LabelVolume, MAX_LABEL_VOXELS};
use super::score::MeasureError;
#[cfg(feature = "dicom")]
use crate::dicom::masks::{self, Apart, Failure, Layout, Mask};
use crate::volume::{Geometry, NiftiReader, PlaneReader, SliceSource};

/// An open label volume whose voxels are not read yet.
pub(super) struct Unread {
    path: PathBuf,
    source: SliceSource<'static>,
}

/// A file whose header was read.
enum Opened {
    File(NiftiReader),
    #[cfg(feature = "dicom")]
    Mask(Mask),
}

/// The slices that masks in DICOM are laid onto: those of a volume beside them, or else those that
/// they have together.
struct Onto<'a> {
    #[cfg_attr(not(feature = "dicom"), expect(dead_code, reason = "files have their own grids"))]
    paths: &'a [&'a Path],
    #[cfg(feature = "dicom")]
    layout: Option<Layout>,
}

impl Opened {
    fn new(path: &Path) -> Result<Self, MeasureError> {
        #[cfg(feature = "dicom")]
        if masks::is_mask(path) {
            return Ok(Self::Mask(Mask::open(path)?));
        }
        Ok(Self::File(NiftiReader::open(path, None)?))
    }
}

impl<'a> Onto<'a> {
    #[cfg(not(feature = "dicom"))]
    fn new(_: &[&Opened], paths: &'a [&'a Path]) -> Result<Self, MeasureError> {
        Ok(Self { paths })
    }

    #[cfg(feature = "dicom")]
    fn new(opened: &[&Opened], paths: &'a [&'a Path]) -> Result<Self, MeasureError> {
        let (mut grid, mut slices) = (None, Vec::new());
        for one in opened {
            match one {
                Opened::File(file) => grid = Some(*file.grid().geometry()),
                Opened::Mask(mask) => slices.extend(mask.slices()),
            }
        }
        let layout = match grid {
            Some(grid) => Some(Layout::grid(grid)),
            None => Layout::of(&slices).map_err(|apart| differ(paths, &apart))?,
        };
        Ok(Self { paths, layout })
    }

    fn read(&self, opened: Opened, path: &Path) -> Result<Unread, MeasureError> {
        match opened {
            Opened::File(reader) => Unread::new(path, Box::new(reader)),
            #[cfg(feature = "dicom")]
            Opened::Mask(mask) => {
                let layout = self.layout.as_ref();
                let layout = layout.ok_or_else(|| MeasureError::NoGrid { path: path.into() })?;
                let laid = mask.read(layout).map_err(|failure| match failure {
                    Failure::Volume(error) => error.into(),
                    Failure::Apart(apart) => differ(self.paths, &apart),
                });
                Unread::new(path, Box::new(laid?))
            }
        }
    }
}

/// Two files whose slices are not the same; or one whose own are none.
#[cfg(feature = "dicom")]
fn differ(paths: &[&Path], apart: &Apart) -> MeasureError {
    let [pred, truth] =
        [paths.first(), paths.last()].map(|path| PathBuf::from(path.unwrap_or(&Path::new(""))));
    MeasureError::Geometry { pred, truth, found: apart.to_string() }
}

impl Unread {
    /// Opens a label volume and refuses what its header already rules out.
    pub(super) fn open(path: &Path) -> Result<Self, MeasureError> {
        let opened = Opened::new(path)?;
        Onto::new(&[&opened], &[path])?.read(opened, path)
    }

    /// Opens a pair.
    pub(super) fn pair([a, b]: [&Path; 2]) -> Result<[Self; 2], MeasureError> {
        let (first, second) = (Opened::new(a)?, Opened::new(b)?);
        let paths = [a, b];
        let onto = Onto::new(&[&first, &second], &paths)?;
        Ok([onto.read(first, a)?, onto.read(second, b)?])
    }

    fn new(path: &Path, reader: Box<dyn PlaneReader>) -> Result<Self, MeasureError> {
        let (channels, size) = (reader.grid().channels(), reader.grid().size());
        if channels > 1 {
            return Err(MeasureError::Channels { path: path.into(), channels });
        }
        if size.iter().map(|&n| n as u64).fold(1, u64::saturating_mul) > MAX_LABEL_VOXELS {
            return Err(MeasureError::TooLarge { path: path.into(), size });
        }
        Ok(Self { path: path.into(), source: SliceSource::stored(reader) })
    }

    /// The grid, with axes in the file's order.
    pub(super) fn geometry(&self) -> &Geometry {
        self.source.geometry()
    }

    /// Reads the voxels.
    pub(super) fn read(self) -> Result<LabelVolume, MeasureError> {
        LabelVolume::take(self.path, self.source)
    }
}
