//! Training batches: the slices of all training subjects on the device, drawn at random, those with
//! labels more often.

use anyhow::{Result, ensure};
use monet::Size;
use monet::package::Manifest;
use tch::{Device, Kind, Tensor};

use crate::dataset::{self, Pair, Subject};
use crate::random::Random;
use crate::settings::Settings;

/// Slices on the training device.
#[derive(Default)]
pub struct Slices {
    /// `[channels, h, w]`.
    images: Vec<Tensor>,
    /// As bytes, an eighth of what a batch has.
    labels: Vec<Tensor>,
    /// First and last slice of the subject that each is of.
    ends: Vec<[usize; 2]>,
    /// Slices on either side that the net sees, too.
    neighbours: usize,
    /// Numbers of the slices that have a label.
    foreground: Vec<usize>,
    /// Where the labels of each of these lie: first and last row, first and last column.
    boxes: Vec<[[usize; 2]; 2]>,
    size: [i64; 2],
}

impl Slices {
    /// The slices of these subjects, cut as the settings say.
    ///
    /// # Errors
    /// Unreadable subjects; where no slice has a label.
    pub fn read(
        pairs: &[Pair],
        settings: &Settings,
        package: &Manifest,
        device: Device,
    ) -> Result<Self> {
        let fitted = settings.fitted(package);
        let subjects = pairs.iter().map(|pair| dataset::load(pair, &fitted));
        Self::new(subjects, &settings.cut(package), device)
    }

    /// The slices of subjects, for batches of the package's size. Subjects are taken one at a time,
    /// so that besides these slices no more than one is held.
    ///
    /// # Errors
    /// Those of the subjects; where no slice has a label.
    fn new(
        subjects: impl Iterator<Item = Result<Subject>>,
        package: &Manifest,
        device: Device,
    ) -> Result<Self> {
        let size = [package.input.height as i64, package.input.width as i64];
        let neighbours = package.input.neighbours;
        let mut all = Self { neighbours, size, ..Self::default() };
        for subject in subjects {
            all.add(&subject?, device);
        }
        ensure!(
            !all.foreground.is_empty(),
            "no slice of the training split has a label: there is nothing to learn"
        );
        Ok(all)
    }

    fn add(&mut self, subject: &Subject, device: Device) {
        let Size { height, width } = subject.net_size();
        let first = self.images.len();
        for (z, labels) in subject.net_labels.chunks_exact(height * width).enumerate() {
            if let Some(bounds) = bounds(labels, width) {
                self.foreground.push(first + z);
                self.boxes.push(bounds);
            }
        }
        let shape = [-1, height as i64, width as i64];
        let labels = Tensor::from_slice(&subject.net_labels).reshape(shape);
        self.images.extend(subject.net.to_device(device).unbind(0));
        self.labels.extend(labels.to_device(device).unbind(0));
        self.ends.resize(self.images.len(), [first, self.images.len() - 1]);
    }

    /// Slices of one size, each of its own: images `[n, channels, h, w]` and labels `[n, h, w]`, as
    /// bytes.
    #[must_use]
    pub fn of(images: &Tensor, labels: &Tensor) -> Self {
        let size = labels.size();
        let [images, labels] = [images, labels].map(|t| t.unbind(0));
        let numbers = 0..images.len();
        let ends = numbers.clone().map(|i| [i, i]).collect();
        let foreground = numbers.collect();
        // Slices of this size are never cut.
        let boxes = vec![[[0, 0], [0, 0]]; images.len()];
        Self { images, labels, ends, neighbours: 0, foreground, boxes, size: [size[1], size[2]] }
    }

    /// Number of slices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Pixels of a slice in a batch.
    #[must_use]
    pub fn pixels(&self) -> usize {
        self.size.iter().product::<i64>() as usize
    }

    /// Number of slices that have a label.
    #[must_use]
    pub fn labelled(&self) -> usize {
        self.foreground.len()
    }

