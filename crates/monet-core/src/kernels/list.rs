//! All kernels: the one list from which names, packing, availability, dispatch, help texts, tests
//! and benches follow.
//!
//! An entry of the list holds:
//!
//! - the kernel, its number in images, its name, and its documentation,
//! - what the planner must know: the packing of the weights, the offset,
//! - the features that the kernel needs of the CPU,
//! - `untimed`, where nobody has timed the kernel on a CPU that has it: why. It runs where it is
//!   named, and is never chosen by itself, see [`Kernel::is_timed`],
//! - `optional`, where a program may leave the kernel out by the feature of its name: the CPUs that
//!   could have it,
//! - `tiles`, where the kernel has Winograd tiles: the module whose `convolve_strip` fills a
//!   [`CheckedStrip`]; for how many `taps` down and across; the `price`, which is how many
//!   multiplications of rows take as long as one of tiles; and the number of input channels `from`
//!   which on tiles pay for their transforms,
//! - `code`: the module with the kernel's code, once for each architecture that has it.
//!
//! A module of code has three functions:
//!
//! - `available() -> bool`: whether this CPU has the instructions,
//! - `convolve(row: CheckedRow)`: fills a row,
//! - `spin(rounds: usize) -> u64`: runs the multiplying instruction on registers alone, and returns
//!   how many multiplications that were.

use core::fmt;

use super::CheckedRow;
use super::packing::Packing;
use super::winograd::CheckedStrip;

/// Whether an optional part of an entry is there.
macro_rules! given {
    () => {
        false
    };
    ($given:tt) => {
        true
    };
}

