//! One file, read by this crate and by pydicom.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use monet_dicom::pixels::{FrameReader, InProcess, PixelError};
use monet_dicom::read::{Instance, Keep, MAX_VALUE, open};
use monet_dicom::{Dataset, Value, Vr};
use sha2::{Digest, Sha256};

/// Runs the judge with names on its standard input.
pub(crate) fn judge(python: &Path, args: &[&str], names: &[PathBuf]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reading/judge.py");
    let mut judge = Command::new(python)
        .arg(script)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let names: String = names.iter().map(|name| format!("{}\n", name.display())).collect();
    judge.stdin.take().unwrap().write_all(names.as_bytes()).unwrap();
    let ran = judge.wait_with_output().unwrap();
    assert!(ran.status.success(), "the judge failed at {args:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// Lines as paths.
pub(crate) fn listed(lines: &str) -> Vec<PathBuf> {
    lines.lines().map(PathBuf::from).collect()
}

/// What came of a comparison.
pub(crate) enum Outcome {
    /// Elements and values are equal; or there are no pixels.
    Equal,
    /// Values differ, by so much at most.
    Near(u32),
    /// Something differs.
    Differs(String),
    /// This crate refuses the file: why.
    Refused(String),
    /// The judge cannot read what this crate reads: why.
    Unjudged(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal => write!(f, "equal"),
            Self::Near(most) => write!(f, "values differ by up to {most}"),
            Self::Differs(what) => write!(f, "differs: {what}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Unjudged(why) => write!(f, "the judge fails: {why}"),
        }
    }
}

/// Compares files, each by its elements and, whole or by hash, its values.
pub(crate) fn compare(python: &Path, files: &[PathBuf], whole: bool) -> Vec<(String, Outcome)> {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    judge(python, &["dump", folder, if whole { "values" } else { "hash" }], files);
    let name = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
    let numbered = files.iter().enumerate();
    numbered.map(|(n, file)| (name(file), one(file, &out.path().join(n.to_string())))).collect()
}

fn one(file: &Path, judged: &Path) -> Outcome {
    let instance = match open(file, &Keep::all()) {
        Ok(instance) => instance,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let read = |end| fs::read(judged.with_extension(end)).ok();
    let error = read("error").map(|error| String::from_utf8_lossy(&error).into_owned());
    let Some(theirs) = read("elements") else {
        return Outcome::Unjudged(error.unwrap_or_default());
    };
    let theirs = String::from_utf8(theirs).unwrap();
    if let Some(difference) = elements(&instance.header.data, &theirs) {
        return Outcome::Differs(difference);
    }
    if instance.header.pixels.is_none() {
        return Outcome::Equal;
    }
    let ours = match values(instance) {
        Ok(values) => values,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    match read("values") {
        None => Outcome::Unjudged(error.unwrap_or_default()),
        Some(hash) if hash.len() == 32 && ours.len() != 8 => {
            let bytes: Vec<u8> = ours.iter().flat_map(|value| value.to_le_bytes()).collect();
            match Sha256::digest(&bytes)[..] == hash[..] {
                true => Outcome::Equal,
                false => Outcome::Differs("values".into()),
            }
        }
        Some(theirs) => near(&ours, &theirs),
    }
}

fn near(ours: &[i32], theirs: &[u8]) -> Outcome {
    let theirs: Vec<i32> = theirs.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
    if ours.len() != theirs.len() {
        return Outcome::Differs(format!("{} values, theirs {}", ours.len(), theirs.len()));
    }
    match ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max() {
        None | Some(0) => Outcome::Equal,
        Some(most) => Outcome::Near(most),
    }
}

/// All values of all frames.
pub(crate) fn values(instance: Instance) -> Result<Vec<i32>, PixelError> {
    let mut reader = FrameReader::new(&instance.header, instance.source)?;
    let format = *reader.format();
    let (mut all, mut frame, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    for k in 0..format.frames {
        reader.read(k, &mut InProcess, &mut samples)?;
        format.values(&samples, &mut frame)?;
        all.extend(&frame);
        // Clean samples are the same values.
        let mut clean = samples.clone();
        format.clean(&mut clean);
        let whole = monet_dicom::pixels::PixelFormat {
            bits_stored: format.bits_allocated,
            high_bit: format.bits_allocated - 1,
            ..format
        };
        let mut again = Vec::new();
        whole.values(&clean, &mut again)?;
        assert_eq!(frame, again);
    }
    Ok(all)
}

/// How our elements differ from the judge's lines.
fn elements(ours: &Dataset, theirs: &str) -> Option<String> {
    let mut mine = BTreeMap::new();
    flatten(ours, "", &mut mine);
    let mut unknown: Vec<String> = Vec::new();
    for line in theirs.lines() {
        let mut parts = line.splitn(3, ' ');
        let [path, vr, value] = std::array::from_fn(|_| parts.next().unwrap_or_default());
        if unknown.iter().any(|sequence| path.starts_with(sequence)) {
            continue;
        }
        let Some((our_vr, our_value)) = mine.remove(path) else {
            return Some(format!("{path} is missing"));
        };
        // A sequence that is not in the table of representations, in a file that does not say.
        if vr == "SQ" && our_vr == Vr::UN {
            unknown.push(format!("{path}["));
            continue;
        }
        let text = value.strip_prefix("text:").map(|text| (text, our_value.trim_end_matches("20")));
        let (value, our_value) = text.unwrap_or((value, &our_value));
        if value != our_value {
            return Some(format!("{path}: {our_value}, theirs {value}"));
        }
        let same = our_vr.to_string() == vr || our_vr == Vr::UN;
        let either = vr.contains("_or_") && vr.contains(&our_vr.to_string());
        if !same && !either {
            return Some(format!("{path} is {our_vr}, theirs {vr}"));
        }
    }
    mine.keys().next().map(|path| format!("{path} is ours alone"))
}

fn flatten(set: &Dataset, path: &str, lines: &mut BTreeMap<String, (Vr, String)>) {
    // The judge leaves out pixels and what describes their places.
    for element in set.iter().filter(|element| !path.is_empty() || element.tag.0 < 0x7fe0) {
        let here = format!("{path}{:04x}{:04x}", element.tag.0, element.tag.1);
        match &element.value {
            Value::Bytes(bytes) => {
                assert!(bytes.len() <= MAX_VALUE as usize);
                let mut hex = String::new();
                bytes.iter().for_each(|byte| write!(hex, "{byte:02x}").unwrap());
                lines.insert(here, (element.vr, hex));
            }
            Value::Items(items) => {
                lines.insert(here.clone(), (element.vr, items.len().to_string()));
                for (n, item) in items.iter().enumerate() {
                    flatten(item, &format!("{here}[{n}]."), lines);
                }
            }
        }
    }
}
