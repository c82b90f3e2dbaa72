//! A data set's fingerprint: modality, sizes, spacings, intensities and class frequencies of its
//! training subjects, and the task derived from them.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, ensure};
use monet::package::Manifest;
use monet::volume::{Orientation, SliceSource, SourceOptions};
use serde::Serialize;

use crate::dataset::{Description, Pair};
use crate::preset;

/// Labelled voxels looked at per subject and channel, evenly spread.
const SAMPLE: usize = 10_000;

/// The net's sides are multiples of this, so that any of the networks takes them.
const SIDE_STEP: usize = 16;

/// The net's sides are at most this: training cuts larger slices, the device plans them larger.
const MAX_SIDE: usize = 256;

/// Colours of labels in turn.
const COLOURS: [&str; 6] = ["#ff6b35", "#2ec4b6", "#ffc914", "#5f6caf", "#e4572e", "#76b041"];

/// What was found; the axes are right, anterior, superior.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fingerprint {
    /// The data set's name.
    pub name: String,
    /// Its licence.
    pub licence: String,
    /// Whom it credits.
    pub reference: String,
    /// One a channel, as `dataset.json` says.
    pub modalities: Vec<String>,
    /// Subjects looked at.
    pub subjects: usize,
    /// Voxels along each axis: least, median, most.
    pub sizes: [[usize; 3]; 3],
    /// Millimetres along each axis: least, median, most.
    pub spacings: [[f64; 3]; 3],
    /// Most voxels along each axis once resampled to the median spacing.
    pub largest: [usize; 3],
    /// Of labelled voxels, one a channel.
    pub intensities: Vec<Intensities>,
    /// One a label value, background first.
    pub classes: Vec<Class>,
}

/// Intensities of labelled voxels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Intensities {
    /// Percentiles 0.5, 50 and 99.5.
    pub percentiles: [f32; 3],
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
}

/// One label value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Class {
    /// As in the files.
    pub value: u8,
    /// As `dataset.json` says.
    pub name: String,
    /// Part of all voxels.
    pub frequency: f64,
    /// Subjects that have it.
    pub subjects: usize,
}

/// One subject's share.
struct Seen {
    size: [usize; 3],
    spacing: [f64; 3],
    /// Voxels of each label value.
    counts: BTreeMap<u8, usize>,
    /// Labelled voxels, a list a channel.
    samples: Vec<Vec<f32>>,
}

impl Fingerprint {
    /// Reads the subjects.
    ///
    /// # Errors
    /// Unreadable files, image and label of different shape, no labels at all; names the subject.
    pub fn of(description: &Description, pairs: &[Pair]) -> Result<Self> {
        let modalities = description.modalities();
        let subjects = pairs
            .iter()
            .map(|pair| {
                see(pair, modalities.len(), description)
                    .with_context(|| format!("subject {}", pair.name))
            })
            .collect::<Result<Vec<_>>>()?;
        ensure!(!subjects.is_empty(), "no subjects to look at");
        let spacings = [0, 1, 2].map(|axis| spread(subjects.iter().map(|s| s.spacing[axis])));
        let resampled = |s: &Seen, axis: usize| {
            (s.size[axis] as f64 * s.spacing[axis] / spacings[axis][1]).round() as usize
        };
        let intensities = (0..modalities.len())
            .map(|channel| {
                intensities(
                    subjects.iter().flat_map(|s| s.samples[channel].iter().copied()).collect(),
                )
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            name: description.name.clone(),
            licence: description.licence(),
            reference: description.reference(),
            subjects: subjects.len(),
            sizes: [0, 1, 2].map(|axis| spread(subjects.iter().map(|s| s.size[axis]))),
            largest: [0, 1, 2]
                .map(|axis| subjects.iter().map(|s| resampled(s, axis)).max().unwrap_or_default()),
            spacings,
            intensities,
            classes: classes(&subjects, description),
            modalities,
        })
    }

    /// The axis along which slices follow one another: the one with the coarsest median spacing, if
    /// it is half as coarse again as the finest, else superior.
    fn slice_axis(&self) -> usize {
        let median = self.spacings.map(|s| s[1]);
        let coarsest = (0..3).max_by(|&a, &b| median[a].total_cmp(&median[b])).unwrap_or(2);
        let finest = median.into_iter().fold(f64::INFINITY, f64::min);
        if median[coarsest] >= 1.5 * finest { coarsest } else { 2 }
    }

