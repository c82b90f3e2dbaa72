//! Whether a configuration can work on this machine: addresses, folders, space, certificates,
//! peers.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::config::{AeTitle, Config, Destination};
use crate::depart;
use crate::folders::{self, Folders};
use crate::owner::Owner;
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

/// Looks at all but the packages, and the machine's cores and memory.
#[must_use]
pub fn check(config: &Config) -> Vec<Finding> {
    let running = Owner::of(&config.folder);
    let mut all = vec![Finding::of(
        config.folder.display().to_string(),
        writable(&config.folder).map(|()| space(config)),
    )];
    let listener = config.listen.as_ref().map(|listen| ("listener", listen.address));
    let page = config.page_address().map(|address| ("status page", address));
    for (what, address) in listener.into_iter().chain(page) {
        all.push(Finding::of(format!("{what} {address}"), port(address, running.as_ref())));
    }
    all.extend(tls::findings(config));
    all.extend(quick(config));
    if config.destination.is_empty() {
        let done = config.folder.join("done");
        let found = format!("none: results go nowhere, and stay in {}", done.display());
        all.push(Finding::of::<String>("destinations", Ok(found)));
    }
    // Folders that are not there are among what is told at once.
    let there =
        |to: &&Destination| to.folder.as_ref().is_none_or(|folder| existing(folder).is_ok());
    for to in config.destination.iter().filter(there) {
        all.push(Finding::of(format!("destination {}", to.name), reach(to)));
    }
    all.extend(gone(config));
    all
}

