//! Installs a package: copies, checks, tests it beside the slots, and only then puts it in one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use monet_core::Image;
use sha2::{Digest, Sha256};

use super::keys::{Claim, Keys};
use super::slot::{self, MANIFEST, PLAN, SIGNATURE, Slot, SlotName, State, file};
use super::{Current, Release, Store, StoreError, Test};
use crate::atomic::{self, Staged, disk};
use crate::engine::PackageCheck;
use crate::package::{MAX_MODEL, Package, PackageError, hex, plan_file};

/// What is to be installed, and on what terms.
#[derive(Debug, Clone)]
pub struct Install {
    /// A plan, an image, or a manifest beside its ONNX file.
    pub package: PathBuf,
    /// Where its signature is.
    pub signed: Signed,
    /// Whether its serial may be below the floor.
    pub allow_older: bool,
}

/// Where a package's signature is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// In the file of the package's name and `.minisig`.
    Beside,
    /// In this file.
    By(PathBuf),
    /// Nowhere: the package is taken without one, but by a locked box.
    Not,
}

/// What an install did.
#[derive(Debug)]
pub struct Installed {
    /// What is current now.
    pub current: Current,
    /// What was current before, if anything, is in the other slot.
    pub before: Option<Slot>,
    /// What the self-test gave; none where this package was current already, and nothing was done.
    pub check: Option<PackageCheck>,
    /// The floor, where the package's serial is below it.
    pub floor: Option<u64>,
}

/// A package beside the slots.
struct Ready {
    /// The name that the package's file has in a slot.
    file: &'static str,
    sha256: String,
    /// The key's name, and what it signed.
    signed: Option<(String, Release)>,
    package: Package,
}

impl Store {
    /// Installs a package and makes it current.
    ///
    /// # Errors
    /// [`StoreError`]; what was current is so still.
    pub fn install(&self, request: &Install, test: &mut Test<'_>) -> Result<Installed, StoreError> {
        // Said before anything of the store or of a signature is: nothing else is wrong yet.
        fs::metadata(&request.package).map_err(file(&request.package, "cannot be read"))?;
        let _lock = self.lock()?;
        let new = self.new_folder();
        disk::make_folder(&new).map_err(file(&new, "cannot be made"))?;
        slot::clear(&new)?;
        let installed = self.install_from(request, &new, test);
        // What is left is removed by the next install, too.
        let _ = slot::clear(&new);
        installed
    }

    fn install_from(
        &self,
        request: &Install,
        new: &Path,
        test: &mut Test<'_>,
    ) -> Result<Installed, StoreError> {
        let ready = self.make_ready(request, new)?;
        let name = &*ready.package.manifest.name;
        self.tidy(name)?;
        let serial = ready.signed.as_ref().map(|(_, release)| release.serial);
        let floor = serial.zip(Some(self.floor(name)?)).filter(|(serial, floor)| serial < floor);
        if let Some((found, floor)) = floor.filter(|_| !request.allow_older) {
            return Err(StoreError::Older { name: name.to_owned(), found, floor });
        }
        let floor = floor.map(|(_, floor)| floor);
        let current = self.current_slot(name)?;
        if let Some(current) = current.and_then(|slot| self.same(&ready, slot)) {
            return Ok(Installed { current, before: None, check: None, floor });
        }
        let check = passed(&new.join(ready.file), &ready.package, test)?;
        let before = current.and_then(|slot| self.content(name, slot).ok());
        let current = self.put(&ready, new, current.map_or(SlotName::A, SlotName::other))?;
        let before = before.map(|before| before.record);
        Ok(Installed { current, before, check: Some(check), floor })
    }

    /// Copies a package beside the slots and checks all of it that can be checked without running
    /// it.
    fn make_ready(&self, request: &Install, new: &Path) -> Result<Ready, StoreError> {
        let (keys, claim) = (Keys::read(&self.keys)?, self.claim(request)?);
        let file = form(&request.package)?;
        let mut checking = claim.as_ref().map(|claim| claim.check(&keys)).transpose()?;
        let mut sha256 = Sha256::new();
        copy(&request.package, &new.join(file), |bytes| {
            sha256.update(bytes);
            if let Some(checking) = &mut checking {
                checking.update(bytes);
            }
        })?;
        let bad = || StoreError::BadSignature { path: request.package.clone() };
        let key = checking.map(|checking| checking.end().ok_or_else(bad)).transpose()?;
        if let Some(claim) = &claim {
            slot::replace(&new.join(SIGNATURE), &claim.text)?;
        }
        let package = load(request, &new.join(file))?;
        let signed = key.zip(claim.map(|claim| claim.release));
        self.package_folder(&package.manifest.name)?;
        same_package(&request.package, &package, signed.as_ref().map(|(_, release)| release))?;
        Ok(Ready { file, sha256: hex(&sha256.finalize()), signed, package })
    }

