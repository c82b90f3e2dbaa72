//! A package of a net that tells bright from dark, as an ONNX file made on the fly.

use std::fs;
use std::path::{Path, PathBuf};

use monet::package::{Colour, FitRule, Input, Label, Manifest, Normalise, Output, sha256};
use monet::volume::Orientation;
use prost::Message;
use tract_onnx::pb;

/// A package whose net says 1 where the mean of the normalised channels is above one half: exact,
/// fast, and blind to neighbours.
pub fn threshold_package(folder: &Path, channels: usize, normalise: Normalise) -> PathBuf {
    let onnx = threshold_net(channels);
    fs::write(folder.join("threshold.onnx"), &onnx).unwrap();
    let manifest = Manifest {
        format: 1,
        name: "threshold".into(),
        version: "1".into(),
        task: "What is brighter than half".into(),
        model: "threshold.onnx".into(),
        sha256: sha256(&onnx),
        orientation: Orientation::default(),
        input: Input { width: 4, height: 4, channels, neighbours: 0, ceiling: 1024, step: 4 },
        accepts: None,
        normalise,
        fit: FitRule::Pad { spacing: [1.0, 1.0] },
        output: Output::Sigmoid { threshold: 0.5 },
        labels: vec![Label::new(1, "bright", Colour([255, 200, 0]))],
        data: None,
        metrics: vec![],
        selftest: None,
    };
    let path = folder.join("threshold.toml");
    fs::write(&path, manifest.to_toml()).unwrap();
    path
}

/// The same package with only the largest piece of its label kept.
pub fn largest(package: &Path) -> PathBuf {
    let text = fs::read_to_string(package).unwrap();
    let path = package.with_file_name("largest.toml");
    fs::write(&path, text.replace("value = 1", "value = 1\nlargest = true")).unwrap();
    path
}

/// Convolution 1×1 with weights 16 / channels and bias -8, then a sigmoid.
fn threshold_net(channels: usize) -> Vec<u8> {
    let floats = |name: &str, dims: &[i64], values: &[f32]| pb::TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 1,
        float_data: values.to_vec(),
        ..Default::default()
    };
    let node = |op: &str, input: &[&str], output: &str| pb::NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: input.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        ..Default::default()
    };
    let free = || pb::tensor_shape_proto::Dimension::default();
    let image = |name: &str| {
        let shape = Some(pb::TensorShapeProto { dim: vec![free(), free(), free(), free()] });
        let tensor =
            pb::type_proto::Value::TensorType(pb::type_proto::Tensor { elem_type: 1, shape });
        let r#type = Some(pb::TypeProto { value: Some(tensor), ..Default::default() });
        pb::ValueInfoProto { name: name.into(), r#type, ..Default::default() }
    };
    let graph = pb::GraphProto {
        name: "threshold".into(),
        node: vec![
            node("Conv", &["image", "w", "b"], "logits"),
            node("Sigmoid", &["logits"], "probabilities"),
        ],
        initializer: vec![
            floats("w", &[1, channels as i64, 1, 1], &vec![16.0 / channels as f32; channels]),
            floats("b", &[1], &[-8.0]),
        ],
        input: vec![image("image")],
        output: vec![image("probabilities")],
        ..Default::default()
    };
    let opset_import = vec![pb::OperatorSetIdProto { domain: String::new(), version: 17 }];
    pb::ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..Default::default() }
        .encode_to_vec()
}
