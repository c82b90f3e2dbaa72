//! What the classes of steps cost a core: the table `targets/predictions.toml`.

use monet_core::StepInfo;
use serde::Deserialize;

use super::ProfileError;
use crate::targets::Target;

/// Cycles by class of step, kernel and core, as `tools/predict` found them.
const TABLE: &str = include_str!("../../targets/predictions.toml");

/// The file's form.
#[derive(Debug, Deserialize)]
struct Table {
    cost: Vec<Cost>,
}

/// Cost of a class of steps.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Cost {
    kernel: String,
    core: String,
    kind: String,
    outputs: u64,
    depth: u64,
    #[serde(default)]
    cycles_per_mac: f64,
    #[serde(default)]
    cycles_per_byte: f64,
    #[serde(default)]
    instructions_per_mac: f64,
    #[serde(default)]
    instructions_per_byte: f64,
}

impl Cost {
    /// Cycles and instructions of a step.
    fn of(&self, step: &StepInfo) -> [f64; 2] {
        if step.macs > 0 && self.cycles_per_mac > 0.0 {
            [self.cycles_per_mac, self.instructions_per_mac].map(|per| per * step.macs as f64)
        } else {
            [self.cycles_per_byte, self.instructions_per_byte].map(|per| per * step.bytes as f64)
        }
    }
}

/// The costs of one kernel on one core.
#[derive(Debug)]
pub(super) struct Costs(Vec<Cost>);

impl Costs {
    /// Those of a target's kernel and core.
    pub(super) fn find(target: &Target) -> Result<Self, ProfileError> {
        let table: Table =
            toml::from_str(TABLE).expect("the embedded table is valid, as a test shows");
        let (own, other): (Vec<Cost>, Vec<Cost>) = table
            .cost
            .into_iter()
            .partition(|c| c.kernel == target.kernel && c.core == target.core.model);
        if own.is_empty() {
            let mut known: Vec<String> =
                other.iter().map(|c| format!("{} on {}", c.kernel, c.core)).collect();
            known.dedup();
            return Err(ProfileError::NoCosts {
                target: target.name.clone(),
                kernel: target.kernel.clone(),
                core: target.core.model.clone(),
                known: known.join(", "),
            });
        }
        Ok(Self(own))
    }

    /// Cycles and instructions of a step, and whether the table has the step's own class; otherwise
    /// those of the nearest class.
    pub(super) fn of(&self, step: &StepInfo) -> ([f64; 2], bool) {
        let [outputs, height, width] = step.shape.map(|n| n as u64);
        let depth = step.macs / (outputs * height * width).max(1);
        let far = |a: u64, b: u64| (a.max(1) as f64 / b.max(1) as f64).log2().abs();
        let distance = |c: &&Cost| {
            let kind = if c.kind == step.kind { 0.0 } else { 8.0 };
            let sort = if (c.cycles_per_mac > 0.0) == (step.macs > 0) { 0.0 } else { 1e3 };
            kind + sort + far(c.outputs, outputs) + far(c.depth, depth)
        };
        let nearest = self.0.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let Some(cost) = nearest else { return ([0.0; 2], false) };
        (cost.of(step), distance(&cost) == 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target::find(name).expect("embedded")
    }

    #[test]
    fn the_table_is_valid_and_every_target_has_its_costs() {
        let table: Table = toml::from_str(TABLE).expect("valid");
        assert!(table.cost.iter().all(|c| c.cycles_per_mac > 0.0 || c.cycles_per_byte > 0.0));
        for target in Target::all() {
            let costs = Costs::find(&target).expect("every embedded target has its costs");
            assert!(
                costs.0.iter().any(|c| c.kind == "convolve+add" && c.cycles_per_mac > 0.0),
                "{}",
                target.name
            );
        }
        let mut unknown = target("x86-64-v3");
        unknown.core.model = "abacus".into();
        let error = Costs::find(&unknown).expect_err("no costs of this core").to_string();
        assert!(error.contains("abacus") && error.contains("avx2 on znver3"), "{error}");
    }

    #[test]
    fn a_step_of_no_known_class_is_named() {
        let costs = Costs(vec![Cost {
            kernel: "k".into(),
            core: "c".into(),
            kind: "convolve".into(),
            outputs: 16,
            depth: 144,
            cycles_per_mac: 0.5,
            cycles_per_byte: 0.0,
            instructions_per_mac: 2.0,
            instructions_per_byte: 0.0,
        }]);
        let mut step = StepInfo {
            name: "s",
            kind: "convolve",
            shape: [16, 8, 8],
            parameters: 0,
            macs: 16 * 144 * 64,
            bytes: 100,
            arena: 0..0,
        };
        let cost = |step: &StepInfo| [0.5, 2.0].map(|per| per * step.macs as f64);
        assert_eq!(costs.of(&step), (cost(&step), true));
        step.macs *= 2;
        assert_eq!(costs.of(&step), (cost(&step), false));
    }
}
