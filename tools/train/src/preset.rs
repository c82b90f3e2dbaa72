//! Tasks: what a package looks like before it is trained. By name, from a file, or derived from the
//! data.
//!
//! A task file is a package's manifest without what training adds (see `tasks/`); the presets are
//! such files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use monet::package::Manifest;

use crate::accepts;
use crate::dataset::{self, Fold, Split};
use crate::fingerprint::Fingerprint;
use crate::topology::Topology;

/// Stands in the manifest until the ONNX file exists.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A task known by name.
struct Preset {
    name: &'static str,
    /// What `dataset.json` calls itself, in lower case.
    datasets: &'static [&'static str],
    toml: &'static str,
}

const PRESETS: [Preset; 8] = [
    Preset {
        name: "hippocampus",
        datasets: &["hippocampus"],
        toml: include_str!("../tasks/hippocampus.toml"),
    },
    Preset {
        name: "pancreas",
        datasets: &["pancreas"],
        toml: include_str!("../tasks/pancreas.toml"),
    },
    Preset {
        name: "brain-tumour",
        datasets: &["brats", "braintumour"],
        toml: include_str!("../tasks/brain-tumour.toml"),
    },
    Preset {
        name: "brain-tumour-parts",
        datasets: &[],
        toml: include_str!("../tasks/brain-tumour-parts.toml"),
    },
    Preset {
        name: "sarcoma",
        datasets: &["sarcomamr"],
        toml: include_str!("../tasks/sarcoma.toml"),
    },
    Preset { name: "heart", datasets: &["heart"], toml: include_str!("../tasks/heart.toml") },
    Preset {
        name: "pancreas-slices",
        datasets: &["pancreasslices"],
        toml: include_str!("../tasks/pancreas-slices.toml"),
    },
    Preset {
        name: "brain-tumour-slices",
        datasets: &["braintumourslices", "braintumourindependent"],
        toml: include_str!("../tasks/brain-tumour-slices.toml"),
    },
];

/// Asks for a task derived from the data.
pub const AUTO: &str = "auto";

/// The manifest of a preset, as yet without model file, hash and metrics.
///
/// # Errors
/// Where the name is unknown.
pub fn manifest(name: &str) -> Result<Manifest> {
    match PRESETS.iter().find(|p| p.name == name) {
        Some(preset) => parse(preset.toml),
        None => bail!("no task {name:?}: expected {}", choices()),
    }
}

/// The task for a data set: `task` is a preset's name, a task file or [`AUTO`]; without one, the
/// preset that knows the data set's name. `fold` says which subjects train; around these lie the
/// limits of what the package accepts, where the task has none and there are data (an empty path is
/// none). Returns what was chosen, the manifest and, for [`AUTO`], what it was derived from.
///
/// # Errors
/// Where nothing fits or the file is none; unreadable data.
pub fn resolve(
    task: Option<&str>,
    data: &Path,
    fold: Option<Fold>,
) -> Result<(String, Manifest, Option<Fingerprint>)> {
    let (name, mut manifest, fingerprint) = choose(task, data, fold)?;
    if manifest.accepts.is_none() && !data.as_os_str().is_empty() {
        manifest.accepts = accepts::of(data, fold, manifest.orientation)?;
    }
    Ok((name, manifest, fingerprint))
}

/// The task as it is known or derived, without limits that it has not itself.
fn choose(
    task: Option<&str>,
    data: &Path,
    fold: Option<Fold>,
) -> Result<(String, Manifest, Option<Fingerprint>)> {
    match task {
        Some(AUTO) => {
            let pairs = dataset::list(data)?;
            let fingerprint = Fingerprint::of(
                &dataset::describe(data)?,
                &dataset::split(&pairs, Split::Train, fold)?,
            )?;
            let manifest = fingerprint.manifest()?;
            Ok((AUTO.into(), manifest, Some(fingerprint)))
        }
        Some(name) if name.ends_with(".toml") => {
            let text = fs::read_to_string(name).with_context(|| format!("task file {name}"))?;
            Ok((name.into(), parse(&text).with_context(|| format!("task file {name}"))?, None))
        }
        Some(name) => Ok((name.into(), manifest(name)?, None)),
        None => {
            let name = dataset::describe(data)?.name;
            let known = name.to_lowercase();
            let Some(preset) = PRESETS.iter().find(|p| p.datasets.contains(&known.as_str())) else {
                bail!(
                    "{}: no preset is known for a data set named {name:?}: give --task {}",
                    data.display(),
                    choices()
                );
            };
            Ok((preset.name.into(), parse(preset.toml)?, None))
        }
    }
}

