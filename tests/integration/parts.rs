//! Nets of which the int8 engine takes a part only: the rest runs in tract, and the whole agrees
//! with tract alone.

use monet::Size;
use monet::core::{Kernel, Operation};
use monet::engine::{EngineError, EngineFactory};
use monet::onnx::{self, EngineChoice, Import, package_from_onnx};
use monet::package::Package;
use monet_testing::{
    Random,
    qdq::{Net, SCALE},
};
use prost::Message;
use tract_onnx::pb;

/// The net as a package without manifest.
fn package(model: &pb::ModelProto) -> Package {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    package_from_onnx(&path, None).unwrap()
}

fn import(model: &pb::ModelProto) -> Import {
    onnx::import(&package(model)).unwrap()
}

/// Runs the net as a package, and by tract alone: as many parts as expected, labels alike, all of
/// it named by `describe`.
fn check(model: &pb::ModelProto, parts: usize, stays: &[&str]) {
    let import = import(model);
    assert_eq!(import.regions.len(), parts, "{:?}", import.unfused);
    let package = package(model);
    let size = package.manifest.input.size();
    assert_eq!(size, Size::new(24, 32));

    let run = |mut choice: EngineChoice| {
        let mut random = Random(5);
        let input: Vec<f32> = (0..size.area()).map(|_| 4.0 * random.unit() - 1.0).collect();
        let mut labels = vec![0; input.len()];
        let mut engine = choice.make(&package, size, 2).unwrap().pop().unwrap();
        engine.segment(&[&input], &mut labels).unwrap();
        (engine.name(), labels)
    };
    let (stock, expected) = run(EngineChoice::Tract);
    let (name, labels) = run(Kernel::best().into());
    assert_eq!(stock, "tract");
    assert_eq!(name, format!("tract with int8 {}", Kernel::best()));
    let most = (0..4).map(|class| expected.iter().filter(|l| **l == class).count()).max().unwrap();
    assert!(
        most * 10 < labels.len() * 9,
        "{most} of {} labels are one: says nothing",
        labels.len()
    );
    let equal = expected.iter().zip(&labels).filter(|(a, b)| a == b).count();
    println!(
        "{parts} part(s): {equal} of {} labels equal, at most {most} of a class",
        labels.len()
    );
    assert!(equal * 100 >= labels.len() * 97, "{equal} of {} labels equal", labels.len());

    let summary = onnx::describe(&package, size, Kernel::best()).unwrap();
    assert_eq!(summary.engine.matches("a part by int8").count(), parts, "{}", summary.engine);
    let on = |runner: &str| summary.layers.iter().filter(|l| l.runs_on == runner).count();
    assert!(on("tract") > 0 && on(&format!("int8 {}", Kernel::best())) >= 2 * parts);
    for op in stays {
        assert!(summary.unfused.iter().any(|n| n.starts_with(op)), "{op}: {:?}", summary.unfused);
    }
}

#[test]
fn a_node_in_the_middle_parts_the_net_in_two() {
    let mut net = Net::new();
    let x = net.round("image");
    let x = net.block(&x, 1, 8);
    let x = net.block(&x, 8, 8);
    let x = net.node("Tanh", &[&x], vec![]);
    let x = net.round(&x);
    let x = net.block(&x, 8, 8);
    let x = net.conv(&x, 8, 4);
    let x = net.softmax(&x);
    check(&net.finish(&x), 2, &["Tanh"]);
}

#[test]
fn a_node_before_the_first_quantization_stays_outside() {
    let mut net = Net::new();
    let x = net.node("Tanh", &["image"], vec![]);
    let x = net.round(&x);
    let x = net.block(&x, 1, 8);
    let x = net.conv(&x, 8, 4);
    let x = net.softmax(&x);
    check(&net.finish(&x), 1, &["Tanh"]);
}

#[test]
fn an_unknown_head_stays_outside() {
    let mut net = Net::new();
    let x = net.round("image");
    let x = net.block(&x, 1, 8);
    let x = net.conv(&x, 8, 4);
    let x = net.node("Tanh", &[&x], vec![]);
    let x = net.softmax(&x);
    check(&net.finish(&x), 1, &["Tanh", "Softmax"]);
}

#[test]
fn a_part_ends_where_nothing_leads_past_its_end() {
    // The unknown node stands in a branch: all before the branch is a part, and the net's end is
    // another.
    let mut net = Net::new();
    let x = net.round("image");
    let x = net.block(&x, 1, 8);
    let side = net.block(&x, 8, 8);
    let side = net.node("Tanh", &[&side], vec![]);
    let side = net.round(&side);
    let x = net.node("Add", &[&x, &side], vec![]);
    let x = net.round(&x);
    let x = net.block(&x, 8, 8);
    let x = net.conv(&x, 8, 4);
    let x = net.softmax(&x);
    let model = net.finish(&x);
    check(&model, 2, &["Tanh", "Add", "Conv"]);
    let regions = import(&model).regions;
    assert_eq!((&*regions[0].input, &*regions[1].output), ("image", &*x));
}

#[test]
fn a_gate_is_integer_whichever_side_its_channel_stands_on() {
    for turned in [false, true] {
        let mut net = Net::new();
        net.floats("unit", &[], &[1.0 / 255.0]);
        net.bytes("none", &[], 2, &[0]);
        let x = net.round("image");
        let skip = net.block(&x, 1, 8);
        let mask = net.conv(&skip, 8, 1);
        let mask = net.node("Sigmoid", &[&mask], vec![]);
        let mask = net.round_by(&mask, "unit", "none");
        let x = net.node("Mul", &if turned { [&*mask, &*skip] } else { [&*skip, &*mask] }, vec![]);
        let x = net.round(&x);
        let x = net.conv(&x, 8, 4);
        let x = net.node("Tanh", &[&x], vec![]);
        let x = net.softmax(&x);
        let model = net.finish(&x);
        check(&model, 1, &["Tanh", "Softmax"]);
        let graph = import(&model).regions.remove(0).graph;
        let gates = graph.nodes.iter().filter(|n| matches!(n.operation, Operation::Scale { .. }));
        assert_eq!(gates.count(), 1);
    }
}

