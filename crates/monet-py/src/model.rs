//! A package that is ready for volumes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use monet::core::Kernel;
use monet::dicom::format::series::{self, Scan};
use monet::dicom::{self, Choice, DicomJob, Form, Format, Series};
use monet::measure;
use monet::onnx::EngineChoice;
use monet::package::{Package, slice_size};
use monet::pipeline::{self, Document, FileJob, Job, PipelineError};
use monet::profile;
use monet::targets::VOLUME_SLICES;
use monet::text::shown;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use crate::array::{ArrayReader, Description};
use crate::errors;
use crate::labels::LabelArray;
use crate::waiting;

/// How often one who waits for a model looks again.
const TURN: Duration = Duration::from_millis(5);

/// A package and its engines. Volumes go through it one after another, from whatever thread.
#[pyclass(frozen)]
pub(crate) struct Model {
    package: Package,
    kernel: Kernel,
    ready: Mutex<pipeline::Model>,
    /// The process and the thread of Python's that it works for.
    user: Mutex<Option<(u32, ThreadId)>>,
}

/// What a volume is segmented with, beside the model.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Options {
    accept_any: bool,
    measure: bool,
    preview: bool,
    series: Option<String>,
    allow_gaps: bool,
    progress: Option<Py<PyAny>>,
}

/// Where a file's results go.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Files {
    output: PathBuf,
    stats: Option<PathBuf>,
    preview: Option<PathBuf>,
    format: Option<String>,
    overwrite: bool,
}

impl Options {
    /// Of a volume that is no DICOM: refuses what would say nothing.
    ///
    /// # Errors
    /// `ValueError`
    fn refuse_dicom(&self, format: Option<Format>) -> PyResult<()> {
        if self.series.is_none() && format.is_none() && !self.allow_gaps {
            return Ok(());
        }
        Err(PyValueError::new_err(
            "series, format and allow_gaps are for DICOM: the volume is no folder, archive or file \
             of it",
        ))
    }
}

/// A volume in memory: the labels, the grid that they have, figures as JSON, the preview as PNG.
type InMemory = (Py<PyByteArray>, [usize; 3], [[f64; 4]; 3], String, Option<Py<PyBytes>>);

/// A DICOM series: its selector, the folder of its files, a stem, obstacles.
type Listed = (String, PathBuf, String, Vec<String>);

#[pymethods]
impl Model {
    /// Loads a package; the embedded one without a path.
    #[new]
    fn new(
        py: Python<'_>,
        path: Option<PathBuf>,
        threads: &Bound<'_, PyAny>,
        kernel: Option<&str>,
    ) -> PyResult<Self> {
        let kernel = Kernel::choose(kernel).map_err(|error| errors::model(&error))?;
        let load = || path.as_deref().map_or_else(|| Ok(Package::embedded()), Package::load);
        let package = py.detach(load).map_err(|error| errors::model(&error))?;
        let threads = within("threads", threads, 256)?;
        let ready = pipeline::Model::new(package.clone(), threads, EngineChoice::Int8(kernel));
        Ok(Self { package, kernel, ready: Mutex::new(ready), user: Mutex::new(None) })
    }

    /// The package's name.
    #[getter]
    fn name(&self) -> &str {
        &self.package.manifest.name
    }

    /// The package's version.
    #[getter]
    fn version(&self) -> &str {
        &self.package.manifest.version
    }

    /// The kernel of the int8 engine.
    #[getter]
    fn kernel(&self) -> &str {
        self.kernel.name()
    }

    /// To which sides the axes of the net's slices run, for example `LPS`.
    #[getter]
    fn orientation(&self) -> String {
        self.package.manifest.orientation.to_string()
    }

    /// Values and names of the labels.
    #[getter]
    fn labels(&self) -> Vec<(u8, &str)> {
        self.package.manifest.labels.iter().map(|l| (l.value, l.name.as_str())).collect()
    }

    /// Segments an array.
    fn array(
        &self,
        voxels: &Bound<'_, PyMemoryView>,
        about: Description,
        options: Options,
    ) -> PyResult<InMemory> {
        options.refuse_dicom(None)?;
        let reader = ArrayReader::new(voxels, &about)?;
        self.in_memory(voxels.py(), options, |labels, _| Ok(Job::new(reader, labels)))
    }

    /// Segments a volume in files, its labels into memory.
    fn read(&self, py: Python<'_>, input: PathBuf, options: Options) -> PyResult<InMemory> {
        // The labels that the job begins there go again with it.
        let folder = tempfile::tempdir().map_err(|error| errors::other(&error))?;
        let files = Files {
            output: folder.path().join("labels.nii.gz"),
            stats: None,
            preview: None,
            format: None,
            overwrite: false,
        };
        let job = self.job(py, input, files, &options)?;
        self.in_memory(py, options, |labels, interrupted| {
            let mut opened = job.open(&self.package.manifest, interrupted)?;
            opened.labels = Box::new(labels);
            Ok(opened)
        })
    }

