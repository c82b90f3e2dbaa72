//! Slices in: a volume's planes as slices in the model's orientation.
//!
//! Where the grid's third axis is the model's slice axis and there is one channel, a plane is a
//! slice, and slices stream straight from the reader. Elsewhere they pass through a spool on disk,
//! as they do from a reader that gives its planes only once. Memory never depends on the number of
//! slices.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::VolumeError;
use super::geometry::{AxisMap, Geometry, Orientation};
use super::grid::{Grid, MAX_SLICE_VOXELS};
use super::nifti::NiftiReader;
use super::planes::PlaneReader;
use super::region::{Region, VoxelBox};
use super::scalings::Scalings;
use super::spool::{Layout, Spool};
use super::uneven::Uneven;
use super::voxels::{Decoder, Placement, Range};

/// How a volume is to be read.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// Orientation in which slices are wanted.
    pub orientation: Orientation,
    /// Folder for the spool, should one be needed; the system's temporary folder when `None`. The
    /// spool takes as much as the volume's uncompressed voxels.
    pub spool_dir: Option<PathBuf>,
    /// Set from outside, it ends the filling of the spool before the next plane, and the reading of
    /// a file that [`SliceSource::open`] opens before the next 64 KiB.
    pub interrupted: Option<Arc<AtomicBool>>,
    /// The part that is wanted: read as if there were nothing else. The spool takes the whole
    /// volume all the same.
    pub region: Option<Region>,
}

impl SourceOptions {
    /// Geometry of the slices that [`SliceSource::new`] reads from this grid, known before any
    /// voxel is read.
    ///
    /// # Errors
    /// [`VolumeError::Region`]
    pub fn geometry(&self, grid: &Grid) -> Result<Geometry, VolumeError> {
        Ok(self.part(grid)?.of(grid.geometry()).oriented(self.map(grid)))
    }

    /// Which axis of the grid is which of the slices'.
    fn map(&self, grid: &Grid) -> AxisMap {
        AxisMap::between(grid.geometry().affine.orientation(), self.orientation)
    }

    /// The part that is wanted, along the grid's axes.
    fn part(&self, grid: &Grid) -> Result<VoxelBox, VolumeError> {
        let Some(region) = self.region else { return Ok(VoxelBox::whole(grid.size())) };
        region.voxels(grid.geometry()).map_err(|source| VolumeError::Region {
            path: grid.name().to_owned(),
            source: Box::new(source),
        })
    }

    fn interrupted(&self) -> bool {
        self.interrupted.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
}

/// A volume as a stream of slices.
pub struct SliceSource<'a> {
    reader: Box<dyn PlaneReader + 'a>,
    map: AxisMap,
    /// Of what is read.
    geometry: Geometry,
    /// Where that lies in the whole grid, in the orientation asked for.
    part: VoxelBox,
    placement: Placement,
    decoder: Decoder,
    /// Where slices pass through a spool: all of them.
    spool: Option<Spool>,
    /// Of the planes in the spool; without one, of the plane that was read last.
    scalings: Scalings,
    /// One slice as stored, channel after channel.
    raw: Vec<u8>,
    next: usize,
    non_finite: u64,
    /// Least and most finite value of each channel.
    ranges: Vec<Range>,
}

impl fmt::Debug for SliceSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SliceSource")
            .field("grid", self.reader.grid())
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl SliceSource<'static> {
    /// Opens a NIfTI file; where a spool is needed, this reads the whole file once.
    ///
    /// # Errors
    /// As [`NiftiReader::open`] and [`SliceSource::new`].
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Self, VolumeError> {
        let reader = NiftiReader::open(path, options.interrupted.clone())?;
        Self::new(Box::new(reader), options)
    }
}

