//! What stands between quantizers beside convolutions: activations, sums and products, concatenations, maxima, minima.

use tract_onnx::pb;

use super::super::graph::{Activation, Pool};
use super::super::onnx::{argument, floats, four, has, int, pair, text};
use super::{Importer, Pending, Value};

impl<'a> Importer<'a> {
    pub(super) fn activation(
        &mut self,
        node: &'a pb::NodeProto,
        activation: Activation,
    ) -> Result<Value, String> {
        if let Activation::Elu { alpha } = activation
            && !(alpha > 0.0 && alpha < 100.0)
        {
            return Err(format!("alpha is {alpha}"));
        }
        match self.value(node, 0)?.clone() {
            Value::Pending(Pending::Convolution {
                inputs,
                conv,
                activation: Activation::Linear,
                transposed,
            }) if !(transposed && activation == Activation::Sigmoid) => {
                Ok(Value::Pending(Pending::Convolution { inputs, conv, activation, transposed }))
            }
            Value::Reals(sources) if sources.len() == 1 => {
                Ok(Value::Pending(Pending::Function(sources[0], activation)))
            }
            _ => Err("stands neither behind a convolution nor behind a DequantizeLinear".into()),
        }
    }

    pub(super) fn add(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        Ok(Value::Pending(Pending::Add([self.real(node, 0)?, self.real(node, 1)?])))
    }

    /// The product with a single channel, which may stand on either side.
    pub(super) fn scale(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let inputs = [self.real(node, 0)?, self.real(node, 1)?];
        match inputs.map(|s| self.channels(s)) {
            // Channels of the part's input that no convolution has read yet are not known.
            [n, 1] if n > 0 => Ok(Value::Pending(Pending::Scale(inputs))),
            [1, n] if n > 0 => Ok(Value::Pending(Pending::Scale([inputs[1], inputs[0]]))),
            _ => Err("only the product with a tensor of a single channel is supported".into()),
        }
    }

    pub(super) fn concat(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        if int(node, "axis", 0) != 1 {
            return Err("concatenates along another axis than the channels".into());
        }
        let parts: Result<Vec<_>, _> = (0..node.input.len()).map(|i| self.reals(node, i)).collect();
        Ok(Value::Reals(parts?.concat()))
    }

    pub(super) fn pool(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let input = self.real(node, 0)?;
        let plain = matches!(text(node, "auto_pad"), "" | "NOTSET")
            && int(node, "ceil_mode", 0) == 0
            && pair(node, "dilations", 1)? == [1, 1];
        if !plain || !has(node, "kernel_shape") {
            return Err("only undilated windows with explicit borders are supported".into());
        }
        let pool = Pool {
            kernel: pair(node, "kernel_shape", 1)?,
            stride: pair(node, "strides", 1)?,
            pads: four(node, "pads")?,
        };
        Ok(Value::Pending(Pending::Pool(input, pool)))
    }

    /// The smaller of a constant and of what waits for its QuantizeLinear, or the part's input.
    pub(super) fn minimum(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let constant = usize::from(!self.constants.contains_key(argument(node, 0)?));
        let name = argument(node, 1 - constant)?;
        let most = match floats(&self.constant(node, constant)?)?[..] {
            [most] if most.is_finite() && node.input.len() == 2 => most,
            _ => return Err("only the minimum of a tensor and one number is supported".into()),
        };
        if !self.values.contains_key(name) {
            self.open(name)?;
            return Ok(Value::Pending(Pending::Cut(None, most)));
        }
        match self.value(node, 1 - constant)?.clone() {
            Value::Pending(pending) => Ok(Value::Pending(Pending::Cut(Some(Box::new(pending)), most))),
            _ => Err("stands behind nothing that waits to be quantized".into()),
        }
    }
}
