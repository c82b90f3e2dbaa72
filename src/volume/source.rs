//! Slices in: a volume file read one slice at a time, in the model's orientation.
//!
//! Where the file's slowest axis is the model's slice axis and there is one channel, slices stream straight from the file;
//! otherwise they pass through a spool on disk, as they do from a pipe, which gives its bytes but once. Memory never depends
//! on the number of slices.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::bytes::{self, Stream, Whole};
use super::error::{VolumeError, VolumeWarning};
use super::geometry::{AxisMap, Geometry, Orientation};
use super::header::{Files, MAX_SLICE_VOXELS, VolumeHeader};
use super::spool::{Layout, Spool};
use super::voxels::{Decoder, Placement};

/// How a volume is to be read.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// Orientation in which slices are wanted.
    pub orientation: Orientation,
    /// Folder for the spool, should one be needed; the system's temporary folder when `None`. The spool takes as much
    /// as the volume's uncompressed voxels.
    pub spool_dir: Option<PathBuf>,
    /// Set from outside, it ends reading, the filling of the spool included, before the next 64 KiB of the file.
    pub interrupted: Option<Arc<AtomicBool>>,
}

/// A volume as a stream of slices.
pub struct SliceSource {
    header: VolumeHeader,
    files: Files,
    map: AxisMap,
    geometry: Geometry,
    placement: Placement,
    decoder: Decoder,
    way: Way,
    /// One slice as stored.
    raw: Vec<u8>,
    next: usize,
    non_finite: u64,
}

/// How slices come.
enum Way {
    Straight(Planes),
    Spooled(Spool),
}

impl std::fmt::Debug for SliceSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SliceSource").field("header", &self.header).field("next", &self.next).finish()
    }
}

impl SliceSource {
    /// Opens a volume; where a spool is needed, this reads the whole file once. Each file is opened once and never again:
    /// what takes its name later is not read, and is noticed at the end of a pass.
    ///
    /// # Errors
    /// [`VolumeError`]
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Self, VolumeError> {
        let (mut header, files, stream) = VolumeHeader::open(path, &options.interrupted)?;
        let map = AxisMap::between(header.geometry.affine.orientation(), options.orientation);
        let mut planes = Planes::new(&header, stream)?;
        let (way, raw_len) = if map.keeps_slices() && header.channels == 1 && files.data().is_seekable() {
            (Way::Straight(planes), header.slice_bytes())
        } else {
            check_slice(&header, map)?;
            let layout = Layout::new(header.size, header.channels, header.data_type.size(), map);
            let mut spool = Spool::create(options.spool_dir.as_deref(), layout)?;
            spool.fill(|plane| planes.read(plane).map_err(|e| files.check().err().unwrap_or(e)))?;
            files.check()?;
            planes.warn(&mut header.warnings);
            (Way::Spooled(spool), layout.record_bytes())
        };
        Ok(Self::new(header, files, map, way, raw_len))
    }

    /// Opens a volume of one channel in its file's own order, for one pass: no spool is needed, for a pipe either. `accept` looks at the
    /// header before anything follows from it, and refuses several channels.
    pub(crate) fn open_stored<E: From<VolumeError>>(
        path: &Path,
        accept: impl FnOnce(&VolumeHeader) -> Result<(), E>,
    ) -> Result<Self, E> {
        let (header, files, stream) = VolumeHeader::open(path, &None)?;
        accept(&header)?;
        let own = header.geometry.affine.orientation();
        let (planes, raw_len) = (Planes::new(&header, stream)?, header.slice_bytes());
        Ok(Self::new(header, files, AxisMap::between(own, own), Way::Straight(planes), raw_len))
    }

    fn new(header: VolumeHeader, files: Files, map: AxisMap, way: Way, raw_len: usize) -> Self {
        Self {
            files,
            geometry: header.geometry.oriented(map),
            placement: Placement::new(header.size, map),
            decoder: Decoder::new(&header),
            raw: vec![0; raw_len],
            header,
            map,
            way,
            next: 0,
            non_finite: 0,
        }
    }