    /// A batch at the size that slices were read for, at random; larger slices are cut at a random
    /// place, those drawn for their label around it where the settings ask for that. Images
    /// `[n, planes, h, w]`, each slice with its neighbours, and labels `[n, h, w]`.
    pub fn draw(&self, settings: &Settings, random: &mut Random) -> (Tensor, Tensor) {
        let wanted = (settings.batch as f64 * settings.foreground).round() as usize;
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for i in 0..settings.batch {
            let (slice, labelled) = if i < wanted {
                let n = random.below(self.foreground.len());
                (self.foreground[n], Some(self.boxes[n]))
            } else {
                (random.below(self.images.len()), None)
            };
            let around = labelled.filter(|_| settings.aim > 0.0 && random.chance(settings.aim));
            let [top, left] = [0, 1].map(|axis| {
                let (side, cut) = (self.labels[slice].size()[axis], self.size[axis]);
                place(side as usize, cut as usize, around.map(|b| b[axis]), random) as i64
            });
            let cut = |t: &Tensor| t.narrow(-2, top, self.size[0]).narrow(-1, left, self.size[1]);
            let own = images.len();
            images.extend(self.seen(slice).map(|at| cut(&self.images[at])));
            if random.chance(settings.augment.flip_slices) {
                images[own..].reverse();
            }
            labels.push(cut(&self.labels[slice]));
        }
        let [height, width] = self.size;
        let images = Tensor::stack(&images, 0).reshape([settings.batch as i64, -1, height, width]);
        (images, Tensor::stack(&labels, 0).to_kind(Kind::Int64))
    }

    /// A slice and its neighbours; at the ends of its subject the slice itself stands for the one
    /// that is not there.
    fn seen(&self, slice: usize) -> impl Iterator<Item = usize> {
        let ([first, last], side) = (self.ends[slice], self.neighbours);
        (0..=2 * side).map(move |i| (slice + i).saturating_sub(side).clamp(first, last))
    }
}

/// First and last row, first and last column of what is labelled; `None` where nothing is.
fn bounds(labels: &[u8], width: usize) -> Option<[[usize; 2]; 2]> {
    let found = labels.iter().enumerate().filter(|&(_, &v)| v > 0);
    found.fold(None, |bounds, (at, _)| {
        let grown = |[least, most]: [usize; 2], n: usize| [least.min(n), most.max(n)];
        let (row, column) = (at / width, at % width);
        let [rows, columns] = bounds.unwrap_or([[row; 2], [column; 2]]);
        Some([grown(rows, row), grown(columns, column)])
    })
}

