//! DICOM inputs: which series of a folder or archive become jobs, and what their labels become.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use monet::dicom::format::series::{self, Scan};
use monet::dicom::{self, Choice, DicomJob, Form, Series, object_name};
use monet::package::Manifest;
use monet::pipeline::FileJob;
use monet::text::shown;

use super::decode::Contained;

/// What concerns DICOM inputs alone.
#[derive(Debug, Args)]
#[command(next_help_heading = "DICOM")]
pub(super) struct DicomArgs {
    /// Take the series with this Series Instance UID, of several stacks in it the N-th, as `monet
    /// series` lists them; without it the one that the model accepts
    #[arg(long, value_name = "UID[:N]")]
    series: Option<String>,
    /// What the labels become; nifti where -o ends in .nii or .nii.gz, seg elsewhere
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Write a measurement report (structured report, TID 1500) that refers to the segments
    #[arg(long, value_name = "FILE.dcm")]
    report: Option<PathBuf>,
    /// Write the preview as a secondary capture
    #[arg(long, value_name = "FILE.dcm")]
    capture: Option<PathBuf>,
    /// Segment a series with missing slices or uneven distances, slice by slice
    #[arg(long)]
    allow_gaps: bool,
}

/// What labels of a DICOM series become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Segmentation storage, a bit a voxel for each label
    Seg,
    /// Label map segmentation storage
    Labelmap,
    /// Radiotherapy structure set: contours
    Rtstruct,
    /// A NIfTI label volume
    Nifti,
}

/// Whether an input is DICOM: a folder, a zip archive, a DICOMDIR, a file that begins as one.
pub(super) fn is_dicom(input: &Path) -> bool {
    series::is_dicom(input)
}

/// Looks through an input; a signal ends it.
///
/// # Errors
/// [`series::ScanError`]
pub(super) fn scan(input: &Path, interrupted: &AtomicBool) -> Result<Arc<Scan>> {
    Ok(Arc::new(Scan::of(input, &|| interrupted.load(Ordering::Relaxed))?))
}

impl DicomArgs {
    /// Whether one of them was given.
    pub(super) fn any(&self) -> bool {
        self.series.is_some()
            || self.format.is_some()
            || self.report.is_some()
            || self.capture.is_some()
            || self.allow_gaps
    }

    /// The jobs of an input: the series that the model accepts, several of them only where the
    /// output is a folder. `job` has what all inputs have.
    ///
    /// # Errors
    /// What cannot be looked through; a series that is not there, or none that fits; several that
    /// fit one output.
    pub(super) fn jobs(
        &self,
        job: &FileJob,
        several: bool,
        manifest: &Manifest,
        interrupted: &AtomicBool,
    ) -> Result<Vec<FileJob>> {
        let scan = scan(&job.input, interrupted)?;
        let choice = Choice {
            series: self.series.clone(),
            allow_gaps: self.allow_gaps,
            accept_any: job.accept_any,
            part: job.region.is_some(),
        };
        let all = Series::all(&job.input, &scan);
        let chosen = dicom::choose(&job.input, &scan, &all, manifest, &choice)?;
        let folder = job.output.is_dir();
        ensure!(
            folder || chosen.len() == 1,
            "{}: {} series fit the model: name one, or let -o be a folder that exists for all:\n{}",
            shown(&job.input),
            chosen.len(),
            dicom::list(chosen.iter(), |_| Vec::new())
        );
        let several = several || chosen.len() > 1;
        chosen.into_iter().map(|series| self.job(job, series, folder, several)).collect()
    }

    fn job(&self, job: &FileJob, series: Series, folder: bool, several: bool) -> Result<FileJob> {
        let asked = self.format.map(Format::asked);
        let stem = series.file_stem();
        let output = if folder {
            let ending = if asked == Some(dicom::Format::Nifti) { "nii.gz" } else { "dcm" };
            job.output.join(format!("{stem}.{ending}"))
        } else {
            job.output.clone()
        };
        let form = Form::of(&output, asked)?;
        [&self.report, &self.capture].into_iter().flatten().try_for_each(|p| object_name(p))?;
        ensure!(
            self.report.is_none() || matches!(form, Some(Form::Seg | Form::Labelmap)),
            "a measurement report refers to segments: write them too, with --format seg"
        );
        let named = |path: &PathBuf| if several { beside(path, &stem) } else { path.clone() };
        Ok(FileJob {
            output,
            preview: job.preview.as_ref().map(named),
            dicom: Some(DicomJob {
                form,
                report: self.report.as_ref().map(named),
                capture: self.capture.as_ref().map(named),
                decoders: Arc::new(|| Box::new(Contained::default())),
                ..DicomJob::new(series)
            }),
            ..job.clone()
        })
    }
}

impl Format {
    fn asked(self) -> dicom::Format {
        match self {
            Self::Seg => dicom::Format::Object(Form::Seg),
            Self::Labelmap => dicom::Format::Object(Form::Labelmap),
            Self::Rtstruct => dicom::Format::Object(Form::Rtstruct),
            Self::Nifti => dicom::Format::Nifti,
        }
    }
}

/// `dir/report.dcm` of the series `ct-3` is `dir/report-ct-3.dcm`.
fn beside(path: &Path, stem: &str) -> PathBuf {
    let mut own = path.file_stem().unwrap_or_default().to_owned();
    own.push("-");
    own.push(stem);
    if let Some(ending) = path.extension() {
        own.push(".");
        own.push(ending);
    }
    path.with_file_name(own)
}
