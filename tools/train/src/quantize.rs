//! Post-training quantization: ranges from calibration slices, a scale for every integer tensor,
//! and the check that the quantized file segments as well.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

use crate::export::{self, Folded, Limits, Scale, Scales};
use crate::interpret::Interpreter;
use crate::topology::{Op, Topology};
use crate::tune;

/// How a range is chosen from what calibration saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    /// The whole range seen.
    Minmax,
    /// The range without the outermost 0.01 % of values at either end.
    Percentile,
    /// The range with the least mean squared error of quantization.
    Mse,
}

/// Bins of a histogram.
const BINS: usize = 2048;

/// Part of the values that [`Method::Percentile`] gives up at either end.
const TAIL: f64 = 1e-4;

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
    limits: Limits,
) -> Result<Scales> {
    ensure!(!batches.is_empty(), "no calibration slices");
    let float = export::build(topology, folded, None, "")?;
    let float = Interpreter::new(&prost::Message::encode_to_vec(&float), batches[0].device())?;
    let groups = groups(topology);
    let seen = observe(&float, batches, &groups)?;
    let mut activations = vec![None; topology.nodes.len()];
    for (name, node) in value_names(topology) {
        let group = groups[&name];
        activations[node] = Some(seen[group].scale(method, limits.activation));
    }
    Ok(Scales { activations, limits })
}

/// What one quantized tensor alone does to the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensitivity {
    /// The tensor's name in the file.
    pub name: String,
    /// Mean squared difference of the probabilities from those of the float network.
    pub mse: f64,
    /// Dice of the labels with those of the float network, all labels but the background as one.
    pub dice: f64,
}

/// Quantizes one tensor at a time, value or weight, the rest left in float, on one batch; the most
/// harmful first.
///
/// # Errors
/// Where the float file cannot be run.
pub fn sensitivity(
    topology: &Topology,
    folded: &[Option<Folded>],
    scales: &Scales,
    batch: &Tensor,
    threshold: f64,
) -> Result<Vec<Sensitivity>> {
    let float = export::build(topology, folded, None, "")?;
    let mut float = Interpreter::new(&prost::Message::encode_to_vec(&float), batch.device())?;
    let labels = |p: &Tensor| {
        let labels = if p.size()[1] == 1 {
            p.squeeze_dim(1).gt(threshold).to_kind(Kind::Int64)
        } else {
            p.argmax(1, false)
        };
        (labels.gt(0), labels)
    };
    let expected = float.run(batch)?;
    let (there, wanted) = labels(&expected);
    let row = |name: String, found: &Tensor| {
        let (here, got) = labels(found);
        let sum = |t: Tensor| t.sum(Kind::Double).double_value(&[]);
        let both = sum(got.eq_tensor(&wanted).logical_and(&there));
        let all = sum(here) + sum(there.shallow_clone());
        let mse = (found - &expected).square().mean(Kind::Double).double_value(&[]);
        Sensitivity { name, mse, dice: if all > 0.0 { 2.0 * both / all } else { 1.0 } }
    };
    let limits = scales.limits;
    let mut rows = Vec::new();
    for (name, node) in value_names(topology) {
        let Some(scale) = scales.activations[node] else { continue };
        let rounded = |value: &Tensor| tune::round_value(value, scale, limits.activation);
        let found = float.visit(batch, |n, value| Ok((n == name).then(|| rounded(value))))?;
        rows.push(row(name, &found));
    }
    for (node, conv) in topology.convs() {
        let name = export::weight_name(&topology.nodes[node].name);
        let weight = float.replace(&name, Tensor::new())?;
        drop(float.replace(&name, tune::round_weight(&weight, &conv, limits.weight))?);
        rows.push(row(name.clone(), &float.run(batch)?));
        drop(float.replace(&name, weight)?);
    }
    rows.sort_by(|a, b| b.mse.total_cmp(&a.mse));
    Ok(rows)
}

/// Name in the float file of each value that is quantized, with its topology node: every one but
/// dropouts, concatenations, which only pass values on, and the logits.
fn value_names(topology: &Topology) -> Vec<(String, usize)> {
    let nodes = topology.nodes.iter().enumerate().take(topology.nodes.len() - 1);
    let held = nodes.filter(|(_, node)| !matches!(node.op, Op::Drop | Op::Concat));
    held.map(|(i, _)| (export::value_name(topology, i), i)).collect()
}

/// Group of each quantized value. Values that meet in a concatenation share a scale, and so do a
/// maximum and what it is taken of, so that neither need be computed.
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
fn observe(
    float: &Interpreter,
    batches: &[Tensor],
    groups: &HashMap<String, usize>,
) -> Result<Vec<Seen>> {
    let most = groups.values().max().map_or(0, |g| g + 1);
    // Zero belongs to every range, so that it is represented exactly.
    let mut seen = vec![Seen { low: 0.0, high: 0.0, histogram: vec![0.0; BINS] }; most];
    for batch in batches {
        let _ = float.visit(batch, |name, value| {
            let Some(&group) = groups.get(name) else { return Ok(None) };
            let (low, high) = (value.min().double_value(&[]), value.max().double_value(&[]));
            ensure!(
                low.is_finite() && high.is_finite(),
                "{name} is not finite: the network is not usable"
            );
            seen[group].low = seen[group].low.min(low);
            seen[group].high = seen[group].high.max(high);
            Ok(None)
        })?;
    }
    for batch in batches {
        let _ = float.visit(batch, |name, value| {
            let Some(&group) = groups.get(name) else { return Ok(None) };
            let Seen { low, high, histogram } = &mut seen[group];
            if low < high {
                let counts =
                    value.flatten(0, -1).to_kind(Kind::Float).histc(BINS as i64).shallow_clone();
                // histc without bounds takes the batch's own range; place its bins in the group's.
                let (from, to) = (value.min().double_value(&[]), value.max().double_value(&[]));
                let counts = Vec::<f32>::try_from(counts)?;
                for (bin, count) in counts.iter().enumerate() {
                    let x = from + (to - from) * (bin as f64 + 0.5) / BINS as f64;
                    let at = ((x - *low) / (*high - *low) * BINS as f64) as usize;
                    histogram[at.min(BINS - 1)] += f64::from(*count);
                }
            }
            Ok(None)
        })?;
    }
    Ok(seen)
}