macro_rules! kernels {
    ($(
        $(#[$doc:meta])*
        $kernel:ident = $code:literal {
            name: $name:literal,
            packing: $packing:ident,
            offset: $offset:literal,
            cpus: [$($arch:literal: [$($feature:literal),*]),+],
            $(untimed: $untimed:literal,)?
            $(optional: [$($could:tt)*],)?
            $(tiles: [$($tiles_cpu:tt)*] => $tiles:ident,
            taps: $taps:expr, price: $price:literal, from: $from:literal,)?
            $(code: [$($cpu:tt)*] => $module:ident,)+
        }
    )+) => {
        /// The code that computes convolutions; every one gives the same counts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Kernel {
            $($(#[$doc])* $kernel = $code,)+
        }

        impl Kernel {
            /// All kernels, slowest first within an architecture, but for those that nobody has
            /// timed.
            pub const ALL: [Self; [$($code),+].len()] = [$(Self::$kernel),+];

            /// The name by which users choose it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kernel => $name,)+ }
            }

            /// The architectures that can have it, as triples name them, and the features of the
            /// CPU that it needs there, as Linux names them in `/proc/cpuinfo`; of a Cortex-M,
            /// which runs no Linux, as the compiler names them.
            pub fn cpus(self) -> &'static [(&'static str, &'static [&'static str])] {
                match self { $(Self::$kernel => &[$(($arch, &[$($feature),*])),+],)+ }
            }

            /// Whether somebody has timed it on a CPU that has its instructions. One that nobody
            /// has timed may be slower than those before it: it runs where a user names it, and
            /// [`Kernel::best`] passes it over.
            pub fn is_timed(self) -> bool {
                match self { $(Self::$kernel => !given!($($untimed)?),)+ }
            }

            /// The order of its weights. Kernels of some orders also need a panel of scratch
            /// memory, see [`Packing::panel`].
            pub(crate) fn packing(self) -> Packing {
                match self { $(Self::$kernel => Packing::$packing,)+ }
            }

            /// Subtracted from every count that lies in the arena: 128 where the instruction needs
            /// i8 on both sides, which a byte of the arena then is, else 0. The plan adds 128 × Σ
            /// weights to the bias to compensate.
            pub(crate) const fn offset(self) -> u8 {
                match self { $(Self::$kernel => $offset,)+ }
            }

            /// The offset of a kernel that the program has. A program none of whose kernels has one
            /// saves the code for it.
            pub(crate) const fn own_offset(self) -> u8 {
                if $(($(cfg!($($cpu)*))||+) && $offset > 0)||+ { self.offset() } else { 0 }
            }

            /// Whether it has Winograd tiles, the faster way for few taps, see
            /// [`winograd`](super::winograd).
            #[inline(always)]
            fn has_tiles(self) -> bool {
                match self { $(Self::$kernel => given!($($tiles)?),)+ }
            }

            /// Whether it has them for so many taps down and across.
            pub(crate) fn has_tiles_of(self, taps: usize) -> bool {
                match self {
                    $($(Self::$kernel => $taps.contains(&taps),)?)+
                    _ => false,
                }
            }

            /// How many multiplications of rows take as long as one of tiles, where tiles pay for
            /// their transforms with so many input channels. `None` where they do not.
            #[cfg(feature = "alloc")]
            pub(crate) fn tile_price(self, channels: usize) -> Option<usize> {
                match self {
                    $($(Self::$kernel => (channels >= $from).then_some($price),)?)+
                    _ => None,
                }
            }

            /// Whether the program can prove plans for it, see [`TILED_PLANS`](super::TILED_PLANS).
            pub(crate) fn is_known(self) -> bool {
                super::TILED_PLANS || !self.has_tiles()
            }

            /// Whether the program was built without it, though for an architecture that has it.
            fn is_left_out(self) -> bool {
                match self {
                    $($(
                        #[cfg(all($($could)*, not(feature = $name)))]
                        Self::$kernel => true,
                    )?)+
                    #[allow(unreachable_patterns, reason = "a program leaves out only some")]
                    _ => false,
                }
            }

            /// Whether the program has it and this CPU has the instructions.
            pub fn is_available(self) -> bool {
                match self {
                    $($(#[cfg($($cpu)*)] Self::$kernel => super::$module::available(),)+)+
                    #[allow(unreachable_patterns, reason = "an architecture has only some kernels")]
                    _ => false,
                }
            }

            /// Runs its multiplying instruction on registers alone and returns how many
            /// multiplications that were; 0 where the CPU lacks the instruction. The caller times
            /// the call and so learns the peak that this core can reach.
            pub fn spin(self, rounds: usize) -> u64 {
                match self {
                    $($(#[cfg($($cpu)*)] Self::$kernel => super::$module::spin(rounds),)+)+
                    #[allow(unreachable_patterns, reason = "an architecture has only some kernels")]
                    _ => {
                        let _ = rounds;
                        0
                    }
                }
            }

            /// Fills one row of the output. The kernel must be available; `None` where the
            /// program lacks it.
            #[inline]
            pub(crate) fn convolve(self, row: CheckedRow) -> Option<()> {
                match self {
                    $($(#[cfg($($cpu)*)] Self::$kernel => {
                        super::$module::convolve(row);
                        Some(())
                    })+)+
                    #[allow(unreachable_patterns, reason = "an architecture has only some kernels")]
                    _ => {
                        let _ = row;
                        None
                    }
                }
            }

            /// Fills the output rows of a row of tiles; `None` where the kernel has none.
            pub(crate) fn convolve_strip(self, strip: CheckedStrip) -> Option<()> {
                match self {
                    $($(#[cfg($($tiles_cpu)*)] Self::$kernel => {
                        super::$tiles::convolve_strip(strip);
                        Some(())
                    })?)+
                    #[allow(unreachable_patterns, reason = "only some kernels have tiles")]
                    _ => {
                        let _ = strip;
                        None
                    }
                }
            }
        }
    };
}

