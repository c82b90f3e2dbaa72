//! Builds quantized ONNX nets for tests, in the form with a quantizer and its counterpart wherever
//! counts are.

use tract_onnx::pb;

use crate::Random;

/// Builds QDQ nets node by node; every tensor of activations has the same scale.
pub struct Net {
    /// What has been built so far.
    pub graph: pb::GraphProto,
    /// Where weights come from.
    pub random: Random,
}

/// Of activations; their zero point is 60.
pub const SCALE: f32 = 0.02;

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

impl Net {
    /// A net of one input, `image`, and no nodes.
    pub fn new() -> Self {
        let graph = pb::GraphProto {
            name: "net".into(),
            input: vec![value("image", 1)],
            ..Default::default()
        };
        let mut net = Self { graph, random: Random(11) };
        net.floats("scale", &[], &[SCALE]);
        net.bytes("zero", &[], 2, &[60]);
        net
    }

    /// Adds a constant of real values.
    pub fn floats(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        let (name, dims, float_data) = (name.to_owned(), dims.to_vec(), values.to_vec());
        self.graph.initializer.push(pb::TensorProto {
            name,
            dims,
            data_type: 1,
            float_data,
            ..Default::default()
        });
    }

    /// u8 (type 2) or i8 (type 3).
    pub fn bytes(&mut self, name: &str, dims: &[i64], data_type: i32, values: &[u8]) {
        let (name, dims, raw_data) = (name.to_owned(), dims.to_vec(), values.to_vec());
        self.graph.initializer.push(pb::TensorProto {
            name,
            dims,
            data_type,
            raw_data,
            ..Default::default()
        });
    }

    /// Adds a node: the name of its output.
    pub fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attribute: Vec<pb::AttributeProto>,
    ) -> String {
        let name = format!("{}{}", op.to_lowercase(), self.graph.node.len());
        self.graph.node.push(pb::NodeProto {
            op_type: op.into(),
            name: name.clone(),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![name.clone()],
            attribute,
            ..Default::default()
        });
        name
    }

    /// Quantizes and dequantizes.
    pub fn round(&mut self, x: &str) -> String {
        self.round_by(x, "scale", "zero")
    }

    /// As [`Net::round`] by another scale and zero point.
    pub fn round_by(&mut self, x: &str, scale: &str, zero: &str) -> String {
        let counts = self.node("QuantizeLinear", &[x, scale, zero], vec![]);
        self.node("DequantizeLinear", &[&counts, scale, zero], vec![])
    }

    /// A 3×3 convolution with quantized random weights.
    pub fn conv(&mut self, x: &str, cin: i64, cout: i64) -> String {
        let id = self.graph.node.len();
        let [weights, scale, zero] = ["w", "s", "z"].map(|part| format!("{part}{id}"));
        let values: Vec<u8> = (0..9 * cin * cout).map(|_| self.random.next_u64() as u8).collect();
        self.bytes(&weights, &[cout, cin, 3, 3], 3, &values);
        self.floats(&scale, &[], &[0.02 / (3.0 * (cin as f32).sqrt())]);
        self.bytes(&zero, &[], 3, &[0]);
        let weights = self.node("DequantizeLinear", &[&weights, &scale, &zero], vec![]);
        let kind = pb::attribute_proto::AttributeType::Ints as i32;
        let pads = pb::AttributeProto {
            name: "pads".into(),
            ints: vec![1; 4],
            r#type: kind,
            ..Default::default()
        };
        self.node("Conv", &[x, &weights], vec![pads])
    }

    /// Convolution, ReLU, rounding.
    pub fn block(&mut self, x: &str, cin: i64, cout: i64) -> String {
        let sum = self.conv(x, cin, cout);
        let positive = self.node("Relu", &[&sum], vec![]);
        self.round(&positive)
    }

    /// Probabilities of four classes.
    pub fn softmax(&mut self, x: &str) -> String {
        self.node("Softmax", &[x], vec![channels()])
    }

    /// The net whose output is this tensor of four channels.
    pub fn finish(mut self, output: &str) -> pb::ModelProto {
        self.graph.output = vec![value(output, 4)];
        let opset_import = vec![pb::OperatorSetIdProto { domain: String::new(), version: 17 }];
        pb::ModelProto {
            ir_version: 8,
            opset_import,
            graph: Some(self.graph),
            ..Default::default()
        }
    }
}

/// The attribute that names the axis of channels.
pub fn channels() -> pb::AttributeProto {
    let kind = pb::attribute_proto::AttributeType::Int as i32;
    pb::AttributeProto { name: "axis".into(), i: 1, r#type: kind, ..Default::default() }
}

/// A real-valued tensor `[1, channels, 24, 32]`.
pub fn value(name: &str, channels: i64) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = [1, channels, 24, 32]
        .map(|n| Dimension { value: Some(Value::DimValue(n)), ..Default::default() })
        .to_vec();
    let tensor = pb::type_proto::Tensor { elem_type: 1, shape: Some(pb::TensorShapeProto { dim }) };
    let r#type = pb::TypeProto {
        value: Some(pb::type_proto::Value::TensorType(tensor)),
        ..Default::default()
    };
    pb::ValueInfoProto { name: name.into(), r#type: Some(r#type), ..Default::default() }
}
