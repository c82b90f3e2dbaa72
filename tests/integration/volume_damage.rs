//! Damaged and hostile volumes through the library: never wrong voxels, never a panic, never a
//! half-written output.

use std::fs;
use std::path::Path;

use monet::volume::{
    LabelSink, OutputError, SliceSource, SourceOptions, VolumeError, VolumeWarning,
};
use monet_testing::nifti::{self, Nifti};
use proptest::prelude::*;

/// All voxels and the warnings, or the first error.
fn read(path: &Path) -> Result<(Vec<f32>, Vec<VolumeWarning>), VolumeError> {
    let mut source = SliceSource::open(path, &SourceOptions::default())?;
    let voxels = source.read_all()?;
    Ok((voxels, source.grid().warnings().to_vec()))
}

/// A volume that streams straight, and one that passes through the spool.
fn two_ways() -> [Nifti; 2] {
    let sideways = [[0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]];
    [Nifti::blob([5, 4, 3]), Nifti { sform: Some(sideways), ..Nifti::blob([5, 4, 3]) }]
}

#[test]
fn a_gzip_file_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.nii.gz");
    for file in two_ways() {
        let whole = nifti::gzip(&file.bytes());
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(
                read(&path).is_err(),
                "{length} of {} bytes were taken for a volume",
                whole.len()
            );
        }
    }
}

#[test]
fn a_flipped_bit_in_a_gzip_file_never_changes_voxels_unnoticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flipped.nii.gz");
    for file in two_ways() {
        let whole = nifti::gzip(&file.bytes());
        fs::write(&path, &whole).unwrap();
        let (expected, _) = read(&path).unwrap();
        let mut refused = 0;
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            match read(&path) {
                Ok((voxels, _)) => assert_eq!(voxels, expected, "bit {bit}"),
                Err(_) => refused += 1,
            }
        }
        // Only the gzip header's date, flags and system (ten bytes) may change without consequence.
        assert!(
            refused >= 8 * (whole.len() - 10),
            "only {refused} of {} were refused",
            8 * whole.len()
        );
    }
}

#[test]
fn a_damaged_checksum_is_reported_with_the_last_slice() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = nifti::gzip(&Nifti::blob([5, 4, 3]).bytes());
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    let path = folder.path().join("sum.nii.gz");
    fs::write(&path, bytes).unwrap();
    let mut source = SliceSource::open(&path, &SourceOptions::default()).unwrap();
    let mut slice = vec![0.0; source.slice_len()];
    assert_eq!(source.next_into(&mut slice).unwrap(), Some(0));
    assert_eq!(source.next_into(&mut slice).unwrap(), Some(1));
    let error = source.next_into(&mut slice).unwrap_err();
    assert!(matches!(error, VolumeError::Data { slice: 2, slices: 3, .. }), "{error}");
    assert!(error.to_string().contains("checksum"), "{error}");
    assert_eq!(source.next_into(&mut slice).unwrap(), None, "no slices after an error");
    source.rewind().unwrap();
    assert_eq!(source.next_into(&mut slice).unwrap(), Some(0), "until rewound");
}

#[test]
fn what_is_too_short_is_refused_before_any_slice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.nii");
    for file in two_ways() {
        let bytes = file.bytes();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let error = SliceSource::open(&path, &SourceOptions::default()).unwrap_err();
        assert!(matches!(error, VolumeError::Data { slice: 2, slices: 3, .. }), "{error}");
    }
    // Zeros compress best; even so a thousandth of what the header declares cannot be there.
    let claim = Nifti { dim: vec![3, 4000, 4000, 30000], ..Nifti::blob([4, 4, 4]) };
    let path = claim.write(&folder.path().join("claim.nii.gz"));
    let error = SliceSource::open(&path, &SourceOptions::default()).unwrap_err();
    assert!(matches!(error, VolumeError::Data { slice: 0, slices: 30000, .. }), "{error}");
}

#[test]
fn zeros_compress_well_and_are_read_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = Nifti::new([256, 256, 64], &vec![0; 256 * 256 * 64]);
    let path = folder.path().join("zeros.nii.gz");
    let mut out = flate2::write::GzEncoder::new(
        fs::File::create(&path).unwrap(),
        flate2::Compression::best(),
    );
    std::io::Write::write_all(&mut out, &file.bytes()).unwrap();
    out.finish().unwrap();
    assert_eq!(read(&path).unwrap().0, vec![0.0; 256 * 256 * 64]);
}

#[test]
fn data_after_the_last_voxel_is_ignored_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    for file in two_ways() {
        for name in ["plain.nii", "zipped.nii.gz"] {
            let path = file.write(&folder.path().join(name));
            let (expected, warnings) = read(&path).unwrap();
            assert_eq!(warnings, []);
            nifti::write(&path, &[file.bytes(), vec![1; 5]].concat());
            assert_eq!(read(&path).unwrap(), (expected, vec![VolumeWarning::Trailing]), "{name}");
        }
    }
}

