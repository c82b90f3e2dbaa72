//! Where headers place their volumes: units, the two forms, and what stands in for them, as
//! nifti_clib, nibabel and ITK have it.

use std::path::Path;

use monet::volume::{
    Affine, Grid, NiftiHeader, SliceSource, SourceOptions, VolumeError, VolumeWarning,
};
use monet_testing::{
    nifti::{self, Nifti},
    stderr, text,
};

use crate::monet;

const SIDEWAYS: [[f32; 4]; 3] =
    [[0.0, 0.0, 3.0, -9.0], [2.0, 0.0, 0.0, 8.0], [0.0, -1.0, 0.0, 7.0]];

fn header(file: &Nifti) -> Result<Grid, VolumeError> {
    let folder = tempfile::tempdir().unwrap();
    NiftiHeader::read(&file.write(&folder.path().join("a.nii"))).map(|header| header.grid)
}

fn affine(file: &Nifti) -> Affine {
    header(file).unwrap().geometry().affine
}

fn close(a: Affine, b: [[f64; 4]; 3], tolerance: f64) -> bool {
    a.0.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() <= tolerance)
}

fn scaled(rows: [[f32; 4]; 3], factor: f32) -> [[f32; 4]; 3] {
    rows.map(|row| row.map(|v| v * factor))
}

/// Half a turn about z: LPS.
const HALF_TURN: [f32; 6] = [0.0, 0.0, 1.0, 10.0, 20.0, 30.0];

fn qform(qform: [f32; 6], pixdim: [f32; 4]) -> Nifti {
    let [a, b, c, d] = pixdim;
    let pixdim = [a, b, c, d, 1.0, 1.0, 1.0, 1.0];
    Nifti { sform: None, qform: Some(qform), pixdim, ..Nifti::blob([30, 40, 50]) }
}

#[test]
fn lengths_are_millimetres_whatever_the_unit() {
    let plain = affine(&Nifti { sform: Some(SIDEWAYS), ..Nifti::blob([30, 40, 50]) });
    // The unit of time beside it changes nothing; codes that the format does not know are unknown
    // ones.
    for (units, factor) in [
        (1, 1e-3),
        (2, 1.0),
        (3, 1e3),
        (0, 1.0),
        (8 + 2, 1.0),
        (16 + 3, 1e3),
        (24 + 1, 1e-3),
        (5, 1.0),
    ] {
        let file =
            Nifti { units, sform: Some(scaled(SIDEWAYS, factor)), ..Nifti::blob([30, 40, 50]) };
        assert!(close(affine(&file), plain.0, 1e-5), "{units}: {:?}", affine(&file));
        let pixdim = [1.0, 2.0 * factor, 1.5 * factor, 3.0 * factor];
        let file = Nifti {
            units,
            ..qform(HALF_TURN.map(|v| if v > 1.0 { v * factor } else { v }), pixdim)
        };
        let expected = [[-2.0, 0.0, 0.0, 10.0], [0.0, -1.5, 0.0, 20.0], [0.0, 0.0, 3.0, 30.0]];
        assert!(close(affine(&file), expected, 1e-5), "{units}: {:?}", affine(&file));
        let file = Nifti { units, sform: None, ..qform(HALF_TURN, pixdim) };
        let file = Nifti { qform: None, ..file };
        assert!((affine(&file).spacing()[2] - 3.0).abs() < 1e-5, "{units}");
    }
}