    /// Geometry of the grid in the orientation asked for: width, height, slices.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Channels of each slice.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.header.channels
    }

    /// The file's own header.
    #[must_use]
    pub fn header(&self) -> &VolumeHeader {
        &self.header
    }

    /// How the file's axes map to the orientation asked for.
    #[must_use]
    pub fn axis_map(&self) -> AxisMap {
        self.map
    }

    /// Values of a slice: channels × height × width.
    #[must_use]
    pub fn slice_len(&self) -> usize {
        self.header.channels * self.placement.len()
    }

    /// Voxels read in the current pass that were not finite.
    #[must_use]
    pub fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// Reads the next slice into `out`, channel after channel, row after row: [`SliceSource::advance`] and each
    /// [`SliceSource::row`].
    ///
    /// # Errors
    /// As [`SliceSource::advance`].
    ///
    /// # Panics
    /// When `out` is not [`SliceSource::slice_len`] long.
    pub fn next_into(&mut self, out: &mut [f32]) -> Result<Option<usize>, VolumeError> {
        assert_eq!(out.len(), self.slice_len(), "slice length");
        let Some(index) = self.advance()? else { return Ok(None) };
        let [width, height, _] = self.geometry.size;
        for (i, row) in out.chunks_exact_mut(width).enumerate() {
            self.row(i / height, i % height, row);
        }
        Ok(Some(index))
    }

    /// Goes on to the next slice, whose rows can then be read. Returns its index along the third axis, `None` after the
    /// last. Slices come in the file's order: ascending, or descending where the file stores that axis the other way.
    /// After an error there are no more slices until [`SliceSource::rewind`].
    ///
    /// # Errors
    /// [`VolumeError::Data`], [`VolumeError::Changed`], [`VolumeError::Interrupted`], [`VolumeError::Spool`]
    pub fn advance(&mut self) -> Result<Option<usize>, VolumeError> {
        let slices = self.geometry.size[2];
        if self.next == slices {
            return Ok(None);
        }
        let read = match &mut self.way {
            Way::Straight(planes) => planes.read(&mut self.raw),
            Way::Spooled(spool) => spool.read_record(&mut self.raw),
        };
        if let Err(error) = read {
            self.next = slices;
            return Err(self.files.check().err().unwrap_or(error));
        }
        let index = self.next;
        self.next += 1;
        if let (Way::Straight(planes), true) = (&self.way, self.next == slices) {
            planes.warn(&mut self.header.warnings);
            self.files.check()?;
        }
        Ok(Some(if self.map.0[2].reversed { slices - 1 - index } else { index }))
    }

    /// Row `y` of a channel of the slice that [`SliceSource::advance`] went on to, slope and intercept applied; what is
    /// not finite becomes NaN and is counted, each time that it is read.
    ///
    /// # Panics
    /// When there is no such slice, channel or row, or `out` is not as long as a row.
    pub fn row(&mut self, channel: usize, y: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.placement.width(), "row length");
        let plane_bytes = self.placement.len() * self.header.data_type.size();
        let raw = &self.raw[channel * plane_bytes..][..plane_bytes];
        self.non_finite += self.decoder.row(raw, &self.placement, y, out);
    }

    /// Starts over, for a further pass.
    ///
    /// # Errors
    /// As [`SliceSource::open`].
    pub fn rewind(&mut self) -> Result<(), VolumeError> {
        if self.next > 0 {
            match &mut self.way {
                Way::Straight(planes) => {
                    self.files.check()?;
                    *planes = Planes::new(&self.header, self.files.data().start()?)?;
                }
                Way::Spooled(spool) => spool.rewind()?,
            }
        }
        self.next = 0;
        self.non_finite = 0;
        Ok(())
    }

    /// Makes sure that what was read is still what the volume's name leads to: at the end of work, before its result is
    /// given a name.
    ///
    /// # Errors
    /// [`VolumeError::Changed`]
    pub fn verify(&self) -> Result<(), VolumeError> {
        self.files.check()
    }

    /// Reads all slices from the start, sorted by index: for tools on a host, since it takes the whole volume's memory.
    ///
    /// # Errors
    /// As [`SliceSource::next_into`].
    pub fn read_all(&mut self) -> Result<Vec<f32>, VolumeError> {
        self.rewind()?;
        let mut slices: Vec<(usize, Vec<f32>)> = Vec::new();
        let mut slice = vec![0.0; self.slice_len()];
        while let Some(index) = self.next_into(&mut slice)? {
            slices.push((index, slice.clone()));
        }
        slices.sort_by_key(|(index, _)| *index);
        Ok(slices.into_iter().flat_map(|(_, slice)| slice).collect())
    }
}

