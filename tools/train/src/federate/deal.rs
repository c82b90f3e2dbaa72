//! Which subjects a site has: of each split every n-th, or those alike, as hospitals differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use monet::volume::{Geometry, SliceSource, SourceOptions};

use crate::dataset::{self, Fold, Pair, Split};

/// How a data set is dealt to sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Deal {
    /// Every n-th subject: sites are alike
    Even,
    /// Sites have the subjects with the least labelled, those with more, and so on
    LabelSize,
    /// Sites have the darkest images, the brighter ones, and so on
    Brightness,
}

/// Names of the subjects of each site, which is called `k/n`.
pub type Dealt = BTreeMap<String, Vec<String>>;

impl Deal {
    /// What subjects are ordered by, with its unit; `None` where by nothing.
    #[must_use]
    pub fn measure(self) -> Option<&'static str> {
        match self {
            Self::Even => None,
            Self::LabelSize => Some("labelled, ml"),
            Self::Brightness => Some("mean intensity"),
        }
    }

    /// Deals the training and the validation split, each by itself so that every site has some of
    /// both. Returns the deal, and each site's mean of the measure over its training subjects.
    ///
    /// # Errors
    /// Unreadable subjects; fewer subjects than sites.
    pub fn deal(self, data: &Path, sites: usize, fold: Option<Fold>) -> Result<(Dealt, Vec<f64>)> {
        let all = dataset::list(data)?;
        let (mut dealt, mut means) = (Dealt::new(), Vec::new());
        for split in [Split::Train, Split::Validation] {
            let pairs = dataset::split(&all, split, fold)?;
            ensure!(
                pairs.len() >= sites,
                "the {} split has {} subject(s) for {sites} sites: take fewer sites",
                split.name(),
                pairs.len()
            );
            let measured = pairs.into_iter().map(|p| Ok((self.of(&p)?, p.name)));
            let mut measured = measured.collect::<Result<Vec<_>>>()?;
            measured.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
            for k in 0..sites {
                let [first, end] = [k, k + 1].map(|k| k * measured.len() / sites);
                let own = &measured[first..end];
                let names = own.iter().map(|(_, name)| name.clone());
                dealt.entry(format!("{}/{sites}", k + 1)).or_default().extend(names);
                if split == Split::Train {
                    means.push(own.iter().map(|(v, _)| v).sum::<f64>() / own.len() as f64);
                }
            }
        }
        Ok((dealt, means))
    }

    fn of(self, pair: &Pair) -> Result<f64> {
        let read = |file: &Path| volume(file).with_context(|| format!("subject {}", pair.name));
        match self {
            Self::Even => Ok(0.0),
            Self::LabelSize => {
                let (voxels, geometry) = read(&pair.label)?;
                let labelled = voxels.iter().filter(|&&v| v > 0.0).count();
                Ok(labelled as f64 * geometry.spacing.iter().product::<f64>() / 1000.0)
            }
            Self::Brightness => {
                let (voxels, _) = read(&pair.image)?;
                let finite = voxels.iter().filter(|v| v.is_finite()).map(|&v| f64::from(v));
                Ok(finite.sum::<f64>() / voxels.len().max(1) as f64)
            }
        }
    }
}

/// A file's voxels, and their grid.
fn volume(file: &Path) -> Result<(Vec<f32>, Geometry)> {
    let mut source = SliceSource::open(file, &SourceOptions::default())?;
    Ok((source.read_all()?, *source.geometry()))
}

/// Reads a deal from a file.
///
/// # Errors
/// Where it is none.
pub fn read(path: &Path) -> Result<Dealt> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| {
        format!("{}: expected lists of subjects' names by site, such as \"1/4\"", path.display())
    })
}
