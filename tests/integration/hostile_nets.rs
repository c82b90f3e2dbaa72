//! Damaged and hostile ONNX files through the real binary, bound in memory and time: each ends as
//! an error, and honest ones run.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use monet_testing::{
    nifti::Nifti,
    onnx::{self, Net, floats, graph, int, ints, node, number, sizes, tensor, word},
    package, stderr, text,
};
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;

use crate::MONET;

/// Runs the binary with 1 GB of address space and 5 s of a core.
fn bound(args: &[&str]) -> Output {
    let script = "ulimit -v 1048576; ulimit -t 5; exec \"$0\" \"$@\"";
    Command::new("sh").args(["-c", script, MONET]).args(args).output().unwrap()
}

/// A folder with a volume in it, and a net beside its manifest.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Nifti::blob([16, 16, 2]).write(&folder.path().join("in.nii"));
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A package of this net.
    fn package(&self, net: &[u8]) -> PathBuf {
        let window = monet::package::Normalise::Window { low: 0.0, high: 1000.0 };
        let manifest = package::threshold_package(self.folder.path(), 1, window);
        let plain = monet::package::sha256(&fs::read(self.path("threshold.onnx")).unwrap());
        let changed =
            fs::read_to_string(&manifest).unwrap().replace(&plain, &monet::package::sha256(net));
        fs::write(&manifest, changed).unwrap();
        fs::write(self.path("threshold.onnx"), net).unwrap();
        manifest
    }

    fn commands(&self, net: &[u8]) -> Vec<Vec<String>> {
        let manifest = text(&self.package(net)).to_owned();
        let path = |name: &str| text(&self.path(name)).to_owned();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let bare = path("threshold.onnx");
        [
            [words("inspect --size 16x16"), vec![bare.clone()]],
            [words("inspect"), vec![manifest.clone()]],
            [words("profile --runs 1 --size 16x16"), vec![bare]],
            [words("profile --runs 1 --engine tract"), vec![manifest.clone()]],
            [words("compile --force"), vec![manifest.clone(), "-o".into(), path("o.plan")]],
            [
                words("segment --force"),
                vec![path("in.nii"), "-o".into(), path("o.nii"), "--model".into(), manifest],
            ],
        ]
        .map(|parts| parts.concat())
        .into()
    }

    /// All commands refuse the net, with one error that has this in it.
    fn refused(&self, name: &str, net: &[u8], expected: &str) {
        for command in self.commands(net) {
            let args: Vec<&str> = command.iter().map(String::as_str).collect();
            let ran = bound(&args);
            let message = stderr(&ran);
            assert_eq!(ran.status.code(), Some(1), "{name}, {args:?}: {:?} {message}", ran.status);
            assert!(message.starts_with("monet: error: "), "{name}, {args:?}: {message}");
            let entries = message.lines().filter(|line| line.starts_with("monet: ")).count();
            assert_eq!(entries, 1, "{name}, {args:?}: one error, not {message}");
            assert!(message.contains(expected), "{name}, {args:?}: no {expected:?} in {message}");
            assert!(message.len() < 2000, "{name}, {args:?}: {message}");
        }
        assert!(!self.path("o.nii").exists() && !self.path("o.plan").exists(), "{name}");
    }

    /// The net is shown and runs.
    fn runs(&self, name: &str, net: &[u8]) {
        let commands = self.commands(net);
        for command in [&commands[0], &commands[1], &commands[5]] {
            let args: Vec<&str> = command.iter().map(String::as_str).collect();
            let ran = bound(&args);
            assert!(ran.status.success(), "{name}, {args:?}: {:?} {}", ran.status, stderr(&ran));
        }
    }
}

/// A net that adds the sum of a tensor `c` to its result; the node that makes it is still to come.
fn with_sum(net: Net, maker: pb::NodeProto) -> Vec<u8> {
    let mut net = net;
    net.graph().node.push(maker);
    net.node("Cast", &["c"], "f", vec![int("to", 1)])
        .node("ReduceSum", &["f"], "r", vec![int("keepdims", 0)])
        .node("Add", &["s", "r"], "out", vec![])
        .file("out")
}

/// A chain of nodes that each read the one before twice.
fn doubled(op: &str, times: usize, attribute: &[pb::AttributeProto]) -> Net {
    (0..times).fold(Net::new().node("Identity", &["s"], "t0", vec![]), |net, i| {
        let (from, to) = (format!("t{i}"), format!("t{}", i + 1));
        net.node(op, &[&from, &from], &to, attribute.to_vec())
    })
}

