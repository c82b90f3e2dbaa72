//! What a file that is no NIfTI is, by its first bytes, and what its owner can do.

/// What was found and what to do.
pub(super) type Kind = (&'static str, &'static str);

/// What to do about a file of an unknown kind.
pub(super) const CONVERT: &str = "convert it, for instance with dcm2niix";

/// Kinds that a file's beginning alone decides.
const BEGINNINGS: [(&[u8], Kind); 27] = [
    (b"\x28\xb5\x2f\xfd", ("a Zstandard file", "decompress it first with zstd -d")),
    (b"BZh", ("a bzip2 file", "decompress it first with bzip2 -d")),
    (b"\xfd7zXZ\0", ("an xz file", "decompress it first with xz -d")),
    (b"\x04\x22\x4d\x18", ("an LZ4 file", "decompress it first with lz4 -d")),
    (b"\x1f\x9d", ("a compress (.Z) file", "decompress it first with gzip -d")),
    (b"\x1f\x8b", ("a gzip file within a gzip file", "decompress it once with gzip -d")),
    (b"PK\x03\x04", ("a ZIP archive", "unpack it first with unzip")),
    (b"7z\xbc\xaf\x27\x1c", ("a 7z archive", "unpack it first with 7z x")),
    (b"NRRD000", ("an NRRD file", CONVERT_ITK)),
    (b"ObjectType", ("a MetaImage file (.mha or .mhd)", CONVERT_ITK)),
    (b"NDims", ("a MetaImage file (.mha or .mhd)", CONVERT_ITK)),
    (b"Comment", ("a MetaImage file (.mha or .mhd)", CONVERT_ITK)),
    (b"CDF\x01", ("a MINC 1 file", "convert it with mnc2nii")),
    (b"CDF\x02", ("a MINC 1 file", "convert it with mnc2nii")),
    (
        b"\x89HDF\r\n\x1a\n",
        ("an HDF5 file (MINC 2, perhaps)", "convert it, a MINC file with mnc2nii"),
    ),
    (b"\x93NUMPY", ("a NumPy array", "save it with nibabel and the affine that belongs to it")),
    (b"\x89PNG", ("a PNG picture", "convert the series that it was made from")),
    (b"\xff\xd8\xff", ("a JPEG picture", "convert the series that it was made from")),
    (b"II*\0", ("a TIFF picture", "convert it with the spacing that belongs to it")),
    (b"MM\0*", ("a TIFF picture", "convert it with the spacing that belongs to it")),
    (b"type  =", ("an AFNI header", "convert it with 3dAFNItoNIFTI")),
    (b"\ntype  =", ("an AFNI header", "convert it with 3dAFNItoNIFTI")),
    (b"<?xml", ("an XML file (GIFTI, perhaps, which holds surfaces)", "give the volume instead")),
    (b"<!DOCTYPE", ("an HTML page", "download the file itself")),
    (b"<html", ("an HTML page", "download the file itself")),
    (b"version https://git-lfs", ("a Git LFS pointer", "fetch the file itself with git lfs pull")),
    (b"/annex/objects/", ("a git-annex pointer", "fetch the file itself with git annex get")),
];

const CONVERT_ITK: &str = "convert it, for instance with SimpleITK or 3D Slicer";

const DICOM: &str = "convert the series that it belongs to with dcm2niix";

/// The kind of a file, by its first 348 bytes or by all of a shorter file.
pub(super) fn of(bytes: &[u8]) -> Option<Kind> {
    let begins =
        BEGINNINGS.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, kind)| *kind);
    let at =
        |from: usize, text: &[u8]| bytes.get(from..).is_some_and(|rest| rest.starts_with(text));
    match () {
        () if at(128, b"DICM") => Some(("a DICOM file", DICOM)),
        () if at(257, b"ustar") => Some(("a tar archive", "unpack it first with tar -x")),
        () if begins.is_some() => begins,
        () if bare_dicom(bytes) => Some(("a DICOM file without preamble", DICOM)),
        () if mgh(bytes) => Some(("a FreeSurfer MGH file", "convert it with mri_convert")),
        () if analyze(bytes) => Some((
            "an ANALYZE 7.5 header, which does not say which side is left",
            "convert it with the program that wrote it and see that sides are right",
        )),
        () => None,
    }
}

