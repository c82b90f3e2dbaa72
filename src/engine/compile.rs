//! A package as one plan file, for devices that have no ONNX reader.

use super::int8::{self, Kernel};
use super::{Choice, EngineError, QuantizedEngine, needs, quantized};
use crate::package::{Net, Package, plan_file};

/// The [plan file](plan) of a package whose net the int8 engine takes as a whole.
///
/// # Errors
/// [`EngineError::NotWhole`] for other nets; [`EngineError`] for files that cannot be used at all.
pub fn compile(package: &Package) -> Result<Vec<u8>, EngineError> {
    let not_whole = |reason| EngineError::NotWhole { origin: package.origin.clone(), reason };
    let Some(graph) = quantized::graph(package)? else {
        // What nothing could run is said first.
        let input = &package.manifest.input;
        needs(package, [input.height, input.width], Choice::Tract)?;
        let mut nodes =
            QuantizedEngine::import(package)?.unfused.into_iter().map(|node| node.to_string());
        let first = nodes.next().unwrap_or_else(|| "its output is not the manifest's".into());
        let more = nodes.count();
        let reason = if more == 0 { first } else { format!("{first}, and {more} more nodes") };
        return Err(not_whole(reason));
    };
    let net = int8::encode(&graph).map_err(|e| not_whole(e.to_string()))?;
    let file = plan_file::seal(&package.manifest, &net);
    // What is handed out has been planned from the very bytes.
    let made = Package { net: Net::Plan(net.into()), ..package.clone() };
    let input = &made.manifest.input;
    QuantizedEngine::new(&made, [input.height, input.width], Kernel::Scalar)?;
    Ok(file)
}
