//! The functions of `fuzz/` on stable Rust: seeds, damaged by a mutator that is the same on every
//! run. `cargo fuzz` runs the same functions for longer, under libFuzzer.
//!
//! `MONET_FUZZ_CASES=N` multiplies the cases; `MONET_FUZZ_SEED=N` makes others. What fails is left
//! in the system's folder for temporary files.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monet_testing::{Random, fuzz as harness, nets, nifti, onnx};
use prost::Message;
use tract_onnx::pb;

/// Longest that a file of a few kilobytes may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs a function on the seeds of its name as they are, then on so many damaged ones.
fn fuzz(target: &str, run: fn(&[u8]), cases: u64, damage: fn(&mut Random, &[Vec<u8>]) -> Vec<u8>) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| run(seed));
    let cases = cases * setting("MONET_FUZZ_CASES", 1);
    let mut random = Random(setting("MONET_FUZZ_SEED", 16));
    for case in 0..cases {
        let bytes = damage(&mut random, &seeds);
        let clock = Instant::now();
        let ran = catch_unwind(AssertUnwindSafe(|| run(&bytes)));
        if ran.is_err() || clock.elapsed() > PATIENCE {
            let path = std::env::temp_dir().join(format!("monet-fuzz-{target}-{case}"));
            fs::write(&path, &bytes).unwrap();
            panic!(
                "{target}: case {case} panicked or took {:?}: {}",
                clock.elapsed(),
                path.display()
            );
        }
    }
    let peak = monet::measure::peak_memory().unwrap_or(0);
    println!("{target}: {cases} cases, {} MB at most", peak >> 20);
    assert!(peak < 1 << 30, "{target}: {peak} bytes");
}

/// Numbers at which arithmetic breaks.
const NUMBERS: [i64; 14] =
    [0, 1, -1, 2, 127, 128, 255, 256, 32_767, 65_535, i32::MAX as i64, 1 << 32, i64::MAX, i64::MIN];

/// A seed with a few bytes changed, taken out, or put in from another.
fn bytes(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut all = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(6) {
        let at = random.below(all.len().max(1));
        let end = (at + 1 + random.below(16)).min(all.len());
        match random.below(7) {
            _ if all.is_empty() => all.push(random.next_u64() as u8),
            0 => all[at] ^= 1 << random.below(8),
            1 => all[at] = random.next_u64() as u8,
            2 => drop(all.drain(at..end)),
            3 => drop(all.splice(at..at, all[at..end].to_vec())),
            4 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len().max(1)).min(other.len());
                let to = (from + random.below(64)).min(other.len());
                all.splice(at..at, other[from..to].iter().copied());
            }
            5 => {
                let value = random.pick(&NUMBERS).to_le_bytes();
                let width = random.pick(&[2, 4, 8]);
                let mut part = value[..width].to_vec();
                if random.below(4) == 0 {
                    part.reverse();
                }
                let end = (at + width).min(all.len());
                all.splice(at..end, part);
            }
            _ => all.truncate(at.max(1)),
        }
    }
    all
}

/// A text with numbers and words exchanged, or damaged as bytes are.
fn words(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    if random.below(4) == 0 {
        return bytes(random, seeds);
    }
    const WORDS: [&str; 16] = [
        "0",
        "-1",
        "1e308",
        "-1e308",
        "1e-320",
        "18446744073709551615",
        "9223372036854775807",
        "0.5",
        "nan",
        "inf",
        "\"\"",
        "\"\\u001b[2J\"",
        "[]",
        "true",
        "256",
        "null",
    ];
    let seed = String::from_utf8_lossy(&seeds[random.below(seeds.len())]).into_owned();
    let mut lines: Vec<String> = seed.lines().map(str::to_owned).collect();
    for _ in 0..1 + random.below(4) {
        let at = random.below(lines.len());
        match random.below(5) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[random.below(lines.len())].clone()),
            _ => {
                let separator = if lines[at].contains('=') { '=' } else { ':' };
                let comma = if lines[at].ends_with(',') { "," } else { "" };
                let Some((key, _)) = lines[at].split_once(separator) else { continue };
                lines[at] = format!("{key}{separator} {}{comma}", random.pick(&WORDS));
            }
        }
        if lines.is_empty() {
            lines.push(String::new());
        }
    }
    lines.join("\n").into_bytes()
}

