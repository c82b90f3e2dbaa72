//! Fuzzing on stable Rust: seeds, damaged by a mutator that is the same on every run, with every
//! byte of memory counted.
//!
//! A test program that uses it has `#[global_allocator] static COUNTER: Counter = Counter;`.
//! `MONET_FUZZ_CASES=N` multiplies the cases; `MONET_FUZZ_SEED=N` makes others. What fails is left
//! in the temporary folder.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::{Random, root};

/// Longest time of a case.
const LONGEST: Duration = Duration::from_secs(20);

/// One fuzzer at a time, so that memory is one fuzzer's.
static ALONE: Mutex<()> = Mutex::new(());

/// Counts the bytes that are allocated, and the most at a time.
pub struct Counter;

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

/// Damages a seed in one to eight places.
fn mutate(random: &mut Random, seeds: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len().max(1));
        let length = random.below(64).min(bytes.len() - at.min(bytes.len()));
        match random.below(9) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.next_u64() as u8,
            2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let part = bytes[at..at + length].to_vec();
                bytes.splice(at..at, part);
            }
            5 => bytes.truncate(at),
            6 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len().max(1)).min(other.len());
                let part = &other[from..(from + length).min(other.len())];
                let end = (at + part.len()).min(bytes.len());
                bytes.splice(at..end, part.iter().copied());
            }
            _ => {
                let word = words[random.below(words.len())];
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

/// Does something while no fuzzer runs, and says how much memory that took at most.
pub fn memory(work: impl FnOnce()) -> usize {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    most(work)
}

fn most(work: impl FnOnce()) -> usize {
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    work();
    MOST.load(Relaxed).saturating_sub(before)
}

/// Runs a case; leaves it in the temporary folder if it takes too long.
fn run(name: &str, bytes: &[u8], fuzzer: fn(&[u8])) -> Taken {
    let start = Instant::now();
    let mut result = Ok(());
    let memory = most(|| result = catch_unwind(AssertUnwindSafe(|| fuzzer(bytes))));
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

/// Files of a folder of `fuzz/seeds`.
///
/// # Panics
///
/// Panics where the folder cannot be read.
pub fn folder(name: &str) -> Vec<Vec<u8>> {
    let folder = root().join("fuzz/seeds").join(name);
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A function that takes any bytes, and what it may do with them.
pub struct Fuzzer<'a> {
    /// Its name, which failed cases bear.
    pub name: &'a str,
    /// The function. It may not panic.
    pub run: fn(&[u8]),
    /// What parsers of the format stumble over.
    pub words: &'a [&'a [u8]],
    /// Most memory that some bytes may cost.
    pub limit: &'a dyn Fn(&[u8]) -> usize,
    /// Whether some bytes may make it panic all the same: it runs in a process of its own, then.
    pub may_panic: &'a dyn Fn(&[u8]) -> bool,
}

impl Fuzzer<'_> {
    /// Runs the function over seeds and so many damaged ones, and says which panics there were.
    /// The seeds are made once no other fuzzer runs, so that nobody's memory is counted but this
    /// one's.
    ///
    /// # Panics
    ///
    /// Panics where a case takes too much memory or time, or panics and may not.
    pub fn run(&self, seeds: impl FnOnce() -> Vec<Vec<u8>>, cases: u64) {
        let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (name, seeds) = (self.name, seeds());
        let cases = cases * setting("MONET_FUZZ_CASES", 1);
        let mut random = Random(setting("MONET_FUZZ_SEED", 1));
        let mut panics = BTreeMap::new();
        let mut highest = 0;
        let damaged = (0..cases).map(|_| mutate(&mut random, &seeds, self.words));
        for bytes in seeds.iter().cloned().chain(damaged) {
            let taken = run(name, &bytes, self.run);
            highest = highest.max(taken.memory);
            let most = (self.limit)(&bytes);
            let kept = |bytes: &[u8]| keep(name, bytes).display().to_string();
            assert!(taken.memory <= most, "{name}: {} bytes, {}", taken.memory, kept(&bytes));
            if let Some(text) = taken.panicked {
                assert!((self.may_panic)(&bytes), "{name}: {text}, {}", kept(&bytes));
                let kept = || keep(&format!("{name}-panic-{}", bytes.len()), &bytes);
                panics.entry(text).or_insert_with(|| (0, kept())).0 += 1;
            }
        }
        let told = |(text, (count, path)): (&String, &(u32, PathBuf))| {
            format!("{count} x {text}: {}", path.display())
        };
        let panics: Vec<_> = panics.iter().map(told).collect();
        eprintln!(
            "{name}: {cases} cases, {} seeds, {highest} bytes at most; panics that a process of \
             its own contains: {panics:#?}",
            seeds.len()
        );
    }
}
