//! Random numbers of batches: a generator of their own, so that a batch is the same on every device
//! and whichever thread makes it, while torch's generator serves the network.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal, Uniform};
use tch::Tensor;

/// The random numbers of one step.
pub struct Random(ChaCha8Rng);

impl Random {
    /// Those of a step of a run with this seed.
    #[must_use]
    pub fn of(seed: u64, step: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(step);
        Self(generator)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        Uniform::new(0, n).sample(&mut self.0)
    }

    /// True with the given chance; where there is none, no number is drawn.
    pub fn chance(&mut self, chance: f64) -> bool {
        chance > 0.0 && Uniform::new(0.0, 1.0).sample(&mut self.0) < chance
    }

    /// Uniform in `[-most, most)`.
    pub fn uniform(&mut self, shape: &[i64], most: f64) -> Tensor {
        self.tensor(shape, Uniform::new(-1.0f32, 1.0)) * most
    }

    /// 1 with the given chance, else 0.
    pub fn chosen(&mut self, shape: &[i64], chance: f64) -> Tensor {
        self.tensor(shape, Uniform::new(0.0f32, 1.0)).lt(chance).to_kind(tch::Kind::Float)
    }

    /// Normal with a standard deviation of 1.
    pub fn normal(&mut self, shape: &[i64]) -> Tensor {
        self.tensor(shape, StandardNormal)
    }

    fn tensor(&mut self, shape: &[i64], of: impl Distribution<f32>) -> Tensor {
        let count: i64 = shape.iter().product();
        let values: Vec<f32> = of.sample_iter(&mut self.0).take(count as usize).collect();
        Tensor::from_slice(&values).reshape(shape)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn a_step_s_numbers_are_its_own_and_always_the_same() {
        let first = |seed, step| Random::of(seed, step).normal(&[8]);
        assert_eq!(first(1, 5), first(1, 5));
        assert_ne!(first(1, 5), first(1, 6));
        assert_ne!(first(1, 5), first(2, 5));
    }

    #[test]
    fn numbers_are_distributed_as_they_say() {
        let mut random = Random::of(1, 1);
        let mean = |t: &Tensor| t.mean(Kind::Float).double_value(&[]);
        let normal = random.normal(&[100, 100]);
        assert!(mean(&normal).abs() < 0.05 && (mean(&normal.square()) - 1.0).abs() < 0.05);
        let uniform = random.uniform(&[10_000], 3.0);
        assert!(mean(&uniform).abs() < 0.1 && (mean(&uniform.abs()) - 1.5).abs() < 0.05);
        assert!((mean(&random.chosen(&[10_000], 0.3)) - 0.3).abs() < 0.03);
        assert_eq!(mean(&random.chosen(&[100], 0.0)), 0.0);
        assert_eq!(mean(&random.chosen(&[100], 1.0)), 1.0);
        let often = (0..10_000).filter(|_| random.chance(0.3)).count();
        assert!((2500..3500).contains(&often), "{often}");
        let mut seen = [false; 5];
        (0..200).for_each(|_| seen[random.below(5)] = true);
        assert_eq!(seen, [true; 5]);
    }
}
