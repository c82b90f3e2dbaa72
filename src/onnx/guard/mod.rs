//! Checks an ONNX file before tract or the importer reads it.
//!
//! A file may be damaged or hostile. Tract trusts it: tract allocates what a shape claims, computes
//! what a node asks for, and panics at what it does not foresee.
//!
//! - [`read`] checks what does not depend on a slice's size: number and nesting of messages, names,
//!   operators, types, initialisers. It also sorts the nodes, so that each comes after those that
//!   it reads.
//! - [`fits`] follows the shape of every tensor through the net for one slice, and bounds memory
//!   and work.
//!
//! The guard knows ONNX alone, neither what tract does with it nor the int8 engine.

mod attributes;
mod elementwise;
mod layout;
mod operators;
mod shapes;
mod tensors;
mod windows;
mod wire;

use std::collections::{HashMap, HashSet};
use std::io::Cursor;

use tract_onnx::pb;
use tract_onnx::prelude::Framework;

use self::operators::Operator;
pub(super) use self::shapes::fits;

/// The inputs of a graph that the file has no values for.
pub(super) fn inputs(graph: &pb::GraphProto) -> Vec<&pb::ValueInfoProto> {
    let held: HashSet<&str> = graph.initializer.iter().map(|tensor| &*tensor.name).collect();
    graph.input.iter().filter(|input| !held.contains(&*input.name)).collect()
}

/// Longest file.
const MAX_FILE: usize = 1 << 29;

/// Most nodes: ten times those of the largest U-Net with a quantizer at every tensor.
const MAX_NODES: usize = 8192;

/// Most inputs of the file and most of its outputs.
const MAX_ENDS: usize = 64;

/// Why an ONNX file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The file as a whole.
    #[error("the file is no ONNX model that can be used: {found}")]
    File {
        /// What was found, and what was expected.
        found: String,
    },
    /// One of its tensors.
    #[error("tensor {name:?}: {found}")]
    Tensor {
        /// Its name, cut where it is long.
        name: String,
        /// What was found, and what was expected.
        found: String,
    },
    /// One of its nodes.
    #[error("node {node:?} ({op:?}): {found}")]
    Node {
        /// Its name, or that of its result, cut where it is long.
        node: String,
        /// Its operator.
        op: String,
        /// What was found, and what was expected.
        found: String,
    },
}

pub(super) fn file(found: impl Into<String>) -> OnnxError {
    OnnxError::File { found: found.into() }
}

fn tensor(name: &str, found: impl Into<String>) -> OnnxError {
    OnnxError::Tensor { name: short(name), found: found.into() }
}

pub(super) fn node(node: &pb::NodeProto, found: impl Into<String>) -> OnnxError {
    let name =
        if node.name.is_empty() { node.output.first().map_or("", |name| name) } else { &node.name };
    OnnxError::Node { node: short(name), op: short(&node.op_type), found: found.into() }
}

