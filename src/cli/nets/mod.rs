//! Nets as the commands run them: with tract, ONNX packages and plans; without it, plans alone.
//!
//! `onnx` and `plans` offer the same items, of which one build has one.

#[cfg(feature = "tract")]
mod onnx;
#[cfg(not(feature = "tract"))]
mod plans;
#[cfg(feature = "tract")]
mod trial;

use anyhow::Result;
use clap::ValueEnum;

#[cfg(feature = "tract")]
use self::onnx as build;
#[cfg(not(feature = "tract"))]
use self::plans as build;

pub(super) use build::{
    Choice, TrialArgs, describe, factory, package_of_onnx, to_plan, try_first_slice, try_inspect,
};

/// The choice of engine and kernel, common to the commands that run nets.
#[derive(Debug, clap::Args)]
pub(super) struct EngineArgs {
    /// What runs the net: the int8 engine where the net is quantized and tract elsewhere, or tract
    /// alone
    #[arg(long, value_name = "ENGINE", default_value = "auto")]
    engine: build::EngineName,
    /// Kernel of the int8 engine: scalar; sse4.1, avx2, avx-vnni or avx512-vnni; neon, neon-dotprod
    /// or neon-i8mm; the fastest that the CPU has when not given
    #[arg(long, value_name = "KERNEL", env = "MONET_KERNEL")]
    kernel: Option<String>,
}

impl EngineArgs {
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

    /// The factory of the engines.
    ///
    /// # Errors
    /// A kernel that the CPU has not.
    pub(super) fn choose(&self) -> Result<Choice> {
        self.engine.choose(self.kernel())
    }
}
