//! An image's description (PS3.3, section C.7.6.3), and what its samples mean.

use super::error::PixelError;
use crate::dataset::{Dataset, Tag};
use crate::tags::{
    BITS_ALLOCATED, BITS_STORED, COLUMNS, FRAMES, HIGH_BIT, PHOTOMETRIC, PIXEL_REPRESENTATION,
    PLANAR_CONFIGURATION, ROWS, SAMPLES_PER_PIXEL,
};

/// Largest decoded frame.
pub const MAX_FRAME_BYTES: u64 = 256 << 20;
/// Most frames of an image.
pub const MAX_FRAMES: u32 = 1 << 20;

/// What a pixel's samples stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Photometric {
    /// Small values are white.
    Monochrome1,
    /// Small values are black.
    Monochrome2,
    /// Numbers of colours in a table.
    Palette,
    /// Red, green, blue.
    Rgb,
    /// Luminance and two differences.
    YbrFull,
    /// The same, with one pair of differences for two pixels.
    YbrFull422,
    /// The irreversible transform of JPEG 2000.
    YbrIct,
    /// The reversible transform of JPEG 2000.
    YbrRct,
    /// Something else.
    Other,
}

impl Photometric {
    fn new(text: &str) -> Self {
        match text {
            "MONOCHROME1" => Self::Monochrome1,
            "MONOCHROME2" => Self::Monochrome2,
            "PALETTE COLOR" => Self::Palette,
            "RGB" => Self::Rgb,
            "YBR_FULL" => Self::YbrFull,
            "YBR_FULL_422" => Self::YbrFull422,
            "YBR_ICT" => Self::YbrIct,
            "YBR_RCT" => Self::YbrRct,
            _ => Self::Other,
        }
    }
}

/// How an image's samples are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelFormat {
    /// Rows of a frame.
    pub rows: u16,
    /// Columns of a frame.
    pub columns: u16,
    /// Samples of a pixel.
    pub samples: u16,
    /// Bits that a sample takes: 1, 8, 16 or 32.
    pub bits_allocated: u16,
    /// Bits of a sample that are its value.
    pub bits_stored: u16,
    /// The value's highest bit, from 0.
    pub high_bit: u16,
    /// Whether values are in two's complement.
    pub signed: bool,
    /// Whether a native frame has all first samples, then all second ones.
    pub planar: bool,
    /// What samples stand for.
    pub photometric: Photometric,
    /// Frames of the image.
    pub frames: u32,
}

impl PixelFormat {
    /// As a data set describes it.
    ///
    /// # Errors
    /// [`PixelError::Missing`], [`PixelError::Value`], [`PixelError::Large`],
    /// [`PixelError::Frames`]
    pub fn new(set: &Dataset) -> Result<Self, PixelError> {
        let required = |tag| set.integer(tag).ok_or(PixelError::Missing(tag));
        let or = |tag, default| match set.bytes(tag) {
            None | Some([]) => Ok(default),
            Some(_) => required(tag),
        };
        let bits_allocated = required(BITS_ALLOCATED)?;
        let bits_stored = or(BITS_STORED, bits_allocated)?;
        let format = Self {
            rows: required(ROWS)?,
            columns: required(COLUMNS)?,
            samples: or(SAMPLES_PER_PIXEL, 1)?,
            bits_allocated,
            bits_stored,
            high_bit: or(HIGH_BIT, bits_stored.saturating_sub(1))?,
            signed: or(PIXEL_REPRESENTATION, 0)? == 1,
            planar: or(PLANAR_CONFIGURATION, 0)? == 1,
            photometric: Photometric::new(set.text(PHOTOMETRIC).unwrap_or_default()),
            frames: match set.text(FRAMES) {
                None => 1,
                Some(_) => set.integer(FRAMES).ok_or(PixelError::Missing(FRAMES))?,
            },
        };
        format.check()?;
        Ok(format)
    }

