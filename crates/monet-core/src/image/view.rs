//! An image seen as the records that it holds.

use super::super::kernels::{BLOCK, Kernel};
use super::super::requant::Requantize;
use super::super::size::Size;
use super::super::types::Output;
use super::error::SectionName;
use super::recipe::RecipeRecord;
use super::record::{Feed, Header, NONE, Pass, Phase, Record, Section, Stage, Step, Tensor, view};
use super::record::{kind, result, whole};
use super::{ALIGN, ImageError, MAGIC, StepInfo, VERSION};

/// All sections of an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) header: &'a Header,
    pub(crate) kernel: Kernel,
    pub(crate) tensors: &'a [Tensor],
    pub(crate) steps: &'a [Step],
    pub(crate) passes: &'a [Pass],
    pub(crate) phases: &'a [Phase],
    pub(crate) feeds: &'a [Feed],
    pub(crate) stages: &'a [Stage],
    pub(crate) taps: &'a [i32],
    pub(crate) bias: &'a [i32],
    pub(crate) scales: &'a [f32],
    pub(crate) tables: &'a [[u8; 256]],
    pub(crate) names: &'a [u8],
    pub(crate) attachment: &'a [u8],
    pub(crate) weights: &'a [u8],
    /// One, or none.
    pub(crate) recipe: &'a [RecipeRecord],
}

/// Byte offsets of the chunks of an input, with the smallest and the largest of them.
///
/// Only [`Taps::list`] and [`Taps::NONE`] make one, so that the reach is that of the offsets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taps<'a> {
    offsets: &'a [i32],
    reach: [i32; 2],
}

impl<'a> Taps<'a> {
    /// None.
    pub(crate) const NONE: Self = Self { offsets: &[], reach: [0; 2] };

    /// Lists the offsets: those of `across` from each of the rows. Returns what of `numbers` is
    /// left; `None` where they are too few.
    pub(crate) fn list(
        rows: impl Iterator<Item = i32>,
        across: &[i32],
        numbers: &'a mut [i32],
    ) -> Option<(Self, &'a mut [i32])> {
        let (mut len, mut reach) = (0, [i32::MAX, i32::MIN]);
        for row in rows {
            let places = numbers.get_mut(len..)?.get_mut(..across.len())?;
            for (place, &tap) in places.iter_mut().zip(across) {
                *place = row + tap;
                reach = [reach[0].min(*place), reach[1].max(*place)];
            }
            len += across.len();
        }
        let (offsets, rest) = numbers.split_at_mut_checked(len)?;
        Some(if offsets.is_empty() { (Self::NONE, rest) } else { (Self { offsets, reach }, rest) })
    }

    /// The offsets: tap by tap, chunk by chunk.
    #[inline]
    pub(crate) fn offsets(&self) -> &'a [i32] {
        self.offsets
    }

    /// The smallest and the largest.
    #[inline]
    pub(crate) fn reach(&self) -> [i32; 2] {
        self.reach
    }
}

impl<'a> View<'a> {
    /// That of no image.
    pub(crate) const EMPTY: Self = Self {
        header: &Header::EMPTY,
        kernel: Kernel::Scalar,
        tensors: &[],
        steps: &[],
        passes: &[],
        phases: &[],
        feeds: &[],
        stages: &[],
        taps: &[],
        bias: &[],
        scales: &[],
        tables: &[],
        names: &[],
        attachment: &[],
        weights: &[],
        recipe: &[],
    };

