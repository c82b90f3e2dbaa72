//! The Decathlon layout: `dataset.json`, images and labels as NIfTI, split by subject.
//!
//! Every subject is read and checked before training begins, through the device's own reader,
//! normalisation and fit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use monet::Size;
use monet::package::{Fit, IntensityStats, Label, Manifest};
use monet::volume::{Geometry, SliceSource, SourceOptions};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

/// Pixels that a net is given at once where it is not trained: enough to keep every core busy, few
/// enough that what is between its layers takes tens of MB. With eight times as many, native
/// sarcomas took 3.9 GB and twice as long.
const PIXELS: i64 = 1 << 16;

/// Which subjects of the list, sorted by file name: the last 20 % are the test split, of the rest
/// the last 20 % the validation split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Split {
    /// What weights and calibration see.
    Train,
    /// What choices are made on.
    Validation,
    /// What is reported, once.
    Test,
}

/// One of several parts of the subjects that are not for testing, written `k/n`: every n-th of them
/// from the k-th on. Written `all:k/n` it is a part of all subjects, and no others are for testing:
/// what cross-validates a data set that is too small to keep some of it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fold {
    /// From 1.
    part: usize,
    /// At least 2.
    of: usize,
    /// Whether it is a part of all subjects.
    all: bool,
}

/// What a part of all subjects is written with.
const ALL: &str = "all:";

impl Fold {
    /// Which part, from 1.
    #[must_use]
    pub fn number(self) -> usize {
        self.part
    }

    /// Whether the `i`-th, from 0, is of this part.
    #[must_use]
    pub fn has(self, i: usize) -> bool {
        i % self.of == self.part - 1
    }
}

impl Split {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl FromStr for Fold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = text.strip_prefix(ALL);
        let numbers = part.unwrap_or(text).split_once('/');
        match numbers.and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?))) {
            Some((k, of)) if of >= 2 && (1..=of).contains(&k) => {
                Ok(Self { part: k, of, all: part.is_some() })
            }
            _ => Err(format!(
                "`{text}` is no part: write k/n with n of 2 or more and k from 1 to n, as in 1/5, \
                 or all:k/n"
            )),
        }
    }
}

impl TryFrom<String> for Fold {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Fold> for String {
    fn from(fold: Fold) -> Self {
        format!("{}{}/{}", if fold.all { ALL } else { "" }, fold.part, fold.of)
    }
}

/// Which subjects of a data set.
#[derive(Debug, Clone, clap::Args)]
pub struct Subset {
    /// Folder in the layout of the Medical Segmentation Decathlon
    #[arg(long)]
    pub data: PathBuf,
    /// Which subjects of it
    #[arg(long, value_enum, default_value = "validation")]
    pub split: Split,
    /// The fold of the run, so that its validation split is meant
    #[arg(long, value_name = "K/N")]
    pub fold: Option<Fold>,
}

impl Subset {
    /// The subjects.
    ///
    /// # Errors
    /// Those of [`list`] and [`split`].
    pub fn pairs(&self) -> Result<Vec<Pair>> {
        split(&list(&self.data)?, self.split, self.fold)
    }

    /// The same, read.
    ///
    /// # Errors
    /// Those of [`Subset::pairs`], and unreadable subjects.
    pub fn subjects(&self, package: &Manifest) -> Result<Vec<Subject>> {
        self.pairs()?.iter().map(|pair| load(pair, package)).collect()
    }
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

/// What `dataset.json` says; only the subjects are indispensable.
#[derive(Debug, Deserialize)]
pub struct Description {
    /// The data set's name.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    modality: BTreeMap<String, String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default, alias = "license")]
    licence: String,
    #[serde(default)]
    reference: String,
    training: Vec<Entry>,
}

impl Description {
    /// Names of the modalities in the order of channels; one unknown where none is named.
    #[must_use]
    pub fn modalities(&self) -> Vec<String> {
        let mut named: Vec<(usize, &String)> = self
            .modality
            .iter()
            .filter_map(|(key, name)| Some((key.parse().ok()?, name)))
            .collect();
        named.sort();
        if named.is_empty() {
            vec!["unknown".into()]
        } else {
            named.into_iter().map(|(_, n)| n.clone()).collect()
        }
    }

    /// Name of a label value.
    #[must_use]
    pub fn label(&self, value: u8) -> String {
        let named = self.labels.get(&value.to_string()).cloned();
        named.unwrap_or_else(|| {
            if value == 0 { "background".into() } else { format!("label {value}") }
        })
    }

