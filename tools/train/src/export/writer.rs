//! Nodes and constants of the ONNX graph, one topology node after the other.

use anyhow::{Context, Result};

use super::{Folded, Scale, Scales, weight_name};
use crate::onnx::{self, Attribute, Graph, INT8, TensorProto, UINT8};
use crate::topology::Conv;

/// Writes a graph, one topology node after the other.
pub(super) struct Writer<'a> {
    pub(super) graph: Graph,
    pub(super) scales: Option<&'a Scales>,
}

impl Writer<'_> {
    pub(super) fn op(
        &mut self,
        op_type: &str,
        output: &str,
        inputs: &[&str],
        attribute: Vec<Attribute>,
    ) {
        let input = inputs.iter().map(|&i| i.to_owned()).collect();
        let node = onnx::Node {
            input,
            output: vec![output.into()],
            name: output.into(),
            op_type: op_type.into(),
            attribute,
        };
        self.graph.node.push(node);
    }

    fn constant(&mut self, tensor: TensorProto) -> String {
        let name = tensor.name.clone();
        self.graph.initializer.push(tensor);
        name
    }

    /// `value` as integers of the range in use: cut above where a byte's own range is not meant,
    /// then a Q/DQ pair; in the float form nothing.
    pub(super) fn quantize(&mut self, node: usize, value: &str) -> Result<String> {
        let Some(Scales { activations, limits }) = self.scales else { return Ok(value.to_owned()) };
        let (Some(scale), true) = (activations[node], limits.activation < u8::MAX) else {
            return self.pair(node, value, value);
        };
        let most = self.constant(TensorProto::floats(
            &format!("{value}_most"),
            &[],
            &[scale.value(limits.activation)],
        ));
        let cut = format!("{value}_cut");
        self.op("Min", &cut, &[value, &most], vec![]);
        self.pair(node, value, &cut)
    }

    /// A Q/DQ pair behind `from`, under the name of `value`; in the float form nothing.
    pub(super) fn pair(&mut self, node: usize, value: &str, from: &str) -> Result<String> {
        let Some(scales) = self.scales else { return Ok(value.to_owned()) };
        let Scale { scale, zero } =
            scales.activations[node].with_context(|| format!("no scale for {value}"))?;
        let scale = self.constant(TensorProto::floats(&format!("{value}_scale"), &[], &[scale]));
        let zero =
            self.constant(TensorProto::bytes(&format!("{value}_zero"), &[], UINT8, vec![zero]));
        let (q, dq) = (format!("{value}_q"), format!("{value}_dq"));
        self.op("QuantizeLinear", &q, &[from, &scale, &zero], vec![]);
        self.op("DequantizeLinear", &dq, &[&q, &scale, &zero], vec![]);
        Ok(dq)
    }

    /// The convolution with its weight and bias.
    pub(super) fn conv(
        &mut self,
        name: &str,
        input: &str,
        conv: &Conv,
        folded: &Folded,
        scale: Option<Scale>,
    ) -> Result<String> {
        let (weight, bias) = match self.scales {
            None => {
                let weight =
                    TensorProto::floats(&weight_name(name), &conv.weight_shape(), &folded.weight);
                let bias = TensorProto::floats(
                    &format!("{name}_bias"),
                    &[conv.outputs as i64],
                    &folded.bias,
                );
                (self.constant(weight), self.constant(bias))
            }
            Some(Scales { limits, .. }) => {
                let scale = scale.with_context(|| format!("no scale for the input of {name}"))?;
                self.quantized_weights(name, conv, folded, scale, f32::from(limits.weight))
            }
        };
        let [k, p, s, d] =
            [conv.kernel, conv.padding(), conv.stride, conv.dilation].map(|v| v as i64);
        let attributes = vec![
            Attribute::ints("dilations", &[d, d]),
            Attribute::ints("kernel_shape", &[k, k]),
            Attribute::ints("pads", &[p, p, p, p]),
            Attribute::ints("strides", &[s, s]),
        ];
        let op = if conv.transposed { "ConvTranspose" } else { "Conv" };
        self.op(op, name, &[input, &weight, &bias], attributes);
        Ok(name.to_owned())
    }

    fn quantized_weights(
        &mut self,
        name: &str,
        conv: &Conv,
        folded: &Folded,
        input: Scale,
        limit: f32,
    ) -> (String, String) {
        let most = largest_weights(conv, folded);
        // A bias must fit 32 bits at its scale, and a channel of zeros must have one.
        let least = |bias: f32| bias.abs() / input.scale / (1 << 30) as f32;
        let scales: Vec<f32> = most
            .iter()
            .zip(&folded.bias)
            .map(|(m, &b)| (m / limit).max(least(b)).max(f32::MIN_POSITIVE / input.scale.min(1.0)))
            .collect();
        let quantized = folded.weight.iter().enumerate();
        let weight: Vec<u8> = quantized
            .map(|(i, w)| {
                (w / scales[output_channel(conv, i)]).round_ties_even().clamp(-limit, limit) as i8
                    as u8
            })
            .collect();
        let bias_scales: Vec<f32> = scales.iter().map(|s| s * input.scale).collect();
        let bias: Vec<i32> = folded
            .bias
            .iter()
            .zip(&bias_scales)
            .map(|(&b, &s)| (f64::from(b) / f64::from(s)).round_ties_even() as i32)
            .collect();
        let channels = [conv.outputs as i64];
        let axis = i64::from(conv.transposed);
        let dq = |writer: &mut Self,
                  part: &str,
                  values: TensorProto,
                  zero: TensorProto,
                  scales: &[f32],
                  axis: i64| {
            let values = writer.constant(values);
            let scales = writer.constant(TensorProto::floats(
                &format!("{name}_{part}_scale"),
                &channels,
                scales,
            ));
            let zero = writer.constant(zero);
            let out = format!("{name}_{part}_dq");
            writer.op(
                "DequantizeLinear",
                &out,
                &[&values, &scales, &zero],
                vec![Attribute::int("axis", axis)],
            );
            out
        };
        let values = TensorProto::bytes(&weight_name(name), &conv.weight_shape(), INT8, weight);
        let zero = TensorProto::bytes(
            &format!("{name}_weight_zero"),
            &channels,
            INT8,
            vec![0; conv.outputs],
        );
        let weight = dq(self, "weight", values, zero, &scales, axis);
        let values = TensorProto::integers(&format!("{name}_bias"), &channels, &bias);
        let zero =
            TensorProto::integers(&format!("{name}_bias_zero"), &channels, &vec![0; conv.outputs]);
        let bias = dq(self, "bias", values, zero, &bias_scales, 0);
        (weight, bias)
    }
}

/// Output channel of each weight, in the weight's order.
fn output_channel(conv: &Conv, index: usize) -> usize {
    let taps = conv.kernel * conv.kernel;
    if conv.transposed { index / taps % conv.outputs } else { index / (taps * conv.inputs) }
}

/// Largest absolute weight of each output channel.
fn largest_weights(conv: &Conv, folded: &Folded) -> Vec<f32> {
    let mut most = vec![0f32; conv.outputs];
    for (i, w) in folded.weight.iter().enumerate() {
        let channel = &mut most[output_channel(conv, i)];
        *channel = channel.max(w.abs());
    }
    most
}
