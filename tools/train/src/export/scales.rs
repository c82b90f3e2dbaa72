//! What turns values into integers: scales of activations, and the largest integers in use.

/// Scale and zero point of a tensor of unsigned bytes: value = scale · (byte - zero).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Positive.
    pub scale: f32,
    /// The byte that stands for 0.0.
    pub zero: u8,
}

impl Scale {
    /// The value that a byte stands for.
    #[must_use]
    pub fn value(self, byte: u8) -> f32 {
        self.scale * (f32::from(byte) - f32::from(self.zero))
    }
}

/// The largest integers in use. Kernels that add pairs of products in 16 bits, as AVX2's
/// `vpmaddubsw`, need 7 bits on one side: 2 · 255 · 63 and 2 · 127 · 127 just fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Values lie in 0 to this: 255 or 127.
    pub activation: u8,
    /// Weights lie within ± this: 127 or 63.
    pub weight: i8,
}

impl Limits {
    /// Of values and weights with 7 or 8 bits.
    #[must_use]
    pub fn bits(activation: u8, weight: u8) -> Self {
        Self { activation: u8::MAX >> (8 - activation), weight: i8::MAX >> (8 - weight) }
    }
}

/// What turns a network into integers.
#[derive(Debug, Clone, PartialEq)]
pub struct Scales {
    /// One per topology node that holds an integer tensor.
    pub activations: Vec<Option<Scale>>,
    /// The range of the integers.
    pub limits: Limits,
}
