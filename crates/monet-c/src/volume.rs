//! Volumes through a session: in memory and in files.

use std::ffi::{c_char, c_int, c_void};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use monet::pipeline::{self, FileJob, Job};
use monet::volume::{Affine, BufferReader, ByteOrder, Geometry, Grid, LabelBuffer, VoxelType};

use crate::failure::{self, Failure};
use crate::session::{SESSIONS, Session};
use crate::status::Status;

/// The type of a voxel, in the byte order of the machine.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say all")]
pub enum Type {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    U64 = 6,
    I64 = 7,
    F32 = 8,
    F64 = 9,
}

/// A volume in memory.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Volume {
    /// Voxels, the first axis fastest, then the second, the third, and the channels; any alignment.
    /// They are read until the function returns.
    pub voxels: *const c_void,
    /// Bytes of the voxels.
    pub bytes: usize,
    /// Their type: one of monet_type.
    pub voxel_type: i32,
    /// Voxels along each axis.
    pub size: [usize; 3],
    /// Channels; 1 for most.
    pub channels: usize,
    /// The rows of the affine, which takes indices to millimetres to the right, anterior and
    /// superior: as sform in NIfTI.
    pub affine: [[f64; 4]; 3],
}

/// Is told after each slice how many of how many are done, on the thread that called. What is not 0
/// ends the segmentation, with MONET_STATUS_CANCELLED. No exception may leave it.
pub type Progress =
    Option<unsafe extern "C" fn(user: *mut c_void, done: usize, slices: usize) -> c_int>;

/// How a volume is segmented. Zeros are the usual.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Not 0: segments a volume that the package was not made for.
    pub accept_any: c_int,
    /// Not 0: replaces files that exist.
    pub overwrite: c_int,
    /// Is told of progress; may be NULL.
    pub progress: Progress,
    /// Is given to the progress function.
    pub user: *mut c_void,
    /// Of files: where the preview goes, a PNG; NULL for none.
    pub preview: *const c_char,
    /// Of files: where the report goes, as JSON; NULL for nowhere.
    pub stats: *const c_char,
}

/// Where the caller gives none.
const USUAL: Options = Options {
    accept_any: 0,
    overwrite: 0,
    progress: None,
    user: std::ptr::null_mut(),
    preview: std::ptr::null(),
    stats: std::ptr::null(),
};

/// Segments a volume in memory into labels in memory: a byte a voxel, in the volume's order of
/// axes. Where segmenting fails, the labels are zeros; where an argument is refused, they are not
/// touched.
///
/// - `labels_len`: bytes that `labels` has room for, size[0] * size[1] * size[2].
/// - `options`: may be NULL.
/// - `detail`: gets why it failed, cut to `detail_len` bytes with the zero; may be NULL.
///
/// # Safety
/// `volume` is NULL or says what `voxels` points to, which nobody writes meanwhile; `labels` is
/// NULL or has room for `labels_len` bytes, which nobody else reads or writes meanwhile; `options`
/// is NULL or filled; `detail` is NULL or has room for `detail_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn monet_segment(
    session: *mut Session,
    volume: *const Volume,
    labels: *mut u8,
    labels_len: usize,
    options: *const Options,
    detail: *mut c_char,
    detail_len: usize,
) -> Status {
    let work = || {
        let session = SESSIONS.get(session)?;
        let mut state = session.state()?;
        // SAFETY: NULL or filled.
        let volume = unsafe { volume.as_ref() };
        let volume = volume.ok_or_else(|| Failure::null("volume", "a volume"))?;
        // SAFETY: NULL or filled.
        let options = unsafe { options.as_ref() }.unwrap_or(&USUAL);
        let grid = volume.grid()?;
        check(volume, &grid, labels, labels_len)?;
        // SAFETY: not NULL, of so many bytes, and nobody writes to them meanwhile.
        let voxels = unsafe { slice::from_raw_parts(volume.voxels.cast::<u8>(), volume.bytes) };
        // SAFETY: not NULL, of so many bytes, apart from the voxels, and nobody else reads or
        // writes them meanwhile.
        let labels = unsafe { slice::from_raw_parts_mut(labels, labels_len) };
        let labels = LabelBuffer::new("labels", &grid, labels);
        let labels = labels.map_err(|error| Failure::of(Status::Output, &error))?;
        let reader = BufferReader::new(grid, voxels);
        let reader = reader.map_err(|error| Failure::of(Status::Volume, &error))?;
        let mut job = Job::new(reader, labels);
        job.accept_any = options.accept_any != 0;
        let ends = Arc::default();
        let mut progress = progress(options, &ends);
        let report = pipeline::segment(&mut state.ready, job, &ends, &mut progress)?;
        state.keep(&report);
        Ok(())
    };
    // SAFETY: the caller's buffer has so much room.
    unsafe { failure::told(detail, detail_len, work) }
}

