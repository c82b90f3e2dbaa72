//! ONNX files made on the fly, good ones and such as harm.

use prost::Message;
use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;

/// A net of one input `image` of one channel. It begins as a convolution `l` of weights `w` and
/// bias `b`, and a sigmoid `s`.
#[derive(Clone)]
pub struct Net {
    /// The file to be.
    pub model: pb::ModelProto,
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

impl Net {
    /// The convolution and the sigmoid.
    pub fn new() -> Self {
        Self::empty()
            .tensor(floats("w", &[1, 1, 1, 1], &[16.0]))
            .tensor(floats("b", &[1], &[-8.0]))
            .node("Conv", &["image", "w", "b"], "l", vec![])
            .node("Sigmoid", &["l"], "s", vec![])
    }

    /// Without nodes.
    pub fn empty() -> Self {
        let graph = pb::GraphProto {
            name: "net".into(),
            input: vec![image("image")],
            ..Default::default()
        };
        let opset_import = vec![pb::OperatorSetIdProto { domain: String::new(), version: 17 }];
        Self {
            model: pb::ModelProto {
                ir_version: 8,
                opset_import,
                graph: Some(graph),
                ..Default::default()
            },
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
            .tensor(pb::TensorProto {
                raw_data: vec![3],
                ..tensor("wi", DataType::Int8, &[1, 1, 1, 1])
            })
            .tensor(floats("ws", &[], &[weight]))
            .tensor(byte("wz", DataType::Int8, &[]))
            .node("QuantizeLinear", &["image", "qs", "qz"], "q", vec![])
            .node("DequantizeLinear", &["q", "qs", "qz"], "dq", vec![])
            .node("DequantizeLinear", &["wi", "ws", "wz"], "wd", vec![])
            .node("Conv", &["dq", "wd"], "l", vec![])
            .node("Sigmoid", &["l"], "out", vec![])
    }

    /// Its graph, to be changed.
    pub fn graph(&mut self) -> &mut pb::GraphProto {
        self.model.graph.as_mut().unwrap()
    }

    /// The net, changed.
    pub fn change(mut self, change: impl FnOnce(&mut pb::ModelProto)) -> Self {
        change(&mut self.model);
        self
    }

    /// With one more constant.
    pub fn tensor(mut self, tensor: pb::TensorProto) -> Self {
        self.graph().initializer.push(tensor);
        self
    }

    /// With one more node, which is called as its output.
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

/// A node that is called as its output.
pub fn node(
    op: &str,
    inputs: &[&str],
    output: &str,
    attribute: Vec<pb::AttributeProto>,
) -> pb::NodeProto {
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

/// A constant without values.
pub fn tensor(name: &str, data_type: DataType, dims: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: data_type as i32,
        ..Default::default()
    }
}

/// A constant of real values.
pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> pb::TensorProto {
    let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    pb::TensorProto { raw_data, ..tensor(name, DataType::Float, dims) }
}

/// A list of sizes.
pub fn sizes(name: &str, values: &[i64]) -> pb::TensorProto {
    let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    pb::TensorProto { raw_data, ..tensor(name, DataType::Int64, &[values.len() as i64]) }
}

/// A single size.
pub fn number(name: &str, value: i64) -> pb::TensorProto {
    pb::TensorProto { dims: vec![], ..sizes(name, &[value]) }
}

fn attribute(name: &str, kind: AttributeType) -> pb::AttributeProto {
    pb::AttributeProto { name: name.into(), r#type: kind as i32, ..Default::default() }
}

/// An attribute of one number.
pub fn int(name: &str, i: i64) -> pb::AttributeProto {
    pb::AttributeProto { i, ..attribute(name, AttributeType::Int) }
}

/// An attribute of several numbers.
pub fn ints(name: &str, values: &[i64]) -> pb::AttributeProto {
    pb::AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

/// An attribute of text.
pub fn word(name: &str, text: &str) -> pb::AttributeProto {
    pb::AttributeProto { s: text.into(), ..attribute(name, AttributeType::String) }
}

/// An attribute that is a graph of its own.
pub fn graph(name: &str, graph: pb::GraphProto) -> pb::AttributeProto {
    pb::AttributeProto { g: Some(graph), ..attribute(name, AttributeType::Graph) }
}

/// A net that computes its sizes as exporters write it; its output is `out`.
pub fn exported() -> Net {
    Net::new()
        .tensor(sizes("two", &[2]))
        .tensor(sizes("half", &[2]))
        .tensor(sizes("first", &[0, 1]))
        .tensor(sizes("last", &[2, 3]))
        .tensor(sizes("pads", &[0, 0, 1, 1, 0, 0, 1, 1]))
        .tensor(sizes("start", &[1, 1]))
        .tensor(sizes("end", &[-1, i64::MAX]))
        .tensor(sizes("axes", &[2, 3]))
        .tensor(floats("slope", &[2, 1, 1], &[0.1; 2]))
        .tensor(floats("ones", &[2], &[1.0; 2]))
        .tensor(floats("w2", &[2, 1, 3, 3], &[0.1; 18]))
        .tensor(floats("w3", &[2, 2, 4, 4], &[0.1; 64]))
        .tensor(floats("w1", &[1, 4, 1, 1], &[0.1; 4]))
        .node("Conv", &["s", "w2"], "c", vec![ints("pads", &[1; 4])])
        .node("BatchNormalization", &["c", "ones", "ones", "ones", "ones"], "n", vec![])
        .node("LeakyRelu", &["n"], "skip", vec![])
        .node(
            "MaxPool",
            &["skip"],
            "p",
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])],
        )
        .node("InstanceNormalization", &["p", "ones", "ones"], "i", vec![])
        .node("PRelu", &["i", "slope"], "e", vec![])
        .node(
            "ConvTranspose",
            &["e", "w3"],
            "u",
            vec![ints("strides", &[2, 2]), ints("pads", &[1; 4])],
        )
        .node("Shape", &["skip"], "shape", vec![])
        .node("Gather", &["shape", "last"], "side", vec![])
        .node("Shape", &["p"], "small", vec![])
        .node("Gather", &["small", "first"], "before", vec![])
        .node("Concat", &["before", "side"], "wanted", vec![int("axis", 0)])
        .node("Resize", &["p", "", "", "wanted"], "r", vec![word("mode", "linear")])
        .node("Add", &["u", "r"], "a", vec![])
        .node("Pad", &["a", "pads"], "padded", vec![word("mode", "reflect")])
        .node("Slice", &["padded", "start", "end", "axes"], "cut", vec![])
        .node("Div", &["side", "two"], "halves", vec![])
        .node("Mul", &["halves", "half"], "back", vec![])
        .node("Concat", &["before", "back"], "again", vec![int("axis", 0)])
        .node("Slice", &["a", "start", "end", "axes"], "inner", vec![])
        .node("Resize", &["inner", "", "", "again"], "grown", vec![word("mode", "nearest")])
        .node("Concat", &["skip", "grown"], "both", vec![int("axis", 1)])
        .node("Conv", &["both", "w1"], "logits", vec![])
        .node("Sigmoid", &["logits"], "out", vec![])
}

/// One node after the other of operators that users' nets have beside these; the output is `out`.
pub fn operators() -> Net {
    let chain = [
        ("Elu", vec![]),
        ("HardSigmoid", vec![]),
        ("HardSwish", vec![]),
        ("Tanh", vec![]),
        ("Softplus", vec![]),
        ("Exp", vec![]),
        ("Sqrt", vec![]),
        ("Identity", vec![]),
        ("Dropout", vec![]),
        ("AveragePool", vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1; 4])]),
        ("SpaceToDepth", vec![int("blocksize", 2)]),
        ("DepthToSpace", vec![int("blocksize", 2)]),
        ("Transpose", vec![ints("perm", &[0, 2, 3, 1])]),
        ("Transpose", vec![ints("perm", &[0, 3, 1, 2])]),
        ("LogSoftmax", vec![int("axis", 1)]),
        ("Softmax", vec![int("axis", 1)]),
        ("Clip", vec![]),
    ];
    let mut net = Net::new()
        .tensor(sizes("flat", &[1, -1]))
        .tensor(sizes("axes", &[2, 3]))
        .tensor(sizes("one", &[1]))
        .tensor(sizes("shape", &[1, 1, 1, 1]))
        .tensor(floats("factor", &[4], &[1.0, 1.0, 2.0, 2.0]))
        .tensor(floats("matrix", &[1, 1], &[0.5]));
    let mut last = "s".to_owned();
    for (i, (op, attributes)) in chain.into_iter().enumerate() {
        let next = format!("n{i}");
        net = net.node(op, &[&last], &next, attributes);
        last = next;
    }
    net.node("GlobalAveragePool", &[&last], "pooled", vec![])
        .node("Squeeze", &["pooled", "axes"], "squeezed", vec![])
        .node("Gemm", &["squeezed", "matrix"], "excited", vec![])
        .node("Unsqueeze", &["excited", "axes"], "weight", vec![])
        .node("Mul", &[&last, "weight"], "weighted", vec![])
        .node("ReduceMean", &["weighted"], "mean", vec![ints("axes", &[2, 3])])
        .node("Expand", &["mean", "shape"], "expanded", vec![])
        .node("Sub", &["weighted", "expanded"], "centred", vec![])
        .node("Resize", &["centred", "", "factor"], "large", vec![word("mode", "nearest")])
        .node(
            "MaxPool",
            &["large"],
            "small",
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])],
        )
        .node("Max", &["small", "s"], "highest", vec![])
        .node("Sigmoid", &["highest"], "out", vec![])
}
