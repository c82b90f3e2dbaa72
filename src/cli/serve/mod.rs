//! `monet serve`: the machine as an appliance; with the processes that it starts and `monet queue`,
//! which looks at its folders.

mod queue;
mod rule;
mod study;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use monet::measure::Machine;
use monet::text::shown;
use monet_serve::check::{self, Finding};
use monet_serve::config::{Config, Rule};
use monet_serve::log::Log;
use monet_serve::{Program, Service, sort};

pub(super) use queue::{QueueArgs, run as run_queue};
pub(super) use study::{StudyArgs, run as run_study};

use super::{Outcome, child};

/// Where the configuration is when nothing else is said.
const CONFIG: &str = "/etc/monet/box.toml";
/// How often the supervisor is told that all threads live.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Address space of the process that reads headers.
const SORT_BYTES: u64 = 256 << 20;
/// Seconds for one header.
const SORT_SECONDS: u32 = 30;

const EXAMPLES: &str = "\
Examples:
  monet serve /etc/monet/box.toml
  monet queue list                         # what waits, runs, is done and has failed";

/// Segment whatever arrives, and deliver the results: for years, with nobody looking
///
/// Images arrive by DICOM network or in watch folders; results leave to DICOM peers or folders.
/// SIGTERM and SIGINT end the service; the next start goes on where it was.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeArgs {
    /// Configuration
    #[arg(value_name = "CONFIG.toml", default_value = CONFIG)]
    config: PathBuf,
}

/// Tell the studies of a folder's instances for `monet serve`
#[derive(Debug, Args)]
pub(super) struct SortArgs {
    /// The folder
    folder: PathBuf,
}

/// Runs the command until a signal ends it.
///
/// # Errors
/// A configuration that is refused, folders that another service has, an address that is taken.
pub(super) fn run(args: &ServeArgs) -> Result<Outcome> {
    let config = Config::load(&args.config)?;
    let log = Log::stderr(config.log.json);
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
        .context("signals cannot be listened for")?;
    rule::start(&config, &log)?;
    warn(&config, &log);
    let folder = config.folder.clone();
    let service = Service::new(config, program(&folder)?, log.clone(), stop.clone())
        .map_err(|error| explained(error, &folder))?;
    log.info("started", &[("version", &env!("CARGO_PKG_VERSION")), ("folder", &shown(&folder))]);
    tell("READY=1");
    let watched = thread::scope(|scope| {
        scope.spawn(|| watch(&service, &log, &stop));
        let done = service.run();
        stop.store(true, Ordering::Relaxed);
        done
    });
    tell("STOPPING=1");
    watched.with_context(|| format!("{}: what is left there cannot be read", shown(&folder)))?;
    log.info("stopped", &[]);
    Ok(Outcome::Done)
}

/// Whether a configuration can work on this machine, its packages included.
///
/// # Errors
/// A configuration that is refused.
pub(super) fn check(config: &Path) -> Result<Vec<Finding>> {
    let config = Config::load(config)?;
    let mut all = check::check(&config);
    all.extend(rules(&config).map(|(number, rule)| package(&config, number, rule)));
    all.extend(machine(&config));
    Ok(all)
}

/// The rules with their numbers, as people count.
fn rules(config: &Config) -> impl Iterator<Item = (usize, &Rule)> {
    (1..).zip(&config.rule)
}

/// Whether a rule's package is there.
fn package(config: &Config, number: usize, rule: &Rule) -> Finding {
    let what = match (&rule.model, &rule.package) {
        (Some(name), _) => format!("rule {number}, model {name}"),
        (_, Some(path)) => format!("rule {number}, package {}", shown(path)),
        _ => format!("rule {number}, embedded package"),
    };
    let found = rule::choose(config, rule).map(|chosen| {
        format!("{} {}", chosen.package.manifest.name, chosen.package.manifest.version)
    });
    Finding::of(what, found.map_err(|error| format!("{error:#}")))
}

