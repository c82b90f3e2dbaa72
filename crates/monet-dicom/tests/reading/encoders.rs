//! One CT and one MR slice in each syntax, as outside encoders write it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use monet_dicom::pixels::FrameReader;
use monet_dicom::read::{Keep, open};
use monet_dicom::syntax::Syntax;

use super::compare::{judge, values};
use super::pydicom_files;
use monet_testing::judges::{dicom_python, real_dicom};

/// How an encoder's file must compare.
enum Expected {
    /// With the slice that was encoded: equal.
    Source,
    /// With what another decoder makes of the encoder's file: so near.
    Decoder(Decoder, u32),
    /// With the slice: hardly farther from it than pydicom's values, by mean square. What a
    /// decoder puts where an encoder left out bits is its choice (T.800, section E.1.1.2).
    Lossy,
}

enum Decoder {
    Pydicom,
    /// `dcmdjpeg`, which knows 12 bits.
    Dcmtk,
}

use Decoder::{Dcmtk, Pydicom};
use Expected::{Decoder as Decoded, Lossy, Source};

/// How much farther from the source than pydicom's.
const LOSS: f64 = 1.25;

/// Command, its arguments before the names of files, syntax, and what must come out.
const ENCODERS: &[(&str, &[&str], Syntax, Expected)] = &[
    ("dcmconv", &["+ti"], Syntax::ImplicitLittle, Source),
    ("dcmconv", &["+te"], Syntax::ExplicitLittle, Source),
    ("dcmconv", &["+tb"], Syntax::ExplicitBig, Source),
    ("dcmconv", &["+td"], Syntax::Deflated, Source),
    ("dcmcrle", &[], Syntax::Rle, Source),
    ("dcmcjpeg", &["+e1"], Syntax::JpegLosslessFirst, Source),
    ("dcmcjpeg", &["+el", "+sv", "2"], Syntax::JpegLossless, Source),
    ("dcmcjpeg", &["+el", "+sv", "3"], Syntax::JpegLossless, Source),
    ("dcmcjpeg", &["+el", "+sv", "4"], Syntax::JpegLossless, Source),
    ("dcmcjpeg", &["+el", "+sv", "5"], Syntax::JpegLossless, Source),
    ("dcmcjpeg", &["+el", "+sv", "6"], Syntax::JpegLossless, Source),
    ("dcmcjpeg", &["+el", "+sv", "7"], Syntax::JpegLossless, Source),
    ("dcmcjpeg", &["+eb", "+q", "90"], Syntax::JpegBaseline, Decoded(Pydicom, 1)),
    ("dcmcjpeg", &["+ee", "+q", "90"], Syntax::JpegExtended, Decoded(Dcmtk, 1)),
    ("dcmcjpls", &["+el"], Syntax::JpegLs, Source),
    ("gdcmconv", &["--jpegls", "--lossy", "-e", "3"], Syntax::JpegLsNear, Decoded(Pydicom, 0)),
    ("gdcmconv", &["--jpeg"], Syntax::JpegLosslessFirst, Source),
    ("gdcmconv", &["--jpegls"], Syntax::JpegLs, Source),
    ("gdcmconv", &["--rle"], Syntax::Rle, Source),
    ("gdcmconv", &["--j2k"], Syntax::Jpeg2000Lossless, Source),
    ("gdcmconv", &["--j2k", "--lossy", "-r", "10"], Syntax::Jpeg2000, Decoded(Pydicom, 1)),
    ("judge", &["openjpeg", "-p RLCP -n 3"], Syntax::Jpeg2000, Source),
    ("judge", &["openjpeg", "-p RPCL -c [64,64],[32,32]"], Syntax::Jpeg2000, Source),
    ("judge", &["openjpeg", "-p PCRL -t 100,70 -SOP"], Syntax::Jpeg2000, Source),
    ("judge", &["openjpeg", "-p CPRL -t 128,99 -c [128,128] -EPH"], Syntax::Jpeg2000, Source),
    ("judge", &["openjpeg", "-b 4,64 -M 1"], Syntax::Jpeg2000, Source),
    ("judge", &["openjpeg", "-b 32,16 -M 2"], Syntax::Jpeg2000, Source),
    ("judge", &["openjpeg", "-M 4 -TP R"], Syntax::Jpeg2000, Source),
    ("judge", &["openjpeg", "-M 8 -T 3,5 -d 3,5"], Syntax::Jpeg2000, Source),
    ("judge", &["openjpeg", "-M 37"], Syntax::Jpeg2000, Source),
    ("judge", &["openjpeg", "-M 63 -r 40,10,1"], Syntax::Jpeg2000, Source),
    ("judge", &["openjpeg", "-n 1"], Syntax::Jpeg2000, Source),
    ("judge", &["openjpeg", "-r 60,20,8 -t 200,200"], Syntax::Jpeg2000, Decoded(Pydicom, 0)),
    ("judge", &["openjpeg", "-I -r 30,6"], Syntax::Jpeg2000, Decoded(Pydicom, 1)),
    ("judge", &["openjpeg", "-I -M 1 -q 40,60 -p RPCL"], Syntax::Jpeg2000, Decoded(Pydicom, 1)),
    ("judge", &["htj2k", "lossless"], Syntax::Htj2kLossless, Source),
    ("judge", &["htj2k", "rpcl"], Syntax::Htj2kLosslessRpcl, Source),
    ("judge", &["htj2k", "lossy"], Syntax::Htj2k, Lossy),
];

