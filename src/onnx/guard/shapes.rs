//! Follows the shape of every tensor through a net for one slice, and adds up the memory and work
//! that the net needs.
//!
//! A net may compute a size itself (`Shape`, `Gather`, `Concat` before a `Reshape`). The guard then
//! follows the few values that make up the size, and refuses a size that they do not settle.

use std::collections::HashMap;

use tract_onnx::pb;

use super::attributes::Attributes;
use super::operators::{Operator, Rule};
use super::tensors::{self, MAX_FOLLOWED, MAX_RANK};
use super::{OnnxError, elementwise, file, layout, node, opset, tensor, windows};

/// Most elements alive at a time: this many, plus this many for each pixel of the slice.
const MAX_ALIVE: [u64; 3] = [1 << 29, 1 << 24, 1 << 10];

/// Most multiplications and other operations: this many, plus this many for each pixel of the
/// slice.
const MAX_WORK: [u64; 3] = [1 << 43, 1 << 28, 1 << 22];

/// Most elements of constants that the net computes: this many, plus four for each element that the
/// file holds.
const MAX_MADE: u64 = 1 << 20;

/// What is known of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fact {
    pub(super) shape: Vec<u64>,
    /// The values, where they are few and known.
    pub(super) values: Option<Vec<f64>>,
    /// Whether its values are whole numbers by type.
    pub(super) whole: bool,
    /// Whether it is the same for every slice.
    pub(super) constant: bool,
}

impl Fact {
    /// A tensor of this shape, of which nothing more is known.
    ///
    /// # Errors
    /// A shape that none can have.
    pub(super) fn new(shape: Vec<u64>) -> Result<Self, String> {
        elements(&shape)?;
        Ok(Self { shape, values: None, whole: false, constant: false })
    }

    /// A list of whole numbers.
    pub(super) fn list(values: Vec<f64>) -> Self {
        Self {
            shape: vec![values.len() as u64],
            values: Some(values),
            whole: true,
            constant: false,
        }
    }

    /// Adds values, where they are few enough to be followed.
    pub(super) fn with(self, values: Option<Vec<f64>>, whole: bool) -> Self {
        let few = |values: &Vec<f64>| {
            values.len() <= MAX_FOLLOWED && elements(&self.shape) == Ok(values.len() as u64)
        };
        Self { values: values.filter(few), whole, ..self }
    }

    pub(super) fn rank(&self) -> usize {
        self.shape.len()
    }

    pub(super) fn elements(&self) -> u64 {
        elements(&self.shape).unwrap_or(u64::MAX)
    }
}

/// Elements of a shape; only a list may have none.
fn elements(shape: &[u64]) -> Result<u64, String> {
    const MAX: u64 = 1 << 48;
    if shape.len() > MAX_RANK {
        return Err(format!(
            "it makes a tensor of {} axes, expected at most {MAX_RANK}",
            shape.len()
        ));
    }
    if shape.contains(&0) && shape.len() > 1 {
        return Err(format!("it makes a tensor of shape {shape:?}, which has no elements"));
    }
    let product =
        shape.iter().try_fold(1u64, |all, n| all.checked_mul(*n).filter(|all| *all <= MAX));
    product.ok_or_else(|| {
        format!("it makes a tensor of shape {shape:?}, too many elements for any machine")
    })
}

/// What a node makes.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) outputs: Vec<Fact>,
    /// Multiplications, or what takes as long.
    pub(super) work: u64,
}

impl Made {
    /// One tensor, each element of which takes so many operations.
    pub(super) fn one(fact: Fact, work: u64) -> Result<Self, String> {
        let work = fact.elements().saturating_mul(work);
        Ok(Self { outputs: vec![fact], work })
    }
}

/// A node with what is known of the tensors that its rule is about.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) attributes: Attributes<'a>,
    pub(super) operands: Vec<Option<&'a Fact>>,
    pub(super) outputs: usize,
    pub(super) opset: i64,
}