/// Where a cut of `cut` pixels begins on a side: anywhere, or so that it has one of the pixels from
/// the first to the last of `around`, drawn at random.
fn place(side: usize, cut: usize, around: Option<[usize; 2]>, random: &mut Random) -> usize {
    let most = side - cut;
    let Some([first, last]) = around else { return random.below(most + 1) };
    let pixel = first + random.below(last - first + 1);
    let least = (pixel + 1).saturating_sub(cut);
    least + random.below(pixel.min(most) - least + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset;

    /// A subject whose slices are full of their numbers, counted from `first`.
    fn subject(package: &Manifest, first: i64, slices: i64) -> Subject {
        let [width, height] = [package.input.width, package.input.height].map(|n| n as i64);
        let numbers = Tensor::arange_start(first, first + slices, (Kind::Float, Device::Cpu));
        let plane = numbers.reshape([slices, 1, 1, 1]).expand([slices, 1, height, width], false);
        dataset::tests::subject(package, plane.contiguous(), 1)
    }

    /// Values of the planes of each slice.
    fn planes(images: &Tensor) -> Vec<Vec<f32>> {
        let first = images.select(-1, 0).select(-1, 0);
        (0..first.size()[0]).map(|i| Vec::try_from(first.get(i)).unwrap()).collect()
    }

    #[test]
    fn slices_are_drawn_with_the_neighbours_that_the_net_will_see() {
        let package = preset::manifest("hippocampus").unwrap();
        let subjects =
            [(0, 3), (3, 1), (4, 5)].map(|(first, slices)| subject(&package, first, slices));
        let seen: Vec<_> = subjects
            .iter()
            .flat_map(|s| s.batches(Device::Cpu))
            .flat_map(|batch| planes(&batch))
            .collect();
        assert_eq!(seen[0], [0.0, 0.0, 1.0]);
        assert_eq!(seen[2..5], [[1.0, 2.0, 2.0], [3.0, 3.0, 3.0], [4.0, 4.0, 5.0]]);
        assert_eq!(seen.len(), 9);

        let slices = Slices::new(subjects.into_iter().map(Ok), &package, Device::Cpu).unwrap();
        let (images, _) = slices.draw(&Settings::of(&["--batch", "64"]), &mut Random::of(1, 1));
        let drawn = planes(&images);
        assert!(drawn.iter().all(|slice| *slice == seen[slice[1] as usize]), "{drawn:?}");
        assert!((0..9).all(|n| drawn.iter().any(|slice| slice[1] as i64 == n)), "{drawn:?}");

        let (images, _) = slices
            .draw(&Settings::of(&["--batch", "64", "--flip-slices", "0.5"]), &mut Random::of(1, 1));
        let (kept, turned): (Vec<_>, Vec<_>) =
            planes(&images).into_iter().partition(|slice| *slice == seen[slice[1] as usize]);
        assert!(
            kept.len() > 16 && turned.len() > 8,
            "{} kept, {} turned",
            kept.len(),
            turned.len()
        );
        assert!(turned.iter().all(|s| [s[2], s[1], s[0]] == seen[s[1] as usize][..]), "{turned:?}");
    }

    #[test]
    fn a_cut_that_is_aimed_has_some_of_the_label() {
        let mut random = Random::of(1, 1);
        let mut labels = [0u8; 20 * 30];
        assert_eq!(bounds(&labels, 30), None);
        (labels[3 * 30 + 28], labels[17 * 30 + 4]) = (1, 2);
        assert_eq!(bounds(&labels, 30), Some([[3, 17], [4, 28]]));
        for (first, last) in [(0, 0), (3, 17), (19, 19)] {
            for cut in [1, 8, 20] {
                let places: Vec<_> =
                    (0..500).map(|_| place(20, cut, Some([first, last]), &mut random)).collect();
                assert!(
                    places.iter().all(|at| *at + cut <= 20 && *at <= last && at + cut > first),
                    "{first} to {last}, {cut}: {places:?}"
                );
            }
        }
        let anywhere: Vec<_> = (0..500).map(|_| place(20, 8, None, &mut random)).collect();
        assert!((0..=12).all(|at| anywhere.contains(&at)), "{anywhere:?}");
    }

    #[test]
    fn batches_show_more_of_the_label_when_cuts_are_aimed() {
        let mut package = preset::manifest("pancreas").unwrap();
        let mut whole = subject(&package, 0, 4);
        whole.net_labels.fill(0);
        for slice in whole.net_labels.chunks_exact_mut(256 * 256) {
            slice[200 * 256 + 30] = 1;
        }
        (package.input.width, package.input.height) = (32, 32);
        let slices = Slices::new([Ok(whole)].into_iter(), &package, Device::Cpu).unwrap();
        let shown = |options: &[&str]| {
            let (_, labels) = slices.draw(&Settings::of(options), &mut Random::of(1, 1));
            labels.sum(Kind::Int64).int64_value(&[])
        };
        let all = ["--batch", "32", "--foreground", "1", "--crop", "32", "--aim"];
        assert_eq!(shown(&[&all[..], &["1"]].concat()), 32);
        assert!(shown(&[&all[..], &["0"]].concat()) < 8);
    }
}
