//! Removes nodes that do not change labels, and statements that would make tract refuse a net that
//! it can run.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb;

/// Tidies a net.
pub(super) fn tidy(graph: &mut pb::GraphProto) {
    // Shapes stated for a batch of n contradict the batch of one that tract runs.
    graph.value_info.clear();
    let nests =
        |n: &pb::NodeProto| n.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty());
    if graph.node.iter().any(nests) {
        // Graphs within nodes may read any tensor.
        return;
    }
    pass_by(graph);
    end_at_probabilities(graph);
    drop_unread(graph);
}

/// Bypasses nodes that change nothing: their readers read their input instead.
fn pass_by(graph: &mut pb::GraphProto) {
    let inputs: HashSet<&str> = graph.input.iter().map(|v| v.name.as_str()).collect();
    let outputs: HashSet<&str> = graph.output.iter().map(|v| v.name.as_str()).collect();
    let mut origin: HashMap<String, String> = HashMap::new();
    for node in &graph.node {
        // A dropout with a third input is in training mode and does change its input.
        let idle = node.op_type == "Identity" || node.op_type == "Dropout" && node.input.len() < 3;
        if let (true, Some(input), [output]) = (idle, node.input.first(), &node.output[..]) {
            let input = origin.get(input).unwrap_or(input);
            if !(outputs.contains(output.as_str()) && inputs.contains(input.as_str())) {
                origin.insert(output.clone(), input.clone());
            }
        }
    }
    let names = graph.node.iter_mut().flat_map(|n| &mut n.input);
    for name in names.chain(graph.output.iter_mut().map(|v| &mut v.name)) {
        if let Some(origin) = origin.get(name) {
            name.clone_from(origin);
        }
    }
}

/// Ends a net at its last softmax or sigmoid where only rounding follows. Rounding does not change
/// labels.
fn end_at_probabilities(graph: &mut pb::GraphProto) {
    let makers: HashMap<&str, &pb::NodeProto> =
        graph.node.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect();
    let [output] = &mut graph.output[..] else { return };
    let mut name = output.name.clone();
    while let Some(node) = makers.get(name.as_str()) {
        match &*node.op_type {
            "QuantizeLinear" | "DequantizeLinear"
                if !node.input.is_empty() && name != node.input[0] =>
            {
                name.clone_from(&node.input[0]);
            }
            "Softmax" | "Sigmoid" => {
                output.name = name;
                if let Some(pb::type_proto::Value::TensorType(tensor)) =
                    output.r#type.as_mut().and_then(|t| t.value.as_mut())
                {
                    tensor.elem_type = pb::tensor_proto::DataType::Float as i32;
                }
                return;
            }
            _ => return,
        }
    }
}

/// Drops nodes that no result depends on.
fn drop_unread(graph: &mut pb::GraphProto) {
    let makers: HashMap<&str, usize> = (graph.node.iter().enumerate())
        .flat_map(|(i, n)| n.output.iter().map(move |o| (o.as_str(), i)))
        .collect();
    let mut read = vec![false; graph.node.len()];
    let mut names: Vec<&str> = graph.output.iter().map(|v| v.name.as_str()).collect();
    while let Some(name) = names.pop() {
        if let Some(&i) = makers.get(name)
            && !std::mem::replace(&mut read[i], true)
        {
            names.extend(graph.node[i].input.iter().map(String::as_str));
        }
    }
    let mut read = read.into_iter();
    graph.node.retain(|_| read.next() == Some(true));
}