    /// The licence, or that none is stated.
    #[must_use]
    pub fn licence(&self) -> String {
        stated(&self.licence)
    }

    /// Whom to credit, or that none is stated.
    #[must_use]
    pub fn reference(&self) -> String {
        stated(&self.reference)
    }
}

fn stated(text: &str) -> String {
    if text.is_empty() { "not stated".into() } else { text.into() }
}

#[derive(Debug, Deserialize)]
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
    pub fit: Fit,
    /// Normalised slices at the net's size, each once: `[slices, channels, height, width]`.
    pub net: Tensor,
    /// Slices on either side that the net sees, too.
    pub neighbours: usize,
    /// Labels at the net's size: slices × height × width.
    pub net_labels: Vec<u8>,
    /// Labels as in the file: slices × height × width.
    pub labels: Vec<u8>,
}

impl Subject {
    /// Height and width of its slices at the net's size.
    #[must_use]
    pub fn net_size(&self) -> Size {
        self.fit.net_size()
    }

    /// What the net sees of all slices, some at a time, each with its neighbours:
    /// `[n, planes, height, width]`.
    pub fn batches(&self, device: Device) -> impl Iterator<Item = Tensor> {
        let (slices, channels, height, width) = self.net.size4().unwrap_or_default();
        let side = self.neighbours as i64;
        let most = (PIXELS / (height * width).max(1)).max(1);
        (0..slices).step_by(most as usize).map(move |first| {
            let end = slices.min(first + most);
            // At the ends of a volume the slice itself stands for the one that is not there.
            let around = |z: i64| (z - side..=z + side).map(|at| at.clamp(0, slices - 1));
            let at: Vec<i64> = (first..end).flat_map(around).collect();
            let planes = (2 * side + 1) * channels;
            let seen = self.net.index_select(0, &Tensor::from_slice(&at));
            seen.reshape([end - first, planes, height, width]).to_device(device)
        })
    }
}

/// Reads `dataset.json`.
///
/// # Errors
/// Where the file is missing or no Decathlon description.
pub fn describe(folder: &Path) -> Result<Description> {
    let path = folder.join("dataset.json");
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "{}: expected a folder in the layout of the Medical Segmentation Decathlon",
            path.display()
        )
    })?;
    serde_json::from_str(&text).with_context(|| {
        format!("{}: expected `training` with pairs of `image` and `label`", path.display())
    })
}

/// Lists the subjects that `dataset.json` names, sorted by file name.
///
/// # Errors
/// Those of [`describe`], where a name is not a plain relative path, where files are missing or
/// subjects repeat.
pub fn list(folder: &Path) -> Result<Vec<Pair>> {
    let mut pairs = describe(folder)?
        .training
        .iter()
        .map(|entry| {
            let (image, label) = (inside(folder, &entry.image)?, inside(folder, &entry.label)?);
            let name =
                image.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
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
    let mut names = BTreeSet::new();
    if let Some(twice) = pairs.iter().find(|p| !names.insert(&p.name)) {
        bail!("subject {}: named twice in {}", twice.name, folder.join("dataset.json").display());
    }
    Ok(pairs)
}

/// A path named in the description, which may not leave the folder.
fn inside(folder: &Path, name: &str) -> Result<PathBuf> {
    let mut path = folder.to_owned();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => bail!("dataset.json names {name:?}: expected a path inside the data set"),
        }
    }
    Ok(path)
}

/// The subjects of one split; with a fold, validation is that part of the subjects that are not for
/// testing. A part of all subjects is both validation and test.
///
/// # Errors
/// Where there are too few subjects for every split to have one; names them.
pub fn split(pairs: &[Pair], which: Split, fold: Option<Fold>) -> Result<Vec<Pair>> {
    let fifth = |n: usize| (n as f64 * 0.2).round() as usize;
    let test = fifth(pairs.len());
    let validation = fifth(pairs.len() - test);
    if test == 0 || validation == 0 {
        let names: Vec<&str> = pairs.iter().map(|p| p.name.as_str()).collect();
        bail!(
            "{} subject(s) ({}) cannot be split into training, validation and test: at least 4 are \
             needed",
            pairs.len(),
            names.join(", ")
        );
    }
    let all = fold.filter(|fold| fold.all);
    let rest = pairs.len() - if all.is_some() { 0 } else { test };
    let validates = |i: usize| match fold {
        None => i >= rest - validation,
        Some(fold) => fold.has(i),
    };
    let tests = |i: usize| all.map_or(i >= rest, |all| all.has(i));
    let found: Vec<Pair> = (0..pairs.len())
        .filter(|&i| match which {
            Split::Train => i < rest && !validates(i),
            Split::Validation => i < rest && validates(i),
            Split::Test => tests(i),
        })
        .map(|i| pairs[i].clone())
        .collect();
    ensure!(
        !found.is_empty(),
        "fold {}: only {rest} subject(s) are not for testing: take fewer folds",
        fold.map(String::from).unwrap_or_default()
    );
    Ok(found)
}

