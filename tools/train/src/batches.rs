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
        let package = settings.cut(package);
        Self::new(pairs.iter().map(|pair| dataset::load(pair, &package)), &package, device)
    }

    /// The slices of subjects, at the net's size. Subjects are taken one at a time, so that besides
    /// these slices no more than one is held.
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
            if labels.iter().any(|&v| v > 0) {
                self.foreground.push(first + z);
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
        Self { images, labels, ends, neighbours: 0, foreground, size: [size[1], size[2]] }
    }

    /// Number of slices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Number of slices that have a label.
    #[must_use]
    pub fn labelled(&self) -> usize {
        self.foreground.len()
    }

    /// A batch at the size that slices were read for, at random; larger slices are cut at a random
    /// place. Images `[n, planes, h, w]`, each slice with its neighbours, and labels `[n, h, w]`.
    pub fn draw(&self, settings: &Settings, random: &mut Random) -> (Tensor, Tensor) {
        let wanted = (settings.batch as f64 * settings.foreground).round() as usize;
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for i in 0..settings.batch {
            let slice = if i < wanted {
                self.foreground[random.below(self.foreground.len())]
            } else {
                random.below(self.images.len())
            };
            let [height, width] = [0, 1].map(|axis| self.labels[slice].size()[axis]);
            let top = random.below((height - self.size[0] + 1) as usize) as i64;
            let left = random.below((width - self.size[1] + 1) as usize) as i64;
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
}
