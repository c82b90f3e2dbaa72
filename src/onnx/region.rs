//! A quantized part of a net as one operator of tract.
//!
//! [`rewrite`] replaces each part that [`import`](super::import) found by a [`QuantizedRegion`].
//! Tract runs the rest of the model. Running states share the plan, and each owns an arena.

use std::sync::Arc;

use monet_core::{Kernel, Plan, Size};
use tract_onnx::tract_core::internal::*;

use super::import::Region;

/// A [`Plan`] as an operator. It reads real values and makes probabilities or logits, slice by
/// slice of a batch.
#[derive(Debug, Clone)]
pub(super) struct QuantizedRegion {
    plan: Arc<Plan<'static>>,
}

impl PartialEq for QuantizedRegion {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.plan, &other.plan)
    }
}

impl Eq for QuantizedRegion {}

impl QuantizedRegion {
    /// The plan that it runs.
    pub(super) fn plan(&self) -> &Plan<'static> {
        &self.plan
    }
}

/// The arena of one running state.
#[derive(Debug, Clone)]
struct Arena(Vec<u8>);

impl Op for QuantizedRegion {
    fn name(&self) -> StaticName {
        "QuantizedRegion".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        let (steps, arena) = (self.plan.steps().len(), self.plan.arena_len());
        Ok(vec![format!("{steps} steps, kernel {}, arena of {arena} bytes", self.plan.kernel())])
    }

    op_as_typed_op!();
}

impl EvalOp for QuantizedRegion {
    not_out_of_plan!();

    fn state(&self, _ctx: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(Some(Box::new(Arena(vec![0; self.plan.arena_len()]))))
    }
}

impl OpState for Arena {
    fn eval(
        &mut self,
        _ctx: &EvalContext,
        op: &dyn Op,
        inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        let op = op.downcast_ref::<QuantizedRegion>().context("the state of another operator")?;
        let input = inputs[0].to_plain_array_view::<f32>()?;
        let input = input.as_slice().context("the input is not contiguous")?;
        let batch = inputs[0].shape()[0];
        let Size { height, width } = op.plan.output_size();
        let mut output = Tensor::zero::<f32>(&[batch, op.plan.classes(), height, width])?;
        {
            let mut view = output.to_plain_array_view_mut::<f32>()?;
            let slices = view.as_slice_mut().context("the output is not contiguous")?;
            let each = op.plan.classes() * height * width;
            for (slice, out) in
                input.chunks_exact(op.plan.input_len()).zip(slices.chunks_exact_mut(each))
            {
                op.plan.run_probabilities(&mut self.0, &[slice], out)?;
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }

    fn reset_lanes(&mut self, _lanes: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}

impl TypedOp for QuantizedRegion {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let Size { height, width } = self.plan.output_size();
        let batch = inputs[0].shape[0].clone();
        Ok(tvec!(f32::fact([batch, self.plan.classes().to_dim(), height.to_dim(), width.to_dim()])))
    }

    fn cost(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        Ok(tvec!((Cost::FMA(i32::datum_type()), self.plan.macs().to_dim())))
    }
}

/// Replaces the quantized parts of a model, whose input sizes must be concrete, by one operator
/// each.
///
/// # Errors
/// Where the model is not the imported file's, or no plan can be made for its size.
pub(super) fn rewrite(
    model: &mut TypedModel,
    regions: &[Region],
    kernel: Kernel,
) -> TractResult<()> {
    regions.iter().try_for_each(|region| replace(model, region, kernel))?;
    model.compact()
}

fn replace(model: &mut TypedModel, region: &Region, kernel: Kernel) -> TractResult<()> {
    let find = |name: &str| {
        model
            .find_outlet_label(name)
            .or_else(|| model.nodes.iter().find(|n| n.name == name).map(|n| OutletId::new(n.id, 0)))
            .with_context(|| format!("the model has no tensor \"{name}\""))
    };
    let (input, output) = (find(&region.input)?, find(&region.output)?);
    let fact = model.outlet_fact(input)?;
    let shape = fact
        .shape
        .as_concrete()
        .with_context(|| format!("the size of \"{}\" is not known", region.input))?;
    let &[_, channels, height, width] = shape else {
        bail!("\"{}\" is not a batch of slices: {shape:?}", region.input)
    };
    ensure!(channels == region.graph.tensors[0].channels, "wrong number of channels: {shape:?}");
    let plan = Arc::new(Plan::new(&region.graph, Size::new(height, width), kernel)?);
    let mut patch = TypedModelPatch::new("quantized region");
    let tap = patch.tap_model(model, input)?;
    let wire = patch.wire_node(region.operator(), QuantizedRegion { plan }, &[tap])?;
    patch.shunt_outside(model, output, wire[0])?;
    patch.apply(model)
}
