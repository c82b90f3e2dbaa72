//! Plans: proved once, then run with the caller's memory.
//!
//! An open net holds the plan behind a mark, so that one that was never opened is told apart.

use core::ffi::{c_char, c_void};
use core::mem::MaybeUninit;
use core::slice;

use monet_core::{Image, Plan};

use super::status::Status;

/// `MONET_ABI` of the header.
const ABI: u32 = 1;
/// `MONET_MAX_PLANES` of the header.
const MAX_PLANES: usize = 16;

/// What an open net begins with.
const OPEN: usize = 0x6d6f_6e65;

/// `monet_net` of the header: as long as its five pointers, or shorter.
#[repr(C)]
pub struct Net {
    mark: usize,
    /// There where the mark is [`OPEN`]. It borrows the caller's image.
    plan: MaybeUninit<Plan<'static>>,
}

const _: () = assert!(size_of::<Net>() <= 5 * size_of::<*const u8>());
const _: () = assert!(align_of::<Net>() <= align_of::<*const u8>());

/// `monet_shape` of the header.
#[repr(C)]
#[expect(missing_docs, reason = "the header documents them")]
pub struct Shape {
    pub planes: usize,
    pub height: usize,
    pub width: usize,
    pub classes: usize,
    pub out_height: usize,
    pub out_width: usize,
    pub arena: usize,
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn monet_abi() -> u32 {
    ABI
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn monet_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// See the header.
///
/// # Safety
/// `net` is NULL or can be written; `image` is NULL or so many bytes that nobody changes for as
/// long as the net is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn monet_net_open_abi(
    abi: u32,
    net: *mut Net,
    image: *const c_void,
    len: usize,
) -> Status {
    if abi != ABI {
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
    // SAFETY: the caller's net can be written.
    unsafe { net.write(Net { mark: OPEN, plan: MaybeUninit::new(plan) }) };
    Status::Ok
}

/// The plan of an open net.
///
/// # Safety
/// `net` is NULL, all 0, or was opened, and its image is unchanged.
unsafe fn plan<'a>(net: *const Net) -> Result<&'a Plan<'static>, Status> {
    // SAFETY: the caller's net can be read, if there is one.
    match unsafe { net.as_ref() } {
        // SAFETY: the mark is written together with the plan alone.
        Some(net) if net.mark == OPEN => Ok(unsafe { net.plan.assume_init_ref() }),
        _ => Err(Status::Null),
    }
}

/// See the header.
///
/// # Safety
/// `net` as for [`plan`]; `shape` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn monet_net_shape(net: *const Net, shape: *mut Shape) -> Status {
    if shape.is_null() {
        return Status::Null;
    }
    // SAFETY: the caller's.
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
}

/// See the header.
///
/// # Safety
/// `net` as for [`plan`]; the other pointers are NULL, or to as many elements as is said, and the
/// planes to as many values as a plane of the net has. Buffers do not overlap.
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
    // SAFETY: the caller's.
    unsafe { with(net, (arena.cast(), arena_len), (planes, planes_len), run) }
}

/// See the header.
///
/// # Safety
/// As for [`monet_net_run`].
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
    // SAFETY: the caller's.
    unsafe { with(net, (arena.cast(), arena_len), (planes, planes_len), run) }
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
    // SAFETY: the caller's.
    let plan = match unsafe { plan(net) } {
        Ok(plan) => plan,
        Err(status) => return status,
    };
    if arena.is_null() || planes.is_null() {
        return Status::Null;
    }
    let mut input: [&[f32]; MAX_PLANES] = [&[]; MAX_PLANES];
    let Some(input) = input.get_mut(..planes_len) else { return Status::Buffer };
    let area = plan.size().area();
    for (i, slot) in input.iter_mut().enumerate() {
        // SAFETY: there are so many pointers.
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
