//! The pipeline's stages one by one: reading, normalising, fitting, the net; one slice each.
//!
//! `cargo bench --bench stages`

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use monet::core::Kernel;
use monet::engine::EngineFactory;
use monet::package::{Fit, IntensityStats, Package};
use monet::volume::{SliceSource, SourceOptions};

fn stages(c: &mut Criterion) {
    let package = Package::embedded();
    let sample =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models/sample/mni152-hippocampus.nii.gz");
    let mut source =
        SliceSource::open(&sample, &SourceOptions::default()).expect("the sample is committed");
    let (size, slices) = (source.geometry().slice_size(), source.geometry().size[2]);
    let mut slice = vec![0.0; source.slice_len()];
    let fit = Fit::new(&package.manifest, 1, size, [1.0, 1.0]).expect("the sample fits");

    let mut volume = c.benchmark_group("sample volume");
    volume.throughput(Throughput::Elements(slices as u64));
    volume.bench_function("read", |b| {
        b.iter(|| {
            source.rewind().expect("the sample stays");
            while source.next_into(&mut slice).expect("the sample is whole").is_some() {}
        });
    });
    let mut stats = IntensityStats::new(package.manifest.normalise, 1);
    while stats.wants_pass() {
        source.rewind().expect("the sample stays");
        while source.next_into(&mut slice).expect("the sample is whole").is_some() {
            stats.add(&slice);
        }
        stats.end_pass();
    }
    let intensity = stats.finish();
    volume.finish();

    let mut one = c.benchmark_group("one slice");
    one.throughput(Throughput::Elements(1));
    one.bench_function("normalise", |b| {
        b.iter(|| intensity.apply(black_box(&mut slice), size.area()))
    });
    let mut input = vec![0.0; fit.slice_len()];
    one.bench_function("fit", |b| b.iter(|| fit.prepare(black_box(&slice), &mut input)));
    // The same slice on either side does for timing.
    let input = input.repeat(fit.net_len() / fit.slice_len());
    let net = fit.net_size();
    let mut labels = vec![0; net.area()];
    let mut engines = Kernel::best().make(&package, net, 1).expect("the embedded net loads");
    one.bench_function("infer", |b| {
        b.iter(|| {
            engines[0].segment(black_box(&[&input]), &mut labels).expect("the embedded net runs")
        });
    });
    let mut restored = vec![0; size.area()];
    one.bench_function("restore", |b| b.iter(|| fit.restore(black_box(&labels), &mut restored)));
    one.finish();
}

criterion_group!(benches, stages);
criterion_main!(benches);
