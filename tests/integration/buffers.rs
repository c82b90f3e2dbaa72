//! Volumes that are no files: buffers and readers of the caller's own, labels into memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use monet::core::Kernel;
use monet::measure::json;
use monet::package::Package;
use monet::pipeline::{self, Document, FileJob, Job, Model};
use monet::volume::{
    Affine, BufferReader, ByteOrder, Geometry, Grid, LabelBuffer, LabelSink, LabelWriter,
    NiftiHeader, NiftiLabels, NiftiReader, Orientation, OutputError, PlaneReader, Region, Scaling,
    SliceSource, SourceOptions, VolumeError, VoxelType,
};

fn sample() -> PathBuf {
    "models/sample/mni152-hippocampus.nii.gz".into()
}

/// All of a file in memory, as it is stored, and what scales it.
fn loaded(path: &Path) -> (Grid, Vec<u8>, Scaling) {
    let mut reader = NiftiReader::open(path, None).unwrap();
    let grid = reader.grid().clone();
    let mut plane = vec![0; grid.plane_bytes()];
    let (mut voxels, mut scaling) = (Vec::new(), Scaling::NONE);
    for _ in 0..grid.planes() {
        scaling = reader.read(&mut plane).unwrap();
        voxels.extend_from_slice(&plane);
    }
    (grid, voxels, scaling)
}

/// Labels of a volume in memory by the embedded package.
fn labels_of(reader: impl PlaneReader) -> Vec<u8> {
    let grid = reader.grid().clone();
    let mut labels = vec![7; grid.planes() * grid.plane_voxels()];
    let writer = LabelBuffer::new("labels", &grid, &mut labels).unwrap();
    let mut model = Model::new(Package::embedded(), 2, Kernel::best());
    let job = Job::new(reader, writer);
    let report = pipeline::segment(&mut model, job, &Arc::default(), &mut |_, _| {}).unwrap();
    assert_eq!(report.output, Path::new("labels"));
    labels
}

/// Labels of the sample as a file.
fn labels_of_the_file(folder: &Path) -> Vec<u8> {
    let output = folder.join("mask.nii");
    let job = FileJob { input: sample(), output: output.clone(), ..FileJob::default() };
    let mut model = Model::new(Package::embedded(), 1, Kernel::best());
    pipeline::segment_file(&mut model, &job, &Arc::default(), &mut |_, _| {}).unwrap();
    let (_, labels, _) = loaded(&output);
    assert!(labels.iter().any(|&label| label > 0), "something was found");
    labels
}

#[test]
fn a_buffer_has_the_labels_of_the_same_volume_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (grid, voxels, scaling) = loaded(&sample());
    let borrowed = BufferReader::new(grid, &voxels[..]).unwrap().scaled(vec![scaling]).unwrap();
    assert_eq!(labels_of(borrowed), labels_of_the_file(folder.path()));
}

/// The sample as doubles, every plane stored in a scale of its own.
fn with_slopes_that_differ() -> BufferReader<'static> {
    let values = values_of(&sample());
    let (grid, ..) = loaded(&sample());
    let scalings: Vec<Scaling> = (0..grid.planes())
        .map(|plane| Scaling { slope: f64::from(1 << (plane % 5)), intercept: plane as f64 - 20.0 })
        .collect();
    let voxels: Vec<u8> = values
        .chunks_exact(grid.plane_voxels())
        .zip(&scalings)
        .flat_map(|(plane, s)| plane.iter().map(|v| (f64::from(*v) - s.intercept) / s.slope))
        .flat_map(f64::to_le_bytes)
        .collect();
    let (order, geometry) = (ByteOrder::Little, *grid.geometry());
    let grid = Grid::new("scaled", geometry, VoxelType::F64, order).unwrap();
    BufferReader::new(grid, voxels).unwrap().scaled(scalings).unwrap()
}

/// The intensities of a file in its stored order.
fn values_of(path: &Path) -> Vec<f32> {
    let header = NiftiHeader::read(path).unwrap();
    let orientation = header.grid.geometry().affine.orientation();
    let options = SourceOptions { orientation, ..SourceOptions::default() };
    SliceSource::open(path, &options).unwrap().read_all().unwrap()
}

#[test]
fn planes_of_different_slopes_give_the_labels_of_the_values_that_they_stand_for() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(labels_of(with_slopes_that_differ()), labels_of_the_file(folder.path()));
}

/// Numbers of a small grid whose axes run to the left, anterior and inferior.
const SIZE: [usize; 3] = [4, 3, 5];

fn grid(voxel_type: VoxelType, order: ByteOrder) -> Grid {
    let rows = [[-2.0, 0.0, 0.0, 9.0], [0.0, 1.5, 0.0, -4.0], [0.0, 0.0, -3.0, 6.0]];
    Grid::new("small", Geometry::new(SIZE, Affine(rows)), voxel_type, order).unwrap()
}

