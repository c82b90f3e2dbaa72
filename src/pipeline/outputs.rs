//! Where labelled slices go: the label volume, its figures and its picture, which appear together
//! or not at all.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::stream::Labelled;
use super::waiting::Waiting;
use super::{Job, PipelineError, Report};
use crate::atomic::Staged;
use crate::measure::{self, LabelReport, LabelStats, Preview, Thinning};
use crate::package::{Manifest, table};
use crate::text::shown;
use crate::volume::{self, LabelSink, SliceSource, VolumeError, VoxelBox};

/// The outputs of one volume in the making.
pub(super) struct Outputs {
    ready: Ready,
    /// What comes before, where the package keeps only the largest piece of a label.
    waiting: Option<Waiting>,
}

/// What takes slices whose labels are settled.
struct Ready {
    sink: LabelSink,
    stats: LabelStats,
    preview: Option<Preview>,
    /// Where the slices lie in the whole volume, whose indices people are told.
    part: VoxelBox,
}

impl Ready {
    fn push(&mut self, Labelled { index, labels, grey }: Labelled) -> Result<(), VolumeError> {
        self.sink.push(labels)?;
        self.stats.add(index, labels);
        if let Some(preview) = &mut self.preview {
            preview.add(index + self.part.first[2], grey, labels);
        }
        Ok(())
    }
}

impl Outputs {
    /// For the volume in `source`; what must wait does so in `folder`.
    pub(super) fn create(
        job: &Job,
        source: &SliceSource,
        manifest: &Manifest,
        folder: &Path,
    ) -> Result<Self, VolumeError> {
        let geometry = source.geometry();
        let ready = Ready {
            sink: LabelSink::create_named(
                &job.output,
                source,
                job.overwrite,
                Some(folder),
                &table::caret_xml(&manifest.labels),
            )?,
            stats: LabelStats::new(geometry, &manifest.labels),
            preview: job.preview.as_ref().map(|_| Preview::new(geometry, &manifest.labels)),
            part: source.part(),
        };
        let mut outputs = Self { ready, waiting: None };
        outputs.waiting = Waiting::new(manifest, geometry, outputs.thinning(), folder)?;
        Ok(outputs)
    }

    /// What is to be kept of the slices' picture.
    pub(super) fn thinning(&self) -> Option<Thinning> {
        self.ready.preview.as_ref().map(Preview::thinning)
    }

    /// Takes the next slice.
    pub(super) fn push(&mut self, slice: Labelled) -> Result<(), VolumeError> {
        match &mut self.waiting {
            Some(waiting) => waiting.push(slice),
            None => self.ready.push(slice),
        }
    }

    /// After the last slice: lets those go on that waited for it.
    pub(super) fn release(&mut self, interrupted: &AtomicBool) -> Result<(), PipelineError> {
        match self.waiting.take() {
            Some(waiting) => waiting.release(interrupted, |slice| self.ready.push(slice)),
            None => Ok(()),
        }
    }

    /// Each label's figures, in indices of the whole volume.
    pub(super) fn labels(&self) -> Vec<LabelReport> {
        let mut labels = self.ready.stats.finish();
        labels.iter_mut().for_each(|label| label.shift(self.ready.part.first));
        labels
    }

    /// The picture, if one is wanted, complete on disk.
    pub(super) fn picture(
        &mut self,
        job: &Job,
        labels: &[LabelReport],
    ) -> Result<Option<Staged>, VolumeError> {
        let (Some(path), Some(preview)) = (&job.preview, self.ready.preview.take()) else {
            return Ok(None);
        };
        let name = shown(job.input.file_name().unwrap_or_default());
        let title =
            if job.region.is_some() { format!("{name}, a part of it") } else { name.to_string() };
        stage(path, &preview.png(&title, labels)).map(Some)
    }

    /// Gives everything its name once all of it is complete on disk, the label volume last.
    pub(super) fn commit(
        self,
        job: &Job,
        picture: Option<Staged>,
        report: &Report,
    ) -> Result<(), VolumeError> {
        let json = match &job.stats {
            Some(path) => Some(stage(path, measure::json(report).as_bytes())?),
            None => None,
        };
        let set = [picture, json, Some(self.ready.sink.stage()?)].into_iter().flatten().collect();
        volume::commit(set, job.overwrite)
    }
}

fn stage(path: &Path, bytes: &[u8]) -> Result<Staged, VolumeError> {
    Staged::write(path, bytes)
        .map_err(|source| VolumeError::Write { path: path.to_owned(), source })
}
