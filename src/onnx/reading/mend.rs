//! Works around two faults of tract 0.23.9.
//!
//! - Tract's Celu is right for an alpha of 1 only. [`spell_celu`] writes each Celu as an Elu.
//! - Tract replaces an elementwise chain between a DequantizeLinear and a QuantizeLinear by a table
//!   of 256 counts, and fills the table by running the chain on all 256 values at once. Tract takes
//!   a softmax for elementwise there, whose table then says probability 1 everywhere. Where the
//!   counts before and after differ in sign, the table is also shuffled. [`keep_apart`] replaces
//!   DequantizeLinear by an operator at which tract begins no chain.

use tract_onnx::pb;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::quant::DequantizeLinearF32;

use super::super::proto::float;

/// Writes each Celu as an Elu: `alpha * elu(x / alpha)`.
pub(super) fn spell_celu(graph: &mut pb::GraphProto) {
    for node in std::mem::take(&mut graph.node) {
        let alpha = float(&node, "alpha", 1.0);
        let ([input], [output]) = (&node.input[..], &node.output[..]) else {
            graph.node.push(node);
            continue;
        };
        if node.op_type != "Celu" || alpha == 1.0 {
            graph.node.push(node);
            continue;
        }
        let [factor, quotient, curve] =
            ["alpha", "quotient", "elu"].map(|part| format!("{output}.{part}"));
        graph.initializer.push(pb::TensorProto {
            name: factor.clone(),
            data_type: pb::tensor_proto::DataType::Float as i32,
            float_data: vec![alpha],
            ..Default::default()
        });
        let made = |op_type: &str, input: &[&String], output: &String| pb::NodeProto {
            op_type: op_type.to_owned(),
            name: output.clone(),
            input: input.iter().map(ToString::to_string).collect(),
            output: vec![output.clone()],
            ..Default::default()
        };
        graph.node.push(made("Div", &[input, &factor], &quotient));
        graph.node.push(made("Elu", &[&quotient], &curve));
        graph.node.push(made("Mul", &[&curve, &factor], output));
    }
}

/// Puts [`Apart`] in the place of each of tract's own.
pub(in crate::onnx) fn keep_apart(model: &mut TypedModel) {
    for node in &mut model.nodes {
        if let Some(op) = node.op_as::<DequantizeLinearF32>() {
            node.op = Box::new(Apart(op.clone()));
        }
    }
}

/// Tract's operator without its declutter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Apart(DequantizeLinearF32);

impl Op for Apart {
    fn name(&self) -> StaticName {
        self.0.name()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        self.0.info()
    }

    op_as_typed_op!();
}

impl EvalOp for Apart {
    op_out_of_plan!();

    fn eval(&self, ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.0.eval(ctx, inputs)
    }
}

impl TypedOp for Apart {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.0.output_facts(inputs)
    }

    fn axes_mapping(
        &self,
        inputs: &[&TypedFact],
        outputs: &[&TypedFact],
    ) -> TractResult<AxesMapping> {
        self.0.axes_mapping(inputs, outputs)
    }

    fn change_axes(
        &self,
        model: &TypedModel,
        node: &TypedNode,
        io: InOut,
        change: &AxisOp,
    ) -> TractResult<Option<AxisChangeConsequence>> {
        self.0.change_axes(model, node, io, change)
    }
}
