//! A series as a job: its reader, the writer of its labels, and what else is made of the result.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use monet_dicom::objects::{Context, Kind, ObjectError, capture, report};
use monet_dicom::pixels::{Decode, InProcess};
use monet_dicom::read::ReadError;
use sha2::{Digest, Sha256};

use super::labels::Content;
use super::{Device, DicomLabels, DicomReader, Form, Series};
use crate::measure::Picture;
use crate::package::{Manifest, hex, table};
use crate::pipeline::{Extra, Instance, Job, Origin, PipelineError, Report};
use crate::text::shown;
use crate::volume::{LabelWriter, NiftiLabels, OutputError, PlaneReader, VolumeError};

/// Makes what decodes compressed frames; asked once a volume.
pub type Decoders = Arc<dyn Fn() -> Box<dyn Decode + Send> + Send + Sync>;

/// A series that is to be segmented, and what becomes of it.
#[derive(Clone)]
pub struct DicomJob {
    /// The series.
    pub series: Series,
    /// What its labels become; NIfTI where `None`.
    pub form: Option<Form>,
    /// A measurement report to write. It refers to the segments of `form`, which is
    /// [`Form::Seg`] or [`Form::Labelmap`].
    pub report: Option<PathBuf>,
    /// A picture to write as a secondary capture.
    pub capture: Option<PathBuf>,
    /// The device that the objects name.
    pub device: Device,
    /// What decodes compressed frames: by default this process, which a decoder's panic takes
    /// along.
    pub decoders: Decoders,
}

impl DicomJob {
    /// A job whose labels become a segmentation.
    #[must_use]
    pub fn new(series: Series) -> Self {
        Self {
            series,
            form: Some(Form::Seg),
            report: None,
            capture: None,
            device: Device::default(),
            decoders: Arc::new(|| Box::new(InProcess)),
        }
    }

    /// Opens the series and begins its labels at `output`. `settings` is what else than series,
    /// package and device the labels follow from.
    pub(crate) fn open(
        &self,
        output: &Path,
        overwrite: bool,
        manifest: &Manifest,
        settings: &[u8],
        interrupted: &Arc<AtomicBool>,
    ) -> Result<Job<'static>, PipelineError> {
        let reader = DicomReader::new(&self.series, (self.decoders)(), Some(interrupted.clone()))?;
        // What objects say, for which the first slice's file is read once; none are made of NIfTI.
        let kinds = self.kinds();
        let context = || super::context::context(&self.series, manifest, &self.device, settings);
        let context = (!kinds.is_empty()).then(context).transpose();
        let context = context.map_err(|error| unreadable(&self.series, &error))?;
        let mut content = Content::default();
        let labels: Box<dyn LabelWriter> = match (self.form, &context) {
            (Some(form), Some(context)) => {
                let labels = DicomLabels::create(output, form, context.clone(), overwrite)?;
                content = labels.content();
                Box::new(labels)
            }
            _ if !self.series.shape().is_grid() => {
                return Err(OutputError::Uneven { path: output.to_owned() }.into());
            }
            _ => {
                let names = table::caret_xml(&manifest.labels);
                Box::new(NiftiLabels::create(output, reader.grid(), overwrite, &names)?)
            }
        };
        let mut job = Job::with(Box::new(reader), labels);
        job.beyond = super::choose::beyond_texts(&self.series, manifest);
        job.warnings = self.series.warnings();
        if let Some(context) = &context {
            // What makes an object impossible is told by its writer.
            let left_out = kinds.into_iter().filter_map(|kind| context.warnings(kind).ok());
            for warning in left_out.flatten().map(|warning| warning.to_string()) {
                if !job.warnings.contains(&warning) {
                    job.warnings.push(warning);
                }
            }
        }
        // Not the folder's name, which may be the patient's.
        let image = self.series.first();
        let number = image.number.map_or(String::new(), |number| format!(" series {number}"));
        job.title =
            Some(format!("{}{number}, {} {}", image.modality, manifest.name, manifest.version));
        job.notice = Some("research use only");
        if let (Some(path), Some(context)) = (&self.report, &context) {
            let kind = if self.form == Some(Form::Labelmap) { Kind::Labelmap } else { Kind::Seg };
            job.extras.push(measurements(path, context.clone(), kind, content));
        }
        if let (Some(path), Some(context)) = (&self.capture, context) {
            job.extras.push(picture(path, context));
        }
        Ok(job)
    }

    /// The objects that are made.
    fn kinds(&self) -> Vec<Kind> {
        let labels = self.form.map(|form| match form {
            Form::Seg => Kind::Seg,
            Form::Labelmap => Kind::Labelmap,
            Form::Rtstruct => Kind::Rtstruct,
        });
        let report = self.report.as_ref().map(|_| Kind::Report);
        let capture = self.capture.as_ref().map(|_| Kind::Capture);
        [labels, report, capture].into_iter().flatten().collect()
    }

    /// What the report says of the files: reads them whole.
    pub(crate) fn origin(&self, interrupted: &AtomicBool) -> Result<Origin, PipelineError> {
        let image = self.series.first();
        let mut instances: Vec<Instance> = Vec::new();
        for index in 0..self.series.slices() {
            let (_, image, place) = self.series.slice(index);
            if instances.iter().rev().any(|instance| instance.uid == image.instance) {
                continue;
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err(PipelineError::Interrupted);
            }
            let source = place.source().map_err(|error| unreadable(&self.series, &error))?;
            let sha256 = sha256(source)
                .map_err(|source| VolumeError::Open { path: place.name(), source })?;
            instances.push(Instance { uid: image.instance.clone(), sha256 });
        }
        Ok(Origin {
            study: image.key.study.clone(),
            series: image.key.series.clone(),
            frame_of_reference: image.frame_of_reference.clone(),
            oddities: self.series.oddities().iter().map(ToString::to_string).collect(),
            instances,
        })
    }

    /// The files that are read.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = PathBuf> {
        self.series.files()
    }

    /// What is written beside the labels.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.report, &self.capture].into_iter().flatten()
    }
}