fn choices() -> String {
    let names: Vec<&str> = PRESETS.iter().map(|p| p.name).collect();
    format!("{}, a file that ends in .toml, or {AUTO}", names.join(", "))
}

/// Completes a task file to a manifest.
///
/// # Errors
/// Where it is no TOML, or the manifest is not valid.
pub fn parse(text: &str) -> Result<Manifest> {
    let mut table: toml::Table = text.parse()?;
    let name = table.get("name").and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    let added = [
        ("format", toml::Value::Integer(monet::package::FORMAT.into())),
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("model", format!("{name}.onnx").into()),
        ("sha256", NO_HASH.into()),
    ];
    for (field, value) in added {
        table.entry(field).or_insert(value);
    }
    Ok(Manifest::parse(&table.to_string())?)
}

/// A manifest as a task file: without what [`parse`] adds.
///
/// # Errors
/// Where the manifest is no TOML, which does not happen.
pub fn task_file(manifest: &Manifest) -> Result<String> {
    let mut table: toml::Table = manifest.to_toml().parse()?;
    for field in ["format", "version", "model", "sha256"] {
        table.remove(field);
    }
    Ok(table.to_string())
}

/// The manifest with the sides that a network needs.
///
/// # Errors
/// Where the task's size is no multiple of them.
pub fn fit(mut manifest: Manifest, topology: &Topology) -> Result<Manifest> {
    manifest.input.step = topology.step();
    manifest.validate().with_context(|| {
        format!("this network needs slices whose sides are multiples of {}", topology.step())
    })?;
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use monet::package::Normalise;

    use super::*;
    use crate::topology::Arch;

    #[test]
    fn each_preset_fits_each_network() {
        for preset in PRESETS {
            for arch in Arch::value_variants() {
                let manifest = manifest(preset.name).unwrap();
                assert_eq!(manifest.name, preset.name);
                let topology = arch.topology(manifest.input.planes(), manifest.classes(), 4);
                assert_eq!(fit(manifest, &topology).unwrap().input.step, topology.step());
            }
        }
    }

    #[test]
    fn a_size_that_a_network_cannot_halve_is_refused() {
        let mut manifest = manifest("hippocampus").unwrap();
        manifest.input.width = 72;
        let error = fit(manifest, &Topology::unet(1, 3, 4)).unwrap_err();
        assert!(format!("{error:#}").contains("multiples of 16"), "{error:#}");
    }

    #[test]
    fn pancreas_and_tumour_are_one_label() {
        let manifest = manifest("pancreas").unwrap();
        assert_eq!(manifest.labels[0].sources(), [1, 2]);
        assert_eq!(manifest.classes(), 1);
    }

    #[test]
    fn a_slice_of_a_slice_set_is_an_image_of_its_own() {
        for name in ["pancreas-slices", "brain-tumour-slices"] {
            let package = manifest(name).unwrap();
            assert_eq!(package.input.planes(), 1);
            assert!(!package.labels[0].largest, "pieces reach over slices");
            // The third axis is nominal, so that nothing may be refused for it.
            let accepts = package.accepts.unwrap();
            assert_eq!(accepts.slices, None);
            assert!(accepts.extent.unwrap()[2][1] > 1000.0);
        }
        let own = manifest("brain-tumour-slices").unwrap().normalise;
        assert_eq!(own, Normalise::SlicePercentiles { low: 0.5, high: 99.5 });
    }

    #[test]
    fn a_task_file_reads_back_as_written() {
        for preset in PRESETS {
            let manifest = manifest(preset.name).unwrap();
            assert_eq!(parse(&task_file(&manifest).unwrap()).unwrap(), manifest);
        }
    }

    #[test]
    fn an_unknown_task_is_refused_with_the_choices() {
        let error = manifest("liver").unwrap_err().to_string();
        assert!(
            error.contains("liver") && error.contains("pancreas") && error.contains("auto"),
            "{error}"
        );
    }
}
