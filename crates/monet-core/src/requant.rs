//! From i32 sums to u8 counts: the arithmetic on which all kernels agree to the bit.
//!
//! A sum is scaled in f32 (one conversion, one product, one rounding to nearest even: alike on
//! every target, and never near a denormal) to a 16-bit fixed-point count of output steps.
//! Everything after is integer: ELU is a cubic in fixed point, squared a few times; residual
//! addition is two rounding products. The rounding product is the one instruction that SSSE3, AVX2,
//! AVX-512 and NEON share ([`mulhrs`]). The functions here are the portable definition; SIMD
//! kernels restate them lane by lane.

use super::types::Quant;
#[cfg(feature = "alloc")]
use {super::types::Activation, alloc::boxed::Box};

/// Fraction bits of the fixed-point count at most: ±256 output steps fit in 16 bits.
#[cfg(feature = "alloc")]
const MAX_FRACTION: u32 = 7;
/// `exp(z)` on [-1, 0] as `1 + z(p1 + z(p2 + z p3))`: minimax for the error that three squarings
/// amplify, 6e-5 after them.
#[cfg(feature = "alloc")]
const EXP: [f64; 3] = [0.999_492_74, 0.491_365_24, 0.131_119_31];
/// Squarings at least; the cubic was fitted for them.
pub(super) const MIN_SQUARINGS: u32 = 3;

/// `a * b / 2^15`, rounded half up: `pmulhrsw`, `sqrdmulh`. Not both -32768.
#[inline(always)]
pub fn mulhrs(a: i16, b: i16) -> i16 {
    ((a as i32 * b as i32 + 0x4000) >> 15) as i16
}

/// Why no fixed-point form exists for a quantization.
#[cfg(feature = "alloc")]
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequantError {
    /// A scale is not a usable number.
    #[error("scale {0} is not a finite number between 1e-15 and 1e15; quantize the model again")]
    Scale(f32),
    /// Sums would not fit in the 32-bit accumulator or its conversion.
    #[error(
        "output channel {channel} may sum to {bound:.3e}, beyond 32 bits; quantize with larger \
         activation scales"
    )]
    Overflow {
        /// The channel.
        channel: usize,
        /// Largest magnitude.
        bound: f64,
    },
    /// Scales of two tensors lie too far apart to be added in 16 bits.
    #[error("input scale is {0} times the output scale, at most 64 is supported")]
    Ratio(f64),
    /// ELU cannot be resolved at this output scale.
    #[error("output scale {0} is too fine for ELU in 16 bits")]
    Elu(f32),
}

/// Fixed-point form of an activation: acts on a 16-bit count with a fixed number of fraction bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Curve {
    /// Nothing.
    Linear,
    /// `max(t, 0)`.
    Relu,
    /// See [`Elu::apply`].
    Elu(Elu),
}

/// ELU in 16-bit fixed point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Elu {
    /// Coefficients of the cubic, highest power first; the constant is 32767.
    pub cubic: [i16; 3],
    /// How often the cubic's value is squared.
    pub squarings: u32,
    /// Value of the squared cubic at 0.
    pub one: i16,
    /// From `1 - exp` to output counts.
    pub depth: i16,
}

impl Elu {
    /// `max(t, 0) - depth * (one - exp(min(t, 0)))`.
    #[inline(always)]
    pub fn apply(&self, t: i16) -> i16 {
        let n = t.min(0);
        let mut e = self.cubic[0];
        e = mulhrs(e, n).wrapping_add(self.cubic[1]);
        e = mulhrs(e, n).wrapping_add(self.cubic[2]);
        e = mulhrs(e, n).wrapping_add(i16::MAX);
        for _ in 0..self.squarings {
            e = mulhrs(e, e);
        }
        t.max(0).wrapping_sub(mulhrs(self.one.wrapping_sub(e), self.depth))
    }
}

/// Sum of two u8 tensors, quantized anew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sum {
    /// Factor of the first, which comes as `(value - zero_point) << 7`.
    pub first: i16,
    /// Factor of the second, which comes as `(value - 128) << 8`.
    pub second: i16,
    /// Moves the second from 128 to its zero point.
    pub offset: i16,
    /// Removes the fraction bits.
    pub round: i16,
    /// Of the result.
    pub zero_point: i16,
}

impl Sum {
    /// `a` of quantization `qa` plus `b` of `qb`, as `out`.
    #[cfg(feature = "alloc")]
    pub fn new(qa: Quant, qb: Quant, out: Quant) -> Result<Self, RequantError> {
        let ratios = [ratio(qa.scale, out.scale)?, ratio(qb.scale, out.scale)?];
        let largest = ratios[0].max(ratios[1]);
        let shift = (0..MAX_FRACTION)
            .find(|&e| largest <= f64::from(1u32 << e))
            .ok_or(RequantError::Ratio(largest))?;
        let unit = 1.0 / f64::from(1u32 << shift);
        let offset = (128.0 - f64::from(qb.zero_point)) * ratios[1] * unit * 128.0;
        Ok(Self {
            first: to_i16(ratios[0] * unit * 32768.0),
            second: to_i16(ratios[1] * unit * 16384.0),
            offset: to_i16(offset),
            round: 1 << (15 - MAX_FRACTION + shift),
            zero_point: i16::from(out.zero_point),
        })
    }

