//! `monet queue`: what a service has in its folders, and what a person does with it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use monet::text::plain;
use monet_serve::config::{Config, Destination};
use monet_serve::depart::{self, Tally};
use monet_serve::folders::{Folders, Stage};
use monet_serve::queue;
use monet_serve::status::{self, Counts, Entry};
use serde::Serialize;

use super::super::{Outcome, terminal};
use super::CONFIG;

const EXAMPLES: &str = "\
Examples:
  monet queue list
  monet queue show 1-000000042-1.2.840.113619.2.1
  monet queue retry 1-000000042-1.2.840.113619.2.1
  monet queue drop old-pacs                # not in the configuration any more
  monet queue --config box.toml list --json";

/// Look at the studies of `monet serve`: list, show, retry, drop, discard
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct QueueArgs {
    /// The service's configuration
    #[arg(long, value_name = "FILE.toml", default_value = CONFIG, global = true)]
    config: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// How many studies are where, and the newest of each
    List {
        /// At most so many of each
        #[arg(long, value_name = "N", default_value_t = 20)]
        most: usize,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// All about one study
    Show {
        /// Its name, as `list` has it
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a study go through again: deliver what was not delivered, or segment it anew
    Retry {
        /// Their names, as `list` has them
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Drop what a destination was still to get that the configuration does not have any more
    Drop {
        /// The destination's name
        destination: String,
    },
    /// Remove a study
    Discard {
        /// Their names, as `list` has them
        #[arg(required = true)]
        names: Vec<String>,
        /// Even if its results have not arrived everywhere
        #[arg(long)]
        force: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// A configuration that is refused, a study that is not there, what the system says.
pub(crate) fn run(args: &QueueArgs) -> Result<Outcome> {
    let config = Config::load(&args.config)?;
    let folders = Folders::of(&config.folder);
    match &args.what {
        What::List { most, json } => list(&folders, &config.destination, *most, *json)?,
        What::Show { name, json } => show(&folders, &config.destination, name, *json)?,
        What::Drop { destination } => {
            let count = queue::drop_deliveries(&folders, &config.destination, destination)?;
            let text = format!("{destination}: deliveries of {count} studies dropped\n");
            terminal::print(&text)?;
        }
        What::Retry { names } => {
            for name in names {
                let stage = queue::retry(&folders, name)?;
                terminal::print(&format!("{name}: {}\n", stage.name()))?;
            }
        }
        What::Discard { names, force } => {
            for name in names {
                queue::discard(&folders, name, *force)?;
                terminal::print(&format!("{name}: removed\n"))?;
            }
        }
    }
    Ok(Outcome::Done)
}

#[derive(Serialize)]
struct Listing {
    counts: Counts,
    destinations: BTreeMap<String, Tally>,
    studies: Vec<Entry>,
}

fn list(folders: &Folders, to: &[Destination], most: usize, as_json: bool) -> Result<()> {
    let unread = "the folders cannot be looked through";
    let counts = Counts::of(folders).context(unread)?;
    let destinations = depart::tally(folders, to).context(unread)?;
    let mut studies = Vec::new();
    for stage in Stage::ALL {
        studies.extend(status::entries(folders, to, stage, most).context(unread)?);
    }
    if as_json {
        let text = serde_json::to_string_pretty(&Listing { counts, destinations, studies })?;
        return terminal::print(&format!("{text}\n"));
    }
    let Counts { incoming, growing, waiting, outgoing, done, failed } = counts;
    let mut text = format!(
        "{incoming} instances incoming, {growing} studies growing, {waiting} waiting, {outgoing} \
         outgoing, {done} done, {failed} failed\n"
    );
    for (name, tally) in &destinations {
        if let Some(line) = destination(name, tally) {
            writeln!(text, "{}", plain(&line))?;
        }
    }
    for entry in &studies {
        let made = entry.summary.as_ref().map_or(0, |summary| summary.results.len());
        let from: Vec<_> = entry.case.from.iter().map(|from| plain(from)).collect();
        let reason = entry.reason.as_deref().and_then(|reason| reason.lines().next());
        let reason = reason.map_or(String::new(), |reason| format!("  {}", plain(reason)));
        writeln!(
            text,
            "{:8} {}  {} instances from {}, {made} results{reason}",
            entry.stage,
            entry.name,
            entry.case.instances,
            from.join(", ")
        )?;
        for wait in &entry.waits {
            writeln!(text, "           {}", plain(&wait.told()))?;
        }
    }
    terminal::print(&text)
}

/// What there is to say of a destination, if there is something.
fn destination(name: &str, tally: &Tally) -> Option<String> {
    let waiting = tally.waiting;
    if !tally.known {
        return Some(format!("{waiting} studies wait for {}", depart::gone(name)));
    }
    let attempt = tally.attempt.as_ref()?;
    Some(format!("{name} cannot be reached, {waiting} studies wait for it: {}", attempt.error))
}

fn show(folders: &Folders, to: &[Destination], name: &str, as_json: bool) -> Result<()> {
    let stage = queue::find(folders, name)?;
    let entry = status::entry(folders, to, stage, name)?;
    if as_json {
        return terminal::print(&format!("{}\n", serde_json::to_string_pretty(&entry)?));
    }
    let mut text = format!("{name}\n  {}\n", entry.stage);
    let from: Vec<_> = entry.case.from.iter().map(|from| plain(from)).collect();
    writeln!(text, "  {} instances from {}", entry.case.instances, from.join(", "))?;
    if let Some(earlier) = &entry.case.earlier {
        writeln!(text, "  more instances than {}, which it takes the place of", plain(earlier))?;
    }
    if entry.apart > 0 {
        writeln!(text, "  {} instances kept apart: UIDs that came before", entry.apart)?;
    }
    for made in entry.summary.iter().flat_map(|summary| &summary.results) {
        let (file, package) = (plain(&made.file), plain(&made.package));
        writeln!(text, "  made     {file}  by {package} in {:.2} s", made.seconds)?;
    }
    for skipped in entry.summary.iter().flat_map(|summary| &summary.skipped) {
        let series = skipped.series.as_deref().unwrap_or("the study");
        let (package, reason) = (plain(&skipped.package), plain(&skipped.reason));
        writeln!(text, "  skipped  {} by {package}: {reason}", plain(series))?;
    }
    for wait in &entry.waits {
        writeln!(text, "  waits    {}", plain(&wait.told()))?;
    }
    let marks =
        [("sent to", &entry.sent), ("given up", &entry.given_up), ("dropped", &entry.dropped)];
    for (what, names) in marks {
        if !names.is_empty() {
            writeln!(text, "  {what:8} {}", plain(&names.join(", ")))?;
        }
    }
    if let Some(reason) = &entry.reason {
        writeln!(text, "  {}", reason.trim_end().replace('\n', "\n  "))?;
    }
    terminal::print(&text)
}