#[test]
fn a_product_of_many_channels_stays_outside() {
    let mut net = Net::new();
    let x = net.round("image");
    let x = net.block(&x, 1, 8);
    let other = net.block(&x, 8, 8);
    let x = net.node("Mul", &[&x, &other], vec![]);
    let x = net.round(&x);
    let x = net.conv(&x, 8, 4);
    let x = net.softmax(&x);
    let import = import(&net.finish(&x));
    assert!(import.unfused.iter().any(|n| n.op == "Mul" && n.reason.contains("single channel")));
}

#[test]
fn a_minimum_before_a_quantization_is_part_of_it_and_cuts_the_counts() {
    // Values of 7 bits: of the input, of a convolution and of a sum.
    let mut net = Net::new();
    net.floats("most", &[], &[(127.0 - 60.0) * SCALE]);
    let x = net.node("Min", &["image", "most"], vec![]);
    let input = net.round(&x);
    let x = net.conv(&input, 1, 8);
    let x = net.node("Min", &[&x, "most"], vec![]);
    let first = net.round(&x);
    let x = net.conv(&first, 8, 8);
    let second = net.round(&x);
    let x = net.node("Add", &[&first, &second], vec![]);
    let x = net.node("Min", &["most", &x], vec![]);
    let x = net.round(&x);
    let x = net.conv(&x, 8, 4);
    let x = net.node("Tanh", &[&x], vec![]);
    let x = net.softmax(&x);
    let model = net.finish(&x);
    check(&model, 1, &["Tanh", "Softmax"]);
    let region = import(&model).regions.remove(0);
    assert_eq!(region.input, "image");
    assert_eq!([0, 1].map(|tensor: usize| region.graph.tensors[tensor].channels), [1, 1]);
    let tables = region.graph.nodes.iter().filter_map(|node| match &node.operation {
        Operation::Lookup { table, .. } => Some(table),
        _ => None,
    });
    let tables: Vec<_> = tables.collect();
    assert_eq!(tables.len(), 3);
    let mut counts = (0..=255u8).zip(0..256);
    assert!(counts.all(|(count, i)| tables.iter().all(|table| table[i] == count.min(127))));
}

#[test]
fn a_minimum_that_cuts_nothing_costs_nothing_and_one_of_two_tensors_stays_outside() {
    let mut net = Net::new();
    net.floats("most", &[], &[(255.0 - 60.0) * SCALE]);
    let x = net.node("Min", &["image", "most"], vec![]);
    let x = net.round(&x);
    let x = net.block(&x, 1, 8);
    let x = net.conv(&x, 8, 4);
    let x = net.node("Min", &[&x, &x], vec![]);
    let x = net.softmax(&x);
    let model = net.finish(&x);
    check(&model, 1, &["Min", "Softmax"]);
    let graph = import(&model).regions.remove(0).graph;
    assert!(!graph.nodes.iter().any(|node| matches!(node.operation, Operation::Lookup { .. })));
}

#[test]
fn a_bare_file_must_say_what_its_slices_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    let save = |model: &pb::ModelProto| std::fs::write(&path, model.encode_to_vec()).unwrap();
    let mut net = Net::new();
    let x = net.round("image");
    let x = net.conv(&x, 1, 4);
    let mut model = net.finish(&x);
    save(&model);
    let package = package_from_onnx(&path, Some(Size::new(8, 12))).unwrap();
    assert_eq!((package.manifest.input.height, package.manifest.input.width), (8, 12));
    assert_eq!((package.manifest.classes(), package.manifest.name.as_str()), (4, "net"));
    package.manifest.validate().unwrap();

    for size in [[0, 8], [8, 5000]] {
        assert!(matches!(
            package_from_onnx(&path, Some(Size::new(size[0], size[1]))),
            Err(EngineError::Bare { what: "input", .. })
        ));
    }
    let graph = model.graph.as_mut().unwrap();
    graph.input[0].r#type = Some(pb::TypeProto {
        value: Some(pb::type_proto::Value::TensorType(pb::type_proto::Tensor {
            elem_type: 1,
            shape: None,
        })),
        ..Default::default()
    });
    save(&model);
    let error = package_from_onnx(&path, None).unwrap_err().to_string();
    assert!(error.contains("expected [n, channels, height, width]"), "{error}");
    std::fs::write(&path, b"no net").unwrap();
    assert!(matches!(package_from_onnx(&path, None), Err(EngineError::Refused { .. })));
    assert!(matches!(
        package_from_onnx(&folder.path().join("none.onnx"), None),
        Err(EngineError::File(_))
    ));
}

#[test]
fn weights_too_many_for_tract_to_fold_are_counted() {
    let mut net = Net::new();
    let x = net.round("image");
    let x = net.block(&x, 1, 256);
    let x = net.block(&x, 256, 512);
    let x = net.conv(&x, 512, 4);
    let x = net.softmax(&x);
    let package = package(&net.finish(&x));
    let summary = onnx::describe(&package, Size::new(24, 32), Kernel::best()).unwrap();
    assert_eq!(summary.parameters, 9 * (256 + 256 * 512 + 512 * 4));
    assert!(summary.layers.iter().all(|layer| layer.op != "Cast"));
}
