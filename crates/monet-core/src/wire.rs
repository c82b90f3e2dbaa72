//! Writes a [`QuantGraph`] as bytes, and reads it back: the net in a plan file.
//!
//! Numbers are little-endian, without padding between them. `u16 × n` stands for n numbers of 16
//! bits.
//!
//! ```text
//! net        output, u16 count of tensors, tensors, u16 count of nodes, nodes
//! output     u8: 0 sigmoid, followed by the threshold as f32; 1 softmax; 2 identity
//! tensor     u16 channels, f32 scale, u8 zero point
//! node       u16 length and name in UTF-8, u8 kind, and by kind
//!            0 convolve, 1 transpose   inputs, conv, activation, source
//!            2 add                     source × 3: the summands, the sum
//!            3 lookup                  source, u8 × 256, source
//!            4 max-pool                source, u16 × 8: window, stride, border; source
//!            5 logits                  inputs, conv
//!            6 dequantize              source
//!            7 scale                   source × 3: the tensor, its factor, the product
//! inputs     u8 count, 1 or 2; sources
//! source     u16 number of a tensor
//! conv       u16 × 13: output channels, window, stride, dilation, border, output padding;
//!            then weights, scales and biases, each as u32 count and i8, f32 or i32
//! activation u8: 0 linear; 1 ReLU; 2 ELU, followed by alpha as f32; 3 sigmoid
//! ```
//!
//! - Weights are in the net's own order. Only the device knows its kernel and its slice size, and
//!   only then can weights be packed.
//! - Reading checks what it needs to read on, and that tensors exist. Whether the net makes sense,
//!   [`Plan::new`](super::Plan::new) checks.
//! - Reading allocates memory for values only when their bytes are there.

use super::graph::{Convolution, Node, Operation, QuantGraph, Tensor, TensorId};
use super::types::{Activation, Output, Pool, Quant};
use alloc::{boxed::Box, string::String, vec::Vec};

/// Why bytes are not a net, or why a net cannot be written as bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end too early.
    #[error("the net breaks off at byte {at}, where {what} should follow")]
    Short {
        /// Where the missing part begins.
        at: usize,
        /// What it is.
        what: &'static str,
    },
    /// A value is not one of those that have a meaning.
    #[error("byte {at} of the net: {what} is {found}, expected {expected}")]
    Value {
        /// Where the value ends.
        at: usize,
        /// What the value is for.
        what: &'static str,
        /// The value.
        found: usize,
        /// The values that have a meaning.
        expected: &'static str,
    },
    /// Bytes follow the end of the net.
    #[error("{0} bytes follow the net's end")]
    Long(usize),
    /// The net has more of something than the form can hold.
    #[error("{what} is {found}, more than a plan file can hold")]
    Large {
        /// What there is too much of.
        what: &'static str,
        /// How much of it there is.
        found: usize,
    },
}

/// Writes a net as bytes.
///
/// # Errors
/// [`WireError::Large`]
pub fn encode(graph: &QuantGraph) -> Result<Vec<u8>, WireError> {
    let mut writer = Writer(Vec::new());
    writer.output(graph.output);
    writer.u16("the number of tensors", graph.tensors.len())?;
    for tensor in &graph.tensors {
        writer.u16("the number of channels", tensor.channels)?;
        writer.f32(tensor.quant.scale);
        writer.u8(tensor.quant.zero_point);
    }
    writer.u16("the number of nodes", graph.nodes.len())?;
    graph.nodes.iter().try_for_each(|node| writer.node(node))?;
    Ok(writer.0)
}

