//! Post-training quantization: ranges from calibration slices, a scale for every integer tensor, and the check that the
//! quantized file segments as well.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

use crate::export::{self, Folded, Scale};
use crate::interpret::Interpreter;
use crate::topology::{Op, Topology};

/// How a range is chosen from what calibration saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    /// The whole range seen.
    Minmax,
    /// The range with the least mean squared error of quantization.
    Mse,
}

/// Bins of a histogram.
const BINS: usize = 2048;

/// Upper ends tried by [`Method::Mse`], as parts of the largest value.
const CANDIDATES: usize = 64;

/// What calibration saw of one tensor.
#[derive(Debug, Clone)]
struct Seen {
    low: f64,
    high: f64,
    histogram: Vec<f64>,
}

/// Scales for every topology node that holds an integer tensor.
///
/// # Errors
/// Where a value is not finite.
pub fn calibrate(
    topology: &Topology,
    folded: &[Option<Folded>],
    batches: &[Tensor],
    method: Method,
) -> Result<Vec<Option<Scale>>> {
    ensure!(!batches.is_empty(), "no calibration slices");
    let float = export::build(topology, folded, None, "")?;
    let float = Interpreter::new(&prost::Message::encode_to_vec(&float), batches[0].device())?;
    let groups = groups(topology);
    let seen = observe(&float, batches, &groups)?;
    let mut scales = vec![None; topology.nodes.len()];
    for (name, node) in value_names(topology) {
        let group = groups[&name];
        scales[node] = Some(seen[group].scale(method));
    }
    Ok(scales)
}

/// Name in the float file of each value that is quantized, with its topology node: every one but dropouts, concatenations, which only
/// pass values on, and the logits.
fn value_names(topology: &Topology) -> Vec<(String, usize)> {
    let nodes = topology.nodes.iter().enumerate().take(topology.nodes.len() - 1);
    let held = nodes.filter(|(_, node)| !matches!(node.op, Op::Drop | Op::Concat));
    held.map(|(i, _)| (export::value_name(topology, i), i)).collect()
}

/// Group of each quantized value. Values that meet in a concatenation share a scale, and so do a maximum and what it is taken of, so
/// that neither need be computed.
fn groups(topology: &Topology) -> HashMap<String, usize> {
    let mut group: Vec<usize> = (0..topology.nodes.len()).collect();
    for (i, node) in topology.nodes.iter().enumerate() {
        let joined = match node.op {
            Op::Concat => node.inputs.clone(),
            Op::MaxPool => vec![node.inputs[0], i],
            _ => continue,
        };
        let holders: Vec<usize> = joined.iter().map(|&i| export::holder(topology, i)).collect();
        let (to, from) = (group[holders[0]], group[holders[1]]);
        group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
    }
    value_names(topology).into_iter().map(|(name, node)| (name, group[node])).collect()
}

/// Ranges in a first pass over the slices, histograms in a second.
fn observe(float: &Interpreter, batches: &[Tensor], groups: &HashMap<String, usize>) -> Result<Vec<Seen>> {
    let most = groups.values().max().map_or(0, |g| g + 1);
    // Zero belongs to every range, so that it is represented exactly.
    let mut seen = vec![Seen { low: 0.0, high: 0.0, histogram: vec![0.0; BINS] }; most];
    for batch in batches {
        let _ = float.visit(batch, |name, value| {
            let Some(&group) = groups.get(name) else { return Ok(()) };
            let (low, high) = (value.min().double_value(&[]), value.max().double_value(&[]));
            ensure!(low.is_finite() && high.is_finite(), "{name} is not finite: the network is not usable");
            seen[group].low = seen[group].low.min(low);
            seen[group].high = seen[group].high.max(high);
            Ok(())
        })?;
    }
    for batch in batches {
        let _ = float.visit(batch, |name, value| {
            let Some(&group) = groups.get(name) else { return Ok(()) };
            let Seen { low, high, histogram } = &mut seen[group];
            if low < high {
                let counts = value.flatten(0, -1).to_kind(Kind::Float).histc(BINS as i64).shallow_clone();
                // histc without bounds takes the batch's own range; place its bins in the group's.
                let (from, to) = (value.min().double_value(&[]), value.max().double_value(&[]));
                let counts = Vec::<f32>::try_from(counts)?;
                for (bin, count) in counts.iter().enumerate() {
                    let x = from + (to - from) * (bin as f64 + 0.5) / BINS as f64;
                    let at = ((x - *low) / (*high - *low) * BINS as f64) as usize;
                    histogram[at.min(BINS - 1)] += f64::from(*count);
                }
            }
            Ok(())
        })?;
    }
    Ok(seen)
}

