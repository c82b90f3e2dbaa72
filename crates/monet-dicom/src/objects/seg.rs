//! Binary segmentations (A.51, C.8.20): a frame of one bit a pixel for each segment and slice.
//!
//! ```text
//!  push   plane ─▶ for each segment in it: frame of bits ─▶ end of the spool
//!  finish header, groups of all frames, then the frames from the spool: by segment, then slice;
//!         the bits of a frame begin where the bits of the frame before it end
//! ```

use std::io::{Read, Seek, SeekFrom, Write};

use super::context::{Context, Kind};
use super::error::{ObjectError, Warning};
use super::groups::{Frame, Groups};
use super::header::{Header, header};
use super::segment::describe_segments;
use crate::dataset::Vr;
use crate::tags;
use crate::write::{Syntax, WriteError, Writer};

/// Writes a binary segmentation of planes that come one by one.
#[derive(Debug)]
pub struct SegWriter<'a, S> {
    context: &'a Context,
    header: Header,
    spool: S,
    /// Segment and slice of each frame in the spool.
    spooled: Vec<Spooled>,
    /// How many planes have come.
    planes: usize,
    segments: [Option<u8>; 256],
    /// A frame of bits.
    bits: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Spooled {
    segment: u8,
    slice: u32,
    place: u32,
}

impl<'a, S: Read + Write + Seek> SegWriter<'a, S> {
    /// Begins a segmentation. The spool is an empty temporary file.
    ///
    /// # Errors
    ///
    /// What makes an object impossible: see [`ObjectError`].
    pub fn new(context: &'a Context, spool: S) -> Result<Self, ObjectError> {
        let header = header(context, Kind::Seg)?;
        let segments = context.segment_of_value();
        let bits = vec![0; context.plane_len().div_ceil(8)];
        Ok(Self { context, header, spool, spooled: Vec::new(), planes: 0, segments, bits })
    }

    /// Takes the next slice's labels, row by row.
    ///
    /// # Errors
    ///
    /// A plane of another size, one too many, a value of no segment, or what the spool says.
    pub fn push(&mut self, plane: &[u8]) -> Result<(), ObjectError> {
        let present = self.context.present(plane, self.planes)?;
        for value in (1..=255).filter(|value| present[usize::from(*value)]) {
            let Some(segment) = self.segments[usize::from(value)] else { continue };
            pack(plane, value, &mut self.bits);
            self.spool.write_all(&self.bits).map_err(ObjectError::Spool)?;
            let place = self.spooled.len() as u32;
            self.spooled.push(Spooled { segment, slice: self.planes as u32, place });
        }
        self.planes += 1;
        Ok(())
    }

    /// Writes the file, once all planes have come.
    ///
    /// # Errors
    ///
    /// Planes that are missing, or what the spool or the destination says.
    pub fn finish<W: Write>(mut self, out: W) -> Result<(W, Vec<Warning>), ObjectError> {
        self.context.check_count(self.planes)?;
        self.spooled.sort_unstable();
        let frames = self.frames();
        let mut writer = Writer::file(
            out,
            Syntax::Explicit,
            Kind::Seg.class_uid(),
            &self.context.instance_uid(Kind::Seg),
        )?;
        let groups = Groups::new(self.context, &mut self.header, true);
        self.describe(&groups, &frames);
        writer.elements(&self.header.set)?;
        writer.sequence(tags::PER_FRAME, frames.iter().map(|frame| groups.frame(*frame)))?;
        self.pixels(&mut writer, frames.len())?;
        Ok((writer.finish()?, self.header.warnings))
    }

    /// The frames in their order. A segmentation without a labelled pixel shows segment 1 on all
    /// slices, since readers refuse one without frames.
    fn frames(&self) -> Vec<Frame> {
        if self.spooled.is_empty() {
            let frame = |slice| Frame { slice, rank: slice as u32 + 1, segment: Some(1) };
            return (0..self.planes).map(frame).collect();
        }
        let mut shown = vec![0; self.planes];
        self.spooled.iter().for_each(|frame| shown[frame.slice as usize] = 1);
        let mut rank = 0;
        for shown in &mut shown {
            rank += *shown;
            *shown = rank;
        }
        let frame = |spooled: &Spooled| Frame {
            slice: spooled.slice as usize,
            rank: shown[spooled.slice as usize],
            segment: Some(u16::from(spooled.segment) + 1),
        };
        self.spooled.iter().map(frame).collect()
    }

