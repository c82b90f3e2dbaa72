//! What is to be done with one volume: where it comes from and where its results go.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Origin, PipelineError, Report};
use crate::atomic::{self, Staged};
use crate::measure::{Clock, Picture};
use crate::package::{Beyond, Manifest, table};
use crate::paths::Paths;
use crate::volume::{LabelWriter, NiftiLabels, NiftiReader, OutputError, PlaneReader, Region};

/// One volume that is to be segmented, wherever it and its results are. [`FileJob`] is the same for
/// files.
///
/// A volume in memory, its labels in memory:
///
/// ```
/// use std::sync::Arc;
///
/// use monet::core::Kernel;
/// use monet::package::Package;
/// use monet::pipeline::{self, Job, Model};
/// use monet::volume::{
///     Affine, BufferReader, ByteOrder, Geometry, Grid, LabelBuffer, VoxelType,
/// };
///
/// // 40 × 50 × 30 voxels of 1 mm, of which the first axis runs to the right, the second to
/// // anterior and the third to superior.
/// let rows = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
/// let geometry = Geometry::new([40, 50, 30], Affine(rows));
/// let grid = Grid::new("a volume in memory", geometry, VoxelType::I16, ByteOrder::Little)?;
/// let voxels: Vec<u8> = (0..40 * 50 * 30).flat_map(|i| (i as i16 % 997).to_le_bytes()).collect();
/// let mut labels = vec![0; 40 * 50 * 30];
///
/// let writer = LabelBuffer::new("labels in memory", &grid, &mut labels)?;
/// let reader = BufferReader::new(grid, voxels)?;
/// let job = Job::new(reader, writer);
/// let mut model = Model::new(Package::embedded(), 1, Kernel::best());
/// let report = pipeline::segment(&mut model, job, &Arc::default(), &mut |_, _| {})?;
///
/// assert_eq!(report.slices, 50); // coronal: the net's slices lie along the second axis
/// let found: u64 = report.labels.iter().map(|label| label.voxels).sum();
/// assert_eq!(found, labels.iter().filter(|label| **label > 0).count() as u64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Job<'a> {
    /// The volume, of which no plane was read yet.
    pub volume: Box<dyn PlaneReader + 'a>,
    /// Where the labels of its whole grid go.
    pub labels: Box<dyn LabelWriter + 'a>,
    /// Where a picture of them goes, as PNG.
    pub preview: Option<Document<'a>>,
    /// Where the report goes, as JSON.
    pub stats: Option<Document<'a>>,
    /// Where a trace goes, as JSON: what each thread did when ([`Track::trace`]).
    ///
    /// [`Track::trace`]: crate::measure::Track::trace
    pub trace: Option<Document<'a>>,
    /// Whether the report has what takes a pass of its own over the volume: intensities, and of
    /// DICOM the digests of the files.
    pub measure: bool,
    /// What else is made of the result.
    pub extras: Vec<Extra<'a>>,
    /// What is odd about the volume beyond what its voxels show; the report tells it first.
    pub warnings: Vec<String>,
    /// What the report says of a DICOM series.
    pub origin: Option<Origin>,
    /// The picture's title, where it is not to be the volume's name.
    pub title: Option<String>,
    /// What the picture says whole below its title, however narrow it is: 28 letters at most.
    pub notice: Option<&'static str>,
    /// Whether existing files are replaced.
    pub overwrite: bool,
    /// The part of the volume that is segmented, as if there were nothing else; outside it there
    /// is no label. Intensities are normalised by what lies in it, and [`Manifest::accepts`] holds
    /// for it.
    pub region: Option<Region>,
    /// Whether a volume is segmented that the package does not accept.
    pub accept_any: bool,
    /// Limits of the package that the volume is known not to keep, beside those on its grid.
    pub beyond: Vec<Beyond>,
    /// Folder for slices that have to wait on disk; the system's temporary folder when `None`.
    pub spool_dir: Option<PathBuf>,
    /// Runs since the job was made, for the report.
    pub(super) clock: Clock,
}

/// Where a picture or a report goes.
#[derive(Debug)]
pub enum Document<'a> {
    /// To a file, which appears together with the label volume's.
    File(PathBuf),
    /// Into a buffer of the caller, whose content it replaces.
    Buffer(&'a mut Vec<u8>),
}

/// A file that is made of a result, and appears together with the label volume's.
pub struct Extra<'a> {
    /// The file.
    pub path: PathBuf,
    /// Whether the report is to have intensities.
    pub intensities: bool,
    /// Whether a picture is to be drawn.
    pub picture: bool,
    /// Makes the file's bytes of the report, and of the picture if one was drawn, when the labels
    /// are complete.
    pub make: Box<Make<'a>>,
}

/// See [`Extra::make`].
pub type Make<'a> = dyn FnOnce(&Report, Option<&Picture>) -> io::Result<Vec<u8>> + 'a;

/// A document that is complete, and not yet where it is to go.
pub(super) enum Complete<'a> {
    File(Staged),
    Buffer(&'a mut Vec<u8>, Vec<u8>),
}