/// Two channels of numbers that all differ, and the same with a scaling for each plane.
fn small(scaled: bool) -> BufferReader<'static> {
    let (plane, planes) = (SIZE[0] * SIZE[1], 2 * SIZE[2]);
    let scaling = |at: usize| match scaled {
        // Runs of planes share one.
        true => Scaling { slope: [0.5, 0.25, 4.0][at / 2 % 3], intercept: (at / 2) as f64 },
        false => Scaling::NONE,
    };
    let value = |at: usize, s: Scaling| ((at as f64 - s.intercept) / s.slope) as f32;
    let voxels: Vec<u8> =
        (0..plane * planes).flat_map(|at| value(at, scaling(at / plane)).to_be_bytes()).collect();
    let grid = grid(VoxelType::F32, ByteOrder::Big).with_channels(2).unwrap();
    let reader = BufferReader::new(grid, voxels).unwrap();
    reader.scaled((0..planes).map(scaling).collect()).unwrap()
}

/// In every orientation: straight, and along either axis of the stored planes.
#[test]
fn every_voxel_has_the_scaling_of_its_plane_whatever_way_it_is_read() {
    let mut differ = 0;
    for model in ["RAS", "LAI", "LIA", "SAR", "ASL", "AIR", "RSP", "PRI", "IPR"] {
        let orientation: Orientation = model.parse().unwrap();
        let part = Region::Voxels([[1, 3], [0, 2], [1, 4]].map(|ends| ends.map(Some)));
        for region in [None, Some(part)] {
            let options = SourceOptions { orientation, region, ..SourceOptions::default() };
            let read = |reader| {
                let mut source = SliceSource::new(Box::new(reader), &options).unwrap();
                let first = source.read_all().unwrap();
                assert_eq!(source.read_all().unwrap(), first, "{model}: a further pass");
                first
            };
            let plain = read(small(false));
            assert_eq!(read(small(true)), plain, "{model}");
            differ += usize::from(plain != read(small_unscaled()));
        }
    }
    assert!(differ > 0, "scaling changes something");
}

/// The scaled volume read as if its values were stored plainly.
fn small_unscaled() -> BufferReader<'static> {
    small(true).scaled(vec![Scaling::NONE]).unwrap()
}

/// A reader of somebody else's that can be read but once, and goes wrong at a plane.
struct Once<'a> {
    inner: BufferReader<'a>,
    next: usize,
    breaks_at: Option<usize>,
}

impl PlaneReader for Once<'_> {
    fn grid(&self) -> &Grid {
        self.inner.grid()
    }

    fn read(&mut self, plane: &mut [u8]) -> Result<Scaling, VolumeError> {
        if self.breaks_at == Some(self.next) {
            let (path, slices) = ("cable".into(), self.grid().planes());
            return Err(VolumeError::Data {
                path,
                slice: self.next,
                slices,
                found: "is unplugged".into(),
            });
        }
        self.next += 1;
        self.inner.read(plane)
    }

    fn can_restart(&self) -> bool {
        false
    }

    fn restart(&mut self) -> Result<(), VolumeError> {
        panic!("it was said that this is impossible")
    }
}

#[test]
fn what_can_be_read_but_once_is_read_but_once() {
    let (grid, voxels, scaling) = loaded(&sample());
    let inner =
        || BufferReader::new(grid.clone(), &voxels[..]).unwrap().scaled(vec![scaling]).unwrap();
    let once = Once { inner: inner(), next: 0, breaks_at: None };
    assert_eq!(labels_of(once), labels_of(inner()));
}

#[test]
fn labels_that_are_not_finished_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (grid, voxels, _) = loaded(&sample());
    let mut labels = vec![7; grid.plane_voxels() * grid.planes()];
    let mut report = b"earlier".to_vec();
    let picture = folder.path().join("p.png");
    let inner = BufferReader::new(grid.clone(), voxels).unwrap();
    let mut job = Job::new(
        Once { inner, next: 0, breaks_at: Some(20) },
        LabelBuffer::new("labels", &grid, &mut labels).unwrap(),
    );
    job.stats = Some(Document::Buffer(&mut report));
    job.preview = Some(Document::File(picture.clone()));
    let mut model = Model::new(Package::embedded(), 1, Kernel::best());
    let error = pipeline::segment(&mut model, job, &Arc::default(), &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("cable: slice 20 of"), "{error}");
    assert!(labels.iter().all(|&label| label == 0));
    assert_eq!(report, b"earlier");
    assert!(!picture.exists());
}

