//! Tells which study an instance belongs to. Another process reads the header, so that no file can
//! end the service.
//!
//! ```text
//! request   name LF
//! answer    one line of JSON: Ok { study, series, instance, of } or Err text
//! ```

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use monet_dicom::read::{self, Keep};
use monet_dicom::{tags, uid};
use serde::{Deserialize, Serialize};

/// Longest line.
const MAX_LINE: u64 = 4 << 10;

/// What an instance says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Belongs {
    /// Study Instance UID.
    pub study: String,
    /// SOP Instance UID.
    pub instance: String,
    /// Number of Study Related Instances (0020,1208), where it is stated.
    pub of: Option<usize>,
}

/// Answers for files of a folder until there are no more requests: the other process's part.
/// `busy` is told before and after each file, so that it can end the process at one that takes too
/// long.
///
/// # Errors
/// A request that cannot be read, an answer that cannot be written.
pub fn answer(
    folder: &Path,
    input: &mut impl BufRead,
    output: &mut impl Write,
    mut busy: impl FnMut(bool),
) -> io::Result<()> {
    loop {
        let name = line(input)?;
        if name.is_empty() {
            return Ok(());
        }
        busy(true);
        let looked = look(&folder.join(name.trim_end_matches('\n')));
        busy(false);
        serde_json::to_writer(&mut *output, &looked)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
}

fn look(path: &Path) -> Result<Belongs, String> {
    const WANTED: [monet_dicom::Tag; 3] =
        [tags::STUDY_UID, tags::SOP_INSTANCE, tags::STUDY_INSTANCES];
    let header = read::open(path, &Keep::all().only(&WANTED)).map_err(|e| e.to_string())?.header;
    let named = |tag, what: &str| match header.data.text(tag) {
        Some(text) if uid::is_valid(text) => Ok(text.to_owned()),
        Some(_) => Err(format!("its {what} is no UID")),
        None => Err(format!("it has no {what}")),
    };
    Ok(Belongs {
        study: named(tags::STUDY_UID, "Study Instance UID")?,
        instance: named(tags::SOP_INSTANCE, "SOP Instance UID")?,
        of: header.data.integer(tags::STUDY_INSTANCES).filter(|&n| n > 0),
    })
}

fn line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.take(MAX_LINE).read_line(&mut line)?;
    Ok(line)
}

/// How an instance's header was looked at.
#[derive(Debug)]
pub enum Looked {
    /// It belongs to a study.
    Belongs(Belongs),
    /// It is refused, and why.
    Refused(String),
}

/// Lets another process look; starts it with the first instance, and anew after one that ended it.
#[derive(Debug)]
pub struct Sorter {
    command: Vec<String>,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Sorter {
    /// The command calls [`answer`] with its standard input and output.
    #[must_use]
    pub fn new(command: Vec<String>) -> Self {
        Self { command, process: None }
    }

    /// What a file belongs to.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn look(&mut self, name: &str) -> io::Result<Looked> {
        let process = match &mut self.process {
            Some(process) => process,
            none => none.insert(Process::start(&self.command)?),
        };
        match process.ask(name) {
            Ok(Ok(belongs)) => Ok(Looked::Belongs(belongs)),
            Ok(Err(reason)) => Ok(Looked::Refused(reason)),
            Err(_) => {
                self.process = None;
                Ok(Looked::Refused("it ends the process that reads its header".into()))
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended, or has nothing to do any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(command: &[String]) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = || io::Error::other("a process without pipes");
        let requests = child.stdin.take().ok_or_else(pipe)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(pipe)?);
        Ok(Self { child, requests, answers })
    }

    fn ask(&mut self, name: &str) -> io::Result<Result<Belongs, String>> {
        writeln!(self.requests, "{name}")?;
        Ok(serde_json::from_str(&line(&mut self.answers)?)?)
    }
}
