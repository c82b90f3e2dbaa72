//! The sample's slices as the host's pipeline hands them to the net, and the labels that it gets.
//!
//! The file, little-endian:
//!
//! ```text
//! u32 slices, u32 planes of a slice, u32 values of a plane, u32 planes in all
//! u32 planes: for each slice, the number of each of its planes
//! f32 values: plane after plane
//! ```

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use monet::core::{Kernel, Size};
use monet::engine::{Engine, EngineError, EngineFactory};
use monet::package::Package;
use monet::pipeline::{self, FileJob, Model};

use super::{FNV, fnv};

/// What the net saw of a volume.
#[derive(Debug)]
pub(crate) struct Sample {
    planes: Vec<Vec<f32>>,
    /// The planes of each slice.
    slices: Vec<Vec<u32>>,
    labels: Vec<Vec<u8>>,
}

impl Sample {
    pub(crate) fn slices(&self) -> usize {
        self.slices.len()
    }

    /// The hash of the labels of the first slices.
    pub(crate) fn labels(&self, count: usize) -> u64 {
        self.labels[..count].iter().fold(FNV, |hash, labels| fnv(hash, labels))
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let numbers =
            [self.slices.len(), self.slices[0].len(), self.planes[0].len(), self.planes.len()];
        let numbers = numbers.into_iter().map(|n| n as u32);
        let numbers = numbers.chain(self.slices.iter().flatten().copied());
        let values = self.planes.iter().flatten().map(|value| value.to_bits());
        numbers.chain(values).flat_map(u32::to_le_bytes).collect()
    }

    fn add(&mut self, input: &[&[f32]], labels: &[u8]) {
        let number = |part: &&[f32]| {
            let known = self.planes.iter().rposition(|plane| plane == part);
            let number = known.unwrap_or_else(|| {
                self.planes.push(part.to_vec());
                self.planes.len() - 1
            });
            number as u32
        };
        self.slices.push(input.iter().map(number).collect());
        self.labels.push(labels.to_vec());
    }
}

/// Segments the sample as the command does, and keeps what the net sees.
pub(crate) fn record() -> Result<Sample> {
    let sample = Arc::new(Mutex::new(Sample { planes: vec![], slices: vec![], labels: vec![] }));
    let folder = std::env::temp_dir().join(format!("board-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let job = FileJob {
        input: PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../models/sample/mni152-hippocampus.nii.gz"
        )),
        output: folder.join("labels.nii.gz"),
        ..FileJob::default()
    };
    let mut model = Model::new(Package::embedded(), 1, Recorders(sample.clone()));
    let report = pipeline::segment_file(&mut model, &job, &Arc::default(), &mut |_, _| {});
    std::fs::remove_dir_all(&folder)?;
    report?;
    drop(model);
    let sample = Arc::into_inner(sample).expect("the engines are gone");
    Ok(sample.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Makes the int8 engine's engines, wrapped.
struct Recorders(Arc<Mutex<Sample>>);

impl EngineFactory for Recorders {
    fn make(
        &mut self,
        package: &Package,
        size: Size,
        workers: usize,
    ) -> Result<Vec<Box<dyn Engine>>, EngineError> {
        let engines = Kernel::best().make(package, size, workers)?;
        let wrap =
            |engine| -> Box<dyn Engine> { Box::new(Recorder { engine, sample: self.0.clone() }) };
        Ok(engines.into_iter().map(wrap).collect())
    }
}

/// An engine that keeps what it is given.
struct Recorder {
    engine: Box<dyn Engine>,
    sample: Arc<Mutex<Sample>>,
}

impl Engine for Recorder {
    fn size(&self) -> Size {
        self.engine.size()
    }

    fn name(&self) -> String {
        self.engine.name()
    }

    fn segment(&mut self, input: &[&[f32]], labels: &mut [u8]) -> Result<(), EngineError> {
        self.engine.segment(input, labels)?;
        self.sample.lock().unwrap_or_else(PoisonError::into_inner).add(input, labels);
        Ok(())
    }
}
