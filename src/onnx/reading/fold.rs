//! Quantizes real-valued constants that a QuantizeLinear of the net would quantize. Nets that were
//! trained quantized write their weights so.

use std::collections::HashSet;

use tract_onnx::pb;

use super::super::proto::{constants, floats, int, integers, load, optional};

/// Replaces each such QuantizeLinear by its result.
///
/// # Errors
/// A constant that cannot be read.
pub(super) fn fold(graph: &mut pb::GraphProto) -> Result<(), String> {
    let mut made = Vec::new();
    {
        let constants = constants(graph);
        for node in graph.node.iter().filter(|n| n.op_type == "QuantizeLinear") {
            let constant = |i| optional(node, i).and_then(|name| constants.get(name));
            if let (Some(reals), Some(scale), [output]) =
                (constant(0), constant(1), &node.output[..])
            {
                let zero = constant(2);
                if zero.is_some() == optional(node, 2).is_some() {
                    made.push(counts(output, reals, scale, zero.copied(), int(node, "axis", 1))?);
                }
            }
        }
    }
    let names: HashSet<&str> = made.iter().map(|tensor| tensor.name.as_str()).collect();
    graph.node.retain(|node| !node.output.iter().any(|output| names.contains(output.as_str())));
    graph.initializer.extend(made);
    Ok(())
}

/// `reals / scale + zero`, to the nearest and of those to the even, within 8 bits.
fn counts(
    name: &str,
    reals: &pb::TensorProto,
    scale: &pb::TensorProto,
    zero: Option<&pb::TensorProto>,
    axis: i64,
) -> Result<pb::TensorProto, String> {
    const I8: i32 = pb::tensor_proto::DataType::Int8 as i32;
    let data_type = zero.map_or(pb::tensor_proto::DataType::Uint8 as i32, |zero| zero.data_type);
    let (values, scales) = (floats(&load(reals)?)?, floats(&load(scale)?)?);
    let zeros = zero.map_or(Ok(vec![0]), |zero| integers(&load(zero)?))?;
    let rank = reals.dims.len() as i64;
    let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).unwrap_or(0);
    let size = |dims: &[i64]| dims.iter().product::<i64>().max(1) as usize;
    let along = reals.dims.get(axis).map_or(1, |&n| n.max(1) as usize);
    if [scales.len(), zeros.len()].iter().any(|&n| n != 1 && n != along) {
        return Err(format!("\"{name}\" has {} scales for {along} channels", scales.len()));
    }
    let inner = size(reals.dims.get(axis + 1..).unwrap_or_default());
    let limits = if data_type == I8 { [-128.0, 127.0] } else { [0.0, 255.0] };
    let count = |(i, value): (usize, &f32)| {
        let channel = i / inner % along;
        let (scale, zero) = (scales[channel % scales.len()], zeros[channel % zeros.len()]);
        // Casting u8 to i8 keeps the 8 bits.
        ((value / scale).round_ties_even() + zero as f32).clamp(limits[0], limits[1]) as i32 as u8
    };
    Ok(pb::TensorProto {
        name: name.to_owned(),
        dims: reals.dims.clone(),
        data_type,
        raw_data: values.iter().enumerate().map(count).collect(),
        ..Default::default()
    })
}
