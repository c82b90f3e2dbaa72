//! The operators that a net may have: for each, the rule for the shape of its result, and which
//! inputs are tensors of the net and which are scales.
//!
//! The list holds the operators of ONNX that segmenting nets use, and those in which ONNX Runtime
//! writes quantized nets. It leaves out operators that
//!
//! - run a graph of their own (`If`, `Loop`, `Scan`),
//! - repeat (`LSTM`),
//! - draw random numbers,
//! - make a result whose size depends on values (`NonZero`, `Compress`, `NonMaxSuppression`).

use tract_onnx::pb;

/// The rule for the shape of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// The first operand's shape.
    Same,
    /// The first operand's shape, along an axis that the node names.
    Along,
    /// The common shape of all operands, or the condition's and both others'.
    Broadcast,
    /// The first operand's, to which the second broadcasts.
    Slope,
    BatchNormalization,
    InstanceNormalization,
    LayerNormalization,
    GroupNormalization,
    /// Of a window of channels.
    LocalNormalization,
    Quantizer,
    Convolution,
    Transposed,
    Pool,
    GlobalPool,
    Resize,
    Upsample,
    Pad,
    Slice,
    Split,
    Concat,
    Reshape,
    Flatten,
    Transpose,
    Squeeze,
    Unsqueeze,
    Shape,
    Size,
    Gather,
    Constant,
    ConstantOfShape,
    Range,
    Expand,
    Tile,
    DepthToSpace,
    SpaceToDepth,
    Reduce,
    ArgReduce,
    Gemm,
    MatMul,
}

/// An operator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operator {
    pub(super) rule: Rule,
    /// Fewest and most inputs.
    pub(super) inputs: [usize; 2],
    /// Most outputs.
    pub(super) outputs: usize,
    /// Which inputs the rule is about; none where all are, in their order.
    pub(super) operands: Option<&'static [usize]>,
    /// Which inputs are scales of quantized tensors.
    pub(super) scales: &'static [usize],
}

impl Operator {
    /// The operator of a node; `None` where the list does not have it.
    pub(super) fn of(node: &pb::NodeProto) -> Option<Self> {
        match node.domain.as_str() {
            "" | "ai.onnx" => standard(&node.op_type).or_else(|| of_runtime(&node.op_type)),
            "com.microsoft" => of_runtime(&node.op_type),
            _ => None,
        }
    }
}

const MANY: usize = 256;

fn plain(rule: Rule, inputs: [usize; 2]) -> Operator {
    Operator { rule, inputs, outputs: 1, operands: None, scales: &[] }
}