    /// Segments a volume in files into files, as the command does. Returns figures as JSON.
    fn write(
        &self,
        py: Python<'_>,
        input: PathBuf,
        files: Files,
        options: Options,
    ) -> PyResult<String> {
        let job = self.job(py, input, files, &options)?;
        self.run(py, options.progress.as_ref(), |model, interrupted, progress| {
            pipeline::segment_file(model, &job, interrupted, progress)
        })
    }

    /// The series at a path: what names each, the folder of its files, a name for files made of
    /// it, and what speaks against the package's taking it.
    fn list_series(&self, py: Python<'_>, input: PathBuf) -> PyResult<Vec<Listed>> {
        let scan = scan(py, &input)?;
        py.detach(|| {
            let all = Series::all(&input, &scan);
            let list = all.iter().map(|series| {
                let folder = if input.is_dir() { common(series.files()) } else { None };
                let folder = folder.unwrap_or_else(|| input.clone());
                let against = dicom::obstacles(series, &self.package.manifest, &Choice::default());
                (series.selector(), folder, series.file_stem(), against)
            });
            Ok(list.collect())
        })
    }

    /// Measures the net on this machine: a profile as JSON.
    fn profile(
        &self,
        py: Python<'_>,
        size: Option<&str>,
        threads: &Bound<'_, PyAny>,
        runs: &Bound<'_, PyAny>,
    ) -> PyResult<String> {
        let size = match size {
            None => self.package.size(),
            Some(text) => slice_size(text)
                .map_err(|error| PyValueError::new_err(format!("size {text}: {error}")))?,
        };
        let settings = profile::Settings {
            size,
            threads: within("threads", threads, 256)?,
            runs: within("runs", runs, 1_000_000)?,
            slices: VOLUME_SLICES,
        };
        let measured = waiting::wait(py, None, |interrupted, _| {
            let mut engines = EngineChoice::Int8(self.kernel);
            let stop = || interrupted.load(Ordering::Relaxed);
            profile::measure(&self.package, &mut engines, &settings, &stop)
        })?;
        measured.map(|profile| measure::json(&profile)).map_err(|error| errors::model(&error))
    }
}

impl Model {
    /// The job of a volume in files: of DICOM the one series that fits.
    fn job(
        &self,
        py: Python<'_>,
        input: PathBuf,
        files: Files,
        options: &Options,
    ) -> PyResult<FileJob> {
        let Files { output, stats, preview, format, overwrite } = files;
        let asked = format.as_deref().map(self::format).transpose()?;
        let Options { accept_any, measure, .. } = *options;
        let job = FileJob {
            output,
            preview,
            stats,
            measure,
            overwrite,
            accept_any,
            ..FileJob::default()
        };
        if !series::is_dicom(&input) {
            options.refuse_dicom(asked)?;
            return Ok(FileJob { input, ..job });
        }
        let form = Form::of(&job.output, asked).map_err(|error| errors::output(&error))?;
        let series = self.series(py, &input, options)?;
        let dicom = Some(DicomJob { form, ..DicomJob::new(series) });
        Ok(FileJob { input, dicom, ..job })
    }

    /// The one series of DICOM that the package takes.
    fn series(&self, py: Python<'_>, input: &Path, options: &Options) -> PyResult<Series> {
        let scan = scan(py, input)?;
        let choice = Choice {
            series: options.series.clone(),
            allow_gaps: options.allow_gaps,
            accept_any: options.accept_any,
            part: false,
        };
        let all = Series::all(input, &scan);
        let chosen = dicom::choose(input, &scan, &all, &self.package.manifest, &choice)
            .map_err(|error| errors::volume(&error))?;
        match &chosen[..] {
            [one] => Ok(one.clone()),
            several => Err(errors::VolumeError::new_err(format!(
                "{}: {} series fit the model: name one by series=:\n{}",
                shown(input),
                several.len(),
                dicom::list(several.iter(), |_| Vec::new())
            ))),
        }
    }

