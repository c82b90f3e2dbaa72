//! The pipeline, the int8 engine in it, allocates nothing per slice once under way: counted by the
//! allocator itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use monet::Size;
use monet::core::Kernel;
use monet::engine::{Engine, EngineError, EngineFactory};
use monet::measure::{LabelStats, Preview};
use monet::package::{Fit, IntensityStats, Manifest, Normalise, Package};
use monet::pipeline::stream::{self, Labelled, Preparation};
use monet::volume::{LabelSink, SliceSource, SourceOptions};
use monet_testing::nifti::Nifti;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory that it
// manages.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Makes the engines of a volume.
type Engines = fn(Size, usize) -> Vec<Box<dyn Engine>>;

/// The embedded package's own.
fn embedded(size: Size, workers: usize) -> Vec<Box<dyn Engine>> {
    Kernel::best().make(&Package::embedded(), size, workers).unwrap()
}

fn brighter(size: Size, workers: usize) -> Vec<Box<dyn Engine>> {
    (0..workers).map(|_| Box::new(Brighter(size)) as _).collect()
}

/// A net that allocates nothing: what it is measured with is not what is measured.
struct Brighter(Size);

impl Engine for Brighter {
    fn size(&self) -> Size {
        self.0
    }
    fn name(&self) -> String {
        "brighter".to_owned()
    }
    fn segment(&mut self, input: &[&[f32]], labels: &mut [u8]) -> Result<(), EngineError> {
        labels.iter_mut().zip(input[0]).for_each(|(label, value)| *label = u8::from(*value > 0.5));
        Ok(())
    }
}

/// Allocations between slice 40 and slice 200, with reading, preparing, restoring, writing,
/// statistics and preview.
fn allocations_under_way(file: &Nifti, name: &str, workers: usize, engines: Engines) -> usize {
    let normalise = Package::embedded().manifest.normalise;
    allocations_of(file, name, workers, engines, normalise)
}

/// The same, normalised as asked.
fn allocations_of(
    file: &Nifti,
    name: &str,
    workers: usize,
    engines: Engines,
    normalise: Normalise,
) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let input = file.write(&folder.path().join(name));
    let options =
        SourceOptions { spool_dir: Some(folder.path().to_owned()), ..SourceOptions::default() };
    let mut source = SliceSource::open(&input, &options).unwrap();
    let geometry = *source.geometry();
    let manifest: Manifest = Package::embedded().manifest;
    let fit = Fit::new(&manifest, 1, geometry.slice_size(), [1.0, 1.0]).unwrap();
    let mut stats = IntensityStats::new(normalise, 1);
    let mut slice = vec![0.0; source.slice_len()];
    while stats.wants_pass() {
        source.rewind().unwrap();
        while source.next_into(&mut slice).unwrap().is_some() {
            stats.add(&slice);
        }
        stats.end_pass();
    }
    source.rewind().unwrap();
    let intensity = stats.finish();
    let mut sink =
        LabelSink::create(&folder.path().join("o.nii.gz"), &source, false, Some(folder.path()))
            .unwrap();
    let mut labels = LabelStats::new(&geometry, &manifest.labels);
    let mut preview = Preview::new(&geometry, &manifest.labels);
    let mut engines = engines(fit.net_size(), workers);
    let (mut done, mut at) = (0, [0; 2]);
    let preparation = Preparation {
        intensity: &intensity,
        fit: &fit,
        neighbours: manifest.input.neighbours,
        subsampling: Some(preview.subsampling()),
        trace: None,
    };
    let write = |slice: Labelled| {
        sink.push(slice.labels)?;
        labels.add(slice.index, slice.labels);
        preview.add(slice.index, slice.thumbnail, slice.labels);
        done += 1;
        if done == 40 || done == 200 {
            at[usize::from(done == 200)] = ALLOCATIONS.load(Ordering::Relaxed);
        }
        Ok(())
    };
    stream::stream(&mut source, preparation, &mut engines, &AtomicBool::new(false), write).unwrap();
    assert_eq!(done, 240);
    let found = labels.finish().iter().any(|label| label.voxels > 0);
    assert!(found, "labels went through");
    at[1] - at[0]
}

/// One test, since the count is the process's.
#[test]
fn no_heap_allocation_per_slice() {
    let axial = Nifti::blob([40, 36, 240]);
    assert_eq!(allocations_under_way(&axial, "a.nii", 1, brighter), 0, "plain");
    assert_eq!(allocations_under_way(&axial, "a.nii.gz", 1, brighter), 0, "gzip");
    assert_eq!(allocations_under_way(&axial, "a.nii.gz", 3, brighter), 0, "three workers");
    assert_eq!(allocations_under_way(&axial, "a.nii.gz", 1, embedded), 0, "the embedded net");
    assert_eq!(
        allocations_under_way(&axial, "a.nii.gz", 3, embedded),
        0,
        "the embedded net, three workers"
    );
    let each = Normalise::SlicePercentiles { low: 0.5, high: 99.5 };
    assert_eq!(allocations_of(&axial, "a.nii.gz", 3, brighter, each), 0, "slice by slice");
    let sform = [[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]];
    let sagittal = Nifti { sform: Some(sform), ..Nifti::blob([240, 40, 36]) };
    assert_eq!(allocations_under_way(&sagittal, "s.nii.gz", 2, brighter), 0, "spooled");
}