/// A site's share of a split: every n-th subject from the k-th on, so that all sites together have
/// each subject once.
///
/// # Errors
/// Where there are too few subjects for every site to have one.
pub fn share(pairs: &[Pair], site: Fold) -> Result<Vec<Pair>> {
    let found: Vec<Pair> = pairs
        .iter()
        .enumerate()
        .filter(|&(i, _)| site.has(i))
        .map(|(_, pair)| pair.clone())
        .collect();
    ensure!(
        !found.is_empty(),
        "site {}: no subject is left for it, as the split has only {}: take fewer sites",
        String::from(site),
        pairs.len()
    );
    Ok(found)
}

/// Reads and prepares one subject.
///
/// # Errors
/// Unreadable files, image and label of different shape, label values that the package has not;
/// each names the subject.
pub fn load(pair: &Pair, package: &Manifest) -> Result<Subject> {
    read(pair, package).with_context(|| format!("subject {}", pair.name))
}

fn read(pair: &Pair, package: &Manifest) -> Result<Subject> {
    let options = SourceOptions { orientation: package.orientation, ..SourceOptions::default() };
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
    let (size, slices) = (geometry.slice_size(), geometry.size[2]);
    let [x, y, _] = geometry.spacing;
    let fit = Fit::new(package, image.channels(), size, [x, y])?;
    let mut voxels = image.read_all()?;
    let slice_len = image.slice_len();
    let mut stats = IntensityStats::new(package.normalise, image.channels());
    while stats.wants_pass() {
        voxels.chunks_exact(slice_len).for_each(|slice| stats.add(slice));
        stats.end_pass();
    }
    let intensity = stats.finish();
    let labels = integers(&label.read_all()?, package)?;
    // A slice without a label is welcome, a volume without one is a mistake, and has no Dice.
    ensure!(
        labels.iter().any(|&v| v > 0),
        "its label volume is empty: leave it out of dataset.json"
    );

    let net_size = fit.net_size();
    let mut net_labels = vec![0; slices * net_size.area()];
    intensity.apply(&mut voxels, size.area());
    let mut net = vec![0.0f32; slices * fit.slice_len()];
    for (slice, out) in voxels.chunks_exact(slice_len).zip(net.chunks_exact_mut(fit.slice_len())) {
        fit.prepare(slice, out);
    }
    for (slice, out) in
        labels.chunks_exact(size.area()).zip(net_labels.chunks_exact_mut(net_size.area()))
    {
        fit.prepare_labels(slice, out);
    }
    let shape = [slices, package.input.channels, net_size.height, net_size.width].map(|n| n as i64);
    let net = Tensor::from_slice(&net).reshape(shape);
    let neighbours = package.input.neighbours;
    Ok(Subject { name: pair.name.clone(), geometry, fit, net, neighbours, net_labels, labels })
}