#[test]
fn a_volume_in_micrometres_has_millilitres_and_millimetres_and_its_mask_keeps_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mask = |shift: usize| {
        let inside = |i: usize| {
            (5 + shift..10 + shift).contains(&(i % 20))
                && (5..10).contains(&(i / 20 % 20))
                && i < 2000
        };
        Nifti {
            units: 3,
            sform: Some([[500.0, 0.0, 0.0, 0.0], [0.0, 500.0, 0.0, 0.0], [0.0, 0.0, 500.0, 0.0]]),
            ..Nifti::new([20, 20, 20], &(0..8000).map(|i| inside(i).into()).collect::<Vec<i16>>())
        }
    };
    let (pred, truth) = (mask(1).write(&at("pred.nii.gz")), mask(0).write(&at("truth.nii.gz")));
    let ran = monet(&["evaluate", "--pred", text(&pred), "--truth", text(&truth), "--json", "-"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let found: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let label = &found["subjects"][0]["labels"][0];
    assert_eq!(
        (label["hausdorff_mm"].as_f64(), label["pred_ml"].as_f64()),
        (Some(0.5), Some(0.015625))
    );

    let (output, stats) = (at("o.nii"), at("s.json"));
    let ran = monet(&[
        "segment",
        text(&truth),
        "-o",
        text(&output),
        "--stats",
        text(&stats),
        "--quiet",
        "--accept-any",
    ]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(stats).unwrap()).unwrap();
    assert_eq!(report["spacing_mm"], serde_json::json!([0.5, 0.5, 0.5]));
    let (before, after) = (mask(0).header(), std::fs::read(&output).unwrap());
    for (what, range) in [("pixdim", 76..108), ("unit", 123..124), ("placement", 252..328)] {
        assert_eq!(after[range.clone()], before[range], "{what}");
    }
}

#[test]
fn a_body_of_kilometres_or_micrometres_is_warned_about() {
    let extent = |step: f32, units| {
        let sform = Some([[step, 0.0, 0.0, 0.0], [0.0, step, 0.0, 0.0], [0.0, 0.0, step, 0.0]]);
        let grid = header(&Nifti { units, sform, ..Nifti::blob([20, 30, 10]) }).unwrap();
        let warnings = grid.warnings();
        let odd = |w: &VolumeWarning| matches!(w, VolumeWarning::OddExtent { .. });
        assert!(warnings.iter().all(odd), "{warnings:?}");
        warnings.iter().map(ToString::to_string).next()
    };
    for (step, units) in [(1.0, 2), (0.1, 2), (100.0, 2), (0.001, 1), (100.0, 3)] {
        assert_eq!(extent(step, units), None, "{step} in {units}");
    }
    for (step, units, said) in
        [(1.0, 1, "30000 mm"), (1.0, 3, "0.03 mm"), (1000.0, 2, "30000 mm"), (0.001, 2, "mm")]
    {
        let warning = extent(step, units).unwrap_or_default();
        assert!(warning.contains(said) && warning.contains("expected 3 to 3000 mm"), "{warning}");
    }
}

#[test]
fn a_spacing_that_is_missing_keeps_the_rotation() {
    for (odd, axis) in [(0.0, 0), (f32::NAN, 1), (f32::INFINITY, 2), (-0.0, 2)] {
        let mut pixdim = [1.0, 2.0, 2.0, 2.0];
        pixdim[axis + 1] = odd;
        let found = header(&qform(HALF_TURN, pixdim)).unwrap();
        assert_eq!(found.geometry().affine.orientation().to_string(), "LPS");
        assert_eq!(found.geometry().spacing[axis], 1.0);
        assert_eq!(found.warnings(), [VolumeWarning::NoSpacing(axis)]);
    }
    let found = header(&qform(HALF_TURN, [1.0, 2.0, -3.0, 2.0])).unwrap();
    assert_eq!(found.geometry().spacing, [2.0, 3.0, 2.0]);
    assert_eq!(found.warnings(), [VolumeWarning::NegativeSpacing(1)]);
    // A good sform does not need it.
    let pixdim = [f32::NAN; 8];
    assert_eq!(
        header(&Nifti { pixdim, sform: Some(SIDEWAYS), ..Nifti::blob([30, 40, 50]) })
            .unwrap()
            .warnings(),
        []
    );
}

#[test]
fn qfac_is_the_sign_of_the_third_axis() {
    for (qfac, expected) in
        [(1.0, 3.0), (0.0, 3.0), (-1.0, -3.0), (-2.0, -3.0), (7.0, 3.0), (f32::NAN, 3.0)]
    {
        let rows = affine(&qform(HALF_TURN, [qfac, 2.0, 2.0, 3.0])).0;
        assert!((rows[2][2] - expected).abs() < 1e-6, "{qfac}: {rows:?}");
    }
}

#[test]
fn a_quaternion_as_long_as_one_or_longer_is_half_a_turn() {
    let straight = affine(&qform(HALF_TURN, [1.0, 2.0, 2.0, 3.0]));
    for d in [1.0, 1.000_001, 2.0] {
        let found = affine(&qform([0.0, 0.0, d, 10.0, 20.0, 30.0], [1.0, 2.0, 2.0, 3.0]));
        assert!(close(found, straight.0, 1e-12), "{d}: {found:?}");
    }
    // Where 1 - norm² is 0.9e-7 (half a turn) and 1.2e-7 (a little less than half a turn).
    let near = |c: f32, d: f32| affine(&qform([0.0, c, d, 10.0, 20.0, 30.0], [1.0, 2.0, 2.0, 3.0]));
    let [below, above] =
        [near(1.7e-4, 1.0 - f32::EPSILON / 2.0), near(0.0, 1.0 - f32::EPSILON / 2.0)];
    assert!(below.0[0][1].abs() < 1e-6 && above.0[0][1].abs() > 1e-3, "{below:?} {above:?}");
}

#[test]
fn sform_comes_first_and_a_contradiction_is_said() {
    let both =
        |qform| Nifti { sform: Some(SIDEWAYS), qform: Some(qform), ..Nifti::blob([30, 40, 50]) };
    let found = header(&both(HALF_TURN)).unwrap();
    assert!(close(found.geometry().affine, SIDEWAYS.map(|row| row.map(f64::from)), 0.0));
    let said = found.warnings().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(said.contains("ALS") || said.contains("LPS"), "{said}");
    // A flat or damaged sform gives way to the qform.
    for row in [[0.0; 4], [f32::NAN; 4], [2.0, 0.0, 0.0, 0.0]] {
        let mut rows = SIDEWAYS;
        rows[0] = row;
        let found = header(&Nifti { sform: Some(rows), ..both(HALF_TURN) }).unwrap();
        assert_eq!(found.geometry().affine.orientation().to_string(), "LPS");
    }
}

#[test]
fn codes_above_0_are_forms_and_others_are_none() {
    for (code, expected) in
        [(1, "AIR"), (5, "AIR"), (9, "AIR"), (32767, "AIR"), (0, "LAS"), (-1, "LAS")]
    {
        let file =
            Nifti { sform: Some(SIDEWAYS), codes: Some([0, code]), ..Nifti::blob([30, 40, 50]) };
        let found = header(&file).unwrap();
        assert_eq!(found.geometry().affine.orientation().to_string(), expected, "{code}");
        assert_eq!(
            found.warnings().contains(&VolumeWarning::NoAffine),
            expected == "LAS",
            "{code}"
        );
    }
}

#[test]
fn without_any_form_x_runs_to_the_left_about_the_centre() {
    let pixdim = [1.0, 0.5, 2.0, 0.0, 1.0, 1.0, 1.0, 1.0];
    let found = header(&Nifti { sform: None, pixdim, ..Nifti::blob([31, 41, 51]) }).unwrap();
    // What nibabel's get_base_affine gives.
    assert_eq!(
        found.geometry().affine.0,
        [[-0.5, 0.0, 0.0, 7.5], [0.0, 2.0, 0.0, -40.0], [0.0, 0.0, 1.0, -25.0]]
    );
    assert_eq!(found.warnings(), [VolumeWarning::NoAffine, VolumeWarning::NoSpacing(2)]);
    let said = found.warnings()[0].to_string();
    assert!(said.contains("neither sform nor qform") && said.contains("may be swapped"), "{said}");
}

#[test]
fn a_declared_form_that_cannot_be_used_is_refused() {
    let flat = [[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
    let bad = [
        Nifti { sform: Some(flat), ..Nifti::blob([3, 4, 5]) },
        Nifti { sform: Some([[f32::NAN; 4]; 3]), ..Nifti::blob([3, 4, 5]) },
        Nifti { sform: Some([[0.0; 4]; 3]), ..Nifti::blob([3, 4, 5]) },
        qform([f32::NAN, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0; 4]),
        qform([0.0, 0.0, 0.0, f32::INFINITY, 0.0, 0.0], [1.0; 4]),
        qform([f32::INFINITY, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0; 4]),
    ];
    for file in bad {
        let error = header(&file).unwrap_err();
        assert!(matches!(error, VolumeError::Header { .. }), "{error}");
        assert!(error.to_string().contains("sform_code and qform_code"), "{error}");
    }
}

#[test]
fn a_sheared_grid_is_named_with_its_angle() {
    let tilted = |degrees: f32| {
        let tilt = degrees.to_radians().tan();
        let sform = Some([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 3.0 * tilt, 0.0], [0.0, 0.0, 3.0, 0.0]]);
        header(&Nifti { sform, ..Nifti::blob([30, 40, 50]) }).unwrap()
    };
    assert_eq!(tilted(0.05).warnings(), []);
    let found = tilted(12.5);
    assert!(
        found.warnings()[0].to_string().contains("sheared by 12.5 degrees"),
        "{:?}",
        found.warnings()
    );
    assert!((found.geometry().voxel_ml() - 0.003).abs() < 1e-9, "{}", found.geometry().voxel_ml());
}

#[test]
fn dimensions_of_0_behind_the_third_are_read_as_1() {
    for dim in [vec![4, 5, 4, 3, 0], vec![7, 5, 4, 3, 0, 0, 0, 0], vec![5, 5, 4, 3, 1, 0]] {
        let folder = tempfile::tempdir().unwrap();
        let path = Nifti { dim, ..Nifti::blob([5, 4, 3]) }.write(&folder.path().join("a.nii"));
        let mut source = SliceSource::open(&path, &SourceOptions::default()).unwrap();
        assert_eq!((source.geometry().size, source.channels()), ([5, 4, 3], 1));
        assert_eq!(
            source.read_all().unwrap(),
            nifti::read(&Nifti::blob([5, 4, 3]).write(&folder.path().join("b.nii")))
        );
    }
    for dim in [vec![4, 5, 4, 3, -1], vec![3, 5, 4, 0], vec![0, 5, 4, 3], vec![8, 5, 4, 3]] {
        assert!(header(&Nifti { dim: dim.clone(), ..Nifti::blob([5, 4, 3]) }).is_err(), "{dim:?}");
    }
}

#[test]
fn a_pair_is_found_in_any_case() {
    let folder = tempfile::tempdir().unwrap();
    let file = Nifti { magic: *b"ni1\0", vox_offset: 0.0, ..Nifti::blob([4, 3, 2]) };
    let expected = Nifti::blob([4, 3, 2]).write(&folder.path().join("whole.nii"));
    for names in [
        ["UPPER.HDR", "UPPER.IMG"],
        ["Mixed.HDR", "Mixed.img"],
        ["Zip.hdr.gz", "Zip.IMG.GZ"],
        ["Caps.Hdr", "Caps.IMG"],
        ["Mixed.Hdr", "Mixed.Img"],
    ] {
        let [header, image] = names.map(|name| folder.path().join(name));
        let bytes = |path: &Path, bytes: &[u8]| {
            let zip = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
            std::fs::write(path, if zip { nifti::gzip(bytes) } else { bytes.to_vec() }).unwrap();
        };
        bytes(&header, &file.header()[..348]);
        bytes(&image, &file.voxels);
        assert_eq!(nifti::read(&header), nifti::read(&expected), "{names:?}");
        if names[0] != "Mixed.HDR" && names[0] != "Caps.Hdr" {
            assert_eq!(nifti::read(&image), nifti::read(&expected), "{names:?}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_pair_s_name_need_not_be_utf_8() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &[u8]| folder.path().join(std::ffi::OsStr::from_bytes(name));
    let file = Nifti { magic: *b"ni1\0", vox_offset: 0.0, ..Nifti::blob([4, 3, 2]) };
    std::fs::write(at(b"M\xfcller.hdr"), &file.header()[..348]).unwrap();
    std::fs::write(at(b"M\xfcller.img.gz"), nifti::gzip(&file.voxels)).unwrap();
    assert_eq!(nifti::read(&at(b"M\xfcller.hdr")).len(), 24);
    assert_eq!(nifti::read(&at(b"M\xfcller.img.gz")).len(), 24);
}
