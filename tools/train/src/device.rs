//! The device that tensors live on: a CUDA GPU where libtorch has one, else the CPU.
//!
//! Whatever is random is drawn on the CPU and sent, so that a seed means the same on every device.

use anyhow::{Result, bail, ensure};
use tch::{Cuda, Device, Tensor};

/// Chooses a device; `None` takes a GPU when there is one.
///
/// # Errors
/// Where the name is unknown or asks for a GPU that libtorch does not see.
pub fn choose(name: Option<&str>) -> Result<Device> {
    load_cuda();
    let number = match name {
        None => return Ok(Device::cuda_if_available()),
        Some("cpu") => return Ok(Device::Cpu),
        Some("cuda") => 0,
        Some(name) => match name.strip_prefix("cuda:").and_then(|n| n.parse::<usize>().ok()) {
            Some(number) => number,
            None => bail!("--device {name}: expected cpu, cuda or cuda:N"),
        },
    };
    let count = Cuda::device_count();
    ensure!(
        (number as i64) < count,
        "--device cuda:{number}: libtorch sees {count} GPU(s); is a CUDA libtorch on \
         LD_LIBRARY_PATH?"
    );
    Ok(Device::Cuda(number))
}

/// The tensor on a device, without waiting for what the device still has to do.
pub fn send(tensor: &Tensor, device: Device) -> Tensor {
    tensor.to_dtype_layout((tensor.kind(), device), true, false)
}

/// Loads libtorch's CUDA half, where there is one. A program linked against a CPU libtorch does not
/// name it, and it must be there before the first question about CUDA.
fn load_cuda() {
    // SAFETY: the name is a C string; loading runs only libtorch's own initialisers, before any
    // other thread exists.
    unsafe {
        libc::dlopen(c"libtorch_cuda.so".as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL);
    }
}