    /// `value` is a count of the first tensor without its zero point, -255..=255.
    #[inline(always)]
    pub fn apply(&self, value: i16, b: u8) -> u8 {
        let second = (((b ^ 0x80) as u16) << 8) as i16;
        let second = mulhrs(second, self.second).saturating_add(self.offset);
        let sum = mulhrs(value << 7, self.first).saturating_add(second);
        (mulhrs(sum, self.round) + self.zero_point).clamp(0, 255) as u8
    }
}

/// Product of two u8 tensors, quantized anew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    /// From the product of counts without their zero points to counts of the result.
    pub(crate) factor: f32,
    /// Of the two factors.
    pub(crate) zero_points: [i32; 2],
    /// Of the result.
    pub(crate) zero_point: f32,
}

impl Product {
    /// Of tensors of quantizations `a` and `b`, as `out`.
    #[cfg(feature = "alloc")]
    pub fn new(a: Quant, b: Quant, out: Quant) -> Result<Self, RequantError> {
        let factor = (ratio(a.scale, out.scale)? * ratio(b.scale, 1.0)?) as f32;
        ratio(factor, 1.0)?;
        let zero_points = [a, b].map(|q| i32::from(q.zero_point));
        Ok(Self { factor, zero_points, zero_point: f32::from(out.zero_point) })
    }

    /// The count for two counts. Their product has 17 bits, so that only the scaling rounds: in
    /// f32, to nearest even.
    #[inline(always)]
    pub fn apply(&self, a: u8, b: u8) -> u8 {
        let product = (i32::from(a) - self.zero_points[0]) * (i32::from(b) - self.zero_points[1]);
        let counts = round_even((product as f32 * self.factor).clamp(-1024.0, 1024.0));
        (counts + self.zero_point).clamp(0.0, 255.0) as u8
    }
}

/// How a layer's sums, once scaled, become counts of its output tensor; without the scales.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    /// Activation.
    pub(crate) curve: Curve,
    /// Removes the fraction bits.
    pub(crate) round: i16,
    /// Of the layer's own output.
    pub(crate) zero_point: i16,
    /// The residual addition after it.
    pub(crate) sum: Option<Sum>,
}

impl Rules {
    /// For sums in units of `input scale * weight scale`, each at most `bounds` in magnitude; fills
    /// in the scale of each output channel, from sums to fixed-point counts.
    #[cfg(feature = "alloc")]
    pub(crate) fn new(
        input: f32,
        weights: &[f32],
        bounds: impl Iterator<Item = f64>,
        activation: Activation,
        out: Quant,
        scales: &mut [f32],
    ) -> Result<Self, RequantError> {
        ratio(out.scale, 1.0)?;
        let (fraction, curve) = match activation {
            // A sigmoid is computed of the real-valued sums, and never gets here.
            Activation::Linear | Activation::Sigmoid => (MAX_FRACTION, Curve::Linear),
            Activation::Relu => (MAX_FRACTION, Curve::Relu),
            Activation::Elu { alpha } => {
                let (fraction, elu) = elu(alpha, out).ok_or(RequantError::Elu(out.scale))?;
                (fraction, Curve::Elu(elu))
            }
        };
        let unit = f64::from(1u32 << fraction);
        for (channel, ((to, &weight), bound)) in
            scales.iter_mut().zip(weights).zip(bounds).enumerate()
        {
            let scale = ratio(input, 1.0)? * ratio(weight, 1.0)? / f64::from(out.scale) * unit;
            if bound.max(bound * scale) >= 2_147_483_000.0 || scale < 1e-25 {
                return Err(RequantError::Overflow { channel, bound: bound.max(bound * scale) });
            }
            *to = scale as f32;
        }
        let zero_point = i16::from(out.zero_point);
        Ok(Self { curve, round: 1 << (15 - fraction), zero_point, sum: None })
    }
}

/// Turns a layer's sums into counts of its output tensor, and adds the residual where there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Requantize<'a> {
    /// Per output channel (padded): from sums to fixed-point counts.
    pub(crate) scales: &'a [f32],
    /// What follows.
    pub(crate) rules: Rules,
}