    /// The derived task: slices across the coarsest axis, padded at the median spacing; CT clipped
    /// to the labelled voxels' range, other modalities to each volume's own percentiles; one label
    /// a value, a sigmoid where there is only one.
    ///
    /// # Errors
    /// Where the data set's name or labels make no valid manifest.
    pub fn manifest(&self) -> Result<Manifest> {
        let (axes, orientation) = match self.slice_axis() {
            0 => ([1, 2], "ASR"),
            1 => ([0, 2], "RSA"),
            _ => ([0, 1], "RAS"),
        };
        let orientation: Orientation = orientation.parse()?;
        let spacing = axes.map(|axis| self.spacings[axis][1]);
        let [width, height] = axes.map(|axis| {
            self.largest[axis].next_multiple_of(SIDE_STEP).clamp(2 * SIDE_STEP, MAX_SIDE)
        });
        let ct = self.modalities.iter().all(|m| m.eq_ignore_ascii_case("ct"));
        let normalise = match &self.intensities[..] {
            [only] if ct => {
                format!(
                    "kind = \"window\"\nlow = {:?}\nhigh = {:?}",
                    only.percentiles[0], only.percentiles[2]
                )
            }
            _ => "kind = \"percentiles\"\nlow = 0.5\nhigh = 99.5".into(),
        };
        let labels: Vec<&Class> = self.classes.iter().filter(|c| c.value > 0).collect();
        let output = if labels.len() == 1 {
            "kind = \"sigmoid\"\nthreshold = 0.5"
        } else {
            "kind = \"argmax\""
        };
        let names: Vec<&str> = labels.iter().map(|c| c.name.as_str()).collect();
        let name: String = self
            .name
            .to_lowercase()
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '-' })
            .collect();
        let mut text = format!(
            "name = {}\ntask = {}\norientation = \"{orientation}\"\n\
             [input]\nwidth = {width}\nheight = {height}\nchannels = {}\n\
             [normalise]\n{normalise}\n[fit]\nkind = \"pad\"\nspacing = \
             {spacing:?}\n[output]\n{output}\n\
             [data]\nname = {}\nlicence = {}\nattribution = {}\n",
            quoted(if name.is_empty() { "unnamed" } else { &name }),
            quoted(&format!("{} in {}", names.join(", "), self.modalities.join(", "))),
            self.modalities.len(),
            quoted(&self.name),
            quoted(&self.licence),
            quoted(&self.reference),
        );
        for (i, class) in labels.iter().enumerate() {
            text += &format!(
                "[[labels]]\nvalue = {}\nname = {}\ncolour = {:?}\n",
                i + 1,
                quoted(&class.name),
                COLOURS[i % COLOURS.len()]
            );
            if usize::from(class.value) != i + 1 {
                text += &format!("from = [{}]\n", class.value);
            }
        }
        preset::parse(&text).context("the task derived from the data")
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, modalities, subjects, .. } = self;
        writeln!(f, "{name}: {subjects} training subjects, {}", modalities.join(", "))?;
        writeln!(f, "  {:<22}{:>10}{:>10}{:>10}", "axis (R, A, S)", "least", "median", "most")?;
        for (axis, [least, median, most]) in ["R", "A", "S"].iter().zip(self.sizes) {
            writeln!(f, "  {:<22}{least:>10}{median:>10}{most:>10}", format!("{axis} voxels"))?;
        }
        for (axis, [least, median, most]) in ["R", "A", "S"].iter().zip(self.spacings) {
            writeln!(
                f,
                "  {:<22}{least:>10.3}{median:>10.3}{most:>10.3}",
                format!("{axis} spacing, mm")
            )?;
        }
        writeln!(
            f,
            "  {:<22}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "labelled voxels", "0.5 %", "50 %", "99.5 %", "mean", "std"
        )?;
        for (modality, i) in modalities.iter().zip(&self.intensities) {
            let [low, median, high] = i.percentiles;
            writeln!(
                f,
                "  {modality:<22}{low:>10.1}{median:>10.1}{high:>10.1}{:>10.1}{:>10.1}",
                i.mean, i.std
            )?;
        }
        writeln!(f, "  {:<22}{:>10}{:>10}{:>10}", "label", "value", "% voxels", "subjects")?;
        for class in &self.classes {
            let percent = 100.0 * class.frequency;
            writeln!(
                f,
                "  {:<22}{:>10}{percent:>10.3}{:>10}",
                class.name, class.value, class.subjects
            )?;
        }
        Ok(())
    }
}