/// A CT and an MR slice.
fn slices() -> Option<[PathBuf; 2]> {
    let folder = real_dicom()?;
    let first = |series: &str| {
        let mut files: Vec<_> =
            fs::read_dir(folder.join(series)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.swap_remove(files.len() / 2)
    };
    Some([first("crlm_ct_1006/series"), first("ucsf_br06/mr_pe1")])
}

fn ours(file: &Path) -> Vec<i32> {
    values(open(file, &Keep::all()).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// pydicom's values.
fn theirs(python: &Path, file: &Path) -> Vec<i32> {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    judge(python, &["dump", folder, "values"], &[file.to_owned()]);
    let bytes = fs::read(out.path().join("0.values"));
    let bytes = bytes.unwrap_or_else(|_| panic!("pydicom cannot read {}", file.display()));
    bytes.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()
}

/// Runs an encoder; says whether it did its work. Some refuse signed samples.
fn run(python: &Path, command: &str, args: &[&str], from: &Path, to: &Path) -> bool {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reading/judge.py");
    let mut encoder = match command {
        "judge" => Command::new(python),
        other => Command::new(other),
    };
    encoder.args((command == "judge").then_some(script)).args(args).args([from, to]);
    let Ok(ran) = encoder.output() else {
        monet_testing::skip(&format!("no {command} on this machine"));
        return false;
    };
    if !ran.status.success() {
        eprintln!("{command} {args:?} refuses: {}", String::from_utf8_lossy(&ran.stderr));
    }
    ran.status.success()
}

/// Root of the mean square difference.
fn distance(a: &[i32], b: &[i32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    (squares.sum::<f64>() / a.len() as f64).sqrt()
}

fn farthest(a: &[i32], b: &[i32]) -> u32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[test]
fn every_encoders_file_gives_its_values() {
    let (Some(python), Some(slices)) = (dicom_python(), slices()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let mut encoded = [0; ENCODERS.len()];
    for slice in &slices {
        let source = theirs(&python, slice);
        for (n, (command, args, syntax, expected)) in ENCODERS.iter().enumerate() {
            let file = folder.path().join(format!("{n}.dcm"));
            if !run(&python, command, args, slice, &file) {
                continue;
            }
            encoded[n] += 1;
            let instance = open(&file, &Keep::all()).unwrap();
            let reader = FrameReader::new(&instance.header, instance.source).unwrap();
            assert_eq!(reader.syntax(), syntax, "{command} {args:?}");
            let found = ours(&file);
            let (other, most) = match expected {
                Source => (source.clone(), 0),
                Lossy => {
                    let theirs = distance(&theirs(&python, &file), &source);
                    let ours = distance(&found, &source);
                    eprintln!("{command} {args:?}: {ours:.2} from the source, pydicom {theirs:.2}");
                    assert!(ours <= theirs * LOSS, "{command} {args:?}: {ours}, {theirs}");
                    continue;
                }
                Decoded(Pydicom, most) => (theirs(&python, &file), *most),
                Decoded(Dcmtk, most) => {
                    let raw = folder.path().join("raw.dcm");
                    assert!(run(&python, "dcmdjpeg", &[], &file, &raw));
                    (theirs(&python, &raw), *most)
                }
            };
            let far = farthest(&found, &other);
            if far > most {
                let name = slice.file_name().unwrap().to_string_lossy();
                wrong.push(format!("{name} {command} {args:?}: values differ by up to {far}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let none = ENCODERS.iter().zip(encoded).filter(|(_, count)| *count == 0);
    let none: Vec<_> = none.map(|((command, args, ..), _)| format!("{command} {args:?}")).collect();
    if !none.is_empty() {
        monet_testing::skip(&format!("{} made no file", none.join(", ")));
    }
}

#[test]
fn jpeg_of_12_bits_is_near_to_another_decoders() {
    let Some(python) = dicom_python() else { return };
    let files = pydicom_files(&python);
    let file = files.iter().find(|file| file.ends_with("JPEG-lossy.dcm")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw.dcm");
    if run(&python, "dcmdjpeg", &[], file, &raw) {
        assert!(farthest(&ours(file), &theirs(&python, &raw)) <= 1);
    }
}