/// One operator behind the sigmoid.
fn one(
    op: &str,
    more: &[&str],
    attribute: Vec<pb::AttributeProto>,
    tensors: Vec<pb::TensorProto>,
) -> Vec<u8> {
    let net = tensors.into_iter().fold(Net::new(), Net::tensor);
    net.node(op, &[&["s"], more].concat(), "out", attribute).file("out")
}

/// The handed examples, each made as it was.
#[test]
fn nets_that_were_handed_in_are_refused() {
    let case = Case::new();
    let refused = |name: &str, net: &[u8], expected: &str| case.refused(name, net, expected);
    let shaped = |values: &[i64]| {
        with_sum(
            Net::new().tensor(sizes("sh", values)),
            node("ConstantOfShape", &["sh"], "c", vec![]),
        )
    };
    refused("1e9 zeros", &shaped(&[1_000_000_000]), "it makes a constant of shape [1000000000]");
    refused("1e11 zeros", &shaped(&[100_000_000_000]), "it makes a constant");
    refused("1e15 zeros", &shaped(&[1_000_000_000_000_000]), "too many elements");
    refused("2^96 zeros", &shaped(&[1 << 32; 3]), "too many elements");
    refused("-1 zeros", &shaped(&[-1]), "expected positive sizes");
    let expanded =
        Net::new().tensor(floats("one", &[1], &[1.0])).tensor(sizes("sh", &[1_000_000_000_000]));
    refused(
        "expand",
        &with_sum(expanded, node("Expand", &["one", "sh"], "c", vec![])),
        "it makes a constant",
    );
    let counted = |last: i64, step: i64| {
        let net =
            Net::new().tensor(number("a", 0)).tensor(number("z", last)).tensor(number("st", step));
        with_sum(net, node("Range", &["a", "z", "st"], "c", vec![]))
    };
    refused("range", &counted(10_000_000_000_000, 1), "it counts from 0 to 10000000000000");
    refused("range of no step", &counted(0, 0), "by 0");

    let joined =
        doubled("Concat", 40, &[int("axis", 1)]).node("ReduceMean", &["t40"], "out", vec![]);
    refused("concat 40 times", &joined.file("out"), "elements are needed at a time");
    let conv = |attributes: Vec<pb::AttributeProto>| {
        Net::new()
            .change(|model| model.graph.as_mut().unwrap().node[0].attribute = attributes)
            .file("s")
    };
    refused("group 0", &conv(vec![int("group", 0)]), "its group is 0");
    refused("stride 0", &conv(vec![ints("strides", &[0, 0])]), "its strides are [0, 0]");
    let pool = Net::empty().node("MaxPool", &["image"], "l", vec![ints("kernel_shape", &[0, 0])]);
    refused("window 0", &pool.file("l"), "its kernel_shape are [0, 0]");
    let circle = Net::empty().node("Add", &["image", "out"], "out", vec![]);
    refused("cycle", &circle.file("out"), "it reads what is made of its own result");

    let weights = |weights: pb::TensorProto| {
        Net::new().change(|model| model.graph.as_mut().unwrap().initializer[0] = weights).file("s")
    };
    refused(
        "claim",
        &weights(floats("w", &[1 << 40, 1 << 40, 1, 1], &[1.0])),
        "more elements than can be counted",
    );
    refused("negative", &weights(floats("w", &[-1, 1, 1, 1], &[1.0])), "expected positive sizes");
    refused("no data", &weights(floats("w", &[1, 1, 1, 1], &[])), "0 raw bytes");
    let external = |location: &str| {
        let entry = |key: &str, value: &str| pb::StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        let external_data =
            vec![entry("location", location), entry("offset", "0"), entry("length", "4")];
        let plain = tensor("w", DataType::Float, &[1, 1, 1, 1]);
        weights(pb::TensorProto { data_location: Some(1), external_data, ..plain })
    };
    refused("data beside", &external("w.bin"), "its data lies in another file");
    refused("data of a device", &external("/dev/zero"), "its data lies in another file");
    let factors = Net::new().tensor(floats("sc", &[4], &[1.0, 1.0, 1e5, 1e5]));
    let resized = factors.node("Resize", &["s", "", "sc"], "c", vec![word("mode", "nearest")]);
    let resized = resized.node("ReduceMean", &["c"], "r", vec![ints("axes", &[2, 3])]);
    refused(
        "resize",
        &resized.node("Add", &["s", "r"], "out", vec![]).file("out"),
        "elements, expected 1 to",
    );

    for (name, scale) in [("inf", f32::INFINITY), ("neg", -0.01), ("tiny", 1e-40), ("zero", 0.0)] {
        refused(name, &Net::quantized(scale, 0.01).file("out"), "");
    }
    refused("nan weight scale", &Net::quantized(0.01, f32::NAN).file("out"), "NaN");
    refused("nested", &nested(5).file("out"), "control flow");
    refused("one If", &nested(1).file("out"), "If");
}