/// Reads the net that [`encode`] wrote.
///
/// # Errors
/// Any [`WireError`] except [`WireError::Large`]
pub fn decode(bytes: &[u8]) -> Result<QuantGraph, WireError> {
    let mut reader = Reader { bytes, at: 0, tensors: 0 };
    let output = reader.output()?;
    reader.tensors = reader.u16("the number of tensors")?;
    let tensors = (0..reader.tensors).map(|_| reader.tensor()).collect::<Result<_, _>>()?;
    let count = reader.u16("the number of nodes")?;
    let nodes = (0..count).map(|_| reader.node()).collect::<Result<_, _>>()?;
    match bytes.len() - reader.at {
        0 => Ok(QuantGraph { tensors, nodes, output }),
        more => Err(WireError::Long(more)),
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, what: &'static str, found: usize) -> Result<(), WireError> {
        let value = u16::try_from(found).map_err(|_| WireError::Large { what, found })?;
        self.0.extend(value.to_le_bytes());
        Ok(())
    }

    fn f32(&mut self, value: f32) {
        self.0.extend(value.to_le_bytes());
    }

    fn source(&mut self, TensorId(tensor): TensorId) -> Result<(), WireError> {
        self.u16("a tensor's number", tensor)
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Sigmoid { threshold } => {
                self.u8(0);
                self.f32(threshold);
            }
            Output::Softmax => self.u8(1),
            Output::Identity => self.u8(2),
        }
    }

    fn node(&mut self, node: &Node) -> Result<(), WireError> {
        self.u16("the length of a name", node.name.len())?;
        self.0.extend(node.name.as_bytes());
        match &node.operation {
            Operation::Convolve { inputs, conv, activation, output } => {
                self.u8(0);
                self.weighted(inputs, conv)?;
                self.activation(*activation);
                self.source(*output)
            }
            Operation::Transpose { inputs, conv, activation, output } => {
                self.u8(1);
                self.weighted(inputs, conv)?;
                self.activation(*activation);
                self.source(*output)
            }
            Operation::Add { inputs: [first, second], output } => {
                self.u8(2);
                [first, second, output].into_iter().try_for_each(|s| self.source(*s))
            }
            Operation::Scale { inputs: [tensor, channel], output } => {
                self.u8(7);
                [tensor, channel, output].into_iter().try_for_each(|s| self.source(*s))
            }
            Operation::Lookup { input, table, output } => {
                self.u8(3);
                self.source(*input)?;
                self.0.extend(table.iter());
                self.source(*output)
            }
            Operation::MaxPool { input, pool, output } => {
                self.u8(4);
                self.source(*input)?;
                self.geometry(&[&pool.kernel, &pool.stride, &pool.pads])?;
                self.source(*output)
            }
            Operation::Logits { inputs, conv } => {
                self.u8(5);
                self.weighted(inputs, conv)
            }
            Operation::Dequantize { input } => {
                self.u8(6);
                self.source(*input)
            }
        }
    }

    fn weighted(&mut self, inputs: &[TensorId], conv: &Convolution) -> Result<(), WireError> {
        let count = u8::try_from(inputs.len())
            .map_err(|_| WireError::Large { what: "the number of inputs", found: inputs.len() })?;
        self.u8(count);
        inputs.iter().try_for_each(|s| self.source(*s))?;
        self.u16("the number of output channels", conv.cout)?;
        let Convolution { kernel, stride, dilation, pads, output_padding, .. } = conv;
        self.geometry(&[kernel, stride, dilation, pads, output_padding])?;
        self.values("the number of weights", &conv.weights, |w| w.to_le_bytes())?;
        self.values("the number of scales", &conv.scales, |s| s.to_le_bytes())?;
        self.values("the number of biases", &conv.bias, |b| b.to_le_bytes())
    }

    fn geometry(&mut self, parts: &[&[usize]]) -> Result<(), WireError> {
        parts.iter().copied().flatten().try_for_each(|n| self.u16("a window, step or border", *n))
    }

    fn values<T: Copy, const N: usize>(
        &mut self,
        what: &'static str,
        values: &[T],
        bytes: impl Fn(T) -> [u8; N],
    ) -> Result<(), WireError> {
        let found = values.len();
        let count = u32::try_from(found).map_err(|_| WireError::Large { what, found })?;
        self.0.extend(count.to_le_bytes());
        self.0.extend(values.iter().flat_map(|value| bytes(*value)));
        Ok(())
    }

    fn activation(&mut self, activation: Activation) {
        match activation {
            Activation::Linear => self.u8(0),
            Activation::Relu => self.u8(1),
            Activation::Elu { alpha } => {
                self.u8(2);
                self.f32(alpha);
            }
            Activation::Sigmoid => self.u8(3),
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    tensors: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], WireError> {
        let rest = &self.bytes[self.at..];
        let part = rest.get(..len).ok_or(WireError::Short { at: self.at, what })?;
        self.at += len;
        Ok(part)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(what, N)?);
        Ok(array)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        Ok(self.array::<1>(what)?[0])
    }

    fn u16(&mut self, what: &'static str) -> Result<usize, WireError> {
        Ok(usize::from(u16::from_le_bytes(self.array(what)?)))
    }

    fn f32(&mut self, what: &'static str) -> Result<f32, WireError> {
        Ok(f32::from_le_bytes(self.array(what)?))
    }

    fn refuse<T>(
        &self,
        what: &'static str,
        found: usize,
        expected: &'static str,
    ) -> Result<T, WireError> {
        Err(WireError::Value { at: self.at, what, found, expected })
    }

    fn source(&mut self) -> Result<TensorId, WireError> {
        match self.u16("a tensor's number")? {
            tensor if tensor < self.tensors => Ok(TensorId(tensor)),
            tensor => self.refuse("a tensor's number", tensor, "one of the net's tensors"),
        }
    }

    fn output(&mut self) -> Result<Output, WireError> {
        match self.u8("the kind of output")? {
            0 => Ok(Output::Sigmoid { threshold: self.f32("the threshold")? }),
            1 => Ok(Output::Softmax),
            2 => Ok(Output::Identity),
            kind => self.refuse("the kind of output", kind.into(), "0 to 2"),
        }
    }

    fn tensor(&mut self) -> Result<Tensor, WireError> {
        let channels = self.u16("the number of channels")?;
        let quant = Quant { scale: self.f32("a scale")?, zero_point: self.u8("a zero point")? };
        Ok(Tensor { channels, quant })
    }

    fn node(&mut self) -> Result<Node, WireError> {
        let length = self.u16("the length of a name")?;
        let name = String::from_utf8_lossy(self.take("a name", length)?).into_owned();
        let operation = match self.u8("the kind of a node")? {
            0 => {
                let (inputs, conv) = self.weighted()?;
                Operation::Convolve {
                    inputs,
                    conv,
                    activation: self.activation()?,
                    output: self.source()?,
                }
            }
            1 => {
                let (inputs, conv) = self.weighted()?;
                Operation::Transpose {
                    inputs,
                    conv,
                    activation: self.activation()?,
                    output: self.source()?,
                }
            }
            2 => {
                Operation::Add { inputs: [self.source()?, self.source()?], output: self.source()? }
            }
            3 => {
                let input = self.source()?;
                let table = Box::new(self.array("a table")?);
                Operation::Lookup { input, table, output: self.source()? }
            }
            4 => {
                let input = self.source()?;
                let pool = Pool {
                    kernel: self.geometry()?,
                    stride: self.geometry()?,
                    pads: self.geometry()?,
                };
                Operation::MaxPool { input, pool, output: self.source()? }
            }
            5 => {
                let (inputs, conv) = self.weighted()?;
                Operation::Logits { inputs, conv }
            }
            6 => Operation::Dequantize { input: self.source()? },
            7 => Operation::Scale {
                inputs: [self.source()?, self.source()?],
                output: self.source()?,
            },
            kind => return self.refuse("the kind of a node", kind.into(), "0 to 7"),
        };
        Ok(Node { name, operation })
    }

    fn weighted(&mut self) -> Result<(Vec<TensorId>, Convolution), WireError> {
        let count = self.u8("the number of inputs")?;
        if !matches!(count, 1 | 2) {
            return self.refuse("the number of inputs", count.into(), "1 or 2");
        }
        let inputs = (0..count).map(|_| self.source()).collect::<Result<_, _>>()?;
        let conv = Convolution {
            cout: self.u16("the number of output channels")?,
            kernel: self.geometry()?,
            stride: self.geometry()?,
            dilation: self.geometry()?,
            pads: self.geometry()?,
            output_padding: self.geometry()?,
            weights: self.values("weights", |[byte]| i8::from_le_bytes([byte]))?,
            scales: self.values("scales", f32::from_le_bytes)?,
            bias: self.values("biases", i32::from_le_bytes)?,
        };
        Ok((inputs, conv))
    }

    fn geometry<const N: usize>(&mut self) -> Result<[usize; N], WireError> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.u16("a window, step or border")?;
        }
        Ok(numbers)
    }

    /// Reads a count and as many values. Allocates only when the bytes of all values are there.
    fn values<T, const N: usize>(
        &mut self,
        what: &'static str,
        value: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, WireError> {
        let count = u32::from_le_bytes(self.array(what)?) as usize;
        let len = count.checked_mul(N).ok_or(WireError::Short { at: self.at, what })?;
        let (values, _) = self.take(what, len)?.as_chunks::<N>();
        Ok(values.iter().map(|bytes| value(*bytes)).collect())
    }

    fn activation(&mut self) -> Result<Activation, WireError> {
        match self.u8("the kind of activation")? {
            0 => Ok(Activation::Linear),
            1 => Ok(Activation::Relu),
            2 => Ok(Activation::Elu { alpha: self.f32("alpha")? }),
            3 => Ok(Activation::Sigmoid),
            kind => self.refuse("the kind of activation", kind.into(), "0 to 3"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec;

    use super::*;

    /// A net with every kind of node. It also has output padding and a node with two inputs.
    fn every_kind() -> QuantGraph {
        let quant = Quant { scale: 0.25, zero_point: 7 };
        let mut graph = QuantGraph::new(3, quant);
        let tensors: Vec<TensorId> =
            (1..=5).map(|channels| graph.tensor(channels, quant)).collect();
        let conv = Convolution {
            cout: 2,
            kernel: [3, 1],
            stride: [1, 2],
            dilation: [4, 3],
            pads: [1, 2, 3, 4],
            output_padding: [0, 1],
            weights: vec![-128, 0, 127],
            scales: vec![1e-3, f32::MAX],
            bias: vec![i32::MIN, -1],
        };
        let inputs = vec![TensorId(0), tensors[0]];
        let [output, one] = [tensors[1], tensors[2]];
        let activation = Activation::Elu { alpha: 1.5 };
        graph.push(
            "c",
            Operation::Convolve { inputs: inputs.clone(), conv: conv.clone(), activation, output },
        );
        let activation = Activation::Relu;
        graph.push(
            "ü",
            Operation::Transpose {
                inputs: vec![one],
                conv: conv.clone(),
                activation,
                output: tensors[3],
            },
        );
        graph.push("a", Operation::Add { inputs: [one, output], output: tensors[4] });
        let activation = Activation::Sigmoid;
        graph.push(
            "s",
            Operation::Convolve { inputs: vec![one], conv: conv.clone(), activation, output },
        );
        graph.push("m", Operation::Scale { inputs: [one, output], output: tensors[3] });
        let table = Box::new(core::array::from_fn(|i| 255 - i as u8));
        graph.push("l", Operation::Lookup { input: one, table, output });
        let pool = Pool { kernel: [2, 3], stride: [4, 5], pads: [6, 7, 8, 9] };
        graph.push("", Operation::MaxPool { input: one, pool, output });
        graph.push("d", Operation::Dequantize { input: one });
        graph.push("h", Operation::Logits { inputs, conv });
        graph
    }

    #[test]
    fn a_net_reads_back_as_written() {
        for output in [Output::Sigmoid { threshold: 0.3 }, Output::Softmax, Output::Identity] {
            let graph = QuantGraph { output, ..every_kind() };
            assert_eq!(decode(&encode(&graph).unwrap()).unwrap(), graph);
        }
    }

    #[test]
    fn every_truncation_is_an_error_and_so_is_a_tail() {
        let bytes = encode(&every_kind()).unwrap();
        for len in 0..bytes.len() {
            assert!(matches!(decode(&bytes[..len]), Err(WireError::Short { .. })), "{len}");
        }
        assert_eq!(decode(&[&bytes[..], &[0, 0]].concat()), Err(WireError::Long(2)));
    }

    #[test]
    fn what_does_not_exist_is_named() {
        // Softmax, one tensor, one node without name.
        let start = [&[1, 1, 0][..], &[1, 0, 0, 0, 128, 63, 0], &[1, 0, 0, 0]].concat();
        for (rest, expected) in [
            (&[9][..], "kind of a node is 9, expected 0 to 7"),
            (&[6, 1, 0], "tensor's number is 1, expected one of the net's tensors"),
            (&[5, 3], "number of inputs is 3, expected 1 or 2"),
        ] {
            let error = decode(&[&start[..], rest].concat()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(decode(&[3]).unwrap_err().to_string().contains("kind of output is 3"));
    }

    #[test]
    fn a_claim_of_four_thousand_million_weights_allocates_nothing() {
        let mut bytes = encode(&every_kind()).unwrap();
        let weights = bytes.windows(7).position(|w| w == [3, 0, 0, 0, 128, 0, 127]).unwrap();
        bytes[weights..weights + 4].fill(255);
        assert_eq!(decode(&bytes), Err(WireError::Short { at: weights + 4, what: "weights" }));
    }

    #[test]
    fn what_a_plan_cannot_hold_is_said() {
        let graph = QuantGraph::new(1 << 16, Quant { scale: 1.0, zero_point: 0 });
        assert!(matches!(encode(&graph), Err(WireError::Large { .. })));
    }
}
