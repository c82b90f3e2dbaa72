//! A package as a plan, for devices that have no ONNX reader.

use monet_core::{Kernel, encode};

use super::{EngineChoice, graph, import, needs};
use crate::engine::EngineError;
use crate::engine::quantized::QuantizedEngine;
use crate::package::{Net, Package};

/// The package with its net as a plan, where the int8 engine takes the whole net; a package whose
/// net is a plan comes back as it is.
///
/// [`plan_file::seal`](crate::package::plan_file::seal) makes a file of the result.
///
/// # Errors
/// [`EngineError::NotWhole`] for other nets; [`EngineError`] for files that cannot be used at all.
pub fn to_plan(package: &Package) -> Result<Package, EngineError> {
    if let Net::Plan(_) | Net::Image(_) = package.net {
        return Ok(package.clone());
    }
    let not_whole = |reason| EngineError::NotWhole { origin: package.origin.clone(), reason };
    let size = package.manifest.input.size();
    let Some(graph) = graph(package)? else {
        // A file that nothing can run is refused as such.
        needs(package, size, EngineChoice::Tract)?;
        return Err(not_whole(reason(package)?));
    };
    let net = encode(&graph).map_err(|e| not_whole(e.to_string()))?;
    let made = Package { net: Net::Plan(net.into()), ..package.clone() };
    // The bytes that are handed out can be read and planned.
    QuantizedEngine::new(&made, size, Kernel::Scalar)?;
    Ok(made)
}

/// Why the int8 engine does not take the whole net.
fn reason(package: &Package) -> Result<String, EngineError> {
    let nodes = import(package)?.unfused;
    let mut nodes = nodes.iter().map(ToString::to_string);
    let first = nodes.next().unwrap_or_else(|| "its output is not the manifest's".into());
    Ok(match nodes.count() {
        0 => first,
        more => format!("{first}, and {more} more nodes"),
    })
}