/// A net with nodes, attributes, shapes and names exchanged, or damaged as bytes are.
fn nets(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    if random.below(4) == 0 {
        return bytes(random, seeds);
    }
    let mut models: Vec<pb::ModelProto> =
        seeds.iter().filter_map(|seed| pb::ModelProto::decode(&seed[..]).ok()).collect();
    let mut model = models.swap_remove(random.below(models.len()));
    let graph = model.graph.get_or_insert_with(Default::default);
    for _ in 0..1 + random.below(3) {
        if graph.node.is_empty() {
            break;
        }
        let at = random.below(graph.node.len());
        let names: Vec<String> = graph.node.iter().flat_map(|node| node.input.clone()).collect();
        let node = &mut graph.node[at];
        match random.below(9) {
            0 => node.op_type = random.pick(&OPERATORS).into(),
            1 if !node.input.is_empty() => {
                let i = random.below(node.input.len());
                node.input[i] = names[random.below(names.len())].clone();
            }
            2 => drop(node.input.pop()),
            3 => node
                .input
                .push(names.get(random.below(names.len().max(1))).cloned().unwrap_or_default()),
            4 => {
                let value = if random.below(2) == 0 {
                    random.pick(&NUMBERS)
                } else {
                    random.below(6) as i64 - 1
                };
                let name = random.pick(&[
                    "axis",
                    "group",
                    "keepdims",
                    "ceil_mode",
                    "to",
                    "blocksize",
                    "size",
                ]);
                node.attribute.retain(|a| a.name != name);
                node.attribute.push(onnx::int(name, value));
            }
            5 => {
                let name = random.pick(&ATTRIBUTES);
                let many = random.pick(&[1, 2, 2, 2, 4, 4]);
                let value = |random: &mut Random| {
                    if random.below(5) == 0 {
                        random.pick(&NUMBERS)
                    } else {
                        random.below(5) as i64
                    }
                };
                let values: Vec<i64> = (0..many).map(|_| value(random)).collect();
                node.attribute.retain(|a| a.name != name);
                node.attribute.push(onnx::ints(name, &values));
            }
            6 => {
                let name = random.pick(&[
                    "auto_pad",
                    "mode",
                    "coordinate_transformation_mode",
                    "nearest_mode",
                ]);
                let text = random.pick(&[
                    "SAME_UPPER",
                    "SAME_LOWER",
                    "VALID",
                    "linear",
                    "cubic",
                    "reflect",
                    "edge",
                    "asymmetric",
                    "align_corners",
                ]);
                node.attribute.retain(|a| a.name != name);
                node.attribute.push(onnx::word(name, text));
            }
            7 if !graph.initializer.is_empty() => {
                let i = random.below(graph.initializer.len());
                let tensor = &mut graph.initializer[i];
                match random.below(3) {
                    0 => tensor.dims.reverse(),
                    1 => {
                        let value = random.pick(&NUMBERS).to_le_bytes();
                        let at = random.below(tensor.raw_data.len().max(1));
                        tensor
                            .raw_data
                            .iter_mut()
                            .skip(at)
                            .zip(value)
                            .for_each(|(byte, value)| *byte = value);
                    }
                    _ => {
                        let axis = random.below(tensor.dims.len().max(1));
                        tensor
                            .dims
                            .get_mut(axis)
                            .into_iter()
                            .for_each(|n| *n = random.below(5) as i64);
                    }
                }
            }
            _ => {
                model
                    .opset_import
                    .iter_mut()
                    .for_each(|set| set.version = 7 + random.below(17) as i64);
            }
        }
    }
    model.encode_to_vec()
}

const ATTRIBUTES: [&str; 9] = [
    "strides",
    "dilations",
    "pads",
    "kernel_shape",
    "output_padding",
    "output_shape",
    "axes",
    "perm",
    "split",
];