    fn describe(&mut self, groups: &Groups, frames: &[Frame]) {
        let (context, header) = (self.context, &mut self.header);
        header.derived_image(context, "DERIVED\\PRIMARY");
        header.pixels(context, 1);
        describe_segments(context, Kind::Seg, header);
        groups.describe(Kind::Seg, &mut header.set);
        let mut shown = vec![false; context.source.slices.len()];
        frames.iter().for_each(|frame| shown[frame.slice] = true);
        let slices = context.source.slices.iter().zip(shown).filter(|(_, shown)| *shown);
        header.references(context, slices.map(|(slice, _)| slice));
        header.set.put_text(tags::FRAMES, b"IS", frames.len().to_string());
    }

    /// Copies the frames from the spool, bit to bit.
    fn pixels<W: Write>(
        &mut self,
        writer: &mut Writer<W>,
        frames: usize,
    ) -> Result<(), ObjectError> {
        let vr = Vr(*b"OB");
        let frame_bits = self.context.plane_len();
        let length = (frames as u64 * frame_bits as u64).div_ceil(8);
        writer.begin_value(tags::PIXEL_DATA, vr, length)?;
        let mut joint = Joint::new(writer.get_mut());
        if self.spooled.is_empty() {
            self.bits.fill(0);
            for _ in 0..frames {
                joint.append(&self.bits, frame_bits).map_err(WriteError::from)?;
            }
        }
        for spooled in &self.spooled {
            let place = u64::from(spooled.place) * self.bits.len() as u64;
            let read = self.spool.seek(SeekFrom::Start(place));
            let read = read.and_then(|_| self.spool.read_exact(&mut self.bits));
            read.map_err(ObjectError::Spool)?;
            joint.append(&self.bits, frame_bits).map_err(WriteError::from)?;
        }
        joint.finish().map_err(WriteError::from)?;
        Ok(writer.pad(vr, length)?)
    }
}

/// A frame of bits: which pixels have a value, the first in the lowest bit of a byte.
fn pack(plane: &[u8], value: u8, bits: &mut [u8]) {
    for (byte, pixels) in bits.iter_mut().zip(plane.chunks(8)) {
        *byte = pixels.iter().rev().fold(0, |byte, pixel| byte << 1 | u8::from(*pixel == value));
    }
}

/// Joins runs of bits without a gap.
struct Joint<W> {
    out: W,
    /// Bits that do not fill a byte yet, the first in the lowest.
    open: u8,
    /// How many.
    count: usize,
    joined: Vec<u8>,
}

impl<W: Write> Joint<W> {
    fn new(out: W) -> Self {
        Self { out, open: 0, count: 0, joined: Vec::new() }
    }

    /// Appends the first bits of some bytes; the bits behind these are zero.
    fn append(&mut self, bytes: &[u8], bits: usize) -> std::io::Result<()> {
        self.joined.clear();
        let shift = self.count;
        for byte in bytes {
            let both = u16::from(*byte) << shift | u16::from(self.open);
            self.joined.push(both as u8);
            self.open = (both >> 8) as u8;
        }
        // Whole bytes of what there is now; what is left stays open.
        let all = shift + bits;
        if all / 8 < self.joined.len() {
            self.open = self.joined[all / 8];
            self.joined.truncate(all / 8);
        }
        self.count = all % 8;
        self.out.write_all(&self.joined)
    }

    fn finish(mut self) -> std::io::Result<()> {
        if self.count > 0 { self.out.write_all(&[self.open]) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_of_frames_follow_each_other(
            pixels in 1_usize..70,
            planes in prop::collection::vec(any::<u64>(), 1..6),
        ) {
            // Pixel i of a plane is labelled if bit i % 64 of its number is set.
            let labelled = |plane: u64, i: usize| plane >> (i % 64) & 1 == 1;
            let mut out = Vec::new();
            let mut joint = Joint::new(&mut out);
            for plane in &planes {
                let label = |i| 3 * u8::from(labelled(*plane, i));
                let labels: Vec<u8> = (0..pixels).map(label).collect();
                let mut bits = vec![0; pixels.div_ceil(8)];
                pack(&labels, 3, &mut bits);
                joint.append(&bits, pixels).unwrap();
            }
            joint.finish().unwrap();
            prop_assert_eq!(out.len(), (pixels * planes.len()).div_ceil(8));
            for (k, plane) in planes.iter().enumerate() {
                for i in 0..pixels {
                    let bit = k * pixels + i;
                    prop_assert_eq!(out[bit / 8] >> (bit % 8) & 1 == 1, labelled(*plane, i));
                }
            }
        }
    }
}
