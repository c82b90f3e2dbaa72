//! Quantization-aware fine-tuning: training goes on for a few steps with every weight and value
//! rounded as the device rounds it.
//!
//! Batch normalisation is folded beforehand, and the scales stay those that calibration chose.
//! Rounding has no useful gradient, so gradients pass it as if it were not there (the
//! straight-through estimator of Bengio et al. 2013, arXiv 1308.3432), and stop where a value
//! leaves its range.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor, no_grad};

use crate::export::{self, Scale, Scales};
use crate::loss::{Over, loss};
use crate::net::{Block, Net};
use crate::optim::{self, Adam, Decay};
use crate::topology::{Conv, Op};

/// The same function without batch normalisation: every convolution has a bias instead.
///
/// # Errors
/// Those of tch.
pub fn folded(net: &Net) -> Result<Net> {
    let mut topology = net.topology.clone();
    for node in &mut topology.nodes {
        if let Op::Conv(conv) = &mut node.op {
            (conv.bias, conv.norm) = (true, false);
        }
    }
    let device = net.device();
    let blocks = topology
        .convs()
        .zip(export::fold(net)?.into_iter().flatten())
        .map(|((node, conv), folded)| {
            let weight =
                Tensor::from_slice(&folded.weight).reshape(conv.weight_shape()).to_device(device);
            let bias = Tensor::from_slice(&folded.bias).to_device(device);
            (node, Block { weight, bias: Some(bias), norm: None })
        })
        .collect::<Vec<_>>();
    let mut all: Vec<Option<Block>> = topology.nodes.iter().map(|_| None).collect();
    blocks.into_iter().for_each(|(node, block)| all[node] = Some(block));
    Ok(Net::of(topology, all))
}

/// Trains a folded network in place, on batches of images `[n, channels, h, w]` and labels
/// `[n, h, w]`; returns the loss of the first and of the last step.
///
/// # Errors
/// Where the loss is no number.
pub fn tune(
    net: &Net,
    scales: &Scales,
    steps: u64,
    rate: f64,
    mut draw: impl FnMut(u64) -> (Tensor, Tensor),
) -> Result<[f64; 2]> {
    let mut adam = Adam::new(net, 0.0);
    let mut losses = [f64::NAN; 2];
    for step in 0..steps {
        let (images, labels) = draw(step);
        let value = loss(&net.rounded(&images, scales), &labels, Over::Batch, None);
        losses[usize::from(step > 0)] = value.double_value(&[]);
        ensure!(losses[usize::from(step > 0)].is_finite(), "the loss is no number at step {step}");
        let gradients = Tensor::run_backward(&[value], &net.trained(), false, false);
        adam.step(net, &gradients, step + 1, optim::rate(step, steps, rate, Decay::Cosine));
    }
    net.trained().iter().for_each(|t| drop(t.set_requires_grad(false)));
    Ok(losses)
}

/// A value as its bytes, 0 to `most`, stand for it.
pub fn round_value(value: &Tensor, Scale { scale, zero }: Scale, most: u8) -> Tensor {
    let (scale, zero) = (f64::from(scale), f64::from(zero));
    let inside = value.clamp(-zero * scale, (f64::from(most) - zero) * scale);
    straight(&inside, |v| (v / scale).round() * scale)
}

/// A weight as its bytes stand for it.
pub fn round_weight(weight: &Tensor, conv: &Conv, limit: i8) -> Tensor {
    let others: &[i64] = if conv.transposed { &[0, 2, 3] } else { &[1, 2, 3] };
    straight(weight, |w| {
        let scale = w.abs().amax(others, true) / f64::from(limit);
        let scale = scale.clamp_min(f64::from(f32::MIN_POSITIVE));
        (w / &scale).round() * scale
    })
}