/// Whether the machine has what jobs are promised.
fn machine(config: &Config) -> Vec<Finding> {
    let (machine, jobs) = (Machine::this(), &config.jobs);
    let mut all = Vec::new();
    let threads = usize::from(jobs.threads) * usize::from(jobs.parallel);
    if threads > machine.cores {
        let found = format!("{threads} threads together; the machine has {} cores", machine.cores);
        all.push(Finding::of::<String>("jobs.parallel and jobs.threads", Err(found)));
    }
    let mib = u64::from(jobs.memory_mib) * u64::from(jobs.parallel);
    if let Some(has) = machine.memory_bytes.map(|bytes| bytes >> 20).filter(|has| mib > *has) {
        let found = format!("{mib} MiB for jobs together; the machine has {has} MiB");
        all.push(Finding::of::<String>("jobs.parallel and jobs.memory_mib", Err(found)));
    }
    all
}

/// Names at the start what of a configuration may not work: it may come to work, as a mount does.
fn warn(config: &Config, log: &Log) {
    let mut all = check::quick(config);
    // `rule::start` has just loaded what is installed, and the embedded package is always there.
    let files = rules(config).filter(|(_, rule)| rule.package.is_some());
    all.extend(files.map(|(number, rule)| package(config, number, rule)));
    all.extend(machine(config));
    for Finding { what, found, .. } in all.iter().filter(|finding| !finding.good) {
        log.warning("configuration", &[("what", what), ("found", found)]);
    }
}

fn explained(error: io::Error, folder: &Path) -> anyhow::Error {
    let what = match error.kind() {
        io::ErrorKind::ResourceBusy => "another service works there: stop it, or name another",
        _ => "the service cannot start there",
    };
    anyhow::Error::new(error).context(format!("{}: {what}", shown(folder)))
}

/// This program, which the service starts for what may go wrong.
fn program(folder: &Path) -> Result<Program> {
    let own = std::env::current_exe().context("this program does not know where it is")?;
    let own = own.into_os_string().into_string().ok().context("this program's path is no text")?;
    let incoming = folder.join("incoming").into_os_string().into_string();
    let incoming = incoming.ok().context("the folder's path is no text")?;
    Ok(Program {
        version: env!("CARGO_PKG_VERSION"),
        sort: vec![own.clone(), "sort-instances".into(), incoming],
        process: vec![own, "segment-study".into()],
    })
}

/// Tells the supervisor once a second that all threads live; one that does not is named, and the
/// supervisor starts the service anew.
fn watch(service: &Service, log: &Log, stop: &AtomicBool) {
    let mut told = false;
    while !stop.load(Ordering::Relaxed) {
        match service.stuck() {
            None => tell("WATCHDOG=1"),
            Some(what) if !told => {
                log.error("stuck", &[("thread", &what)]);
                told = true;
            }
            Some(_) => {}
        }
        thread::sleep(HEARTBEAT);
    }
}

/// Tells systemd, if it listens (sd_notify(3)).
fn tell(state: &str) {
    #[cfg(unix)]
    let _ = notify(state);
    #[cfg(not(unix))]
    let _ = state;
}

#[cfg(unix)]
fn notify(state: &str) -> io::Result<()> {
    use std::os::unix::net::UnixDatagram;

    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_encoded_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return socket.send_to_addr(state.as_bytes(), &address).map(drop);
    }
    socket.send_to(state.as_bytes(), address).map(drop)
}

/// Answers for instances until there are no more.
///
/// # Errors
/// A request that cannot be read, an answer that cannot be written.
pub(super) fn run_sort(args: &SortArgs) -> Result<Outcome> {
    child::bind(SORT_BYTES)?;
    let busy = |busy| child::end_in(if busy { SORT_SECONDS } else { 0 });
    sort::answer(&args.folder, &mut io::stdin().lock(), &mut io::stdout().lock(), busy)?;
    Ok(Outcome::Done)
}
