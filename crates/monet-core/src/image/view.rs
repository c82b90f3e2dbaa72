//! An image seen as the records that it holds.

use super::super::grid::Grid;
use super::super::kernels::{BLOCK, Kernel};
use super::super::requant::Requantize;
use super::super::size::Size;
use super::super::types::Output;
use super::error::SectionName;
use super::recipe::RecipeRecord;
use super::record::{Feed, Header, NONE, Pass, Phase, Section, Stage, Step, part, view};
use super::record::{kind, result, whole};
use super::{ALIGN, ImageError, MAGIC, StepInfo, VERSION};

/// All sections of an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) header: &'a Header,
    pub(crate) kernel: Kernel,
    pub(crate) tensors: &'a [Grid],
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
        let kernel = Kernel::from_code(header.kernel).filter(|kernel| kernel.is_known());
        let kernel = kernel.ok_or(ImageError::Kernel(header.kernel))?;
        let mut end = size_of::<Header>();
        for (&section, place) in Section::ALL.iter().zip(&header.sections) {
            let (start, len) = (place[0] as usize, place[1] as usize);
            let placed = start >= end
                && start.is_multiple_of(ALIGN)
                && len.is_multiple_of(section.record_len());
            end = start.saturating_add(len);
            if !placed || end > bytes.len() {
                return Err(ImageError::Section(SectionName(section)));
            }
        }
        let place = |section: Section| header.sections[section as usize];
        Ok(Self {
            header,
            kernel,
            tensors: part(bytes, place(Section::Tensors)),
            steps: part(bytes, place(Section::Steps)),
            passes: part(bytes, place(Section::Passes)),
            phases: part(bytes, place(Section::Phases)),
            feeds: part(bytes, place(Section::Feeds)),
            stages: part(bytes, place(Section::Stages)),
            taps: part(bytes, place(Section::Taps)),
            bias: part(bytes, place(Section::Bias)),
            scales: part(bytes, place(Section::Scales)),
            tables: part(bytes, place(Section::Tables)),
            names: part(bytes, place(Section::Names)),
            attachment: part(bytes, place(Section::Attachment)),
            weights: part(bytes, place(Section::Weights)),
            recipe: part(bytes, place(Section::Recipe)),
        })
    }

    /// A stored tensor by its number. `None`, as of all that follow, where the image has no such
    /// records: validation has excluded it.
    #[inline(never)]
    pub(crate) fn grid(&self, index: u32) -> Option<&'a Grid> {
        self.tensors.get(index as usize).filter(|grid| grid.size != [0, 0])
    }

    /// The phases of a convolution.
    pub(crate) fn phases_of(&self, step: &Step) -> Option<&'a [Phase]> {
        range(self.phases, step.phases)
    }

    /// The feeds of a phase's tiles.
    pub(crate) fn feeds_of(&self, phase: &Phase) -> Option<&'a [Feed]> {
        range(self.feeds, phase.feeds)
    }

    /// A part of the taps, by its first one and their number.
    pub(crate) fn taps_of(&self, place: [u32; 2]) -> Option<&'a [i32]> {
        range(self.taps, place)
    }

    /// The steps of a pass.
    pub(crate) fn steps_of(&self, pass: &Pass) -> Option<&'a [Step]> {
        range(self.steps, pass.steps)
    }

    /// A phase's biases, in whole blocks.
    pub(crate) fn bias_of(&self, phase: &Phase) -> Option<&'a [i32]> {
        range(self.bias, [phase.bias, phase.blocks * BLOCK as u32])
    }

    /// A phase's weights, as bytes.
    pub(crate) fn weights_of(&self, phase: &Phase) -> Option<&'a [u8]> {
        range(self.weights, phase.weights)
    }

    /// The rules and scales of a convolution.
    pub(crate) fn stage_of(&self, step: &Step, blocks: usize) -> Option<Requantize<'a>> {
        let stage = self.stages.get(step.stage as usize)?;
        let scales = range(self.scales, [stage.scales, (blocks * BLOCK) as u32])?;
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
        let arena = self.grid(step.output).map_or(0..0, |grid| {
            let start = grid.offset as usize;
            start..start + grid.len()
        });
        StepInfo {
            name,
            kind,
            shape: step.shape.map(usize::from),
            macs: whole(step.macs),
            parameters: step.parameters as usize,
            bytes: whole(step.traffic),
            arena,
        }
    }
}

/// A part of some records, by its first one and their number.
#[inline(never)]
fn range<T>(all: &[T], [first, count]: [u32; 2]) -> Option<&[T]> {
    // Where the sum wraps around, the end lies before the start, and nothing is there.
    all.get(first as usize..(first as usize).wrapping_add(count as usize))
}
