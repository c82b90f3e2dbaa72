//! Convolutions.

use tract_onnx::pb;

use super::super::proto::{four, has, int, pair, text};
use super::Importer;
use super::values::{Pending, Value, holding};
use monet_core::{Activation, Convolution, Quant, TensorId};

impl<'a> Importer<'a> {
    pub(super) fn convolution(
        &mut self,
        node: &'a pb::NodeProto,
        transposed: bool,
    ) -> Result<Value, String> {
        let auto_pad = text(node, "auto_pad");
        if int(node, "group", 1) != 1 || !matches!(auto_pad, "" | "NOTSET") {
            return Err(
                "only ungrouped 2-D convolutions with explicit borders are supported".into()
            );
        }
        if has(node, "output_shape") {
            return Err("output_shape is not supported; give pads".into());
        }
        let mut inputs = self.reals(node, 0)?;
        if inputs.len() > 2 {
            return Err(format!(
                "reads {} concatenated tensors, at most 2 are supported",
                inputs.len()
            ));
        }
        let kernel = self.kernel(node, transposed)?;
        let [cout, cin, height, width] = kernel.shape;
        if let [input] = inputs[..]
            && self.channels(input) == 0
        {
            // It is the part's input, or that through a table.
            self.graph
                .tensors
                .iter_mut()
                .filter(|t| t.channels == 0)
                .for_each(|t| t.channels = cin);
        }
        let found: usize = inputs.iter().map(|&s| self.channels(s)).sum();
        if found != cin {
            return Err(format!("its weights take {cin} channels, its input has {found}"));
        }
        self.unite(node, &mut inputs);
        let input = self.graph.tensors[inputs[0].0].quant.scale;
        let conv = Convolution {
            cout,
            kernel: [height, width],
            stride: pair(node, "strides", 1)?,
            dilation: pair(node, "dilations", 1)?,
            pads: four(node, "pads")?,
            output_padding: pair(node, "output_padding", 0)?,
            bias: self.bias(node, input, &kernel.scales)?,
            weights: kernel.weights,
            scales: kernel.scales,
        };
        Ok(Value::Pending(Pending::Convolution {
            inputs,
            conv,
            activation: Activation::Linear,
            transposed,
        }))
    }

    /// Gives concatenated inputs one quantization: the coarsest range that holds them all.
    fn unite(&mut self, node: &pb::NodeProto, inputs: &mut [TensorId]) {
        let quants: Vec<Quant> = inputs.iter().map(|s| self.graph.tensors[s.0].quant).collect();
        if quants.iter().all(|q| *q == quants[0]) {
            return;
        }
        let low = quants.iter().map(|q| f32::from(q.zero_point) * q.scale).fold(0.0, f32::max);
        let high =
            quants.iter().map(|q| f32::from(255 - q.zero_point) * q.scale).fold(0.0, f32::max);
        let Some(quant) = holding([-low, high]) else { return };
        for input in inputs {
            *input = self.requantize(node, *input, quant);
        }
    }
}
