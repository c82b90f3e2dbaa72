//! The marker segments of a JPEG frame (T.81, annex B).

use super::huffman::Huffman;
use super::{PixelFormat, damaged, mismatch};
use crate::pixels::PixelError;

/// How a frame is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    /// Baseline and extended sequential DCT.
    Sequential,
    /// Differences to a prediction.
    Lossless,
}

/// A frame header.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) process: Process,
    pub(super) precision: u8,
    pub(super) rows: u16,
    pub(super) columns: u16,
    pub(super) components: Vec<Component>,
}

/// A component of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Component {
    id: u8,
    sampling: u8,
    pub(super) quantization: usize,
}

/// A scan header.
#[derive(Debug)]
pub(super) struct Scan {
    /// Which of the frame's components.
    pub(super) components: Vec<usize>,
    /// The Huffman tables of each, for differences and for other coefficients.
    pub(super) tables: Vec<(usize, usize)>,
    /// Of lossless scans.
    pub(super) predictor: u8,
    /// Of lossless scans: low bits that were left out.
    pub(super) shift: u8,
}

/// What segments in front of a scan define.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) dc: [Option<Huffman>; 4],
    pub(super) ac: [Option<Huffman>; 4],
    pub(super) quantization: [Option<[u16; 64]>; 4],
    /// Units between restarts; 0 is none.
    pub(super) restart: u16,
}

/// A segment that a decoder acts upon.
#[derive(Debug)]
pub(super) enum Segment {
    Frame(Frame),
    Scan(Scan),
    End,
}

impl Frame {
    /// Compares a frame header with the file's header.
    pub(super) fn check(&self, format: &PixelFormat) -> Result<(), PixelError> {
        if self.rows != format.rows {
            return Err(mismatch("rows", self.rows, format.rows));
        }
        if self.columns != format.columns {
            return Err(mismatch("columns", self.columns, format.columns));
        }
        if self.components.len() != usize::from(format.samples) {
            return Err(mismatch("components", self.components.len() as u64, format.samples));
        }
        if u16::from(self.precision) > format.bits_allocated {
            return Err(mismatch("bits", self.precision, format.bits_allocated));
        }
        let several = self.components.len() > 1;
        match self.process {
            Process::Sequential if several => Err(PixelError::Unsupported("JPEG of colour")),
            Process::Sequential if !matches!(self.precision, 8 | 12) => {
                Err(mismatch("bits", self.precision, 8_u8))
            }
            Process::Lossless if !(2..=16).contains(&self.precision) => {
                Err(mismatch("bits", self.precision, 16_u8))
            }
            // One component's sampling is without meaning.
            _ if several && self.components.iter().any(|c| c.sampling != 0x11) => {
                Err(PixelError::Unsupported("lossless JPEG with components of several sizes"))
            }
            _ => Ok(()),
        }
    }

    /// The bits that coded pixels take at least.
    pub(super) fn least_bits(&self) -> u64 {
        let size = |side: u16| u64::from(side);
        match self.process {
            Process::Lossless => {
                size(self.rows) * size(self.columns) * self.components.len() as u64
            }
            Process::Sequential => 2 * size(self.rows).div_ceil(8) * size(self.columns).div_ceil(8),
        }
    }
}