/// Label voxels as the package's labels, several source values merged where it says so.
fn integers(voxels: &[f32], package: &Manifest) -> Result<Vec<u8>> {
    let mut known = [None; 256];
    known[0] = Some(0);
    for label in &package.labels {
        label.sources().iter().for_each(|&source| known[usize::from(source)] = Some(label.value));
    }
    let whole = |v: f32| (v.fract() == 0.0 && (0.0..=255.0).contains(&v)).then_some(v as usize);
    voxels
        .iter()
        .map(|&v| {
            whole(v).and_then(|v| known[v]).with_context(|| {
                let sources = |l: &Label| {
                    l.sources().iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
                };
                let labels: Vec<String> =
                    package.labels.iter().map(|l| format!("{} ({})", sources(l), l.name)).collect();
                format!("label value {v}, expected 0 or {}", labels.join(", "))
            })
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use monet::volume::Affine;

    use super::*;

    /// A subject of these slices, `[slices, channels, height, width]`, at 1 mm, with one label
    /// value everywhere.
    pub(crate) fn subject(package: &Manifest, net: Tensor, label: u8) -> Subject {
        let (slices, channels, height, width) = net.size4().unwrap();
        let [slices, channels, height, width] =
            [slices, channels, height, width].map(|n| n as usize);
        let unit = Affine([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
        let labels = vec![label; slices * height * width];
        Subject {
            name: "s".into(),
            geometry: Geometry::new([width, height, slices], unit),
            fit: Fit::new(package, channels, Size { height, width }, [1.0, 1.0]).unwrap(),
            net,
            neighbours: package.input.neighbours,
            net_labels: labels.clone(),
            labels,
        }
    }

    fn pairs(n: usize) -> Vec<Pair> {
        (0..n)
            .map(|i| Pair { name: format!("{i:03}"), image: PathBuf::new(), label: PathBuf::new() })
            .collect()
    }

    #[test]
    fn splits_share_no_subject_and_leave_none_out() {
        for n in 5..50 {
            let all = pairs(n);
            for fold in [None, Some("1/2"), Some("3/3")] {
                let fold = fold.map(|f| f.parse().unwrap());
                let parts = [Split::Train, Split::Validation, Split::Test]
                    .map(|s| split(&all, s, fold).unwrap());
                let mut together = parts.concat();
                together.sort();
                assert_eq!(together, all);
                assert!(parts.iter().all(|p| !p.is_empty()));
            }
        }
    }

    #[test]
    fn folds_validate_each_subject_once_and_test_on_the_same() {
        let all = pairs(23);
        let folds = (1..=5).map(|k| Some(format!("{k}/5").parse().unwrap()));
        let mut seen: Vec<Pair> =
            folds.clone().flat_map(|f| split(&all, Split::Validation, f).unwrap()).collect();
        seen.extend(split(&all, Split::Test, None).unwrap());
        seen.sort();
        assert_eq!(seen, all);
        for fold in folds {
            assert_eq!(
                split(&all, Split::Test, fold).unwrap(),
                split(&all, Split::Test, None).unwrap()
            );
        }
        for bad in ["0/5", "6/5", "1/1", "5", "a/b"] {
            assert!(bad.parse::<Fold>().is_err(), "{bad}");
        }
        let error = split(&pairs(5), Split::Validation, Some("9/9".parse().unwrap()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("fold 9/9: only 4 subject(s)"), "{error}");
    }

    #[test]
    fn folds_of_all_subjects_test_each_once_on_what_did_not_train() {
        let all = pairs(16);
        let folds = (1..=4).map(|k| Some(format!("all:{k}/4").parse().unwrap()));
        let parts = |fold| {
            [Split::Train, Split::Validation, Split::Test].map(|s| split(&all, s, fold).unwrap())
        };
        let mut seen = Vec::new();
        for [train, validation, test] in folds.map(parts) {
            assert_eq!((train.len(), &validation), (12, &test));
            assert!(train.iter().all(|pair| !test.contains(pair)));
            seen.extend(test);
        }
        seen.sort();
        assert_eq!(seen, all);
        let written = String::from("all:3/4".parse::<Fold>().unwrap());
        assert_eq!(written, "all:3/4");
        assert!("all:5/4".parse::<Fold>().is_err());
    }

    #[test]
    fn sites_share_no_subject_and_leave_none_out() {
        let all = pairs(7);
        let site = |k| share(&all, format!("{k}/4").parse().unwrap()).unwrap();
        assert_eq!(site(4), [all[3].clone()]);
        let mut together = [1, 2, 3, 4].map(site).concat();
        together.sort();
        assert_eq!(together, all);
        let error = share(&all, "8/8".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("site 8/8") && error.contains("only 7"), "{error}");
    }

    #[test]
    fn a_single_subject_cannot_be_split() {
        let error = split(&pairs(1), Split::Train, None).unwrap_err().to_string();
        assert!(error.contains("1 subject(s) (000)"), "{error}");
    }

    #[test]
    fn source_values_are_merged_as_the_package_says_and_others_refused() {
        let package = crate::preset::manifest("pancreas").unwrap();
        assert_eq!(integers(&[0.0, 1.0, 2.0], &package).unwrap(), [0, 1, 1]);
        for bad in [3.0, 0.5, -1.0, 256.0, f32::NAN] {
            let error = integers(&[bad], &package).unwrap_err().to_string();
            assert!(error.contains("expected 0 or 1, 2 (pancreas)"), "{error}");
        }
    }

    #[test]
    fn a_description_may_not_name_files_elsewhere() {
        assert!(inside(Path::new("d"), "../secret.nii").is_err());
        assert!(inside(Path::new("d"), "/etc/passwd").is_err());
        let path = inside(Path::new("d"), "./imagesTr/a.nii.gz").unwrap();
        assert_eq!(path.to_str(), Some("d/imagesTr/a.nii.gz"));
    }
}
