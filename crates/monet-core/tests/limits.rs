//! What the planner and the kernels refuse, and in which words; names and sizes.

use monet_core::{
    Convolution, Kernel, KernelError, Operation, Output, Plan, PlanError, Quant, QuantGraph,
    RunError, Size, TensorId,
};
use monet_testing::nets;

#[test]
fn monet_needs_as_many_products_as_its_paper_says_and_fits_its_arena() {
    let plan = Plan::new(&nets::monet(1), Size::new(256, 256), Kernel::best()).expect("a plan");
    assert_eq!(plan.macs(), 4_758_437_888);
    assert!(plan.arena_len() <= 5 << 20, "{} bytes", plan.arena_len());
}

#[test]
fn kernels_are_known_by_their_names() {
    for kernel in Kernel::ALL {
        assert_eq!(kernel.to_string().parse(), Ok(kernel));
        match Kernel::choose(Some(kernel.name())) {
            Ok(found) => assert!(found == kernel && kernel.is_available()),
            Err(error) => assert_eq!(error, KernelError::Unavailable(kernel)),
        }
        assert_eq!(kernel.spin(1) > 0, kernel.is_available());
    }
    let error = Kernel::choose(Some("abacus")).expect_err("no such kernel");
    assert!(error.to_string().contains("avx512-vnni"), "{error}");
}

#[test]
fn a_kernel_that_nobody_has_timed_is_run_only_by_its_name() {
    assert!(!Kernel::Amx.is_timed() && Kernel::Avx512Vnni.is_timed());
    assert_eq!(Kernel::fastest(|kernel| kernel == Kernel::Amx), Kernel::Scalar);
    let x86 = |kernel: Kernel| kernel.cpus().iter().any(|cpu| cpu.0 == "x86_64");
    assert_eq!(Kernel::fastest(x86), Kernel::Avx512Vnni);
    assert!(Kernel::best().is_timed());
    assert_eq!(Kernel::choose(None), Ok(Kernel::best()));
}

/// A net of one 1×1 convolution, for each test to spoil.
fn small() -> QuantGraph {
    let mut graph = QuantGraph::new(1, Quant { scale: 0.1, zero_point: 3 });
    let conv = Convolution {
        cout: 1,
        weights: vec![5],
        scales: vec![0.1],
        bias: vec![0],
        ..Convolution::default()
    };
    graph.push("head", Operation::Logits { inputs: vec![TensorId(0)], conv });
    graph.output = Output::Sigmoid { threshold: 0.5 };
    graph
}

#[test]
fn impossible_nets_are_errors_that_name_the_node() {
    let spoil = |change: &dyn Fn(&mut Convolution)| {
        let mut graph = small();
        let Operation::Logits { conv, .. } = &mut graph.nodes[0].operation else {
            unreachable!("the only node")
        };
        change(conv);
        Plan::new(&graph, Size::new(4, 4), Kernel::Scalar)
    };
    assert!(spoil(&|_| ()).is_ok());
    let changes: [&dyn Fn(&mut Convolution); 6] = [
        &|conv| conv.weights.clear(),
        &|conv| conv.kernel = [0, 1],
        &|conv| conv.stride = [0, 0],
        &|conv| conv.pads = [usize::MAX; 4],
        &|conv| conv.dilation = [usize::MAX; 2],
        &|conv| conv.scales = vec![f32::INFINITY],
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let error = spoil(change).expect_err("a spoilt net");
        assert!(error.to_string().contains("\"head\""), "change {i}: {error}");
    }
    let size = |h, w| Plan::new(&small(), Size::new(h, w), Kernel::Scalar);
    assert!(matches!(size(0, 4), Err(PlanError::Size { .. })));
    assert!(matches!(size(4, usize::MAX), Err(PlanError::Size { .. })));
    let mut graph = small();
    graph.nodes.clear();
    assert!(matches!(
        Plan::new(&graph, Size::new(4, 4), Kernel::Scalar),
        Err(PlanError::Size { .. })
    ));
    let mut graph = small();
    graph.push("late", Operation::Dequantize { input: TensorId(7) });
    assert!(matches!(
        Plan::new(&graph, Size::new(4, 4), Kernel::Scalar),
        Err(PlanError::Graph { .. })
    ));
}

#[test]
fn buffers_of_other_sizes_are_errors() {
    let plan =
        Plan::new(&small(), Size::new(4, 4), Kernel::best()).expect("a plan for a valid net");
    let mut arena = vec![0; plan.arena_len()];
    let mut labels = [0; 16];
    assert!(plan.run(&mut arena, &[&[0.0; 16]], &mut labels).is_ok());
    let runs = [
        plan.run(&mut arena[1..], &[&[0.0; 16]], &mut labels),
        plan.run(&mut arena, &[&[0.0; 15]], &mut labels),
        plan.run(&mut arena, &[&[0.0; 16]], &mut labels[1..]),
    ];
    for (run, name) in runs.into_iter().zip(["arena", "input", "labels"]) {
        assert!(
            matches!(run, Err(RunError::Length { what, .. }) if what == name),
            "{name}: {run:?}"
        );
    }
}
