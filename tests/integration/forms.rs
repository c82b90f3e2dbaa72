//! One quantized net in the forms in which tools write it: all of them load, give the same labels
//! by the int8 engine, by tract and as a plan, and what cannot be computed is refused by name.

use monet::Size;
use monet::core::Kernel;
use monet::engine::{EngineError, EngineFactory};
use monet::onnx::{self, EngineChoice, package_from_onnx, to_plan};
use monet::package::{self, Package, plan_file};
use monet_testing::{
    Random,
    qdq::{self, Net},
};
use prost::Message;
use tract_onnx::pb;

const SIZE: Size = Size::new(24, 32);

fn bare(model: &pb::ModelProto) -> Result<Package, EngineError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    package_from_onnx(&path, None)
}

fn labels(package: &Package, choice: impl Into<EngineChoice>) -> Vec<u8> {
    let mut random = Random(5);
    let input: Vec<f32> = (0..SIZE.area()).map(|_| 4.0 * random.unit() - 1.0).collect();
    let mut labels = vec![0; input.len()];
    let mut engine = choice.into().make(package, SIZE, 1).unwrap().remove(0);
    engine.segment(&[&input], &mut labels).unwrap();
    labels
}

/// Labels of a net by the int8 engine, which takes it whole; tract's are near, the plan's the same.
fn whole(model: &pb::ModelProto) -> Vec<u8> {
    let package = bare(model).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.plan");
    let made = to_plan(&package).unwrap();
    std::fs::write(&path, plan_file::seal(&made.manifest, made.net.bytes())).unwrap();
    let own = labels(&package, Kernel::best());
    assert_eq!(labels(&Package::load(&path).unwrap(), Kernel::best()), own);
    near(&labels(&package, EngineChoice::Tract), &own);
    own
}

fn near(one: &[u8], other: &[u8]) {
    let most = (0..4).map(|class| one.iter().filter(|l| **l == class).count()).max().unwrap();
    assert!(most * 10 < one.len() * 9, "{most} of {} labels are one: says nothing", one.len());
    let equal = one.iter().zip(other).filter(|(a, b)| a == b).count();
    assert!(equal * 100 >= one.len() * 97, "{equal} of {} labels equal", one.len());
}

/// Three convolutions, each between quantizers; the logits of four classes are rounded, too.
fn net() -> (Net, String) {
    let mut net = Net::new();
    let mut x = net.round("image");
    for [cin, cout] in [[1, 8], [8, 8], [8, 4]] {
        let sum = net.conv(&x, cin, cout);
        x = net.round(&sum);
    }
    let x = net.softmax(&x);
    (net, x)
}

fn usual() -> pb::ModelProto {
    let (net, x) = net();
    net.finish(&x)
}

fn graph(model: &mut pb::ModelProto) -> &mut pb::GraphProto {
    model.graph.as_mut().unwrap()
}

#[test]
fn shapes_that_a_file_states_for_a_batch_of_n_are_no_hindrance() {
    let mut model = usual();
    let shaped = model.graph.as_ref().unwrap().output[0].clone();
    let graph = graph(&mut model);
    for name in graph.node.iter().map(|node| node.output[0].clone()).collect::<Vec<_>>() {
        let mut value = pb::ValueInfoProto { name, ..shaped.clone() };
        if let Some(pb::type_proto::Value::TensorType(tensor)) =
            value.r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            let batch = pb::tensor_shape_proto::dimension::Value::DimParam("n".into());
            tensor.shape.as_mut().unwrap().dim[0].value = Some(batch);
        }
        graph.value_info.push(value);
    }
    assert_eq!(whole(&model), whole(&usual()));
}

#[test]
fn weights_without_sign_are_those_with_one() {
    let mut model = usual();
    for tensor in graph(&mut model).initializer.iter_mut().filter(|t| t.data_type == 3) {
        tensor.data_type = 2;
        tensor.raw_data =
            tensor.raw_data.iter().map(|byte| byte.wrapping_add(128)).collect::<Vec<u8>>();
    }
    assert_eq!(whole(&model), whole(&usual()));
}

#[test]
fn weights_that_need_nine_bits_are_rounded_and_that_is_said() {
    let mut model = usual();
    for tensor in graph(&mut model).initializer.iter_mut().filter(|t| t.data_type == 3) {
        if tensor.dims.is_empty() {
            tensor.raw_data = vec![30];
        }
    }
    let package = bare(&model).unwrap();
    near(&labels(&package, Kernel::best()), &labels(&package, EngineChoice::Tract));
    let rounded = onnx::import(&package).unwrap().rounded;
    assert_eq!(rounded.len(), 3, "{rounded:?}");
    assert!(rounded.iter().all(|what| what.contains("9-bit weights")), "{rounded:?}");
    assert_eq!(onnx::describe(&package, SIZE, Kernel::best()).unwrap().rounded, rounded);
    to_plan(&package).unwrap();
}

