//! Plans: proved once, then run with the caller's memory.
//!
//! An open net holds the plan behind a mark, so that one that was never opened is told apart.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::slice;

use monet_core::{Image, Plan};

use crate::contained;
use crate::status::{MONET_ABI, Status};

/// Images, and what holds them, begin at a multiple of this.
pub const MONET_ALIGN: usize = 64;

/// Most planes of an input.
pub const MONET_MAX_PLANES: usize = 16;

/// A net that is open. Its members are the library's. The caller owns its memory and that of the
/// image; nothing is to be closed. It never changes, and threads and interrupts may share it.
#[repr(C)]
pub struct Net {
    #[expect(missing_docs, reason = "the library's own")]
    pub private_: [*mut c_void; 5],
}

/// What is in a [`Net`].
#[repr(C)]
struct Open {
    mark: usize,
    /// There where the mark is [`OPEN`]. It borrows the caller's image.
    plan: MaybeUninit<Plan<'static>>,
}

/// What an open net begins with.
const OPEN: usize = 0x6d6f_6e65;

const _: () = assert!(size_of::<Open>() <= size_of::<Net>());
const _: () = assert!(align_of::<Open>() <= align_of::<Net>());

/// Sizes of a net.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Of the input: one a channel.
    pub planes: usize,
    /// Rows of a plane.
    pub height: usize,
    /// Values of a row.
    pub width: usize,
    /// Of the probabilities.
    pub classes: usize,
    /// Rows of the labels.
    pub out_height: usize,
    /// Labels of a row.
    pub out_width: usize,
    /// Bytes of working memory.
    pub arena: usize,
}

/// Proves an image.
///
/// - `abi`: MONET_ABI.
/// - `net`: gets the open net.
/// - `image`: `len` bytes at a multiple of MONET_ALIGN, as `monet compile --for` makes them. They
///   are read where they lie, for example in flash memory.
///
/// # Safety
/// `net` is NULL or may be written; `image` is NULL or so many bytes that nobody changes for as
/// long as the net is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn monet_net_open(
    abi: u32,
    net: *mut Net,
    image: *const c_void,
    len: usize,
) -> Status {
    contained(|| {
        if abi != MONET_ABI {
            return Status::AbiMismatch;
        }
        if net.is_null() || image.is_null() {
            return Status::Null;
        }
        // SAFETY: the caller gives so many bytes, which stay.
        let bytes = unsafe { slice::from_raw_parts(image.cast::<u8>(), len) };
        let plan = match Image::parse(bytes).map(Plan::try_from) {
            Ok(Ok(plan)) => plan,
            Ok(Err(_)) => return Status::KernelLacking,
            Err(error) => return error.into(),
        };
        let open = Open { mark: OPEN, plan: MaybeUninit::new(plan) };
        // SAFETY: the caller's net can be written, and an open one fits into it.
        unsafe { net.cast::<Open>().write(open) };
        Status::Ok
    })
}

/// The plan of an open net.
///
/// # Safety
/// `net` is NULL, all 0, or was opened, and its image is unchanged.
unsafe fn plan<'a>(net: *const Net) -> Result<&'a Plan<'static>, Status> {
    // SAFETY: the caller's net can be read, if there is one, and is as long as an open one.
    match unsafe { net.cast::<Open>().as_ref() } {
        // SAFETY: the mark is written together with the plan alone.
        Some(net) if net.mark == OPEN => Ok(unsafe { net.plan.assume_init_ref() }),
        _ => Err(Status::Null),
    }
}

/// The sizes of an open net.
///
/// # Safety
/// `net` is NULL, all 0, or was opened, and its image is unchanged; `shape` is NULL or may be
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn monet_net_shape(net: *const Net, shape: *mut Shape) -> Status {
    contained(|| {
        if shape.is_null() {
            return Status::Null;
        }
        // SAFETY: the caller's net is NULL, all 0, or was opened.
        let plan = match unsafe { plan(net) } {
            Ok(plan) => plan,
            Err(status) => return status,
        };
        let (size, out) = (plan.size(), plan.output_size());
        let sizes = Shape {
            planes: plan.channels(),
            height: size.height,
            width: size.width,
            classes: plan.classes(),
            out_height: out.height,
            out_width: out.width,
            arena: plan.arena_len(),
        };
        // SAFETY: the caller's shape can be written.
        unsafe { shape.write(sizes) };
        Status::Ok
    })
}

