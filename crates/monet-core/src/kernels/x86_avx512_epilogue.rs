//! The rules of the AVX-512 kernels' epilogue, on 32 fixed-point counts at a time.
//!
//! Loading, scaling, packing and storing are in `x86_avx512_pending.rs`; here is the arithmetic
//! between: the activation, the residual addition, and the removal of the fraction bits.

use core::arch::x86_64::*;

use super::super::requant::{Curve, Elu, MIN_SQUARINGS, Requantize};

/// The constants of a [`Requantize`], each spread over all lanes of a vector. The functions compute
/// lane by lane what [`Requantize::apply`] defines.
pub(super) struct Rules {
    curve: Shape,
    round: __m512i,
    zero_point: __m512i,
    pub(super) sum: Option<Residual>,
}

/// An activation; `cubic`, `squarings`, `one` and `depth` matter to ELU alone.
struct Shape {
    kind: Kind,
    cubic: [__m512i; 3],
    squarings: u32,
    one: __m512i,
    depth: __m512i,
}

enum Kind {
    Linear,
    Relu,
    Elu,
}

/// A residual addition as vectors.
pub(super) struct Residual {
    round: __m512i,
    low: __m512i,
    high: __m512i,
    first: __m512i,
    second: __m512i,
    offset: __m512i,
}

impl Rules {
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn new(stage: &Requantize) -> Self {
        let all = |x: i16| _mm512_set1_epi16(x);
        let (round, zero_point) = match &stage.rules.sum {
            Some(sum) => (sum.round, sum.zero_point),
            None => (stage.rules.round, stage.rules.zero_point),
        };
        let none = Elu { cubic: [0; 3], squarings: MIN_SQUARINGS, one: 0, depth: 0 };
        let (kind, elu) = match &stage.rules.curve {
            Curve::Linear => (Kind::Linear, &none),
            Curve::Relu => (Kind::Relu, &none),
            Curve::Elu(elu) => (Kind::Elu, elu),
        };
        let curve = Shape {
            kind,
            cubic: elu.cubic.map(all),
            squarings: elu.squarings,
            one: all(elu.one),
            depth: all(elu.depth),
        };
        let sum = stage.rules.sum.as_ref().map(|sum| Residual {
            round: all(stage.rules.round),
            low: all(-stage.rules.zero_point),
            high: all(255 - stage.rules.zero_point),
            first: all(sum.first),
            second: all(sum.second),
            offset: all(sum.offset),
        });
        Self { curve, round: all(round), zero_point: all(zero_point), sum }
    }

    /// The activation.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn curve(&self, words: [__m512i; 2]) -> [__m512i; 2] {
        let Shape { kind, cubic, squarings, one, depth } = &self.curve;
        let zero = _mm512_setzero_si512();
        match kind {
            Kind::Linear => words,
            Kind::Relu => words.map(|t| _mm512_max_epi16(t, zero)),
            Kind::Elu => {
                let mut exp = words.map(|t| {
                    let n = _mm512_min_epi16(t, zero);
                    let e = _mm512_add_epi16(_mm512_mulhrs_epi16(cubic[0], n), cubic[1]);
                    let e = _mm512_add_epi16(_mm512_mulhrs_epi16(e, n), cubic[2]);
                    let e =
                        _mm512_add_epi16(_mm512_mulhrs_epi16(e, n), _mm512_set1_epi16(i16::MAX));
                    // `MIN_SQUARINGS` are three, written out: most layers need no more.
                    let e = _mm512_mulhrs_epi16(e, e);
                    let e = _mm512_mulhrs_epi16(e, e);
                    _mm512_mulhrs_epi16(e, e)
                });
                for _ in MIN_SQUARINGS..*squarings {
                    exp = exp.map(|e| _mm512_mulhrs_epi16(e, e));
                }
                let ends = |t, e| {
                    let fall = _mm512_mulhrs_epi16(_mm512_sub_epi16(*one, e), *depth);
                    _mm512_sub_epi16(_mm512_max_epi16(t, zero), fall)
                };
                [ends(words[0], exp[0]), ends(words[1], exp[1])]
            }
        }
    }

    /// Removes the fraction and adds the zero point. The caller's packing instruction saturates the
    /// result to 8 bits.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn finish(&self, r: __m512i) -> __m512i {
        _mm512_add_epi16(_mm512_mulhrs_epi16(r, self.round), self.zero_point)
    }
}

impl Residual {
    /// Adds the residual as [`Sum::apply`](super::super::requant::Sum::apply) does, up to its
    /// fraction bits. Each lane of `other` holds a residual count less 128 in its upper byte.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn add(&self, r: __m512i, other: __m512i) -> __m512i {
        let value = _mm512_mulhrs_epi16(r, self.round);
        let value = _mm512_min_epi16(_mm512_max_epi16(value, self.low), self.high);
        let second = _mm512_adds_epi16(_mm512_mulhrs_epi16(other, self.second), self.offset);
        let first = _mm512_mulhrs_epi16(_mm512_slli_epi16::<7>(value), self.first);
        _mm512_adds_epi16(first, second)
    }
}
