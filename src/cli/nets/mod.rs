//! Nets as the commands run them: with tract, ONNX packages and plans; without it, plans alone.
//!
//! `onnx` and `plans` offer the same items, of which one build has one.

#[cfg(feature = "tract")]
mod onnx;
#[cfg(not(feature = "tract"))]
mod plans;
#[cfg(feature = "tract")]
mod trial;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use monet::core::Kernel;
use monet::package::{Net, Package};

#[cfg(feature = "tract")]
use self::onnx as build;
#[cfg(not(feature = "tract"))]
use self::plans as build;

pub(super) use build::{
    Choice, TrialArgs, describe, factory, package_of_onnx, to_plan, try_first_slice, try_inspect,
};

/// Has the C library give blocks of a mebibyte and more back to the system when they are freed.
///
/// Otherwise glibc keeps blocks of up to 32 MiB, and before 2.38 it fills no gaps between those
/// that are aligned, as tract's tensors are: a net with 1 MiB a tensor took 83 or 120 MiB, as its
/// threads met, where 30 are enough. New pages cost a net of 512x512 in f32 30 % more time; the
/// int8 engine asks for nothing while it runs.
#[cfg(all(feature = "tract", target_os = "linux", target_env = "gnu"))]
pub(super) fn give_tensors_back() {
    // SAFETY: sets a number of the allocator, before there are other threads. Where it is refused,
    // all works as before.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20) };
}

/// Of other C libraries, and without tract, nothing is asked.
#[cfg(not(all(feature = "tract", target_os = "linux", target_env = "gnu")))]
pub(super) fn give_tensors_back() {}

/// The choice of engine and kernel, common to the commands that run nets.
#[derive(Debug, clap::Args)]
pub(super) struct EngineArgs {
    /// What runs the net: the int8 engine where the net is quantized and tract elsewhere, or tract
    /// alone
    #[arg(long, value_name = "ENGINE", default_value = "auto")]
    engine: build::EngineName,
    /// Kernel of the int8 engine
    #[arg(long, value_name = "KERNEL", env = "MONET_KERNEL", help = kernels())]
    kernel: Option<String>,
}

/// The help of `--kernel`.
fn kernels() -> String {
    let names = Kernel::ALL.map(Kernel::name).join(", ");
    format!(
        "Kernel of the int8 engine, of {names}; when not given the fastest that the CPU has, or \
         the one that the plan was made for"
    )
}

impl EngineArgs {
    /// What is chosen where nothing is said.
    #[cfg(feature = "serve")]
    pub(super) fn auto() -> Self {
        Self { engine: build::EngineName::Auto, kernel: None }
    }

    /// The same choice for another command line.
    pub(super) fn repeated(&self) -> Vec<String> {
        let name = self.engine.to_possible_value();
        let engine = name.iter().map(|name| format!("--engine={}", name.get_name()));
        let kernel = self.kernel.iter().map(|kernel| format!("--kernel={kernel}"));
        engine.chain(kernel).collect()
    }

    /// The name of the kernel that was asked for.
    pub(super) fn kernel(&self) -> Option<&str> {
        self.kernel.as_deref()
    }

    /// The factory of a package's engines.
    ///
    /// # Errors
    /// A kernel that the CPU has not, or for which the package was not planned.
    pub(super) fn choose(&self, package: &Package) -> Result<Choice> {
        if let (Some(name), Net::Image(image)) = (self.kernel(), &package.net) {
            ensure!(
                name == image.kernel().name(),
                "{}: is planned for the kernel {}, and --kernel asks for {name}: leave it away, or \
                 plan for {name} with `monet compile --for {name}`",
                package.origin,
                image.kernel()
            );
        }
        self.engine.choose(self.kernel())
    }
}
