//! Random changes to a training batch, a set per slice.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::device::send;
use crate::random::Random;

/// Pixels between the knots of an elastic deformation.
const KNOTS: i64 = 8;

/// Strength of each change; zero switches it off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Augment {
    /// Chance that a slice is rotated, scaled and shifted, and as much again that its intensities
    /// change; the rest stays as sharp and as bright as what the device will see
    #[arg(long, default_value_t = 0.5)]
    pub chance: f64,
    /// Chance of mirroring along the first axis
    #[arg(long, default_value_t = 0.5)]
    pub flip: f64,
    /// Chance of mirroring along the second axis
    #[arg(long, default_value_t = 0.0)]
    #[serde(default)]
    pub flip_rows: f64,
    /// Chance of mirroring along the third axis: the slice's neighbours change sides
    #[arg(long, default_value_t = 0.0)]
    #[serde(default)]
    pub flip_slices: f64,
    /// Largest rotation, degrees
    #[arg(long, default_value_t = 15.0)]
    pub rotate: f64,
    /// Largest relative change of size
    #[arg(long, default_value_t = 0.15)]
    pub scale: f64,
    /// Largest shift, as a part of the slice
    #[arg(long, default_value_t = 0.08)]
    pub shift: f64,
    /// Elastic deformation: standard deviation in pixels of the displacements that are drawn for
    /// every eighth pixel and joined smoothly
    #[arg(long, default_value_t = 0.0)]
    #[serde(default)]
    pub elastic: f64,
    /// Largest relative change of intensity
    #[arg(long, default_value_t = 0.2)]
    pub gain: f64,
    /// Largest offset of intensity
    #[arg(long, default_value_t = 0.1)]
    pub offset: f64,
    /// Largest |ln γ| of the intensity's exponent
    #[arg(long, default_value_t = 0.3)]
    pub gamma: f64,
    /// Largest standard deviation of noise
    #[arg(long, default_value_t = 0.05)]
    pub noise: f64,
}

impl Augment {
    /// Changes images `[n, channels, h, w]` in `[0, 1]` and labels `[n, h, w]` alike in space,
    /// images also in intensity.
    pub fn apply(&self, images: &Tensor, labels: &Tensor, random: &mut Random) -> (Tensor, Tensor) {
        let affine = Tensor::affine_grid_generator(
            &send(&self.transforms(images, random), images.device()),
            images.size(),
            false,
        );
        let grid =
            if self.elastic > 0.0 { affine + self.displacements(images, random) } else { affine };
        let moved = images.grid_sampler(&grid, 0, 0, false);
        // Nearest neighbour keeps labels whole; 0 outside is background in both.
        let float = labels.unsqueeze(1).to_kind(Kind::Float);
        let labels = float.grid_sampler(&grid, 1, 0, false).squeeze_dim(1).to_kind(Kind::Int64);
        (self.intensities(&moved, random), labels)
    }

    /// Affine matrices `[n, 2, 3]` in the unit square, from the result back to the image.
    fn transforms(&self, images: &Tensor, random: &mut Random) -> Tensor {
        let size = images.size();
        let n = [size[0]];
        let aspect = size[2] as f64 / size[3] as f64;
        let changed = random.chosen(&n, self.chance);
        let angle = random.uniform(&n, self.rotate.to_radians()) * &changed;
        let zoom = (random.uniform(&n, self.scale) * &changed).exp();
        let [right, down] = [(); 2].map(|()| random.uniform(&n, 2.0 * self.shift) * &changed);
        let mirror_x = random.chosen(&n, self.flip) * -2.0 + 1.0;
        // Runs without it keep the numbers that they had before there was this option.
        let mirror_y = match self.flip_rows {
            0.0 => mirror_x.ones_like(),
            chance => random.chosen(&n, chance) * -2.0 + 1.0,
        };
        let (cos, sin) = (angle.cos() * &zoom, angle.sin() * &zoom);
        // Pixels are square, the unit square need not be: rotate in pixels.
        let row_x = [&cos * &mirror_x, &sin * &mirror_y * -aspect, right];
        let row_y = [&sin * &mirror_x / aspect, &cos * &mirror_y, down];
        Tensor::stack(&[Tensor::stack(&row_x, 1), Tensor::stack(&row_y, 1)], 1)
    }

    /// Displacements `[n, h, w, 2]` in the unit square, x before y as `grid_sampler` takes them.
    fn displacements(&self, images: &Tensor, random: &mut Random) -> Tensor {
        let n = images.size()[0];
        let sides = &images.size()[2..];
        let knots = [n, 2, sides[0].div_euclid(KNOTS) + 2, sides[1].div_euclid(KNOTS) + 2];
        let changed = random.chosen(&[n, 1, 1, 1], self.chance);
        let pixel = Tensor::from_slice(&[2.0 / sides[1] as f32, 2.0 / sides[0] as f32])
            .reshape([1, 2, 1, 1]);
        let coarse = random.normal(&knots) * self.elastic * changed * pixel;
        send(&coarse, images.device())
            .upsample_bicubic2d(sides, true, None, None)
            .permute([0, 2, 3, 1])
    }