impl<'a> Call<'a> {
    pub(super) fn operand(&self, i: usize) -> Result<&'a Fact, String> {
        self.maybe(i).ok_or_else(|| format!("it has no input {i}"))
    }

    pub(super) fn maybe(&self, i: usize) -> Option<&'a Fact> {
        self.operands.get(i).copied().flatten()
    }

    /// The values of an input that a size depends on.
    pub(super) fn values(&self, i: usize) -> Result<&'a [f64], String> {
        let fact = self.operand(i)?;
        let unknown = || {
            format!("its input {i} decides on sizes, and its values cannot be told from the file")
        };
        fact.values.as_deref().ok_or_else(unknown)
    }

    /// The values of an input that a size depends on, as whole numbers.
    pub(super) fn wholes(&self, i: usize) -> Result<Vec<i64>, String> {
        // Exporters write huge numbers for "to the end": these saturate.
        self.values(i)?
            .iter()
            .map(|v| {
                if v.is_nan() { Err(format!("its input {i} is no number")) } else { Ok(*v as i64) }
            })
            .collect()
    }

    /// Whole numbers that older operator sets have as an attribute and newer ones as an input; none
    /// where there is neither.
    pub(super) fn listed(&self, name: &str, input: usize) -> Result<Option<Vec<i64>>, String> {
        match (self.attributes.ints(name)?, self.maybe(input)) {
            (Some(ints), _) => Ok(Some(ints.to_vec())),
            (None, Some(_)) => self.wholes(input).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// What a net needs to run on one slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Need {
    /// Shape of the result.
    pub(in super::super) output: Vec<u64>,
    /// Most elements alive at a time, with all constants.
    pub(in super::super) elements: u64,
    /// Multiplications, or what takes as long.
    pub(in super::super) work: u64,
}

/// What a checked model needs to run on one slice of `[1, channels, height, width]`.
///
/// # Errors
/// [`OnnxError`] where a node cannot take what it is given, or the net asks for more than any
/// segmenting net does.
pub(in super::super) fn fits(model: &pb::ModelProto, input: [usize; 4]) -> Result<Need, OnnxError> {
    let Some(graph) = &model.graph else { return Err(file("it has no graph")) };
    let input = input.map(|n| n as u64);
    let mut walk = Walk::new(graph, input, opset(model))?;
    for (at, own) in graph.node.iter().enumerate() {
        let made = walk.made(own).map_err(|found| node(own, found))?;
        walk.keep(at, own, made).map_err(|found| node(own, found))?;
    }
    let output = graph.output.first().and_then(|output| walk.facts.get(&*output.name));
    let Some(output) = output else { return Err(file("it has no output")) };
    Ok(Need {
        output: output.shape.clone(),
        elements: walk.peak + walk.held + walk.made,
        work: walk.work,
    })
}

struct Walk<'a> {
    facts: HashMap<&'a str, Fact>,
    /// The last node that reads a tensor; none of the file's outputs.
    last_reader: HashMap<&'a str, usize>,
    opset: i64,
    pixels: u64,
    /// Elements alive now, and most so far.
    alive: u64,
    peak: u64,
    /// Elements of the file's own tensors, and of those that are made of them alone.
    held: u64,
    made: u64,
    work: u64,
}

impl<'a> Walk<'a> {
    fn new(graph: &'a pb::GraphProto, input: [u64; 4], opset: i64) -> Result<Self, OnnxError> {
        let mut facts = HashMap::new();
        for initializer in &graph.initializer {
            facts.insert(
                &*initializer.name,
                constant(initializer).map_err(|e| tensor(&initializer.name, e))?,
            );
        }
        let held = facts.values().map(Fact::elements).sum();
        let inputs = graph.input.iter().filter(|input| !facts.contains_key(&*input.name));
        let inputs: Vec<&str> = inputs.map(|input| &*input.name).collect();
        let [name] = inputs[..] else {
            return Err(file(format!("it has {} inputs, expected one", inputs.len())));
        };
        facts.insert(name, Fact::new(input.to_vec()).map_err(|e| tensor(name, e))?);
        let mut last_reader = HashMap::new();
        for (i, node) in graph.node.iter().enumerate() {
            last_reader.extend(node.input.iter().map(|name| (&**name, i)));
        }
        last_reader.extend(graph.output.iter().map(|output| (&*output.name, usize::MAX)));
        let [batch, channels, height, width] = input;
        let alive = batch * channels * height * width;
        let pixels = batch * height * width;
        Ok(Self { facts, last_reader, opset, pixels, alive, peak: alive, held, made: 0, work: 0 })
    }

    /// What a node makes of what is there.
    fn made(&self, node: &pb::NodeProto) -> Result<Made, String> {
        let operator = Operator::of(node).ok_or("this operator is not known")?;
        let given = |i: usize| node.input.get(i).and_then(|name| self.facts.get(&**name));
        let operands = match operator.operands {
            None => (0..node.input.len()).map(given).collect(),
            Some(those) => {
                those.iter().take_while(|i| **i < node.input.len()).map(|i| given(*i)).collect()
            }
        };
        let call = Call {
            attributes: Attributes(node),
            operands,
            outputs: node.output.len(),
            opset: self.opset,
        };
        let mut made = rule(operator.rule, &call)?;
        let constant = node
            .input
            .iter()
            .filter(|name| !name.is_empty())
            .all(|name| self.facts.get(&**name).is_some_and(|fact| fact.constant));
        made.outputs.iter_mut().for_each(|fact| fact.constant = constant);
        Ok(made)
    }

