//! Segments a volume that is a buffer in memory, into labels in memory: what a service or an
//! interface to another language does. `cargo run --release --example in-memory`
//!
//! The buffer is filled from the sample here. Elsewhere it comes from a scanner, a network, or a
//! caller in C: the library asks for a grid, and for its voxels plane after plane.

use std::path::Path;
use std::sync::Arc;

use monet::core::Kernel;
use monet::package::Package;
use monet::pipeline::{self, Document, Job, Model};
use monet::volume::{
    BufferReader, Grid, LabelBuffer, NiftiReader, PlaneReader, Scaling, VolumeError,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (grid, voxels, scalings) = load(Path::new("models/sample/mni152-hippocampus.nii.gz"))?;
    println!("{:?} voxels of {:?}, {} bytes", grid.size(), grid.voxel_type(), voxels.len());

    let mut labels = vec![0; grid.plane_voxels() * grid.size()[2]];
    let mut picture = Vec::new();
    let writer = LabelBuffer::new("labels", &grid, &mut labels)?;
    let reader = BufferReader::new(grid, &voxels[..])?.scaled(scalings)?;
    let mut job = Job::new(reader, writer);
    job.preview = Some(Document::Buffer(&mut picture));

    let mut model = Model::new(Package::embedded(), 1, Kernel::best());
    let report = pipeline::segment(&mut model, job, &Arc::default(), &mut |_, _| {})?;

    for label in &report.labels {
        let voxels = labels.iter().filter(|value| **value == label.value).count();
        println!("{}: {voxels} voxels, {:.3} ml", label.name, label.ml);
    }
    println!("a picture of {} bytes", picture.len());
    Ok(())
}

/// A volume's grid, its stored voxels, and the scaling of each of its planes.
fn load(path: &Path) -> Result<(Grid, Vec<u8>, Vec<Scaling>), VolumeError> {
    let mut file = NiftiReader::open(path, None)?;
    let grid = file.grid().clone();
    let mut voxels = vec![0; grid.planes() * grid.plane_bytes()];
    let planes = voxels.chunks_exact_mut(grid.plane_bytes());
    let scalings = planes.map(|plane| file.read(plane)).collect::<Result<_, _>>()?;
    Ok((grid, voxels, scalings))
}
