//! Packages.

use std::ffi::{CString, c_char};
use std::ptr;

use monet::package::{Net, Package};

use crate::failure::{self, Failure};
use crate::handles::Handles;
use crate::panics;
use crate::status::{MONET_ABI, Status};

/// A package: a net, and what its labels mean. It never changes, and threads may share it. The
/// pointer is a number that is never used again, so that the library tells one that was freed.
pub struct Model {
    pub(crate) package: Package,
    /// Names of the labels, each with its zero byte.
    names: Vec<CString>,
}

/// All that are not freed.
pub(crate) static MODELS: Handles<Model> = Handles::new("model");

impl Model {
    fn new(package: Package) -> Self {
        let labels = package.manifest.labels.iter();
        // A name has no zero byte in it but that of a damaged manifest.
        let names = labels.map(|label| CString::new(label.name.replace('\0', " ")));
        let names = names.map(Result::unwrap_or_default).collect();
        Self { package, names }
    }
}

/// Opens a package.
///
/// - `abi`: MONET_ABI.
/// - `path`: a plan, as `monet compile` makes it; NULL for the package in the library, hippocampus
///   in T1 MRI.
/// - `model`: gets the package, or NULL. Free it with monet_model_free.
/// - `detail`: gets why it failed, cut to `detail_len` bytes with the zero; may be NULL.
///
/// # Safety
/// `path` is NULL or ends in a zero byte, `model` is NULL or may be written, `detail` is NULL or
/// has room for `detail_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn monet_model_open(
    abi: u32,
    path: *const c_char,
    model: *mut *mut Model,
    detail: *mut c_char,
    detail_len: usize,
) -> Status {
    let work = || {
        if model.is_null() {
            return Err(Failure::null("model", "where the package goes"));
        }
        // SAFETY: not NULL, so that it may be written.
        unsafe { model.write(ptr::null_mut()) };
        if abi != MONET_ABI {
            let text = format!(
                "the header has version {abi}, the library {MONET_ABI}: compile the program again"
            );
            return Err(Failure::new(Status::AbiMismatch, text));
        }
        // SAFETY: NULL, or it ends in a zero byte.
        let package = match unsafe { failure::path(path) } {
            Some(path) => Package::load(&path).map_err(|e| Failure::of(Status::Model, &e))?,
            None => Package::embedded(),
        };
        if let Net::Onnx(_) = package.net {
            let text = "the library runs plans alone: make one of the package by monet compile";
            return Err(Failure::new(Status::Model, text));
        }
        // SAFETY: not NULL, so that it may be written.
        unsafe { model.write(MODELS.add(Model::new(package))) };
        Ok(())
    };
    // SAFETY: the caller's buffer has so much room.
    unsafe { failure::told(detail, detail_len, work) }
}

/// Frees a package; NULL is nothing. Sessions that were made of it work on.
///
/// Returns MONET_STATUS_HANDLE for one that was freed before.
#[unsafe(no_mangle)]
pub extern "C" fn monet_model_free(model: *mut Model) -> Status {
    crate::contained(|| MODELS.free(model))
}

/// How many labels a package has; 0 of one that is NULL or freed.
#[unsafe(no_mangle)]
pub extern "C" fn monet_model_labels(model: *const Model) -> usize {
    let count = || MODELS.get(model).map_or(0, |model| model.names.len());
    panics::caught(count).unwrap_or_default()
}

/// The name of a label, counted from 0; NULL where there is none. The text stays until the package
/// is freed. `value` gets the label's value in volumes; it may be NULL.
///
/// # Safety
/// `value` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn monet_model_label(
    model: *const Model,
    index: usize,
    value: *mut u8,
) -> *const c_char {
    let name = || {
        let model = MODELS.get(model).ok()?;
        let name = model.names.get(index)?;
        if !value.is_null() {
            // SAFETY: not NULL, so that it may be written.
            unsafe { value.write(model.package.manifest.labels[index].value) };
        }
        Some(name.as_ptr())
    };
    panics::caught(name).ok().flatten().unwrap_or(ptr::null())
}