/// Ifs within Ifs.
fn nested(depth: usize) -> Net {
    let inner = (0..depth).fold(node("Identity", &["s"], "out", vec![]), |inner, _| {
        let branch = |node: pb::NodeProto| pb::GraphProto {
            name: "branch".into(),
            node: vec![node],
            output: vec![onnx::image("out")],
            ..Default::default()
        };
        let branches =
            vec![graph("then_branch", branch(inner.clone())), graph("else_branch", branch(inner))];
        node("If", &["tr"], "out", branches)
    });
    let truth = pb::TensorProto { raw_data: vec![1], ..tensor("tr", DataType::Bool, &[]) };
    Net::new().tensor(truth).change(|model| model.graph.as_mut().unwrap().node.push(inner))
}

#[test]
fn files_that_are_no_nets_are_refused() {
    let case = Case::new();
    let whole = Net::new().file("s");
    for cut in [1, 10, whole.len() / 2, whole.len() - 1] {
        case.refused("cut", &whole[..cut], "this ONNX file cannot be used");
    }
    case.refused("empty", b"", "ONNX");
    case.refused("text", &b"hello".repeat(100), "ONNX");
    // A graph of empty nodes, two bytes each, and one of messages within messages.
    let field = |number: u8, content: &[u8]| {
        let mut length = content.len();
        let mut out = vec![number << 3 | 2];
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        [&out[..], &[length as u8], content].concat()
    };
    case.refused(
        "400,000 nodes",
        &field(7, &field(1, b"").repeat(400_000)),
        "messages, strings and lists",
    );
    let deep = (0..50_000).fold(Vec::new(), |graph, _| {
        // Lengths that do not fit are cut: what matters is that nothing follows them down.
        if graph.len() > 1 << 20 { graph } else { field(1, &field(5, &field(6, &graph))) }
    });
    case.refused("deep", &field(7, &deep), "nest");
    let relus = (0..50_000).fold(Net::new().node("Relu", &["s"], "t0", vec![]), |net, i| {
        net.node("Relu", &[&format!("t{i}")], &format!("t{}", i + 1), vec![])
    });
    case.refused("50,000 Relus", &relus.file("t50000"), "it has 50003 nodes");
}

#[test]
fn tensors_that_no_net_holds_are_refused() {
    let case = Case::new();
    let with = |tensor: pb::TensorProto| Net::new().tensor(tensor).file("s");
    let words =
        pb::TensorProto { string_data: vec![b"a".to_vec()], ..tensor("t", DataType::String, &[1]) };
    case.refused("text", &with(words), "its elements are String");
    let half = pb::TensorProto { raw_data: vec![0; 2], ..tensor("t", DataType::Float16, &[1]) };
    case.refused("half", &with(half), "single precision");
    case.refused("nan", &with(floats("t", &[2], &[0.0, f32::NAN])), "NaN");
    case.refused("no elements", &with(floats("t", &[0, 4], &[])), "expected positive sizes");
    case.refused("many axes", &with(floats("t", &[1; 40], &[1.0])), "it has 40 axes");
    case.refused("twice", &with(floats("w", &[1], &[1.0])), "two initialisers");
    let sparse = Net::new().change(|model| {
        let values = Some(floats("t", &[1], &[1.0]));
        let sparse =
            pb::SparseTensorProto { values, indices: Some(sizes("", &[0])), dims: vec![1 << 40] };
        model.graph.as_mut().unwrap().sparse_initializer.push(sparse);
    });
    case.refused("sparse", &sparse.file("s"), "it is sparse");
}

