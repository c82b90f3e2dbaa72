//! Convolutions, and the weights and biases that they read.

use tract_onnx::pb;

use super::super::graph::{Activation, Convolution, Quant, Source};
use super::super::onnx::{argument, floats, four, has, int, pair, text};
use super::{Importer, Pending, Value, Weights};

impl<'a> Importer<'a> {
    pub(super) fn convolution(&mut self, node: &'a pb::NodeProto, transposed: bool) -> Result<Value, String> {
        let mut inputs = self.reals(node, 0)?;
        if inputs.len() > 2 {
            return Err(format!("reads {} concatenated tensors, at most 2 are supported", inputs.len()));
        }
        let Value::Weights(weights) = self.value(node, 1)?.clone() else {
            return Err("its weights are not a dequantized constant".into());
        };
        let auto_pad = text(node, "auto_pad");
        if int(node, "group", 1) != 1 || !matches!(auto_pad, "" | "NOTSET") || weights.shape.len() != 4 {
            return Err("only ungrouped 2-D convolutions with explicit borders are supported".into());
        }
        if has(node, "output_shape") {
            return Err("output_shape is not supported; give pads".into());
        }
        let (cin, cout) = if transposed {
            (weights.shape[0], weights.shape[1])
        } else {
            (weights.shape[1], weights.shape[0])
        };
        if let [input] = inputs[..]
            && self.channels(input) == 0
        {
            // It is the part's input, or that through a table.
            self.graph.tensors.iter_mut().filter(|t| t.channels == 0).for_each(|t| t.channels = cin);
        }
        let found: usize = inputs.iter().map(|&s| self.channels(s)).sum();
        if found != cin {
            return Err(format!("its weights take {cin} channels, its input has {found}"));
        }
        self.unite(node, &mut inputs);
        let input = self.graph.tensors[inputs[0].0].quant.scale;
        let scales =
            per_channel(&weights.scales, cout).ok_or("its weight scales do not match its channels")?;
        let bias = self.bias(node, input, &scales)?;
        let conv = Convolution {
            cout,
            kernel: [weights.shape[2], weights.shape[3]],
            stride: pair(node, "strides", 1)?,
            dilation: pair(node, "dilations", 1)?,
            pads: four(node, "pads")?,
            output_padding: pair(node, "output_padding", 0)?,
            weights: output_first(&weights, transposed)?,
            scales,
            bias,
        };
        Ok(Value::Pending(Pending::Convolution { inputs, conv, activation: Activation::Linear, transposed }))
    }

    /// Gives concatenated inputs one quantization: the coarsest range that holds them all.
    fn unite(&mut self, node: &pb::NodeProto, inputs: &mut [Source]) {
        let quants: Vec<Quant> = inputs.iter().map(|s| self.graph.tensors[s.0].quant).collect();
        if quants.iter().all(|q| *q == quants[0]) {
            return;
        }
        let low = quants.iter().map(|q| f32::from(q.zero_point) * q.scale).fold(0.0, f32::max);
        let high = quants.iter().map(|q| f32::from(255 - q.zero_point) * q.scale).fold(0.0, f32::max);
        let scale = (low + high) / 255.0;
        let quant = Quant { scale, zero_point: (low / scale + 0.5) as u8 };
        for input in inputs {
            *input = self.requantize(node, *input, quant);
        }
    }

    /// The bias in units of the sums.
    fn bias(&self, node: &'a pb::NodeProto, input: f32, scales: &[f32]) -> Result<Vec<i32>, String> {
        if node.input.get(2).is_none_or(String::is_empty) {
            return Ok(vec![0; scales.len()]);
        }
        let name = argument(node, 2)?;
        let reals: Vec<f64> = match self.values.get(name) {
            Some(Value::Weights(w)) => {
                let own = per_channel(&w.scales, scales.len())
                    .ok_or("its bias scales do not match its channels")?;
                w.values.iter().zip(own).map(|(&v, s)| f64::from(v) * f64::from(s)).collect()
            }
            Some(_) => return Err("its bias is not constant".into()),
            None => floats(&self.constant(node, 2)?)?.into_iter().map(f64::from).collect(),
        };
        if reals.len() != scales.len() {
            return Err(format!("it has {} biases for {} channels", reals.len(), scales.len()));
        }
        // The cast saturates; the plan refuses sums beyond 32 bits.
        let counts =
            reals.iter().zip(scales).map(|(&b, &s)| (b / (f64::from(input) * f64::from(s))).round() as i32);
        Ok(counts.collect())
    }
}

/// Weights as `[cout][cin][ky][kx]`; transposed convolutions have the input channel first.
fn output_first(weights: &Weights, transposed: bool) -> Result<Vec<i8>, String> {
    let bytes: Result<Vec<i8>, _> = weights.values.iter().map(|&v| i8::try_from(v)).collect();
    let bytes = bytes.map_err(|_| "its weights are not 8-bit")?;
    if !transposed {
        return Ok(bytes);
    }
    let [cin, cout] = [weights.shape[0], weights.shape[1]];
    let window = weights.shape[2] * weights.shape[3];
    let mut out = Vec::with_capacity(bytes.len());
    for o in 0..cout {
        for i in 0..cin {
            out.extend_from_slice(&bytes[(i * cout + o) * window..][..window]);
        }
    }
    Ok(out)
}

fn per_channel(scales: &[f32], channels: usize) -> Option<Vec<f32>> {
    match scales {
        [scale] => Some(vec![*scale; channels]),
        _ if scales.len() == channels => Some(scales.to_vec()),
        _ => None,
    }
}