impl<'a> Document<'a> {
    /// Completes it: a file is on disk, without its name.
    pub(super) fn complete(self, content: Vec<u8>) -> Result<Complete<'a>, OutputError> {
        Ok(match self {
            Self::File(path) => Complete::File(
                Staged::write(&path, &content)
                    .map_err(|source| OutputError::Write { path, source })?,
            ),
            Self::Buffer(buffer) => Complete::Buffer(buffer, content),
        })
    }
}

impl fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("volume", &self.volume.grid().name())
            .field("labels", &self.labels.name())
            .finish_non_exhaustive()
    }
}

impl<'a> Job<'a> {
    /// The whole volume, if the package accepts it, without picture and report.
    #[must_use]
    pub fn new(volume: impl PlaneReader + 'a, labels: impl LabelWriter + 'a) -> Self {
        Self::with(Box::new(volume), Box::new(labels))
    }

    /// As [`Job::new`], of boxes.
    #[must_use]
    pub fn with(volume: Box<dyn PlaneReader + 'a>, labels: Box<dyn LabelWriter + 'a>) -> Self {
        Self {
            volume,
            labels,
            preview: None,
            stats: None,
            trace: None,
            measure: false,
            extras: Vec::new(),
            warnings: Vec::new(),
            origin: None,
            title: None,
            notice: None,
            overwrite: false,
            region: None,
            accept_any: false,
            beyond: Vec::new(),
            spool_dir: None,
            clock: Clock::start(),
        }
    }
}

/// A job whose volume and results are files.
#[derive(Debug, Clone, Default)]
pub struct FileJob {
    /// The volume: a NIfTI file, or where a DICOM series was found.
    pub input: PathBuf,
    /// The labels to write: `.nii` or `.nii.gz`, or a DICOM object.
    pub output: PathBuf,
    /// The DICOM series that is the volume; `None` where it is a NIfTI file.
    #[cfg(feature = "dicom")]
    pub dicom: Option<crate::dicom::DicomJob>,
    /// A picture to write beside it.
    pub preview: Option<PathBuf>,
    /// A JSON report to write beside it.
    pub stats: Option<PathBuf>,
    /// A trace to write beside it.
    pub trace: Option<PathBuf>,
    /// As [`Job::measure`].
    pub measure: bool,
    /// Whether existing files are replaced.
    pub overwrite: bool,
    /// As [`Job::region`].
    pub region: Option<Region>,
    /// As [`Job::accept_any`].
    pub accept_any: bool,
}

impl FileJob {
    /// What it reads and writes.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let mut paths = Paths::new();
        self.inputs().into_iter().for_each(|path| paths.read(path));
        let figures = [&self.stats, &self.trace].into_iter().flatten();
        self.outputs().into_iter().chain(figures).for_each(|path| paths.write(path));
        paths
    }

    /// The files that it reads.
    #[must_use]
    pub fn inputs(&self) -> Vec<PathBuf> {
        #[cfg(feature = "dicom")]
        if let Some(dicom) = &self.dicom {
            return dicom.inputs().collect();
        }
        vec![self.input.clone()]
    }

    /// What it writes, but for report and trace.
    #[must_use]
    pub fn outputs(&self) -> Vec<&PathBuf> {
        let own = [Some(&self.output), self.preview.as_ref()].into_iter().flatten();
        #[cfg(feature = "dicom")]
        let own = own.chain(self.dicom.iter().flat_map(crate::dicom::DicomJob::outputs));
        own.collect()
    }

    /// Opens the volume and begins the label volume, which names the manifest's labels. Set from
    /// outside, `interrupted` ends reading.
    ///
    /// # Errors
    /// [`PipelineError::Volume`], [`PipelineError::Interrupted`], [`PipelineError::Output`]
    pub fn open(
        &self,
        manifest: &Manifest,
        interrupted: &Arc<AtomicBool>,
    ) -> Result<Job<'static>, PipelineError> {
        let clock = Clock::start();
        let job = self.open_volume(manifest, interrupted)?;
        let file = |path: &Option<PathBuf>| path.clone().map(Document::File);
        Ok(Job {
            preview: file(&self.preview),
            stats: file(&self.stats),
            trace: file(&self.trace),
            measure: self.measure,
            overwrite: self.overwrite,
            region: self.region,
            accept_any: self.accept_any,
            spool_dir: Some(self.folder().to_owned()),
            clock,
            ..job
        })
    }

    fn open_volume(
        &self,
        manifest: &Manifest,
        interrupted: &Arc<AtomicBool>,
    ) -> Result<Job<'static>, PipelineError> {
        #[cfg(feature = "dicom")]
        if let Some(dicom) = &self.dicom {
            let (path, overwrite) = (&self.output, self.overwrite);
            let settings = format!("{:?}", self.region).into_bytes();
            let mut job = dicom.open(path, overwrite, manifest, &settings, interrupted)?;
            if self.measure {
                job.origin = Some(dicom.origin(interrupted)?);
            }
            return Ok(job);
        }
        let volume = NiftiReader::open(&self.input, Some(interrupted.clone()))?;
        let names = table::caret_xml(&manifest.labels);
        let labels = NiftiLabels::create(&self.output, volume.grid(), self.overwrite, &names)?;
        Ok(Job::new(volume, labels))
    }

    fn folder(&self) -> &Path {
        atomic::folder(&self.output)
    }
}