impl fmt::Debug for DicomJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DicomJob")
            .field("series", &shown(self.series.path()).to_string())
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

fn unreadable(series: &Series, error: &ReadError) -> VolumeError {
    let path = series.path().to_owned();
    VolumeError::Data { path, slice: 0, slices: series.slices(), found: error.to_string() }
}

fn sha256(mut source: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = [0; 16 << 10];
    loop {
        match source.read(&mut chunk)? {
            0 => break,
            count => hash.update(&chunk[..count]),
        }
    }
    Ok(hex(&hash.finalize()))
}

/// A measurement report.
fn measurements(path: &Path, mut context: Context, kind: Kind, content: Content) -> Extra<'static> {
    let make = move |found: &Report, _: Option<&Picture>| {
        // The segmentation that it refers to is complete.
        context.content = content.get().cloned().unwrap_or_default();
        let measured = |label: &crate::measure::LabelReport| report::Measurement {
            value: label.value,
            volume: label.ml * 1000.0,
            intensity: label.intensity.map(|intensity| report::Intensity {
                mean: intensity.mean,
                deviation: intensity.std,
                least: intensity.min.into(),
                largest: intensity.max.into(),
            }),
        };
        let all: Vec<_> = found.labels.iter().map(measured).collect();
        made(report::write(&context, kind, &all, Vec::new()))
    };
    Extra { path: path.to_owned(), intensities: true, picture: false, make: Box::new(make) }
}

/// A secondary capture.
fn picture(path: &Path, context: Context) -> Extra<'static> {
    let make = move |_: &Report, picture: Option<&Picture>| {
        let Some(picture) = picture else { return Err(io::Error::other("there is no picture")) };
        let [rows, columns] = [picture.size.height, picture.size.width].map(|n| n as u16);
        made(capture::write(&context, rows, columns, &picture.rgb, Vec::new()))
    };
    Extra { path: path.to_owned(), intensities: false, picture: true, make: Box::new(make) }
}

fn made<T>(object: Result<(Vec<u8>, T), ObjectError>) -> io::Result<Vec<u8>> {
    object.map(|(bytes, _)| bytes).map_err(io::Error::other)
}
