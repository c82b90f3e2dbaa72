//! Square root and rounding of f64, which `core` lacks: exact, on every machine the same.

/// Bits of an f64 below its exponent, and the exponent of the last of them in a normal number.
const MANTISSA: u32 = f64::MANTISSA_DIGITS - 1;
const BIAS: i32 = 1023 + MANTISSA as i32;

/// The square root, rounded to the nearest f64 as IEEE 754 asks; of what is not above 0 or not
/// finite, the number itself.
///
/// An integer root of the mantissa, shifted so far that it has more bits than an f64. It is taken
/// a few times a volume, so that its speed does not matter.
pub(super) fn sqrt(x: f64) -> f64 {
    if !(x > 0.0 && x.is_finite()) {
        return x;
    }
    // A subnormal times 2^108 is normal, and its root times 2^-54 exact.
    if x < f64::MIN_POSITIVE {
        return sqrt(x * f64::from_bits((1023 + 108) << MANTISSA))
            * f64::from_bits((1023 - 54) << MANTISSA);
    }
    // x = mantissa · 2^exponent, with an even exponent.
    let exponent = (x.to_bits() >> MANTISSA) as i32 - BIAS;
    let mantissa = x.to_bits() & ((1 << MANTISSA) - 1) | 1 << MANTISSA;
    let odd = exponent.rem_euclid(2);
    let shifted = u128::from(mantissa) << (60 + odd);
    let root = shifted.isqrt();
    // Below the root's bits (57) there is more unless the root is exact; as a lowest bit it settles
    // to which side the conversion rounds.
    let sticky = u64::from(root * root != shifted);
    let rounded = ((root as u64) << 1 | sticky) as f64;
    // Half of the exponent, less the shift's half and the sticky bit.
    let half = (exponent - odd) / 2 - 30 - 1;
    rounded * f64::from_bits(((1023 + half) as u64) << MANTISSA)
}

/// The nearest whole number of a number from 0 to 2^63, halves up.
pub(super) fn round(x: f64) -> u64 {
    let whole = x as u64;
    whole + u64::from(x - whole as f64 >= 0.5)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn odd_numbers_have_their_own_roots() {
        for x in [0.0, -0.0, f64::INFINITY, 5e-324, f64::MIN_POSITIVE, f64::MAX, 1.0, 2.0, 4.0] {
            assert_eq!(sqrt(x).to_bits(), x.sqrt().to_bits(), "{x}");
        }
        assert!(sqrt(f64::NAN).is_nan());
    }

    proptest! {
        #[test]
        fn roots_and_whole_numbers_are_those_of_std(bits in any::<u64>(), x in 0.0..1e15f64) {
            let any = f64::from_bits(bits >> 1);
            prop_assert!(any.is_nan() || sqrt(any).to_bits() == any.sqrt().to_bits(), "{any}");
            prop_assert_eq!(sqrt(x * x), (x * x).sqrt());
            prop_assert_eq!(round(x) as f64, x.round());
            prop_assert_eq!(round(x.floor() + 0.5) as f64, (x.floor() + 0.5).round());
        }
    }
}
