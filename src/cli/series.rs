//! `monet series`: what lies in a folder, an archive or a file of DICOM.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::Args;
use monet::dicom::format::series::Scan;
use monet::dicom::{Choice, Oddity, Series, obstacles};
use monet::package::Package;
use monet::text::{exact, plain, shown};
use serde::Serialize;

use super::{Outcome, dicom, terminal};

const EXAMPLES: &str = "\
Examples:
  monet series study/
  monet series study.zip --model sarcoma.toml --json";

/// List the DICOM series of a folder, an archive or a file, and which of them a model accepts
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SeriesArgs {
    /// A folder with all that is below it, a .zip, a DICOMDIR, or a file
    path: PathBuf,
    /// Model: a package's manifest, or a plan; the embedded hippocampus package when not given
    #[arg(long, value_name = "FILE.toml|FILE.plan")]
    model: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A stack of slices.
#[derive(Serialize)]
struct Listed<'a> {
    study: &'a str,
    series: &'a str,
    /// What `--series` takes to name this stack.
    selector: String,
    number: Option<i32>,
    modality: &'a str,
    description: &'a str,
    image_type: &'a [String],
    body_part: &'a str,
    told_apart_by: Vec<(&'static str, f64)>,
    rows: usize,
    columns: usize,
    slices: usize,
    spacing_mm: [f64; 3],
    orientation: String,
    transfer_syntax: String,
    oddities: Vec<Oddity>,
    accepted: bool,
    obstacles: Vec<String>,
}

/// All that was found.
#[derive(Serialize)]
struct Listing<'a> {
    model: String,
    stacks: Vec<Listed<'a>>,
    passed_over: Vec<PassedOver>,
    other_files: usize,
}

/// A DICOM file that is no slice of a volume.
#[derive(Serialize)]
struct PassedOver {
    file: String,
    reason: String,
}

/// Runs the command.
///
/// # Errors
/// A path or a model that cannot be read.
pub(super) fn run(args: &SeriesArgs) -> Result<Outcome> {
    let package = super::package(args.model.as_deref())?;
    let scan = dicom::scan(&args.path, &AtomicBool::new(false))?;
    let all = Series::all(&args.path, &scan);
    let listing = listing(&package, &all, &scan);
    let text = if args.json { monet::measure::json(&listing) } else { text(&listing, &all) };
    terminal::print(&text)?;
    Ok(Outcome::Done)
}

fn listing<'a>(package: &Package, all: &'a [Series], scan: &Scan) -> Listing<'a> {
    let manifest = &package.manifest;
    let listed = |series: &'a Series| {
        let (image, geometry) = (series.first(), series.geometry());
        let obstacles = obstacles(series, manifest, &Choice::default());
        Listed {
            study: &image.key.study,
            series: &image.key.series,
            selector: series.selector(),
            number: image.number,
            modality: &image.modality,
            description: &image.description,
            image_type: &image.image_type,
            body_part: &image.body_part,
            told_apart_by: series.stack().told_apart_by.clone(),
            rows: image.size[0],
            columns: image.size[1],
            slices: series.slices(),
            spacing_mm: geometry.spacing,
            orientation: geometry.affine.orientation().to_string(),
            transfer_syntax: image.syntax.name().to_owned(),
            oddities: series.oddities(),
            accepted: obstacles.is_empty(),
            obstacles,
        }
    };
    let passed_over = scan
        .passed_over
        .iter()
        .map(|(place, reason)| (place, reason.to_string()))
        .chain(scan.unreadable.iter().map(|(place, error)| (place, error.to_string())))
        .map(|(place, reason)| PassedOver { file: exact(&place.name()), reason })
        .collect();
    Listing {
        model: format!("{} {}", manifest.name, manifest.version),
        stacks: all.iter().map(listed).collect(),
        passed_over,
        other_files: scan.others,
    }
}

fn text(listing: &Listing, all: &[Series]) -> String {
    let mut text = String::new();
    for (series, listed) in all.iter().zip(&listing.stacks) {
        text += &format!("{}\n    {}\n", series.summary(), plain(&listed.transfer_syntax));
        listed.oddities.iter().for_each(|odd| text += &format!("    odd: {odd}\n"));
        let model = plain(&listing.model);
        text += &match &listed.obstacles[..] {
            [] => format!("    {model}: accepted\n"),
            obstacles => format!("    {model}: not accepted: {}\n", obstacles.join("; ")),
        };
    }
    if listing.stacks.is_empty() {
        text += "no series of slices\n";
    }
    const SHOWN: usize = 20;
    for PassedOver { file, reason } in listing.passed_over.iter().take(SHOWN) {
        text += &format!("passed over: {}: {}\n", shown(file), plain(reason));
    }
    if let Some(more) = listing.passed_over.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text += &format!("passed over: {more} more files; --json lists all\n");
    }
    if listing.other_files > 0 {
        text += &format!("{} other files\n", listing.other_files);
    }
    text
}