/// A name, cut to a length that a message can hold.
fn short(name: &str) -> String {
    const MOST: usize = 80;
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// Reads a file and checks all of it that does not depend on a slice's size. Each node of the
/// result comes after those whose results it reads.
///
/// # Errors
/// [`OnnxError`]
pub(super) fn read(bytes: &[u8]) -> Result<pb::ModelProto, OnnxError> {
    if bytes.len() > MAX_FILE {
        return Err(file(format!("it has {} bytes, expected at most {MAX_FILE}", bytes.len())));
    }
    wire::scan(bytes).map_err(file)?;
    let mut model = tract_onnx::onnx()
        .proto_model_for_read(&mut Cursor::new(bytes))
        .map_err(|e| file(format!("{e:#}")))?;
    check(&mut model)?;
    Ok(model)
}

/// Removes every shape that a file states, and states the input's. The guard does not check stated
/// shapes, and they may be expressions.
pub(super) fn settle(model: &mut pb::ModelProto, input: [usize; 4]) {
    let Some(graph) = &mut model.graph else { return };
    let name = inputs(graph).first().map(|input| input.name.clone());
    graph.value_info.clear();
    graph.output.iter_mut().for_each(|output| output.r#type = None);
    let size = |n: usize| pb::tensor_shape_proto::Dimension {
        value: Some(pb::tensor_shape_proto::dimension::Value::DimValue(n as i64)),
        ..Default::default()
    };
    let shape = Some(pb::TensorShapeProto { dim: input.map(size).to_vec() });
    let float = pb::tensor_proto::DataType::Float as i32;
    let value =
        pb::type_proto::Value::TensorType(pb::type_proto::Tensor { elem_type: float, shape });
    let input = graph.input.iter_mut().find(|input| Some(&input.name) == name.as_ref());
    if let Some(input) = input {
        input.r#type = Some(pb::TypeProto { value: Some(value), ..Default::default() });
    }
}

fn check(model: &mut pb::ModelProto) -> Result<(), OnnxError> {
    if !model.functions.is_empty() || !model.training_info.is_empty() {
        return Err(file(
            "it defines functions or training steps of its own: export the model without them",
        ));
    }
    let opset = opset(model);
    if !(7..=25).contains(&opset) {
        return Err(file(format!(
            "its operator set is {opset}, expected 7 to 25: export the model again"
        )));
    }
    let Some(graph) = &mut model.graph else { return Err(file("it has no graph")) };
    if graph.node.len() > MAX_NODES {
        let found = graph.node.len();
        return Err(file(format!("it has {found} nodes, expected at most {MAX_NODES}")));
    }
    if graph.input.len().max(graph.output.len()) > MAX_ENDS + graph.initializer.len() {
        return Err(file(format!("it has more than {MAX_ENDS} inputs or outputs")));
    }
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or("", |values| &values.name);
        return Err(tensor(name, "it is sparse: export the model with dense weights"));
    }
    for initializer in &graph.initializer {
        tensors::check(initializer).map_err(|found| tensor(&initializer.name, found))?;
    }
    for own in &graph.node {
        check_node(own).map_err(|found| node(own, found))?;
    }
    check_names(graph)?;
    check_scales(graph)?;
    sort(graph)
}

/// Version of the standard operators.
fn opset(model: &pb::ModelProto) -> i64 {
    let standard = |set: &&pb::OperatorSetIdProto| matches!(&*set.domain, "" | "ai.onnx");
    model.opset_import.iter().find(standard).map_or(0, |set| set.version)
}

/// Checks what holds of a node in any net.
fn check_node(node: &pb::NodeProto) -> Result<(), String> {
    if super::reading::is_dynamic(node) {
        return Err(
            "it quantizes anew for each slice: quantize the net statically, with calibration data, \
             or give its f32 form".into(),
        );
    }
    let Some(operator) = Operator::of(node) else {
        let domain = if node.domain.is_empty() { "ONNX" } else { &node.domain };
        return Err(format!(
            "this operator of {domain:?} is not among those that segmenting nets are made of: \
             export the model without it",
        ));
    };
    let [fewest, most] = operator.inputs;
    if !(fewest..=most).contains(&node.input.len()) {
        return Err(format!("it has {} inputs, expected {fewest} to {most}", node.input.len()));
    }
    if node.output.is_empty() || node.output.len() > operator.outputs || node.output[0].is_empty() {
        return Err(format!(
            "it has {} outputs, expected 1 to {}",
            node.output.len(),
            operator.outputs
        ));
    }
    let mut names = HashSet::new();
    for attribute in &node.attribute {
        let name = short(&attribute.name);
        if !names.insert(&*attribute.name) {
            return Err(format!("it has two attributes {name:?}"));
        }
        if attribute.g.is_some() || !attribute.graphs.is_empty() {
            return Err(format!(
                "its attribute {name:?} is a graph: export the model without control flow"
            ));
        }
        let odd = attribute.sparse_tensor.is_some()
            || !attribute.sparse_tensors.is_empty()
            || !attribute.tensors.is_empty()
            || !attribute.type_protos.is_empty()
            || !attribute.ref_attr_name.is_empty();
        if odd {
            return Err(format!("its attribute {name:?} is neither number, text nor dense tensor"));
        }
        if attribute.f.is_nan() || attribute.floats.iter().any(|v| !v.is_finite()) {
            return Err(format!("its attribute {name:?} is not finite"));
        }
        if let Some(t) = &attribute.t {
            tensors::check(t).map_err(|found| format!("its attribute {name:?}: {found}"))?;
        }
    }
    Ok(())
}

/// Checks that each tensor is made once, and that each tensor that is read is made.
fn check_names(graph: &pb::GraphProto) -> Result<(), OnnxError> {
    let mut made = HashSet::new();
    for initializer in &graph.initializer {
        if initializer.name.is_empty() || !made.insert(&*initializer.name) {
            return Err(tensor(&initializer.name, "two initialisers have this name, or none"));
        }
    }
    // Older files list initialisers among the inputs.
    let initializers = made.clone();
    for input in &graph.input {
        if input.name.is_empty()
            || !(made.insert(&*input.name) || initializers.contains(&*input.name))
        {
            return Err(tensor(&input.name, "two inputs have this name, or none"));
        }
    }
    for own in &graph.node {
        for output in own.output.iter().filter(|name| !name.is_empty()) {
            if !made.insert(output) {
                return Err(node(
                    own,
                    format!("its result {:?} is made elsewhere, too", short(output)),
                ));
            }
        }
    }
    for own in &graph.node {
        if let Some(name) =
            own.input.iter().find(|name| !name.is_empty() && !made.contains(&***name))
        {
            return Err(node(own, format!("it reads {:?}, which nothing makes", short(name))));
        }
    }
    if graph.output.is_empty() {
        return Err(file("it has no output"));
    }
    match graph.output.iter().find(|output| !made.contains(&*output.name)) {
        Some(output) => {
            Err(tensor(&output.name, "it is an output of the file, and nothing makes it"))
        }
        None => Ok(()),
    }
}

/// Checks that the scales of quantized tensors are positive constants.
fn check_scales(graph: &pb::GraphProto) -> Result<(), OnnxError> {
    let inline = graph.node.iter().filter(|own| own.op_type == "Constant").filter_map(|own| {
        let value = own.attribute.iter().find(|a| a.name == "value")?.t.as_ref()?;
        Some((own.output.first()?.as_str(), value))
    });
    let initializers = graph.initializer.iter().map(|tensor| (&*tensor.name, tensor));
    let constants: HashMap<&str, &pb::TensorProto> = initializers.chain(inline).collect();
    let mut checked = HashSet::new();
    for own in &graph.node {
        let scales = Operator::of(own).map_or(&[][..], |operator| operator.scales);
        let names = scales.iter().map_while(|i| own.input.get(*i)).filter(|name| !name.is_empty());
        for name in names {
            let Some(scale) = constants.get(&**name) else {
                let found = format!(
                    "its scale {:?} is computed: only static quantization is supported",
                    short(name)
                );
                return Err(node(own, found));
            };
            let positive = |v: &f64| v.is_finite() && *v >= f64::from(f32::MIN_POSITIVE);
            let good = || tensors::all(scale).is_some_and(|values| values.iter().all(positive));
            if checked.insert(name) && !good() {
                return Err(tensor(
                    name,
                    "a scale in it is not a positive finite number: quantize the net again",
                ));
            }
        }
    }
    Ok(())
}

/// Sorts nodes so that each comes after those that it reads. A file that is in such an order keeps
/// its own.
fn sort(graph: &mut pb::GraphProto) -> Result<(), OnnxError> {
    let makers: HashMap<&str, usize> = (graph.node.iter().enumerate())
        .flat_map(|(i, node)| node.output.iter().map(move |name| (name.as_str(), i)))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    let needs: Vec<Vec<usize>> = (graph.node.iter())
        .map(|node| {
            node.input.iter().filter_map(|name| makers.get(name.as_str()).copied()).collect()
        })
        .collect();
    let mut order = Vec::with_capacity(needs.len());
    // State of each node: 0 not seen, 1 waiting for what it reads, 2 placed.
    let mut state = vec![0u8; needs.len()];
    for first in 0..needs.len() {
        let mut stack = vec![(first, 0)];
        while let Some((at, next)) = stack.pop() {
            if state[at] == 2 {
                continue;
            }
            state[at] = 1;
            match needs[at].get(next) {
                Some(&need) => {
                    stack.push((at, next + 1));
                    match state[need] {
                        0 => stack.push((need, 0)),
                        1 => {
                            return Err(node(
                                &graph.node[at],
                                "it reads what is made of its own result",
                            ));
                        }
                        _ => {}
                    }
                }
                None => {
                    state[at] = 2;
                    order.push(at);
                }
            }
        }
    }
    if !order.is_sorted() {
        let mut nodes: Vec<_> = std::mem::take(&mut graph.node).into_iter().map(Some).collect();
        graph.node = order.into_iter().filter_map(|i| nodes[i].take()).collect();
    }
    Ok(())
}
