//! What the labels of a series become, and the names that such files may have.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::text::shown;

/// The kinds of objects that labels become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Segmentation: a bit a voxel for each label.
    Seg,
    /// Label map segmentation: a byte a voxel.
    Labelmap,
    /// Radiotherapy structure set: contours.
    Rtstruct,
}

/// What somebody asks for labels as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A DICOM object.
    Object(Form),
    /// A NIfTI label volume.
    Nifti,
}

/// A file's name whose ending says something else than the file is to be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Of a DICOM object.
    #[error(
        "{}: a DICOM object, expected a name that ends in .dcm (labels as NIfTI: .nii or .nii.gz, \
         and --format nifti or none)",
        shown(path)
    )]
    Object {
        /// The file.
        path: PathBuf,
    },
    /// Of a NIfTI label volume.
    #[error(
        "{}: expected a name that ends in .nii or .nii.gz, as --format nifti was given",
        shown(path)
    )]
    Nifti {
        /// The file.
        path: PathBuf,
    },
}

impl Form {
    /// What labels become in a file of this name: what was asked for; without it NIfTI where the
    /// name is NIfTI's, and a segmentation elsewhere. `None` is NIfTI.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use monet::dicom::{Form, Format};
    ///
    /// assert_eq!(Form::of(Path::new("mask.dcm"), None)?, Some(Form::Seg));
    /// assert_eq!(Form::of(Path::new("mask.nii.gz"), None)?, None);
    /// let contours = Form::of(Path::new("mask.dcm"), Some(Format::Object(Form::Rtstruct)))?;
    /// assert_eq!(contours, Some(Form::Rtstruct));
    /// assert!(Form::of(Path::new("mask.png"), None).is_err());
    /// # Ok::<(), monet::dicom::NameError>(())
    /// ```
    ///
    /// # Errors
    /// A name whose ending says something else.
    pub fn of(name: &Path, asked: Option<Format>) -> Result<Option<Self>, NameError> {
        let text = name.as_os_str().as_encoded_bytes().to_ascii_lowercase();
        let is_nifti = text.ends_with(b".nii") || text.ends_with(b".nii.gz");
        let own = if is_nifti { Format::Nifti } else { Format::Object(Self::Seg) };
        match asked.unwrap_or(own) {
            Format::Object(form) => object_name(name).map(|()| Some(form)),
            Format::Nifti if is_nifti => Ok(None),
            Format::Nifti => Err(NameError::Nifti { path: name.to_owned() }),
        }
    }
}

/// Looks at the name of a DICOM object: it ends in `.dcm`, has no ending, or is a UID, whose ending
/// is a number.
///
/// # Errors
/// [`NameError::Object`]
pub fn object_name(path: &Path) -> Result<(), NameError> {
    let ending = path.extension().unwrap_or_default().as_encoded_bytes();
    if ending.eq_ignore_ascii_case(b"dcm") || ending.iter().all(u8::is_ascii_digit) {
        Ok(())
    } else {
        Err(NameError::Object { path: path.to_owned() })
    }
}