    /// Refuses what cannot be, and what is too large.
    pub(super) fn check(&self) -> Result<(), PixelError> {
        let unless = |good: bool, tag: Tag, found: u16, expected: &'static str| {
            let error = PixelError::Value { tag, found: found.into(), expected };
            if good { Ok(()) } else { Err(error) }
        };
        let Self { bits_allocated, bits_stored, high_bit, .. } = *self;
        unless(self.rows > 0, ROWS, self.rows, "1 to 65535")?;
        unless(self.columns > 0, COLUMNS, self.columns, "1 to 65535")?;
        unless(matches!(self.samples, 1 | 3), SAMPLES_PER_PIXEL, self.samples, "1 or 3")?;
        let allocated = matches!(bits_allocated, 1 | 8 | 16 | 32);
        unless(allocated, BITS_ALLOCATED, bits_allocated, "1, 8, 16 or 32")?;
        let stored = (1..=bits_allocated).contains(&bits_stored);
        unless(stored, BITS_STORED, bits_stored, "1 to Bits Allocated")?;
        let high = high_bit < bits_allocated && high_bit + 1 >= bits_stored;
        unless(high, HIGH_BIT, high_bit, "from Bits Stored less 1 to Bits Allocated less 1")?;
        let found = self.frame_samples() * self.sample_bytes() as u64;
        if found > MAX_FRAME_BYTES {
            return Err(PixelError::Large { found });
        }
        if !(1..=MAX_FRAMES).contains(&self.frames) {
            return Err(PixelError::Frames { found: self.frames.into() });
        }
        Ok(())
    }

    /// Samples of a frame.
    pub(super) fn frame_samples(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.columns) * u64::from(self.samples)
    }

    /// Pixels of a frame.
    #[must_use]
    pub fn frame_pixels(&self) -> usize {
        usize::from(self.rows) * usize::from(self.columns)
    }

    /// Bytes of a decoded sample.
    #[must_use]
    pub fn sample_bytes(&self) -> usize {
        usize::from(self.bits_allocated).div_ceil(8)
    }

    /// Bytes of a decoded frame.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.frame_pixels() * usize::from(self.samples) * self.sample_bytes()
    }

    /// Leaves of each decoded sample its value: bits beside Bits Stored, where old files have
    /// overlays, go, and a sign fills the bits above.
    pub fn clean(&self, samples: &mut [u8]) {
        let size = self.sample_bytes();
        let whole = self.bits_stored == self.bits_allocated;
        if whole || self.bits_allocated == 1 {
            return;
        }
        for sample in samples.chunks_exact_mut(size) {
            let mut word = [0; 4];
            word[..size].copy_from_slice(sample);
            let value = self.value(u32::from_le_bytes(word));
            sample.copy_from_slice(&value.to_le_bytes()[..size]);
        }
    }

    /// The values of decoded samples.
    ///
    /// # Errors
    /// [`PixelError::Range`]
    pub fn values(&self, samples: &[u8], values: &mut Vec<i32>) -> Result<(), PixelError> {
        values.clear();
        let size = self.sample_bytes();
        values.reserve_exact(samples.len() / size);
        for sample in samples.chunks_exact(size) {
            let mut word = [0; 4];
            word[..size].copy_from_slice(sample);
            let value = self.value(u32::from_le_bytes(word));
            if !self.signed && value > i32::MAX as u32 {
                return Err(PixelError::Range);
            }
            values.push(value as i32);
        }
        Ok(())
    }

    /// The value in a sample's bits, its sign in all bits above.
    fn value(&self, bits: u32) -> u32 {
        // `check` holds that High Bit is below 32, and at least Bits Stored less 1.
        let above = 31 - u32::from(self.high_bit.min(31));
        let unused = 32 - u32::from(self.bits_stored.clamp(1, 32));
        let top = bits << above;
        if self.signed { ((top as i32) >> unused) as u32 } else { top >> unused }
    }

    /// Puts the samples of a pixel side by side.
    pub(super) fn interleave(&self, frame: &mut Vec<u8>) {
        let (size, samples) = (self.sample_bytes(), usize::from(self.samples));
        if !self.planar || samples == 1 || frame.len() != self.frame_bytes() {
            return;
        }
        let plane = frame.len() / samples;
        let mut out = Vec::with_capacity(frame.len());
        for at in (0..plane).step_by(size) {
            (0..samples).for_each(|s| out.extend(&frame[s * plane + at..][..size]));
        }
        *frame = out;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) fn format(bits: [u16; 3], signed: bool) -> PixelFormat {
        PixelFormat {
            rows: 2,
            columns: 3,
            samples: 1,
            bits_allocated: bits[0],
            bits_stored: bits[1],
            high_bit: bits[2],
            signed,
            planar: false,
            photometric: Photometric::Monochrome2,
            frames: 1,
        }
    }

    #[test]
    fn a_description_must_be_possible() {
        for (bits, good) in [
            ([16, 12, 11], true),
            ([16, 12, 15], true),
            ([16, 12, 10], false),
            ([16, 12, 16], false),
            ([16, 17, 16], false),
            ([16, 0, 0], false),
            ([12, 12, 11], false),
            ([1, 1, 0], true),
        ] {
            assert_eq!(format(bits, false).check().is_ok(), good, "{bits:?}");
        }
        let large = PixelFormat { rows: 65535, columns: 65535, ..format([16, 16, 15], false) };
        assert!(matches!(large.check(), Err(PixelError::Large { .. })));
    }

    proptest! {
        #[test]
        fn a_value_survives_what_is_beside_it(
            allocated in prop::sample::select(vec![8_u16, 16, 32]),
            stored in 1_u16..=32, high in 0_u16..32, signed: bool, value: u32, noise: u32,
        ) {
            let bits = [allocated, stored, high];
            let format = format(bits, signed);
            prop_assume!(format.check().is_ok());
            let shift = high + 1 - stored;
            let mask = (u32::MAX >> (32 - stored)) << shift;
            let word = (value << shift) & mask | noise & !mask;
            let mut sample = word.to_le_bytes()[..format.sample_bytes()].to_vec();
            let expected = {
                let low = i64::from(value & (u32::MAX >> (32 - stored)));
                let negative = signed && low >> (stored - 1) & 1 == 1;
                if negative { low - (1 << stored) } else { low }
            };
            let mut values = Vec::new();
            match format.values(&sample, &mut values) {
                Ok(()) => prop_assert_eq!(i64::from(values[0]), expected),
                Err(_) => prop_assert!(expected > i64::from(i32::MAX)),
            }
            // A clean sample is a value of all its bits.
            format.clean(&mut sample);
            let whole = PixelFormat { bits_stored: allocated, high_bit: allocated - 1, ..format };
            if whole.values(&sample, &mut values).is_ok() {
                prop_assert_eq!(i64::from(values[0]), expected);
            }
        }
    }
}
