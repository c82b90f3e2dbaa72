//! Slices in: a volume file read one slice at a time, in the model's orientation.
//!
//! Where the file's slowest axis is the model's slice axis and there is one channel, slices stream
//! straight from the file; otherwise they pass through a spool on disk, as they do from a pipe,
//! which gives its bytes but once. Memory never depends on the number of slices.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::bytes::{self, Stream, Whole};
use super::error::{VolumeError, VolumeWarning};
use super::geometry::{AxisMap, Geometry, Orientation};
use super::header::{Files, MAX_SLICE_VOXELS, VolumeHeader};
use super::region::{Region, VoxelBox};
use super::spool::{Layout, Spool};
use super::voxels::{Decoder, Placement, Range};

/// How a volume is to be read.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// Orientation in which slices are wanted.
    pub orientation: Orientation,
    /// Folder for the spool, should one be needed; the system's temporary folder when `None`. The
    /// spool takes as much as the volume's uncompressed voxels.
    pub spool_dir: Option<PathBuf>,
    /// Set from outside, it ends reading, the filling of the spool included, before the next 64 KiB
    /// of the file.
    pub interrupted: Option<Arc<AtomicBool>>,
    /// The part that is wanted: read as if there were nothing else. The spool takes the whole
    /// volume all the same.
    pub region: Option<Region>,
}

/// A volume as a stream of slices.
pub struct SliceSource {
    header: VolumeHeader,
    files: Files,
    map: AxisMap,
    /// Of what is read.
    geometry: Geometry,
    /// Where that lies in the whole grid, in the orientation asked for.
    part: VoxelBox,
    placement: Placement,
    decoder: Decoder,
    way: Way,
    /// One slice as stored.
    raw: Vec<u8>,
    next: usize,
    non_finite: u64,
    /// Least and most finite value of each channel.
    ranges: Vec<Range>,
}

/// How slices come.
enum Way {
    Straight(Planes),
    Spooled(Spool),
}

impl Way {
    /// The way of a file's slices, and the bytes of one as stored. Where it leads through a spool,
    /// that is filled.
    fn new(
        header: &mut VolumeHeader,
        files: &Files,
        stream: Stream,
        map: AxisMap,
        spool_dir: Option<&Path>,
    ) -> Result<(Self, usize), VolumeError> {
        let mut planes = Planes::new(header, stream)?;
        if map.keeps_slices() && header.channels == 1 && files.data().is_seekable() {
            return Ok((Self::Straight(planes), header.slice_bytes()));
        }
        check_slice(header, map)?;
        let layout = Layout::new(header.size, header.channels, header.data_type.size(), map);
        let mut spool = Spool::create(spool_dir, layout)?;
        spool.fill(|plane| planes.read(plane).map_err(|e| files.check().err().unwrap_or(e)))?;
        files.check()?;
        planes.warn(&mut header.warnings);
        Ok((Self::Spooled(spool), layout.record_bytes()))
    }
}

impl std::fmt::Debug for SliceSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SliceSource")
            .field("header", &self.header)
            .field("next", &self.next)
            .finish()
    }
}

impl SliceSource {
    /// Opens a volume; where a spool is needed, this reads the whole file once. Each file is opened
    /// once and never again: what takes its name later is not read, and is noticed at the end of a
    /// pass.
    ///
    /// # Errors
    /// [`VolumeError`]
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Self, VolumeError> {
        Self::open_if(path, options, |_| Ok(()))
    }

    /// Opens a volume whose geometry passes a check (of what is read, in the orientation asked
    /// for), which comes before any voxel.
    ///
    /// # Errors
    /// That of the check; [`VolumeError`]
    pub fn open_if<E: From<VolumeError>>(
        path: &Path,
        options: &SourceOptions,
        check: impl FnOnce(&Geometry) -> Result<(), E>,
    ) -> Result<Self, E> {
        let (mut header, files, stream) = VolumeHeader::open(path, &options.interrupted)?;
        let map = AxisMap::between(header.geometry.affine.orientation(), options.orientation);
        let part = match options.region {
            None => VoxelBox::whole(header.size),
            Some(region) => region
                .voxels(&header.geometry)
                .map_err(|e| VolumeError::Region { path: path.to_owned(), source: Box::new(e) })?,
        };
        check(&part.of(&header.geometry).oriented(map))?;
        let way = Way::new(&mut header, &files, stream, map, options.spool_dir.as_deref())?;
        Ok(Self::new(header, files, map, part, way))
    }

    /// Opens a volume of one channel in its file's own order, for one pass: no spool is needed, for
    /// a pipe either. `accept` looks at the header before anything follows from it, and refuses
    /// several channels.
    pub(crate) fn open_stored<E: From<VolumeError>>(
        path: &Path,
        accept: impl FnOnce(&VolumeHeader) -> Result<(), E>,
    ) -> Result<Self, E> {
        let (header, files, stream) = VolumeHeader::open(path, &None)?;
        accept(&header)?;
        let own = header.geometry.affine.orientation();
        let (part, raw_len) = (VoxelBox::whole(header.size), header.slice_bytes());
        let way = (Way::Straight(Planes::new(&header, stream)?), raw_len);
        Ok(Self::new(header, files, AxisMap::between(own, own), part, way))
    }

