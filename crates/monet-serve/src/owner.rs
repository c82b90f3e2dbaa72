//! Who has the folders: what the running service says of itself in the file that it holds locked.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// The file.
pub(crate) const LOCK: &str = "lock";
/// Longest content of the file that is read.
const MAX: u64 = 4 << 10;

/// A running service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The number of its process.
    pub process: u32,
    /// The addresses at which it listens.
    pub addresses: Vec<SocketAddr>,
}

impl Owner {
    /// This process, which listens at these addresses.
    pub(crate) fn this(addresses: Vec<SocketAddr>) -> Self {
        Self { process: std::process::id(), addresses }
    }

    /// The service that has these folders now, if one has them. Of one that has said nothing of
    /// itself, nothing is known.
    #[must_use]
    pub fn of(root: &Path) -> Option<Self> {
        let mut lock = File::open(root.join(LOCK)).ok()?;
        if flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
            return None;
        }
        let mut text = String::new();
        let read = Read::by_ref(&mut lock).take(MAX).read_to_string(&mut text);
        Some(read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// Whether the service has an address, or one that takes its connections, too.
    #[must_use]
    pub fn has(&self, address: SocketAddr) -> bool {
        self.addresses.iter().any(|own| overlap(*own, address))
    }

    /// Says it in the file, which this process holds locked.
    pub(crate) fn say(&self, mut lock: &File) -> io::Result<()> {
        lock.set_len(0)?;
        lock.rewind()?;
        lock.write_all(&serde_json::to_vec(self)?)
    }
}

/// Whether two addresses cannot be listened at by two programs.
#[must_use]
pub fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && (any || a.ip() == b.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders::Folders;

    #[test]
    fn a_service_says_where_it_listens_while_it_lives() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Owner::of(root.path()), None);
        let folders = Folders::take(root.path()).unwrap();
        assert_eq!(Owner::of(root.path()), Some(Owner::default()));
        let long = "[::1]:1".parse().unwrap();
        folders.say(&Owner::this(vec![long, long])).unwrap();
        let own = Owner::this(vec!["0.0.0.0:11112".parse().unwrap()]);
        folders.say(&own).unwrap();
        let found = Owner::of(root.path()).unwrap();
        assert_eq!(found, own);
        assert!(found.has("127.0.0.1:11112".parse().unwrap()));
        assert!(!found.has("127.0.0.1:11113".parse().unwrap()));
        drop(folders);
        assert_eq!(Owner::of(root.path()), None);
    }
}
