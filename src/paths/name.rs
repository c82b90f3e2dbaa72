//! What volumes' files are called: a name of their own, and endings that say what they are.

use std::ffi::OsStr;
use std::path::Path;

/// Endings of compressed files; only the first is read, the others are refused by name.
const PACKED: [&str; 5] = ["gz", "bz2", "zst", "xz", "zip"];

/// Endings of volumes; only the first three are read, the others are refused by name.
const VOLUMES: [&str; 10] = ["nii", "hdr", "img", "mgz", "mgh", "mnc", "nrrd", "mha", "mhd", "dcm"];

/// A file's name and its endings, in any case: `a.b.NII.gz` is `a.b`, `NII` and `gz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeName<'a> {
    /// What is left without the endings.
    pub stem: &'a OsStr,
    /// The ending of a volume.
    pub kind: Option<&'a OsStr>,
    /// The ending of a compressed file.
    pub packed: Option<&'a OsStr>,
}

impl<'a> VolumeName<'a> {
    /// Of a file's name.
    #[must_use]
    pub fn of(name: &'a OsStr) -> Self {
        let (name, packed) = split(name, &PACKED);
        let (stem, kind) = split(name, &VOLUMES);
        Self { stem, kind, packed }
    }

    /// Whether the file is called as one of these kinds of volume.
    #[must_use]
    pub fn is_any(&self, kinds: &[&str]) -> bool {
        self.kind.is_some_and(|kind| is_any(kind, kinds))
    }

    /// Whether no ending is one of those that are refused by name.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.kind.is_none_or(|kind| is_any(kind, &VOLUMES[..3]))
            && self.packed.is_none_or(|packed| is_any(packed, &PACKED[..1]))
    }
}

/// A name without its ending, where that is one of these, and the ending.
fn split<'a>(name: &'a OsStr, endings: &[&str]) -> (&'a OsStr, Option<&'a OsStr>) {
    let path = Path::new(name);
    match (path.file_stem(), path.extension()) {
        (Some(stem), Some(ending)) if is_any(ending, endings) => (stem, Some(ending)),
        _ => (name, None),
    }
}

fn is_any(ending: &OsStr, endings: &[&str]) -> bool {
    endings.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_in_any_case_are_told_from_the_name() {
        for (name, stem, kind, packed) in [
            ("a.b.nii", "a.b", "nii", ""),
            ("a.b.NII.GZ", "a.b", "NII", "GZ"),
            ("A.Img", "A", "Img", ""),
            ("a.hdr.gz", "a", "hdr", "gz"),
            ("a.nii.zst", "a", "nii", "zst"),
            ("a.mgz", "a", "mgz", ""),
            ("a.gz", "a", "", "gz"),
            // Once each, and in this order.
            ("a.nii.gz.gz", "a.nii.gz", "", "gz"),
            ("a.hdr.nii", "a.hdr", "nii", ""),
            ("a.gz.nii", "a.gz", "nii", ""),
            // A hidden file has no ending, and most others are no volume's.
            (".nii.gz", ".nii", "", "gz"),
            ("nii", "nii", "", ""),
            ("a.nii.txt", "a.nii.txt", "", ""),
            ("a.", "a.", "", ""),
            ("", "", "", ""),
        ] {
            let told = |ending: Option<&OsStr>| ending.unwrap_or_default().to_owned();
            let found = VolumeName::of(OsStr::new(name));
            assert_eq!(found.stem, stem, "{name}");
            assert_eq!([told(found.kind), told(found.packed)], [kind, packed], "{name}");
        }
    }

    #[test]
    fn kinds_are_compared_in_any_case() {
        let is_any = |name: &str| VolumeName::of(OsStr::new(name)).is_any(&["hdr", "img"]);
        assert!(is_any("a.HDR") && is_any("a.img.gz"));
        assert!(!is_any("a.nii") && !is_any("hdr") && !is_any("a.gz"));
    }

    #[test]
    fn what_is_refused_by_name_is_not_read() {
        let is_read = |name: &str| VolumeName::of(OsStr::new(name)).is_read();
        for name in ["a", "a.v2", "a.gz", "a.NII", "a.nii.gz", "a.hdr", "a.IMG.GZ"] {
            assert!(is_read(name), "{name}");
        }
        for name in ["a.mgz", "a.DCM", "a.zip", "a.nii.bz2", "a.nrrd.gz"] {
            assert!(!is_read(name), "{name}");
        }
    }

    /// Names are bytes.
    #[cfg(unix)]
    #[test]
    fn a_name_that_is_no_text_is_split_all_the_same() {
        use std::os::unix::ffi::OsStrExt;
        let name = VolumeName::of(OsStr::from_bytes(b"M\xfcller.NII.gz"));
        assert_eq!(name.stem.as_bytes(), b"M\xfcller");
        assert_eq!(name.kind, Some(OsStr::new("NII")));
    }
}
