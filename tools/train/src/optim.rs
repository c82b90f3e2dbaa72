//! Adam with decoupled weight decay, and the average of weights; both own their state so that a run
//! resumes exactly.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use crate::net::{self, Net};

/// Decay of the running mean and of the running square of gradients (Kingma and Ba 2015).
const BETAS: [f64; 2] = [0.9, 0.999];

/// Keeps the quotient finite.
const EPSILON: f64 = 1e-8;

/// AdamW (Loshchilov and Hutter 2019) over a net's trained tensors, which it changes as one vector.
#[derive(Debug)]
pub struct Adam {
    mean: Tensor,
    square: Tensor,
    /// Weight decay of each value.
    decay: Tensor,
    /// The net's trained tensors.
    trained: Vec<Tensor>,
}

impl Adam {
    /// A fresh state; the trained tensors begin to record gradients.
    #[must_use]
    pub fn new(net: &Net, weight_decay: f64) -> Self {
        let trained = net.trained();
        trained.iter().for_each(|t| drop(t.set_requires_grad(true)));
        // Decay is for weights; biases and batch normalisation's vectors are left alone.
        let decay = |t: &Tensor| t.detach().full_like(if t.dim() > 1 { weight_decay } else { 0.0 });
        let decay = net::joined(&trained.iter().map(decay).collect::<Vec<_>>());
        Self { mean: decay.zeros_like(), square: decay.zeros_like(), decay, trained }
    }

    /// One step (counted from 1) of a net at a learning rate, along gradients in the order of its
    /// trained tensors.
    pub fn step(&mut self, net: &Net, gradients: &[Tensor], step: u64, rate: f64) {
        let exponent = i32::try_from(step).unwrap_or(i32::MAX);
        let [c1, c2] = BETAS.map(|b| 1.0 - b.powi(exponent));
        no_grad(|| {
            let gradient = net::joined(gradients);
            let _ = self.mean.lerp_(&gradient, 1.0 - BETAS[0]);
            let _ = self.square.lerp_(&gradient.square(), 1.0 - BETAS[1]);
            let update = &self.mean / ((&self.square / c2).sqrt() + EPSILON) / c1;
            let mut values = net.values().narrow(0, 0, gradient.size()[0]);
            let _ = values.g_sub_(&((update + &self.decay * &values) * rate));
        });
    }

    /// The state as named tensors.
    #[must_use]
    pub fn named(&self) -> Vec<(String, Tensor)> {
        let part = |name: &'static str, joined: &Tensor| {
            let parts = net::parted(joined, &self.trained).into_iter().enumerate();
            parts.map(|(i, t)| (format!("adam/{name}/{i}"), t)).collect::<Vec<_>>()
        };
        [part("mean", &self.mean), part("square", &self.square)].into_iter().flatten().collect()
    }

    /// Takes the state over.
    ///
    /// # Errors
    /// Where a tensor is missing or has another shape.
    pub fn load(&mut self, tensors: &[(String, Tensor)]) -> Result<()> {
        for (name, mut to) in self.named() {
            let (_, from) = tensors
                .iter()
                .find(|(n, _)| *n == name)
                .with_context(|| format!("no tensor {name:?}"))?;
            ensure!(
                from.size() == to.size(),
                "tensor {name:?} is {:?}, expected {:?}",
                from.size(),
                to.size()
            );
            no_grad(|| to.copy_(from));
        }
        Ok(())
    }
}

/// Moves `average` towards `net` by `1 - decay`: an exponential moving average of weights and
/// running statistics.
pub fn average(average: &Net, net: &Net, decay: f64) {
    no_grad(|| drop(average.values().lerp_(&net.values(), 1.0 - decay)));
}

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Half a cosine.
    #[default]
    Cosine,
    /// The remaining part to the power of 0.9, as DeepLab and nnU-Net.
    Poly,
}

/// From `peak` to zero over `steps`, after a linear warm-up over the first 2 %.
#[must_use]
pub fn rate(step: u64, steps: u64, peak: f64, decay: Decay) -> f64 {
    let warm = (steps / 50).max(1);
    if step < warm {
        return peak * (step + 1) as f64 / warm as f64;
    }
    let done = (step - warm) as f64 / (steps - warm).max(1) as f64;
    match decay {
        Decay::Cosine => peak * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()),
        Decay::Poly => peak * (1.0 - done.min(1.0)).powf(0.9),
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::topology::Topology;

    #[test]
    fn the_rate_rises_then_falls_to_nothing() {
        for (decay, half) in [(Decay::Cosine, 0.5), (Decay::Poly, 0.536)] {
            let rate = |step| rate(step, 1000, 1.0, decay);
            assert!(rate(0) < 0.1);
            assert!((rate(20) - 1.0).abs() < 1e-9);
            assert!((rate(510) - half).abs() < 1e-2);
            assert!(rate(1000) < 1e-9);
        }
    }

    #[test]
    fn the_first_step_goes_down_the_gradient_by_the_rate() {
        let net = Net::new(Topology::monet(1, 1, 2), Device::Cpu);
        let mut adam = Adam::new(&net, 0.0);
        let before: Vec<Tensor> = net.trained().iter().map(|t| t.detach().copy()).collect();
        let sum = net.trained().iter().fold(Tensor::from(0f32), |sum, t| sum + t.sum(Kind::Float));
        let gradients = Tensor::run_backward(&[sum], &net.trained(), false, false);
        adam.step(&net, &gradients, 1, 0.01);
        for (before, after) in before.iter().zip(net.trained()) {
            // The gradient of a sum is 1, and Adam's first step is rate · sign of the gradient.
            assert!((before - after.detach() - 0.01).abs().max().double_value(&[]) < 1e-5);
        }
    }

    #[test]
    fn an_average_moves_by_the_part_that_it_forgets() {
        let net = Net::new(Topology::monet(1, 1, 2), Device::Cpu);
        let averaged = net.duplicate();
        let mut weight = net.trained().remove(0);
        let _ = weight.fill_(1.0);
        let _ = averaged.trained().remove(0).fill_(0.0);
        average(&averaged, &net, 0.75);
        assert!((averaged.trained().remove(0) - 0.25).abs().max().double_value(&[]) < 1e-6);
    }
}
