//! The recipe for preparing slices as an image holds it: a board needs no manifest.

use super::super::prepare::{FitRule, Normalise, Recipe};
use super::super::size::Size;
use super::reason::Reason;
#[cfg(feature = "alloc")]
use super::record::halves;
use super::record::{Record, whole};

/// A [`Recipe`].
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct RecipeRecord {
    channels: u32,
    neighbours: u32,
    /// Height and width.
    size: [u32; 2],
    ceiling: u32,
    step: u32,
    /// 0 window, 1 percentiles, 2 of the foreground, 3 of each slice, 4 z-score.
    normalise: u32,
    /// The two numbers of a window or of percentiles; the z-score's clip and 0.
    range: [f32; 2],
    /// 0 resize, 1 pad.
    fit: u32,
    /// Pad: millimetres along width and height, each an f64, its low half first.
    spacing: [[u32; 2]; 2],
    reserved: [u32; 2],
}

// SAFETY: `repr(C)`, numbers of 4 bytes alone.
unsafe impl Record for RecipeRecord {}

const _: () = assert!(size_of::<RecipeRecord>() == 64);

impl RecipeRecord {
    /// The recipe; none where a number names nothing.
    pub(crate) fn recipe(&self) -> Option<Recipe> {
        let [low, high] = self.range;
        let normalise = match self.normalise {
            0 => Normalise::Window { low, high },
            1 => Normalise::Percentiles { low, high },
            2 => Normalise::ForegroundPercentiles { low, high },
            3 => Normalise::SlicePercentiles { low, high },
            4 => Normalise::ZScore { clip: low },
            _ => return None,
        };
        let [across, down] = self.spacing;
        let spacing = [f64::from_bits(whole(across)), f64::from_bits(whole(down))];
        let fit = match self.fit {
            0 => FitRule::Resize,
            1 => FitRule::Pad { spacing },
            _ => return None,
        };
        Some(Recipe {
            channels: self.channels as usize,
            neighbours: self.neighbours as usize,
            size: Size { height: self.size[0] as usize, width: self.size[1] as usize },
            ceiling: self.ceiling as usize,
            step: self.step as usize,
            normalise,
            fit,
        })
    }

    /// Proves that it is a recipe for a net with this input: channels, height, width.
    pub(super) fn check(&self, input: [u32; 3]) -> Result<(), Reason> {
        let recipe = self.recipe().ok_or(Reason::NamesNoKnownKind)?;
        let within = |number: u32, limit: u32| (1..=limit).contains(&number);
        let neighbours = self.neighbours as usize;
        if !within(self.channels, Recipe::MAX_CHANNELS as u32)
            || neighbours > Recipe::MAX_NEIGHBOURS
        {
            return Err(Reason::ChannelsOrNeighboursAreOutOfRange);
        }
        if self.channels * recipe.slices() as u32 != input[0] {
            return Err(Reason::SlicesHaveOtherChannelsThanTheNetInput);
        }
        let sized =
            [self.size[0], self.size[1], self.step].iter().all(|&n| within(n, self.ceiling));
        if !sized || self.ceiling as usize > Recipe::MAX_SIDE {
            return Err(Reason::SizesAreOutOfRange);
        }
        if !self.range.iter().all(|number| number.is_finite()) {
            return Err(Reason::NormalisationIsNotFinite);
        }
        match recipe.fit {
            FitRule::Pad { spacing } if !spacing.iter().all(|s| *s > 0.0 && s.is_finite()) => {
                Err(Reason::SpacingIsNotPositive)
            }
            _ => Ok(()),
        }
    }

    #[cfg(feature = "alloc")]
    fn new(recipe: &Recipe) -> Self {
        let (normalise, range) = match recipe.normalise {
            Normalise::Window { low, high } => (0, [low, high]),
            Normalise::Percentiles { low, high } => (1, [low, high]),
            Normalise::ForegroundPercentiles { low, high } => (2, [low, high]),
            Normalise::SlicePercentiles { low, high } => (3, [low, high]),
            Normalise::ZScore { clip } => (4, [clip, 0.0]),
        };
        let (fit, spacing) = match recipe.fit {
            FitRule::Resize => (0, [0.0; 2]),
            FitRule::Pad { spacing } => (1, spacing),
        };
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            channels: number(recipe.channels),
            neighbours: number(recipe.neighbours),
            size: [recipe.size.height, recipe.size.width].map(number),
            ceiling: number(recipe.ceiling),
            step: number(recipe.step),
            normalise,
            range,
            fit,
            spacing: spacing.map(|spacing| halves(spacing.to_bits())),
            reserved: [0; 2],
        }
    }
}

/// The bytes of an image with this recipe behind all else.
#[cfg(feature = "alloc")]
pub(super) fn append(
    view: &super::View,
    image: &[u8],
    recipe: &Recipe,
) -> super::super::buffer::Buffer {
    use super::ALIGN;
    use super::record::{Header, Section, bytes};

    let record = RecipeRecord::new(recipe);
    let start = match view.header.sections[Section::Recipe as usize] {
        [start, len] if len > 0 => start as usize,
        _ => image.len().next_multiple_of(ALIGN),
    };
    let end = start + size_of::<RecipeRecord>();
    let mut header = Header { length: end as u32, sha256: [0; 32], ..*view.header };
    header.sections[Section::Recipe as usize] = [start as u32, (end - start) as u32];
    let mut buffer = super::super::buffer::Buffer::zeroed(end);
    let kept = start.min(image.len());
    buffer[..kept].copy_from_slice(&image[..kept]);
    buffer[..size_of::<Header>()].copy_from_slice(bytes(&[header]));
    buffer[start..].copy_from_slice(bytes(&[record]));
    buffer
}