/// A slice along another axis than the file's is bounded as the file's own are: its declared size says nothing yet.
fn check_slice(header: &VolumeHeader, map: AxisMap) -> Result<(), VolumeError> {
    let [width, height] = [map.0[0].axis, map.0[1].axis].map(|axis| header.size[axis] as u64);
    // In 64 bits, because the product of what a header declares may not fit a 32-bit target's usize.
    if width * height * header.channels as u64 <= MAX_SLICE_VOXELS as u64 {
        return Ok(());
    }
    Err(VolumeError::Header {
        path: header.path.clone(),
        field: "dim",
        found: format!("{:?} with {} channel(s)", header.size, header.channels),
        expected: format!("slices of at most {MAX_SLICE_VOXELS} voxels in the model's orientation"),
    })
}

/// The planes of a file in its own order.
struct Planes {
    reader: Whole<Box<dyn Read + Send>>,
    path: PathBuf,
    slice: usize,
    slices: usize,
}

impl Planes {
    /// The planes in a stream that stands somewhere before them.
    fn new(header: &VolumeHeader, mut stream: Stream) -> Result<Self, VolumeError> {
        check_length(header, stream.most)?;
        let offset = header.data_offset - stream.at;
        let skipped = io::copy(&mut (&mut stream.reader).take(offset), &mut io::sink())
            .map_err(|e| damaged(header, 0, e))?;
        if skipped < offset {
            return Err(no_voxels(header));
        }
        let length = header.planes() as u64 * header.slice_bytes() as u64;
        let reader = Whole::new(stream.reader, length);
        Ok(Self { reader, path: header.data_path.clone(), slice: 0, slices: header.planes() })
    }

    /// The next plane.
    fn read(&mut self, plane: &mut [u8]) -> Result<(), VolumeError> {
        self.reader.read_exact(plane).map_err(|e| broken(&self.path, self.slice, self.slices, e))?;
        self.slice += 1;
        Ok(())
    }

    /// Notes, once, that data follows the last plane.
    fn warn(&self, warnings: &mut Vec<VolumeWarning>) {
        if self.reader.trailing && !warnings.contains(&VolumeWarning::Trailing) {
            warnings.push(VolumeWarning::Trailing);
        }
    }
}

/// Refuses at once what is too short for the voxels that the header declares, before anything is allocated for them.
fn check_length(header: &VolumeHeader, most: Option<u64>) -> Result<(), VolumeError> {
    let Some(most) = most else { return Ok(()) };
    let Some(voxels) = most.checked_sub(header.data_offset) else { return Err(no_voxels(header)) };
    let whole = voxels / header.slice_bytes() as u64;
    if whole >= header.planes() as u64 {
        return Ok(());
    }
    Err(damaged(header, whole as usize, io::ErrorKind::UnexpectedEof.into()))
}

fn no_voxels(header: &VolumeHeader) -> VolumeError {
    let found = format!("the data ends before byte {}, where voxels start", header.data_offset);
    damaged(header, 0, io::Error::other(found))
}

fn damaged(header: &VolumeHeader, slice: usize, error: io::Error) -> VolumeError {
    broken(&header.data_path, slice, header.planes(), error)
}

/// What a failed read means for the file.
fn broken(path: &Path, slice: usize, slices: usize, error: io::Error) -> VolumeError {
    if bytes::stopped(&error) {
        return bytes::failed(path, error);
    }
    let found = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the voxel data ends here".to_owned(),
        _ => error.to_string(),
    };
    VolumeError::Data { path: path.to_owned(), slice, slices, found }
}
