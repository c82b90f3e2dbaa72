//! Inputs, attributes and constants of ONNX nodes as Rust values. This module does not know what
//! any operator means.

use std::collections::HashMap;

use tract_onnx::data_resolver::MmapDataResolver;
use tract_onnx::pb;
use tract_onnx::prelude::Tensor;
use tract_onnx::tensor::load_tensor;

/// The constants of a graph by name: its initializers and the results of its Constant nodes.
pub(super) fn constants(graph: &pb::GraphProto) -> HashMap<&str, &pb::TensorProto> {
    let held = graph.initializer.iter().map(|t| (t.name.as_str(), t));
    let nodes = graph.node.iter().filter(|n| n.op_type == "Constant");
    let inline = nodes
        .filter_map(|n| Some((n.output.first()?.as_str(), attribute(n, "value")?.t.as_ref()?)));
    held.chain(inline).collect()
}

/// The values of a constant.
pub(super) fn load(proto: &pb::TensorProto) -> Result<Tensor, String> {
    load_tensor(&MmapDataResolver, proto, None)
        .map_err(|e| format!("\"{}\" cannot be read: {e:#}", proto.name))
}

/// The version of the standard operators that a file uses; 0 where it does not say.
pub(super) fn opset(model: &pb::ModelProto) -> i64 {
    let standard = |domain: &str| matches!(domain, "" | "ai.onnx");
    model.opset_import.iter().find(|o| standard(&o.domain)).map_or(0, |o| o.version)
}

pub(super) fn argument(node: &pb::NodeProto, i: usize) -> Result<&str, String> {
    optional(node, i).ok_or_else(|| format!("has no input {i}"))
}

/// An input that may be missing.
pub(super) fn optional(node: &pb::NodeProto, i: usize) -> Option<&str> {
    node.input.get(i).map(String::as_str).filter(|s| !s.is_empty())
}

fn attribute<'a>(node: &'a pb::NodeProto, name: &str) -> Option<&'a pb::AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

pub(super) fn has(node: &pb::NodeProto, name: &str) -> bool {
    attribute(node, name).is_some()
}

pub(super) fn int(node: &pb::NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |a| a.i)
}

pub(super) fn ints<'a>(node: &'a pb::NodeProto, name: &str) -> &'a [i64] {
    attribute(node, name).map_or(&[], |a| &a.ints)
}

pub(super) fn float(node: &pb::NodeProto, name: &str, default: f32) -> f32 {
    attribute(node, name).map_or(default, |a| a.f)
}

pub(super) fn text<'a>(node: &'a pb::NodeProto, name: &str) -> &'a str {
    attribute(node, name).and_then(|a| str::from_utf8(&a.s).ok()).unwrap_or("")
}

fn sizes<const N: usize>(
    node: &pb::NodeProto,
    name: &str,
    default: usize,
) -> Result<[usize; N], String> {
    let Some(attribute) = attribute(node, name) else { return Ok([default; N]) };
    let sizes: Option<Vec<usize>> =
        attribute.ints.iter().map(|&i| usize::try_from(i).ok()).collect();
    sizes
        .and_then(|s| s.try_into().ok())
        .ok_or_else(|| format!("its {name} are {:?}", attribute.ints))
}

pub(super) fn pair(node: &pb::NodeProto, name: &str, default: usize) -> Result<[usize; 2], String> {
    sizes(node, name, default)
}

pub(super) fn four(node: &pb::NodeProto, name: &str) -> Result<[usize; 4], String> {
    sizes(node, name, 0)
}

pub(super) fn floats(tensor: &Tensor) -> Result<Vec<f32>, String> {
    let view =
        tensor.to_plain_array_view::<f32>().map_err(|_| "a scale, weight or bias is not f32")?;
    Ok(view.iter().copied().collect())
}

pub(super) fn integers(tensor: &Tensor) -> Result<Vec<i32>, String> {
    if let Ok(view) = tensor.to_plain_array_view::<i8>() {
        return Ok(view.iter().map(|&v| i32::from(v)).collect());
    }
    if let Ok(view) = tensor.to_plain_array_view::<u8>() {
        return Ok(view.iter().map(|&v| i32::from(v)).collect());
    }
    let view = tensor
        .to_plain_array_view::<i32>()
        .map_err(|_| "an integer tensor is not of 8 or 32 bits")?;
    Ok(view.iter().copied().collect())
}