    /// Records a node's result, and refuses a net that needs too much.
    fn keep(&mut self, at: usize, node: &'a pb::NodeProto, made: Made) -> Result<(), String> {
        let Made { outputs, work } = made;
        for (name, fact) in node.output.iter().zip(outputs) {
            let elements = fact.elements();
            if fact.constant {
                self.made = self.made.saturating_add(elements);
                let most = MAX_MADE.saturating_add(self.held.saturating_mul(4));
                if self.made > most {
                    return Err(format!(
                        "it makes a constant of shape {:?}, and with it {} elements that the file \
                         does not hold, expected at most {most}",
                        fact.shape, self.made
                    ));
                }
            } else {
                self.alive = self.alive.saturating_add(elements);
            }
            self.facts.insert(name, fact);
        }
        self.peak = self.peak.max(self.alive);
        let most = bound(MAX_ALIVE, self.pixels);
        if self.alive > most {
            let shape = node
                .output
                .first()
                .and_then(|name| self.facts.get(&**name))
                .map(|fact| &fact.shape);
            return Err(format!(
                "it makes a tensor of shape {:?}, and with it {} elements are needed at a time, \
                 expected at most {most} for a slice of {} pixels",
                shape.map_or(&[][..], |shape| shape),
                self.alive,
                self.pixels
            ));
        }
        self.work = self.work.saturating_add(work);
        let most = bound(MAX_WORK, self.pixels);
        if self.work > most {
            return Err(format!(
                "the net takes {} operations up to here, expected at most {most} for a slice of {} \
                 pixels",
                self.work, self.pixels
            ));
        }
        self.release(at, node);
        Ok(())
    }

    /// Frees tensors that this node is the last to read, and results that nobody reads.
    fn release(&mut self, at: usize, node: &'a pb::NodeProto) {
        let mut gone: Vec<&str> =
            node.input.iter().chain(&node.output).map(String::as_str).collect();
        gone.sort_unstable();
        gone.dedup();
        for name in gone {
            if self.last_reader.get(name).is_none_or(|last| *last <= at)
                && let Some(fact) = self.facts.get(name).filter(|fact| !fact.constant)
            {
                self.alive = self.alive.saturating_sub(fact.elements());
            }
        }
    }
}

fn bound([most, least, each]: [u64; 3], pixels: u64) -> u64 {
    pixels.saturating_mul(each).saturating_add(least).min(most)
}

/// What is known of a tensor that the file holds.
pub(super) fn constant(tensor: &pb::TensorProto) -> Result<Fact, String> {
    let shape = tensor.dims.iter().map(|n| n.unsigned_abs()).collect();
    let fact = Fact::new(shape)?.with(tensors::values(tensor), tensors::is_whole(tensor.data_type));
    Ok(Fact { constant: true, ..fact })
}

fn rule(rule: Rule, call: &Call) -> Result<Made, String> {
    match rule {
        Rule::Same => elementwise::same(call),
        Rule::Along => elementwise::along(call),
        Rule::Broadcast => elementwise::broadcast(call),
        Rule::Slope => elementwise::slope(call),
        Rule::BatchNormalization | Rule::InstanceNormalization => elementwise::per_channel(call),
        Rule::LayerNormalization => elementwise::layer_normalization(call),
        Rule::GroupNormalization => elementwise::group_normalization(call),
        Rule::LocalNormalization => elementwise::local_normalization(call),
        Rule::Quantizer => elementwise::quantizer(call),
        Rule::Reduce => elementwise::reduce(call),
        Rule::ArgReduce => elementwise::arg_reduce(call),
        Rule::Convolution => windows::convolution(call),
        Rule::Transposed => windows::transposed(call),
        Rule::Pool => windows::pool(call),
        Rule::GlobalPool => windows::global_pool(call),
        Rule::Resize => windows::resize(call),
        Rule::Upsample => windows::upsample(call),
        Rule::Pad => windows::pad(call),
        Rule::DepthToSpace => windows::depth_to_space(call),
        Rule::SpaceToDepth => windows::space_to_depth(call),
        Rule::Gemm => windows::gemm(call),
        Rule::MatMul => windows::matmul(call),
        Rule::Slice => layout::slice(call),
        Rule::Split => layout::split(call),
        Rule::Concat => layout::concat(call),
        Rule::Reshape => layout::reshape(call),
        Rule::Flatten => layout::flatten(call),
        Rule::Transpose => layout::transpose(call),
        Rule::Squeeze => layout::squeeze(call),
        Rule::Unsqueeze => layout::unsqueeze(call),
        Rule::Shape => layout::shape(call),
        Rule::Size => layout::size(call),
        Rule::Gather => layout::gather(call),
        Rule::Constant => layout::constant(call),
        Rule::ConstantOfShape => layout::constant_of_shape(call),
        Rule::Range => layout::range(call),
        Rule::Expand => layout::expand(call),
        Rule::Tile => layout::tile(call),
    }
}
