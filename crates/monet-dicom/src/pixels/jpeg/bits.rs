//! The bits of a scan (T.81, section F.2.2.5): a zero byte follows each byte of ones, and a marker
//! ends them.

use super::damaged;
use crate::pixels::PixelError;

/// Reads a scan's bits, the highest first.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
    /// Zero bits that were put behind the scan's end.
    beyond: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, held: 0, count: 0, beyond: 0 }
    }

    /// How many bytes were read; right only between scans.
    pub(super) fn used(&self) -> usize {
        self.at
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let byte = match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                (None, _) | (Some(0xff), _) => {
                    self.beyond += 8;
                    0
                }
                (Some(&byte), _) => {
                    self.at += 1;
                    byte
                }
            };
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// The next 16 bits, which stay.
    pub(super) fn peek16(&mut self) -> u32 {
        if self.count < 16 {
            self.fill();
        }
        (self.held >> (self.count - 16)) as u32 & 0xffff
    }

    /// Passes over up to 16 bits that were looked at.
    pub(super) fn consume(&mut self, bits: u32) -> Result<(), PixelError> {
        self.count -= bits;
        if self.beyond > self.count {
            return Err(damaged("a scan is too short"));
        }
        Ok(())
    }

    /// A number of up to 16 bits, of which a leading zero means a negative one (T.81, F.2.2.1).
    pub(super) fn number(&mut self, bits: u32) -> Result<i32, PixelError> {
        if bits == 0 {
            return Ok(0);
        }
        let value = (self.peek16() >> (16 - bits)) as i32;
        self.consume(bits)?;
        Ok(if value >> (bits - 1) == 0 { value - (1 << bits) + 1 } else { value })
    }

    /// Goes behind the next restart marker.
    pub(super) fn restart(&mut self) -> Result<(), PixelError> {
        self.held = 0;
        self.count = 0;
        self.beyond = 0;
        // What is held was read from before the marker, which is where reading stopped.
        while self.data.get(self.at) == Some(&0xff) && self.data.get(self.at + 1) == Some(&0xff) {
            self.at += 1;
        }
        match self.data.get(self.at..self.at + 2) {
            Some([0xff, 0xd0..=0xd7]) => {
                self.at += 2;
                Ok(())
            }
            _ => Err(damaged("no restart marker where one must be")),
        }
    }
}
