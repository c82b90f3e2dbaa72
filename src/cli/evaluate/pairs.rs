//! Which predicted file is compared with which true one: by name, byte for byte, whatever the
//! endings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use monet::paths::VolumeName;
use monet::text::shown;

/// A subject's two files, or why it has not two.
pub(super) struct Pair {
    /// The files' name without endings.
    pub(super) subject: OsString,
    /// Predicted and true labels.
    pub(super) files: Result<[PathBuf; 2]>,
}

/// The pairs of two files, or of two folders in the order of their names.
///
/// # Errors
/// Where folders cannot be listed or hold nothing, or a file stands against a folder.
pub(super) fn pairs(pred: &Path, truth: &Path) -> Result<Vec<Pair>> {
    match (pred.is_dir(), truth.is_dir()) {
        (false, false) => {
            let subject =
                subject(pred).unwrap_or_else(|| pred.file_name().unwrap_or_default().to_owned());
            Ok(vec![Pair { subject, files: Ok([pred.to_owned(), truth.to_owned()]) }])
        }
        (true, true) => {
            let mut subjects: BTreeMap<OsString, [Vec<PathBuf>; 2]> = BTreeMap::new();
            for (side, folder) in [pred, truth].into_iter().enumerate() {
                for (subject, path) in volumes(folder)? {
                    subjects.entry(subject).or_default()[side].push(path);
                }
            }
            if subjects.is_empty() {
                let [pred, truth] = [pred, truth].map(shown);
                bail!(
                    "{pred} and {truth} hold no .nii, .nii.gz or .hdr files (folders within are \
                     not looked into)"
                );
            }
            let pair = |(subject, files)| Pair { subject, files: both(files, [pred, truth]) };
            Ok(subjects.into_iter().map(pair).collect())
        }
        _ => match [pred, truth].into_iter().find(|path| !path.exists()) {
            Some(path) => bail!("{}: there is no such file or folder", shown(path)),
            None => bail!("--pred and --truth must both be files or both be folders"),
        },
    }
}

/// A subject's two files, of those that each folder has.
fn both([preds, truths]: [Vec<PathBuf>; 2], folders: [&Path; 2]) -> Result<[PathBuf; 2]> {
    let lacks = |path: PathBuf, folder: &Path| {
        anyhow!("{}: no file of this name in {}", shown(&path), shown(folder))
    };
    match (one(preds)?, one(truths)?) {
        (Some(pred), Some(truth)) => Ok([pred, truth]),
        (Some(pred), None) => Err(lacks(pred, folders[1])),
        (None, truth) => Err(lacks(truth.unwrap_or_default(), folders[0])),
    }
}

/// The one file of a subject in a folder; two, as `a.nii` beside `a.nii.gz`, leave open which is
/// meant. Of an `.hdr`/`.img` pair the header stands for both.
fn one(mut paths: Vec<PathBuf>) -> Result<Option<PathBuf>> {
    let is = |path: &PathBuf, kind| {
        path.file_name().is_some_and(|name| VolumeName::of(name).is_any(&[kind]))
    };
    if paths.iter().any(|path| is(path, "hdr")) {
        paths.retain(|path| !is(path, "img"));
    }
    paths.sort();
    if let [a, b, ..] = paths.as_slice() {
        bail!("{} and {} are the same subject: keep one of them", shown(a), shown(b));
    }
    Ok(paths.pop())
}

/// The volumes of a folder, hidden files left out.
fn volumes(folder: &Path) -> Result<Vec<(OsString, PathBuf)>> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.with_context(|| format!("{}: cannot be listed", shown(folder)))?;
    let shown =
        entries.into_iter().filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    Ok(shown.map(|entry| entry.path()).filter_map(|path| Some((subject(&path)?, path))).collect())
}

/// The volumes that a path names: itself, or all of a folder.
///
/// # Errors
/// Where a folder cannot be listed.
pub(super) fn all(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    Ok(volumes(path)?.into_iter().map(|(_, path)| path).collect())
}

/// The subject of a file with a volume's name.
fn subject(path: &Path) -> Option<OsString> {
    #[cfg(feature = "dicom")]
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("dcm")) {
        return path.file_stem().map(ToOwned::to_owned);
    }
    let name = VolumeName::of(path.file_name()?);
    name.kind.map(|_| name.stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_in_any_case_leave_the_subject() {
        for name in [
            "a.b.nii",
            "a.b.NII.GZ",
            "a.b.nii.gz",
            "a.b.HDR",
            "a.b.img.gz",
            "a.b.mgz",
            "a.b.nii.zst",
        ] {
            assert_eq!(subject(Path::new(name)), Some("a.b".into()), "{name}");
        }
        for name in ["a.json", "a.gz", "nii", ".nii", "a.nii.txt"] {
            assert_eq!(subject(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn a_header_stands_for_its_pair_and_two_volumes_are_refused() {
        let of = |names: &[&str]| one(names.iter().map(PathBuf::from).collect());
        assert_eq!(of(&["a.img", "a.hdr"]).unwrap(), Some("a.hdr".into()));
        assert_eq!(of(&["a.img.gz", "a.HDR"]).unwrap(), Some("a.HDR".into()));
        assert_eq!(of(&["a.img"]).unwrap(), Some("a.img".into()));
        assert_eq!(of(&[]).unwrap(), None);
        for names in [["a.nii.gz", "a.nii"], ["a.nii", "a.hdr"], ["a.NII", "a.nii"]] {
            assert!(of(&names).unwrap_err().to_string().contains("the same subject"), "{names:?}");
        }
    }
}
