//! ONNX files made on the fly, good ones and such as harm.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use prost::Message;
use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;

/// A net of one input `image` of one channel. It begins as a convolution `l` of weights `w` and bias `b`, and a sigmoid `s`.
#[derive(Clone)]
pub struct Net {
    pub model: pb::ModelProto,
}

impl Net {
    pub fn new() -> Self {
        Self::empty()
            .tensor(floats("w", &[1, 1, 1, 1], &[16.0]))
            .tensor(floats("b", &[1], &[-8.0]))
            .node("Conv", &["image", "w", "b"], "l", vec![])
            .node("Sigmoid", &["l"], "s", vec![])
    }

    /// Without nodes.
    pub fn empty() -> Self {
        let graph = pb::GraphProto { name: "net".into(), input: vec![image("image")], ..Default::default() };
        let opset_import = vec![pb::OperatorSetIdProto { domain: String::new(), version: 17 }];
        Self {
            model: pb::ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..Default::default() },
        }
    }

    /// Image, quantized with this scale, a convolution of one weight with that one, and a sigmoid.
    pub fn quantized(scale: f32, weight: f32) -> Self {
        let byte = |name: &str, data_type: DataType, dims: &[i64]| pb::TensorProto {
            raw_data: vec![0],
            ..tensor(name, data_type, dims)
        };
        Self::empty()
            .tensor(floats("qs", &[], &[scale]))
            .tensor(byte("qz", DataType::Uint8, &[]))
            .tensor(pb::TensorProto { raw_data: vec![3], ..tensor("wi", DataType::Int8, &[1, 1, 1, 1]) })
            .tensor(floats("ws", &[], &[weight]))
            .tensor(byte("wz", DataType::Int8, &[]))
            .node("QuantizeLinear", &["image", "qs", "qz"], "q", vec![])
            .node("DequantizeLinear", &["q", "qs", "qz"], "dq", vec![])
            .node("DequantizeLinear", &["wi", "ws", "wz"], "wd", vec![])
            .node("Conv", &["dq", "wd"], "l", vec![])
            .node("Sigmoid", &["l"], "out", vec![])
    }

    pub fn graph(&mut self) -> &mut pb::GraphProto {
        self.model.graph.as_mut().unwrap()
    }

    pub fn change(mut self, change: impl FnOnce(&mut pb::ModelProto)) -> Self {
        change(&mut self.model);
        self
    }

    pub fn tensor(mut self, tensor: pb::TensorProto) -> Self {
        self.graph().initializer.push(tensor);
        self
    }

    pub fn node(
        mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attribute: Vec<pb::AttributeProto>,
    ) -> Self {
        self.graph().node.push(node(op, inputs, output, attribute));
        self
    }

    /// The file, with this output.
    pub fn file(mut self, output: &str) -> Vec<u8> {
        self.graph().output = vec![image(output)];
        self.model.encode_to_vec()
    }
}

pub fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<pb::AttributeProto>) -> pb::NodeProto {
    pb::NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        attribute,
        ..Default::default()
    }
}

/// One channel, other sizes open.
pub fn image(name: &str) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let free = Dimension::default;
    let one = Dimension { value: Some(Value::DimValue(1)), ..Default::default() };
    let shape = Some(pb::TensorShapeProto { dim: vec![free(), one, free(), free()] });
    let tensor = pb::type_proto::Value::TensorType(pb::type_proto::Tensor { elem_type: 1, shape });
    let r#type = Some(pb::TypeProto { value: Some(tensor), ..Default::default() });
    pb::ValueInfoProto { name: name.into(), r#type, ..Default::default() }
}

pub fn tensor(name: &str, data_type: DataType, dims: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: data_type as i32,
        ..Default::default()
    }
}

pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> pb::TensorProto {
    let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    pb::TensorProto { raw_data, ..tensor(name, DataType::Float, dims) }
}

/// A list of sizes.
pub fn sizes(name: &str, values: &[i64]) -> pb::TensorProto {
    let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    pb::TensorProto { raw_data, ..tensor(name, DataType::Int64, &[values.len() as i64]) }
}

pub fn number(name: &str, value: i64) -> pb::TensorProto {
    pb::TensorProto { dims: vec![], ..sizes(name, &[value]) }
}

fn attribute(name: &str, kind: AttributeType) -> pb::AttributeProto {
    pb::AttributeProto { name: name.into(), r#type: kind as i32, ..Default::default() }
}

pub fn int(name: &str, i: i64) -> pb::AttributeProto {
    pb::AttributeProto { i, ..attribute(name, AttributeType::Int) }
}

pub fn ints(name: &str, values: &[i64]) -> pb::AttributeProto {
    pb::AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

pub fn word(name: &str, text: &str) -> pb::AttributeProto {
    pb::AttributeProto { s: text.into(), ..attribute(name, AttributeType::String) }
}

pub fn graph(name: &str, graph: pb::GraphProto) -> pb::AttributeProto {
    pb::AttributeProto { g: Some(graph), ..attribute(name, AttributeType::Graph) }
}
