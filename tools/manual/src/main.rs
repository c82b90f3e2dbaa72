//! Writes the man pages and the completions of bash, zsh and fish into a folder, as packages carry
//! them: `cargo run -p manual -- FOLDER`.

#[path = "../../../src/cli/mod.rs"]
#[allow(dead_code, reason = "the arguments alone are looked at")]
mod cli;

use std::path::PathBuf;
use std::{env, fs, io};

use clap::CommandFactory;
use clap_complete::Shell;

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).expect("a folder to write to"));
    fs::create_dir_all(&folder)?;
    let mut command = cli::Arguments::command();
    clap_mangen::generate_to(command.clone(), &folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "monet", &folder)?;
    }
    Ok(())
}