#[test]
fn counts_with_a_sign_are_those_without() {
    let mut model = usual();
    let zero = graph(&mut model).initializer.iter_mut().find(|t| t.name == "zero").unwrap();
    zero.data_type = 3;
    zero.raw_data = vec![60u8.wrapping_sub(128)];
    assert_eq!(whole(&model), whole(&usual()));
}

/// The net with operators on counts in the place of its convolutions.
fn on_counts(mut model: pb::ModelProto) -> pb::ModelProto {
    let nodes = graph(&mut model).node.clone();
    let maker = |name: &str| nodes.iter().find(|node| node.output[0] == name).unwrap();
    let mut made = Vec::new();
    for node in &nodes {
        let reader =
            nodes.iter().find(|n| n.op_type == "QuantizeLinear" && n.input[0] == node.output[0]);
        match (&*node.op_type, reader) {
            ("Conv", Some(reader)) => {
                let inputs = node.input.iter().flat_map(|name| maker(name).input.clone());
                made.push(pb::NodeProto {
                    op_type: "QLinearConv".into(),
                    input: inputs.chain(reader.input[1..].to_vec()).collect(),
                    output: reader.output.clone(),
                    ..node.clone()
                });
            }
            ("QuantizeLinear", _) if node.input[0].starts_with("conv") => {}
            _ => made.push(node.clone()),
        }
    }
    graph(&mut model).node = made;
    model
}

#[test]
fn operators_on_counts_are_real_ones_between_quantizers() {
    let model = on_counts(usual());
    let convolutions =
        model.graph.as_ref().unwrap().node.iter().filter(|n| n.op_type == "QLinearConv");
    assert_eq!(convolutions.count(), 3);
    assert_eq!(whole(&model), whole(&usual()));
}

#[test]
fn what_follows_the_probabilities_and_says_nothing_keeps_no_plan_from_being_made() {
    let expected = whole(&usual());
    let tails: [fn(&mut Net, &str) -> String; 4] = [
        |net, x| net.node("Identity", &[x], vec![]),
        |net, x| net.node("Dropout", &[x], vec![]),
        |net, x| net.round_by(x, "unit", "none"),
        |net, x| {
            let x = net.round_by(x, "unit", "none");
            net.node("Identity", &[&x], vec![])
        },
    ];
    for tail in tails {
        let (mut net, x) = net();
        net.floats("unit", &[], &[1.0 / 255.0]);
        net.bytes("none", &[], 2, &[0]);
        let x = tail(&mut net, &x);
        assert_eq!(whole(&net.finish(&x)), expected);
    }
}

#[test]
fn a_softmax_that_is_quantized_inside_a_net_is_what_it_is_by_itself() {
    let labels = |rounds: bool| {
        let mut net = Net::new();
        net.floats("unit", &[], &[1.0 / 255.0]);
        net.bytes("none", &[], 2, &[0]);
        let x = net.round("image");
        let x = net.conv(&x, 1, 8);
        let x = net.round(&x);
        let mut x = net.softmax(&x);
        if rounds {
            x = net.round_by(&x, "unit", "none");
        }
        let x = net.conv(&x, 8, 4);
        let x = net.softmax(&x);
        let package = bare(&net.finish(&x)).unwrap();
        [labels(&package, EngineChoice::Tract), labels(&package, Kernel::best())]
    };
    let [tract, own] = labels(true);
    near(&tract, &labels(false)[0]);
    near(&own, &tract);
}

#[test]
fn real_values_between_quantizers_are_quantized_and_a_plan_is_made() {
    // A table, a sum, a maximum and a concatenation of what has no quantizer of its own.
    let mut net = Net::new();
    net.random = Random(3);
    let x = net.round("image");
    let x = net.conv(&x, 1, 8);
    let x = net.round(&x);
    let first = net.node("Elu", &[&x], vec![]);
    let x = net.round(&first);
    let x = net.conv(&x, 8, 8);
    let x = net.round(&x);
    let second = net.node("LeakyRelu", &[&x], vec![]);
    let sum = net.node("Add", &[&first, &second], vec![]);
    let sum = net.node("Relu", &[&sum], vec![]);
    let both = net.node("Concat", &[&sum, &second], vec![qdq::channels()]);
    let x = net.round(&both);
    let x = net.conv(&x, 16, 4);
    let x = net.round(&x);
    let x = net.softmax(&x);
    let model = net.finish(&x);
    whole(&model);
    let rounded = onnx::import(&bare(&model).unwrap()).unwrap().rounded;
    assert_eq!(rounded.len(), 1, "the second alone has no quantizer: {rounded:?}");
}