impl Seen {
    /// For bytes of 0 to `most`.
    fn scale(&self, method: Method, most: u8) -> Scale {
        match method {
            Method::Minmax => scale(self.low, self.high, most),
            Method::Percentile => {
                let outermost = |bins: &mut dyn Iterator<Item = &f64>| {
                    let tail = TAIL * self.histogram.iter().sum::<f64>();
                    let mut left = 0.0;
                    bins.take_while(|count| {
                        left += **count;
                        left <= tail
                    })
                    .count() as f64
                };
                let width = (self.high - self.low) / BINS as f64;
                let low = self.low + width * outermost(&mut self.histogram.iter());
                let high = self.high - width * outermost(&mut self.histogram.iter().rev());
                scale(low.min(0.0), high.max(0.0), most)
            }
            Method::Mse => (1..=CANDIDATES)
                .map(|i| scale(self.low, self.high * i as f64 / CANDIDATES as f64, most))
                .min_by(|a, b| self.error(*a, most).total_cmp(&self.error(*b, most)))
                .unwrap_or_else(|| scale(self.low, self.high, most)),
        }
    }

    /// Sum of squared errors of quantization over the histogram.
    fn error(&self, Scale { scale, zero }: Scale, most: u8) -> f64 {
        let (step, zero, most) = (f64::from(scale), f64::from(zero), f64::from(most));
        let width = (self.high - self.low) / BINS as f64;
        let bins = self.histogram.iter().enumerate();
        bins.map(|(i, count)| {
            let x = self.low + width * (i as f64 + 0.5);
            let q = ((x / step).round_ties_even() + zero).clamp(0.0, most);
            let outside = (x - (q - zero) * step).powi(2);
            // Within a step the error is spread evenly, which bins as wide as a step would miss.
            count * outside.max(step * step / 12.0)
        })
        .sum()
    }
}

/// Scale and zero point of a range that holds 0, for bytes of 0 to `most`.
fn scale(low: f64, high: f64, most: u8) -> Scale {
    let step = ((high - low) / f64::from(most)).max(1e-8);
    let zero = (-low / step).round_ties_even().clamp(0.0, f64::from(most));
    Scale { scale: step as f32, zero: zero as u8 }
}

/// What the label that lost most has lost.
#[must_use]
pub fn worst_drop(float: &[f64], quantized: &[f64]) -> f64 {
    float.iter().zip(quantized).map(|(f, q)| f - q).fold(f64::NEG_INFINITY, f64::max)
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
    use tch::Device;

    use super::*;
    use crate::net::Net;

    #[test]
    fn zero_is_represented_exactly() {
        for (low, high) in [(-1.0, 5.0), (0.0, 1.0), (-0.3, 0.2), (0.0, 0.0)] {
            for most in [127, 255] {
                let found = scale(low, high, most);
                let step = f64::from(found.scale);
                assert!(step > 0.0 && found.zero <= most);
                assert!((f64::from(found.value(0)) - low).abs() <= step);
                assert!(low == high || (f64::from(found.value(most)) - high).abs() <= step);
            }
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
        assert!(seen.scale(Method::Mse, 255).scale * 255.0 < 2.0);
        assert!(seen.scale(Method::Percentile, 255).scale * 255.0 < 2.0);
        assert!(seen.scale(Method::Minmax, 255).scale * 255.0 > 7.9);
    }

    #[test]
    fn a_coarse_scale_shows_as_the_most_sensitive_tensor() {
        tch::manual_seed(1);
        let net = Net::new(Topology::monet(1, 3, 4), Device::Cpu);
        let folded = export::fold(&net).unwrap();
        let batch = Tensor::rand([2, 1, 16, 16], (Kind::Float, Device::Cpu));
        let mut scales = calibrate(
            &net.topology,
            &folded,
            std::slice::from_ref(&batch),
            Method::Minmax,
            Limits::bits(8, 8),
        )
        .unwrap();
        let spoilt = net.topology.nodes.iter().position(|n| n.name == "mid_out").unwrap();
        scales.activations[spoilt].as_mut().unwrap().scale *= 40.0;
        let rows = sensitivity(&net.topology, &folded, &scales, &batch, 0.5).unwrap();
        let weights = net.topology.convs().count();
        assert_eq!(rows.len(), scales.activations.iter().flatten().count() + weights);
        let harmful = rows.iter().filter(|r| r.name.ends_with("_weight") && r.mse > 0.0);
        assert_eq!(harmful.count(), weights, "{rows:?}");
        assert_eq!(rows[0].name, "mid_out_elu");
        assert!(rows[0].mse > 10.0 * rows[1].mse, "{rows:?}");
        assert!(rows.iter().all(|r| (0.0..=1.0).contains(&r.dice)));
    }

    #[test]
    fn a_large_drop_is_refused_and_names_the_label() {
        assert!(check_drop(&["a", "b"], &[0.9, 0.8], &[0.9, 0.799], 0.005).is_ok());
        let error = check_drop(&["a", "b"], &[0.9, 0.8], &[0.9, 0.79], 0.005).unwrap_err();
        assert!(error.to_string().contains("label b"), "{error:#}");
    }
}
