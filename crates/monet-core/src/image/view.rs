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
    /// left.
    pub(crate) fn list(
        rows: impl Iterator<Item = i32>,
        across: &[i32],
        numbers: &'a mut [i32],
    ) -> (Self, &'a mut [i32]) {
        let (mut len, mut reach) = (0, [i32::MAX, i32::MIN]);
        for row in rows {
            for (place, &tap) in numbers[len..][..across.len()].iter_mut().zip(across) {
                *place = row + tap;
                reach = [reach[0].min(*place), reach[1].max(*place)];
            }
            len += across.len();
        }
        let (offsets, rest) = numbers.split_at_mut(len);
        if offsets.is_empty() { (Self::NONE, rest) } else { (Self { offsets, reach }, rest) }
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
        for section in Section::ALL {
            let [start, len] = header.sections[section as usize].map(|n| n as usize);
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

    /// The phases of a convolution.
    pub(crate) fn phases_of(&self, step: &Step) -> &'a [Phase] {
        let [first, count] = step.phases.map(|n| n as usize);
        &self.phases[first..first + count]
    }

    /// The feeds of a phase's tiles.
    pub(crate) fn feeds_of(&self, phase: &Phase) -> &'a [Feed] {
        let [first, count] = phase.feeds.map(|n| n as usize);
        &self.feeds[first..first + count]
    }

    /// A part of the taps, by its first one and their number.
    pub(crate) fn taps_of(&self, [first, count, ..]: [i32; 4]) -> &'a [i32] {
        &self.taps[first as usize..][..count as usize]
    }

    /// The steps of a pass.
    pub(crate) fn steps_of(&self, pass: &Pass) -> &'a [Step] {
        let [first, count] = pass.steps.map(|n| n as usize);
        &self.steps[first..first + count]
    }

    /// A phase's biases, in whole blocks.
    pub(crate) fn bias_of(&self, phase: &Phase) -> &'a [i32] {
        &self.bias[phase.bias as usize..][..phase.blocks as usize * BLOCK]
    }

    /// A phase's weights, as bytes.
    pub(crate) fn weights_of(&self, phase: &Phase) -> &'a [u8] {
        let [start, len] = phase.weights.map(|n| n as usize);
        &self.weights[start..start + len]
    }

    /// The rules and scales of a convolution.
    pub(crate) fn stage_of(&self, step: &Step, blocks: usize) -> Requantize<'a> {
        let stage = &self.stages[step.stage as usize];
        let len = blocks * BLOCK;
        Requantize { scales: &self.scales[stage.scales as usize..][..len], rules: stage.rules() }
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
        let [start, len] = step.name.map(|n| n as usize);
        let name = core::str::from_utf8(&self.names[start..start + len]).unwrap_or_default();
        let transposed = self.phases_of(step).iter().any(|phase| phase.out_step != [1, 1]);
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
    let [start, len] = header.sections[section as usize].map(|n| n as usize);
    view(&bytes[start..start + len]).ok_or(ImageError::Section(SectionName(section)))
}