/// Segments a NIfTI file into a NIfTI file, as the command does: outputs appear complete and
/// together, or not at all, and memory does not depend on the number of slices.
///
/// - `options`: may be NULL.
/// - `detail`: gets why it failed, cut to `detail_len` bytes with the zero; may be NULL.
///
/// # Safety
/// `input` and `output` are NULL or end in a zero byte; `options` is NULL or filled, its texts NULL
/// or ending in a zero byte; `detail` is NULL or has room for `detail_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn monet_segment_file(
    session: *mut Session,
    input: *const c_char,
    output: *const c_char,
    options: *const Options,
    detail: *mut c_char,
    detail_len: usize,
) -> Status {
    let work = || {
        let session = SESSIONS.get(session)?;
        let mut state = session.state()?;
        // SAFETY: NULL or filled.
        let options = unsafe { options.as_ref() }.unwrap_or(&USUAL);
        // SAFETY: each is NULL, or ends in a zero byte.
        let [input, output, preview, stats] = [input, output, options.preview, options.stats]
            .map(|path| unsafe { failure::path(path) });
        let job = FileJob {
            input: input.ok_or_else(|| Failure::null("input", "a path"))?,
            output: output.ok_or_else(|| Failure::null("output", "a path"))?,
            measure: stats.is_some(),
            preview,
            stats,
            overwrite: options.overwrite != 0,
            accept_any: options.accept_any != 0,
            ..FileJob::default()
        };
        let ends = Arc::default();
        let mut progress = progress(options, &ends);
        let report = pipeline::segment_file(&mut state.ready, &job, &ends, &mut progress)?;
        state.keep(&report);
        Ok(())
    };
    // SAFETY: the caller's buffer has so much room.
    unsafe { failure::told(detail, detail_len, work) }
}

impl Volume {
    fn grid(&self) -> Result<Grid, Failure> {
        let geometry = Geometry::new(self.size, Affine(self.affine));
        Grid::new("volume", geometry, voxel_type(self.voxel_type)?, ByteOrder::NATIVE)
            .and_then(|grid| grid.with_channels(self.channels))
            .map_err(|error| Failure::of(Status::Volume, &error))
    }
}

/// Refuses buffers that cannot be those of a grid.
fn check(volume: &Volume, grid: &Grid, labels: *mut u8, labels_len: usize) -> Result<(), Failure> {
    if volume.voxels.is_null() {
        return Err(Failure::null("voxels", "the volume's voxels"));
    }
    if labels.is_null() {
        return Err(Failure::null("labels", "room for a byte a voxel"));
    }
    let bytes = grid.planes() * grid.plane_bytes();
    let voxels = grid.size()[2] * grid.plane_voxels();
    if (volume.bytes, labels_len) != (bytes, voxels) {
        let text = format!(
            "{} bytes of voxels and {labels_len} of labels: expected {bytes} and {voxels}",
            volume.bytes
        );
        return Err(Failure::new(Status::Buffer, text));
    }
    let (from, to) = (volume.voxels.addr(), labels.addr());
    if from < to + voxels && to < from + bytes {
        return Err(Failure::new(Status::Buffer, "the labels lie where the voxels are"));
    }
    Ok(())
}

/// Tells the caller's function; `ends` becomes true when that asks for an end.
fn progress(options: &Options, ends: &Arc<AtomicBool>) -> impl FnMut(usize, usize) {
    let (call, user, ends) = (options.progress, options.user, ends.clone());
    move |done, slices| {
        // SAFETY: the caller's function, and what it is to be given.
        if call.is_some_and(|call| unsafe { call(user, done, slices) } != 0) {
            ends.store(true, Ordering::Relaxed);
        }
    }
}

fn voxel_type(number: i32) -> Result<VoxelType, Failure> {
    const ALL: [(Type, VoxelType); 10] = [
        (Type::U8, VoxelType::U8),
        (Type::I8, VoxelType::I8),
        (Type::U16, VoxelType::U16),
        (Type::I16, VoxelType::I16),
        (Type::U32, VoxelType::U32),
        (Type::I32, VoxelType::I32),
        (Type::U64, VoxelType::U64),
        (Type::I64, VoxelType::I64),
        (Type::F32, VoxelType::F32),
        (Type::F64, VoxelType::F64),
    ];
    let found = ALL.iter().find(|(given, _)| *given as i32 == number);
    found.map(|(_, found)| *found).ok_or_else(|| {
        let text = format!("voxel_type is {number}, expected one of monet_type, 0 to 9");
        Failure::new(Status::Argument, text)
    })
}
