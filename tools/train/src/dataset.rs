//! The Decathlon layout: `dataset.json`, images and labels as NIfTI, split by subject.
//!
//! Every subject is read and checked before training begins, through the device's own reader, normalisation and fit.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use monet::package::{FitPlan, IntensityStats, Manifest};
use monet::volume::{Geometry, SliceSource, SourceOptions};
use serde::Deserialize;

/// Which subjects of the list, sorted by file name: the last 20 % are the test split, of the rest the last 20 % the
/// validation split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Split {
    /// What weights and calibration see.
    Train,
    /// What choices are made on.
    Validation,
    /// What is reported, once.
    Test,
}

/// One image with its label volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// File name without its ending.
    pub name: String,
    /// Image file.
    pub image: PathBuf,
    /// Label file.
    pub label: PathBuf,
}

#[derive(Deserialize)]
struct Description {
    training: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    image: String,
    label: String,
}

/// A subject in memory, in the package's orientation.
#[derive(Debug)]
pub struct Subject {
    /// File name without its ending.
    pub name: String,
    /// Of the labels, width × height × slices.
    pub geometry: Geometry,
    /// How its slices fit the net.
    pub fit: FitPlan,
    /// Normalised slices at the net's size: slices × channels × height × width.
    pub net: Vec<f32>,
    /// Labels at the net's size: slices × height × width.
    pub net_labels: Vec<u8>,
    /// Labels as in the file: slices × height × width.
    pub labels: Vec<u8>,
}

impl Subject {
    /// Height and width of its slices at the net's size.
    #[must_use]
    pub fn net_size(&self) -> [usize; 2] {
        self.fit.net_size()
    }
}

/// Lists the subjects that `dataset.json` names, sorted by file name.
///
/// # Errors
/// Where the file is missing or no Decathlon description, where a name is not a plain relative path, where subjects repeat.
pub fn list(folder: &Path) -> Result<Vec<Pair>> {
    let path = folder.join("dataset.json");
    let text = fs::read_to_string(&path).with_context(|| {
        format!("{}: expected a folder in the layout of the Medical Segmentation Decathlon", path.display())
    })?;
    let description: Description = serde_json::from_str(&text).with_context(|| {
        format!("{}: expected `training` with pairs of `image` and `label`", path.display())
    })?;
    let mut pairs = description
        .training
        .iter()
        .map(|entry| {
            let (image, label) = (inside(folder, &entry.image)?, inside(folder, &entry.label)?);
            let name = image.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let name = name.trim_end_matches(".gz").trim_end_matches(".nii").to_owned();
            for file in [&image, &label] {
                ensure!(
                    file.is_file(),
                    "subject {name}: {} is named in dataset.json but is not there",
                    file.display()
                );
            }
            Ok(Pair { name, image, label })
        })
        .collect::<Result<Vec<_>>>()?;
    pairs.sort();
    let names: BTreeSet<&str> = pairs.iter().map(|p| p.name.as_str()).collect();
    ensure!(names.len() == pairs.len(), "{}: a subject is named twice", path.display());
    Ok(pairs)
}

/// A path named in the description, which may not leave the folder.
fn inside(folder: &Path, name: &str) -> Result<PathBuf> {
    let relative = Path::new(name);
    let plain = relative
        .components()
        .all(|c| matches!(c, std::path::Component::Normal(_) | std::path::Component::CurDir));
    ensure!(plain, "dataset.json names {name:?}: expected a path inside the data set");
    Ok(folder.join(relative))
}

/// The subjects of one split.
///
/// # Errors
/// Where there are too few subjects for every split to have one.
pub fn split(pairs: &[Pair], which: Split) -> Result<&[Pair]> {
    let fifth = |n: usize| (n as f64 * 0.2).round() as usize;
    let test = fifth(pairs.len());
    let validation = fifth(pairs.len() - test);
    if test == 0 || validation == 0 {
        bail!(
            "{} subject(s) cannot be split into training, validation and test: at least 5 are needed",
            pairs.len()
        );
    }
    let train = pairs.len() - test - validation;
    Ok(match which {
        Split::Train => &pairs[..train],
        Split::Validation => &pairs[train..train + validation],
        Split::Test => &pairs[train + validation..],
    })
}