impl Requantize<'_> {
    /// The count for one sum of `channel`; `residual` is read only where the stage adds one.
    #[inline(always)]
    pub(crate) fn apply(&self, channel: usize, sum: i32, residual: u8) -> u8 {
        let rules = &self.rules;
        let t = to_fixed(sum, self.scales[channel]);
        let r = match &rules.curve {
            Curve::Linear => t,
            Curve::Relu => t.max(0),
            Curve::Elu(elu) => elu.apply(t),
        };
        let value = mulhrs(r, rules.round).clamp(-rules.zero_point, 255 - rules.zero_point);
        match &rules.sum {
            None => (value + rules.zero_point) as u8,
            Some(sum) => sum.apply(value, residual),
        }
    }
}

/// `sum * scale` rounded to nearest, ties to even, saturated to 16 bits.
#[inline(always)]
pub fn to_fixed(sum: i32, scale: f32) -> i16 {
    round_even((sum as f32 * scale).clamp(-40_000.0, 40_000.0)) as i16
}

/// Nearest integer, ties to even, for magnitudes below 2^22: adding 1.5 * 2^23 leaves no bits for a
/// fraction.
#[inline(always)]
pub fn round_even(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC) - MAGIC
}

/// Count of a real value: `x / scale + zero_point`, nearest even, saturated; NaN becomes count 0.
#[inline(always)]
pub fn quantize(x: f32, quant: Quant) -> u8 {
    let counts = (x / quant.scale).clamp(-1024.0, 1024.0);
    (round_even(counts) + f32::from(quant.zero_point)).clamp(0.0, 255.0) as u8
}

/// The table that takes counts of one quantization through `f` to counts of another.
#[cfg(feature = "alloc")]
pub fn table(from: Quant, to: Quant, f: impl Fn(f32) -> f32) -> Box<[u8; 256]> {
    let mut table = Box::new([0; 256]);
    for (i, entry) in table.iter_mut().enumerate() {
        *entry = quantize(f((i as f32 - f32::from(from.zero_point)) * from.scale), to);
    }
    table
}

/// `exp(x)` in f32 by products and sums alone, relative error below 3e-7; 0 below -87, saturated
/// above 88.
#[inline]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let n = round_even(x * core::f32::consts::LOG2_E);
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + c;
    }
    if x <= -87.0 { 0.0 } else { p * f32::from_bits(((n as i32 + 127) as u32) << 23) }
}

/// `1 / (1 + exp(-x))` in f32, without a large exponential.
#[inline]
pub fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

/// The logit whose sigmoid is `p`, for p between 0 and 1; exactly 0 for one half.
#[cfg(feature = "alloc")]
pub(super) fn logit(p: f32) -> f32 {
    let (mut low, mut high) = (-100.0f64, 100.0f64);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        // exp of the negative magnitude alone is at hand.
        let e = exp_f64(-middle.abs());
        let sigmoid = if middle < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) };
        if sigmoid <= f64::from(p) { low = middle } else { high = middle }
    }
    low as f32
}

/// Fraction bits and fixed-point form of ELU for an output quantization; none where 16 bits do not
/// resolve it.
#[cfg(feature = "alloc")]
fn elu(alpha: f32, out: Quant) -> Option<(u32, Elu)> {
    let (alpha, scale) = (f64::from(alpha), f64::from(out.scale));
    // Beyond this depth the output stays at its floor: the plateau -alpha, or the lowest count if
    // that is higher.
    let floor = (f64::from(out.zero_point) + 0.5) * scale;
    let tail = (1.0 - floor / alpha).max(0.25 * scale / alpha);
    let fraction = (1..=MAX_FRACTION).rev().find(|&m| {
        let depth = alpha * f64::from(1u32 << m) / scale;
        depth <= 32_767.0 && exp_f64(-scale * f64::from(1u32 << (15 - m))) <= tail
    })?;
    let unit = f64::from(1u32 << fraction);
    let span = scale * f64::from(1u32 << (15 - fraction));
    let squarings = (MIN_SQUARINGS..20).find(|&k| span <= f64::from(1u32 << k))?;
    let a = span / f64::from(1u32 << squarings);
    let mut one = i16::MAX;
    for _ in 0..squarings {
        one = mulhrs(one, one);
    }
    let depth = to_i16(alpha * unit / scale * 32768.0 / f64::from(one));
    let cubic = [
        to_i16(EXP[2] * a * a * a * 32768.0),
        to_i16(EXP[1] * a * a * 32768.0),
        to_i16(EXP[0] * a * 32768.0),
    ];
    Some((fraction, Elu { cubic, squarings, one, depth }))
}

/// `exp(x)` for x ≤ 0 by products and sums alone, so that plans are equal on every target.
#[cfg(feature = "alloc")]
fn exp_f64(x: f64) -> f64 {
    let z = x.max(-700.0) / 1024.0;
    let mut p = 1.0;
    for i in (1..=12).rev() {
        p = p * z / f64::from(i) + 1.0;
    }
    for _ in 0..10 {
        p *= p;
    }
    p
}

