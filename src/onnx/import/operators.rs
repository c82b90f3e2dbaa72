//! The operators between quantizers that are no convolutions: activations, sums and products,
//! concatenations, pools, limits.

use tract_onnx::pb;

use super::super::proto::{argument, float, floats, four, has, int, optional, pair, text};
use super::Importer;
use super::values::{MOST_BESIDE, MOST_WAITING, Pending, Value, activate};
use monet_core::{Activation, Operation, Pool};

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
        let pending = match self.value(node, 0)?.clone() {
            Value::Pending(Pending::Convolution {
                inputs,
                conv,
                activation: Activation::Linear,
                transposed,
            }) if self.sole_reader(&node.input[0])
                && !(transposed && activation == Activation::Sigmoid) =>
            {
                Pending::Convolution { inputs, conv, activation, transposed }
            }
            Value::Pending(pending)
                if activation == Activation::Relu
                    && self.sole_reader(&node.input[0])
                    && !pending.is_curve() =>
            {
                Pending::Clamp(Some(boxed(pending)?), [0.0, f32::INFINITY])
            }
            _ => self.through(node, 0, |x| activate(activation, x))?,
        };
        Ok(Value::Pending(pending))
    }

    /// Applies a function of one number to each real value of the i-th input.
    fn through(
        &mut self,
        node: &'a pb::NodeProto,
        i: usize,
        f: impl Fn(f32) -> f32,
    ) -> Result<Pending, String> {
        let pending = match self.value(node, i)?.clone() {
            Value::Pending(pending) if pending.is_curve() => pending,
            _ => match &self.reals(node, i)?[..] {
                [source] => self.curve(*source),
                sources => {
                    Pending::Concat(sources.iter().map(|source| self.curve(*source)).collect())
                }
            },
        };
        pending.through(&f).ok_or_else(|| "stands behind what is no table of numbers".into())
    }

    pub(super) fn leaky(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let alpha = float(node, "alpha", 0.01);
        Ok(Value::Pending(self.through(node, 0, |x| if x < 0.0 { alpha * x } else { x })?))
    }

    pub(super) fn add(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        Ok(Value::Pending(Pending::Add([self.real(node, 0)?, self.real(node, 1)?])))
    }

    /// The product with a single channel, which may stand on either side.
    pub(super) fn scale(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let inputs = [self.real(node, 0)?, self.real(node, 1)?];
        match inputs.map(|s| self.channels(s)) {
            // The part's input has an unknown number of channels until a convolution reads it.
            [n, 1] if n > 0 => Ok(Value::Pending(Pending::Scale(inputs))),
            [1, n] if n > 0 => Ok(Value::Pending(Pending::Scale([inputs[1], inputs[0]]))),
            _ => Err("only the product with a tensor of a single channel is supported".into()),
        }
    }

    pub(super) fn concat(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        if !matches!(int(node, "axis", 0), 1 | -3) {
            return Err("concatenates along another axis than the channels".into());
        }
        let (mut sources, mut parts) = (Vec::new(), Vec::new());
        for i in 0..node.input.len() {
            match self.value(node, i)?.clone() {
                Value::Pending(Pending::Concat(inner)) => parts.extend(inner),
                Value::Pending(pending) if self.sole_reader(&node.input[i]) => parts.push(pending),
                _ => {
                    let own = self.reals(node, i)?;
                    parts.extend(own.iter().map(|&source| self.curve(source)));
                    sources.extend(own);
                }
            }
        }
        if parts.len() > MOST_BESIDE {
            return Err(format!(
                "sets {} tensors side by side, at most {MOST_BESIDE} are supported",
                parts.len()
            ));
        }
        let real = sources.len() == parts.len();
        Ok(if real { Value::Reals(sources) } else { Value::Pending(Pending::Concat(parts)) })
    }

    pub(super) fn pool(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
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
        match self.value(node, 0)?.clone() {
            Value::Pending(Pending::Curve(source, values)) if values.is_sorted() => {
                // Counts keep the order of the values: the largest count is the largest value.
                let quant = self.graph.tensors[source.0].quant;
                let output = self.graph.tensor(self.channels(source), quant);
                self.graph.push(
                    node.output[0].as_str(),
                    Operation::MaxPool { input: source, pool, output },
                );
                Ok(Value::Pending(Pending::Curve(output, values)))
            }
            Value::Pending(pending)
                if self.sole_reader(&node.input[0]) && !matches!(pending, Pending::Concat(_)) =>
            {
                Ok(Value::Pending(Pending::Pool(boxed(pending)?, pool)))
            }
            _ => {
                let input = self.real(node, 0)?;
                let output =
                    self.graph.tensor(self.channels(input), self.graph.tensors[input.0].quant);
                self.graph
                    .push(node.output[0].as_str(), Operation::MaxPool { input, pool, output });
                Ok(Value::Pending(self.curve(output)))
            }
        }
    }

    /// The smaller of a tensor and a constant.
    pub(super) fn minimum(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let constant = usize::from(!self.constants.contains_key(argument(node, 0)?));
        match floats(&self.constant(node, constant)?)?[..] {
            [most] if most.is_finite() && node.input.len() == 2 => {
                self.clamp(node, 1 - constant, [f32::NEG_INFINITY, most])
            }
            _ => Err("only the minimum of a tensor and one number is supported".into()),
        }
    }

    pub(super) fn clip(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let mut limits = [float(node, "min", f32::NEG_INFINITY), float(node, "max", f32::INFINITY)];
        for (limit, i) in limits.iter_mut().zip(1..) {
            if optional(node, i).is_some() {
                match floats(&self.constant(node, i)?)?[..] {
                    [value] => *limit = value,
                    _ => return Err("its limits are not two numbers".into()),
                }
            }
        }
        if limits[0] <= limits[1] {
            self.clamp(node, 0, limits)
        } else {
            Err(format!("its limits are {limits:?}"))
        }
    }

    /// Clamps the i-th input between two real values. The input waits for its QuantizeLinear, or is
    /// the part's input.
    fn clamp(
        &mut self,
        node: &'a pb::NodeProto,
        i: usize,
        limits: [f32; 2],
    ) -> Result<Value, String> {
        let name = argument(node, i)?;
        if !self.values.contains_key(name) {
            self.open(name)?;
            return Ok(Value::Pending(Pending::Clamp(None, limits)));
        }
        match self.value(node, i)?.clone() {
            Value::Pending(pending)
                if self.sole_reader(name)
                    && !pending.is_curve()
                    && !matches!(pending, Pending::Concat(_)) =>
            {
                Ok(Value::Pending(Pending::Clamp(Some(boxed(pending)?), limits)))
            }
            _ => Ok(Value::Pending(self.through(node, i, |x| x.clamp(limits[0], limits[1]))?)),
        }
    }
}

/// A waiting value as the input of one more waiting operator.
fn boxed(pending: Pending) -> Result<Box<Pending>, String> {
    if pending.depth() < MOST_WAITING {
        Ok(Box::new(pending))
    } else {
        Err(format!("more than {MOST_WAITING} operators stand before a QuantizeLinear"))
    }
}
