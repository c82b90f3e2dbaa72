//! Distillation: nets of earlier runs say how sure they are of each pixel, and the net that is
//! trained learns from that beside the labels (Hinton et al., arXiv:1503.02531).
//!
//! A teacher may be larger than the net that it teaches. It sees the slices as they are trained on,
//! turned and cut and noisy, and with its running statistics.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use monet::package::Manifest;
use tch::{Device, Tensor};

use crate::checkpoint::Run;
use crate::net::{self, Net, Pass};
use crate::settings::Settings;

/// The nets that teach.
#[derive(Debug)]
pub struct Teachers(Vec<Net>);

impl Teachers {
    /// Reads the best nets of runs, whose slices and labels must be those of `package`.
    ///
    /// # Errors
    /// Where a run has no net, or sees or tells something else; names the run.
    pub fn read(runs: &[PathBuf], package: &Manifest, device: Device) -> Result<Self> {
        let read = |folder: &PathBuf| {
            let run = Run(folder.clone());
            let settings: Settings = run.settings()?;
            let own = run.package(&settings)?;
            let shown = folder.display();
            let sees = |package: &Manifest| (package.input.planes(), package.classes());
            let (found, expected) = (sees(&own), sees(package));
            ensure!(
                found == expected,
                "--teacher {shown}: sees {} planes and tells {} classes, expected {} and {}",
                found.0,
                found.1,
                expected.0,
                expected.1
            );
            ensure!(
                own.normalise == package.normalise,
                "--teacher {shown}: its slices are normalised otherwise; choose a run of this task"
            );
            let net = run.net(settings.topology(&own), device);
            net.with_context(|| format!("--teacher {shown}"))
        };
        runs.iter().map(read).collect::<Result<_>>().map(Self)
    }

    /// The mean of the teachers' probabilities of a batch `[n, planes, h, w]`: `[n, classes, h,
    /// w]`; `None` without teachers.
    #[must_use]
    pub fn probabilities(&self, images: &Tensor) -> Option<Tensor> {
        let says = |net: &Net| net::probabilities(&net.forward(images, Pass::Inference));
        tch::no_grad(|| {
            let sum = self.0.iter().map(says).reduce(|sum, own| sum + own)?;
            Some(sum / self.0.len() as f64)
        })
    }
}
