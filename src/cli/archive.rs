//! Inputs by the thousand: named in a list, shared among processes, and passed over where their
//! labels are there.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use clap::Args;
use monet::atomic;
use monet::pipeline::FileJob;
use monet::text::shown;

use super::reports::is_stdout;

/// The longest line of a list in bytes: two paths as long as Linux takes them.
const LINE: u64 = 2 * 4096;

/// Which inputs are segmented, of many.
#[derive(Debug, Args)]
#[command(next_help_heading = "Archives")]
pub(super) struct ArchiveArgs {
    /// Take the inputs that a file names, one a line; - for standard input. After a tab a line may
    /// say where in -o the labels go, for example sub-01/mask.nii.gz. Folders are made
    #[arg(long, value_name = "FILE")]
    pub(super) list: Option<PathBuf>,
    /// Segment only a share of the inputs: of N, the K-th, the (K+N)-th and so on, counted from 0
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// Pass over inputs whose labels are there. They are complete: outputs appear whole
    #[arg(long, conflicts_with = "force")]
    pub(super) skip_done: bool,
}

/// The share of one process among several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shard {
    index: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('/').and_then(|(index, of)| {
            Some(Self { index: index.trim().parse().ok()?, of: of.trim().parse().ok()? })
        });
        let shard = parts.context("expected K/N, for example 0/4")?;
        ensure!(
            shard.index < shard.of,
            "shares count from 0: of {} the last is {}/{}",
            shard.of,
            shard.of.saturating_sub(1),
            shard.of
        );
        Ok(shard)
    }
}

/// An input, and where its labels go below the folder of outputs, if the list says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) input: PathBuf,
    pub(super) output: Option<PathBuf>,
}

impl ArchiveArgs {
    /// The inputs of this process, those of the command line and those of the list; and all that
    /// is read by this process or one with another share, which nobody may write to.
    ///
    /// # Errors
    /// A list that cannot be read, or says what cannot be.
    pub(super) fn entries(&self, inputs: &[PathBuf]) -> Result<(Vec<Entry>, Vec<PathBuf>)> {
        let shard = self.shard.unwrap_or(Shard { index: 0, of: 1 });
        let (mut own, mut number) = (Vec::new(), 0);
        let mut read: Vec<PathBuf> =
            self.list.iter().filter(|path| !is_stdout(path)).cloned().collect();
        let mut take = |entry: Entry| {
            read.push(entry.input.clone());
            if number % shard.of == shard.index {
                own.push(entry);
            }
            number += 1;
        };
        inputs.iter().for_each(|input| take(Entry { input: input.clone(), output: None }));
        if let Some(list) = &self.list {
            // Lines of other shares are looked at, too: all processes refuse a list or none.
            read_list(list, take)?;
        }
        Ok((own, read))
    }

    /// Whether the labels of an input are there and it is to be passed over.
    pub(super) fn is_done(&self, output: &Path) -> bool {
        self.skip_done && fs::symlink_metadata(output).is_ok_and(|found| found.is_file())
    }

    /// Waits until what another process is naming, or has left half named, is as it is to stay: an
    /// output of this job that was in the way may be gone, and its labels may be there.
    pub(super) fn wait_for_others(&self, job: &FileJob) {
        atomic::wait(&job.output);
        atomic::recover(&job.paths().folders());
    }
}

/// Gives the entries of a list, line by line.
fn read_list(path: &Path, mut take: impl FnMut(Entry)) -> Result<()> {
    let source: Box<dyn Read> = if is_stdout(path) {
        Box::new(io::stdin())
    } else {
        let file = File::open(path);
        Box::new(file.with_context(|| format!("{}: the list cannot be read", shown(path)))?)
    };
    let (mut source, mut line) = (BufReader::new(source), Vec::new());
    for number in 1.. {
        let place = || format!("{}, line {number}", shown(path));
        line.clear();
        let read = (&mut source).take(LINE + 1).read_until(b'\n', &mut line);
        if read.with_context(place)? == 0 {
            break;
        }
        ensure!(
            line.len() as u64 <= LINE,
            "{}: is longer than {LINE} bytes: is it a list?",
            place()
        );
        // Some editors and spreadsheets begin a file with a byte-order mark.
        let mark = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf") } else { None };
        entry(mark.unwrap_or(&line)).with_context(place)?.into_iter().for_each(&mut take);
    }
    Ok(())
}

