//! The embedded net on a slice whose labels are known, on every kernel that the CPU has.

use std::time::Instant;

use monet_core::Kernel;
use serde::Serialize;

use super::quantized::QuantizedEngine;
use super::{Engine, EngineError};
use crate::Size;
use crate::package::{Package, sha256};

/// SHA-256 of the embedded model's labels for [`slice`]. A test fails when the model changes; its
/// message is the new value.
const LABELS: &str = "4ed4b2b4b8947b84511053b18958b5be6f21f154c2e04e2587628320a2c1dcdd";

/// A kernel put to the test.
#[derive(Debug, Clone, Serialize)]
pub struct KernelCheck {
    /// The kernel's name.
    pub kernel: &'static str,
    /// SHA-256 of the labels that the kernel computed.
    pub labels_sha256: String,
    /// Whether the labels are those that every kernel must give.
    pub healthy: bool,
    /// Milliseconds of the slice, which is the kernel's first.
    pub ms: f64,
}

/// Runs the embedded model over the built-in slice on every kernel that this CPU has, slowest
/// first.
///
/// # Errors
/// [`EngineError`] where the model cannot be run at all.
pub fn self_test() -> Result<Vec<KernelCheck>, EngineError> {
    let package = Package::embedded();
    let size = package.manifest.input.size();
    let input = slice(package.manifest.input.planes(), size);
    let check = |kernel: Kernel| {
        let mut engine = QuantizedEngine::new(&package, size, kernel)?;
        let mut labels = vec![0; size.area()];
        let clock = Instant::now();
        engine.segment(&[&input], &mut labels)?;
        let ms = clock.elapsed().as_secs_f64() * 1e3;
        let labels_sha256 = sha256(&labels);
        Ok(KernelCheck {
            kernel: kernel.name(),
            healthy: labels_sha256 == LABELS,
            labels_sha256,
            ms,
        })
    };
    Kernel::available().map(check).collect()
}

/// Two grey ellipses in brighter texture, the same in all planes, as large as the slices that the
/// model was trained on. Computed from integers and one division, so that every machine makes the
/// same bits.
fn slice(planes: usize, Size { height, width }: Size) -> Vec<f32> {
    let value = |i: usize| {
        let (y, x) = ((i / width) as i32, (i % width) as i32);
        let (dy, dx) = (y - height as i32 / 2, x - width as i32 / 2);
        let texture = (x * 7 + y * 13 + x * y) % 23;
        let ellipse = |[a, b]: [i32; 2], [cx, cy]: [i32; 2]| {
            b * b * (dx - cx) * (dx - cx) + a * a * (dy - cy) * (dy - cy) < a * a * b * b
        };
        let inside = ellipse([8, 5], [-6, 4]) || ellipse([13, 5], [-6, -10]);
        let known = dx.abs() < 18 && dy.abs() < 18;
        let grey = if inside { 90 } else { 200 } + texture;
        (if known { grey } else { 0 }) as f32 / 255.0
    };
    (0..planes).flat_map(|_| (0..height * width).map(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_gives_the_embedded_models_labels() {
        for check in self_test().unwrap() {
            assert!(
                check.healthy,
                "{}: if the embedded model has changed on purpose, set LABELS in {} to {:?}",
                check.kernel,
                file!(),
                check.labels_sha256
            );
        }
    }

    #[test]
    fn the_labels_of_the_slice_are_more_than_background() {
        let package = Package::embedded();
        let size = package.manifest.input.size();
        let mut engine = QuantizedEngine::new(&package, size, Kernel::best()).unwrap();
        let mut labels = vec![0; size.area()];
        engine.segment(&[&slice(package.manifest.input.planes(), size)], &mut labels).unwrap();
        for class in 0..package.manifest.classes() {
            let count = labels.iter().filter(|label| usize::from(**label) == class).count();
            assert!(count > 20, "{count} pixels of class {class}: choose another slice");
        }
    }
}
