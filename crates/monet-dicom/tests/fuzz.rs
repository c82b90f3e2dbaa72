//! The fuzzers of [`monet_dicom::fuzz`] on stable Rust: damaged files and frames from seeds, with
//! every byte of memory counted.
//!
//! `MONET_FUZZ_CASES=N` multiplies the cases; `MONET_FUZZ_SEED=N` makes others;
//! `MONET_DICOM_PYTHON` adds pydicom's small files as seeds. What fails is left in the temporary
//! folder.
//!
//! Decoders of other makers (JPEG-LS, HTJ2K) may panic: the command runs them in a process of
//! their own. They are therefore run where a panic is caught, and their panics are counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use monet_dicom::fuzz::{FRONT, SYNTAXES, frame, front, header, image};
use monet_dicom::pixels::{Decode, FrameReader, PixelError, PixelFormat};
use monet_dicom::read::{Keep, read};
use monet_dicom::syntax::Syntax;

/// Most memory of a header over its file's size.
const HEADER: usize = 16 << 20;
/// Most memory of a frame that this crate decodes, for a byte of its samples, and beside.
const OWN: (usize, usize) = (4, 1 << 20);
/// The same of JPEG 2000, whose coefficients have 32 bits and whose code blocks are many.
const WAVELETS: (usize, usize) = (24, 2 << 20);
/// The same of decoders of other makers.
const OTHER: (usize, usize) = (64, 64 << 20);
/// Longest time of a case.
const LONGEST: Duration = Duration::from_secs(20);
/// Largest seed.
const SEED: u64 = 48 << 10;

/// Counts the bytes that are allocated, and the most at a time.
struct Counter;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn count(more: usize, less: usize) {
    let before = NOW.fetch_add(more, Relaxed);
    MOST.fetch_max(before + more, Relaxed);
    NOW.fetch_sub(less, Relaxed);
}

// SAFETY: each call goes to the system's allocator with the arguments that it came with.
unsafe impl GlobalAlloc for Counter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTER: Counter = Counter;

/// One fuzzer at a time, so that memory is one fuzzer's.
static ALONE: Mutex<()> = Mutex::new(());

/// Random numbers: xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

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

/// Damages a seed in one to eight places.
fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len());
        let length = random.below(64).min(bytes.len() - at.min(bytes.len()));
        match random.below(9) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let part = bytes[at..at + length].to_vec();
                bytes.splice(at..at, part);
            }
            5 => bytes.truncate(at),
            6 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                let part = &other[from..(from + length).min(other.len())];
                let end = (at + part.len()).min(bytes.len());
                bytes.splice(at..end, part.iter().copied());
            }
            _ => {
                let word = WORDS[random.below(WORDS.len())];
                // Over what is there, or between.
                let end =
                    if random.below(2) == 0 { at } else { (at + word.len()).min(bytes.len()) };
                bytes.splice(at..end, word.iter().copied());
            }
        }
    }
    bytes
}

/// A setting, or what stands for it.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// What a case took.
struct Taken {
    memory: usize,
    panicked: Option<String>,
}

/// Runs a case; leaves it in the temporary folder if it takes too long.
fn run(name: &str, bytes: &[u8], fuzzer: fn(&[u8])) -> Taken {
    let (start, before) = (Instant::now(), NOW.load(Relaxed));
    MOST.store(before, Relaxed);
    let result = catch_unwind(AssertUnwindSafe(|| fuzzer(bytes)));
    let memory = MOST.load(Relaxed).saturating_sub(before);
    let took = start.elapsed();
    assert!(took < LONGEST, "{name}: {took:?} for {}", keep(name, bytes).display());
    let text = |panic: Box<dyn std::any::Any + Send>| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().map_or("?".into(), |text| (*text).to_owned()),
    };
    Taken { memory, panicked: result.err().map(text) }
}

/// Leaves a case for whoever looks into it.
fn keep(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("monet-fuzz-{name}"));
    fs::write(&path, bytes).expect("room for a failed case");
    path
}

/// Files of a folder of seeds.
fn folder(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name);
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

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

/// Runs a fuzzer over damaged seeds, and says how many cases there were and which panics.
fn fuzz(
    name: &str,
    seeds: &[Vec<u8>],
    cases: u64,
    fuzzer: fn(&[u8]),
    limit: impl Fn(&[u8]) -> usize,
    may_panic: impl Fn(&[u8]) -> bool,
) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let cases = cases * setting("MONET_FUZZ_CASES", 1);
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ setting("MONET_FUZZ_SEED", 1) << 17);
    let mut panics = BTreeMap::new();
    let mut highest = 0;
    let damaged = (0..cases).map(|_| mutate(&mut random, seeds));
    for bytes in seeds.iter().cloned().chain(damaged) {
        let taken = run(name, &bytes, fuzzer);
        highest = highest.max(taken.memory);
        let most = limit(&bytes);
        let kept = |bytes: &[u8]| keep(name, bytes).display().to_string();
        assert!(taken.memory <= most, "{name}: {} bytes, {}", taken.memory, kept(&bytes));
        if let Some(text) = taken.panicked {
            assert!(may_panic(&bytes), "{name}: {text}, {}", kept(&bytes));
            let kept = || keep(&format!("{name}-panic-{}", bytes.len()), &bytes);
            panics.entry(text).or_insert_with(|| (0, kept())).0 += 1;
        }
    }
    let panics: Vec<_> = panics
        .iter()
        .map(|(text, (count, path))| format!("{count} x {text}: {}", path.display()))
        .collect();
    eprintln!(
        "{name}: {cases} cases, {} seeds, {highest} bytes at most; panics that a process of \
               its own contains: {panics:#?}",
        seeds.len()
    );
}

#[test]
fn damaged_headers_are_errors_within_bounds() {
    fuzz("header", &files(), 6000, header, |bytes| HEADER + 2 * bytes.len(), |_| false);
}

#[test]
fn damaged_images_are_errors_within_bounds() {
    let other = |bytes: &[u8]| {
        let uids: [&[u8]; 2] = [b"1.2.840.10008.1.2.4.8", b"1.2.840.10008.1.2.4.20"];
        uids.iter().any(|uid| bytes.windows(uid.len()).any(|window| window == *uid))
    };
    let limit = |bytes: &[u8]| OTHER.0 * (1 << 20) + OTHER.1 + 2 * bytes.len();
    fuzz("image", &files(), 3000, image, limit, other);
}

#[test]
fn damaged_frames_are_errors_within_bounds() {
    let mut seeds = folder("dicom_frame");
    seeds.extend(files().iter().filter_map(|file| first_frame(file)));
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
    fuzz("frame", &seeds, 6000, frame, limit, other);
}