    /// Segments the volume of a job that is made of the writer of its labels.
    fn in_memory<'a>(
        &self,
        py: Python<'_>,
        options: Options,
        open: impl Send + FnOnce(LabelArray, &Arc<AtomicBool>) -> Result<Job<'a>, PipelineError>,
    ) -> PyResult<InMemory> {
        let Options { accept_any, measure, preview, progress, .. } = options;
        let labels = PyByteArray::new(py, &[]).unbind();
        let writer = LabelArray::new(labels.clone_ref(py));
        let (mut picture, mut grid) = (Vec::new(), ([0; 3], [[0.0; 4]; 3]));
        let figures = self.run(py, progress.as_ref(), |model, interrupted, progress| {
            let mut job = open(writer, interrupted)?;
            let geometry = job.volume.grid().geometry();
            grid = (geometry.size, geometry.affine.0);
            job.preview = preview.then_some(Document::Buffer(&mut picture));
            (job.accept_any, job.measure) = (accept_any, measure);
            pipeline::segment(model, job, interrupted, progress)
        })?;
        let preview = preview.then(|| PyBytes::new(py, &picture).unbind());
        Ok((labels, grid.0, grid.1, figures, preview))
    }

    /// Runs the pipeline without the interpreter; gives figures as JSON.
    fn run(
        &self,
        py: Python<'_>,
        progress: Option<&Py<PyAny>>,
        segment: impl Send
        + FnOnce(
            &mut pipeline::Model,
            &Arc<AtomicBool>,
            &mut dyn FnMut(usize, usize),
        ) -> Result<pipeline::Report, PipelineError>,
    ) -> PyResult<String> {
        self.refuse_who_would_wait_for_ever()?;
        let user = (std::process::id(), thread::current().id());
        let ended = waiting::wait(py, progress, |interrupted, tell| {
            let mut model = self.turn(interrupted)?;
            let _user = User::new(self, user);
            segment(&mut model, interrupted, tell)
        })?;
        ended.map(|report| measure::json(&report)).map_err(|error| errors::pipeline(&error))
    }
}

impl Model {
    /// Refuses a call from the `progress` of this model's own work, and one in a process that was
    /// forked while another thread used the model: nobody ends that work there.
    ///
    /// # Errors
    /// `MonetError`
    fn refuse_who_would_wait_for_ever(&self) -> PyResult<()> {
        let user = *self.user.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match user {
            Some((process, _)) if process != std::process::id() => {
                "this process was forked while a thread used the model: make a Model in each"
            }
            Some((_, thread)) if thread == thread::current().id() => {
                "the model is at work for this very call of progress: make another Model"
            }
            _ => return Ok(()),
        };
        Err(errors::MonetError::new_err(found))
    }

    /// Waits until no other thread uses the model, or until it is interrupted.
    fn turn(
        &self,
        interrupted: &AtomicBool,
    ) -> Result<MutexGuard<'_, pipeline::Model>, PipelineError> {
        loop {
            match self.ready.try_lock() {
                Ok(model) => return Ok(model),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if interrupted.load(Ordering::Relaxed) => {
                    return Err(PipelineError::Interrupted);
                }
                Err(TryLockError::WouldBlock) => thread::sleep(TURN),
            }
        }
    }
}

/// Whom a model works for, until this is dropped.
struct User<'a>(&'a Model);

impl<'a> User<'a> {
    fn new(model: &'a Model, user: (u32, ThreadId)) -> Self {
        *model.user.lock().unwrap_or_else(PoisonError::into_inner) = Some(user);
        Self(model)
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        *self.0.user.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Looks through a path for DICOM.
fn scan(py: Python<'_>, input: &Path) -> PyResult<Arc<Scan>> {
    let found = waiting::wait(py, None, |interrupted, _| {
        Scan::of(input, &|| interrupted.load(Ordering::Relaxed))
    })?;
    found.map(Arc::new).map_err(|error| errors::volume(&error))
}

/// A whole number from 1 to `most`.
///
/// # Errors
/// `ValueError` where it is another one, `TypeError` where it is none.
fn within(name: &str, number: &Bound<'_, PyAny>, most: usize) -> PyResult<usize> {
    let found = match number.extract::<usize>() {
        Err(error) if !error.is_instance_of::<PyOverflowError>(number.py()) => return Err(error),
        found => found.ok(),
    };
    found
        .filter(|found| (1..=most).contains(found))
        .ok_or_else(|| PyValueError::new_err(format!("{name} {number}: expected 1 to {most}")))
}

/// The deepest folder that has all of some files in it; `None` where there are none.
fn common(mut files: impl Iterator<Item = impl AsRef<Path>>) -> Option<PathBuf> {
    let mut folder = files.next()?.as_ref().parent()?.to_owned();
    for file in files {
        while !file.as_ref().starts_with(&folder) && folder.pop() {}
    }
    Some(folder)
}

/// The format of labels that a caller names.
fn format(name: &str) -> PyResult<Format> {
    Ok(match name {
        "seg" => Format::Object(Form::Seg),
        "labelmap" => Format::Object(Form::Labelmap),
        "rtstruct" => Format::Object(Form::Rtstruct),
        "nifti" => Format::Nifti,
        other => {
            return Err(PyValueError::new_err(format!(
                "format {other:?}: expected seg, labelmap, rtstruct or nifti"
            )));
        }
    })
}
