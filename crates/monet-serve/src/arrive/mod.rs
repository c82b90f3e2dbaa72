//! How images come in: files that are on disk for good before anybody is told so.

mod gate;
mod listener;
mod seats;
mod watch;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use gate::{Full, Gate};
pub use listener::Listener;
pub use watch::Watcher;

use crate::bell::Bell;
use crate::folders::{self, Folders};

/// Takes instances in. Clones share the folder and the bell.
#[derive(Debug, Clone)]
pub struct Inbox {
    folders: Arc<Folders>,
    bell: Arc<Bell>,
}

impl Inbox {
    /// The inbox of a service's folders.
    #[must_use]
    pub fn new(folders: Arc<Folders>) -> Self {
        Self { folders, bell: Arc::default() }
    }

    /// Begins an instance.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(&self) -> io::Result<Arriving> {
        let path = folders::unfinished(&self.folders.incoming());
        Ok(Arriving { file: File::create_new(&path)?, path, inbox: self.clone(), kept: false })
    }

    /// Waits for an instance after so many that were heard of, or for that long; how many there
    /// have been.
    pub(crate) fn wait(&self, heard: u64, most: Duration) -> u64 {
        self.bell.wait(heard, most)
    }
}

/// An instance that is coming in; without [`Arriving::keep`] nothing of it stays.
#[derive(Debug)]
pub struct Arriving {
    file: File,
    path: PathBuf,
    inbox: Inbox,
    kept: bool,
}

impl Write for Arriving {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Arriving {
    /// Keeps the instance, which came from there. After this, a power cut does not lose it.
    ///
    /// # Errors
    /// What the system says; nothing is kept then.
    pub fn keep(mut self, from: &str) -> io::Result<()> {
        self.file.sync_all()?;
        loop {
            let name = self.inbox.folders.incoming().join(name(from));
            match folders::move_new(&self.path, &name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        self.kept = true;
        self.inbox.bell.ring();
        Ok(())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.kept {
            // The next start removes it otherwise.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A name that sorts by arrival and says where the instance came from.
fn name(from: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    format!("{ms:014}-{next:09}@{}.dcm", escaped(from))
}

/// Where an instance came from, by the name that [`Arriving::keep`] gave its file.
#[must_use]
pub(crate) fn origin(name: &str) -> Option<String> {
    let (_, from) = name.strip_suffix(".dcm")?.split_once('@')?;
    let mut parts = from.split('%');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        text.push(u8::from_str_radix(code, 16).ok()?.into());
        text += rest;
    }
    Some(text)
}

/// Text of which only letters, digits, `-` and `_` stay as they are.
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    text.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02x}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_there_when_it_is_kept_and_not_before() {
        let root = tempfile::tempdir().unwrap();
        let folders = Arc::new(Folders::take(root.path()).unwrap());
        let inbox = Inbox::new(folders.clone());
        let incoming = || folders::names(&folders.incoming()).unwrap();
        let mut one = inbox.begin().unwrap();
        one.write_all(b"half").unwrap();
        assert_eq!(incoming().len(), 1);
        drop(one);
        assert!(incoming().is_empty());
        let mut one = inbox.begin().unwrap();
        one.write_all(b"whole").unwrap();
        one.keep("../CT 1@\\").unwrap();
        let names = incoming();
        assert_eq!(origin(&names[0]).as_deref(), Some("../CT 1@\\"));
        assert_eq!(fs::read(folders.incoming().join(&names[0])).unwrap(), b"whole");
    }
}
