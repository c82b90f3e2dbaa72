//! `monet model`: packages on an unattended machine, signed, in two slots each.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use monet::engine::{Against, Cause, PackageCheck};
use monet::models::{
    self, Choice, Content, Current, Entry, Install, Keys, Signed, Slot, SlotName, State, Store,
    Switched,
};
use monet::package::Package;
use monet::text::{exact, plain, shown};
use serde::Serialize;

use super::{Outcome, nets, terminal};

const EXAMPLES: &str = "\
Examples:
  monet model install liver-1.3.plan            # with liver-1.3.plan.minisig beside it
  monet model list
  monet model rollback liver
  monet segment scan.nii.gz -o mask.nii.gz --model \"$(monet model path liver)\"

A maker signs with: minisign -S -s maker.key -m liver-1.3.plan \\
  -t 'monet name=liver version=1.3 serial=7'";

/// Install, list and switch the signed packages of an unattended machine
///
/// Each package has two slots. What is installed counts only when its signature is right and its
/// self-test has passed; until then, and after a power cut at any moment, the one before it runs.
/// Run it as the user of the service, whose the store is.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ModelArgs {
    /// Folder of the packages
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "MONET_MODELS",
        default_value = "/var/lib/monet/models"
    )]
    store: PathBuf,
    /// Folder of the makers' keys, as minisign writes them (*.pub); a file named `locked` in it
    /// forbids unsigned packages
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "MONET_KEYS",
        default_value = "/etc/monet/keys"
    )]
    keys: PathBuf,
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    /// Check a package's signature, run its self-test, and make it current
    Install(InstallArgs),
    /// List the packages, their slots and what is current
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a slot current: a, b, or the one that has this version
    Use {
        /// Name of the package
        name: String,
        /// The slot
        #[arg(value_name = "a|b|VERSION")]
        slot: String,
        #[command(flatten)]
        engine: nets::EngineArgs,
    },
    /// Go back to the slot that is not current
    Rollback {
        /// Name of the package
        name: String,
        #[command(flatten)]
        engine: nets::EngineArgs,
    },
    /// Check hashes and signatures of what is installed
    Verify {
        /// Names of packages; all when not given
        names: Vec<String>,
    },
    /// Print the path of the current package, for --model
    Path {
        /// Name of the package
        name: String,
    },
    /// Remove a package; older ones than it are refused afterwards, too
    Remove {
        /// Name of the package
        name: String,
    },
}

#[derive(Debug, Args)]
struct InstallArgs {
    /// A plan (`monet compile --self-test`), an image, or a manifest beside its ONNX file
    #[arg(value_name = "FILE")]
    package: PathBuf,
    /// Its signature; FILE.minisig when not given
    #[arg(long, value_name = "FILE.minisig", conflicts_with = "unsigned")]
    signature: Option<PathBuf>,
    /// Take it without a signature
    #[arg(long)]
    unsigned: bool,
    /// Take it although its serial is below the highest that was good here
    #[arg(long)]
    allow_older: bool,
    #[command(flatten)]
    engine: nets::EngineArgs,
}

/// A slot in `list --json`.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    slot: SlotName,
    current: bool,
    path: String,
    #[serde(flatten)]
    content: RowContent<'a>,
    /// The highest serial that ever passed its self-test here.
    floor: u64,
}

/// What is in it.
#[derive(Serialize)]
#[serde(untagged)]
enum RowContent<'a> {
    Package {
        version: &'a str,
        serial: Option<u64>,
        key: Option<&'a str>,
        state: State,
        starts: u32,
        reason: Option<&'a str>,
        sha256: &'a str,
    },
    Damaged {
        damaged: String,
    },
}

