//! Decodes DICOM frames of syntaxes whose codecs are other people's in another process of this
//! program: what a damaged frame makes such a codec do is then an error of that frame.
//!
//! ```text
//! request   UID rows columns allocated stored high signed inverted length LF   bytes
//! answer    `ok` length LF bytes     or     `error` text LF
//! ```
//!
//! A codec that panics ends the process, and so does one that takes too long or too much memory.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use monet::dicom::format::pixels::{self, Decode, Photometric, PixelError, PixelFormat};
use monet::dicom::format::syntax::Syntax;
use monet::dicom::format::{Dataset, tags};

use super::{Outcome, child};

/// Address space of the process: a frame of the largest size, what codecs make of it on the way,
/// and the program.
const MEMORY_BYTES: u64 = 3 << 30;
/// Seconds for one frame.
const FRAME_SECONDS: u32 = 30;
/// Longest compressed frame: none is much longer than what it decodes to.
const MAX_COMPRESSED: usize = 2 * pixels::MAX_FRAME_BYTES as usize + (1 << 20);
/// Longest line.
const MAX_LINE: u64 = 1 << 12;

/// Decode DICOM frames for another process of this program
#[derive(Debug, Args)]
pub(super) struct DecodeArgs {}

/// Answers requests until there are no more.
///
/// # Errors
/// A request that cannot be read, an answer that cannot be written.
pub(super) fn run(DecodeArgs {}: &DecodeArgs) -> Result<Outcome> {
    child::bind(MEMORY_BYTES)?;
    let mut input = BufReader::new(io::stdin().lock());
    let mut output = BufWriter::new(io::stdout().lock());
    let mut frame = Vec::new();
    while let Some((syntax, format, compressed)) = request(&mut input)? {
        child::end_in(FRAME_SECONDS);
        let decoded = pixels::decode(&syntax, &format, &compressed, &mut frame);
        child::end_in(0);
        match decoded {
            Ok(()) => {
                writeln!(output, "ok {}", frame.len())?;
                output.write_all(&frame)?;
            }
            Err(error) => writeln!(output, "error {}", error.to_string().replace('\n', " "))?,
        }
        output.flush()?;
    }
    Ok(Outcome::Done)
}

/// The next request, if there is one.
fn request(input: &mut impl BufRead) -> Result<Option<(Syntax, PixelFormat, Vec<u8>)>> {
    let line = line(input)?;
    if line.is_empty() {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let syntax = Syntax::from_uid(words.next().context("no syntax")?);
    let numbers: Vec<u32> = words.map(str::parse).collect::<Result<_, _>>()?;
    let [rows, columns, allocated, stored, high, signed, inverted, length] = numbers[..] else {
        bail!("expected 8 numbers");
    };
    let mut set = Dataset::new();
    for (tag, number) in [
        (tags::ROWS, rows),
        (tags::COLUMNS, columns),
        (tags::BITS_ALLOCATED, allocated),
        (tags::BITS_STORED, stored),
        (tags::HIGH_BIT, high),
        (tags::PIXEL_REPRESENTATION, signed),
        (tags::SAMPLES_PER_PIXEL, 1),
    ] {
        set.put_u16(tag, &[number.try_into()?]);
    }
    let photometric = if inverted == 1 { "MONOCHROME1" } else { "MONOCHROME2" };
    set.put_text(tags::PHOTOMETRIC, b"CS", photometric);
    let length = length as usize;
    ensure!(length <= MAX_COMPRESSED, "a frame of {length} bytes");
    let mut compressed = Vec::new();
    input.take(length as u64).read_to_end(&mut compressed)?;
    ensure!(compressed.len() == length, "the frame ends early");
    Ok(Some((syntax, PixelFormat::new(&set)?, compressed)))
}

fn line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.take(MAX_LINE).read_line(&mut line)?;
    Ok(line)
}

/// Lets another process decode. The process starts with the first compressed frame, and anew after
/// one that ended it.
#[derive(Debug, Default)]
pub(super) struct Contained {
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    requests: BufWriter<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended, or has nothing to do any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start() -> io::Result<Self> {
        let mut child = child::command()?
            .arg("decode-frames")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = || io::Error::other("a process without pipes");
        let requests = BufWriter::new(child.stdin.take().ok_or_else(pipe)?);
        let answers = BufReader::new(child.stdout.take().ok_or_else(pipe)?);
        Ok(Self { child, requests, answers })
    }

    /// The frame, or what the decoder says against it.
    fn ask(
        &mut self,
        syntax: &Syntax,
        format: &PixelFormat,
        compressed: &[u8],
        out: &mut Vec<u8>,
    ) -> io::Result<Result<(), String>> {
        let PixelFormat { rows, columns, bits_allocated, bits_stored, high_bit, .. } = format;
        let (signed, uid, length) = (u8::from(format.signed), syntax.uid(), compressed.len());
        let inverted = u8::from(format.photometric == Photometric::Monochrome1);
        writeln!(
            self.requests,
            "{uid} {rows} {columns} {bits_allocated} {bits_stored} {high_bit} {signed} {inverted} \
             {length}"
        )?;
        self.requests.write_all(compressed)?;
        self.requests.flush()?;
        let line = line(&mut self.answers)?;
        if let Some(error) = line.strip_prefix("error ") {
            return Ok(Err(error.trim().to_owned()));
        }
        let length = line.strip_prefix("ok ").and_then(|text| text.trim().parse::<usize>().ok());
        if length != Some(format.frame_bytes()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.clear();
        out.resize(format.frame_bytes(), 0);
        self.answers.read_exact(out)?;
        Ok(Ok(()))
    }
}

impl Decode for Contained {
    fn decode(
        &mut self,
        syntax: &Syntax,
        format: &PixelFormat,
        compressed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), PixelError> {
        if !pixels::is_foreign(syntax) {
            return pixels::decode(syntax, format, compressed, out);
        }
        let codec = |what: String| PixelError::Codec { codec: "compressed", what };
        let mut process = match self.process.take() {
            Some(process) => process,
            None => Process::start().map_err(|error| codec(error.to_string()))?,
        };
        match process.ask(syntax, format, compressed, out) {
            Ok(answer) => {
                self.process = Some(process);
                answer.map_err(codec)
            }
            Err(_) => {
                // It has ended already, or says what makes no sense.
                let _ = process.child.kill();
                let status = process.child.wait();
                let status = status.map_or("unknown".to_owned(), |status| status.to_string());
                Err(codec(format!("the frame ended its decoder ({status})")))
            }
        }
    }
}
