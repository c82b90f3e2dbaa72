//! Runs an exported ONNX file with tch, operator by operator: the check that a file on disk means
//! what the network meant.
//!
//! Only the operators that [`crate::export`] writes; integers are held as floats of the same value,
//! which is exact.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use tch::{Device, Kind, Tensor, no_grad};

use crate::export::{INPUT, OUTPUT};
use crate::net;
use crate::onnx::{FLOAT, INT8, INT32, Model, Node, TensorProto, UINT8};

/// A file ready to run.
#[derive(Debug)]
pub struct Interpreter {
    nodes: Vec<Node>,
    constants: HashMap<String, Tensor>,
}

impl Interpreter {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it is no ONNX file of the expected kind.
    pub fn new(bytes: &[u8], device: Device) -> Result<Self> {
        let graph = Model::decode(bytes)?.graph.context("the ONNX file has no graph")?;
        let constants = graph
            .initializer
            .iter()
            .map(|t| Ok((t.name.clone(), constant(t)?.to_device(device))))
            .collect::<Result<HashMap<_, _>>>()?;
        let mut it = Self { nodes: Vec::new(), constants };
        // Weights are dequantized once.
        for node in graph.node {
            if node.input.iter().all(|name| it.constants.contains_key(name)) {
                let value = it.compute(&node, &HashMap::new())?;
                it.constants.insert(node.output[0].clone(), value);
            } else {
                it.nodes.push(node);
            }
        }
        Ok(it)
    }

    /// Puts another value in a constant's place and returns the old one.
    ///
    /// # Errors
    /// Where there is no such constant.
    pub fn replace(&mut self, name: &str, value: Tensor) -> Result<Tensor> {
        let place =
            self.constants.get_mut(name).with_context(|| format!("no constant {name:?}"))?;
        Ok(std::mem::replace(place, value))
    }

    /// Probabilities of a batch.
    ///
    /// # Errors
    /// Where the file has an operator or a value that is not expected.
    pub fn run(&self, x: &Tensor) -> Result<Tensor> {
        self.visit(x, |_, _| Ok(None))
    }

    /// As [`Interpreter::run`], and shows every value computed on the way, which `see` may replace.
    ///
    /// # Errors
    /// As [`Interpreter::run`], and those of `see`.
    pub fn visit(
        &self,
        x: &Tensor,
        mut see: impl FnMut(&str, &Tensor) -> Result<Option<Tensor>>,
    ) -> Result<Tensor> {
        let x = see(INPUT, x)?.unwrap_or_else(|| x.shallow_clone());
        let mut values = HashMap::from([(INPUT.to_owned(), x)]);
        for node in &self.nodes {
            let value = no_grad(|| self.compute(node, &values))?;
            let value = see(&node.output[0], &value)?.unwrap_or(value);
            values.insert(node.output[0].clone(), value);
        }
        values.remove(OUTPUT).context("the ONNX file has no output of the expected name")
    }

    fn compute(&self, node: &Node, values: &HashMap<String, Tensor>) -> Result<Tensor> {
        let input = |i: usize| {
            let name = node
                .input
                .get(i)
                .with_context(|| format!("{}: input {i} is missing", node.name))?;
            values
                .get(name)
                .or_else(|| self.constants.get(name))
                .with_context(|| format!("no value {name:?}"))
        };
        let ints = |name: &str| {
            node.attribute
                .iter()
                .find(|a| a.name == name)
                .map(|a| a.ints.clone())
                .with_context(|| format!("{}: no attribute {name}", node.name))
        };
        let axis = node.attribute.iter().find(|a| a.name == "axis").map_or(1, |a| a.i);
        Ok(match node.op_type.as_str() {
            "Conv" | "ConvTranspose" => {
                let (strides, pads, dilations) =
                    (ints("strides")?, ints("pads")?, ints("dilations")?);
                ensure!(pads.len() == 4 && pads[..2] == pads[2..], "{}: uneven pads", node.name);
                let (x, w, b) = (input(0)?, input(1)?, Some(input(2)?));
                if node.op_type == "Conv" {
                    x.conv2d(w, b, strides, &pads[..2], dilations, 1)
                } else {
                    x.conv_transpose2d(w, b, strides, &pads[..2], [0i64, 0], 1, dilations)
                }
            }
            "Elu" => input(0)?.elu(),
            "Relu" => input(0)?.relu(),
            "Add" => input(0)? + input(1)?,
            "Mul" => input(0)? * input(1)?,
            "Min" => input(0)?.minimum(input(1)?),
            "MaxPool" => {
                ensure!(
                    ints("kernel_shape")? == [2, 2] && ints("strides")? == [2, 2],
                    "{}: not 2×2",
                    node.name
                );
                net::max_pool(input(0)?)
            }
            "Concat" => Tensor::cat(&[input(0)?, input(1)?], axis),
            "Softmax" => input(0)?.softmax(axis, Kind::Float),
            "Sigmoid" => input(0)?.sigmoid(),
            // Halves go to the even neighbour, in tch as in ONNX.
            "QuantizeLinear" => ((input(0)? / input(1)?).round() + input(2)?).clamp(0.0, 255.0),
            "DequantizeLinear" => {
                let (x, scale, zero) = (input(0)?, input(1)?, input(2)?);
                let mut shape = vec![1; x.dim()];
                if scale.numel() > 1 || scale.dim() == 1 {
                    shape[axis_of(axis, node, x)] = scale.numel() as i64;
                }
                (x - zero.reshape(&shape)) * scale.reshape(&shape)
            }
            other => bail!("operator {other} is not one that monet-train writes"),
        })
    }
}

/// The axis of a per-channel scale; 1 unless given, and 0 for vectors.
fn axis_of(axis: i64, node: &Node, x: &Tensor) -> usize {
    let given = node.attribute.iter().any(|a| a.name == "axis");
    if given { axis as usize } else { 1.min(x.dim() - 1) }
}

fn constant(t: &TensorProto) -> Result<Tensor> {
    let quads = || t.raw_data.as_chunks::<4>().0;
    let values: Vec<f32> = match t.data_type {
        FLOAT => quads().iter().map(|&b| f32::from_le_bytes(b)).collect(),
        INT32 => {
            // Biases may need more than f32's 24 bits.
            let values: Vec<f64> =
                quads().iter().map(|&b| f64::from(i32::from_le_bytes(b))).collect();
            return Ok(Tensor::from_slice(&values).reshape(&t.dims).to_kind(Kind::Float));
        }
        UINT8 => t.raw_data.iter().map(|&b| f32::from(b)).collect(),
        INT8 => t.raw_data.iter().map(|&b| f32::from(b as i8)).collect(),
        other => bail!("constant {:?} has element type {other}", t.name),
    };
    Ok(Tensor::from_slice(&values).reshape(&t.dims))
}
