//! Training batches: the slices of all training subjects on the device, drawn at random, those with labels more often.

use anyhow::{Result, ensure};
use monet::package::Manifest;
use tch::{Device, Kind, Tensor};

use crate::dataset::Subject;
use crate::settings::Settings;

/// Slices on the training device.
pub struct Slices {
    images: Vec<Tensor>,
    /// Probabilities of the labels in 255ths, a quarter of what a batch has.
    truths: Vec<Tensor>,
    /// Numbers of the slices where some label is more likely than none.
    foreground: Vec<usize>,
    size: [i64; 2],
}

impl Slices {
    /// The slices of subjects, at the net's size.
    ///
    /// # Errors
    /// Where no slice has a label.
    pub fn new(subjects: &[Subject], package: &Manifest, device: Device) -> Result<Self> {
        let (mut images, mut truths, mut foreground) = (Vec::new(), Vec::new(), Vec::new());
        for subject in subjects {
            let [height, width] = subject.net_size();
            let (planes, labels) = (package.input.planes(), package.labels.len());
            let tensor = |t: Tensor, channels: usize| {
                t.reshape([channels, height, width].map(|n| n as i64)).to_device(device)
            };
            let pairs = subject.net.chunks_exact(subject.fit.net_len());
            for (image, truth) in pairs.zip(subject.net_truth.chunks_exact(labels * height * width)) {
                if truth.iter().any(|&v| v > u8::MAX / 2) {
                    foreground.push(images.len());
                }
                images.push(tensor(Tensor::from_slice(image), planes));
                truths.push(tensor(Tensor::from_slice(truth), labels));
            }
        }
        ensure!(
            !foreground.is_empty(),
            "no slice of the training split has a label: there is nothing to learn"
        );
        let size = [package.input.height as i64, package.input.width as i64];
        Ok(Self { images, truths, foreground, size })
    }

    /// Slices of one size: images `[n, channels, h, w]` and probabilities of labels `[n, labels, h, w]`, as bytes.
    #[must_use]
    pub fn of(images: &Tensor, truths: &Tensor) -> Self {
        let size = truths.size();
        let [images, truths] = [images, truths].map(|t| t.unbind(0));
        Self { foreground: (0..images.len()).collect(), images, truths, size: [size[2], size[3]] }
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

    /// A batch at the package's size, from tch's random state; larger slices are cut at a random place. Images
    /// `[n, channels, h, w]` and probabilities of labels `[n, labels, h, w]`.
    pub fn draw(&self, settings: &Settings) -> (Tensor, Tensor) {
        let wanted = (settings.batch as f64 * settings.foreground).round() as usize;
        let (mut images, mut truths) = (Vec::new(), Vec::new());
        for i in 0..settings.batch {
            let slice = if i < wanted {
                self.foreground[below(self.foreground.len())]
            } else {
                below(self.images.len())
            };
            let (mut image, mut truth) =
                (self.images[slice].shallow_clone(), self.truths[slice].shallow_clone());
            for (axis, &side) in (1i64..).zip(&self.size) {
                let start = below((truth.size()[axis as usize] - side + 1) as usize) as i64;
                image = image.narrow(axis, start, side);
                truth = truth.narrow(axis, start, side);
            }
            images.push(image);
            truths.push(truth);
        }
        (Tensor::stack(&images, 0), Tensor::stack(&truths, 0).to_kind(Kind::Float) / f64::from(u8::MAX))
    }
}

/// A number below `n`, from tch's random state.
fn below(n: usize) -> usize {
    Tensor::randint(n as i64, [1], (Kind::Int64, Device::Cpu)).int64_value(&[0]) as usize
}
