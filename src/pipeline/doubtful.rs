//! What is wrong or doubtful about a volume or its result. A volume that the package does not
//! accept is refused before the work; everything else is told in the report.

use std::path::Path;

use super::PipelineError;
use crate::measure::LabelReport;
use crate::package::{Beyond, IntensityWarning, Manifest};
use crate::volume::{Geometry, SliceSource};

/// Holds a volume against the package's `[accepts]`. Returns the limits that the volume does not
/// keep, those that are known already first; they are none unless `accept_any`.
///
/// # Errors
/// [`PipelineError::NotAccepted`] where there are some.
pub(super) fn accept(
    name: &Path,
    accept_any: bool,
    manifest: &Manifest,
    mut beyond: Vec<Beyond>,
    volume: &Geometry,
) -> Result<Vec<Beyond>, PipelineError> {
    beyond.extend(manifest.accepts.iter().flat_map(|accepts| accepts.beyond(volume)));
    if beyond.is_empty() || accept_any {
        return Ok(beyond);
    }
    Err(PipelineError::NotAccepted { path: name.to_owned(), package: package(manifest), beyond })
}

fn package(manifest: &Manifest) -> String {
    format!("{} {}", manifest.name, manifest.version)
}

/// The limits that a volume exceeds, as a list in one line.
pub(super) fn list(beyond: &[Beyond]) -> String {
    beyond.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What a user can do to bring a volume within the limits: segment a part of a volume that is too
/// large, give more of one that is too small, resample one that is too coarse or too fine.
pub(super) fn advice(beyond: &[Beyond]) -> String {
    let mut all = Vec::new();
    for limit in beyond {
        let advice = match limit {
            Beyond::Extent { found, limits, .. } if *found > limits[1] => {
                "segment a part of it (--region, --region-mm), "
            }
            Beyond::Slices { found, limits } if *found > limits[1] => {
                "segment a part of it (--region, --region-mm), "
            }
            Beyond::Spacing { .. } => "resample it, ",
            Beyond::Series { .. } | Beyond::Kind { .. } => "",
            _ => "give more of the body, ",
        };
        if !all.contains(&advice) {
            all.push(advice);
        }
    }
    all.concat()
}

/// Doubts that do not stop the work.
pub(super) struct Doubts {
    /// Limits of the package that the volume exceeds.
    pub(super) beyond: Vec<Beyond>,
    /// About the statistics of its intensities.
    pub(super) intensity: Vec<IntensityWarning>,
}

impl Doubts {
    /// All warnings about a volume that was read to its end.
    pub(super) fn warnings(
        self,
        manifest: &Manifest,
        source: &SliceSource,
        labels: &[LabelReport],
    ) -> Vec<String> {
        let mut all: Vec<String> =
            source.grid().warnings().iter().map(ToString::to_string).collect();
        if !self.beyond.is_empty() {
            let (package, list) = (package(manifest), list(&self.beyond));
            all.push(format!(
                "not a volume that {package} was made for, segmented all the same: {list}"
            ));
        }
        let non_finite = source.non_finite();
        if non_finite > 0 {
            let voxels = source.geometry().size.iter().product::<usize>() * source.channels();
            all.push(format!(
                "{non_finite} of {voxels} voxels are NaN or infinite: taken as background"
            ));
        }
        all.extend(self.intensity.iter().map(ToString::to_string));
        let several = source.channels() > 1;
        let unseen = (0..source.channels()).filter_map(|channel| {
            manifest.normalise.doubt(several.then_some(channel), source.range(channel))
        });
        all.extend(unseen.map(|warning| warning.to_string()));
        if is_empty(labels) {
            all.push("the mask is empty: no label was found anywhere".to_owned());
        }
        all
    }
}

/// Whether nothing was found.
pub(super) fn is_empty(labels: &[LabelReport]) -> bool {
    labels.iter().all(|label| label.voxels == 0)
}
