//! The fuzzers of [`monet_dicom::fuzz`] on stable Rust: damaged files and frames from seeds, with
//! every byte of memory counted.
//!
//! `MONET_FUZZ_CASES=N` multiplies the cases; `MONET_FUZZ_SEED=N` makes others;
//! `MONET_DICOM_PYTHON` adds pydicom's small files as seeds. What fails is left in the temporary
//! folder.
//!
//! Decoders of other makers (JPEG-LS, HTJ2K) may panic: the command runs them in a process of
//! their own. They are therefore run where a panic is caught, and their panics are counted.

use std::fs;
use std::io::Cursor;
use std::process::Command;

use monet_dicom::fuzz::{FRONT, SYNTAXES, frame, front, header, image};
use monet_dicom::pixels::{Decode, FrameReader, PixelError, PixelFormat};
use monet_dicom::read::{Keep, read};
use monet_dicom::syntax::Syntax;
use monet_testing::damage::{Counter, Fuzzer, folder};

/// Most memory of a header over its file's size.
const HEADER: usize = 16 << 20;
/// Most memory of a frame that this crate decodes, for a byte of its samples, and beside.
const OWN: (usize, usize) = (4, 1 << 20);
/// The same of JPEG 2000, whose coefficients have 32 bits and whose code blocks are many.
const WAVELETS: (usize, usize) = (24, 2 << 20);
/// The same of decoders of other makers.
const OTHER: (usize, usize) = (64, 64 << 20);
/// Largest seed.
const SEED: u64 = 48 << 10;

#[global_allocator]
static COUNTER: Counter = Counter;

/// What parsers stumble over.
const WORDS: &[&[u8]] = &[
    &[0xfe, 0xff, 0x00, 0xe0, 0xff, 0xff, 0xff, 0xff],
    &[0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0],
    &[0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xfe, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0],
    &[0x28, 0, 0x10, 0, b'U', b'S', 2, 0],
    &[0xe0, 0x7f, 0x10, 0, b'O', b'B', 0, 0, 0xff, 0xff, 0xff, 0xff],
    &[0x30, 0x52, 0x30, 0x92, b'S', b'Q', 0, 0, 0xff, 0xff, 0xff, 0xff],
    b"UN\0\0\xff\xff\xff\xff",
    &[0xff, 0xd9],
    &[0xff, 0x00],
    &[0xff, 0xda],
    &[0xff, 0x52],
];

/// Seeds of files: those of the tree, and pydicom's small ones.
fn files() -> Vec<Vec<u8>> {
    let mut seeds = folder("dicom");
    let Some(python) = monet_testing::judges::dicom_python() else { return seeds };
    let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reading/judge.py");
    let ran = Command::new(python).args([judge, "files"]).output().unwrap();
    for path in String::from_utf8(ran.stdout).unwrap().lines() {
        let small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= SEED);
        if small && (path.ends_with(".dcm") || path.contains("DICOMDIR")) {
            seeds.push(fs::read(path).unwrap());
        }
    }
    seeds
}

/// Takes what would be decoded.
struct Take(Option<(Syntax, PixelFormat, Vec<u8>)>);

impl Decode for Take {
    fn decode(
        &mut self,
        syntax: &Syntax,
        format: &PixelFormat,
        compressed: &[u8],
        _: &mut Vec<u8>,
    ) -> Result<(), PixelError> {
        self.0 = Some((syntax.clone(), *format, compressed.to_vec()));
        Ok(())
    }
}

/// A file's first frame as a seed of the frames' fuzzer.
fn first_frame(file: &[u8]) -> Option<Vec<u8>> {
    let instance = read(Box::new(Cursor::new(file.to_vec())), &Keep::all()).ok()?;
    let mut reader = FrameReader::new(&instance.header, instance.source).ok()?;
    let mut take = Take(None);
    let _ = reader.read(0, &mut take, &mut Vec::new());
    let (syntax, format, compressed) = take.0?;
    let index = SYNTAXES.iter().position(|other| *other == syntax)?;
    let [r0, r1] = format.rows.to_le_bytes();
    let [c0, c1] = format.columns.to_le_bytes();
    let bits = u8::from(format.bits_allocated == 16);
    let samples = u8::from(format.samples == 3) | u8::from(format.signed) << 1;
    let front = [index as u8, r0, r1, c0, c1, samples, bits, format.bits_stored as u8 - 1];
    (r1 < 4 && c1 < 4).then(|| [front.as_slice(), &compressed].concat())
}

fn fuzzer<'a>(
    name: &'a str,
    run: fn(&[u8]),
    limit: &'a dyn Fn(&[u8]) -> usize,
    may_panic: &'a dyn Fn(&[u8]) -> bool,
) -> Fuzzer<'a> {
    Fuzzer { name, run, words: WORDS, limit, may_panic }
}

#[test]
fn damaged_headers_are_errors_within_bounds() {
    let limit = |bytes: &[u8]| HEADER + 2 * bytes.len();
    fuzzer("header", header, &limit, &|_| false).run(files, 6000);
}

#[test]
fn damaged_images_are_errors_within_bounds() {
    let other = |bytes: &[u8]| {
        let uids: [&[u8]; 2] = [b"1.2.840.10008.1.2.4.8", b"1.2.840.10008.1.2.4.20"];
        uids.iter().any(|uid| bytes.windows(uid.len()).any(|window| window == *uid))
    };
    let limit = |bytes: &[u8]| OTHER.0 * (1 << 20) + OTHER.1 + 2 * bytes.len();
    fuzzer("image", image, &limit, &other).run(files, 3000);
}

#[test]
fn damaged_frames_are_errors_within_bounds() {
    let seeds = || {
        let mut seeds = folder("dicom_frame");
        seeds.extend(files().iter().filter_map(|file| first_frame(file)));
        seeds
    };
    let described = |bytes: &[u8]| bytes.first_chunk().map(|bytes: &[u8; FRONT]| front(bytes));
    let other =
        |bytes: &[u8]| matches!(described(bytes), Some((Syntax::JpegLs | Syntax::Htj2k, _)));
    let limit = |bytes: &[u8]| {
        let Some((syntax, format)) = described(bytes) else { return 0 };
        let (times, beside) = match syntax {
            Syntax::JpegLs | Syntax::Htj2k => OTHER,
            Syntax::Jpeg2000 => WAVELETS,
            _ => OWN,
        };
        times * format.frame_bytes() + beside + 2 * bytes.len()
    };
    fuzzer("frame", frame, &limit, &other).run(seeds, 6000);
}