    /// Finds the header and the sections; what stands in them is for
    /// [`check`](super::check::check) to prove.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, ImageError> {
        if !bytes.as_ptr().addr().is_multiple_of(ALIGN) {
            return Err(ImageError::Unaligned);
        }
        if !bytes.starts_with(&MAGIC) {
            return Err(ImageError::Magic);
        }
        let short = ImageError::Length { found: bytes.len(), expected: size_of::<Header>() as u64 };
        let header: &Header = bytes
            .get(..size_of::<Header>())
            .and_then(view)
            .and_then(|headers| headers.first())
            .ok_or(short)?;
        if header.version != VERSION {
            return Err(ImageError::Version(header.version));
        }
        if header.length as usize != bytes.len() {
            let expected = header.length.into();
            return Err(ImageError::Length { found: bytes.len(), expected });
        }
        let kernel = Kernel::from_code(header.kernel).ok_or(ImageError::Kernel(header.kernel))?;
        let mut end = size_of::<Header>();
        for (section, place) in Section::ALL.into_iter().zip(header.sections) {
            let [start, len] = place.map(|n| n as usize);
            let placed = start >= end && start.is_multiple_of(ALIGN);
            end = start.saturating_add(len);
            if !placed || end > bytes.len() {
                return Err(ImageError::Section(SectionName(section)));
            }
        }
        Ok(Self {
            header,
            kernel,
            tensors: part(bytes, header, Section::Tensors)?,
            steps: part(bytes, header, Section::Steps)?,
            passes: part(bytes, header, Section::Passes)?,
            phases: part(bytes, header, Section::Phases)?,
            feeds: part(bytes, header, Section::Feeds)?,
            stages: part(bytes, header, Section::Stages)?,
            taps: part(bytes, header, Section::Taps)?,
            bias: part(bytes, header, Section::Bias)?,
            scales: part(bytes, header, Section::Scales)?,
            tables: part(bytes, header, Section::Tables)?,
            names: part(bytes, header, Section::Names)?,
            attachment: part(bytes, header, Section::Attachment)?,
            weights: part(bytes, header, Section::Weights)?,
            recipe: part(bytes, header, Section::Recipe)?,
        })
    }

    /// The phases of a convolution. `None`, as of all that follow, where the image has no such
    /// records: validation has excluded it.
    pub(crate) fn phases_of(&self, step: &Step) -> Option<&'a [Phase]> {
        range(self.phases, step.phases)
    }

    /// The feeds of a phase's tiles.
    pub(crate) fn feeds_of(&self, phase: &Phase) -> Option<&'a [Feed]> {
        range(self.feeds, phase.feeds)
    }

    /// A part of the taps, by its first one and their number.
    pub(crate) fn taps_of(&self, [first, count, ..]: [i32; 4]) -> Option<&'a [i32]> {
        range(self.taps, [first as u32, count as u32])
    }

    /// The steps of a pass.
    pub(crate) fn steps_of(&self, pass: &Pass) -> Option<&'a [Step]> {
        range(self.steps, pass.steps)
    }

    /// A phase's biases, in whole blocks.
    pub(crate) fn bias_of(&self, phase: &Phase) -> Option<&'a [i32]> {
        self.bias.get(phase.bias as usize..)?.get(..phase.blocks as usize * BLOCK)
    }

    /// A phase's weights, as bytes.
    pub(crate) fn weights_of(&self, phase: &Phase) -> Option<&'a [u8]> {
        range(self.weights, phase.weights)
    }

    /// The rules and scales of a convolution.
    pub(crate) fn stage_of(&self, step: &Step, blocks: usize) -> Option<Requantize<'a>> {
        let stage = self.stages.get(step.stage as usize)?;
        let scales = self.scales.get(stage.scales as usize..)?.get(..blocks * BLOCK)?;
        Some(Requantize { scales, rules: stage.rules() })
    }

    /// Height and width of the logits.
    pub(crate) fn output_size(&self) -> Size {
        let [_, height, width] = self.header.output;
        Size::new(height as usize, width as usize)
    }

    /// Channels of the logits.
    pub(crate) fn classes(&self) -> usize {
        self.header.output[0] as usize
    }

    /// What logits mean.
    pub(crate) fn output(&self) -> Output {
        match self.header.meaning {
            0 => Output::Sigmoid { threshold: self.header.threshold[0] },
            1 => Output::Softmax,
            _ => Output::Identity,
        }
    }

    /// A step for people.
    pub(crate) fn info(&self, step: &Step) -> StepInfo<'a> {
        let name = range(self.names, step.name).unwrap_or_default();
        let name = core::str::from_utf8(name).unwrap_or_default();
        let mut phases = self.phases_of(step).unwrap_or_default().iter();
        let transposed = phases.any(|phase| phase.out_step != [1, 1]);
        let kind = match (step.kind, step.result) {
            (kind::QUANTIZE, _) => "quantize",
            (kind::CONVOLVE, result::LOGITS) => "logits",
            (kind::CONVOLVE, _) if transposed => "transpose",
            (kind::CONVOLVE, _) if step.residual != NONE => "convolve+add",
            (kind::CONVOLVE, _) => "convolve",
            (kind::ADD, _) => "add",
            (kind::SCALE, _) => "scale",
            (kind::LOOKUP, _) => "lookup",
            (kind::MAX_POOL, _) => "max-pool",
            _ => "dequantize",
        };
        let arena = self.tensors.get(step.output as usize).map_or(0..0, |tensor| {
            let grid = tensor.grid();
            grid.offset..grid.offset + grid.len()
        });
        StepInfo {
            name,
            kind,
            shape: step.shape.map(|n| n as usize),
            macs: whole(step.macs),
            parameters: step.parameters as usize,
            bytes: whole(step.traffic),
            arena,
        }
    }
}

fn part<'a, T: Record>(
    bytes: &'a [u8],
    header: &Header,
    section: Section,
) -> Result<&'a [T], ImageError> {
    let place = header.sections.get(section as usize).copied();
    let bytes = place.and_then(|place| range(bytes, place));
    bytes.and_then(view).ok_or(ImageError::Section(SectionName(section)))
}

/// A part of some records, by its first one and their number.
fn range<T>(all: &[T], [first, count]: [u32; 2]) -> Option<&[T]> {
    all.get(first as usize..)?.get(..count as usize)
}
