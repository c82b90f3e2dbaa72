//! What a package accepts: limits around the volumes that it is trained on, for its manifest's
//! `[accepts]`.

use std::path::Path;

use anyhow::{Context, Result};
use monet::package::{Accepts, Limits};
use monet::volume::{AxisMap, Geometry, NiftiHeader, Orientation};

use crate::dataset::{self, Fold, Split};

/// An accepted volume may be so many times longer than the longest one of training along an axis,
/// or shorter than the shortest: crops that people make by hand are.
const EXTENT_MARGIN: f64 = 1.5;

/// Its voxels may be so many times larger or smaller: slices are resampled, and what lies along
/// them is seen by few nets.
const SPACING_MARGIN: f64 = 2.0;

/// Limits for the training subjects of a data set, whose headers alone are read, in an orientation;
/// nothing where it has no subject.
///
/// # Errors
/// Where the data are no data set or a header is damaged; names the subject.
pub fn of(data: &Path, fold: Option<Fold>, orientation: Orientation) -> Result<Option<Accepts>> {
    let pairs = dataset::list(data)?;
    if pairs.is_empty() {
        return Ok(None);
    }
    let grids = dataset::split(&pairs, Split::Train, fold)?
        .iter()
        .map(|pair| {
            let header =
                NiftiHeader::read(&pair.image).with_context(|| format!("subject {}", pair.name))?;
            let grid = header.grid.geometry();
            Ok(grid.oriented(AxisMap::between(grid.affine.orientation(), orientation)))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Some(around(&dataset::describe(data)?.modalities(), &grids)))
}

/// Limits around grids. Slices may be as many as the other limits together allow.
fn around(modalities: &[String], grids: &[Geometry]) -> Accepts {
    let axes = [0, 1, 2];
    let extent = axes.map(|axis| {
        let [least, most] =
            ends(grids.iter().map(|grid| grid.size[axis] as f64 * grid.spacing[axis]));
        [(least / EXTENT_MARGIN).floor().max(1.0), (most * EXTENT_MARGIN).ceil()]
    });
    let spacing = axes.map(|axis| {
        let [least, most] = ends(grids.iter().map(|grid| grid.spacing[axis]));
        let rounded = |mm: f64, to: fn(f64) -> f64| to(mm * 1000.0) / 1000.0;
        [
            rounded(least / SPACING_MARGIN, f64::floor).max(0.001),
            rounded(most * SPACING_MARGIN, f64::ceil),
        ]
    });
    let margin = EXTENT_MARGIN * SPACING_MARGIN;
    let [least, most] = ends(grids.iter().map(|grid| grid.size[2] as f64));
    let slices = [((least / margin) as usize).max(1), (most * margin).ceil() as usize];
    let mut modality: Vec<String> =
        modalities.iter().filter_map(|name| code(name)).map(str::to_owned).collect();
    modality.sort();
    modality.dedup();
    Accepts {
        modality,
        series: Vec::new(),
        extent: Some(extent),
        spacing: Some(spacing),
        slices: Some(slices),
    }
}

fn ends(values: impl Iterator<Item = f64>) -> Limits<f64> {
    values.fold([f64::INFINITY, 0.0], |[least, most], value| [value.min(least), value.max(most)])
}

/// DICOM's code for a modality as `dataset.json` files name it, or a sequence of it.
fn code(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let begins = |with: &[&str]| with.iter().any(|start| name.starts_with(start));
    match () {
        () if begins(&["mr", "t1", "t2", "flair", "adc", "dwi", "pd"]) => Some("MR"),
        () if begins(&["ct"]) => Some("CT"),
        () if begins(&["pet", "pt"]) => Some("PT"),
        () if begins(&["us", "ultrasound"]) => Some("US"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use monet::package::Manifest;
    use monet::volume::Affine;

    use super::*;

    #[test]
    fn limits_lie_around_the_volumes_and_accept_each() {
        let grid = |size, [x, y, z]: [f64; 3]| {
            Geometry::new(
                size,
                Affine([[x, 0.0, 0.0, 0.0], [0.0, y, 0.0, 0.0], [0.0, 0.0, z, 0.0]]),
            )
        };
        let grids = [grid([30, 40, 12], [1.0, 1.0, 3.0]), grid([60, 50, 20], [0.75, 1.0, 2.0])];
        let found = around(&["T1w".into(), "FLAIR".into(), "unknown".into()], &grids);
        assert_eq!(found.modality, ["MR"]);
        assert_eq!(found.extent, Some([[20.0, 68.0], [26.0, 75.0], [24.0, 60.0]]));
        assert_eq!(found.spacing, Some([[0.375, 2.0], [0.5, 2.0], [1.0, 6.0]]));
        assert_eq!(found.slices, Some([4, 60]));
        assert!(grids.iter().all(|grid| found.beyond(grid).is_empty()));
    }

    #[test]
    fn shipped_packages_state_what_their_training_data_were() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let data = std::env::var_os("MONET_DATA")
            .map_or_else(|| root.join("../shared/data"), PathBuf::from);
        for (name, set, fold) in
            [("hippocampus", "Task04_Hippocampus", "20/20"), ("sarcoma", "Task20_SarcomaMR", "8/8")]
        {
            if !data.join(set).is_dir() {
                eprintln!("skipped: {name}, as {} has no {set}", data.display());
                continue;
            }
            for kind in ["f32", "int8"] {
                let text = std::fs::read_to_string(root.join(format!("models/{name}.{kind}.toml")))
                    .unwrap();
                let manifest = Manifest::parse(&text).unwrap();
                let found =
                    of(&data.join(set), Some(fold.parse().unwrap()), manifest.orientation).unwrap();
                assert_eq!(manifest.accepts, found, "{name}.{kind}");
            }
        }
    }
}
