//! Reads the bytes of an ONNX file into the one form that the importer and tract take.
//!
//! ONNX has several ways to write the same quantized net. In order:
//!
//! 1. [`guard`] checks the file.
//! 2. [`refuse`] refuses, by name, what would be computed wrongly.
//! 3. [`operators`] turns operators on counts into real-valued ones between DequantizeLinear and
//!    QuantizeLinear.
//! 4. [`fold`] quantizes constants that the net itself would quantize.
//! 5. [`mend`] rewrites what tract computes wrongly.
//! 6. [`tidy`] removes what does not change labels.

mod fold;
mod mend;
mod operators;
mod refuse;
mod tidy;

pub(super) use mend::keep_apart;
pub(super) use refuse::is_dynamic;

use tract_onnx::pb;

use super::guard::{self, OnnxError};

/// The net of an ONNX file.
///
/// # Errors
/// [`OnnxError`]
pub(super) fn read(bytes: &[u8]) -> Result<pb::ModelProto, OnnxError> {
    let mut model = guard::read(bytes)?;
    refuse::check(&model)?;
    if let Some(graph) = &mut model.graph {
        operators::separate(graph).map_err(guard::file)?;
        fold::fold(graph).map_err(guard::file)?;
        mend::spell_celu(graph);
        tidy::tidy(graph);
    }
    Ok(model)
}
