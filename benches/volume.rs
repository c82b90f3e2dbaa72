//! A whole volume end to end, as `monet segment` does it: 150 slices of 512×512 as `.nii.gz`
//! through the full-size bench package, from file to file, at one thread and at two.
//!
//! `cargo bench --bench volume`

use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use monet::core::Kernel;
use monet::onnx::EngineChoice;
use monet::package::Package;
use monet::pipeline::{self, FileJob, Model};
use monet_testing::nifti::Nifti;

const SIZE: [usize; 3] = [512, 512, 150];

fn volume(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let input = Nifti::blob(SIZE).write(&folder.path().join("ct.nii.gz"));
    let output = folder.path().join("mask.nii.gz");
    let job = FileJob { input, output, overwrite: true, ..FileJob::default() };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bench/monet-256.int8.toml");
    let package = Package::load(&manifest).expect("the bench package is committed");

    let mut group = c.benchmark_group("150 slices of 512x512");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(SIZE[2] as u64));
    for threads in [1, 2] {
        let mut model = Model::new(package.clone(), threads, EngineChoice::Int8(Kernel::best()));
        group.bench_function(format!("{threads} thread(s)"), |b| {
            b.iter(|| {
                pipeline::segment_file(&mut model, &job, &Arc::default(), &mut |_, _| ())
                    .expect("a mask")
            });
        });
    }
}

criterion_group!(benches, volume);
criterion_main!(benches);