#[test]
fn nets_that_do_not_hold_together_are_refused() {
    let case = Case::new();
    let of = |op: &str| Net::new().node(op, &["s"], "out", vec![]).file("out");
    case.refused(
        "dangling",
        &Net::new().node("Add", &["s", "gone"], "out", vec![]).file("out"),
        "which nothing makes",
    );
    case.refused("no output", &Net::new().file("gone"), "nothing makes it");
    case.refused(
        "made twice",
        &Net::new().node("Relu", &["l"], "s", vec![]).file("s"),
        "is made elsewhere, too",
    );
    case.refused("unknown", &of("Frobnicate"), "not among those");
    case.refused("dynamic", &of("DynamicQuantizeLinear"), "it quantizes anew for each slice");
    case.refused("random", &of("RandomNormalLike"), "not among those");
    let functions = Net::new().change(|model| model.functions.push(pb::FunctionProto::default()));
    case.refused("functions", &functions.file("s"), "functions");
    let old = Net::new().change(|model| model.opset_import[0].version = -3);
    case.refused("operator set", &old.file("s"), "its operator set is -3");
    let computed = Net::new().node("QuantizeLinear", &["s", "s"], "out", vec![]).file("out");
    case.refused("computed scale", &computed, "is computed");
    case.refused(
        "two attributes",
        &one("Softmax", &[], vec![int("axis", 1), int("axis", 1)], vec![]),
        "two attributes",
    );
    let control = Net::new()
        .node("Relu\x1b[2J", &["s"], "o\nmonet: all done", vec![])
        .file("o\nmonet: all done");
    case.refused("control characters", &control, "not among those");
}

#[test]
fn nodes_that_ask_for_too_much_or_nonsense_are_refused() {
    let case = Case::new();
    let refused = |name: &str, net: &[u8], expected: &str| case.refused(name, net, expected);
    refused(
        "pad",
        &one("Pad", &["p"], vec![], vec![sizes("p", &[0, 0, 0, 0, 0, 0, 0, 1 << 40])]),
        "by borders of",
    );
    refused(
        "crop",
        &one("Pad", &["p"], vec![], vec![sizes("p", &[0, 0, -16, 0, 0, 0, 0, 0])]),
        "by borders of",
    );
    refused(
        "tile",
        &one("Tile", &["t"], vec![], vec![sizes("t", &[1, 1, 1 << 20, 1 << 20])]),
        "it makes a tensor of shape",
    );
    refused(
        "tile a little",
        &one("Tile", &["t"], vec![], vec![sizes("t", &[1, 1, 1 << 10, 1 << 10])]),
        "",
    );
    refused(
        "upsample",
        &one("Upsample", &["f"], vec![], vec![floats("f", &[4], &[1.0, 1.0, 1e6, 1e6])]),
        "elements",
    );
    let left_out = Net::new().tensor(sizes("t", &[1, 1, 4, 4])).node(
        "Resize",
        &["s", "", "", "t"],
        "out",
        vec![],
    );
    let left_out = left_out.change(|model| model.opset_import[0].version = 12);
    refused("factors left out", &left_out.file("out"), "it leaves out its region");
    for factor in [f32::NAN, -1.0, 0.0, 1e30] {
        let factors = floats("f", &[4], &[1.0, 1.0, factor, 1.0]);
        refused("factor", &one("Resize", &["", "f"], vec![], vec![factors]), "");
    }
    let reshape = |values: &[i64]| one("Reshape", &["t"], vec![], vec![sizes("t", values)]);
    refused("reshape", &reshape(&[1 << 62, 4, 1, 1]), "elements");
    refused("reshape twice open", &reshape(&[-1, -1]), "it makes shape");
    refused("reshape to others", &reshape(&[1, 1, 3, 5]), "it makes shape");
    refused(
        "dilations",
        &one(
            "MaxPool",
            &[],
            vec![ints("kernel_shape", &[2, 2]), ints("dilations", &[0, 1])],
            vec![],
        ),
        "dilations",
    );
    refused(
        "window",
        &one("MaxPool", &[], vec![ints("kernel_shape", &[64, 64])], vec![]),
        "its window spans 64",
    );
    refused(
        "pool border",
        &one(
            "AveragePool",
            &[],
            vec![ints("kernel_shape", &[2, 2]), ints("pads", &[5, 5, 5, 5])],
            vec![],
        ),
        "its border",
    );
    let grown = |attributes| one("ConvTranspose", &["w"], attributes, vec![]);
    refused("grown", &grown(vec![ints("strides", &[4096, 4096])]), "elements");
    refused("grown to nothing", &grown(vec![ints("pads", &[9, 9, 9, 9])]), "less a border");
    refused("output shape", &grown(vec![ints("output_shape", &[-5, 1 << 50])]), "along an axis");
    refused(
        "bias",
        &one("Conv", &["w", "t"], vec![], vec![floats("t", &[3], &[0.0; 3])]),
        "its bias has shape [3]",
    );
    refused("auto_pad", &one("Conv", &["w"], vec![word("auto_pad", "X")], vec![]), "its auto_pad");
    refused(
        "kernel_shape",
        &one("Conv", &["w"], vec![ints("kernel_shape", &[3, 3])], vec![]),
        "its kernel_shape",
    );
    refused("type", &one("Conv", &["w"], vec![int("strides", 1)], vec![]), "of another type");
    refused("axis", &one("Concat", &["s"], vec![int("axis", i64::MIN)], vec![]), "its axis is");
    refused("softmax", &one("Softmax", &[], vec![int("axis", 9)], vec![]), "its axis is 9");
    refused(
        "gather",
        &one("Gather", &["t"], vec![], vec![sizes("t", &[1 << 40])]),
        "it picks element",
    );
    refused(
        "transpose",
        &one("Transpose", &[], vec![ints("perm", &[0, 1, 2, 2])], vec![]),
        "its perm is",
    );
    refused("squeeze", &one("Squeeze", &["t"], vec![], vec![sizes("t", &[2])]), "it drops axis 2");
    refused("unsqueeze", &one("Unsqueeze", &["t"], vec![], vec![sizes("t", &[0, 0])]), "twice");
    refused("flatten", &one("Flatten", &[], vec![int("axis", 100)], vec![]), "its axis is 100");
    refused(
        "depth",
        &one("DepthToSpace", &[], vec![int("blocksize", 0)], vec![]),
        "its blocksize is 0",
    );
    refused("reduce", &one("ReduceMean", &[], vec![ints("axes", &[7])], vec![]), "its axis is 7");
    refused("matmul", &one("MatMul", &["w"], vec![], vec![]), "it multiplies");
    refused("cast", &one("Cast", &[], vec![int("to", 8)], vec![]), "it casts to type number 8");
    refused(
        "normalization",
        &one("InstanceNormalization", &["t", "t"], vec![], vec![floats("t", &[2], &[1.0; 2])]),
        "expected one value",
    );
    let steps = vec![sizes("a", &[0]), sizes("z", &[9]), sizes("x", &[2]), sizes("st", &[0])];
    refused(
        "slice",
        &one("Slice", &["a", "z", "x", "st"], vec![], steps),
        "do not belong together",
    );
    refused(
        "slice to nothing",
        &one(
            "Slice",
            &["a", "z", "x"],
            vec![],
            vec![sizes("a", &[9]), sizes("z", &[2]), sizes("x", &[2])],
        ),
        "no elements",
    );
    refused(
        "size of values",
        &one("Reshape", &["s"], vec![], vec![]),
        "cannot be told from the file",
    );
}

