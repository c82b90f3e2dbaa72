//! The embedded sample: slices as the host's pipeline hands them to the net.
//!
//! `tools/board-files/src/sample.rs` describes the file.

use monet_core::{Image, KernelError, Plan};

use super::semihosting::Line;
use super::{FNV, fnv, stack_used};

/// Most planes of a slice.
pub(crate) const PLANES: usize = 8;

/// What a program brings.
pub struct Program {
    /// The plan, at a multiple of 64.
    pub image: &'static [u8],
    /// The file of slices, at a multiple of 4.
    pub sample: &'static [u8],
    /// Working memory for the plan.
    pub arena: &'static mut [u8],
    /// As many as a slice has pixels.
    pub labels: &'static mut [u8],
    /// Most slices.
    pub most: usize,
    /// Counts instructions from any moment on.
    pub instructions: fn() -> u64,
}

impl Program {
    /// Runs the plan over all slices, and prints the hash of the labels, and instructions a slice;
    /// `false` where something does not fit.
    pub fn run(self) -> bool {
        let before = (self.instructions)();
        let plan = match prove(self.image) {
            Ok(plan) => plan,
            Err(why) => return refuse(why),
        };
        let parsed = (self.instructions)();
        let Some(slices) = Slices::new(self.sample) else { return refuse("no sample") };
        let mut hash = FNV;
        let (mut all, mut count) = (0, 0);
        for slice in 0..slices.count.min(self.most) {
            let mut planes: [&[f32]; PLANES] = [&[]; PLANES];
            let Some(input) = slices.planes(slice, &mut planes) else { return refuse("no planes") };
            let start = (self.instructions)();
            if plan.run(self.arena, input, self.labels).is_err() {
                return refuse("the plan does not run");
            }
            let instructions = (self.instructions)() - start;
            if count == 0 {
                let line = Line::new("first slice: labels ").hex(fnv(FNV, self.labels));
                line.text(", instructions ").number(instructions).end();
            }
            all += instructions;
            count += 1;
            hash = fnv(hash, self.labels);
        }
        Line::new("kernel ").text(plan.kernel().name()).end();
        Line::new("slices ").number(count).end();
        Line::new("labels ").hex(hash).end();
        Line::new("instructions a slice ").number(all / count.max(1)).end();
        Line::new("instructions to validate ").number(parsed - before).end();
        Line::new("arena ").number(plan.arena_len() as u64).end();
        Line::new("stack ").number(stack_used() as u64).end();
        true
    }
}

/// The plan of an image, or why there is none.
pub fn prove(image: &[u8]) -> Result<Plan<'_>, &'static str> {
    match Image::parse(image).map(Plan::try_from) {
        Ok(Ok(plan)) => Ok(plan),
        Ok(Err(KernelError::LeftOut(_))) => Err("the program was built without the plan's kernel"),
        Ok(Err(_)) => Err("this core lacks the plan's kernel"),
        Err(_) => Err("the plan is not valid"),
    }
}

/// Says why the program ends.
pub fn refuse(why: &str) -> bool {
    Line::new("refused: ").text(why).end();
    false
}

/// The slices of a file.
pub(crate) struct Slices {
    count: usize,
    /// Planes of a slice, and values of a plane.
    planes: usize,
    values: usize,
    /// The number of each plane of each slice.
    numbers: &'static [u32],
    all: &'static [f32],
}

impl Slices {
    pub(crate) fn new(file: &'static [u8]) -> Option<Self> {
        // SAFETY: any bytes are numbers.
        let (before, numbers, _) = unsafe { file.align_to::<u32>() };
        let &[count, planes, values, all, ..] = numbers else { return None };
        let [count, planes, values, all] = [count, planes, values, all].map(|n| n as usize);
        let rest = numbers.get(4..)?;
        let (numbers, rest) = rest.split_at_checked(count.checked_mul(planes)?)?;
        let all = rest.get(..all.checked_mul(values)?)?;
        // SAFETY: as above.
        let (_, all, _) = unsafe { all.align_to::<f32>() };
        (before.is_empty() && planes <= PLANES).then_some(Self {
            count,
            planes,
            values,
            numbers,
            all,
        })
    }

    /// The planes of a slice.
    pub(crate) fn planes<'a>(
        &self,
        slice: usize,
        planes: &'a mut [&'static [f32]; PLANES],
    ) -> Option<&'a [&'static [f32]]> {
        let planes = planes.get_mut(..self.planes)?;
        let numbers = self.numbers.get(slice * self.planes..)?;
        for (plane, number) in planes.iter_mut().zip(numbers) {
            *plane = self.all.get(*number as usize * self.values..)?.get(..self.values)?;
        }
        Some(planes)
    }
}
