//! A box for tests: a store and a folder of keys, both empty at first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use monet::models::Store;
use monet_testing::{stderr, text};

use crate::MONET;

/// A file of the folder of packages and keys.
pub(super) fn given(name: &str) -> PathBuf {
    monet_testing::root().join("tests/integration/models").join(name)
}

pub(super) struct Appliance {
    folder: tempfile::TempDir,
}

impl Appliance {
    /// One that takes packages by these keys.
    pub(super) fn new(keys: &[&str]) -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(made.keys()).unwrap();
        keys.iter().for_each(|key| made.add_key(key));
        made
    }

    pub(super) fn add_key(&self, key: &str) {
        fs::copy(given(key), self.keys().join(key)).unwrap();
    }

    pub(super) fn lock(&self) {
        fs::write(self.keys().join("locked"), "").unwrap();
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.at("keys")
    }

    pub(super) fn store(&self) -> Store {
        Store::open(self.at("store"), self.keys())
    }

    /// A file of the store.
    pub(super) fn stored(&self, name: &str) -> PathBuf {
        self.at("store").join(name)
    }

    /// `monet model`, not started yet.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(MONET);
        command.args(["model", "--store", text(&self.at("store")), "--keys", text(&self.keys())]);
        command.args(args);
        command
    }

    pub(super) fn model(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What `monet model` prints, which has to succeed.
    pub(super) fn good(&self, args: &[&str]) -> String {
        let ran = self.model(args);
        assert_eq!(ran.status.code(), Some(0), "{args:?}: {}", stderr(&ran));
        String::from_utf8(ran.stdout).unwrap()
    }

    /// What `monet model` says, which has to fail.
    pub(super) fn bad(&self, args: &[&str]) -> String {
        let ran = self.model(args);
        assert_eq!(ran.status.code(), Some(1), "{args:?}: {}", stderr(&ran));
        stderr(&ran)
    }

    /// Installs a package of the folder, which has to succeed.
    pub(super) fn install(&self, package: &str) -> String {
        self.good(&["install", text(&given(package))])
    }

    /// Version of the current package, which has to be one that loads.
    pub(super) fn current(&self) -> Option<String> {
        let current = self.store().current("tiny").unwrap()?;
        let package = monet::package::Package::load(&current.path).unwrap();
        assert_eq!(package.manifest.version, current.record.version);
        Some(package.manifest.version)
    }

    /// The slots, as a program reads them.
    pub(super) fn rows(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.good(&["list", "--json"])).unwrap()
    }
}

/// A copy of a package and its signature, to be damaged.
pub(super) fn copied(package: &str, into: &Path) -> (PathBuf, PathBuf) {
    let signature = format!("{package}.minisig");
    for name in [package, &signature] {
        fs::copy(given(name), into.join(name)).unwrap();
    }
    (into.join(package), into.join(signature))
}
