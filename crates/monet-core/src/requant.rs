//! Requantization: turns i32 sums into u8 counts, by arithmetic on which all kernels agree to the
//! bit.
//!
//! 1. A sum is scaled in f32 to a 16-bit *fixed-point count*: a number of output steps with a few
//!    fraction bits. This takes one conversion, one product and one rounding to nearest even. These
//!    are alike on every target, and no number comes near a denormal.
//! 2. The activation acts on the fixed-point count, in integers ([`Curve`]). ELU is a cubic that is
//!    squared a few times ([`Elu::apply`]).
//! 3. One rounding product removes the fraction bits.
//! 4. Where a residual is added, two rounding products scale both summands ([`Sum::apply`]).
//!
//! The rounding product [`mulhrs`] is the one instruction that SSSE3, AVX2, AVX-512 and NEON share.
//! The functions here are the portable definition; SIMD kernels restate them lane by lane.

use super::types::Quant;
#[cfg(feature = "alloc")]
use {super::types::Activation, alloc::boxed::Box};

/// Most fraction bits of a fixed-point count: with them, ±256 output steps fit in 16 bits.
#[cfg(feature = "alloc")]
const MAX_FRACTION: u32 = 7;
/// The coefficients p1, p2 and p3 of `exp(z) = 1 + z(p1 + z(p2 + z p3))` for z in [-1, 0]. Their
/// largest error after three squarings is minimal: 6e-5.
#[cfg(feature = "alloc")]
const EXP: [f64; 3] = [0.999_492_74, 0.491_365_24, 0.131_119_31];
/// Fewest squarings; the cubic was fitted for them.
pub(super) const MIN_SQUARINGS: u32 = 3;

/// The rounding product: `a * b / 2^15`, rounded half up. Instructions for it are `pmulhrsw` and
/// `sqrdmulh`. `a` and `b` must not both be -32768, where the instructions differ.
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
    /// 16 bits do not resolve ELU at this output scale.
    #[error("output scale {0} is too fine for ELU in 16 bits")]
    Elu(f32),
}

/// An activation in fixed point; it acts on a fixed-point count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Curve {
    /// Leaves the count as it is.
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
    /// The factor from `1 - exp` to fixed-point counts.
    pub depth: i16,
}

impl Elu {
    /// `max(t, 0) - depth * (one - exp(min(t, 0)))`, evaluated in this order:
    ///
    /// - `n = min(t, 0)`.
    /// - The cubic by Horner's rule: `e = ((cubic[0] * n + cubic[1]) * n + cubic[2]) * n + 32767`.
    /// - `squarings` times: `e = e * e`. Now `e` is `one` times the exponential of the value
    ///   that `n` stands for.
    /// - The result: `max(t, 0) - (one - e) * depth`.
    ///
    /// Each product is the rounding product [`mulhrs`]; each sum and difference wraps around.
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

/// The rules of adding two u8 tensors into a third. The sum and both summands have quantizations of
/// their own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sum {
    /// Factor of the first summand, which is `(count - zero_point) << 7`.
    pub first: i16,
    /// Factor of the second summand, which is `(count - 128) << 8`.
    pub second: i16,
    /// Added to the second product: the distance of the second summand's zero point from 128.
    pub offset: i16,
    /// The factor that removes the fraction bits.
    pub round: i16,
    /// The zero point of the result.
    pub zero_point: i16,
}

impl Sum {
    /// The rules of adding a tensor of quantization `qa` and one of `qb` into one of `out`.
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

    /// The count of the sum. `value` is a count of the first tensor minus its zero point, -255 to
    /// 255; `b` is a count of the second.
    #[inline(always)]
    pub fn apply(&self, value: i16, b: u8) -> u8 {
        let second = (((b ^ 0x80) as u16) << 8) as i16;
        let second = mulhrs(second, self.second).saturating_add(self.offset);
        let sum = mulhrs(value << 7, self.first).saturating_add(second);
        (mulhrs(sum, self.round) + self.zero_point).clamp(0, 255) as u8
    }
}

/// The rules of multiplying two u8 tensors into a third. The product and both factors have
/// quantizations of their own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    /// From the product of both counts minus their zero points to counts of the result.
    pub(crate) factor: f32,
    /// The zero points of both tensors.
    pub(crate) zero_points: [i32; 2],
    /// The zero point of the result.
    pub(crate) zero_point: f32,
}