kernels! {
    /// Portable; all other kernels are tested against it.
    Scalar = 0 {
        name: "scalar",
        packing: Bytes,
        offset: 0,
        cpus: ["x86_64": [], "aarch64": [], "armv7": [], "thumbv7em": [], "thumbv8m.main": []],
        optional: [all()],
        code: [feature = "scalar"] => scalar,
    }
    /// x86-64 with SSE4.1 and SSSE3.
    Sse41 = 1 {
        name: "sse4.1",
        packing: Words,
        offset: 0,
        cpus: ["x86_64": ["ssse3", "sse4_1"]],
        code: [target_arch = "x86_64"] => x86_sse41_2x16,
    }
    /// x86-64 with AVX2.
    Avx2 = 2 {
        name: "avx2",
        packing: Words,
        offset: 0,
        cpus: ["x86_64": ["avx2"]],
        tiles: [target_arch = "x86_64"] => x86_avx2_winograd, taps: 2..=3, price: 1, from: 16,
        code: [target_arch = "x86_64"] => x86_avx2_6x16,
    }
    /// x86-64 with AVX2 and AVX-VNNI.
    AvxVnni = 3 {
        name: "avx-vnni",
        packing: Bytes,
        offset: 0,
        cpus: ["x86_64": ["avx2", "avx_vnni"]],
        code: [target_arch = "x86_64"] => x86_avxvnni_6x16,
    }
    /// x86-64 with AVX-512 F, BW and VNNI.
    Avx512Vnni = 4 {
        name: "avx512-vnni",
        packing: Bytes,
        offset: 0,
        cpus: ["x86_64": ["avx512f", "avx512bw", "avx512_vnni"]],
        // Of 16 channels, tiles took 5 % less time on a Zen 4. On a Zen 5, which makes twice as
        // many products a cycle, they are predicted to take 26 % more. At their price, tiles for
        // 2×2 taps never pay.
        tiles: [target_arch = "x86_64"] => x86_avx512_winograd,
        taps: 3..=3, price: 2, from: 32,
        code: [target_arch = "x86_64"] => x86_avx512vnni_16x16,
    }
    /// 64-bit ARM (any), or 32-bit ARM with NEON.
    Neon = 5 {
        name: "neon",
        packing: Pairs,
        offset: 128,
        cpus: ["aarch64": ["asimd"], "armv7": ["neon"]],
        code: [target_arch = "aarch64"] => aarch64_neon_4x16,
        code: [all(target_arch = "arm", target_os = "linux", feature = "std")] => arm_neon_2x16,
    }
    /// 64-bit ARM (any), by tiles.
    NeonWinograd = 6 {
        name: "neon-winograd",
        packing: Pairs,
        offset: 128,
        cpus: ["aarch64": ["asimd"]],
        tiles: [target_arch = "aarch64"] => aarch64_neon_winograd, taps: 2..=3, price: 1, from: 16,
        code: [target_arch = "aarch64"] => aarch64_neon_winograd,
    }
    /// 64-bit ARM with dot products.
    NeonDotprod = 7 {
        name: "neon-dotprod",
        packing: Bytes,
        offset: 128,
        cpus: ["aarch64": ["asimddp"]],
        code: [target_arch = "aarch64"] => aarch64_dotprod_6x16,
    }
    /// 64-bit ARM with 8-bit matrix products.
    NeonI8mm = 8 {
        name: "neon-i8mm",
        packing: Eights,
        offset: 0,
        cpus: ["aarch64": ["i8mm"]],
        code: [target_arch = "aarch64"] => aarch64_i8mm_6x16,
    }
    /// Cortex-M with DSP instructions and an FPU: M4, M7, M33.
    CortexMDsp = 9 {
        name: "cortex-m-dsp",
        packing: Twos,
        offset: 0,
        cpus: ["thumbv7em": ["dsp"], "thumbv8m.main": ["dsp"]],
        optional: [cortex_m],
        code: [all(cortex_m, feature = "cortex-m-dsp")] => cortex_m_dsp_3x2,
    }
    /// Cortex-M with vectors (MVE, "Helium"): M55, M85.
    CortexMMve = 10 {
        name: "cortex-m-mve",
        packing: Fours,
        offset: 128,
        cpus: ["thumbv8m.main": ["mve"]],
        optional: [cortex_m_vectors],
        code: [all(cortex_m_vectors, feature = "cortex-m-mve")] => cortex_m_mve_2x4,
    }
    /// x86-64 with AMX-INT8, and Linux's leave to use it.
    Amx = 11 {
        name: "amx",
        packing: Bytes,
        offset: 0,
        cpus: ["x86_64": ["avx512f", "avx512bw", "avx512_vnni", "amx_tile", "amx_int8"]],
        untimed: "proven under an emulator, which has no times",
        code: [all(target_arch = "x86_64", target_os = "linux")] => x86_amx_16x16,
    }
}

