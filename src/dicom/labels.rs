//! Writes labels as a DICOM object: complete or not at all.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use monet_dicom::objects::{Context, LabelmapWriter, ObjectError, RtstructWriter, SegWriter};
use sha2::{Digest, Sha256};

use super::Form;
use crate::atomic::{self, Part, Staged};
use crate::volume::{LabelWriter, OutputError};

/// Takes the labels of a series plane by plane and writes them as one object.
///
/// A DICOM file says how much there is before it says what, and its UID follows from what there is,
/// so that planes wait in an unlinked temporary file beside the output, a byte a voxel.
#[derive(Debug)]
pub struct DicomLabels {
    path: PathBuf,
    form: Form,
    context: Context,
    planes: BufWriter<File>,
    digest: Sha256,
    content: Content,
}

/// The digest of an object's labels, once the object is complete.
pub(super) type Content = Arc<OnceLock<Vec<u8>>>;

impl DicomLabels {
    /// Begins the labels of a series, to be at `path`.
    ///
    /// # Errors
    /// [`OutputError::Exists`] unless `overwrite`, [`OutputError::Write`]
    pub fn create(
        path: &Path,
        form: Form,
        context: Context,
        overwrite: bool,
    ) -> Result<Self, OutputError> {
        if !overwrite && path.exists() {
            return Err(OutputError::Exists { path: path.to_owned() });
        }
        // What makes an object impossible is told before any work.
        let nowhere = || io::Cursor::new(Vec::new());
        match form {
            Form::Seg | Form::Labelmap => SegWriter::new(&context, nowhere()).map(drop),
            Form::Rtstruct => RtstructWriter::new(&context, nowhere()).map(drop),
        }
        .map_err(|error| failed(path, object(error)))?;
        let file = tempfile::tempfile_in(atomic::folder(path));
        let planes = BufWriter::new(file.map_err(|e| failed(path, e))?);
        let (digest, content) = (Sha256::new(), Content::default());
        Ok(Self { path: path.to_owned(), form, context, planes, digest, content })
    }

    /// Where the digest of the labels will be.
    pub(super) fn content(&self) -> Content {
        self.content.clone()
    }

    /// The object, in a file without name.
    fn object(self) -> Result<Staged, OutputError> {
        let Self { path, form, mut context, planes, digest, content } = self;
        context.content = content.get_or_init(|| digest.finalize().to_vec()).clone();
        let failed = |source| failed(&path, source);
        let mut planes = planes.into_inner().map_err(|e| failed(e.into_error()))?;
        planes.rewind().map_err(failed)?;
        let mut planes = Planes {
            file: BufReader::new(planes),
            plane: vec![0; usize::from(context.source.rows) * usize::from(context.source.columns)],
            left: context.source.slices.len(),
        };
        let spool = || tempfile::tempfile_in(atomic::folder(&path));
        let part = atomic::begin(&path).map_err(failed)?;
        let out = BufWriter::with_capacity(64 << 10, part);
        let out = match form {
            Form::Seg => {
                let writer = SegWriter::new(&context, spool().map_err(failed)?);
                let mut writer = writer.map_err(object).map_err(failed)?;
                planes.each(|plane| writer.push(plane)).map_err(failed)?;
                writer.finish(out).map_err(object).map(|(out, _)| out)
            }
            Form::Labelmap => {
                let writer = LabelmapWriter::new(&context, out);
                let mut writer = writer.map_err(object).map_err(failed)?;
                planes.each(|plane| writer.push(plane)).map_err(failed)?;
                writer.finish().map_err(object).map(|(out, _)| out)
            }
            Form::Rtstruct => {
                let writer = RtstructWriter::new(&context, spool().map_err(failed)?);
                let mut writer = writer.map_err(object).map_err(failed)?;
                planes.each(|plane| writer.push(plane)).map_err(failed)?;
                writer.finish(out).map_err(object).map(|(out, _)| out)
            }
        };
        let part: Part = out.map_err(failed)?.into_inner().map_err(|e| failed(e.into_error()))?;
        Staged::new(part, &path).map_err(failed)
    }
}

impl LabelWriter for DicomLabels {
    fn name(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, plane: &[u8]) -> Result<(), OutputError> {
        self.digest.update(plane);
        self.planes.write_all(plane).map_err(|e| failed(&self.path, e))
    }

    fn finish(self: Box<Self>) -> Result<Vec<Staged>, OutputError> {
        self.object().map(|staged| vec![staged])
    }
}

/// The planes of labels that wait in a file.
struct Planes {
    file: BufReader<File>,
    plane: Vec<u8>,
    left: usize,
}

impl Planes {
    /// Hands all planes on.
    fn each(&mut self, mut push: impl FnMut(&[u8]) -> Result<(), ObjectError>) -> io::Result<()> {
        for _ in 0..std::mem::take(&mut self.left) {
            self.file.read_exact(&mut self.plane)?;
            push(&self.plane).map_err(object)?;
        }
        Ok(())
    }
}

fn object(error: ObjectError) -> io::Error {
    io::Error::other(error)
}

fn failed(path: &Path, source: io::Error) -> OutputError {
    OutputError::Write { path: path.to_owned(), source }
}
