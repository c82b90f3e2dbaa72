//! Where labelled slices go: the labels, their figures and their picture, which appear together or
//! not at all.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::deferred::DeferredSlices;
use super::intensities::KeptLabels;
use super::job::{Complete, Document, Extra};
use super::stream::Labelled;
use super::{PipelineError, Report};
use crate::atomic::Staged;
use crate::measure::{self, LabelReport, LabelStats, Picture, Preview, Subsampling, Title};
use crate::package::Manifest;
use crate::text::shown;
use crate::volume::{self, LabelSink, LabelWriter, OutputError, SliceSource, VoxelBox};

/// Where a volume's results go.
pub(super) struct Places<'a> {
    pub(super) labels: Box<dyn LabelWriter + 'a>,
    pub(super) preview: Option<Document<'a>>,
    pub(super) stats: Option<Document<'a>>,
    pub(super) trace: Option<Document<'a>>,
    /// Whether the report has intensities.
    pub(super) measure: bool,
    pub(super) extras: Vec<Extra<'a>>,
    /// The picture's title, where it is not to be the volume's name.
    pub(super) title: Option<String>,
    /// As [`Job::notice`](super::Job::notice).
    pub(super) notice: Option<&'static str>,
    /// Whether existing files are replaced.
    pub(super) overwrite: bool,
}

/// The outputs of one volume in the making. Dropped unfinished, they leave nothing.
pub(super) struct Outputs<'a> {
    settled: Settled<'a>,
    /// Where the package keeps only the largest piece of a label: slices that wait for the last.
    deferred: Option<DeferredSlices>,
    preview: Option<Document<'a>>,
    stats: Option<Document<'a>>,
    trace: Option<Document<'a>>,
    extras: Vec<Extra<'a>>,
    overwrite: bool,
    title: Title,
    /// The picture, once it is drawn.
    picture: Option<Picture>,
}

/// What takes slices whose labels are settled.
struct Settled<'a> {
    sink: LabelSink<'a>,
    stats: LabelStats,
    preview: Option<Preview>,
    /// The labels once more, where intensities are measured.
    kept: Option<KeptLabels>,
    /// Where the slices lie in the whole volume: reports and pictures give indices of that.
    part: VoxelBox,
}

impl Settled<'_> {
    fn push(&mut self, Labelled { index, labels, thumbnail }: Labelled) -> Result<(), OutputError> {
        self.sink.push(labels)?;
        self.stats.add(index, labels);
        if let Some(kept) = &mut self.kept {
            kept.push(labels)?;
        }
        if let Some(preview) = &mut self.preview {
            preview.add(index + self.part.first[2], thumbnail, labels);
        }
        Ok(())
    }
}

impl<'a> Outputs<'a> {
    /// For the volume in `source`; slices that have to wait do so in `folder`.
    pub(super) fn create(
        places: Places<'a>,
        source: &SliceSource,
        manifest: &Manifest,
        folder: Option<&Path>,
    ) -> Result<Self, OutputError> {
        let Places { labels, preview, stats, trace, measure, extras, .. } = places;
        let Places { title, notice, overwrite, .. } = places;
        let (geometry, part) = (source.geometry(), source.part());
        let wants_picture = preview.is_some() || extras.iter().any(|extra| extra.picture);
        let wants_intensities = measure || extras.iter().any(|extra| extra.intensities);
        let picture = wants_picture.then(|| Preview::new(geometry, &manifest.labels));
        let subsampling = picture.as_ref().map(Preview::subsampling);
        let settled = Settled {
            sink: LabelSink::new(labels, source, folder)?,
            stats: LabelStats::new(geometry, &manifest.labels).with_uneven(source.uneven()),
            preview: picture,
            kept: wants_intensities.then(|| KeptLabels::new(folder)).transpose()?,
            part,
        };
        let deferred = DeferredSlices::new(manifest, geometry, subsampling, folder)?;
        let name = || shown(source.grid().name().file_name().unwrap_or_default()).to_string();
        let name = title.unwrap_or_else(name);
        let whole = part == VoxelBox::whole(source.whole().size);
        let title = if whole { name } else { format!("{name}, a part of it") };
        let title = Title { text: title, notice: notice.unwrap_or_default() };
        let picture = None;
        Ok(Self { settled, deferred, preview, stats, trace, extras, overwrite, title, picture })
    }

    /// What the labels are called.
    pub(super) fn name(&self) -> &Path {
        self.settled.sink.name()
    }

    /// How slices become thumbnails.
    pub(super) fn subsampling(&self) -> Option<Subsampling> {
        self.settled.preview.as_ref().map(Preview::subsampling)
    }

    /// Takes the next slice.
    pub(super) fn push(&mut self, slice: Labelled) -> Result<(), OutputError> {
        match &mut self.deferred {
            Some(deferred) => deferred.push(slice),
            None => self.settled.push(slice),
        }
    }

    /// After the last slice: writes the slices that waited for it.
    pub(super) fn release(&mut self, interrupted: &AtomicBool) -> Result<(), PipelineError> {
        match self.deferred.take() {
            Some(deferred) => deferred.release(interrupted, |slice| self.settled.push(slice)),
            None => Ok(()),
        }
    }

    /// Each label's figures, in indices of the whole volume. Reads the volume once more where a
    /// report wants intensities.
    pub(super) fn labels(
        &mut self,
        source: &mut SliceSource,
        manifest: &Manifest,
        interrupted: &AtomicBool,
    ) -> Result<Vec<LabelReport>, PipelineError> {
        let mut labels = self.settled.stats.finish();
        labels.iter_mut().for_each(|label| label.shift(self.settled.part.first));
        if let Some(kept) = self.settled.kept.take() {
            let measured = kept.measure(source, &manifest.labels, interrupted)?;
            labels.iter_mut().for_each(|label| label.intensity = measured.of(label.value));
        }
        Ok(labels)
    }

    /// Draws the picture, if one is wanted.
    pub(super) fn draw(&mut self, labels: &[LabelReport]) {
        let preview = self.settled.preview.take();
        self.picture = preview.map(|preview| preview.draw(&self.title, labels));
    }

    /// Completes everything, and then gives all files their names, the label volume last. `trace`
    /// is the trace's text, where one is wanted.
    pub(super) fn finish(self, report: &Report, trace: Option<String>) -> Result<(), OutputError> {
        let json = || measure::json(report).into_bytes();
        let stats = self.stats.map(|place| place.complete(json())).transpose()?;
        let trace = self.trace.zip(trace);
        let trace = trace.map(|(place, text)| place.complete(text.into_bytes())).transpose()?;
        let picture = self.picture.as_ref();
        let png = self.preview.zip(picture).map(|(place, picture)| place.complete(picture.png()));
        let (mut files, mut buffers) = (Vec::new(), Vec::new());
        // What is made of a result may name the labels, which therefore are complete first.
        let labels = self.settled.sink.stage()?;
        for Extra { path, make, .. } in self.extras {
            let made = make(report, picture).and_then(|bytes| Staged::write(&path, &bytes));
            files.push(made.map_err(|source| OutputError::Write { path, source })?);
        }
        for document in [png.transpose()?, stats, trace].into_iter().flatten() {
            match document {
                Complete::File(staged) => files.push(staged),
                Complete::Buffer(buffer, content) => buffers.push((buffer, content)),
            }
        }
        files.extend(labels);
        volume::publish(files, self.overwrite)?;
        buffers.into_iter().for_each(|(buffer, content)| *buffer = content);
        Ok(())
    }
}