impl<'a> SliceSource<'a> {
    /// The slices of a volume of which no plane was read; where a spool is needed, this reads the
    /// whole volume once.
    ///
    /// # Errors
    /// [`VolumeError::Region`]; [`VolumeError::Grid`] where a slice would be too large;
    /// [`VolumeError::Spool`]; as [`PlaneReader::read`].
    pub fn new(
        reader: Box<dyn PlaneReader + 'a>,
        options: &SourceOptions,
    ) -> Result<Self, VolumeError> {
        let (map, part) = (options.map(reader.grid()), options.part(reader.grid())?);
        let mut source = Self::stored_part(reader, map, part);
        let straight = map.keeps_slices() && source.channels() == 1;
        if !(straight && source.reader.can_restart()) {
            source.fill_spool(options)?;
        }
        Ok(source)
    }

    /// The planes of a volume of one channel as slices, in the stored order, for one pass: no spool
    /// is needed, for a pipe either.
    pub(crate) fn stored(reader: Box<dyn PlaneReader + 'a>) -> Self {
        let own = reader.grid().geometry().affine.orientation();
        let part = VoxelBox::whole(reader.grid().size());
        Self::stored_part(reader, AxisMap::between(own, own), part)
    }

    /// A source without a spool, for a part along the grid's axes.
    fn stored_part(reader: Box<dyn PlaneReader + 'a>, map: AxisMap, part: VoxelBox) -> Self {
        let grid = reader.grid();
        let oriented = part.oriented(grid.size(), map);
        Self {
            map,
            geometry: part.of(grid.geometry()).oriented(map),
            part: oriented,
            placement: Placement::new(grid.size(), map).within(oriented),
            decoder: Decoder::new(grid),
            spool: None,
            scalings: Scalings::default(),
            raw: vec![0; grid.plane_bytes()],
            next: 0,
            non_finite: 0,
            ranges: vec![Range::NONE; grid.channels()],
            reader,
        }
    }

    /// Takes the whole volume into a spool.
    fn fill_spool(&mut self, options: &SourceOptions) -> Result<(), VolumeError> {
        let grid = self.reader.grid();
        check_slice(grid, self.map)?;
        let layout = Layout::new(grid.size(), grid.channels(), grid.voxel_type().size(), self.map);
        let mut spool = Spool::create(options.spool_dir.as_deref(), layout)?;
        spool.fill(|plane| {
            if options.interrupted() {
                let path = self.reader.grid().name().to_owned();
                return Err(VolumeError::Interrupted { path });
            }
            self.scalings.push(self.reader.read(plane)?);
            Ok(())
        })?;
        self.raw = vec![0; layout.record_bytes()];
        self.spool = Some(spool);
        Ok(())
    }

    /// Geometry of what is read, in the orientation asked for: width, height, slices. Slices and
    /// rows count within it.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Geometry of the whole grid in the orientation asked for.
    #[must_use]
    pub fn whole(&self) -> Geometry {
        self.grid().geometry().oriented(self.map)
    }

    /// Where in [`SliceSource::whole`] lies what is read.
    #[must_use]
    pub fn part(&self) -> VoxelBox {
        self.part
    }

    /// The places of slices that are not evenly spaced, along their axis of what is read.
    #[must_use]
    pub fn uneven(&self) -> Option<Uneven> {
        let places = self.grid().places();
        (!places.is_empty()).then(|| Uneven::of(places, self.map, self.part))
    }