#[test]
fn real_weights_between_quantizers_are_quantized_and_that_is_said() {
    let mut model = usual();
    let graph = graph(&mut model);
    // As the file's own, with half a step more here and there.
    let weights: Vec<pb::TensorProto> =
        graph.initializer.iter().filter(|t| t.dims.len() == 4).cloned().collect();
    for tensor in &weights {
        let dequantize = graph.node.iter().find(|n| n.input[0] == tensor.name).unwrap().clone();
        let scale =
            graph.initializer.iter().find(|t| t.name == dequantize.input[1]).unwrap().float_data[0];
        graph.node.retain(|n| n.name != dequantize.name);
        graph.initializer.push(pb::TensorProto {
            name: dequantize.output[0].clone(),
            dims: tensor.dims.clone(),
            data_type: 1,
            float_data: tensor.raw_data.iter().map(|&byte| f32::from(byte as i8) * scale).collect(),
            ..Default::default()
        });
    }
    near(&whole(&model), &whole(&usual()));
    let rounded = onnx::import(&bare(&model).unwrap()).unwrap().rounded;
    assert_eq!(
        rounded.iter().filter(|what| what.contains("its weights of 32 bits")).count(),
        3,
        "{rounded:?}"
    );
}

#[test]
fn weights_whose_counts_are_made_in_the_net_are_counts() {
    let mut model = usual();
    let graph = graph(&mut model);
    for tensor in
        graph.initializer.iter().filter(|t| t.dims.len() == 4).cloned().collect::<Vec<_>>()
    {
        let at = graph.node.iter().position(|n| n.input[0] == tensor.name).unwrap();
        let [_, scale, zero] = &graph.node[at].input[..] else { panic!() };
        let (scale, zero) = (scale.clone(), zero.clone());
        let step = graph.initializer.iter().find(|t| t.name == scale).unwrap().float_data[0];
        let real = format!("{}.real", tensor.name);
        graph.initializer.push(pb::TensorProto {
            name: real.clone(),
            dims: tensor.dims.clone(),
            data_type: 1,
            float_data: tensor.raw_data.iter().map(|&byte| f32::from(byte as i8) * step).collect(),
            ..Default::default()
        });
        graph.initializer.retain(|t| t.name != tensor.name);
        let made = pb::NodeProto {
            op_type: "QuantizeLinear".into(),
            name: format!("{}.made", tensor.name),
            input: vec![real, scale, zero],
            output: vec![tensor.name],
            ..Default::default()
        };
        graph.node.insert(at, made);
    }
    assert_eq!(whole(&model), whole(&usual()));
}

#[test]
fn scales_of_input_channels_stay_with_tract() {
    let mut model = usual();
    let graph = graph(&mut model);
    let second = graph.initializer.iter().find(|t| t.dims == [8, 8, 3, 3]).unwrap().name.clone();
    let node = graph.node.iter_mut().find(|n| n.input[0] == second).unwrap();
    node.attribute = vec![qdq::channels()];
    let [_, scale, zero] = &node.input[..] else { panic!() };
    let (scale, zero) = (scale.clone(), zero.clone());
    for tensor in &mut graph.initializer {
        if tensor.name == scale {
            let step = tensor.float_data[0];
            tensor.float_data = (0..8).map(|i| step * (0.3 + 0.2 * i as f32)).collect();
            tensor.dims = vec![8];
        } else if tensor.name == zero {
            (tensor.raw_data, tensor.dims) = (vec![0; 8], vec![8]);
        }
    }
    let package = bare(&model).unwrap();
    near(&labels(&package, Kernel::best()), &labels(&package, EngineChoice::Tract));
    let unfused = onnx::import(&package).unwrap().unfused;
    assert!(
        unfused.iter().any(|node| node.reason.contains("not of output channels")),
        "{unfused:?}"
    );
}