/// The entry of a line; none of one that is empty.
fn entry(line: &[u8]) -> Result<Option<Entry>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Ok(None);
    }
    let mut parts = line.split(|byte| *byte == b'\t');
    let input = path(parts.next().unwrap_or_default())?;
    let output = parts.next().map(path).transpose()?;
    ensure!(parts.next().is_none(), "expected INPUT or INPUT<TAB>OUTPUT, found two tabs");
    ensure!(!input.as_os_str().is_empty(), "the input has no name");
    if let Some(output) = &output {
        let is_below = output.components().all(|part| matches!(part, Component::Normal(_)));
        ensure!(
            is_below && output.file_name().is_some(),
            "{}: expected an output below -o: no /, no .., not empty",
            shown(output)
        );
    }
    Ok(Some(Entry { input, output }))
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "not every system takes any bytes")]
fn path(bytes: &[u8]) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::OsStr::from_bytes(bytes).into())
}

#[cfg(not(unix))]
fn path(bytes: &[u8]) -> Result<PathBuf> {
    Ok(std::str::from_utf8(bytes).context("expected UTF-8")?.into())
}

/// The file of a volume in a folder that has one a volume: named after its labels, with another
/// ending. Missing folders are made.
///
/// # Errors
/// A folder that cannot be made.
pub(super) fn beside_labels(folder: &Path, labels: &Path, ending: &str) -> Result<PathBuf> {
    let name = labels.file_name().unwrap_or_default();
    let mut own = monet::paths::VolumeName::of(name).stem.to_owned();
    own.push(ending);
    let path = folder.join(labels.with_file_name(own));
    make_folder(&path)?;
    Ok(path)
}

/// Makes the folder of an output that a list names.
///
/// # Errors
/// It cannot be made.
pub(super) fn make_folder(output: &Path) -> Result<()> {
    let folder = output.parent().unwrap_or(output);
    let made = fs::create_dir_all(folder);
    made.with_context(|| format!("{}: the folder cannot be made", shown(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(list: Option<PathBuf>, shard: Option<&str>) -> ArchiveArgs {
        let shard = shard.map(|text| text.parse().unwrap());
        ArchiveArgs { list, shard, skip_done: false }
    }

    #[test]
    fn shares_are_all_inputs_once() {
        let inputs: Vec<PathBuf> = (0..11).map(|i| format!("{i}.nii").into()).collect();
        let mut all: Vec<_> = (0..4)
            .flat_map(|i| args(None, Some(&format!("{i}/4"))).entries(&inputs).unwrap().0)
            .map(|entry| entry.input)
            .collect();
        assert_eq!(all[..3], ["0.nii", "4.nii", "8.nii"].map(PathBuf::from));
        all.sort();
        let mut sorted = inputs.clone();
        sorted.sort();
        assert_eq!(all, sorted);
    }

    #[test]
    fn shares_that_are_none_are_refused() {
        for text in ["4/4", "0/0", "1", "-1/4", "a/b", "1/2/3", ""] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        let told = "4/4".parse::<Shard>().unwrap_err().to_string();
        assert!(told.contains("the last is 3/4"), "{told}");
    }

    #[test]
    fn lines_are_inputs_with_or_without_outputs() {
        let entry = |line: &str| entry(line.as_bytes()).unwrap();
        let expected = |input: &str, output: Option<&str>| {
            Some(Entry { input: input.into(), output: output.map(PathBuf::from) })
        };
        assert_eq!(entry("a b.nii\n"), expected("a b.nii", None));
        assert_eq!(entry("/x/#1.nii\r\n"), expected("/x/#1.nii", None));
        assert_eq!(entry("a\tsub/m.nii.gz"), expected("a", Some("sub/m.nii.gz")));
        assert_eq!(entry("\n"), None);
    }

    #[test]
    fn outputs_elsewhere_are_refused_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        for bad in ["a\t/etc/m.nii", "a\t../m.nii", "a\t", "a\tb\tc", "\tb"] {
            fs::write(&list, format!("fine.nii\n\n{bad}\n")).unwrap();
            // The line is the other process's: this one refuses the list all the same.
            let told = args(Some(list.clone()), Some("0/2")).entries(&[]).unwrap_err().to_string();
            assert!(told.contains("line 3"), "{told}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        fs::write(&list, "\u{feff}a.nii\r\n\u{feff}b.nii\r\n").unwrap();
        let (found, read) = args(Some(list.clone()), Some("1/2")).entries(&[]).unwrap();
        let inputs: Vec<_> = found.iter().map(|entry| entry.input.to_str().unwrap()).collect();
        assert_eq!(inputs, ["\u{feff}b.nii"]);
        assert_eq!(read, [list, "a.nii".into(), "\u{feff}b.nii".into()]);
    }

    #[test]
    fn a_line_without_end_is_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        fs::write(&list, vec![b'a'; LINE as usize + 1]).unwrap();
        let told = args(Some(list), None).entries(&[]).unwrap_err().to_string();
        assert!(told.contains("is it a list?"), "{told}");
    }
}
