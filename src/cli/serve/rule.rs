//! The package of a rule: an installed one, a file, or the embedded one.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use monet::models::{Current, Store};
use monet::package::Package;
use monet::text::shown;
use monet_serve::config::{Config, Rule};
use monet_serve::log::Log;

use super::super::package;

/// A rule's package, and where it came from.
pub(super) struct Chosen {
    pub(super) package: Package,
    /// Its file; none of the embedded package.
    pub(super) path: Option<PathBuf>,
    /// Its place among the installed ones.
    installed: Option<(Store, Current)>,
}

impl Chosen {
    /// Tells that the package has done real work.
    pub(super) fn confirm(&self) -> Result<()> {
        match &self.installed {
            Some((store, current)) => Ok(store.confirm(current)?),
            None => Ok(()),
        }
    }
}

fn store(config: &Config) -> Store {
    Store::open(&config.models.folder, &config.models.keys)
}

/// The package that a rule names.
///
/// # Errors
/// It is not installed, cannot be loaded, or is a mere file on a locked box.
pub(super) fn choose(config: &Config, rule: &Rule) -> Result<Chosen> {
    let store = store(config);
    if let Some(name) = &rule.model {
        let current = store.current(name)?.ok_or_else(|| store.not_installed(name))?;
        let package = package(Some(&current.path))?;
        let path = Some(current.path.clone());
        return Ok(Chosen { package, path, installed: Some((store, current)) });
    }
    if let (Some(path), Some(lock)) = (&rule.package, store.locked()) {
        bail!(
            "{}: this box is locked ({}) and runs signed packages: `monet model install` it, and \
             write `model` in place of `package`",
            shown(path),
            shown(&lock)
        );
    }
    let path = rule.package.clone();
    Ok(Chosen { package: package(path.as_deref())?, path, installed: None })
}

/// Tells the store that the service starts with the packages of its rules; one that never came to
/// real work is left for the one before it.
///
/// # Errors
/// A package that is not there, or of which no slot can be loaded.
pub(super) fn start(config: &Config, log: &Log) -> Result<()> {
    let store = store(config);
    for name in config.rule.iter().filter_map(|rule| rule.model.as_ref()) {
        let started = store.started(name).with_context(|| format!("model {name}"))?;
        let version = &started.current.record.version;
        let fields: [(&str, &dyn ToString); 2] = [("model", name), ("version", version)];
        log.info("model", &fields);
        if let Some((slot, reason)) = &started.fell_back {
            let fields: [(&str, &dyn ToString); 3] =
                [("model", name), ("left", &slot.as_str()), ("reason", reason)];
            log.error("model fell back to the one before it", &fields);
        }
        if let Some(doubt) = &started.doubt {
            log.error("model in doubt", &[("model", name), ("reason", doubt)]);
        }
    }
    Ok(())
}
