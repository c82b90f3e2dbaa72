//! Adam with decoupled weight decay, and the average of weights; both own their state so that a run resumes exactly.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use crate::net::Net;

/// Decay of the running mean and of the running square of gradients (Kingma and Ba 2015).
const BETAS: [f64; 2] = [0.9, 0.999];

/// Keeps the quotient finite.
const EPSILON: f64 = 1e-8;

/// AdamW (Loshchilov and Hutter 2019) over a net's trained tensors.
#[derive(Debug)]
pub struct Adam {
    mean: Vec<Tensor>,
    square: Vec<Tensor>,
    weight_decay: f64,
}

impl Adam {
    /// A fresh state; the trained tensors begin to record gradients.
    #[must_use]
    pub fn new(net: &Net, weight_decay: f64) -> Self {
        let trained = net.trained();
        trained.iter().for_each(|t| drop(t.set_requires_grad(true)));
        let zeros = || trained.iter().map(|t| t.detach().zeros_like()).collect();
        Self { mean: zeros(), square: zeros(), weight_decay }
    }

    /// One step (counted from 1) at a learning rate, from the gradients, which are cleared.
    pub fn step(&mut self, net: &Net, step: u64, rate: f64) {
        let exponent = i32::try_from(step).unwrap_or(i32::MAX);
        let [c1, c2] = BETAS.map(|b| 1.0 - b.powi(exponent));
        no_grad(|| {
            for ((mut weight, mean), square) in
                net.trained().into_iter().zip(&mut self.mean).zip(&mut self.square)
            {
                let mut grad = weight.grad();
                let _ = mean.g_mul_scalar_(BETAS[0]).g_add_(&(&grad * (1.0 - BETAS[0])));
                let _ = square.g_mul_scalar_(BETAS[1]).g_add_(&(&grad * &grad * (1.0 - BETAS[1])));
                let update = &*mean / c1 / ((&*square / c2).sqrt() + EPSILON);
                // Decay is for weights; batch normalisation's vectors are left alone.
                if weight.dim() > 1 {
                    let _ = weight.g_mul_scalar_(1.0 - rate * self.weight_decay);
                }
                let _ = weight.g_sub_(&(update * rate));
                let _ = grad.zero_();
            }
        });
    }

    /// The state as named tensors.
    #[must_use]
    pub fn named(&self) -> Vec<(String, Tensor)> {
        let part = |name: &'static str, tensors: &[Tensor]| {
            tensors
                .iter()
                .enumerate()
                .map(|(i, t)| (format!("adam/{name}/{i}"), t.shallow_clone()))
                .collect::<Vec<_>>()
        };
        [part("mean", &self.mean), part("square", &self.square)].into_iter().flatten().collect()
    }

    /// Takes the state over.
    ///
    /// # Errors
    /// Where a tensor is missing or has another shape.
    pub fn load(&mut self, tensors: &[(String, Tensor)]) -> Result<()> {
        for (name, mut to) in self.named() {
            let (_, from) =
                tensors.iter().find(|(n, _)| *n == name).with_context(|| format!("no tensor {name:?}"))?;
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

/// Moves `average` towards `net` by `1 - decay`: an exponential moving average of weights and running statistics.
pub fn average(average: &Net, net: &Net, decay: f64) {
    no_grad(|| {
        for ((_, mut to), (_, from)) in average.named("").into_iter().zip(net.named("")) {
            let _ = to.g_mul_scalar_(decay).g_add_(&(from.detach() * (1.0 - decay)));
        }
    });
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
        net.trained().iter().fold(Tensor::from(0f32), |sum, t| sum + t.sum(Kind::Float)).backward();
        adam.step(&net, 1, 0.01);
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
