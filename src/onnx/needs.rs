//! Memory and time that tract may take for a net, for a caller that first runs the net in a process
//! of its own.

use super::{EngineChoice, graph, guard, reading, refused};
use crate::Size;
use crate::engine::EngineError;
use crate::package::{Net, Package};

/// Bytes of memory: of a process before its net; for each byte of the net's file; for each element
/// that is needed at a time. An element is in single precision and may have three copies in other
/// orders.
const MEMORY: [u64; 3] = [512 << 20, 8, 16];

/// Seconds that any net may take, and the bytes of a file and the operations that a slow core does
/// in one second. Boards need long to load even a small net, and emulated boards longer.
const TIME: [u64; 3] = if cfg!(target_arch = "x86_64") {
    [4, 5 << 20, 500_000_000]
} else {
    [20, 1 << 20, 100_000_000]
};

/// Bounds that an honest net does not reach.
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
    size: Size,
    choice: EngineChoice,
) -> Result<Option<Needs>, EngineError> {
    let Net::Onnx(onnx) = &package.net else { return Ok(None) };
    if choice != EngineChoice::Tract && graph(package)?.is_some() {
        return Ok(None);
    }
    let refused = refused(&package.origin);
    let model = reading::read(onnx).map_err(&refused)?;
    let Size { height, width } = size;
    let input = [1, package.manifest.input.planes(), height, width];
    let need = guard::fits(&model, input).map_err(&refused)?;
    let length = onnx.len() as u64;
    let [process, byte, element] = MEMORY;
    let [least, bytes, operations] = TIME;
    Ok(Some(Needs {
        memory_bytes: process + byte * length + element * need.elements,
        seconds: least + length / bytes + need.work / operations,
    }))
}