/// Reads and prepares one subject.
///
/// # Errors
/// Unreadable files, image and label of different shape, label values that the package has not; each names the subject.
pub fn load(pair: &Pair, package: &Manifest) -> Result<Subject> {
    read(pair, package).with_context(|| format!("subject {}", pair.name))
}

fn read(pair: &Pair, package: &Manifest) -> Result<Subject> {
    let options = SourceOptions { orientation: package.orientation, spool_dir: None };
    let mut image = SliceSource::open(&pair.image, &options)?;
    let mut label = SliceSource::open(&pair.label, &options)?;
    let (geometry, truth) = (*image.geometry(), *label.geometry());
    ensure!(
        geometry.size == truth.size && label.channels() == 1,
        "the image is {:?} voxels, the label {:?} with {} channel(s)",
        geometry.size,
        truth.size,
        label.channels()
    );
    let [width, height, slices] = geometry.size;
    let fit =
        FitPlan::new(package, image.channels(), [width, height], [geometry.spacing[0], geometry.spacing[1]])?;
    let voxels = image.read_all()?;
    let slice_len = image.slice_len();
    let mut stats = IntensityStats::new(package.normalise, image.channels());
    while stats.wants_pass() {
        voxels.chunks_exact(slice_len).for_each(|slice| stats.add(slice));
        stats.end_pass();
    }
    let intensity = stats.finish();
    let labels = integers(&label.read_all()?, package)?;

    let [net_height, net_width] = fit.net_size();
    let side = package.input.neighbours;
    let mut net = vec![0.0; slices * fit.net_len()];
    let mut net_labels = vec![0; slices * net_height * net_width];
    let mut window = Vec::with_capacity((2 * side + 1) * slice_len);
    for (z, out) in net.chunks_exact_mut(fit.net_len()).enumerate() {
        window.clear();
        for i in 0..=2 * side {
            let at = (z + i).saturating_sub(side).min(slices - 1);
            window.extend_from_slice(&voxels[at * slice_len..(at + 1) * slice_len]);
        }
        intensity.apply(&mut window, width * height);
        fit.prepare(&window, out);
    }
    for (slice, out) in
        labels.chunks_exact(width * height).zip(net_labels.chunks_exact_mut(net_height * net_width))
    {
        fit.prepare_labels(slice, out);
    }
    Ok(Subject { name: pair.name.clone(), geometry, fit, net, net_labels, labels })
}

/// Label voxels as integers that the package knows.
fn integers(voxels: &[f32], package: &Manifest) -> Result<Vec<u8>> {
    let most = package.labels.len() as f32;
    voxels
        .iter()
        .map(|&v| {
            ensure!(
                v.fract() == 0.0 && (0.0..=most).contains(&v),
                "label value {v}, expected 0 to {most} ({})",
                package.labels.iter().map(|l| l.name.as_str()).collect::<Vec<_>>().join(", ")
            );
            Ok(v as u8)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(n: usize) -> Vec<Pair> {
        (0..n)
            .map(|i| Pair { name: format!("{i:03}"), image: PathBuf::new(), label: PathBuf::new() })
            .collect()
    }

    #[test]
    fn splits_share_no_subject_and_leave_none_out() {
        for n in 5..50 {
            let all = pairs(n);
            let parts = [Split::Train, Split::Validation, Split::Test].map(|s| split(&all, s).unwrap());
            assert_eq!(parts.concat(), all);
            assert!(parts.iter().all(|p| !p.is_empty()));
        }
    }

    #[test]
    fn a_single_subject_cannot_be_split() {
        assert!(split(&pairs(1), Split::Train).unwrap_err().to_string().contains("1 subject(s)"));
    }

    #[test]
    fn a_description_may_not_name_files_elsewhere() {
        assert!(inside(Path::new("d"), "../secret.nii").is_err());
        assert!(inside(Path::new("d"), "/etc/passwd").is_err());
        assert_eq!(
            inside(Path::new("d"), "./imagesTr/a.nii.gz").unwrap(),
            Path::new("d/./imagesTr/a.nii.gz")
        );
    }
}
