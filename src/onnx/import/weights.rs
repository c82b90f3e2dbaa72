//! Weights and biases of convolutions in the int8 engine's form: signed 8-bit weights with a scale
//! for each output channel, biases in units of the sums.
//!
//! - Weights that fit in 8 bits after subtracting their zero point are taken unchanged.
//! - An output channel whose weights then need 9 bits, or whose weights are real numbers, is
//!   rounded to 127 steps on either side of 0. The error of a weight is at most half a step, that
//!   is, the channel's largest weight / 254.

use tract_onnx::pb;
use tract_onnx::prelude::DatumType;

use super::super::proto::{argument, floats, int, integers};
use super::values::{Value, Weights};
use super::{Importer, described};

/// Weights with the output channel first.
pub(super) struct Kernel {
    /// Output channels, input channels, height and width of the window.
    pub(super) shape: [usize; 4],
    pub(super) weights: Vec<i8>,
    /// Of each output channel.
    pub(super) scales: Vec<f32>,
}

impl<'a> Importer<'a> {
    /// A DequantizeLinear's constant.
    pub(super) fn constant_counts(&self, node: &'a pb::NodeProto) -> Result<Weights, String> {
        let tensor = self.constant(node, 0)?;
        let shape = tensor.shape().to_vec();
        let axis = int(node, "axis", 1);
        let axis =
            usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).unwrap_or(0);
        let mut values = integers(&tensor)?;
        if node.input.len() > 2 {
            let zeros = integers(&self.constant(node, 2)?)?;
            let along = shape.get(axis).copied().unwrap_or(1);
            if zeros.len() != 1 && zeros.len() != along {
                return Err(format!("it has {} zero points for {along} channels", zeros.len()));
            }
            let inner: usize = shape.iter().skip(axis + 1).product();
            for (i, value) in values.iter_mut().enumerate() {
                *value = value.wrapping_sub(zeros[i / inner.max(1) % zeros.len()]);
            }
        }
        Ok(Weights { values, shape, scales: floats(&self.constant(node, 1)?)?, axis })
    }

    /// A convolution's weights; real-valued ones become counts here.
    pub(super) fn kernel(
        &mut self,
        node: &'a pb::NodeProto,
        transposed: bool,
    ) -> Result<Kernel, String> {
        let name = argument(node, 1)?;
        let axis = usize::from(transposed);
        let real = self.constants.contains_key(name);
        let weights = match self.values.get(name) {
            Some(Value::Weights(weights)) => weights.clone(),
            None if real => {
                let tensor = self.constant(node, 1)?;
                if tensor.datum_type() != DatumType::F32 {
                    return Err("its weights are neither counts nor f32".into());
                }
                real_counts(floats(&tensor)?, tensor.shape(), axis)
            }
            _ => return Err("its weights are not constant".into()),
        };
        let &[first, second, height, width] = &weights.shape[..] else {
            return Err(
                "only ungrouped 2-D convolutions with explicit borders are supported".into()
            );
        };
        let [cout, cin] = if transposed { [second, first] } else { [first, second] };
        let scales = per_channel(&weights, cout, axis)
            .ok_or("its weight scales are not of output channels")?;
        let (weights, scales, rounded) =
            narrow(output_first(&weights.values, [cout, cin, height * width], transposed), scales)?;
        if real {
            self.rounded.push(format!("{}: its weights of 32 bits, to 8", described(node)));
        } else if rounded > 0 {
            self.rounded.push(format!(
                "{}: the 9-bit weights of {rounded} of {cout} channels, to 8 bits",
                described(node)
            ));
        }
        Ok(Kernel { shape: [cout, cin, height, width], weights, scales })
    }

    /// The bias in units of the sums.
    pub(super) fn bias(
        &self,
        node: &'a pb::NodeProto,
        input: f32,
        scales: &[f32],
    ) -> Result<Vec<i32>, String> {
        if node.input.get(2).is_none_or(String::is_empty) {
            return Ok(vec![0; scales.len()]);
        }
        let name = argument(node, 2)?;
        let reals: Vec<f64> = match self.values.get(name) {
            Some(Value::Weights(w)) => {
                let own = per_channel(w, scales.len(), 0)
                    .ok_or("its bias scales do not match its channels")?;
                w.values.iter().zip(own).map(|(&v, s)| f64::from(v) * f64::from(s)).collect()
            }
            Some(_) => return Err("its bias is not constant".into()),
            None => floats(&self.constant(node, 2)?)?.into_iter().map(f64::from).collect(),
        };
        if reals.len() != scales.len() {
            return Err(format!("it has {} biases for {} channels", reals.len(), scales.len()));
        }
        // The cast saturates; the plan refuses sums beyond 32 bits.
        let counts = reals
            .iter()
            .zip(scales)
            .map(|(&b, &s)| (b / (f64::from(input) * f64::from(s))).round() as i32);
        Ok(counts.collect())
    }
}

/// Real weights as counts of at most 127, with a scale for each slice along the axis.
fn real_counts(reals: Vec<f32>, shape: &[usize], axis: usize) -> Weights {
    let channels = shape.get(axis).copied().unwrap_or(1).max(1);
    let inner = shape.iter().skip(axis + 1).product::<usize>().max(1);
    let channel = |i: usize| i / inner % channels;
    let mut scales = vec![0.0f32; channels];
    for (i, value) in reals.iter().enumerate() {
        scales[channel(i)] = scales[channel(i)].max(value.abs() / 127.0);
    }
    // Any scale serves a channel of zeros.
    scales.iter_mut().filter(|scale| **scale == 0.0).for_each(|scale| *scale = 1.0);
    let values = reals
        .iter()
        .enumerate()
        .map(|(i, value)| (value / scales[channel(i)]).round() as i32)
        .collect();
    Weights { values, shape: shape.to_vec(), scales, axis }
}

/// Weights as `[cout][cin][window]`; transposed convolutions have the input channel first.
fn output_first(values: &[i32], [cout, cin, window]: [usize; 3], transposed: bool) -> Vec<i32> {
    if !transposed {
        return values.to_vec();
    }
    let of = |o: usize| (0..cin).flat_map(move |i| &values[(i * cout + o) * window..][..window]);
    (0..cout).flat_map(of).copied().collect()
}

/// Weights as 8 signed bits, and the number of channels that had to be rounded.
fn narrow(values: Vec<i32>, mut scales: Vec<f32>) -> Result<(Vec<i8>, Vec<f32>, usize), String> {
    let mut bytes = Vec::with_capacity(values.len());
    let mut rounded = 0;
    for (channel, scale) in
        values.chunks((values.len() / scales.len().max(1)).max(1)).zip(&mut scales)
    {
        let eight = |v: i32| i8::try_from(v).ok();
        if let Some(channel) = channel.iter().map(|&v| eight(v)).collect::<Option<Vec<i8>>>() {
            bytes.extend(channel);
            continue;
        }
        let most = channel.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0);
        if most > 255 {
            return Err("its weights are not 8-bit".into());
        }
        let step = most as f32 / 127.0;
        bytes.extend(channel.iter().map(|&v| (v as f32 / step).round() as i8));
        *scale *= step;
        rounded += 1;
    }
    Ok((bytes, scales, rounded))
}

fn per_channel(weights: &Weights, channels: usize, axis: usize) -> Option<Vec<f32>> {
    match &weights.scales[..] {
        [scale] => Some(vec![*scale; channels]),
        scales if scales.len() == channels && weights.axis == axis => Some(scales.to_vec()),
        _ => None,
    }
}