    /// What lies in a part of the file's grid.
    fn new(
        header: VolumeHeader,
        files: Files,
        map: AxisMap,
        part: VoxelBox,
        (way, raw_len): (Way, usize),
    ) -> Self {
        let oriented = part.oriented(header.size, map);
        Self {
            files,
            geometry: part.of(&header.geometry).oriented(map),
            part: oriented,
            placement: Placement::new(header.size, map).within(oriented),
            decoder: Decoder::new(&header),
            raw: vec![0; raw_len],
            ranges: vec![Range::NONE; header.channels],
            header,
            map,
            way,
            next: 0,
            non_finite: 0,
        }
    }

    /// Geometry of what is read, in the orientation asked for: width, height, slices. Slices and
    /// rows count within it.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Geometry of the file's whole grid in the orientation asked for.
    #[must_use]
    pub fn whole(&self) -> Geometry {
        self.header.geometry.oriented(self.map)
    }

    /// Where in [`SliceSource::whole`] lies what is read.
    #[must_use]
    pub fn part(&self) -> VoxelBox {
        self.part
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

    /// Least and most finite value of a channel that was read in the current pass; `None` where
    /// there was none.
    #[must_use]
    pub fn range(&self, channel: usize) -> Option<[f32; 2]> {
        self.ranges.get(channel)?.ends()
    }

    /// Reads the next slice into `out`, channel after channel, row after row:
    /// [`SliceSource::advance`] and each [`SliceSource::row`].
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

    /// Goes on to the next slice, whose rows can then be read. Returns its index along the third
    /// axis, `None` after the last. Slices come in the file's order: ascending, or descending where
    /// the file stores that axis the other way. Of a region only its own slices come. After an
    /// error there are no more slices until [`SliceSource::rewind`].
    ///
    /// # Errors
    /// [`VolumeError::Data`], [`VolumeError::Changed`], [`VolumeError::Interrupted`],
    /// [`VolumeError::Spool`]
    pub fn advance(&mut self) -> Result<Option<usize>, VolumeError> {
        let slices = self.geometry.size[2];
        if self.next == slices {
            return Ok(None);
        }
        if let Err(error) = self.read_next() {
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

    /// The next slice as stored, and with the first and the last one what lies before and behind: a
    /// file is read to its end, where damage shows.
    fn read_next(&mut self) -> Result<(), VolumeError> {
        let [before, behind] = self.part.outside(self.header.size[self.map.0[2].axis], self.map);
        let (first, last) = (self.next == 0, self.next + 1 == self.geometry.size[2]);
        match &mut self.way {
            Way::Straight(planes) => {
                (0..if first { before } else { 0 }).try_for_each(|_| planes.read(&mut self.raw))?;
                planes.read(&mut self.raw)?;
                if last && behind > 0 {
                    let mut unused = vec![0; self.raw.len()];
                    (0..behind).try_for_each(|_| planes.read(&mut unused))?;
                }
                Ok(())
            }
            Way::Spooled(spool) => {
                if first {
                    spool.skip(before)?;
                }
                spool.read_record(&mut self.raw)
            }
        }
    }

    /// Row `y` of a channel of the slice that [`SliceSource::advance`] went on to, slope and
    /// intercept applied; what is not finite becomes NaN and is counted, each time that it is read.
    ///
    /// # Panics
    /// When there is no such slice, channel or row, or `out` is not as long as a row.
    pub fn row(&mut self, channel: usize, y: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.placement.width(), "row length");
        let plane_bytes = self.raw.len() / self.header.channels;
        let raw = &self.raw[channel * plane_bytes..][..plane_bytes];
        self.non_finite += self.decoder.row(raw, &self.placement, y, out);
        self.ranges[channel].add(out);
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
        self.ranges.fill(Range::NONE);
        Ok(())
    }

    /// Makes sure that what was read is still what the volume's name leads to: at the end of work,
    /// before its result is given a name.
    ///
    /// # Errors
    /// [`VolumeError::Changed`]
    pub fn verify(&self) -> Result<(), VolumeError> {
        self.files.check()
    }

    /// Reads all slices from the start, sorted by index: for tools on a host, since it takes the
    /// whole volume's memory.
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

/// A slice along another axis than the file's is bounded as the file's own are: its declared size
/// says nothing yet.
fn check_slice(header: &VolumeHeader, map: AxisMap) -> Result<(), VolumeError> {
    let [width, height] = [map.0[0].axis, map.0[1].axis].map(|axis| header.size[axis] as u64);
    // In 64 bits, because the product of what a header declares may not fit a 32-bit target's
    // usize.
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
        self.reader
            .read_exact(plane)
            .map_err(|e| broken(&self.path, self.slice, self.slices, e))?;
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

/// Refuses at once what is too short for the voxels that the header declares, before anything is
/// allocated for them.
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