/// `rounded(x)` whose gradient is that of `x`.
fn straight(x: &Tensor, rounded: impl Fn(&Tensor) -> Tensor) -> Tensor {
    x + no_grad(|| rounded(&x.detach()) - x.detach()).to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use tch::Device;

    use super::*;
    use crate::export::Limits;
    use crate::net::{self, Pass};
    use crate::quantize::{self, Method};
    use crate::topology::Arch;

    fn slices() -> Tensor {
        Tensor::rand([2, 1, 32, 32], (Kind::Float, Device::Cpu))
    }

    /// A small folded net whose batch normalisation did something, and its scales.
    fn example(arch: Arch) -> (Net, Net, Scales) {
        tch::manual_seed(5);
        let net = Net::new(arch.topology(1, 3, 4), Device::Cpu);
        let pass = Pass::Training { drop: 0.0, kind: Kind::Float };
        no_grad(|| (0..10).for_each(|_| drop(net.forward(&slices(), pass))));
        let folded = folded(&net).unwrap();
        let weights = export::fold(&folded).unwrap();
        let limits = Limits::bits(8, 8);
        let scales =
            quantize::calibrate(&folded.topology, &weights, &[slices()], Method::Minmax, limits)
                .unwrap();
        (net, folded, scales)
    }

    #[test]
    fn a_folded_network_computes_the_same_and_a_rounded_one_nearly() {
        for arch in Arch::value_variants() {
            let (net, folded, scales) = example(*arch);
            let x = slices();
            let [expected, found] =
                [&net, &folded].map(|n| no_grad(|| n.forward(&x, Pass::Inference)));
            assert!((&expected - found).abs().max().double_value(&[]) < 1e-3, "{arch:?}");
            let rounded = no_grad(|| net::probabilities(&folded.rounded(&x, &scales)));
            let error =
                (net::probabilities(&expected) - rounded).abs().mean(Kind::Float).double_value(&[]);
            assert!(error > 0.0 && error < 0.03, "{arch:?}: {error}");
        }
    }

    #[test]
    fn weights_are_rounded_as_in_the_file() {
        for limit in [63, 127] {
            let (_, net, mut scales) = example(Arch::Unet16);
            scales.limits.weight = limit;
            let file =
                export::build(&net.topology, &export::fold(&net).unwrap(), Some(&scales), "")
                    .unwrap();
            let graph = file.graph.unwrap();
            let tensor = |name: String| graph.initializer.iter().find(|t| t.name == name).unwrap();
            for (node, conv) in net.topology.convs() {
                let name = &net.topology.nodes[node].name;
                let bytes: Vec<f32> = tensor(format!("{name}_weight"))
                    .raw_data
                    .iter()
                    .map(|&b| f32::from(b as i8))
                    .collect();
                let steps: Vec<f32> = tensor(format!("{name}_weight_scale"))
                    .raw_data
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|&b| f32::from_le_bytes(b))
                    .collect();
                let shape = if conv.transposed { [1, -1, 1, 1] } else { [-1, 1, 1, 1] };
                let written = Tensor::from_slice(&bytes).reshape(conv.weight_shape())
                    * Tensor::from_slice(&steps).reshape(shape);
                let weight = &net.blocks[node].as_ref().unwrap().weight;
                let step = written.abs().max().double_value(&[]) / f64::from(limit);
                let off = (round_weight(weight, &conv, limit) - written).abs() / step;
                assert!(off.max().double_value(&[]) < 1.01, "{name}");
                // A quotient that is a half to the last bit may go either way.
                assert!(off.mean(Kind::Float).double_value(&[]) < 1e-3, "{name}");
            }
        }
    }

    #[test]
    fn values_are_rounded_to_their_steps_and_cut_to_their_range() {
        let x = Tensor::from_slice(&[-9.0f32, -1.0, -0.26, 0.0, 0.24, 0.26, 1.2, 200.0]);
        for (most, end) in [(255, 126.5), (127, 62.5)] {
            let rounded = round_value(&x, Scale { scale: 0.5, zero: 2 }, most);
            let expected = Tensor::from_slice(&[-1.0f32, -1.0, -0.5, 0.0, 0.0, 0.5, 1.0, end]);
            assert!((rounded - expected).abs().max().double_value(&[]) < 1e-5);
        }
    }

    #[test]
    fn tuning_wins_back_what_coarse_weights_lose() {
        let (_, net, mut scales) = example(Arch::Monet);
        scales.limits.weight = 3;
        let x = slices();
        let labels = no_grad(|| net.forward(&x, Pass::Inference)).argmax(1, false);
        let draw = |_| (x.shallow_clone(), labels.shallow_clone());
        let [first, last] = tune(&net, &scales, 30, 3e-3, draw).unwrap();
        assert!(last < 0.8 * first, "{first} {last}");
    }
}
