//! What is asked for.

use std::path::{Path, PathBuf};

use crate::paths::Paths;
use crate::volume::Region;

/// What is to be done with one volume.
#[derive(Debug, Clone, Default)]
pub struct Job {
    /// The volume.
    pub input: PathBuf,
    /// The label volume to write.
    pub output: PathBuf,
    /// A picture to write beside it.
    pub preview: Option<PathBuf>,
    /// A JSON report to write beside it.
    pub stats: Option<PathBuf>,
    /// Whether existing files are replaced.
    pub overwrite: bool,
    /// The part of the volume that is segmented, as if there were nothing else; the label volume
    /// has the whole grid, and nothing outside. Intensities are normalised by what lies in it, and
    /// [`Manifest::accepts`](crate::package::Manifest::accepts) holds for it.
    pub region: Option<Region>,
    /// Whether a volume is segmented that the package does not accept.
    pub accept_any: bool,
}

impl Job {
    fn outputs(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.output), self.preview.as_ref(), self.stats.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    /// What it reads and writes.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let mut paths = Paths::new();
        paths.read(&self.input);
        self.outputs().for_each(|path| paths.write(path));
        paths
    }
}