/// Looks at what can be told without calling anybody: what the service names when it starts, too.
/// It leaves out certificates: the running service looks at them itself, first when it starts.
#[must_use]
pub fn quick(config: &Config) -> Vec<Finding> {
    let mut all = Vec::new();
    if let Some(path) = config.page.as_ref().and_then(|page| page.password_file.as_ref()) {
        let found = match fs::read_to_string(path) {
            Ok(text) if text.trim_end().is_empty() => Err("it is empty".to_owned()),
            Ok(_) => Ok("there is a password".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        all.push(Finding::of(format!("password file {}", path.display()), found));
    }
    for watch in &config.watch {
        let found = existing(&watch.folder).and_then(|()| writable(&watch.folder));
        let found = found.map(|()| "files can be taken from it".to_owned());
        all.push(Finding::of(format!("watch folder {}", watch.folder.display()), found));
    }
    for (to, folder) in config.destination.iter().filter_map(|to| Some((to, to.folder.as_ref()?))) {
        if let Err(error) = existing(folder) {
            let what = format!("destination {}, folder {}", to.name, folder.display());
            all.push(Finding::of::<io::Error>(what, Err(error)));
        }
    }
    all.extend(senders(config));
    all.extend(unserved(config));
    all
}

/// Titles that the configuration gives rights to, or work, and that nobody can bear who is let in.
fn senders(config: &Config) -> Vec<Finding> {
    let callers = config.listen.as_ref().map(|listen| &listen.callers);
    if callers.is_some_and(Vec::is_empty) {
        return Vec::new();
    }
    let watched = config.watch.iter().map(|watch| &watch.name);
    let known: Vec<&AeTitle> = callers.into_iter().flatten().chain(watched).collect();
    let urgent = config.jobs.urgent.iter().map(|title| ("jobs.urgent", title));
    let from = config.rule.iter().flat_map(|rule| &rule.from).map(|title| ("rule.from", title));
    urgent
        .chain(from)
        .filter(|(_, title)| !known.contains(title))
        .map(|(field, title)| {
            let found = "is neither in listen.callers nor the name of a [[watch]]";
            Finding::of::<&str>(format!("{field} {}", title.as_str()), Err(found))
        })
        .collect()
}

/// Destinations that no rule makes anything for.
fn unserved(config: &Config) -> Vec<Finding> {
    let is_served = |to: &Destination| {
        let mut rules = config.rule.iter();
        rules.any(|rule| rule.outputs.iter().any(|output| to.takes(&rule.to, *output)))
    };
    let left = config.destination.iter().filter(|to| !is_served(to));
    left.map(|to| {
        let found = "no [[rule]] makes anything that goes there";
        Finding::of::<&str>(format!("destination {}", to.name), Err(found))
    })
    .collect()
}

/// Destinations that the configuration has not any more, and for which studies wait.
fn gone(config: &Config) -> Vec<Finding> {
    let folders = Folders::of(&config.folder);
    let all = depart::tally(&folders, &config.destination).unwrap_or_default();
    all.into_iter()
        .filter(|(_, tally)| !tally.known)
        .map(|(to, tally)| {
            let found = format!("{} studies wait for {}", tally.waiting, depart::gone(&to));
            Finding::of::<String>(format!("destination {to}"), Err(found))
        })
        .collect()
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

fn port(address: SocketAddr, running: Option<&Owner>) -> Result<String, String> {
    let error = match TcpListener::bind(address) {
        Ok(_) => return Ok("free".into()),
        Err(error) => error,
    };
    match running.filter(|_| error.kind() == io::ErrorKind::AddrInUse) {
        Some(owner) if owner.has(address) => {
            Ok(format!("the running service, process {}, has it", owner.process))
        }
        Some(owner) => Err(format!(
            "another program has it, not the running service (process {})",
            owner.process
        )),
        None => Err(error.to_string()),
    }
}

fn reach(to: &Destination) -> Result<String, String> {
    match &to.folder {
        Some(folder) => writable(folder)
            .map(|()| format!("{} can be written", folder.display()))
            .map_err(|error| format!("{}: {error}", folder.display())),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("box.toml");
        fs::write(&path, format!("folder = \"/nowhere/data\"\n{text}")).unwrap();
        Config::load(&path).unwrap()
    }

    #[test]
    fn a_port_is_the_services_only_where_it_says_so() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let owner = Owner { process: 7, addresses: vec![address] };
        assert!(port(address, Some(&owner)).unwrap().contains("process 7"));
        let other = Owner { process: 7, addresses: Vec::new() };
        assert!(port(address, Some(&other)).unwrap_err().contains("another program"));
        assert!(port(address, None).is_err());
        drop(taken);
        assert_eq!(port(address, Some(&other)).as_deref(), Ok("free"));
    }

    #[test]
    fn what_is_suspicious_is_named() {
        let listen = "[listen]\nae_titles = [\"M\"]\ncallers = [\"CT1\"]\n";
        let rule = "[[rule]]\nfrom = [\"CT1\", \"CT2\"]\noutputs = [\"nifti\"]\n";
        let to = "[[destination]]\nname = \"share\"\nfolder = \"/nowhere/out\"\n\
                  [[destination]]\nname = \"pacs\"\naddress = \"h:1\"\nae_title = \"P\"\n";
        let jobs = "[jobs]\nurgent = [\"MR9\"]\n";
        let found = quick(&config(&format!("{listen}{rule}{to}{jobs}")));
        let bad: Vec<&str> = found.iter().filter(|f| !f.good).map(|f| f.what.as_str()).collect();
        assert_eq!(
            bad,
            [
                "destination share, folder /nowhere/out",
                "jobs.urgent MR9",
                "rule.from CT2",
                "destination pacs"
            ]
        );
    }

    #[test]
    fn a_folder_that_is_missing_is_named_once() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[[watch]]\nname = \"W\"\nfolder = \"/nowhere/in\"\n\
                    [[rule]]\noutputs = [\"nifti\"]\n\
                    [[destination]]\nname = \"share\"\nfolder = \"/nowhere/out\"\n";
        let mut config = config(text);
        config.folder = folder.path().to_owned();
        let found = check(&config);
        let own: Vec<_> = found.iter().filter(|f| f.what.contains("destination share")).collect();
        let [missing] = &own[..] else { panic!("{own:?}") };
        assert!(missing.what.ends_with("/nowhere/out") && !missing.good);
    }
}
