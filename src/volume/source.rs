//! Slices in: a volume file read one slice at a time, in the model's orientation.
//!
//! Where the file's slowest axis is the model's slice axis and there is one channel, slices stream straight from the
//! file through [`nifti`]'s streaming reader; otherwise they pass through a spool on disk. Memory never depends on the
//! number of slices.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nifti::volume::streamed::StreamedNiftiVolume;

use super::bytes::{self, Whole};
use super::error::{VolumeError, VolumeWarning};
use super::geometry::{AxisMap, Geometry, Orientation};
use super::header::{MAX_SLICE_VOXELS, VolumeHeader};
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
}

/// A volume as a stream of slices.
pub struct SliceSource {
    header: VolumeHeader,
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
    /// Opens a volume; where a spool is needed, this reads the whole file once.
    ///
    /// # Errors
    /// [`VolumeError`]
    pub fn open(path: &std::path::Path, options: &SourceOptions) -> Result<Self, VolumeError> {
        let mut header = VolumeHeader::read(path)?;
        let map = AxisMap::between(header.geometry.affine.orientation(), options.orientation);
        let mut planes = Planes::open(&header)?;
        let (way, raw_len) = if map.keeps_slices() && header.channels == 1 {
            (Way::Straight(planes), header.slice_bytes())
        } else {
            check_slice(&header, map)?;
            let layout = Layout::new(header.size, header.channels, header.data_type.size(), map);
            let mut spool = Spool::create(options.spool_dir.as_deref(), layout)?;
            let mut buffer = Vec::with_capacity(header.slice_bytes());
            spool.fill(|plane| {
                planes.read(&mut buffer)?;
                plane.copy_from_slice(&buffer);
                Ok(())
            })?;
            planes.warn(&mut header.warnings);
            (Way::Spooled(spool), layout.record_bytes())
        };
        Ok(Self {
            geometry: header.geometry.oriented(map),
            placement: Placement::new(header.size, map),
            decoder: Decoder::new(&header),
            raw: vec![0; raw_len],
            header,
            map,
            way,
            next: 0,
            non_finite: 0,
        })
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
    /// [`VolumeError::Data`], [`VolumeError::Open`], [`VolumeError::Spool`]
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
            return Err(error);
        }
        if let Way::Straight(planes) = &self.way {
            planes.warn(&mut self.header.warnings);
        }
        let index = self.next;
        self.next += 1;
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
                Way::Straight(planes) => *planes = Planes::open(&self.header)?,
                Way::Spooled(spool) => spool.rewind()?,
            }
        }
        self.next = 0;
        self.non_finite = 0;
        Ok(())
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
    stream: StreamedNiftiVolume<Box<dyn Read + Send>>,
    path: PathBuf,
    slices: usize,
    /// Set once the last plane is read, if data follows it.
    trailing: Arc<AtomicBool>,
}

impl Planes {
    fn open(header: &VolumeHeader) -> Result<Self, VolumeError> {
        let (path, slices) = (header.data_path.clone(), header.planes());
        let opened = bytes::open(&path).map_err(|source| VolumeError::Open { path: path.clone(), source })?;
        check_length(header, opened.most)?;
        let mut reader = opened.reader;
        let offset = header.data_offset;
        let skipped = io::copy(&mut (&mut reader).take(offset), &mut io::sink())
            .map_err(|e| damaged(header, 0, e.to_string()))?;
        if skipped < offset {
            return Err(no_voxels(header));
        }
        let trailing = Arc::new(AtomicBool::new(false));
        let length = slices as u64 * header.slice_bytes() as u64;
        let reader: Box<dyn Read + Send> = Box::new(Whole::new(reader, length, trailing.clone()));
        // Only what was validated reaches the streaming reader: trailing dimensions of 1 are gone.
        let mut raw = header.raw.clone();
        raw.dim = [4, 0, 0, 0, header.channels as u16, 1, 1, 1];
        raw.dim[1..4].iter_mut().zip(header.size).for_each(|(dim, size)| *dim = size as u16);
        let stream = StreamedNiftiVolume::from_reader_rank(reader, &raw, 2)
            .map_err(|e| VolumeError::NotNifti { path: path.clone(), found: e.to_string() })?;
        Ok(Self { stream, path, slices, trailing })
    }

    /// The next plane, into a buffer that `nifti` is lent and gives back.
    fn read(&mut self, plane: &mut Vec<u8>) -> Result<(), VolumeError> {
        let slice = self.stream.slices_read();
        let read = self.stream.read_slice_inline(std::mem::take(plane));
        let damaged =
            |found: String| VolumeError::Data { path: self.path.clone(), slice, slices: self.slices, found };
        let volume = read.map_err(|e| damaged(describe(&e)))?;
        *plane = volume.into_raw_data();
        Ok(())
    }

    /// Notes, once, that data follows the last plane.
    fn warn(&self, warnings: &mut Vec<VolumeWarning>) {
        if self.trailing.load(Ordering::Relaxed) && !warnings.contains(&VolumeWarning::Trailing) {
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
    Err(damaged(header, whole as usize, ENDS.to_owned()))
}

fn no_voxels(header: &VolumeHeader) -> VolumeError {
    damaged(header, 0, format!("the data ends before byte {}, where voxels start", header.data_offset))
}

fn damaged(header: &VolumeHeader, slice: usize, found: String) -> VolumeError {
    VolumeError::Data { path: header.data_path.clone(), slice, slices: header.planes(), found }
}

const ENDS: &str = "the voxel data ends here";

/// What a failed read means for the file.
fn describe(error: &nifti::NiftiError) -> String {
    match error {
        nifti::NiftiError::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => ENDS.to_owned(),
        nifti::NiftiError::Io(e) => e.to_string(),
        other => other.to_string(),
    }
}
