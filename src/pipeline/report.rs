//! What is told of a volume that was segmented.

use std::path::PathBuf;

use serde::Serialize;

use crate::measure::{LabelReport, StageTimes};
use crate::package::Manifest;
use crate::text;
use crate::volume::VoxelBox;

/// What was done with one volume.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The volume: its path, or the name that its reader gives it.
    #[serde(serialize_with = "text::serialize_path")]
    pub input: PathBuf,
    /// The labels: their path, or the name that their writer gives them.
    #[serde(serialize_with = "text::serialize_path")]
    pub output: PathBuf,
    /// The model.
    pub model: ModelReport,
    /// Width, height and slices of the volume in the model's orientation.
    pub size: [usize; 3],
    /// Millimetres along the same axes.
    pub spacing_mm: [f64; 3],
    /// The part that was segmented, along the same axes, where it was not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<VoxelBox>,
    /// Whether no voxel has a label.
    pub empty: bool,
    /// Each label's figures.
    pub labels: Vec<LabelReport>,
    /// Number of slices that were segmented.
    pub slices: usize,
    /// Worker threads.
    pub threads: usize,
    /// What ran the net.
    pub engine: String,
    /// From the job's making to the finished labels.
    pub wall_s: f64,
    /// Of `wall_s`, the passes over the volume before the first slice (statistics, spool,
    /// planning).
    pub before_s: f64,
    /// Slices divided by `wall_s`.
    pub slices_per_s: f64,
    /// Time in each stage.
    pub stages: StageTimes,
    /// Most memory resident so far in this process, bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Voxels that were NaN or infinite and taken as background.
    pub non_finite_voxels: u64,
    /// What was odd.
    pub warnings: Vec<String>,
    /// Where the volume comes from, where it is a DICOM series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dicom: Option<Origin>,
}

/// The DICOM series that a volume is.
#[derive(Debug, Clone, Serialize)]
pub struct Origin {
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID.
    pub series: String,
    /// Frame of Reference UID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_of_reference: Option<String>,
    /// What is odd about the series.
    pub oddities: Vec<String>,
    /// Its instances, in the order of their first slices.
    pub instances: Vec<Instance>,
}

/// An instance of a DICOM series.
#[derive(Debug, Clone, Serialize)]
pub struct Instance {
    /// SOP Instance UID.
    pub uid: String,
    /// SHA-256 of its file.
    pub sha256: String,
}

/// Which model made a label volume.
#[derive(Debug, Clone, Serialize)]
pub struct ModelReport {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its ONNX file.
    pub sha256: String,
}

impl ModelReport {
    /// Of a package.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let Manifest { name, version, sha256, .. } = manifest.clone();
        Self { name, version, sha256 }
    }
}
