//! Conformance cases: the plans of a file of the host, and what must come out.
//!
//! `tools/board-files/src/cases.rs` describes the file.

use monet_core::Aligned;

use super::sample::prove;
use super::semihosting::{File, Line};
use super::{FNV, Memory, fnv};

// The host makes no larger case.
static IMAGE: Memory<Aligned<450_048>> = Memory::new(Aligned::ZERO);
static ARENA: Memory<Aligned<450_048>> = Memory::new(Aligned::ZERO);
static VALUES: Memory<[f32; 120_000]> = Memory::new([0.0; 120_000]);

/// Memory for one case.
struct Workspace {
    /// At a multiple of 64: the plan.
    image: &'static mut [u8],
    /// For the plan to work in.
    arena: &'static mut [u8],
    /// Input, then logits.
    values: &'static mut [f32],
}

/// Runs all cases of the file `cases.bin`, and prints how many passed; `false` where one did not.
pub fn run() -> bool {
    let (Some(image), Some(arena), Some(values)) = (IMAGE.take(), ARENA.take(), VALUES.take())
    else {
        return false;
    };
    let mut workspace = Workspace { image: &mut image.0, arena: &mut arena.0, values };
    let Some(mut file) = File::open(c"cases.bin") else {
        Line::new("there is no file of cases").end();
        return false;
    };
    let (mut passed, mut failed) = (0, 0);
    loop {
        match case(&mut file, &mut workspace, passed + failed) {
            Some(Outcome::End) => break,
            Some(Outcome::Passed) => passed += 1,
            Some(Outcome::Failed(why)) => {
                Line::new("case ").number(passed + failed).text(": ").text(why).end();
                failed += 1;
            }
            None => {
                Line::new("the file of cases ends early, or a case is too large").end();
                return false;
            }
        }
    }
    Line::new("cases ").number(passed).text(" passed, ").number(failed).text(" failed").end();
    failed == 0 && passed > 0
}

enum Outcome {
    End,
    Passed,
    Failed(&'static str),
}

/// Reads a case and runs it.
fn case(file: &mut File, workspace: &mut Workspace, index: u64) -> Option<Outcome> {
    let mut head = [0; 16];
    if !file.read(&mut head) {
        return None;
    }
    let number = |i: usize| {
        let bytes = head.get(4 * i..).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
    };
    let [image, input, logits, arena] = [0, 1, 2, 3].map(number);
    if image == 0 {
        return Some(Outcome::End);
    }
    let image = workspace.image.get_mut(..image)?;
    // What an earlier case has left, and more.
    let arena = workspace.arena.get_mut(..arena)?;
    arena.fill(0x5a ^ index as u8);
    let (inputs, rest) = workspace.values.split_at_mut_checked(input)?;
    let logits = rest.get_mut(..logits)?;
    let mut want = [0; 8];
    // SAFETY: any bytes are numbers.
    let (_, bytes, _) = unsafe { inputs.align_to_mut::<u8>() };
    if !(file.read(&mut want) && file.read(bytes) && file.read(image)) {
        return None;
    }
    let plan = match prove(image) {
        Ok(plan) => plan,
        Err(why) => return Some(Outcome::Failed(why)),
    };
    if plan.run_probabilities(arena, &[inputs], logits).is_err() {
        return Some(Outcome::Failed("the plan does not run"));
    }
    // SAFETY: every byte of a number may be read.
    let (_, bytes, _) = unsafe { logits.align_to::<u8>() };
    let same = fnv(FNV, bytes) == u64::from_le_bytes(want);
    Some(if same {
        Outcome::Passed
    } else {
        Outcome::Failed("other logits than the scalar kernel's")
    })
}