/// Whether this is a DICOM data set without preamble. It begins with an element of group 2 or 8,
/// which is followed by a value representation (two capitals) or, where that is implicit, by a
/// short length.
fn bare_dicom(bytes: &[u8]) -> bool {
    let [group, 0, element, 0, a, b, c, d, ..] = *bytes else { return false };
    let representation = a.is_ascii_uppercase() && b.is_ascii_uppercase();
    matches!((group, element), (2, 0..=2) | (8, 0 | 1 | 5 | 8 | 0x16 | 0x18))
        && (representation || (u32::from_le_bytes([a, b, c, d]) <= 128 && a > 0))
}

/// Whether this is a FreeSurfer volume: big-endian numbers for version 1, sizes of three axes,
/// frames, and one of the format's types.
fn mgh(bytes: &[u8]) -> bool {
    let number = |i: usize| {
        bytes.get(4 * i..4 * i + 4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    };
    number(0) == Some(1)
        && (1..5).all(|i| number(i).is_some_and(|n| (1..1 << 24).contains(&n)))
        && matches!(number(5), Some(0 | 1 | 3 | 4 | 10))
}

/// Whether this is an ANALYZE header: it begins with its length of 348, as NIfTI-1 does, in either
/// byte order.
fn analyze(bytes: &[u8]) -> bool {
    bytes.len() >= 348 && matches!(bytes[..4], [0x5c, 1, 0, 0] | [0, 0, 1, 0x5c])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(bytes: &[u8]) -> &'static str {
        of(bytes).map_or("", |(found, _)| found)
    }

    #[test]
    fn what_users_mistake_for_nifti_is_named() {
        let padded = |at: usize, text: &[u8]| [&vec![0; at][..], text, &[0; 400]].concat();
        let mgh = [1i32, 256, 256, 256, 1, 0, 0].map(i32::to_be_bytes).concat();
        let analyze = |bytes: [u8; 4]| [&bytes[..], &[0; 344]].concat();
        for (bytes, expected) in [
            (b"\x28\xb5\x2f\xfd0123".to_vec(), "Zstandard"),
            (b"BZh91AY&SY".to_vec(), "bzip2"),
            (b"\xfd7zXZ\0".to_vec(), "xz"),
            (b"PK\x03\x04".to_vec(), "ZIP"),
            (b"NRRD0005\n# Complete".to_vec(), "NRRD"),
            (b"ObjectType = Image\nNDims = 3\n".to_vec(), "MetaImage"),
            (padded(128, b"DICM"), "a DICOM file"),
            (b"\x08\0\x05\0CS\x0a\0ISO_IR 100".to_vec(), "without preamble"),
            (b"\x08\0\x08\0\x16\0\0\0ORIGINAL\\PRIMARY".to_vec(), "without preamble"),
            (padded(257, b"ustar"), "tar"),
            (mgh, "MGH"),
            (analyze([0x5c, 1, 0, 0]), "ANALYZE"),
            (analyze([0, 0, 1, 0x5c]), "ANALYZE"),
            (b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "Git LFS"),
            (b"\x1f\x8b\x08".to_vec(), "within a gzip"),
        ] {
            assert!(named(&bytes).contains(expected), "{expected}, not {:?}", named(&bytes));
        }
    }

    #[test]
    fn what_is_nothing_in_particular_has_no_name() {
        for bytes in [&b""[..], b"hello", &[0; 400], b"\x08\0\x05\0", &[7; 348]] {
            assert_eq!(named(bytes), "", "{bytes:?}");
        }
    }
}
