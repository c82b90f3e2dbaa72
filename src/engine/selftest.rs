//! Nets on a built-in slice: the embedded one, whose labels are known, on every kernel that the CPU
//! has; any package's, whose labels its manifest may know.

use std::time::Instant;

use monet_core::Kernel;
use serde::Serialize;

use super::quantized::QuantizedEngine;
use super::{Engine, EngineError, EngineFactory};
use crate::Size;
use crate::package::{Net, Package, sha256};

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
    let check = |kernel: Kernel| {
        let mut engine = QuantizedEngine::new(&package, package.size(), kernel)?;
        let (labels_sha256, ms) = labels_of_slice(&package, &mut engine)?;
        Ok(KernelCheck {
            kernel: kernel.name(),
            healthy: labels_sha256 == LABELS,
            labels_sha256,
            ms,
        })
    };
    Kernel::available().map(check).collect()
}

/// What a package's net gave for the built-in slice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PackageCheck {
    /// The engine's name.
    pub engine: String,
    /// SHA-256 of the labels.
    pub labels_sha256: String,
    /// What the labels were compared with.
    pub against: Against,
    /// SHA-256 of the labels that the net has to give; those that it gave where there is nothing to
    /// compare with.
    pub expected_sha256: String,
    /// Milliseconds of the slice, which is the engine's first.
    pub ms: f64,
}

/// What labels are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// The manifest's `[selftest]`.
    Manifest,
    /// The scalar kernel's labels.
    Scalar,
    /// Nothing: the net ran.
    Nothing,
}

impl PackageCheck {
    /// Whether the labels are those that the net has to give.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.labels_sha256.eq_ignore_ascii_case(&self.expected_sha256)
    }
}

/// Runs a package's net over the built-in slice, of the size that the package is for. The labels
/// are compared with those of the manifest's `[selftest]`; without it, a plan's with those of the
/// scalar kernel, and of an image or an ONNX file with none.
///
/// # Errors
/// [`EngineError`] where the net cannot be run at all.
pub fn test_package(
    package: &Package,
    factory: &mut dyn EngineFactory,
) -> Result<PackageCheck, EngineError> {
    let mut engines = factory.make(package, package.size(), 1)?;
    let engine = engines.first_mut().ok_or_else(|| EngineError::run("there is no engine"))?;
    let (labels_sha256, ms) = labels_of_slice(package, engine.as_mut())?;
    let (against, expected_sha256) = match (&package.manifest.selftest, &package.net) {
        (Some(test), _) => (Against::Manifest, test.sha256.clone()),
        (None, Net::Plan(_)) => (Against::Scalar, expected_labels(package, package.size())?),
        (None, Net::Image(_) | Net::Onnx(_)) => (Against::Nothing, labels_sha256.clone()),
    };
    Ok(PackageCheck { engine: engine.name(), labels_sha256, against, expected_sha256, ms })
}

/// SHA-256 of the labels that a plan has to give for the built-in slice of this size, for the
/// manifest's `[selftest]`: those of the scalar kernel, which every other equals to the bit.
///
/// # Errors
/// [`EngineError`] where the net is no plan or cannot be run.
pub fn expected_labels(package: &Package, size: Size) -> Result<String, EngineError> {
    let mut engine = QuantizedEngine::new(package, size, Kernel::Scalar)?;
    Ok(labels_of_slice(package, &mut engine)?.0)
}

/// SHA-256 of an engine's labels for the built-in slice, and milliseconds.
fn labels_of_slice(
    package: &Package,
    engine: &mut dyn Engine,
) -> Result<(String, f64), EngineError> {
    let size = engine.size();
    let input = slice(package.manifest.input.planes(), size);
    let mut labels = vec![0; size.area()];
    let clock = Instant::now();
    engine.segment(&[&input], &mut labels)?;
    Ok((sha256(&labels), clock.elapsed().as_secs_f64() * 1e3))
}

/// Two grey ellipses in brighter texture, the same in all planes. Computed from integers and one
/// division, so that every machine makes the same bits.
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
    use crate::package::SelfTest;

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

    #[test]
    fn a_package_is_compared_with_its_manifest_or_the_scalar_kernel() {
        let mut package = Package::embedded();
        let check = test_package(&package, &mut Kernel::best()).unwrap();
        assert_eq!((check.against, check.passed()), (Against::Scalar, true));
        assert_eq!(check.labels_sha256, LABELS);
        for (sha256, passes) in [(LABELS.to_uppercase(), true), ("0".repeat(64), false)] {
            package.manifest.selftest = Some(SelfTest { sha256 });
            let check = test_package(&package, &mut Kernel::best()).unwrap();
            assert_eq!((check.against, check.passed()), (Against::Manifest, passes));
        }
    }
}
