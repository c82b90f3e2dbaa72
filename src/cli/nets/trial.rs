//! Lets another process of this program, bound in memory and time, load a net and run it once,
//! before this process does.
//!
//! An ONNX file passes the library's guard before tract meets it. What the guard does not foresee
//! may still make tract panic, which ends a program whose panics abort, ask for memory without end,
//! or never come back. It then happens to the trial, and here becomes an error. Plans and nets that
//! the int8 engine takes as a whole are not tried: tract has no part in them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use monet::Size;
use monet::engine::EngineError;
use monet::onnx::{EngineChoice, Needs, needs};
use monet::package::Package;

use super::EngineArgs;
use crate::cli::child;

/// How much longer than on an idle core a trial may take.
const PATIENCE: u64 = 4;

/// Most that is read of what a trial says.
const MAX_TEXT: u64 = 1 << 14;

/// The beginning of every error of this program.
const PREFIX: &str = "monet: error: ";

/// The command that loads a net and runs it on one slice.
pub(super) const FIRST_SLICE: &[&str] = &["profile", "--first-slice"];

/// A model of a user's and how it is run.
#[derive(Debug)]
pub(super) struct Trial {
    model: PathBuf,
    command: Vec<String>,
    choice: EngineChoice,
}

impl Trial {
    /// One that does what `command` does, with the same engine.
    ///
    /// # Errors
    /// As [`EngineArgs::choose`]
    pub(super) fn new(
        model: &Path,
        command: &[&str],
        engine: &EngineArgs,
        package: &Package,
    ) -> Result<Self> {
        let command = command.iter().map(ToString::to_string).chain(engine.repeated()).collect();
        Ok(Self { model: model.to_owned(), command, choice: engine.choose(package)? })
    }

    /// As if tract ran all of the net, whatever runs it.
    pub(super) fn with_tract(self) -> Self {
        Self { choice: EngineChoice::Tract, ..self }
    }

    /// Runs it, where tract has a part in the net, until it ends or `stop` says so.
    ///
    /// # Errors
    /// [`EngineError::Trial`] where it failed; [`EngineError::Refused`].
    pub(super) fn run(
        &self,
        package: &Package,
        size: Size,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), EngineError> {
        let Some(needs) = needs(package, size, self.choice)? else { return Ok(()) };
        self.ended(size, needs, stop).map_err(|error| {
            let reason = format!("{error:#}");
            let own = format!("{}: ", package.origin);
            let reason = reason.strip_prefix(&own).unwrap_or(&reason).to_owned();
            EngineError::Trial { origin: package.origin.clone(), reason }
        })
    }

    fn ended(&self, size: Size, needs: Needs, stop: &dyn Fn() -> bool) -> Result<()> {
        let mut command = child::command().context("the path of this program")?;
        let mut child = command
            .args(&self.command)
            .arg(format!("--size={size}"))
            .arg(format!("--trial={}:{}", needs.memory_bytes, needs.seconds))
            .arg("--")
            .arg(&self.model)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("a process to try it in cannot be started")?;
        let Some(said) = child.stderr.take() else { bail!("a trial has no standard error") };
        let reader = thread::Builder::new().spawn(move || {
            let mut text = Vec::new();
            // What came before a failure is as good as what there is.
            let _ = said.take(MAX_TEXT).read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })?;
        let status = wait(&mut child, Duration::from_secs(needs.seconds * PATIENCE), stop);
        let said = reader.join().unwrap_or_default();
        judge(status?, &said, needs)
    }
}

/// Until it ends by itself, or is ended.
fn wait(child: &mut Child, limit: Duration, stop: &dyn Fn() -> bool) -> Result<ExitStatus> {
    let clock = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let stopped = stop();
        if stopped || clock.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            ensure!(!stopped, "interrupted");
            bail!("a trial of it did not end within {} s", limit.as_secs());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn judge(status: ExitStatus, said: &str, needs: Needs) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    if let (Some(1), Some((_, error))) = (status.code(), said.rsplit_once(PREFIX)) {
        bail!("{}", error.lines().map(str::trim).collect::<Vec<_>>().join("\n"));
    }
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    // A panic says on its second line what it is about.
    let panicked = said.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
    bail!(
        "a trial of it, with {} MB and {} s of a core, ended with {status} ({}): the file is \
         damaged, or made in a way that tract does not take",
        needs.memory_bytes >> 20,
        needs.seconds,
        panicked.unwrap_or(line).trim()
    )
}

/// The bounds of a trial, as bytes of address space and seconds of a core: `536870912:3`.
pub(super) fn parse(text: &str) -> Result<Needs> {
    let (memory, seconds) = text.split_once(':').context("expected BYTES:SECONDS")?;
    Ok(Needs { memory_bytes: memory.parse()?, seconds: seconds.parse()? })
}

/// Binds this process, which is a trial, to its bounds, and to the life of the one that started it.
pub(super) fn bind(needs: Needs) -> Result<()> {
    child::bind(needs.memory_bytes)?;
    child::limit_seconds(needs.seconds)
}
