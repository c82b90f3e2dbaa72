//! QuantizeLinear and DequantizeLinear: where real values become counts, and counts real values again.

use tract_onnx::pb;
use tract_onnx::prelude::DatumType;

use super::super::graph::{Activation, Operation, Output, Quant, QuantGraph, Source};
use super::super::onnx::{argument, floats, integers};
use super::super::requant::{self, table};
use super::{Importer, Outcome, Pending, Value, Weights};

impl<'a> Importer<'a> {
    /// Scale and zero point of an activation. Signed counts are moved to unsigned ones.
    fn quant(&self, node: &'a pb::NodeProto) -> Result<Quant, String> {
        let scales = floats(&self.constant(node, 1)?)?;
        let zero_point = if node.input.len() > 2 {
            let tensor = self.constant(node, 2)?;
            let offset = if tensor.datum_type() == DatumType::I8 { 128 } else { 0 };
            integers(&tensor)?.first().map(|zero| zero + offset)
        } else {
            Some(0)
        };
        match (&scales[..], zero_point.map(u8::try_from)) {
            ([scale], Some(Ok(zero_point))) => Ok(Quant { scale: *scale, zero_point }),
            _ => Err("its scale and zero point are not one pair of 8 bits for the tensor".into()),
        }
    }

    pub(super) fn quantize(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let quant = self.quant(node)?;
        let name = argument(node, 0)?;
        if !self.values.contains_key(name) {
            self.open(name)?;
            return Ok(Value::Counts(vec![self.begin(quant)]));
        }
        match self.value(node, 0)?.clone() {
            Value::Pending(pending) => Ok(Value::Counts(vec![self.settle(node, pending, quant)?])),
            Value::Reals(sources) => {
                let sources = sources.into_iter().map(|s| self.requantize(node, s, quant)).collect();
                Ok(Value::Counts(sources))
            }
            _ => Err(format!("its input \"{name}\" is not real-valued")),
        }
    }

    /// Takes a real-valued tensor for the input of a part.
    pub(super) fn open(&mut self, name: &'a str) -> Outcome {
        if self.input.is_some() || self.constants.contains_key(name) {
            return Err(format!("a second input, \"{name}\", beside \"{}\"", self.input.unwrap_or_default()));
        }
        self.input = Some(name);
        Ok(())
    }

    /// The part's input as integers.
    fn begin(&mut self, quant: Quant) -> Source {
        // The first convolution will say how many channels there are.
        self.graph = QuantGraph { output: Output::Identity, ..QuantGraph::new(0, quant) };
        Source(0)
    }

    /// Turns a waiting operation into one with an integer result.
    fn settle(&mut self, node: &pb::NodeProto, pending: Pending, quant: Quant) -> Result<Source, String> {
        Ok(match pending {
            Pending::Convolution { inputs, conv, activation, transposed } => {
                let output = self.graph.tensor(conv.cout, quant);
                let operation = if transposed {
                    Operation::Transpose { inputs, conv, activation, output }
                } else {
                    Operation::Convolve { inputs, conv, activation, output }
                };
                self.graph.push(argument(node, 0)?, operation);
                output
            }
            Pending::Add(inputs) => {
                let output = self.graph.tensor(self.channels(inputs[0]), quant);
                self.graph.push(argument(node, 0)?, Operation::Add { inputs, output });
                output
            }
            Pending::Scale(inputs) => {
                let output = self.graph.tensor(self.channels(inputs[0]), quant);
                self.graph.push(argument(node, 0)?, Operation::Scale { inputs, output });
                output
            }
            Pending::Pool(input, pool) => {
                let own = self.graph.tensors[input.0].quant;
                let output = self.graph.tensor(self.channels(input), own);
                self.graph.push(argument(node, 0)?, Operation::MaxPool { input, pool, output });
                self.requantize(node, output, quant)
            }
            Pending::Function(input, activation) => {
                let own = self.graph.tensors[input.0].quant;
                let output = self.graph.tensor(self.channels(input), quant);
                let table = table(own, quant, |x| activate(activation, x));
                self.graph.push(argument(node, 0)?, Operation::Lookup { input, table, output });
                output
            }
            Pending::Cut(inner, most) => {
                let input = match inner {
                    Some(inner) => self.settle(node, *inner, quant)?,
                    None => self.begin(quant),
                };
                let top = requant::quantize(most, quant);
                if top == u8::MAX {
                    return Ok(input);
                }
                let table = Box::new(std::array::from_fn(|i| top.min(i as u8)));
                let output = self.graph.tensor(self.channels(input), quant);
                self.graph.push(node.name.as_str(), Operation::Lookup { input, table, output });
                output
            }
        })
    }

    pub(super) fn channels(&self, source: Source) -> usize {
        self.graph.tensors[source.0].channels
    }

    /// The same real values as counts of another quantization.
    pub(super) fn requantize(&mut self, node: &pb::NodeProto, input: Source, quant: Quant) -> Source {
        let own = self.graph.tensors[input.0].quant;
        if own == quant {
            return input;
        }
        let output = self.graph.tensor(self.channels(input), quant);
        self.graph
            .push(node.name.as_str(), Operation::Lookup { input, table: table(own, quant, |x| x), output });
        output
    }

    pub(super) fn dequantize(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let name = argument(node, 0)?;
        if self.constants.contains_key(name) {
            let tensor = self.constant(node, 0)?;
            let scales = floats(&self.constant(node, 1)?)?;
            let zeros = if node.input.len() > 2 { integers(&self.constant(node, 2)?)? } else { Vec::new() };
            if !matches!(tensor.datum_type(), DatumType::I8 | DatumType::I32) || zeros.iter().any(|&z| z != 0)
            {
                return Err("its weights are not symmetric signed integers".into());
            }
            return Ok(Value::Weights(Weights {
                values: integers(&tensor)?,
                shape: tensor.shape().to_vec(),
                scales,
            }));
        }
        let quant = self.quant(node)?;
        match self.value(node, 0)? {
            Value::Counts(sources) if sources.iter().all(|s| self.graph.tensors[s.0].quant == quant) => {
                Ok(Value::Reals(sources.clone()))
            }
            Value::Counts(_) => Err("its scale or zero point is not its QuantizeLinear's".into()),
            _ => Err(format!("its input \"{name}\" is not an integer tensor")),
        }
    }
}

fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Linear => x,
        Activation::Relu => x.max(0.0),
        Activation::Elu { alpha } if x < 0.0 => alpha * (requant::exp(x) - 1.0),
        Activation::Elu { .. } => x,
        Activation::Sigmoid => requant::sigmoid(x),
    }
}