    fn intensities(&self, images: &Tensor, random: &mut Random) -> Tensor {
        let to = |t: Tensor| send(&t, images.device());
        let shape = [images.size()[0], 1, 1, 1];
        let changed = random.chosen(&shape, self.chance);
        let gain = to(random.uniform(&shape, self.gain) * &changed + 1.0);
        let gamma = to((random.uniform(&shape, self.gamma) * &changed).exp());
        let offset = to(random.uniform(&shape, self.offset) * &changed);
        let sigma = to(random.uniform(&shape, self.noise).abs() * &changed);
        let curved = images.clamp(0.0, 1.0).pow(&gamma);
        let noise = to(random.normal(&images.size())) * sigma;
        // Padding stays what it is on the device: exactly 0.
        let inside = images.gt(0.0).to_kind(Kind::Float);
        ((curved * gain + offset + noise) * inside).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    const OFF: Augment = Augment {
        chance: 1.0,
        flip: 0.0,
        flip_rows: 0.0,
        flip_slices: 0.0,
        rotate: 0.0,
        scale: 0.0,
        shift: 0.0,
        elastic: 0.0,
        gain: 0.0,
        offset: 0.0,
        gamma: 0.0,
        noise: 0.0,
    };

    fn batch() -> (Tensor, Tensor) {
        let images = Tensor::rand([3, 2, 8, 12], (Kind::Float, Device::Cpu));
        let labels = Tensor::randint(3, [3, 8, 12], (Kind::Int64, Device::Cpu));
        (images, labels)
    }

    #[test]
    fn with_everything_off_nothing_changes() {
        let (images, labels) = batch();
        let (i, l) = OFF.apply(&images, &labels, &mut Random::of(1, 1));
        assert!((i - images).abs().max().double_value(&[]) < 1e-5);
        assert_eq!(l, labels);
    }

    #[test]
    fn a_flip_mirrors_image_and_label_alike() {
        let (images, labels) = batch();
        let (i, l) = Augment { flip: 1.0, ..OFF }.apply(&images, &labels, &mut Random::of(1, 1));
        assert!((i - images.flip([3])).abs().max().double_value(&[]) < 1e-5);
        assert_eq!(l, labels.flip([2]));
        let (i, l) =
            Augment { flip_rows: 1.0, ..OFF }.apply(&images, &labels, &mut Random::of(1, 1));
        assert!((i - images.flip([2])).abs().max().double_value(&[]) < 1e-5);
        assert_eq!(l, labels.flip([1]));
    }

    #[test]
    fn a_chance_of_none_leaves_slices_as_they_are() {
        let (images, labels) = batch();
        let strong = Augment {
            rotate: 45.0,
            scale: 0.3,
            shift: 0.2,
            gain: 0.5,
            offset: 0.3,
            gamma: 1.0,
            noise: 0.3,
            ..OFF
        };
        let (i, _) = strong.apply(&images, &labels, &mut Random::of(1, 1));
        assert!((i - &images).abs().max().double_value(&[]) > 0.1);
        let (i, l) =
            Augment { chance: 0.0, ..strong }.apply(&images, &labels, &mut Random::of(1, 1));
        assert!((i - images).abs().max().double_value(&[]) < 1e-5);
        assert_eq!(l, labels);
    }

    #[test]
    fn an_elastic_deformation_moves_image_and_label_alike_by_about_what_is_asked() {
        let rows = Tensor::arange(64, (Kind::Float, Device::Cpu)) / 64.0 + 1e-3;
        let images = rows.reshape([1, 1, 64, 1]).expand([4, 1, 64, 40], false).contiguous();
        let labels = (&images * 64.0).squeeze_dim(1).to_kind(Kind::Int64);
        let (i, l) = Augment { elastic: 2.0, ..OFF }.apply(&images, &labels, &mut Random::of(1, 1));
        let inner = |t: Tensor| t.narrow(-2, 16, 32).narrow(-1, 8, 24);
        let moved = inner((&i - &images) * 64.0);
        let deviation = moved.std(false).double_value(&[]);
        assert!((0.8..2.5).contains(&deviation), "{deviation} pixels");
        let apart = inner(i.squeeze_dim(1) * 64.0) - inner(l.to_kind(Kind::Float));
        assert!(apart.abs().max().double_value(&[]) < 1.1);
    }

    #[test]
    fn images_stay_in_range() {
        let (images, labels) = batch();
        let strong = Augment { gain: 3.0, noise: 1.0, rotate: 90.0, ..OFF };
        let (i, _) = strong.apply(&images, &labels, &mut Random::of(1, 1));
        assert!(i.min().double_value(&[]) >= 0.0 && i.max().double_value(&[]) <= 1.0);
    }
}
