//! The `monet` command: parse, dispatch, exit code.

mod cli;
#[cfg(all(target_arch = "arm", target_os = "linux"))]
mod floor;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
