//! Task presets: what a package of a known task looks like before it is trained.

use anyhow::{Result, bail};
use monet::package::{Colour, Data, FORMAT, Fit, Input, Label, Manifest, Normalise, Output};
use monet::volume::Orientation;

/// Stands in the manifest until the ONNX file exists.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The names that [`manifest`] knows.
pub const NAMES: [&str; 1] = ["hippocampus"];

/// The manifest of a task, as yet without model file, hash and metrics.
///
/// # Errors
/// Where the task is unknown.
pub fn manifest(task: &str) -> Result<Manifest> {
    match task {
        "hippocampus" => Ok(hippocampus()),
        _ => bail!("no preset {task:?}: expected one of {}", NAMES.join(", ")),
    }
}

fn hippocampus() -> Manifest {
    let label = |value, name: &str, colour| Label { value, name: name.into(), colour: Colour(colour) };
    Manifest {
        format: FORMAT,
        name: "hippocampus".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        task: "Anterior and posterior hippocampus in T1 MRI crops around it".into(),
        model: "hippocampus.onnx".into(),
        sha256: NO_HASH.into(),
        orientation: Orientation::default(),
        input: Input { width: 64, height: 64, channels: 1, neighbours: 1, ceiling: 1024 },
        normalise: Normalise::Percentiles { low: 0.5, high: 99.5 },
        fit: Fit::Pad { spacing: [1.0, 1.0] },
        output: Output::Argmax,
        labels: vec![label(1, "anterior", [0xff, 0x6b, 0x35]), label(2, "posterior", [0x2e, 0xc4, 0xb6])],
        data: Some(Data {
            name: "Medical Segmentation Decathlon, Task04 Hippocampus".into(),
            licence: "CC-BY-SA 4.0".into(),
            attribution: "Antonelli et al., Nature Communications 13, 4128 (2022); data from Vanderbilt University Medical Center".into(),
        }),
        metrics: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_preset_is_a_valid_manifest() {
        for name in NAMES {
            manifest(name).unwrap().validate().unwrap();
        }
    }
}