/// Walks from marker to marker.
pub(super) struct Reader<'a> {
    data: &'a [u8],
    frame: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Result<Self, PixelError> {
        match data.strip_prefix(&[0xff, 0xd8]) {
            Some(data) => Ok(Self { data, frame: Vec::new() }),
            None => Err(damaged("it does not begin as JPEG")),
        }
    }

    /// What follows the last segment.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.data
    }

    /// Goes behind a scan's bytes.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.data = self.data.get(bytes..).unwrap_or_default();
    }

    fn byte(&mut self) -> Result<u8, PixelError> {
        let (&byte, rest) = self.data.split_first().ok_or_else(|| damaged("it is cut off"))?;
        self.data = rest;
        Ok(byte)
    }

    /// The next marker's code.
    fn marker(&mut self) -> Result<u8, PixelError> {
        if self.byte()? != 0xff {
            return Err(damaged("no marker where one must be"));
        }
        loop {
            // Fill bytes.
            match self.byte()? {
                0xff => {}
                code => return Ok(code),
            }
        }
    }

    /// A segment's bytes.
    fn segment(&mut self) -> Result<&'a [u8], PixelError> {
        let length = usize::from(u16::from_be_bytes([self.byte()?, self.byte()?]));
        let split = length.checked_sub(2).and_then(|length| self.data.split_at_checked(length));
        let (segment, rest) = split.ok_or_else(|| damaged("a segment is cut off"))?;
        self.data = rest;
        Ok(segment)
    }

    /// The next frame, scan or end; tables on the way are taken in.
    pub(super) fn next(&mut self, tables: &mut Tables) -> Result<Segment, PixelError> {
        loop {
            match self.marker()? {
                0xd9 => return Ok(Segment::End),
                // Markers without segment.
                0x01 | 0xd0..=0xd7 => {}
                0xc0 | 0xc1 => return self.frame(Process::Sequential),
                0xc3 => return self.frame(Process::Lossless),
                0xc2 => return Err(PixelError::Unsupported("progressive JPEG")),
                0xc5..=0xc7 => return Err(PixelError::Unsupported("hierarchical JPEG")),
                0xc9..=0xcb | 0xcd..=0xcf => {
                    return Err(PixelError::Unsupported("JPEG with arithmetic coding"));
                }
                0xc4 => huffman_tables(self.segment()?, tables)?,
                0xdb => quantization_tables(self.segment()?, tables)?,
                0xdd => {
                    let segment = self.segment()?.first_chunk();
                    let interval = segment.ok_or_else(|| damaged("no restart interval"))?;
                    tables.restart = u16::from_be_bytes(*interval);
                }
                0xda => return Ok(Segment::Scan(scan(self.segment()?, &self.frame)?)),
                0xc8 | 0xd8 => return Err(damaged("a marker that cannot be there")),
                _ => drop(self.segment()?),
            }
        }
    }

    fn frame(&mut self, process: Process) -> Result<Segment, PixelError> {
        let short = || damaged("its frame header is too short");
        let (front, rest) = self.segment()?.split_first_chunk::<6>().ok_or_else(short)?;
        let [precision, r0, r1, c0, c1, count] = *front;
        let (specs, _) = rest.as_chunks::<3>();
        if specs.len() < usize::from(count) {
            return Err(short());
        }
        let components: Vec<Component> = specs[..usize::from(count)]
            .iter()
            .map(|&[id, sampling, table]| Component {
                id,
                sampling,
                quantization: usize::from(table & 3),
            })
            .collect();
        self.frame = components.iter().map(|component| component.id).collect();
        let (rows, columns) = (u16::from_be_bytes([r0, r1]), u16::from_be_bytes([c0, c1]));
        Ok(Segment::Frame(Frame { process, precision, rows, columns, components }))
    }
}

fn scan(segment: &[u8], frame: &[u8]) -> Result<Scan, PixelError> {
    let short = || damaged("its scan header is too short");
    let (&count, rest) = segment.split_first().ok_or_else(short)?;
    let (specs, end) = rest.split_at_checked(usize::from(count) * 2).ok_or_else(short)?;
    let [predictor, _, approximation] = *end.first_chunk().ok_or_else(short)?;
    let (mut components, mut tables) = (Vec::new(), Vec::new());
    for &[id, table] in specs.as_chunks::<2>().0 {
        let index = frame.iter().position(|&component| component == id);
        let index = index.ok_or_else(|| damaged("a scan of a component that is not there"))?;
        components.push(index);
        tables.push((usize::from(table >> 4 & 3), usize::from(table & 3)));
    }
    if components.is_empty() {
        return Err(short());
    }
    Ok(Scan { components, tables, predictor, shift: approximation & 15 })
}

fn huffman_tables(mut segment: &[u8], tables: &mut Tables) -> Result<(), PixelError> {
    let short = || damaged("a Huffman table is cut off");
    while let Some((&class, rest)) = segment.split_first() {
        let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
        let total = counts.iter().map(|&count| usize::from(count)).sum();
        let (symbols, rest) = rest.split_at_checked(total).ok_or_else(short)?;
        let table = Some(Huffman::new(counts, symbols)?);
        match class >> 4 {
            0 => tables.dc[usize::from(class & 3)] = table,
            _ => tables.ac[usize::from(class & 3)] = table,
        }
        segment = rest;
    }
    Ok(())
}

fn quantization_tables(mut segment: &[u8], tables: &mut Tables) -> Result<(), PixelError> {
    let short = || damaged("a quantization table is cut off");
    while let Some((&class, rest)) = segment.split_first() {
        let size = if class >> 4 == 0 { 1 } else { 2 };
        let (bytes, rest) = rest.split_at_checked(64 * size).ok_or_else(short)?;
        let mut table = [0; 64];
        for (entry, bytes) in table.iter_mut().zip(bytes.chunks_exact(size)) {
            *entry = bytes.iter().fold(0, |entry, &byte| entry << 8 | u16::from(byte));
        }
        tables.quantization[usize::from(class & 3)] = Some(table);
        segment = rest;
    }
    Ok(())
}
