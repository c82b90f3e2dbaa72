//! Training batches: the slices of all training subjects on the device, drawn at random, those with labels more often.

use anyhow::{Result, ensure};
use monet::package::Manifest;
use tch::{Device, Kind, Tensor};

use crate::dataset::Subject;
use crate::settings::Settings;

/// Slices on the training device.
pub struct Slices {
    images: Vec<Tensor>,
    /// As bytes, an eighth of what a batch has.
    labels: Vec<Tensor>,
    /// Numbers of the slices that have a label.
    foreground: Vec<usize>,
    size: [i64; 2],
}

impl Slices {
    /// The slices of subjects, at the net's size.
    ///
    /// # Errors
    /// Where no slice has a label.
    pub fn new(subjects: &[Subject], package: &Manifest, device: Device) -> Result<Self> {
        let (mut images, mut labels, mut foreground) = (Vec::new(), Vec::new(), Vec::new());
        for subject in subjects {
            let [height, width] = subject.net_size();
            let shape = [package.input.planes() as i64, height as i64, width as i64];
            let pairs = subject.net.chunks_exact(subject.fit.net_len());
            for (image, truth) in pairs.zip(subject.net_labels.chunks_exact(height * width)) {
                if truth.iter().any(|&v| v > 0) {
                    foreground.push(images.len());
                }
                images.push(Tensor::from_slice(image).reshape(shape).to_device(device));
                labels.push(Tensor::from_slice(truth).reshape(&shape[1..]).to_device(device));
            }
        }
        ensure!(
            !foreground.is_empty(),
            "no slice of the training split has a label: there is nothing to learn"
        );
        let size = [package.input.height as i64, package.input.width as i64];
        Ok(Self { images, labels, foreground, size })
    }

    /// Slices of one size: images `[n, channels, h, w]` and labels `[n, h, w]`, as bytes.
    #[must_use]
    pub fn of(images: &Tensor, labels: &Tensor) -> Self {
        let size = labels.size();
        let [images, labels] = [images, labels].map(|t| t.unbind(0));
        Self { foreground: (0..images.len()).collect(), images, labels, size: [size[1], size[2]] }
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

    /// A batch at the package's size, from tch's random state; larger slices are cut at a random place.
    pub fn draw(&self, settings: &Settings) -> (Tensor, Tensor) {
        let wanted = (settings.batch as f64 * settings.foreground).round() as usize;
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for i in 0..settings.batch {
            let slice = if i < wanted {
                self.foreground[below(self.foreground.len())]
            } else {
                below(self.images.len())
            };
            let (mut image, mut label) =
                (self.images[slice].shallow_clone(), self.labels[slice].shallow_clone());
            for (axis, &side) in (0i64..).zip(&self.size) {
                let start = below((label.size()[axis as usize] - side + 1) as usize) as i64;
                image = image.narrow(axis + 1, start, side);
                label = label.narrow(axis, start, side);
            }
            images.push(image);
            labels.push(label);
        }
        (Tensor::stack(&images, 0), Tensor::stack(&labels, 0).to_kind(Kind::Int64))
    }
}

/// A number below `n`, from tch's random state.
fn below(n: usize) -> usize {
    Tensor::randint(n as i64, [1], (Kind::Int64, Device::Cpu)).int64_value(&[0]) as usize
}
