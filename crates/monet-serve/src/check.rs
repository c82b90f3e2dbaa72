//! Whether a configuration can work on this machine: addresses, folders, space, certificates,
//! peers.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::config::{Config, Destination};
use crate::depart;
use crate::folders::{self, Folders};
use crate::tls;

/// How long a peer's echo may take.
const ECHO: Duration = Duration::from_secs(10);

/// What was looked at, and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// Whether it can work.
    pub good: bool,
    /// How it is.
    pub found: String,
}

impl Finding {
    /// Of a result whose error is what is wrong.
    pub fn of<E: ToString>(what: impl Into<String>, result: Result<String, E>) -> Self {
        let good = result.is_ok();
        let found = result.unwrap_or_else(|error| error.to_string());
        Self { what: what.into(), good, found }
    }
}

/// Looks at all but the packages.
#[must_use]
pub fn check(config: &Config) -> Vec<Finding> {
    let running = is_running(&config.folder);
    let mut all = vec![Finding::of(
        config.folder.display().to_string(),
        writable(&config.folder).map(|()| space(config)),
    )];
    let listener = config.listen.as_ref().map(|listen| ("listener", listen.address));
    let page = config.page.as_ref().map(|page| ("status page", page.address));
    for (what, address) in listener.into_iter().chain(page) {
        all.push(Finding::of(format!("{what} {address}"), port(address, running)));
    }
    if let Some(path) = config.page.as_ref().and_then(|page| page.password_file.as_ref()) {
        let found = match fs::read_to_string(path) {
            Ok(text) if text.trim_end().is_empty() => Err("it is empty".to_owned()),
            Ok(_) => Ok("there is a password".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        all.push(Finding::of(format!("password file {}", path.display()), found));
    }
    all.extend(tls::findings(config));
    for watch in &config.watch {
        let found = existing(&watch.folder).and_then(|()| writable(&watch.folder));
        let found = found.map(|()| "files can be taken from it".to_owned());
        all.push(Finding::of(format!("watch folder {}", watch.folder.display()), found));
    }
    if config.destination.is_empty() {
        let done = config.folder.join("done");
        let found = format!("none: results go nowhere, and stay in {}", done.display());
        all.push(Finding::of::<String>("destinations", Ok(found)));
    }
    for to in &config.destination {
        all.push(Finding::of(format!("destination {}", to.name), reach(to)));
    }
    all
}

fn is_running(folder: &Path) -> bool {
    Folders::is_taken(folder)
}

fn existing(folder: &Path) -> io::Result<()> {
    let there = fs::metadata(folder)?.is_dir();
    if there { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// Whether files can be made, kept and removed there. The service makes its own folder itself.
fn writable(folder: &Path) -> io::Result<()> {
    let there = folder.ancestors().find(|path| path.is_dir()).unwrap_or(folder);
    let probe = folders::unfinished(there);
    fs::write(&probe, b"monet doctor")?;
    fs::remove_file(probe)?;
    folders::sync(there)
}

fn space(config: &Config) -> String {
    let there = config.folder.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    match Folders::of(there).space() {
        Ok((used, mib)) => {
            let full = used >= f64::from(config.keep.full_percent)
                || mib < u64::from(config.keep.free_mib);
            let full = if full { ": over the mark, nothing new is taken" } else { "" };
            format!("can be written; the disk is used to {used:.0} %, {mib} MiB are free{full}")
        }
        Err(error) => error.to_string(),
    }
}

fn port(address: SocketAddr, running: bool) -> io::Result<String> {
    match TcpListener::bind(address) {
        Ok(_) => Ok("free".into()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && running => {
            Ok("the running service has it".into())
        }
        Err(error) => Err(error),
    }
}

fn reach(to: &Destination) -> Result<String, String> {
    match &to.folder {
        Some(folder) if folder.is_dir() => writable(folder)
            .map(|()| format!("{} can be written", folder.display()))
            .map_err(|error| format!("{}: {error}", folder.display())),
        Some(folder) => Err(format!("{}: there is no such folder", folder.display())),
        None => {
            let about = depart::echo(to, ECHO).map_err(|error| error.to_string())?;
            let Some(version) = about.version else { return Ok("answers C-ECHO".to_owned()) };
            let answers = format!("answers C-ECHO over {version}");
            match about.valid {
                Some(Ok(left)) => Ok(format!("{answers}; its certificate: {left}")),
                Some(Err(left)) => Err(format!("{answers}; its certificate: {left}")),
                None => Ok(answers),
            }
        }
    }
}
