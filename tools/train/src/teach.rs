//! Teachers: earlier runs whose probabilities a run learns beside the labels of the data (knowledge distillation, Hinton et al. 2015,
//! arXiv 1503.02531).
//!
//! Labels that people drew differ where the picture leaves it open; several nets together say where that is. Teachers may see other
//! slices than their pupil, in another orientation or of another size, as they are asked about whole volumes in the volume's own grid.
//! Runs of several folds teach a subject by those only that did not train on it, which know it no better than a new one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use indicatif::ProgressIterator;
use monet::package::Manifest;
use monet::volume::{AxisMap, Orientation};
use tch::{Device, Kind};

use crate::checkpoint::Run;
use crate::dataset::{self, Pair, Split, Subject};
use crate::evaluate;
use crate::net::{self, Net, Pass};
use crate::settings::Settings;

/// The training subjects of a run, with what its teachers say of them mixed into what is to be learned.
///
/// # Errors
/// Bad data, naming the subject; a teacher that is no run or has other labels.
pub fn subjects(
    all: &[Pair],
    settings: &Settings,
    package: &Manifest,
    device: Device,
) -> Result<Vec<Subject>> {
    let pairs = dataset::split(all, Split::Train, settings.fold)?;
    let open = |run: &PathBuf| Teacher::open(run, all, package, device);
    let teachers = settings.teacher.iter().map(open).collect::<Result<Vec<_>>>()?;
    let mut subjects = pairs.iter().map(|pair| dataset::load(pair, package)).collect::<Result<Vec<_>>>()?;
    if !teachers.is_empty() {
        eprintln!("{} teachers are asked about {} subjects", teachers.len(), pairs.len());
        for (pair, subject) in pairs.iter().progress().zip(&mut subjects) {
            mix(subject, &ask(&teachers, pair, package, device)?, settings.trust);
        }
    }
    Ok(subjects)
}

/// An earlier run.
struct Teacher {
    package: Manifest,
    net: Net,
    /// Names of the subjects that it trained on.
    knows: BTreeSet<String>,
}

impl Teacher {
    fn open(folder: &Path, all: &[Pair], pupil: &Manifest, device: Device) -> Result<Self> {
        let run = Run(folder.to_owned());
        let settings = run.settings()?;
        let package = run.package(&settings)?;
        let labels = |package: &Manifest| -> BTreeMap<u8, String> {
            package.labels.iter().map(|label| (label.value, label.name.clone())).collect()
        };
        let (found, expected) = (labels(&package), labels(pupil));
        ensure!(
            found == expected,
            "teacher {}: it has the labels {found:?}, expected {expected:?}",
            folder.display()
        );
        let net = run
            .net(settings.topology(&package), device)
            .with_context(|| format!("teacher {}", folder.display()))?;
        let trained = dataset::split(all, Split::Train, settings.fold)?;
        Ok(Self { package, net, knows: trained.into_iter().map(|pair| pair.name).collect() })
    }

    /// Probabilities of the labels in 255ths, in the subject's grid turned to `orientation`: slices × labels × height × width.
    fn probabilities(&self, pair: &Pair, orientation: Orientation, device: Device) -> Result<Vec<u8>> {
        let subject = dataset::load(pair, &self.package)?;
        let labels = self.package.labels.len();
        let predict = |x: &tch::Tensor| {
            let all = net::probabilities(&self.net.forward(x, Pass::Inference));
            let background = all.size()[1] - labels as i64;
            Ok((all.narrow(1, background, labels as i64) * 255.0).round().to_kind(Kind::Uint8))
        };
        let said = evaluate::restored(&subject, &self.package, device, &predict)?;
        let map = AxisMap::between(self.package.orientation, orientation);
        Ok(turned(&said, labels, subject.geometry.size, map))
    }
}

/// The mean of what teachers say of a subject, as [`Teacher::probabilities`]: of those that did not train on it, else of all.
fn ask(teachers: &[Teacher], pair: &Pair, pupil: &Manifest, device: Device) -> Result<Vec<u8>> {
    let unbiased: Vec<&Teacher> = teachers.iter().filter(|t| !t.knows.contains(&pair.name)).collect();
    let asked = if unbiased.is_empty() { teachers.iter().collect() } else { unbiased };
    let mut sums: Vec<u32> = Vec::new();
    for teacher in &asked {
        let said = teacher.probabilities(pair, pupil.orientation, device)?;
        sums.resize(said.len(), 0);
        sums.iter_mut().zip(said).for_each(|(sum, p)| *sum += u32::from(p));
    }
    let n = asked.len() as u32;
    Ok(sums.into_iter().map(|sum| ((sum + n / 2) / n) as u8).collect())
}

/// Moves what is to be learned of a subject by `trust` (0 to 1) from its labels to what was said of it, both in its own grid.
fn mix(subject: &mut Subject, said: &[u8], trust: f64) {
    let [width, height, _] = subject.geometry.size;
    let [net_height, net_width] = subject.net_size();
    let mut plane = vec![0; net_height * net_width];
    for (said, truth) in
        said.chunks_exact(width * height).zip(subject.net_truth.chunks_exact_mut(net_height * net_width))
    {
        subject.fit.prepare_labels(said, &mut plane);
        for (truth, &said) in truth.iter_mut().zip(&plane) {
            *truth = (f64::from(*truth) * (1.0 - trust) + f64::from(said) * trust).round() as u8;
        }
    }
}

/// Volumes of `size` (width, height, slices), `count` of them interleaved slice by slice, with their axes in another order and direction.
fn turned(volumes: &[u8], count: usize, size: [usize; 3], map: AxisMap) -> Vec<u8> {
    let strides = [1, size[0], size[0] * size[1] * count];
    let plane = size[0] * size[1];
    let mut out = Vec::with_capacity(volumes.len());
    // Where the voxel at `i` along an axis of the result stands in a source volume, less what the other axes add.
    let at = |axis: usize, i: usize| {
        let from = map.0[axis];
        (if from.reversed { size[from.axis] - 1 - i } else { i }) * strides[from.axis]
    };
    let [width, height, slices] = map.0.map(|from| size[from.axis]);
    for z in 0..slices {
        for volume in 0..count {
            for y in 0..height {
                let row = at(2, z) + at(1, y) + volume * plane;
                out.extend((0..width).map(|x| volumes[row + at(0, x)]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_volume_has_each_voxel_where_its_orientation_says() {
        let size = [2, 3, 4];
        // Two volumes of voxels that say where they are, the second one's with 100 more.
        let voxel = |x: usize, y: usize, z: usize| (x + 2 * y + 6 * z) as u8;
        let mut volumes = Vec::new();
        for z in 0..4 {
            for more in [0, 100] {
                for y in 0..3 {
                    volumes.extend((0..2).map(|x| voxel(x, y, z) + more));
                }
            }
        }
        let [ras, psl] = ["RAS", "PSL"].map(|code| code.parse::<Orientation>().unwrap());
        let there = turned(&volumes, 2, size, AxisMap::between(ras, psl));
        // In PSL: columns run to the back, rows up, slices to the left.
        let (width, height) = (3, 4);
        for (x, y, z) in (0..3).flat_map(|x| (0..4).flat_map(move |y| (0..2).map(move |z| (x, y, z)))) {
            let at = |volume| ((z * 2 + volume) * height + y) * width + x;
            let expected = voxel(1 - z, 2 - x, y);
            assert_eq!([there[at(0)], there[at(1)]], [expected, expected + 100]);
        }
        assert_eq!(turned(&there, 2, [3, 4, 2], AxisMap::between(psl, ras)), volumes);
    }
}