fn standard(name: &str) -> Option<Operator> {
    Some(match name {
        "Abs" | "Acos" | "Acosh" | "Asin" | "Asinh" | "Atan" | "Atanh" | "Cast" | "Ceil"
        | "Celu" | "Cos" | "Cosh" | "Elu" | "Erf" | "Exp" | "Floor" | "Gelu" | "HardSigmoid"
        | "HardSwish" | "Identity" | "IsInf" | "IsNaN" | "LeakyRelu" | "Log" | "Mish" | "Neg"
        | "Not" | "Reciprocal" | "Relu" | "Round" | "Selu" | "Shrink" | "Sigmoid" | "Sign"
        | "Sin" | "Sinh" | "Softplus" | "Softsign" | "Sqrt" | "Tan" | "Tanh"
        | "ThresholdedRelu" => plain(Rule::Same, [1, 1]),
        "Clip" => Operator { operands: Some(&[0]), ..plain(Rule::Same, [1, 3]) },
        "Dropout" => Operator { operands: Some(&[0]), outputs: 2, ..plain(Rule::Same, [1, 3]) },
        "MeanVarianceNormalization" => plain(Rule::Same, [1, 1]),
        "Softmax" | "LogSoftmax" | "Hardmax" | "LpNormalization" => plain(Rule::Along, [1, 1]),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "And" | "Or" | "Xor" | "Equal"
        | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" => plain(Rule::Broadcast, [2, 2]),
        "Min" | "Max" | "Sum" | "Mean" => plain(Rule::Broadcast, [1, MANY]),
        "Where" => plain(Rule::Broadcast, [3, 3]),
        "PRelu" => plain(Rule::Slope, [2, 2]),
        "BatchNormalization" => Operator { outputs: 5, ..plain(Rule::BatchNormalization, [5, 5]) },
        "InstanceNormalization" => plain(Rule::InstanceNormalization, [3, 3]),
        "LayerNormalization" => Operator { outputs: 3, ..plain(Rule::LayerNormalization, [2, 3]) },
        "GroupNormalization" => plain(Rule::GroupNormalization, [3, 3]),
        "LRN" => plain(Rule::LocalNormalization, [1, 1]),
        "QuantizeLinear" | "DequantizeLinear" => {
            Operator { scales: &[1], ..plain(Rule::Quantizer, [2, 3]) }
        }
        "Conv" => plain(Rule::Convolution, [2, 3]),
        "QLinearConv" => Operator {
            operands: Some(&[0, 3, 8]),
            scales: &[1, 4, 6],
            ..plain(Rule::Convolution, [8, 9])
        },
        "ConvTranspose" => plain(Rule::Transposed, [2, 3]),
        "MaxPool" => Operator { outputs: 2, ..plain(Rule::Pool, [1, 1]) },
        "AveragePool" => plain(Rule::Pool, [1, 1]),
        "GlobalAveragePool" | "GlobalMaxPool" => plain(Rule::GlobalPool, [1, 1]),
        "Resize" => plain(Rule::Resize, [2, 4]),
        "Upsample" => plain(Rule::Upsample, [1, 2]),
        "Pad" => plain(Rule::Pad, [1, 4]),
        "Slice" => plain(Rule::Slice, [1, 5]),
        "Split" => Operator { outputs: MANY, ..plain(Rule::Split, [1, 2]) },
        "Concat" => plain(Rule::Concat, [1, MANY]),
        "Reshape" => plain(Rule::Reshape, [2, 2]),
        "Flatten" => plain(Rule::Flatten, [1, 1]),
        "Transpose" => plain(Rule::Transpose, [1, 1]),
        "Squeeze" => plain(Rule::Squeeze, [1, 2]),
        "Unsqueeze" => plain(Rule::Unsqueeze, [1, 2]),
        "Shape" => plain(Rule::Shape, [1, 1]),
        "Size" => plain(Rule::Size, [1, 1]),
        "Gather" => plain(Rule::Gather, [2, 2]),
        "Constant" => plain(Rule::Constant, [0, 0]),
        "ConstantOfShape" => plain(Rule::ConstantOfShape, [1, 1]),
        "Range" => plain(Rule::Range, [3, 3]),
        "Expand" => plain(Rule::Expand, [2, 2]),
        "Tile" => plain(Rule::Tile, [2, 2]),
        "DepthToSpace" => plain(Rule::DepthToSpace, [1, 1]),
        "SpaceToDepth" => plain(Rule::SpaceToDepth, [1, 1]),
        "ReduceMax" | "ReduceMin" | "ReduceMean" | "ReduceSum" | "ReduceProd" | "ReduceL1"
        | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceSumSquare" => {
            plain(Rule::Reduce, [1, 2])
        }
        "ArgMax" | "ArgMin" => plain(Rule::ArgReduce, [1, 1]),
        "Gemm" => plain(Rule::Gemm, [2, 3]),
        "MatMul" => plain(Rule::MatMul, [2, 2]),
        "QLinearMatMul" => {
            Operator { operands: Some(&[0, 3]), scales: &[1, 4, 6], ..plain(Rule::MatMul, [8, 8]) }
        }
        _ => return None,
    })
}

/// ONNX Runtime's own operators: its `quantize_static` writes them, its optimizer fuses into them.
fn of_runtime(name: &str) -> Option<Operator> {
    let quantized = |rule, operands, scales, inputs| Operator {
        operands: Some(operands),
        scales,
        ..plain(rule, inputs)
    };
    Some(match name {
        "QuantizeLinear" | "DequantizeLinear" => return standard(name),
        "Gelu" | "QuickGelu" => plain(Rule::Same, [1, 1]),
        "QLinearAdd" | "QLinearMul" => quantized(Rule::Broadcast, &[0, 3], &[1, 4, 6], [7, 8]),
        "QLinearSigmoid" | "QLinearLeakyRelu" => quantized(Rule::Same, &[0], &[1, 3], [4, 5]),
        "QLinearSoftmax" => quantized(Rule::Along, &[0], &[1, 3], [5, 5]),
        // Scale and zero point of the result, then tensor, scale and zero point of each input.
        "QLinearConcat" => quantized(Rule::Concat, &CONCATENATED, &CONCATENATED_SCALES, [5, MANY]),
        "QLinearAveragePool" => quantized(Rule::Pool, &[0], &[1, 3], [4, 5]),
        "QLinearGlobalAveragePool" => quantized(Rule::GlobalPool, &[0], &[1, 3], [4, 5]),
        "QLinearReduceMean" => quantized(Rule::Reduce, &[0], &[1, 3], [4, 5]),
        "QGemm" => quantized(Rule::Gemm, &[0, 3, 6], &[1, 4, 7], [6, 9]),
        _ => return None,
    })
}

/// Every third from 2 on.
const CONCATENATED: [usize; (MANY - 2) / 3] = every_third(2);
/// The first, and every third from 3 on.
const CONCATENATED_SCALES: [usize; (MANY - 2) / 3] = every_third(0);

const fn every_third<const N: usize>(first: usize) -> [usize; N] {
    let mut all = [0; N];
    let mut i = 0;
    while i < N {
        all[i] = first + 3 * i;
        i += 1;
    }
    all
}