#[test]
fn padding_after_a_gzip_file_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let file = Nifti::blob([5, 4, 3]);
    let path = file.write(&folder.path().join("padded.nii.gz"));
    let expected = read(&path).unwrap();
    let padded = [fs::read(&path).unwrap(), vec![0; 512]].concat();
    fs::write(&path, padded).unwrap();
    assert_eq!(read(&path).unwrap(), expected);
}

#[test]
fn a_spool_that_cannot_be_is_an_error_that_names_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let [_, sideways] = two_ways();
    let path = sideways.write(&folder.path().join("sideways.nii"));
    let spool_dir = Some(folder.path().join("absent"));
    let options = SourceOptions { spool_dir: spool_dir.clone(), ..SourceOptions::default() };
    let error = SliceSource::open(&path, &options).unwrap_err();
    assert!(
        matches!(&error, VolumeError::Spool(spool) if Some(&spool.path) == spool_dir.as_ref()),
        "{error}"
    );
    let source = SliceSource::open(&path, &SourceOptions::default()).unwrap();
    let output = folder.path().join("out.nii");
    let error = LabelSink::create(&output, &source, false, spool_dir.as_deref()).unwrap_err();
    assert!(matches!(error, OutputError::Spool(_)), "{error}");
    assert_eq!(names(folder.path()), ["sideways.nii"]);
}

#[test]
fn labels_for_too_few_or_too_many_slices_are_no_output() {
    let folder = tempfile::tempdir().unwrap();
    for file in two_ways() {
        let input = file.write(&folder.path().join("in.nii"));
        let output = folder.path().join("out.nii.gz");
        let source = SliceSource::open(&input, &SourceOptions::default()).unwrap();
        let [width, height, slices] = source.geometry().size;
        for wrong in [0, slices - 1, slices + 1] {
            let mut sink = LabelSink::create(&output, &source, false, None).unwrap();
            (0..wrong).for_each(|_| sink.push(&vec![1; width * height]).unwrap());
            let error = sink.finish(false).unwrap_err();
            assert!(
                matches!(error, OutputError::Incomplete { pushed, .. } if pushed == wrong),
                "{error}"
            );
            assert_eq!(names(folder.path()), ["in.nii"]);
        }
    }
}

#[test]
fn a_file_that_appears_while_labels_are_written_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let input = Nifti::blob([5, 4, 3]).write(&folder.path().join("in.nii"));
    let output = folder.path().join("out.nii");
    let source = SliceSource::open(&input, &SourceOptions::default()).unwrap();
    let mut sink = LabelSink::create(&output, &source, false, None).unwrap();
    (0..3).for_each(|_| sink.push(&[1; 20]).unwrap());
    fs::write(&output, "another's").unwrap();
    assert!(matches!(sink.finish(false).unwrap_err(), OutputError::Exists { .. }));
    assert_eq!(fs::read_to_string(&output).unwrap(), "another's");
    assert_eq!(names(folder.path()), ["in.nii", "out.nii"]);
}

#[test]
fn the_same_labels_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let input = Nifti::blob([5, 4, 3]).write(&folder.path().join("in.nii"));
    let source = SliceSource::open(&input, &SourceOptions::default()).unwrap();
    let [first, second] = ["a.nii.gz", "b.nii.gz"].map(|name| {
        let output = folder.path().join(name);
        let mut sink = LabelSink::create(&output, &source, false, None).unwrap();
        (0..3).for_each(|z| sink.push(&[z; 20]).unwrap());
        sink.finish(false).unwrap();
        fs::read(output).unwrap()
    });
    assert_eq!(first, second);
    assert_eq!(first[4..8], [0; 4], "no date in the gzip header");
    assert!(!first.windows(4).any(|w| w == b"in.n"), "no name either");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever a header says, a reader answers with voxels of the declared number or with an
    /// error.
    #[test]
    fn no_header_makes_the_reader_panic(
        changes in prop::collection::vec((40usize..348, any::<u8>()), 1..12),
        big_endian: bool,
        zipped: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = Nifti { big_endian, ..Nifti::blob([6, 5, 4]) }.bytes();
        changes.iter().for_each(|(at, value)| bytes[*at] = *value);
        let name = if zipped { "h.nii.gz" } else { "h.nii" };
        let path = nifti::write(&folder.path().join(name), &bytes);
        if let Ok(mut source) = SliceSource::open(&path, &SourceOptions::default()) {
            let (slice, slices) = (source.slice_len(), source.geometry().size[2]);
            if let Ok(voxels) = source.read_all() {
                prop_assert_eq!(voxels.len(), slice * slices);
            }
        }
    }
}