impl Product {
    /// The rules of multiplying a tensor of quantization `a` and one of `b` into one of `out`.
    #[cfg(feature = "alloc")]
    pub fn new(a: Quant, b: Quant, out: Quant) -> Result<Self, RequantError> {
        let factor = (ratio(a.scale, out.scale)? * ratio(b.scale, 1.0)?) as f32;
        ratio(factor, 1.0)?;
        let zero_points = [a, b].map(|q| i32::from(q.zero_point));
        Ok(Self { factor, zero_points, zero_point: f32::from(out.zero_point) })
    }

    /// The count of the product. The product of two counts is exact in f32, so that only scaling it
    /// rounds: to nearest even.
    #[inline(always)]
    pub fn apply(&self, a: u8, b: u8) -> u8 {
        let product = (i32::from(a) - self.zero_points[0]) * (i32::from(b) - self.zero_points[1]);
        let counts = round_even((product as f32 * self.factor).clamp(-1024.0, 1024.0));
        (counts + self.zero_point).clamp(0.0, 255.0) as u8
    }
}

/// How a layer's sums, once scaled, become counts of its output tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    /// The activation.
    pub(crate) curve: Curve,
    /// The factor that removes the fraction bits.
    pub(crate) round: i16,
    /// The zero point of the layer's own output.
    pub(crate) zero_point: i16,
    /// The residual addition that follows, if there is one.
    pub(crate) sum: Option<Sum>,
}

impl Rules {
    /// Makes the rules of a layer, and fills in the factor from sums to fixed-point counts for each
    /// output channel.
    ///
    /// - `input`, `weights`: the scale of the input, and of the weights of each output channel. One
    ///   unit of a sum is their product.
    /// - `bounds`: the largest magnitude that the sums of each output channel can have.
    /// - `out`: the quantization of the layer's own output.
    /// - `scales`: filled in, one for each output channel.
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
            // A run computes sigmoids from real-valued sums, not by these rules.
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
    /// The factor from sums to fixed-point counts for each output channel, padding included.
    pub(crate) scales: &'a [f32],
    /// What happens to the fixed-point counts.
    pub(crate) rules: Rules,
}

impl Requantize<'_> {
    /// The count for one sum of `channel`. `residual` matters only where the stage adds one.
    #[cfg(feature = "scalar")]
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

/// The nearest integer, ties to even, for magnitudes below 2^22. Adding 1.5 × 2^23 leaves no bits
/// for a fraction, so that the addition itself rounds.
#[inline(always)]
pub fn round_even(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC) - MAGIC
}

/// The count of a real value: `x / scale`, rounded to nearest even, plus the zero point, saturated
/// to 0 to 255. NaN becomes 0.
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

/// `exp(x)` in f32 with products and sums only, so that it is equal on every target. The relative
/// error is below 3e-7. The result is 0 up to -87, and that of 88 above it.
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

/// `1 / (1 + exp(-x))` in f32. Only exponentials of negative numbers are computed, so that none
/// overflows.
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
        // `exp_f64` takes only numbers up to 0.
        let e = exp_f64(-middle.abs());
        let sigmoid = if middle < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) };
        if sigmoid <= f64::from(p) { low = middle } else { high = middle }
    }
    low as f32
}

/// The number of fraction bits, and the form of ELU in fixed point, for an output quantization.
/// `None` where 16 bits do not resolve it.
#[cfg(feature = "alloc")]
fn elu(alpha: f32, out: Quant) -> Option<(u32, Elu)> {
    let (alpha, scale) = (f64::from(alpha), f64::from(out.scale));
    // ELU falls to a floor: to its plateau at -alpha, or to the lowest count if that is higher.
    // Where exp has fallen to `tail`, the count stays at the floor: fixed-point counts must reach
    // that far down, and need reach no further.
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

/// `exp(x)` for x ≤ 0 with products and sums only, so that plans are equal on every target.
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

/// The nearest 16-bit integer, saturated.
#[cfg(feature = "alloc")]
fn to_i16(x: f64) -> i16 {
    // The cast drops the fraction and saturates.
    if x < 0.0 { (x - 0.5) as i16 } else { (x + 0.5) as i16 }
}

/// `a / b`, if both are usable scales.
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

    /// Rules for a layer of one output channel.
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
