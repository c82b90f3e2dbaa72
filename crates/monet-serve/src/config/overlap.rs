//! Finds folders of a configuration that lie in one another: a service would take its own results,
//! or its own queue, for what has arrived.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use super::Config;
use super::check::{Refusal, refuse};

/// What a folder is for, as the configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Queue,
    Watched,
    Delivered,
}

impl Use {
    fn field(self) -> &'static str {
        match self {
            Self::Queue => "folder",
            Self::Watched => "watch.folder",
            Self::Delivered => "destination.folder",
        }
    }

    /// Whether a folder of this use may not lie in one of another use.
    fn may_not_lie_in(self, outer: Self) -> bool {
        match outer {
            Self::Queue | Self::Watched => true,
            Self::Delivered => self == Self::Watched,
        }
    }
}

/// Refuses a configuration of which one folder lies in another, by whatever name.
pub(super) fn validate(config: &Config) -> Result<(), Refusal> {
    let watched = config.watch.iter().map(|watch| (Use::Watched, &watch.folder));
    let delivered = config.destination.iter().filter_map(|to| to.folder.as_ref());
    let delivered = delivered.map(|folder| (Use::Delivered, folder));
    let all: Vec<(Use, &PathBuf, PathBuf)> = [(Use::Queue, &config.folder)]
        .into_iter()
        .chain(watched)
        .chain(delivered)
        .map(|(purpose, path)| (purpose, path, real(path)))
        .collect();
    for (i, (inner, path, inside)) in all.iter().enumerate() {
        for (j, (outer, other, around)) in all.iter().enumerate() {
            if i != j && inner.may_not_lie_in(*outer) && inside.starts_with(around) {
                let found = format!("{}, in {} {}", path.display(), outer.field(), other.display());
                let expected =
                    "queue, watch folders and destinations that do not lie in one another";
                return refuse(inner.field(), found, expected);
            }
        }
    }
    Ok(())
}

/// A path without links and `..`, as far as it is there; the rest of it as it is written.
fn real(path: &Path) -> PathBuf {
    let mut missing: Vec<OsString> = Vec::new();
    let mut there = path.to_path_buf();
    loop {
        if let Ok(mut found) = there.canonicalize() {
            found.extend(missing.iter().rev());
            return found;
        }
        match there.components().next_back() {
            Some(Component::Normal(name)) => missing.push(name.to_owned()),
            Some(Component::ParentDir | Component::CurDir) => {}
            _ => return path.to_path_buf(),
        }
        there.pop();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Config;

    #[test]
    fn folders_that_lie_in_one_another_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("box.toml");
        fs::create_dir_all(root.path().join("share/results")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("share", root.path().join("link")).unwrap();
        let load = |folder: &str, watch: &str, to: &str| {
            let text = format!(
                "folder = \"{folder}\"\n[[rule]]\n[[watch]]\nname = \"W\"\nfolder = \"{watch}\"\n\
                 [[destination]]\nname = \"d\"\nfolder = \"{to}\"\n"
            );
            fs::write(&path, text).unwrap();
            Config::load(&path).map_err(|error| error.to_string())
        };
        load("data", "share", "out").unwrap();
        load("data", "share", "shared").unwrap();
        load("out/data", "share", "out").unwrap();
        for (folder, watch, to, field) in [
            ("data", "share", "share/results", "destination.folder"),
            ("data", "share", "share", "watch.folder"),
            ("data", "share", "data/../share/results/new", "destination.folder"),
            ("data", "out/in", "out", "watch.folder"),
            ("share/data", "share", "out", "folder"),
            ("data", "data/incoming", "out", "watch.folder"),
            ("data", "share", "data/out", "destination.folder"),
            #[cfg(unix)]
            ("data", "link", "share/results", "destination.folder"),
        ] {
            let error = load(folder, watch, to).unwrap_err();
            let expected = format!(": {field}: ");
            assert!(error.contains(&expected) && error.contains("lie in one another"), "{error}");
        }
    }
}