/// Runs the command.
///
/// # Errors
/// A package that is refused, a store that cannot be read or written.
pub(super) fn run(args: &ModelArgs) -> Result<Outcome> {
    let store = Store::open(&args.store, &args.keys);
    match &args.command {
        ModelCommand::Install(install) => run_install(&store, args, install)?,
        ModelCommand::List { json } => list(&store, *json)?,
        ModelCommand::Use { name, slot, engine } => {
            let choice = slot.parse().map_or(Choice::Version(slot.clone()), Choice::Slot);
            tell_switch(&store.choose(name, &choice, &mut |p, package| test(engine, p, package))?)?;
        }
        ModelCommand::Rollback { name, engine } => {
            tell_switch(&store.rollback(name, &mut |p, package| test(engine, p, package))?)?;
        }
        ModelCommand::Verify { names } => return verify(&store, args, names),
        ModelCommand::Path { name } => {
            let current = store.current(name)?;
            let current = current.ok_or_else(|| store.not_installed(name))?;
            terminal::print(&format!("{}\n", current.path.display()))?;
        }
        ModelCommand::Remove { name } => {
            store.remove(name)?;
            let floor = store.entry(name)?.floor;
            terminal::print(&format!("{name}: removed; serials below {floor} stay refused\n"))?;
        }
    }
    Ok(Outcome::Done)
}

fn run_install(store: &Store, args: &ModelArgs, install: &InstallArgs) -> Result<()> {
    warn_of_keys(&args.keys)?;
    let signed = match &install.signature {
        Some(path) => Signed::By(path.clone()),
        None if install.unsigned => Signed::Not,
        None => Signed::Beside,
    };
    let package = install.package.clone();
    let request = Install { package, signed, allow_older: install.allow_older };
    let done =
        store.install(&request, &mut |path, package| test(&install.engine, path, package))?;
    let Current { record, slot, .. } = &done.current;
    if install.unsigned {
        terminal::warn("the package was taken without a signature");
    }
    if let Some(floor) = done.floor {
        warn_of_floor(record, floor);
    }
    let mut text = format!("{}: current, in slot {slot}", what(record));
    match &done.check {
        Some(check) => write!(text, "; self-test {}", how(check))?,
        None => text += "; was current before, nothing was done",
    }
    if let Some(before) = &done.before {
        let back = format!("monet model rollback {}", record.name);
        write!(text, "\n{} stays in slot {}: `{back}` goes back", before.version, slot.other())?;
    }
    terminal::print(&(text + "\n"))
}

/// The self-test with the engine that this machine would choose.
fn test(engine: &nets::EngineArgs, path: &Path, package: &Package) -> Result<PackageCheck, Cause> {
    let mut factory = nets::factory(Some(path), engine, package, || false)?;
    Ok(models::test_with(package, &mut factory)?)
}

fn tell_switch(done: &Switched) -> Result<()> {
    let Current { record, slot, .. } = &done.current;
    if let Some(floor) = done.floor {
        warn_of_floor(record, floor);
    }
    let already = if done.already { " already" } else { "" };
    let how = how(&done.check);
    terminal::print(&format!(
        "{}: current{already}, in slot {slot}; self-test {how}\n",
        what(record)
    ))
}

fn warn_of_floor(record: &Slot, floor: u64) {
    let Slot { name, version, serial, .. } = record;
    let serial = serial.unwrap_or_default();
    terminal::warn(format_args!(
        "{name} {} has serial {serial}, below {floor}, the highest that was good here",
        plain(version)
    ));
}

fn warn_of_keys(folder: &Path) -> Result<()> {
    for name in Keys::read(folder)?.unreadable() {
        let path = folder.join(name);
        terminal::warn(format_args!(
            "{}: is no key of minisign's, and is passed over: expected two lines, as in the .pub \
             file that `minisign -G` writes",
            shown(&path)
        ));
    }
    Ok(())
}

fn what(record: &Slot) -> String {
    let Slot { name, version, serial, key, .. } = record;
    let by = match (serial, key) {
        (Some(serial), Some(key)) => format!("serial {serial}, signed by {}", plain(key)),
        _ => "unsigned".to_owned(),
    };
    format!("{name} {} ({by})", plain(version))
}

fn how(check: &PackageCheck) -> String {
    let against = match check.against {
        Against::Manifest => "labels as the maker recorded them",
        Against::Scalar => "labels as by the scalar kernel; the package records none",
        Against::Nothing => "the net ran; the package records no labels to compare with",
    };
    format!("passed on {} ({against})", plain(&check.engine))
}

