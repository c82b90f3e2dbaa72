//! The packages of this repository through the int8 engine, against tract alone on the same file.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use monet_core::{Kernel, Output, Plan, Size};
use tract_onnx::prelude::*;

use super::import::{Region, import};
use super::region::{QuantizedRegion, rewrite};

/// The first of the candidates that exists in `models`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name)
}

fn load(path: &Path) -> (Region, TypedModel, [usize; 4]) {
    let bytes = std::fs::read(path).expect("a committed model");
    let onnx = tract_onnx::onnx();
    let proto = onnx.proto_model_for_read(&mut Cursor::new(&bytes)).expect("an ONNX file");
    let mut import = import(&proto);
    assert!(import.unfused.is_empty() && import.regions.len() == 1, "{:?}", import.unfused);
    let region = import.regions.remove(0);
    let shape = [1, region.graph.tensors[0].channels, 64, 48];
    (region, stock(path, shape), shape)
}

/// The file as tract has it.
fn stock(path: &Path, shape: [usize; 4]) -> TypedModel {
    let model = tract_onnx::onnx().model_for_path(path).expect("tract takes it");
    model
        .with_input_fact(0, f32::fact(shape).into())
        .and_then(|m| m.into_typed())
        .expect("a typed model")
}

/// Smooth blobs: something like a slice, between 0 and 1.
fn slice(shape: [usize; 4]) -> Vec<f32> {
    let [_, channels, height, width] = shape;
    let value = |i: usize| {
        let (y, x) = ((i / width % height) as f32, (i % width) as f32);
        let wave = (y * 0.21).sin() * (x * 0.17 + 1.0).cos() + 0.4 * (x * 0.9 + y * 0.5).sin();
        (0.5 + 0.4 * wave).clamp(0.0, 1.0)
    };
    (0..channels * height * width).map(value).collect()
}

fn run(model: TypedModel, shape: [usize; 4], input: &[f32]) -> Vec<f32> {
    let tensor = Tensor::from_shape(&shape, input).expect("a tensor of its shape");
    let plan = model.into_optimized().and_then(|m| m.into_runnable()).expect("a runnable model");
    let out = plan.run(tvec!(tensor.into())).expect("a run");
    out[0].to_plain_array_view::<f32>().expect("reals").iter().copied().collect()
}

fn labels(region: &Region, probabilities: &[f32], pixels: usize) -> Vec<u8> {
    (0..pixels)
        .map(|i| match region.graph.output {
            Output::Sigmoid { threshold } => u8::from(probabilities[i] > threshold),
            _ => {
                let classes: Vec<f32> =
                    probabilities.iter().skip(i).step_by(pixels).copied().collect();
                (1..classes.len())
                    .fold(0, |best, c| if classes[c] > classes[best] { c } else { best })
                    as u8
            }
        })
        .collect()
}

fn agrees_with_stock_tract(name: &str) {
    let (region, model, shape) = load(&file(name));
    let input = slice(shape);
    let pixels = shape[2] * shape[3];
    let expected = run(model.clone(), shape, &input);

    let plan =
        Plan::new(&region.graph, Size::new(shape[2], shape[3]), Kernel::best()).expect("a plan");
    let mut arena = vec![0; plan.arena_len()];
    let mut own = vec![0.0; plan.classes() * pixels];
    plan.run_probabilities(&mut arena, &[&input], &mut own).expect("a run");
    let mut own_labels = vec![0; pixels];
    plan.run(&mut arena, &[&input], &mut own_labels).expect("a run");

    assert_eq!(own_labels, labels(&region, &own, pixels));
    let mean =
        expected.iter().zip(&own).map(|(a, b)| (a - b).abs()).sum::<f32>() / expected.len() as f32;
    let equal =
        labels(&region, &expected, pixels).iter().zip(&own_labels).filter(|(a, b)| a == b).count();
    println!(
        "{name}: mean difference of probabilities {mean:.5}, {equal} of {pixels} labels equal"
    );
    if name.starts_with("bench/") {
        // Random weights spread a single step of difference over the whole net, so that any two
        // int8 runtimes part: the engine may be no farther from stock tract than quantization
        // itself is from the f32 net.
        let float = run(stock(&file(&name.replace("int8", "f32")), shape), shape, &input);
        let noise = float.iter().zip(&expected).map(|(a, b)| (a - b).abs()).sum::<f32>()
            / expected.len() as f32;
        println!("{name}: quantization itself {noise:.5}");
        assert!(mean < 1.5 * noise, "mean difference {mean}, of quantization itself {noise}");
    } else {
        assert!(mean < 0.01, "mean difference {mean}");
        assert!(equal * 1000 >= pixels * 995, "{equal} of {pixels} labels equal");
    }

    let mut rewritten = model;
    rewrite(&mut rewritten, std::slice::from_ref(&region), Kernel::best())
        .expect("the region is there");
    assert!(rewritten.nodes.iter().any(|n| n.op_is::<QuantizedRegion>()));
    assert_eq!(rewritten.nodes.len(), 2, "source and region");
    assert_eq!(run(rewritten, shape, &input), own);
}

#[test]
fn the_bench_net_agrees_with_stock_tract() {
    agrees_with_stock_tract("bench/monet-256.int8.onnx");
}

#[test]
fn the_embedded_net_agrees_with_stock_tract() {
    agrees_with_stock_tract("hippocampus.int8.onnx");
}
