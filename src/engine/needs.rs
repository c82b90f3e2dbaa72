//! What tract may take of memory and time for a net, for whoever lets it run in a process of its
//! own first.

use super::{Choice, EngineError, guard, quantized, reading};
use crate::package::{Net, Package};

/// Bytes of memory that a process takes before its net, and of what a net takes, for each byte of
/// its file and each element that is needed at a time: tensors in single precision, and three
/// copies of one in other orders.
const MEMORY: [u64; 3] = [512 << 20, 8, 16];

/// Seconds that any net may take, and bytes of a file and operations that a slow core does in one.
/// Boards, and emulated ones the more, take their time to load the least net.
const TIME: [u64; 3] = if cfg!(target_arch = "x86_64") {
    [4, 5 << 20, 500_000_000]
} else {
    [20, 1 << 20, 100_000_000]
};

/// Bounds that a net which is what it says it is does not reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Bytes of address space of the process.
    pub memory_bytes: u64,
    /// Seconds of one core, to load the net and run it on one slice.
    pub seconds: u64,
}

/// What tract needs to load a package's net and to run it on one slice of this height and width;
/// `None` where tract has no part in that.
///
/// # Errors
/// [`EngineError::Refused`]
pub fn needs(
    package: &Package,
    size: [usize; 2],
    choice: Choice,
) -> Result<Option<Needs>, EngineError> {
    let Net::Onnx(onnx) = &package.net else { return Ok(None) };
    if choice != Choice::Tract && quantized::graph(package)?.is_some() {
        return Ok(None);
    }
    let refused = |source| EngineError::Refused { origin: package.origin.clone(), source };
    let model = reading::read(onnx).map_err(refused)?;
    let [height, width] = size;
    let need = guard::fits(&model, [1, package.manifest.input.planes(), height, width])
        .map_err(refused)?;
    let length = onnx.len() as u64;
    let [process, byte, element] = MEMORY;
    let [least, bytes, operations] = TIME;
    Ok(Some(Needs {
        memory_bytes: process + byte * length + element * need.elements,
        seconds: least + length / bytes + need.work / operations,
    }))
}