/// As a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn see(pair: &Pair, channels: usize, description: &Description) -> Result<Seen> {
    let options = SourceOptions { orientation: Orientation::default(), ..SourceOptions::default() };
    let mut image = SliceSource::open(&pair.image, &options)?;
    let mut label = SliceSource::open(&pair.label, &options)?;
    let geometry = *image.geometry();
    ensure!(
        geometry.size == label.geometry().size && label.channels() == 1,
        "the image is {:?} voxels, the label {:?}",
        geometry.size,
        label.geometry().size
    );
    ensure!(
        image.channels() == channels,
        "the image has {} channel(s), dataset.json names {channels} ({})",
        image.channels(),
        description.modalities().join(", ")
    );
    let truth = label.read_all()?;
    let mut counts = BTreeMap::new();
    for &value in &truth {
        ensure!(
            value.fract() == 0.0 && (0.0..=255.0).contains(&value),
            "label value {value}, expected 0 to 255"
        );
        *counts.entry(value as u8).or_insert(0usize) += 1;
    }
    let labelled = truth.len() - counts.get(&0).copied().unwrap_or_default();
    let every = labelled.div_ceil(SAMPLE).max(1);
    let voxels = image.read_all()?;
    let plane = geometry.size[0] * geometry.size[1];
    let mut samples = vec![Vec::new(); channels];
    for (i, at) in (0..truth.len()).filter(|&at| truth[at] > 0.0).enumerate() {
        if i % every == 0 {
            for (channel, list) in samples.iter_mut().enumerate() {
                list.push(voxels[(at / plane * channels + channel) * plane + at % plane]);
            }
        }
    }
    Ok(Seen { size: geometry.size, spacing: geometry.spacing, counts, samples })
}

fn classes(subjects: &[Seen], description: &Description) -> Vec<Class> {
    let mut counts: BTreeMap<u8, (usize, usize)> = BTreeMap::from([(0, (0, 0))]);
    for (value, count) in subjects.iter().flat_map(|s| &s.counts) {
        let (voxels, having) = counts.entry(*value).or_default();
        *voxels += count;
        *having += 1;
    }
    let all: usize = counts.values().map(|(voxels, _)| voxels).sum();
    let class = |(value, (voxels, subjects))| Class {
        value,
        name: description.label(value),
        frequency: voxels as f64 / all.max(1) as f64,
        subjects,
    };
    counts.into_iter().map(class).collect()
}

fn intensities(mut values: Vec<f32>) -> Result<Intensities> {
    ensure!(!values.is_empty(), "no training subject has a label: there is nothing to learn");
    values.sort_by(f32::total_cmp);
    let at = |percent: f64| values[(percent / 100.0 * (values.len() - 1) as f64).round() as usize];
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    Ok(Intensities { percentiles: [at(0.5), at(50.0), at(99.5)], mean, std: variance.sqrt() })
}

/// Least, median and most.
fn spread<T: Copy + PartialOrd>(values: impl Iterator<Item = T>) -> [T; 3] {
    let mut values: Vec<T> = values.collect();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}

#[cfg(test)]
mod tests {
    use monet::package::{FitRule, Normalise, Output};

    use super::*;

    fn example() -> Fingerprint {
        let class =
            |value, name: &str| Class { value, name: name.into(), frequency: 0.5, subjects: 3 };
        Fingerprint {
            name: "Some organ".into(),
            licence: "CC0".into(),
            reference: "A \"quoted\" paper".into(),
            modalities: vec!["CT".into()],
            subjects: 3,
            sizes: [[90, 100, 300], [90, 100, 120], [20, 30, 40]],
            spacings: [[0.9, 1.0, 1.1], [0.9, 1.0, 1.1], [3.0, 5.0, 5.0]],
            largest: [300, 118, 40],
            intensities: vec![Intensities {
                percentiles: [-50.0, 40.0, 190.0],
                mean: 40.0,
                std: 20.0,
            }],
            classes: vec![class(0, "background"), class(1, "organ"), class(3, "lesion")],
        }
    }

    #[test]
    fn ct_is_clipped_to_what_its_labels_hold_and_sides_cover_the_slices() {
        let manifest = example().manifest().unwrap();
        assert_eq!(manifest.normalise, Normalise::Window { low: -50.0, high: 190.0 });
        assert_eq!((manifest.input.width, manifest.input.height), (256, 128));
        assert_eq!(manifest.fit, FitRule::Pad { spacing: [1.0, 1.0] });
        assert_eq!(manifest.output, Output::Argmax);
        assert_eq!(manifest.labels[1].sources(), [3]);
        assert_eq!(manifest.data.unwrap().attribution, "A \"quoted\" paper");
    }

    #[test]
    fn a_single_label_is_told_by_a_sigmoid_and_mr_by_its_own_percentiles() {
        let mut it = example();
        it.classes.pop();
        it.modalities = vec!["MRI".into()];
        let manifest = it.manifest().unwrap();
        assert_eq!(manifest.output, Output::Sigmoid { threshold: 0.5 });
        assert!(matches!(manifest.normalise, Normalise::Percentiles { .. }));
    }

    #[test]
    fn slices_lie_across_the_coarsest_axis() {
        let mut it = example();
        it.spacings.swap(0, 2);
        assert_eq!(it.manifest().unwrap().orientation.to_string(), "ASR");
        it.spacings = [[1.0; 3]; 3];
        assert_eq!(it.manifest().unwrap().orientation.to_string(), "RAS");
    }
}
