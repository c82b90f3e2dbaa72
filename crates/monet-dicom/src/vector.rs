//! Vectors in the patient's space, in millimetres.

/// How far `a` reaches along `b`, times the length of `b`.
#[must_use]
pub fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The vector that is perpendicular to both.
#[must_use]
pub fn cross([a, b, c]: [f64; 3], [d, e, f]: [f64; 3]) -> [f64; 3] {
    [b * f - c * e, c * d - a * f, a * e - b * d]
}

/// The length of a vector.
#[must_use]
pub fn length(a: [f64; 3]) -> f64 {
    dot(a, a).sqrt()
}

/// From `b` to `a`.
#[must_use]
pub fn minus(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// A vector so many times as long.
#[must_use]
pub fn times(a: [f64; 3], by: f64) -> [f64; 3] {
    a.map(|n| n * by)
}

/// The directions of a row and of a column, as Image Orientation (Patient) has them one after the
/// other.
#[must_use]
pub fn directions([a, b, c, d, e, f]: [f64; 6]) -> [[f64; 3]; 2] {
    [[a, b, c], [d, e, f]]
}
