//! What the kernels for Cortex-M share: the core's ID registers, and the rules of a layer in the
//! order in which their assembly reads them.

use super::super::requant::{Curve, Elu, MIN_SQUARINGS, Requantize, Sum};

const _: () = assert!(MIN_SQUARINGS == 3, "the assembly has so many written out");

/// What the core has, as its ID registers tell (Armv7-M and Armv8-M Architecture Reference Manuals,
/// "CPUID scheme" and "Media and FP feature registers").
#[allow(dead_code, reason = "each kernel reads what it needs, and a program may have only one")]
pub(super) struct Core {
    /// Multiplications of two 16-bit numbers at a time.
    pub(super) dsp: bool,
    /// Vectors of whole numbers and of f32.
    pub(super) mve: bool,
    /// Arithmetic in f32, and access to it.
    pub(super) fpu: bool,
}

impl Core {
    /// This core. The registers are readable in privileged mode alone: a task without privileges is
    /// told that the core has nothing. A program makes its [`Plan`](crate::Plan) where it starts.
    pub(super) fn detect() -> Self {
        const CPACR: usize = 0xe000_ed88;
        const ID_ISAR3: usize = 0xe000_ed6c;
        const MVFR0: usize = 0xe000_ef40;
        const MVFR1: usize = 0xe000_ef44;
        if !privileged() {
            return Self { dsp: false, mve: false, fpu: false };
        }
        // SAFETY: every Cortex-M core with the main extension has these registers at these places;
        // reading them changes nothing.
        let [access, simd, single, vectors] =
            [CPACR, ID_ISAR3, MVFR0, MVFR1].map(|register| unsafe {
                core::ptr::with_exposed_provenance::<u32>(register).read_volatile()
            });
        let fpu = single >> 4 & 15 >= 2 && access >> 20 & 15 == 15;
        Self { dsp: simd >> 4 & 15 >= 3, mve: fpu && vectors >> 8 & 15 >= 2, fpu }
    }
}

/// Whether the program may read the ID registers: in an exception, or in a thread with privileges.
fn privileged() -> bool {
    let (control, exception): (u32, u32);
    // SAFETY: both instructions only read.
    unsafe {
        core::arch::asm!("mrs {}, CONTROL", "mrs {}, IPSR", out(reg) control, out(reg) exception,
            options(nomem, nostack, preserves_flags));
    }
    control & 1 == 0 || exception & 0x1ff != 0
}

/// The rules of a layer as 32-bit numbers; assembly reads them in this order.
#[repr(C)]
pub(super) struct Numbers {
    /// 0 linear, 1 ReLU, 2 ELU.
    curve: i32,
    /// ELU: the cubic, `one`, `depth`, and the squarings less [`MIN_SQUARINGS`].
    cubic: [i32; 3],
    one: i32,
    depth: i32,
    squarings: i32,
    /// What removes the fraction bits; the zero point, less what counts lack in the arena.
    round: i32,
    zero_point: i32,
    /// Whether a residual is added, and its rules.
    adds: i32,
    first: i32,
    second: i32,
    offset: i32,
    sum_round: i32,
    sum_zero_point: i32,
}

impl Numbers {
    /// Of a layer. `offset` is the kernel's [`offset`](super::Kernel::offset).
    pub(super) fn new(stage: &Requantize, offset: u8) -> Self {
        let rules = &stage.rules;
        let none = Elu { cubic: [0; 3], squarings: MIN_SQUARINGS, one: 0, depth: 0 };
        let (curve, elu) = match rules.curve {
            Curve::Linear => (0, none),
            Curve::Relu => (1, none),
            Curve::Elu(elu) => (2, elu),
        };
        let none = Sum { first: 0, second: 0, offset: 0, round: 0, zero_point: 0 };
        let sum = rules.sum.unwrap_or(none);
        Self {
            curve,
            cubic: [elu.cubic[0].into(), elu.cubic[1].into(), elu.cubic[2].into()],
            one: elu.one.into(),
            depth: elu.depth.into(),
            squarings: elu.squarings as i32 - MIN_SQUARINGS as i32,
            round: rules.round.into(),
            zero_point: i32::from(rules.zero_point) - i32::from(offset),
            adds: rules.sum.is_some().into(),
            first: sum.first.into(),
            second: sum.second.into(),
            offset: sum.offset.into(),
            sum_round: sum.round.into(),
            sum_zero_point: i32::from(sum.zero_point) - i32::from(offset),
        }
    }
}
