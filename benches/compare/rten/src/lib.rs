//! rten behind a C interface, for `worker.py`: a net from an ONNX file, on a pool of threads of its
//! own.

use std::error::Error;
use std::ffi::{CStr, c_char};
use std::path::Path;
use std::sync::Arc;

use rten::{Model, RunOptions, ThreadPool};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, NdTensorView};

/// A loaded net and the threads that run it.
pub struct Net {
    model: Model,
    threads: Arc<ThreadPool>,
}

impl Net {
    fn open(path: &Path, threads: usize) -> Result<Self, Box<dyn Error>> {
        let threads = Arc::new(ThreadPool::with_num_threads(threads));
        Ok(Self { model: Model::load_file(path)?, threads })
    }

    fn run(
        &self,
        shape: [usize; 4],
        input: &[f32],
        output: &mut [f32],
    ) -> Result<(), Box<dyn Error>> {
        let input = NdTensorView::from_data(shape, input);
        let options = RunOptions::default().with_thread_pool(Some(self.threads.clone()));
        let found: NdTensor<f32, 4> =
            self.model.run_one(input.into(), Some(options))?.try_into()?;
        if found.len() != output.len() {
            let (found, expected) = (found.len(), output.len());
            return Err(format!("the net gives {found} values, expected {expected}").into());
        }
        output.copy_from_slice(&found.to_vec());
        Ok(())
    }
}

/// What a result holds, or none with the error on standard error.
fn told<T>(result: Result<T, Box<dyn Error>>) -> Option<T> {
    result.inspect_err(|error| eprintln!("rten: {error}")).ok()
}

/// Loads the net of an ONNX file, to run on `threads` threads; null where that fails.
///
/// # Safety
///
/// `path` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn beside_open(path: *const c_char, threads: usize) -> *mut Net {
    // SAFETY: the caller gives a C string.
    let path = unsafe { CStr::from_ptr(path) }.to_string_lossy();
    let net = told(Net::open(Path::new(&*path), threads));
    net.map_or(std::ptr::null_mut(), |net| Box::into_raw(Box::new(net)))
}

/// Runs one input of `shape` (1, planes, height, width) and writes `length` values; false where
/// that fails.
///
/// # Safety
///
/// `net` is of [`beside_open`], `shape` has four numbers, `input` as many values as they multiply
/// to, and `output` has room for `length`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn beside_run(
    net: *const Net,
    shape: *const [usize; 4],
    input: *const f32,
    output: *mut f32,
    length: usize,
) -> bool {
    // SAFETY: the caller vouches for the three pointers and their lengths.
    let (net, shape, input, output) = unsafe {
        let values = (*shape).iter().product();
        let input = std::slice::from_raw_parts(input, values);
        (&*net, *shape, input, std::slice::from_raw_parts_mut(output, length))
    };
    told(net.run(shape, input, output)).is_some()
}
