//! Exported files beside the networks that they are of.

use clap::ValueEnum;
use tch::Device;

use super::*;
use crate::onnx::INT8;
use crate::quantize::{self, Method};
use crate::topology::Arch;

/// A small net whose batch normalisation does something.
fn net(classes: usize) -> Net {
    of(Arch::Monet, classes)
}

fn of(arch: Arch, classes: usize) -> Net {
    tch::manual_seed(3);
    let net = Net::new(arch.topology(2, classes, 4), Device::Cpu);
    let pass = Pass::Training { drop: 0.0, kind: Kind::Float };
    tch::no_grad(|| (0..20).for_each(|_| drop(net.forward(&slices(), pass))));
    net
}

fn every() -> impl Iterator<Item = (Arch, usize)> {
    Arch::value_variants().iter().flat_map(|&arch| [(arch, 1), (arch, 3)])
}

fn slices() -> Tensor {
    Tensor::rand([4, 2, 32, 48], (Kind::Float, Device::Cpu))
}

fn scales(net: &Net) -> Scales {
    narrowed(net, Limits::bits(8, 8))
}

fn narrowed(net: &Net, limits: Limits) -> Scales {
    quantize::calibrate(&net.topology, &fold(net).unwrap(), &[slices()], Method::Minmax, limits)
        .unwrap()
}

fn quantized(net: &Net) -> Model {
    let (folded, scales) = (fold(net).unwrap(), scales(net));
    build(&net.topology, &folded, Some(&scales), "").unwrap()
}

#[test]
fn a_float_file_computes_what_the_network_computes() {
    for (arch, classes) in every() {
        let net = of(arch, classes);
        let model = build(&net.topology, &fold(&net).unwrap(), None, "").unwrap();
        assert!(verify(&net, &model.encode_to_vec(), Size::new(32, 48)).unwrap() < TOLERANCE);
    }
}

#[test]
fn a_file_of_other_weights_is_refused() {
    let (net, other) = (net(3), Net::new(Topology::monet(2, 3, 4), Device::Cpu));
    let model = build(&other.topology, &fold(&other).unwrap(), None, "").unwrap();
    let error = verify(&net, &model.encode_to_vec(), Size::new(16, 24));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("differs from the network"), "{error}");
}

#[test]
fn a_quantized_file_computes_nearly_what_the_network_computes() {
    for (arch, classes) in every() {
        let (net, x) = (of(arch, classes), slices());
        let found = Interpreter::new(&quantized(&net).encode_to_vec(), Device::Cpu)
            .unwrap()
            .run(&x)
            .unwrap();
        let expected = tch::no_grad(|| net::probabilities(&net.forward(&x, Pass::Inference)));
        let error = (found - expected).abs().mean(Kind::Float).double_value(&[]);
        assert!(error > 0.0 && error < 0.03, "{arch:?}: {error}");
    }
}

#[test]
fn a_pair_stands_where_the_device_keeps_integers_and_nowhere_else() {
    for (arch, classes) in every() {
        let graph = quantized(&of(arch, classes)).graph.unwrap();
        let maker = |name: &str| {
            graph.node.iter().find(|n| n.output[0] == name).map_or("", |n| n.op_type.as_str())
        };
        for node in &graph.node {
            let from = maker(&node.input[0]);
            let expected: &[&str] = match node.op_type.as_str() {
                "QuantizeLinear" => &[
                    "",
                    "Elu",
                    "Relu",
                    "Sigmoid",
                    "Add",
                    "Mul",
                    "MaxPool",
                    "Conv",
                    "ConvTranspose",
                ],
                "Elu" => &["Conv", "ConvTranspose"],
                "Add" | "Mul" | "MaxPool" | "ConvTranspose" => &["DequantizeLinear"],
                "Conv" => &["DequantizeLinear", "Concat"],
                "Relu" => &["Conv", "DequantizeLinear"],
                "Sigmoid" | "Softmax" => &["Conv"],
                _ => continue,
            };
            assert!(expected.contains(&from), "{arch:?} {}: {from:?}", node.name);
        }
        let active = |name: &&str| matches!(maker(name), "Conv" | "ConvTranspose");
        let activated: Vec<&str> = graph
            .node
            .iter()
            .filter(|n| matches!(n.op_type.as_str(), "Elu" | "Relu" | "Sigmoid"))
            .map(|n| n.input[0].as_str())
            .filter(active)
            .collect();
        let split = graph
            .node
            .iter()
            .find(|n| n.op_type == "QuantizeLinear" && activated.contains(&n.input[0].as_str()));
        assert!(split.is_none(), "a pair between a convolution and its activation: {split:?}");
    }
}