#[test]
fn picture_and_report_come_into_buffers() {
    let (grid, voxels, scaling) = loaded(&sample());
    let mut labels = vec![0; grid.plane_voxels() * grid.planes()];
    let (mut picture, mut stats) = (Vec::new(), Vec::new());
    let mut job = Job::new(
        BufferReader::new(grid.clone(), voxels).unwrap().scaled(vec![scaling]).unwrap(),
        LabelBuffer::new("labels", &grid, &mut labels).unwrap(),
    );
    job.preview = Some(Document::Buffer(&mut picture));
    job.stats = Some(Document::Buffer(&mut stats));
    let mut model = Model::new(Package::embedded(), 1, Kernel::best());
    let report = pipeline::segment(&mut model, job, &Arc::default(), &mut |_, _| {}).unwrap();
    assert!(picture.starts_with(b"\x89PNG"), "a picture");
    assert_eq!(String::from_utf8(stats).unwrap(), json(&report));
}

/// The affine of a volume that no NIfTI file placed becomes an sform.
#[test]
fn labels_of_a_buffer_lie_where_the_buffer_lies() {
    let folder = tempfile::tempdir().unwrap();
    let (s, c) = 0.3f64.sin_cos();
    let rows = [[-c, s, 0.0, 9.0], [0.0, 0.0, 2.0, 8.0], [s, c, 0.0, 7.0]];
    for size in [[6, 5, 4], [2, 2, 40_000]] {
        let geometry = Geometry::new(size, Affine(rows));
        let grid = Grid::new("buffer", geometry, VoxelType::U8, ByteOrder::NATIVE).unwrap();
        let output = folder.path().join(format!("{}.nii.gz", size[2]));
        let voxels: Vec<u8> = (0..size.iter().product()).map(|at: usize| at as u8).collect();
        let reader = Box::new(BufferReader::new(grid.clone(), voxels.clone()).unwrap());
        let mut source = SliceSource::new(reader, &SourceOptions::default()).unwrap();
        let writer = NiftiLabels::create(&output, &grid, false, "").unwrap();
        let mut sink = LabelSink::new(Box::new(writer), &source, Some(folder.path())).unwrap();
        let mut slice = vec![0.0; source.slice_len()];
        while source.next_into(&mut slice).unwrap().is_some() {
            sink.push(&slice.iter().map(|v| *v as u8).collect::<Vec<_>>()).unwrap();
        }
        sink.finish(false).unwrap();
        let (written, labels, _) = loaded(&output);
        assert_eq!(labels, voxels);
        assert_eq!(written.size(), size);
        let [ours, theirs] = [&rows, &written.geometry().affine.0].map(|rows| rows.concat());
        assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-6), "{theirs:?}");
    }
}

#[test]
fn buffers_and_grids_that_do_not_fit_are_refused() {
    let grid = || grid(VoxelType::I16, ByteOrder::Little);
    let refused = |result: Result<BufferReader, VolumeError>| result.unwrap_err().to_string();
    let bytes = 2 * SIZE.iter().product::<usize>();
    let error = refused(BufferReader::new(grid(), vec![0; bytes - 1]));
    assert_eq!(error, "small: bytes of voxels is 119, expected 120, as the grid says");
    let whole = || BufferReader::new(grid(), vec![0; bytes]).unwrap();
    assert!(refused(whole().scaled(vec![Scaling::NONE; 2])).contains("expected 1 or 5"));
    let odd = Scaling { slope: f64::NAN, intercept: 0.0 };
    assert!(refused(whole().scaled(vec![odd])).contains("finite"));
    assert!(grid().with_channels(0).is_err() && grid().with_channels(65).is_err());
    let error = LabelBuffer::new("labels", &grid(), &mut [0; 59]).unwrap_err();
    assert!(matches!(error, OutputError::Buffer { found: 59, expected: 60, .. }), "{error}");
    let flat = Affine([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
    for (size, affine) in [
        ([0, 1, 1], grid().geometry().affine),
        ([1 << 14, 1, 1], grid().geometry().affine),
        ([1, 1, 1 << 21], grid().geometry().affine),
        ([4, 4, 4], flat),
    ] {
        let geometry = Geometry::new(size, affine);
        let error = Grid::new("odd", geometry, VoxelType::U8, ByteOrder::Little).unwrap_err();
        assert!(matches!(error, VolumeError::Grid { .. }), "{error}");
    }
}

/// A sink never gives a writer more planes than the grid has.
#[test]
fn labels_of_a_slice_too_many_are_told_and_not_written() {
    let mut labels = [0; 60];
    let grid = grid(VoxelType::U8, ByteOrder::Little);
    let reader = BufferReader::new(grid.clone(), vec![0; 60]).unwrap();
    let source = SliceSource::new(Box::new(reader), &SourceOptions::default()).unwrap();
    let writer: Box<dyn LabelWriter> =
        Box::new(LabelBuffer::new("labels", &grid, &mut labels).unwrap());
    let mut sink = LabelSink::new(writer, &source, None).unwrap();
    (0..6).for_each(|_| sink.push(&[1; 12]).unwrap());
    let error = sink.finish(false).unwrap_err();
    assert!(matches!(error, OutputError::Incomplete { pushed: 6, slices: 5, .. }), "{error}");
    assert_eq!(labels, [0; 60]);
}