const _: () = {
    let mut i = 0;
    while i < Kernel::ALL.len() {
        assert!(Kernel::ALL[i] as usize == i, "the list is in the order of the numbers");
        i += 1;
    }
};

impl Kernel {
    /// The number that stands for the kernel in images. It never changes.
    #[cfg(feature = "alloc")]
    pub(crate) fn code(self) -> u32 {
        self as u32
    }

    /// The kernel whose number in images this is.
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(code as usize).copied()
    }

    /// The kernels that this CPU can run, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kernel| kernel.is_available())
    }

    /// The fastest kernel that this CPU can run, of those that somebody has timed.
    pub fn best() -> Self {
        Self::fastest(Self::is_available)
    }

    /// The fastest of those that somebody has timed and for which this holds, else
    /// [`Kernel::Scalar`]. Of the others nothing is asked.
    pub fn fastest(runs: impl Fn(Self) -> bool) -> Self {
        let found = Self::ALL.into_iter().rev().find(|kernel| kernel.is_timed() && runs(*kernel));
        found.unwrap_or(Self::Scalar)
    }

    /// Whether it can run here, or why not.
    ///
    /// # Errors
    /// [`KernelError::LeftOut`], [`KernelError::Unavailable`]
    pub(crate) fn require(self) -> Result<(), KernelError> {
        match self.is_available() {
            true => Ok(()),
            false if self.is_left_out() => Err(KernelError::LeftOut(self)),
            false => Err(KernelError::Unavailable(self)),
        }
    }

    /// The named kernel, if this CPU can run it; without a name the best one.
    ///
    /// # Errors
    /// [`KernelError`]
    #[cfg(feature = "alloc")]
    pub fn choose(name: Option<&str>) -> Result<Self, KernelError> {
        let Some(name) = name else { return Ok(Self::best()) };
        let kernel: Self = name.parse()?;
        kernel.require().map(|()| kernel)
    }
}

/// Why a kernel cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No kernel has this name.
    #[cfg(feature = "alloc")]
    #[error("no kernel is called \"{0}\"; known are {known}", known = Names(|_| true))]
    Unknown(alloc::string::String),
    /// This CPU lacks the instructions.
    #[error(
        "this CPU cannot run the kernel \"{0}\"; it can run {available}",
        available = Names(Kernel::is_available)
    )]
    Unavailable(Kernel),
    /// The program was built without the kernel.
    #[error(
        "this program was built without the kernel \"{0}\"; build it with the feature \"{0}\" of \
         monet-core, or compile the plan for another kernel"
    )]
    LeftOut(Kernel),
}

/// Shows the names of the kernels for which the function holds, with commas between.
struct Names(fn(Kernel) -> bool);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for kernel in Kernel::ALL.into_iter().filter(|kernel| (self.0)(*kernel)) {
            write!(f, "{separator}{kernel}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(feature = "alloc")]
impl core::str::FromStr for Kernel {
    type Err = KernelError;

    fn from_str(s: &str) -> Result<Self, KernelError> {
        let known = Self::ALL.into_iter().find(|kernel| kernel.name() == s);
        known.ok_or_else(|| KernelError::Unknown(s.into()))
    }
}
