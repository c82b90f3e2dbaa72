//! Certificates, made by `openssl` while a test runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{run, skip, stderr, text};

const CURVE: &str = "ec_paramgen_curve:P-256";

/// A folder of certificates and keys, as `NAME.crt` and `NAME.key`.
#[derive(Debug)]
pub struct Certificates {
    folder: tempfile::TempDir,
}

/// A certificate that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The authority that signs it.
    pub by: &'a str,
    /// What it is for, as subjectAltName has it: `DNS:a.example,IP:127.0.0.1`.
    pub names: &'a str,
    /// Days that it is valid for; 0: until the second in which it is made.
    pub days: u32,
    /// Its key, as `openssl req -newkey` has it: `ec`, `rsa:2048`.
    pub key: &'a str,
}

impl Default for Wanted<'_> {
    /// By `ca`, for this machine, for a year, of an elliptic curve.
    fn default() -> Self {
        Self { by: "ca", names: "DNS:localhost,IP:127.0.0.1", days: 365, key: "ec" }
    }
}

impl Certificates {
    /// A folder with an authority named `ca`; skips where this machine has no `openssl`.
    ///
    /// # Panics
    ///
    /// Panics where a certificate cannot be made, here and below.
    #[track_caller]
    pub fn new() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            skip("no openssl on this machine");
            return None;
        }
        let all = Self { folder: tempfile::tempdir().expect("there are folders") };
        all.authority("ca");
        Some(all)
    }

    /// Makes an authority.
    pub fn authority(&self, name: &str) {
        let (certificate, key, subject) = (self.crt(name), self.key(name), format!("/CN={name}"));
        openssl(&[
            &["req", "-x509", "-newkey", "ec", "-pkeyopt", CURVE, "-nodes", "-days", "3650"],
            &["-subj", &subject, "-keyout", text(&key), "-out", text(&certificate)],
        ]);
    }

    /// Makes a certificate.
    pub fn sign(&self, name: &str, wanted: Wanted<'_>) {
        let (certificate, key, request) = (self.crt(name), self.key(name), self.file(name, "csr"));
        openssl(&[
            &["req", "-new", "-newkey", wanted.key, "-nodes", "-subj", &format!("/CN={name}")],
            if wanted.key == "ec" { &["-pkeyopt", CURVE] } else { &[] },
            &["-addext", &format!("subjectAltName={}", wanted.names)],
            &["-keyout", text(&key), "-out", text(&request)],
        ]);
        openssl(&[
            &["x509", "-req", "-copy_extensions", "copy", "-days", &wanted.days.to_string()],
            &["-CA", text(&self.crt(wanted.by)), "-CAkey", text(&self.key(wanted.by))],
            &["-in", text(&request), "-out", text(&certificate)],
        ]);
    }

    /// Where a certificate is.
    pub fn crt(&self, name: &str) -> PathBuf {
        self.file(name, "crt")
    }

    /// Where a key is.
    pub fn key(&self, name: &str) -> PathBuf {
        self.file(name, "key")
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str, kind: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.{kind}"))
    }
}

fn openssl(arguments: &[&[&str]]) {
    let ran = run("openssl", &arguments.concat());
    assert!(ran.status.success(), "{arguments:?}: {}", stderr(&ran));
}