/// Much in little: a net that computes its sizes as exporters write it, with many of the operators
/// that users' nets have.
#[test]
fn honest_nets_run() {
    let case = Case::new();
    case.runs("ok", &Net::new().file("s"));
    let added = doubled("Add", 60, &[]).node("Sigmoid", &["t60"], "out", vec![]);
    case.runs("add 60 times", &added.file("out"));
    // The nodes stand in no order.
    case.runs(
        "backwards",
        &Net::new().change(|model| model.graph.as_mut().unwrap().node.reverse()).file("s"),
    );
    case.runs("as exported", &onnx::exported().file("out"));
    case.runs("many operators", &onnx::operators().file("out"));
}

/// A trial that its bounds end does not succeed, whatever ends it.
#[test]
fn a_trial_that_ends_is_an_error() {
    let case = Case::new();
    // More than what the start of the program has left over of its memory.
    let manifest = case.package(&onnx::operators().file("out"));
    let trial = |bounds: &str| bound(&["inspect", "--trial", bounds, text(Path::new(&manifest))]);
    assert!(trial("536870912:3").status.success());
    let ran = trial("1000000:3");
    assert!(!ran.status.success() && ran.stdout.is_empty(), "{:?}", ran.status);
}

/// Where tract cannot have the memory that an honest net needs, the trial aborts, panics or never
/// ends, and the command says so.
#[test]
fn a_net_without_the_memory_that_it_needs_is_an_error() {
    let case = Case::new();
    case.package(&Net::new().file("s"));
    let script = "ulimit -v 120000; exec \"$0\" \"$@\"";
    let ran = Command::new("sh")
        .args(["-c", script, MONET, "profile", "--runs", "1", "--size", "4096x4096"])
        .arg(case.path("threshold.onnx"))
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(1), "{:?} {}", ran.status, stderr(&ran));
    assert!(stderr(&ran).contains("this net is not run here"), "{}", stderr(&ran));
}
