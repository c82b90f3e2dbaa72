//! Voxels as they are stored, and what makes intensities of them.

/// A number that voxels are stored as.
pub trait Voxel: Copy {
    /// The number in single precision.
    fn to_f32(self) -> f32;
    /// The number in double precision.
    fn to_f64(self) -> f64;
}

macro_rules! voxel {
    ($($number:ty)*) => {
        $(impl Voxel for $number {
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
        })*
    };
}

voxel!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64);

/// What turns a stored value into an intensity: `stored × slope + intercept`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// Factor of the stored value.
    pub slope: f64,
    /// Added after the factor.
    pub intercept: f64,
}

impl Scaling {
    /// Stored values are intensities.
    pub const NONE: Self = Self { slope: 1.0, intercept: 0.0 };

    /// The intensity of a stored voxel.
    ///
    /// ```
    /// use monet_core::prepare::Scaling;
    ///
    /// let hounsfield = Scaling { slope: 1.0, intercept: -1024.0 };
    /// assert_eq!(hounsfield.apply(24_i16), -1000.0);
    /// ```
    #[inline(always)]
    pub fn apply(self, voxel: impl Voxel) -> f32 {
        if self == Self::NONE {
            // Adding 0 makes 0.0 of -0.0, as the intercept does below. Percentiles tell them apart.
            return voxel.to_f32() + 0.0;
        }
        // In f64, because 32-bit integers times a slope lose bits in f32.
        (voxel.to_f64() * self.slope + self.intercept) as f32
    }

    /// The intensities of stored voxels, as statistics take them.
    pub fn values<V: Voxel>(self, voxels: &[V]) -> impl Iterator<Item = f32> {
        voxels.iter().map(move |&voxel| self.apply(voxel))
    }
}
