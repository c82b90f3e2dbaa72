//! From the bytes of an ONNX file to the one form in which the importer and tract read it.
//!
//! ONNX has several ways to say the same quantized net. What would not be computed rightly is
//! [refused](refuse) by name; the rest is brought into one form: [operators on counts](operators)
//! become real-valued ones between DequantizeLinear and QuantizeLinear, constants that are
//! quantized become [counts](fold), and what says nothing of labels is [taken away](tidy). What
//! tract itself computes wrongly is [mended](mend).

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