fn list(store: &Store, json: bool) -> Result<()> {
    let all = store.list()?;
    if json {
        let rows: Vec<Row<'_>> = all.iter().flat_map(|entry| rows(store, entry)).collect();
        return terminal::print(&monet::measure::json(&rows));
    }
    let mut text = format!(
        "{:<24} {:<4} {:<7} {:<12} {:>8} {:<7} {}\n",
        "name", "slot", "current", "version", "serial", "state", "signed by"
    );
    for entry in &all {
        lines(entry, &mut text)?;
    }
    if store.locked().is_some() {
        text += "locked: nothing unsigned is installed or run\n";
    }
    terminal::print(&text)
}

/// A package's slots as lines.
fn lines(entry: &Entry, text: &mut String) -> Result<()> {
    for (slot, content) in SlotName::ALL.into_iter().zip(&entry.slots) {
        let current = if entry.current == Some(slot) { "current" } else { "" };
        let name = &entry.name;
        match content {
            Content::Package(Slot { version, serial, state, key, reason, .. }) => {
                let serial = serial.map_or("-".to_owned(), |serial| serial.to_string());
                let key = plain(key.as_deref().unwrap_or("nobody"));
                let version = plain(version);
                writeln!(
                    text,
                    "{name:<24} {slot:<4} {current:<7} {version:<12} {serial:>8} {state:<7} {key}"
                )?;
                if let Some(reason) = reason {
                    writeln!(text, "{:29} failed: {}", "", plain(reason))?;
                }
            }
            Content::Damaged(error) => {
                let error = error.to_string();
                writeln!(text, "{name:<24} {slot:<4} {current:<7} damaged: {}", plain(&error))?;
            }
            Content::Empty => {}
        }
    }
    Ok(())
}

/// A package's slots for JSON.
fn rows<'a>(store: &Store, entry: &'a Entry) -> Vec<Row<'a>> {
    let slots = SlotName::ALL.into_iter().zip(&entry.slots);
    let row = |(slot, content): (SlotName, &'a Content)| {
        let (content, file) = match content {
            Content::Package(record) => {
                let Slot { version, serial, key, state, starts, reason, sha256, .. } = record;
                let (key, reason) = (key.as_deref(), reason.as_deref());
                let (serial, state, starts) = (*serial, *state, *starts);
                let content =
                    RowContent::Package { version, serial, key, state, starts, reason, sha256 };
                (content, Some(&*record.file))
            }
            Content::Damaged(error) => (RowContent::Damaged { damaged: error.to_string() }, None),
            Content::Empty => return None,
        };
        let folder = store.folder().join(&entry.name).join(slot.as_str());
        let path = exact(&file.map_or(folder.clone(), |file| folder.join(file)));
        let current = entry.current == Some(slot);
        Some(Row { name: &entry.name, slot, current, path, content, floor: entry.floor })
    };
    slots.filter_map(row).collect()
}

/// Checks slots; a current one that is not sound makes it fail.
fn verify(store: &Store, args: &ModelArgs, names: &[String]) -> Result<Outcome> {
    warn_of_keys(&args.keys)?;
    let names = if names.is_empty() { store.names()? } else { names.to_vec() };
    let (mut text, mut failed) = (String::new(), false);
    for name in &names {
        let entry = store.entry(name)?;
        for (slot, content) in SlotName::ALL.into_iter().zip(&entry.slots) {
            if matches!(content, Content::Empty) {
                continue;
            }
            let is_current = entry.current == Some(slot);
            let current = if is_current { " (current)" } else { "" };
            match store.check(name, slot) {
                Ok(found) => {
                    writeln!(text, "{name} {slot}{current}: sound, {}", what(&found.record))?;
                }
                Err(error) => {
                    failed |= is_current;
                    let error = format!("{:#}", anyhow::Error::new(error));
                    writeln!(text, "{name} {slot}{current}: NOT SOUND: {}", plain(&error))?;
                }
            }
        }
    }
    terminal::print(&text)?;
    Ok(if failed { Outcome::Failed } else { Outcome::Done })
}
