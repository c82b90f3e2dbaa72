//! A package as an image: planned beforehand, for one slice size and one kernel.

use monet_core::{Image, Kernel, Schedule, Size};
use sha2::{Digest, Sha256};

use super::EngineError;
use super::quantized::graph_of;
use crate::package::Package;

/// Plans a package whose net is a plan file's, in this order of rows. The image holds the manifest,
/// its recipe for boards and a SHA-256, so that its bytes are a file that [`Package::load`] reads.
/// The kernel need not be this CPU's.
///
/// # Errors
/// [`EngineError::NeedsPlan`], [`EngineError::Plan`], [`EngineError::Mismatch`],
/// [`EngineError::Unplannable`]
pub fn compile(
    package: &Package,
    size: Size,
    kernel: Kernel,
    schedule: Schedule,
) -> Result<Image<'static>, EngineError> {
    let manifest = package.manifest.to_toml();
    let graph = graph_of(package)?;
    let image = Image::scheduled(&graph, size, kernel, schedule, manifest.as_bytes())
        .and_then(|image| Ok(image.with_recipe(&package.manifest.recipe())?))
        .map_err(|source| EngineError::Unplannable { origin: package.origin.clone(), source })?;
    let sha256 = Sha256::digest(image.digested());
    Ok(image.sealed(sha256.into()))
}