/// Labels of one slice. The library writes to `arena` and `labels` alone; two runs at a time take
/// two arenas.
///
/// - `arena`: working memory, any content, any alignment; one of 16 is faster.
/// - `planes`: the input: pointers to as many planes as the shape says, each height * width values,
///   row by row.
/// - `labels`: out_height * out_width.
///
/// # Safety
/// `net` is NULL, all 0, or was opened, and its image is unchanged; the other pointers are NULL, or
/// to as many elements as is said, and the planes to as many values as a plane of the net has.
/// Buffers do not overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn monet_net_run(
    net: *const Net,
    arena: *mut c_void,
    arena_len: usize,
    planes: *const *const f32,
    planes_len: usize,
    labels: *mut u8,
    labels_len: usize,
) -> Status {
    let run = |plan: &Plan, arena: &mut [u8], input: &[&[f32]]| {
        if labels.is_null() {
            return Status::Null;
        }
        // SAFETY: the caller's labels.
        let labels = unsafe { slice::from_raw_parts_mut(labels, labels_len) };
        plan.run(arena, input, labels).into()
    };
    // SAFETY: net, arena and planes are as the caller promises.
    contained(|| unsafe { with(net, (arena.cast(), arena_len), (planes, planes_len), run) })
}

/// Probabilities of one slice, classes * out_height * out_width, plane by plane; else as
/// monet_net_run.
///
/// # Safety
/// As for monet_net_run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn monet_net_run_probabilities(
    net: *const Net,
    arena: *mut c_void,
    arena_len: usize,
    planes: *const *const f32,
    planes_len: usize,
    probabilities: *mut f32,
    probabilities_len: usize,
) -> Status {
    let run = |plan: &Plan, arena: &mut [u8], input: &[&[f32]]| {
        if probabilities.is_null() {
            return Status::Null;
        }
        if !probabilities.is_aligned() {
            return Status::Unaligned;
        }
        // SAFETY: the caller's probabilities, which are aligned.
        let out = unsafe { slice::from_raw_parts_mut(probabilities, probabilities_len) };
        plan.run_probabilities(arena, input, out).into()
    };
    // SAFETY: net, arena and planes are as the caller promises.
    contained(|| unsafe { with(net, (arena.cast(), arena_len), (planes, planes_len), run) })
}

/// Hands the plan, the arena and the input to a function, as slices.
///
/// # Safety
/// As for [`monet_net_run`].
unsafe fn with(
    net: *const Net,
    (arena, arena_len): (*mut u8, usize),
    (planes, planes_len): (*const *const f32, usize),
    run: impl FnOnce(&Plan, &mut [u8], &[&[f32]]) -> Status,
) -> Status {
    // SAFETY: the caller's net is NULL, all 0, or was opened.
    let plan = match unsafe { plan(net) } {
        Ok(plan) => plan,
        Err(status) => return status,
    };
    if arena.is_null() || planes.is_null() {
        return Status::Null;
    }
    if !planes.is_aligned() {
        return Status::Unaligned;
    }
    let mut input: [&[f32]; MONET_MAX_PLANES] = [&[]; MONET_MAX_PLANES];
    let Some(input) = input.get_mut(..planes_len) else { return Status::Buffer };
    let area = plan.size().area();
    for (i, slot) in input.iter_mut().enumerate() {
        // SAFETY: there are so many pointers, which are aligned.
        let plane = unsafe { planes.add(i).read() };
        if plane.is_null() {
            return Status::Null;
        }
        if !plane.is_aligned() {
            return Status::Unaligned;
        }
        // SAFETY: the caller's plane has so many values, and is aligned.
        *slot = unsafe { slice::from_raw_parts(plane, area) };
    }
    // SAFETY: the caller's arena.
    run(plan, unsafe { slice::from_raw_parts_mut(arena, arena_len) }, input)
}