    /// Channels of each slice.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.ranges.len()
    }

    /// The volume's own grid.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        self.reader.grid()
    }

    /// How the grid's axes map to the orientation asked for.
    #[must_use]
    pub fn axis_map(&self) -> AxisMap {
        self.map
    }

    /// Values of a slice: channels × height × width.
    #[must_use]
    pub fn slice_len(&self) -> usize {
        self.channels() * self.placement.len()
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
    /// axis, `None` after the last. Slices come in the stored order: ascending, or descending where
    /// the grid runs the other way along that axis. Of a region only its own slices come. After an
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
            return Err(error);
        }
        self.next += 1;
        Ok(Some(self.index()))
    }

    /// Index of the slice that was read last, along the third axis.
    fn index(&self) -> usize {
        let number = self.next - 1;
        self.map.slice.index(number, self.geometry.size[2])
    }

    /// Reads the next slice as stored. With the first slice goes what lies before it, with the last
    /// what lies behind it: a volume is read to its end, where damage shows.
    fn read_next(&mut self) -> Result<(), VolumeError> {
        let [before, behind] = self.part.outside(self.grid().size()[self.map.slice.axis], self.map);
        let (first, last) = (self.next == 0, self.next + 1 == self.geometry.size[2]);
        if let Some(spool) = &mut self.spool {
            if first {
                spool.skip(before)?;
            }
            return Ok(spool.read_record(&mut self.raw)?);
        }
        let (reader, raw) = (&mut self.reader, &mut self.raw);
        (0..if first { before } else { 0 }).try_for_each(|_| reader.read(raw).map(drop))?;
        self.scalings.clear();
        self.scalings.push(reader.read(raw)?);
        if last && behind > 0 {
            let mut unused = vec![0; raw.len()];
            (0..behind).try_for_each(|_| reader.read(&mut unused).map(drop))?;
        }
        Ok(())
    }

    /// Row `y` of a channel of the slice that [`SliceSource::advance`] went on to, slope and
    /// intercept of its planes applied. Values that are not finite become NaN and are counted, each
    /// time that they are read.
    ///
    /// # Panics
    /// When there is no such slice, channel or row, or `out` is not as long as a row.
    pub fn row(&mut self, channel: usize, y: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.placement.width(), "row length");
        let plane_bytes = self.raw.len() / self.channels();
        let raw = &self.raw[channel * plane_bytes..][..plane_bytes];
        let places = self.placement.row(y);
        self.non_finite += match self.scalings.common() {
            Some(scaling) => self.decoder.decode(raw, places, scaling, out),
            // Along a row that crosses the stored planes, the scaling may change at every voxel.
            None if self.map.x.axis == 2 => (0..out.len())
                .map(|x| {
                    let scaling = self.scalings.of(self.plane(channel, [x, y]));
                    self.decoder.decode(raw, places.skip(x), scaling, &mut out[x..=x])
                })
                .sum(),
            None => {
                let scaling = self.scalings.of(self.plane(channel, [0, y]));
                self.decoder.decode(raw, places, scaling, out)
            }
        };
        self.ranges[channel].add(out);
    }

    /// The stored plane that a voxel of the current slice comes from.
    fn plane(&self, channel: usize, [x, y]: [usize; 2]) -> usize {
        let at = [x, y, self.index()];
        let axes = self.map.axes();
        let across = axes.iter().position(|from| from.axis == 2).unwrap_or(2);
        let planes = self.grid().size()[2];
        channel * planes + axes[across].index(self.part.first[across] + at[across], planes)
    }

    /// Starts over, for a further pass.
    ///
    /// # Errors
    /// As [`PlaneReader::restart`]; [`VolumeError::Spool`].
    pub fn rewind(&mut self) -> Result<(), VolumeError> {
        if self.next > 0 {
            match &mut self.spool {
                Some(spool) => spool.rewind()?,
                None => self.reader.restart()?,
            }
        }
        self.next = 0;
        self.non_finite = 0;
        self.ranges.fill(Range::NONE);
        Ok(())
    }

    /// Makes sure that what was read is still the volume: at the end of work, before its result is
    /// published.
    ///
    /// # Errors
    /// [`VolumeError::Changed`]
    pub fn verify(&self) -> Result<(), VolumeError> {
        self.reader.verify()
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

/// Bounds a slice along other axes than the grid's planes as planes are bounded, since its declared
/// size says nothing yet.
fn check_slice(grid: &Grid, map: AxisMap) -> Result<(), VolumeError> {
    let [width, height] = [map.x.axis, map.y.axis].map(|axis| grid.size()[axis] as u64);
    // In 64 bits, because the product of what a header declares may not fit a 32-bit target's
    // usize.
    if width * height * grid.channels() as u64 <= MAX_SLICE_VOXELS as u64 {
        return Ok(());
    }
    Err(grid.refused(
        "size",
        format!("{:?} with {} channel(s)", grid.size(), grid.channels()),
        format!("slices of at most {MAX_SLICE_VOXELS} voxels in the model's orientation"),
    ))
}