impl Seen {
    fn scale(&self, method: Method) -> Scale {
        match method {
            Method::Minmax => scale(self.low, self.high),
            Method::Mse => (1..=CANDIDATES)
                .map(|i| scale(self.low, self.high * i as f64 / CANDIDATES as f64))
                .min_by(|a, b| self.error(*a).total_cmp(&self.error(*b)))
                .unwrap_or_else(|| scale(self.low, self.high)),
        }
    }

    /// Sum of squared errors of quantization over the histogram.
    fn error(&self, Scale { scale, zero }: Scale) -> f64 {
        let (step, zero) = (f64::from(scale), f64::from(zero));
        let width = (self.high - self.low) / BINS as f64;
        let bins = self.histogram.iter().enumerate();
        bins.map(|(i, count)| {
            let x = self.low + width * (i as f64 + 0.5);
            let q = ((x / step).round_ties_even() + zero).clamp(0.0, 255.0);
            let outside = (x - (q - zero) * step).powi(2);
            // Within a step the error is spread evenly, which bins as wide as a step would miss.
            count * outside.max(step * step / 12.0)
        })
        .sum()
    }
}

/// Scale and zero point of a range that holds 0.
fn scale(low: f64, high: f64) -> Scale {
    let step = ((high - low) / 255.0).max(1e-8);
    let zero = (-low / step).round_ties_even().clamp(0.0, 255.0);
    Scale { scale: step as f32, zero: zero as u8 }
}

/// Fails when the quantized network is worse than allowed.
///
/// # Errors
/// Names the label that lost more than `most`.
pub fn check_drop(names: &[&str], float: &[f64], quantized: &[f64], most: f64) -> Result<()> {
    for ((name, f), q) in names.iter().zip(float).zip(quantized) {
        ensure!(
            f - q <= most,
            "label {name}: Dice falls from {f:.4} to {q:.4}, more than --max-drop {most} allows: \
             calibrate on more --subjects or with another --method"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_represented_exactly() {
        for (low, high) in [(-1.0, 5.0), (0.0, 1.0), (-0.3, 0.2), (0.0, 0.0)] {
            let Scale { scale, zero } = scale(low, high);
            assert!(scale > 0.0);
            assert!((f64::from(scale) * -f64::from(zero) - low).abs() <= f64::from(scale));
        }
    }

    #[test]
    fn values_that_meet_in_a_concatenation_share_a_scale() {
        let groups = groups(&Topology::monet(1, 1, 4));
        assert_eq!(groups["enc0_out_elu"], groups["dec0_up_elu"]);
        assert_eq!(groups["enc1_out_elu"], groups["dec1_up_elu"]);
        assert_ne!(groups["enc0_out_elu"], groups["enc1_out_elu"]);
    }

    #[test]
    fn a_maximum_keeps_the_scale_of_what_it_is_taken_of() {
        let groups = groups(&Topology::unet(1, 1, 4));
        assert_eq!(groups["enc0_b_relu"], groups["enc0_down"]);
        assert_eq!(groups["enc0_b_relu"], groups["dec0_up"]);
        assert_ne!(groups["enc0_b_relu"], groups["enc1_b_relu"]);
    }

    #[test]
    fn the_least_error_range_leaves_out_a_lone_outlier() {
        let mut histogram = vec![0.0; BINS];
        histogram[..BINS / 8].fill(1e6);
        histogram[BINS - 1] = 1.0;
        let seen = Seen { low: 0.0, high: 8.0, histogram };
        assert!(seen.scale(Method::Mse).scale * 255.0 < 2.0);
        assert!(seen.scale(Method::Minmax).scale * 255.0 > 7.9);
    }

    #[test]
    fn a_large_drop_is_refused_and_names_the_label() {
        assert!(check_drop(&["a", "b"], &[0.9, 0.8], &[0.9, 0.799], 0.005).is_ok());
        let error = check_drop(&["a", "b"], &[0.9, 0.8], &[0.9, 0.79], 0.005).unwrap_err();
        assert!(error.to_string().contains("label b"), "{error:#}");
    }
}