#[test]
fn weights_are_symmetric_and_scaled_by_output_channel() {
    let net = net(3);
    let mut narrow = scales(&net);
    narrow.limits = Limits::bits(8, 7);
    let folded = fold(&net).unwrap();
    let narrow = build(&net.topology, &folded, Some(&narrow), "").unwrap().graph.unwrap();
    let extremes = narrow.initializer.iter().filter(|t| t.data_type == INT8);
    assert!(extremes.flat_map(|t| &t.raw_data).all(|&b| (b as i8).abs() <= 63));

    let graph = quantized(&net).graph.unwrap();
    let tensor = |name: String| graph.initializer.iter().find(|t| t.name == name).unwrap();
    for (node, conv) in net.topology.convs() {
        let name = &net.topology.nodes[node].name;
        let weight = tensor(format!("{name}_weight"));
        assert!(
            weight.data_type == INT8 && weight.raw_data.iter().all(|&b| b as i8 != i8::MIN),
            "{name}"
        );
        assert_eq!(tensor(format!("{name}_weight_scale")).dims, [conv.outputs as i64], "{name}");
        let node = graph.node.iter().find(|n| n.name == format!("{name}_weight_dq")).unwrap();
        assert_eq!(node.attribute[0].i, i64::from(conv.transposed), "{name}");
    }
}

/// The largest of all bytes that a file makes of the slices, and how many of its tensors reach
/// it.
fn largest_byte(file: &Model, x: &Tensor) -> (f64, usize) {
    let mut all = vec![];
    let interpreter = Interpreter::new(&file.encode_to_vec(), Device::Cpu).unwrap();
    let _ = interpreter.visit(x, |name, value| {
        if name.ends_with("_q") {
            all.push(value.max().double_value(&[]));
        }
        Ok(None)
    });
    let most = all.iter().copied().fold(0.0, f64::max);
    (most, all.iter().filter(|&&v| v == most).count())
}

#[test]
fn values_of_seven_bits_are_cut_at_127_whatever_comes_and_scaled_for_it() {
    for (arch, classes) in every() {
        let (net, x) = (of(arch, classes), slices());
        let folded = fold(&net).unwrap();
        let mut scales = narrowed(&net, Limits::bits(7, 8));
        let file = |scales: &Scales| build(&net.topology, &folded, Some(scales), "").unwrap();

        let found =
            Interpreter::new(&file(&scales).encode_to_vec(), Device::Cpu).unwrap().run(&x).unwrap();
        let expected = tch::no_grad(|| net::probabilities(&net.forward(&x, Pass::Inference)));
        let error = (found - expected).abs().mean(Kind::Float).double_value(&[]);
        assert!(error > 0.0 && error < 0.05, "{arch:?}: {error}");
        // How many tensors reach it is chance: other tests draw from torch's generator at the
        // same time.
        assert_eq!(largest_byte(&file(&scales), &x).0, 127.0, "{arch:?}");

        // Values far beyond what calibration saw.
        for scale in scales.activations.iter_mut().flatten() {
            scale.scale /= 3.0;
        }
        let (most, reached) = largest_byte(&file(&scales), &x);
        assert!(most == 127.0 && reached > 10, "{arch:?}: {most} in {reached}");
        scales.limits = Limits::bits(8, 8);
        assert!(largest_byte(&file(&scales), &x).0 > 127.0);
    }
}

#[test]
fn bits_give_the_largest_integers() {
    assert_eq!(Limits::bits(8, 8), Limits { activation: 255, weight: 127 });
    assert_eq!(Limits::bits(7, 7), Limits { activation: 127, weight: 63 });
}