/// Of those that the guard knows, and a few others.
const OPERATORS: [&str; 72] = [
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LRN",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "MatMul",
    "Max",
    "MaxPool",
    "MeanVarianceNormalization",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pow",
    "QuantizeLinear",
    "Range",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Size",
    "Slice",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Sub",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
    "NonZero",
];

#[test]
fn headers() {
    fuzz("header", harness::header, 4000, bytes);
}

#[test]
fn volumes() {
    fuzz("volume", harness::volume, 2000, bytes);
}

#[test]
fn plans() {
    fuzz("plan", harness::plan, 4000, bytes);
}

#[test]
fn manifests() {
    fuzz("manifest", harness::manifest, 2000, words);
}

#[test]
fn nets_of_onnx() {
    fuzz("onnx", harness::onnx, 4000, nets);
}

#[test]
fn nets_through_tract() {
    // What tract panics at is caught and counted; its own words about it are not wanted here.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.location().is_none_or(|at| !at.file().contains("tract")) {
            hook(info);
        }
    }));
    fuzz("tract", kept, 600, nets);
    println!("tract panicked: {:#?}", harness::PANICS.lock().unwrap());
}

/// Keeps what tract panics at in a new way, for the guard to learn from.
fn kept(bytes: &[u8]) {
    let count = || harness::PANICS.lock().unwrap().len();
    let before = count();
    harness::tract(bytes);
    if count() > before {
        let path = std::env::temp_dir().join(format!("monet-fuzz-tract-panic-{before}.onnx"));
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn targets() {
    fuzz("target", harness::target, 300, words);
}

#[test]
fn profiles() {
    fuzz("profile", harness::profile, 1000, words);
}

#[test]
#[ignore = "writes fuzz/seeds anew"]
fn make_seeds() {
    let save = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(folder(target)).unwrap();
        fs::write(folder(target).join(name), bytes).unwrap();
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let blob = nifti::Nifti::blob([5, 4, 3]);
    let turned =
        nifti::Nifti { qform: Some([0.1, 0.2, 0.3, 1.0, 2.0, 3.0]), sform: None, ..blob.clone() };
    let swapped = nifti::Nifti { big_endian: true, ..nifti::Nifti::new([5, 4, 3], &[0; 60]) };
    for (name, file) in [("plain.nii", &blob), ("turned.nii", &turned), ("swapped.nii", &swapped)] {
        save("header", name, &file.header());
        save("volume", name, &file.bytes());
    }
    save("volume", "packed.nii.gz", &nifti::gzip(&blob.bytes()));
    for seed in 0..6 {
        let (graph, _) = nets::any(&mut Random(seed));
        let net = monet::core::encode(&graph).unwrap();
        if net.len() < 6000 {
            let manifest = monet::package::Package::embedded().manifest;
            save(
                "plan",
                &format!("net{seed}.plan"),
                &monet::package::plan_file::seal(&manifest, &net),
            );
        }
    }
    for name in ["hippocampus.int8.toml", "sarcoma.int8.toml", "heart.int8.toml"] {
        save("manifest", name, &fs::read(root.join("models").join(name)).unwrap());
    }
    for name in ["raspberry-pi-4.toml", "x86-64-v3.toml"] {
        save("target", name, &fs::read(root.join("targets").join(name)).unwrap());
    }
    let target = monet::targets::Target::find("raspberry-pi-4").unwrap();
    let question =
        monet::profile::Question { size: monet::Size::new(64, 64), slices: 20, threads: None };
    let mut predicted =
        monet::profile::predict(&monet::package::Package::embedded(), &target, &question).unwrap();
    predicted.steps.truncate(4);
    save("profile", "predicted.json", monet::measure::json(&predicted).as_bytes());
    let net = onnx::Net::new();
    let files = [
        ("plain.onnx", net.clone().file("s")),
        ("quantized.onnx", onnx::Net::quantized(0.01, 0.02).file("out")),
        ("exported.onnx", onnx::exported().file("out")),
        ("operators.onnx", onnx::operators().file("out")),
    ];
    for (name, file) in &files {
        save("onnx", name, file);
        save("tract", name, file);
    }
}