    /// The signature of a package, where it is to have one.
    fn claim(&self, request: &Install) -> Result<Option<Claim>, StoreError> {
        let path = match &request.signed {
            Signed::By(path) => path.clone(),
            Signed::Beside => {
                let mut name = request.package.clone().into_os_string();
                name.push(".minisig");
                name.into()
            }
            Signed::Not => {
                let package = || request.package.clone();
                let locked = self.locked();
                return locked.map_or(Ok(None), |locked| {
                    Err(StoreError::Locked { package: package(), locked })
                });
            }
        };
        Claim::read(&path).map(Some)
    }

    /// The current slot, where it has this very package, sound and signed alike.
    fn same(&self, ready: &Ready, slot: SlotName) -> Option<Current> {
        let current = self.check(&ready.package.manifest.name, slot).ok()?;
        let serial = ready.signed.as_ref().map(|(_, release)| release.serial);
        let record = &current.record;
        let same = record.sha256 == ready.sha256 && record.serial == serial;
        (same && record.state != State::Failed).then_some(current)
    }

    /// Puts a package into a slot that is not current, and makes that slot current.
    fn put(&self, ready: &Ready, new: &Path, slot: SlotName) -> Result<Current, StoreError> {
        let name = &ready.package.manifest.name;
        let (outer, folder) = (self.package_folder(name)?, self.slot_folder(name, slot)?);
        for made in [&outer, &folder] {
            disk::make_folder(made)
                .and_then(|()| disk::sync_folder(atomic::folder(made)))
                .map_err(file(made, "cannot be made"))?;
        }
        slot::forget(&folder)?;
        let listed = file(new, "cannot be listed");
        let ready_files = fs::read_dir(new).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for from in ready_files.map_err(listed)? {
            let to = folder.join(from.file_name());
            disk::rename(&from.path(), &to).map_err(file(&to, "cannot be written"))?;
        }
        disk::sync_folder(&folder).map_err(file(&folder, "cannot be made durable"))?;
        let signed = ready.signed.clone().map(|(key, release)| (key, release.serial));
        let record = Slot::tested(&ready.package, ready.file, ready.sha256.clone(), signed);
        record.write(&folder)?;
        record.serial.map_or(Ok(()), |serial| self.raise(name, serial))?;
        self.switch(name, slot)?;
        let path = record.path(&folder);
        Ok(Current { slot, record, path })
    }
}

/// Runs the self-test.
pub(super) fn passed(
    path: &Path,
    package: &Package,
    test: &mut Test<'_>,
) -> Result<PackageCheck, StoreError> {
    let named = || (package.manifest.name.clone(), package.manifest.version.clone());
    let check = test(path, package).map_err(|source| {
        let (name, version) = named();
        StoreError::SelfTest { name, version, source }
    })?;
    if check.passed() {
        return Ok(check);
    }
    let (name, version) = named();
    let PackageCheck { engine, labels_sha256: found, expected_sha256: expected, .. } = check;
    Err(StoreError::Labels { name, version, engine, found, expected })
}

/// The name that a package's file has in a slot.
fn form(path: &Path) -> Result<&'static str, StoreError> {
    let mut start = [0; plan_file::MAGIC.len()];
    let read = File::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut start));
    match read {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            return Err(file(path, "cannot be read")(error));
        }
        _ => {}
    }
    if plan_file::is_plan(&start) || Image::is_image(&start) {
        return Ok(PLAN);
    }
    let manifest = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml"));
    let unknown = || PackageError::Unknown { path: path.to_owned() }.into();
    manifest.then_some(MANIFEST).ok_or_else(unknown)
}

/// Copies a file; what was copied is handed on, too.
fn copy(from: &Path, to: &Path, mut see: impl FnMut(&[u8])) -> Result<(), StoreError> {
    let failed = file(to, "cannot be written");
    let mut part = atomic::begin(to).map_err(&failed)?;
    let mut length = 0;
    slot::read_through(from, |bytes| {
        length += bytes.len() as u64;
        if length > MAX_MODEL {
            let source = io::ErrorKind::FileTooLarge.into();
            return Err(file(from, "is too long for a package")(source));
        }
        see(bytes);
        part.write_all(bytes).map_err(&failed)
    })?;
    Staged::new(part, to)
        .and_then(|staged| atomic::commit(vec![staged], true).map_err(|e| e.source))
        .map_err(&failed)
}

/// Loads what was copied; of a manifest the ONNX file is copied first, whose hash the manifest
/// says.
fn load(request: &Install, path: &Path) -> Result<Package, StoreError> {
    if path.ends_with(MANIFEST) {
        let model = Package::model_of(path)?;
        copy(&request.package.with_file_name(&model), &path.with_file_name(&model), |_| {})?;
    }
    Ok(Package::load(path)?)
}

/// Whether the signature is for the package that the manifest names.
fn same_package(
    path: &Path,
    package: &Package,
    release: Option<&Release>,
) -> Result<(), StoreError> {
    let Some(release) = release else { return Ok(()) };
    let found = (package.manifest.name.clone(), package.manifest.version.clone());
    let signed = (release.name.clone(), release.version.clone());
    if signed == found {
        return Ok(());
    }
    let (signed, found) = (Box::new(signed), Box::new(found));
    Err(StoreError::OtherPackage { path: path.to_owned(), signed, found })
}
