//! Refuses, by name, nets that are well-formed but would be computed wrongly or not as their file
//! says.

use std::collections::HashMap;

use tract_onnx::pb;

use super::super::guard::{OnnxError, file, node};
use super::super::proto::{constants, has, int, ints, opset};
use super::operators::is_known;

/// Versions of the standard operators whose meaning is known here.
const OPSETS: std::ops::RangeInclusive<i64> = 9..=23;

/// Advice for a net with operators of another tool's own.
const STANDARD: &str =
    "give the file as it was before that tool optimized it, or quantize it in QDQ form";

/// Whether a node computes its scales from the slice, or works on counts of such a node.
pub(in crate::onnx) fn is_dynamic(node: &pb::NodeProto) -> bool {
    matches!(
        &*node.op_type,
        "DynamicQuantizeLinear"
            | "ConvInteger"
            | "MatMulInteger"
            | "MatMulIntegerToFloat"
            | "DynamicQuantizeMatMul"
            | "DynamicQuantizeLSTM"
    )
}

/// Looks through a net.
///
/// # Errors
/// [`OnnxError`]
pub(super) fn check(model: &pb::ModelProto) -> Result<(), OnnxError> {
    let Some(graph) = &model.graph else { return Ok(()) };
    let version = opset(model);
    if !OPSETS.contains(&version) {
        let (least, most) = (OPSETS.start(), OPSETS.end());
        let found = format!(
            "its operator set is {version}, expected {least} to {most}: export it with opset 17"
        );
        return Err(file(found));
    }
    let constants = constants(graph);
    for own in &graph.node {
        check_operator(own)
            .and_then(|()| check_counts(own, &constants))
            .map_err(|found| node(own, found))?;
    }
    Ok(())
}

/// Refuses operators of other tools, and attributes that tract ignores although they change what an
/// operator computes.
fn check_operator(node: &pb::NodeProto) -> Result<(), String> {
    if !is_known(node) {
        return Err(format!(
            "it is an operator of {:?} that is not supported: {STANDARD}",
            node.domain
        ));
    }
    let dilated = ints(node, "dilations").iter().any(|&n| n != 1);
    let single = "export the model in single precision";
    match &*node.op_type {
        "Cast" if matches!(int(node, "to", 1), 10 | 16..) => Err(format!(
            "it makes numbers of type {}, expected f32 or whole numbers: {single}",
            int(node, "to", 1)
        )),
        "AveragePool" if dilated => {
            Err("it is a mean with dilations: export the model without".into())
        }
        "Resize" if int(node, "antialias", 0) != 0 => {
            Err("it smooths before it resizes: export the model without antialias".into())
        }
        "QLinearSoftmax" if int(node, "opset", 13) < 13 => {
            Err("it is the softmax of an opset below 13: export the model with opset 17".into())
        }
        op if op.starts_with("QLinear") && int(node, "channels_last", 0) != 0 => {
            Err(format!("its channels stand last: {STANDARD}"))
        }
        _ => Ok(()),
    }
}

/// Checks quantized tensors: counts have 8 bits, biases 32, and a scale belongs to a whole tensor
/// or to one channel.
fn check_counts(
    node: &pb::NodeProto,
    constants: &HashMap<&str, &pb::TensorProto>,
) -> Result<(), String> {
    const EIGHT: &str = "quantize it to 8 bits, per tensor or per channel";
    if !matches!(&*node.op_type, "QuantizeLinear" | "DequantizeLinear") {
        return Ok(());
    }
    if int(node, "block_size", 0) != 0 {
        return Err(format!("it has scales per block: {EIGHT}"));
    }
    // The counts are a QuantizeLinear's result, or a DequantizeLinear's input.
    let counts = if node.op_type == "QuantizeLinear" { &[2][..] } else { &[0, 2] };
    let types = counts.iter().filter_map(|&i| constants.get(node.input.get(i)?.as_str()));
    let types = types.map(|tensor| i64::from(tensor.data_type));
    let made =
        has(node, "output_dtype").then(|| int(node, "output_dtype", 0)).filter(|&kind| kind != 0);
    let of_reals = node.op_type == "DequantizeLinear";
    let counts = |kind: &i64| matches!(kind, 2 | 3) || of_reals && matches!(kind, 1 | 6);
    match types.chain(made).find(|kind| !counts(kind)) {
        Some(4 | 5) => Err(format!("its counts have 16 bits: {EIGHT}")),
        Some(kind) => Err(format!("its counts are of type {kind}, expected 8 bits: {EIGHT}")),
        None => Ok(()),
    }
}