#[test]
fn chains_and_heaps_without_a_quantizer_are_left_at_once() {
    let of = |step: fn(&mut Net, &str) -> String, count: usize| {
        let mut net = Net::new();
        net.floats("low", &[], &[-1.0]);
        let x = net.round("image");
        let mut x = net.conv(&x, 1, 4);
        for _ in 0..count {
            x = step(&mut net, &x);
        }
        let x = net.softmax(&x);
        let net = net.finish(&x).encode_to_vec();
        let package = Package { net: package::Net::Onnx(net.into()), ..bare(&usual()).unwrap() };
        onnx::import(&package).unwrap()
    };
    let chain = of(|net, x| net.node("Clip", &[x, "low"], vec![]), 8000);
    assert!(chain.unfused.iter().any(|node| node.reason.contains("operators stand before")));
    let heap = of(
        |net, x| {
            let x = net.round(x);
            net.node("Concat", &[&x, &x], vec![qdq::channels()])
        },
        60,
    );
    assert!(heap.unfused.iter().any(|node| node.reason.contains("side by side")));
}

#[test]
fn what_would_be_computed_wrongly_is_refused_by_name() {
    let attribute = |name: &str, value: i64| pb::AttributeProto {
        name: name.into(),
        i: value,
        r#type: pb::attribute_proto::AttributeType::Int as i32,
        ..Default::default()
    };
    let with = |op: &str, inputs: &[&str], attributes: Vec<pb::AttributeProto>, domain: &str| {
        let (mut net, x) = net();
        let x = if op.is_empty() {
            x
        } else {
            let inputs: Vec<&str> =
                inputs.iter().map(|name| if *name == "x" { &*x } else { name }).collect();
            net.node(op, &inputs, attributes)
        };
        let mut model = net.finish(&x);
        let last = model.graph.as_mut().unwrap().node.last_mut().unwrap();
        if !domain.is_empty() {
            last.domain = domain.into();
        }
        model
    };
    let opset = |version: i64| {
        let mut model = usual();
        model.opset_import[0].version = version;
        model
    };
    let mut sixteen = usual();
    let zero = graph(&mut sixteen).initializer.iter_mut().find(|t| t.name == "zero").unwrap();
    (zero.data_type, zero.raw_data) = (4, vec![60, 0]);
    let mut half = usual();
    let scale = graph(&mut half).initializer.iter_mut().find(|t| t.name == "scale").unwrap();
    (scale.data_type, scale.float_data, scale.raw_data) = (10, vec![], vec![0, 60]);
    let mut four = usual();
    let weights = graph(&mut four).initializer.iter_mut().find(|t| t.dims.len() == 4).unwrap();
    weights.data_type = 22;
    let dilated = pb::AttributeProto {
        name: "dilations".into(),
        ints: vec![2, 2],
        r#type: pb::attribute_proto::AttributeType::Ints as i32,
        ..Default::default()
    };
    let window =
        pb::AttributeProto { name: "kernel_shape".into(), ints: vec![1, 1], ..dilated.clone() };
    let microsoft = "com.microsoft";
    let block = vec![attribute("block_size", 16)];
    let cases = [
        (
            with("DynamicQuantizeLinear", &["x"], vec![], ""),
            ["DynamicQuantizeLinear", "statically"],
        ),
        (with("ConvInteger", &["x", "x"], vec![], ""), ["ConvInteger", "statically"]),
        (with("MatMulInteger", &["x", "x"], vec![], ""), ["MatMulInteger", "statically"]),
        (
            with("DynamicQuantizeMatMul", &["x"], vec![], microsoft),
            ["DynamicQuantizeMatMul", "statically"],
        ),
        (
            with("QGemm", &["x", "scale", "zero", "x", "scale", "zero"], vec![], microsoft),
            ["QGemm", "QDQ form"],
        ),
        (with("FusedConv", &["x", "x"], vec![], microsoft), ["FusedConv", "export"]),
        (with("Cast", &["x"], vec![attribute("to", 10)], ""), ["Cast", "single precision"]),
        (with("Cast", &["x"], vec![attribute("to", 16)], ""), ["Cast", "single precision"]),
        (with("AveragePool", &["x"], vec![window, dilated], ""), ["AveragePool", "dilations"]),
        (
            with("QuantizeLinear", &["x", "scale", "zero"], block, ""),
            ["QuantizeLinear", "per block"],
        ),
        (sixteen, ["16 bits", "to 8 bits"]),
        (half, ["scale", "single precision"]),
        (four, ["Int4", "export"]),
        (opset(8), ["operator set is 8", "opset 17"]),
        (opset(24), ["operator set is 24", "opset 17"]),
    ];
    for (model, expected) in cases {
        let error = bare(&model).map(|_| ()).unwrap_err();
        let text = monet::text::causes(&error);
        for part in expected {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
}
