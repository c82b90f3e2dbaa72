//! Frames: byte stuffing and check. The machine that reads them knows no messages.

/// Most bytes of a kind, a tag and a body.
pub(crate) const MESSAGE: usize = 2 + 4 + 512;
/// Most bytes of a frame's content: a message and its check.
pub const CONTENT: usize = MESSAGE + CHECK;
/// Most bytes of a frame on the wire, with the 0 before it and behind it.
pub const WIRE: usize = 1 + CONTENT + CONTENT / RUN + 1 + 1;

/// Bytes of the check.
const CHECK: usize = 4;
/// Most bytes that are none of them 0 and follow one code.
const RUN: usize = 254;

/// Why bytes between two zeros are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// More of them than a frame has.
    #[error("longer than {CONTENT} bytes")]
    Long,
    /// The stuffing points beyond the end.
    #[error("its end is missing")]
    Cut,
    /// Too few for a kind, a tag and a check.
    #[error("too short for a message")]
    Short,
    /// The check is that of other bytes.
    #[error("its check is wrong")]
    Check,
}

/// CRC-32 of bytes.
///
/// ```
/// assert_eq!(monet_link::crc32(b"123456789"), 0xcbf4_3926);
/// ```
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        let crc = crc ^ u32::from(*byte);
        let half = (crc >> 4) ^ NIBBLES[(crc & 15) as usize];
        (half >> 4) ^ NIBBLES[(half & 15) as usize]
    })
}

/// What four bits add to the check: a table of 64 bytes, for boards.
const NIBBLES: [u32; 16] = {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        let (mut crc, mut bit) = (i as u32, 0);
        while bit < 4 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// Reads frames out of bytes, one at a time, in memory of its own.
#[derive(Debug, Clone)]
pub struct Reader {
    content: [u8; CONTENT],
    len: usize,
    /// Bytes that follow before the next code.
    left: u8,
    /// Whether a 0 follows these, unless the frame ends there.
    zero: bool,
    /// Whether a byte came since the last 0.
    begun: bool,
    long: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// One that takes the first byte for the first of a frame.
    #[must_use]
    pub const fn new() -> Self {
        Self { content: [0; CONTENT], len: 0, left: 0, zero: false, begun: false, long: false }
    }

    /// Takes a byte. Where it ends a frame: the message, which is a kind, a tag and a body, or what
    /// is wrong with it.
    pub fn push(&mut self, byte: u8) -> Option<Result<&[u8], Damage>> {
        if byte == 0 {
            return self.end();
        }
        self.begun = true;
        if self.left > 0 {
            self.left -= 1;
            self.put(byte);
        } else {
            if self.zero {
                self.put(0);
            }
            // A code: so many bytes follow, less one, and then a 0, which the longest run lacks.
            self.left = byte - 1;
            self.zero = byte != 0xff;
        }
        None
    }

    fn put(&mut self, byte: u8) {
        match self.content.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.long = true,
        }
    }

    /// Ends a frame and makes ready for the next.
    fn end(&mut self) -> Option<Result<&[u8], Damage>> {
        let (len, left, long) = (self.len, self.left, self.long);
        let begun = self.begun;
        (self.len, self.left, self.zero, self.begun, self.long) = (0, 0, false, false, false);
        if !begun {
            return None;
        }
        let content = self.content.get(..len).unwrap_or_default();
        Some(match content.split_last_chunk::<CHECK>() {
            _ if long => Err(Damage::Long),
            _ if left > 0 => Err(Damage::Cut),
            Some((message, check)) if message.len() >= 2 => {
                let right = crc32(message) == u32::from_le_bytes(*check);
                if right { Ok(message) } else { Err(Damage::Check) }
            }
            _ => Err(Damage::Short),
        })
    }
}

/// Makes frames of messages, in memory of its own.
#[derive(Debug, Clone)]
pub struct Writer {
    wire: [u8; WIRE],
    len: usize,
    /// Where the code of the run that is being written stands.
    code: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { wire: [0; WIRE], len: 0, code: 0 }
    }

    /// The bytes of a frame, between a 0 and a 0. A message longer than a frame holds is cut.
    pub fn frame(&mut self, message: &[u8]) -> &[u8] {
        let message = message.get(..MESSAGE).unwrap_or(message);
        (self.len, self.code) = (2, 1);
        let check = crc32(message).to_le_bytes();
        message.iter().chain(&check).for_each(|byte| self.stuff(*byte));
        self.close();
        self.set(self.len, 0);
        self.wire.get(..=self.len).unwrap_or_default()
    }

    fn stuff(&mut self, byte: u8) {
        if self.len - self.code > RUN {
            self.close();
            self.open();
        }
        if byte == 0 {
            self.close();
            self.open();
        } else {
            self.set(self.len, byte);
            self.len += 1;
        }
    }

    /// Writes the code of a run: its bytes and one.
    fn close(&mut self) {
        self.set(self.code, (self.len - self.code) as u8);
    }

    fn open(&mut self) {
        self.code = self.len;
        self.len += 1;
    }

    fn set(&mut self, at: usize, byte: u8) {
        if let Some(place) = self.wire.get_mut(at) {
            *place = byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// What comes out of bytes.
    fn read(reader: &mut Reader, bytes: &[u8]) -> Vec<Result<Vec<u8>, Damage>> {
        let mut found = Vec::new();
        for byte in bytes {
            found.extend(reader.push(*byte).map(|frame| frame.map(<[u8]>::to_vec)));
        }
        found
    }

    #[test]
    fn the_longest_messages_fit_whatever_their_bytes_are() {
        for byte in [0, 1, 0xff] {
            let message = [byte; MESSAGE];
            let mut writer = Writer::new();
            let wire = writer.frame(&message);
            assert!(wire.len() <= WIRE);
            assert_eq!(read(&mut Reader::new(), wire), [Ok(message.to_vec())]);
        }
    }

    #[test]
    fn runs_of_every_length_come_back() {
        for len in 2..=MESSAGE {
            let message: Vec<u8> = (0..len).map(|i| (i % 255) as u8 + 1).collect();
            assert_eq!(read(&mut Reader::new(), Writer::new().frame(&message)), [Ok(message)]);
        }
    }

    #[test]
    fn bytes_without_end_are_one_long_frame() {
        let mut bytes = std::vec![7; 100_000];
        bytes.push(0);
        assert_eq!(read(&mut Reader::new(), &bytes), [Err(Damage::Long)]);
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_after_any_noise(
            noise in prop::collection::vec(any::<u8>(), 0..900),
            message in prop::collection::vec(
                prop_oneof![Just(0), Just(0xff), any::<u8>()], 2..=MESSAGE,
            ),
        ) {
            let mut reader = Reader::new();
            read(&mut reader, &noise);
            let found = read(&mut reader, Writer::new().frame(&message));
            prop_assert_eq!(found.last(), Some(&Ok(message)));
        }

        /// A CRC-32 finds every burst of up to 32 bits; stuffing may spread one.
        #[test]
        fn a_flipped_byte_is_never_another_message(
            message in prop::collection::vec(any::<u8>(), 2..200),
            at in any::<prop::sample::Index>(),
            flips in 1..=255u8,
        ) {
            let mut writer = Writer::new();
            let mut wire = writer.frame(&message).to_vec();
            let at = at.index(wire.len());
            wire[at] ^= flips;
            for found in read(&mut Reader::new(), &wire).into_iter().flatten() {
                prop_assert_eq!(&found, &message);
            }
        }
    }
}