#[cfg(feature = "alloc")]
fn to_i16(x: f64) -> i16 {
    // The cast truncates and saturates.
    if x < 0.0 { (x - 0.5) as i16 } else { (x + 0.5) as i16 }
}

#[cfg(feature = "alloc")]
fn ratio(a: f32, b: f32) -> Result<f64, RequantError> {
    for scale in [a, b] {
        if !(scale.is_finite() && scale > 1e-15 && scale < 1e15) {
            return Err(RequantError::Scale(scale));
        }
    }
    Ok(f64::from(a) / f64::from(b))
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    /// Of one output channel.
    fn rules(
        input: f32,
        weight: f32,
        bound: f64,
        activation: Activation,
        out: Quant,
        scales: &mut [f32],
    ) -> Result<Rules, RequantError> {
        Rules::new(input, &[weight], core::iter::once(bound), activation, out, scales)
    }

    #[test]
    fn elu_is_within_a_step_of_the_real_function_over_all_scales() {
        let mut differing = 0;
        let mut total = 0;
        for (scale, zero_point) in
            [(0.0235, 43), (0.004, 250), (0.001, 100), (0.1, 10), (0.5, 2), (1.0, 1), (3.0, 0)]
        {
            let out = Quant { scale, zero_point };
            let mut scales = [0.0];
            let elu = Activation::Elu { alpha: 1.0 };
            let rules = rules(1.0, 0.003, 1e6, elu, out, &mut scales).unwrap();
            let stage = Requantize { scales: &scales, rules };
            for sum in -4000..4000 {
                let real = sum as f32 * 0.003;
                let want = quantize(if real < 0.0 { real.exp_m1() } else { real }, out);
                let got = stage.apply(0, sum, 0);
                assert!(got.abs_diff(want) <= 1, "scale {scale}, x {real}: {got} for {want}");
                differing += u32::from(got != want);
                total += 1;
            }
        }
        assert!(differing * 20 < total, "{differing} of {total} differ by one step");
    }

    #[test]
    fn sums_of_two_tensors_follow_the_real_ones() {
        let a = Quant { scale: 0.03, zero_point: 30 };
        for out in [Quant { scale: 0.05, zero_point: 25 }, Quant { scale: 0.01, zero_point: 100 }] {
            let b = Quant { scale: 0.021, zero_point: 40 };
            let sum = Sum::new(a, b, out).unwrap();
            for i in 0..=255u8 {
                for j in 0..=255u8 {
                    let real = (f32::from(i) - 30.0) * a.scale + (f32::from(j) - 40.0) * b.scale;
                    let got = sum.apply(i16::from(i) - 30, j);
                    assert!(got.abs_diff(quantize(real, out)) <= 1, "{i} + {j}");
                }
            }
        }
    }

    #[test]
    fn products_of_two_tensors_follow_the_real_ones() {
        let (a, b) =
            (Quant { scale: 0.03, zero_point: 30 }, Quant { scale: 1.0 / 255.0, zero_point: 0 });
        for out in [Quant { scale: 0.025, zero_point: 25 }, Quant { scale: 0.001, zero_point: 255 }]
        {
            let product = Product::new(a, b, out).unwrap();
            for i in 0..=255u8 {
                for j in 0..=255u8 {
                    let real = (f32::from(i) - 30.0) * a.scale * (f32::from(j) * b.scale);
                    let (got, want) = (product.apply(i, j), quantize(real, out));
                    // Another order of products may meet another neighbour of a tie.
                    assert!(got.abs_diff(want) <= 1, "{i} * {j}: {got} for {want}");
                    assert!(
                        got == want || ((real / out.scale).fract().abs() - 0.5).abs() < 1e-3,
                        "{i} * {j}"
                    );
                }
            }
        }
        let tiny = Quant { scale: 1e-14, zero_point: 0 };
        assert!(matches!(Product::new(tiny, tiny, a), Err(RequantError::Scale(_))));
    }

    #[test]
    fn exp_is_close_to_the_libm_one() {
        for i in -870..880 {
            let x = i as f32 / 10.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-6 || x <= -87.0, "{x}");
        }
    }

    #[test]
    fn hopeless_scales_are_errors() {
        let out = Quant { scale: 0.1, zero_point: 0 };
        assert!(matches!(
            rules(f32::NAN, 1.0, 1.0, Activation::Linear, out, &mut [0.0]),
            Err(RequantError::Scale(_))
        ));
        assert!(matches!(
            rules(1.0, 1.0, 1e10, Activation::Linear, out, &mut [0.0]),
            Err(RequantError::Overflow { channel: 0, .. })
        ));
        let far = Quant { scale: 100.0, zero_point: 0 };
        assert!(matches!(Sum::new(far, out, out), Err(RequantError::Ratio(_))));
    }
}
