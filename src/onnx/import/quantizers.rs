//! QuantizeLinear and DequantizeLinear: real values become counts, and counts real values again.

use tract_onnx::pb;
use tract_onnx::prelude::DatumType;

use super::super::proto::{argument, floats, integers};
use super::values::{Pending, Value, holding};
use super::{Importer, Outcome};
use monet_core::requant::{self, table};
use monet_core::{Operation, Output, Quant, QuantGraph, TensorId};

impl<'a> Importer<'a> {
    /// Scale and zero point of an activation. Signed counts become unsigned ones by adding 128.
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
        if self.input == Some(name) && !self.graph.tensors.is_empty() {
            // Read by several nodes, each with a quantizer of its own.
            return Ok(Value::Counts(vec![self.requantize(node, TensorId(0), quant)]));
        }
        if !self.values.contains_key(name) {
            self.open(name)?;
            return Ok(Value::Counts(vec![self.begin(quant)]));
        }
        let sources = match self.value(node, 0)?.clone() {
            Value::Pending(pending) if self.sole_reader(name) => {
                self.settle_all(name, pending, quant)?
            }
            Value::Pending(pending) => {
                let made = self.settled(name, pending.clone())?;
                if pending.is_curve() && made.iter().any(|s| self.graph.tensors[s.0].quant != quant)
                {
                    self.settle_all(name, pending, quant)?
                } else {
                    made.into_iter().map(|s| self.requantize(node, s, quant)).collect()
                }
            }
            Value::Reals(sources) => {
                sources.into_iter().map(|s| self.requantize(node, s, quant)).collect()
            }
            _ => return Err(format!("its input \"{name}\" is not real-valued")),
        };
        Ok(Value::Counts(sources))
    }

    /// Quantizes a waiting tensor that has several readers, or one that is no quantizer. The first
    /// quantizer that reads the tensor gives the quantization; without one, the range that the
    /// tensor can reach.
    pub(super) fn settled(
        &mut self,
        name: &'a str,
        pending: Pending,
    ) -> Result<Vec<TensorId>, String> {
        if let Some(made) = self.settled.get(name) {
            return Ok(made.clone());
        }
        let quant = self.quantizers.get(name).and_then(|node| self.quant(node).ok());
        let parts = match pending {
            Pending::Concat(parts) => parts,
            part => vec![part],
        };
        let mut sources = Vec::with_capacity(parts.len());
        for part in parts {
            let own = || {
                self.range(&part).and_then(holding).ok_or_else(|| {
                    format!(
                        "\"{name}\" is read before it is quantized, and nothing says how large \
                        it gets"
                    )
                })
            };
            sources.push(match quant {
                Some(quant) => self.settle(name, part, quant)?,
                None => {
                    let quant = own()?;
                    self.rounded.push(format!(
                        "\"{name}\": its real values, to 8 bits in steps of {}",
                        quant.scale
                    ));
                    self.settle(name, part, quant)?
                }
            });
        }
        self.settled.insert(name, sources.clone());
        Ok(sources)
    }

    fn settle_all(
        &mut self,
        name: &str,
        pending: Pending,
        quant: Quant,
    ) -> Result<Vec<TensorId>, String> {
        match pending {
            Pending::Concat(parts) => {
                parts.into_iter().map(|part| self.settle(name, part, quant)).collect()
            }
            part => Ok(vec![self.settle(name, part, quant)?]),
        }
    }

    /// Takes a real-valued tensor for the input of a part.
    pub(super) fn open(&mut self, name: &'a str) -> Outcome {
        if self.input.is_some() || self.constants.contains_key(name) {
            return Err(format!(
                "a second input, \"{name}\", beside \"{}\"",
                self.input.unwrap_or_default()
            ));
        }
        self.input = Some(name);
        Ok(())
    }

    /// The part's input as integers.
    fn begin(&mut self, quant: Quant) -> TensorId {
        // The first convolution will say how many channels there are.
        self.graph = QuantGraph { output: Output::Identity, ..QuantGraph::new(0, quant) };
        TensorId(0)
    }

    /// Turns a waiting operation into one with an integer result; `name` is its tensor's.
    fn settle(&mut self, name: &str, pending: Pending, quant: Quant) -> Result<TensorId, String> {
        Ok(match pending {
            Pending::Convolution { inputs, conv, activation, transposed } => {
                let output = self.graph.tensor(conv.cout, quant);
                let operation = if transposed {
                    Operation::Transpose { inputs, conv, activation, output }
                } else {
                    Operation::Convolve { inputs, conv, activation, output }
                };
                self.graph.push(name, operation);
                output
            }
            Pending::Add(inputs) => {
                let output = self.graph.tensor(self.channels(inputs[0]), quant);
                self.graph.push(name, Operation::Add { inputs, output });
                output
            }
            Pending::Scale(inputs) => {
                let output = self.graph.tensor(self.channels(inputs[0]), quant);
                self.graph.push(name, Operation::Scale { inputs, output });
                output
            }
            Pending::Pool(inner, pool) => {
                // The largest real value has the largest count.
                let input = self.settle(name, *inner, quant)?;
                let output = self.graph.tensor(self.channels(input), quant);
                self.graph.push(name, Operation::MaxPool { input, pool, output });
                output
            }
            Pending::Curve(input, values) => {
                self.lookup(name, input, values.map(|x| requant::quantize(x, quant)), quant)
            }
            Pending::Concat(_) => return Err(format!("\"{name}\" is several tensors")),
            Pending::Clamp(inner, limits) => {
                let input = match inner {
                    Some(inner) => self.settle(name, *inner, quant)?,
                    None => self.begin(quant),
                };
                let [bottom, top] = limits.map(|limit| requant::quantize(limit, quant));
                self.lookup(
                    name,
                    input,
                    std::array::from_fn(|i| (i as u8).clamp(bottom, top)),
                    quant,
                )
            }
        })
    }

    /// Maps counts by a table to counts of `quant`. A table that changes nothing adds no node.
    fn lookup(&mut self, name: &str, input: TensorId, table: [u8; 256], quant: Quant) -> TensorId {
        let same = (0..=255u8).zip(&table).all(|(i, entry)| i == *entry);
        if same && self.graph.tensors[input.0].quant == quant {
            return input;
        }
        let output = self.graph.tensor(self.channels(input), quant);
        self.graph.push(name, Operation::Lookup { input, table: Box::new(table), output });
        output
    }

    pub(super) fn channels(&self, source: TensorId) -> usize {
        self.graph.tensors[source.0].channels
    }

    /// The same real values as counts of another quantization.
    pub(super) fn requantize(
        &mut self,
        node: &pb::NodeProto,
        input: TensorId,
        quant: Quant,
    ) -> TensorId {
        let own = self.graph.tensors[input.0].quant;
        if own == quant {
            return input;
        }
        let output = self.graph.tensor(self.channels(input), quant);
        self.graph.push(
            node.name.as_str(),
            Operation::Lookup { input, table: table(own, quant, |x| x), output },
        );
        output
    }

    pub(super) fn dequantize(&mut self, node: &'a pb::NodeProto) -> Result<Value, String> {
        let name = argument(node, 0)?;
        if self.constants.contains_key(name) {
            return self.constant_counts(node).map(Value::Weights);
        }
        let quant = self.quant(node)?;
        match self.value(node, 0)? {
            Value::Counts(sources)
                if sources.iter().all(|s| self.graph.tensors[s.0].quant == quant) =>
            {
                Ok(Value::Reals(sources.clone()))
            }
            Value::Counts(_) => Err("its scale or zero point is not its QuantizeLinear's".into()),
            _ => Err(format!("its input \"{name}\" is not an integer tensor")),
        }
    }
}
