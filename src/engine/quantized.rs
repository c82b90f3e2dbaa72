//! A package's net run by the int8 engine alone.

use std::io::Cursor;
use std::sync::Arc;

use tract_onnx::prelude::{Framework, TractError};

use super::int8::{self, Import, Kernel, Plan};
use super::{Choice, Engine, EngineError};
use crate::package::{Output, Package};

/// Wholly quantized net, planned for one slice size; engines made by [`QuantizedEngine::another`] share the plan.
#[derive(Debug)]
pub struct QuantizedEngine {
    plan: Arc<Plan>,
    arena: Vec<u8>,
    size: [usize; 2],
}

impl QuantizedEngine {
    /// Plans a package's net for slices of this height and width; `None` where part of the net must stay with tract.
    ///
    /// # Errors
    /// [`EngineError::Load`], [`EngineError::Mismatch`]
    pub fn new(package: &Package, size: [usize; 2], kernel: Kernel) -> Result<Option<Self>, EngineError> {
        let load = |reason: String| EngineError::Load { origin: package.origin.clone(), reason };
        let Import { regions, unfused } = import(package)?;
        let Ok([region]) = <[_; 1]>::try_from(regions) else { return Ok(None) };
        let mut graph = region.graph;
        let manifest = &package.manifest;
        let agrees = match (manifest.output, graph.output) {
            (Output::Sigmoid { threshold }, int8::Output::Sigmoid { .. }) => {
                graph.output = int8::Output::Sigmoid { threshold };
                true
            }
            (Output::Argmax, int8::Output::Softmax | int8::Output::Identity) => true,
            _ => false,
        };
        // Some quantizers round the probabilities, too; labels are settled before that.
        let rounding = |op: &str| matches!(op, "QuantizeLinear" | "DequantizeLinear");
        let whole = unfused.iter().all(|node| rounding(&node.op));
        if !agrees || !whole || graph.tensors[0].channels != manifest.input.channels {
            return Ok(None);
        }
        let plan = Plan::new(&graph, size[0], size[1], kernel).map_err(|e| load(e.to_string()))?;
        if plan.output_size() != size || plan.classes() != manifest.classes() {
            let found = format!("{} x {:?}", plan.classes(), plan.output_size());
            let expected = format!("{} x {size:?}", manifest.classes());
            return Err(EngineError::Mismatch {
                origin: package.origin.clone(),
                what: "output",
                found,
                expected,
            });
        }
        let arena = vec![0; plan.arena_len()];
        Ok(Some(Self { plan: Arc::new(plan), arena, size }))
    }

    /// As [`QuantizedEngine::new`]; `None` too where tract was chosen.
    pub(super) fn chosen(
        package: &Package,
        size: [usize; 2],
        choice: Choice,
    ) -> Result<Option<Self>, EngineError> {
        match choice {
            Choice::Int8(kernel) => Self::new(package, size, kernel),
            Choice::Tract => Ok(None),
        }
    }

    /// A further engine with the same weights and an arena of its own.
    pub fn another(&self) -> Self {
        Self { plan: self.plan.clone(), arena: vec![0; self.plan.arena_len()], size: self.size }
    }

    /// The plan that it runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl Engine for QuantizedEngine {
    fn size(&self) -> [usize; 2] {
        self.size
    }

    fn name(&self) -> String {
        format!("int8 {}", self.plan.kernel())
    }

    fn segment(&mut self, input: &[f32], labels: &mut [u8]) -> Result<(), EngineError> {
        self.plan.run(&mut self.arena, input, labels).map_err(|e| EngineError::Run(e.to_string()))
    }
}

/// The quantized parts of a package's net.
pub(super) fn import(package: &Package) -> Result<Import, EngineError> {
    let load = |e: TractError| EngineError::Load { origin: package.origin.clone(), reason: format!("{e:#}") };
    let proto = tract_onnx::onnx().proto_model_for_read(&mut Cursor::new(&*package.onnx)).map_err(load)?;
    Ok(int8::import(&proto))
}
