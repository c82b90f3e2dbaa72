//! `monet evaluate`: label volumes against the truth.

mod pairs;
mod sheet;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use monet::measure::{self, Comparison, SubjectScore};
use monet::text::exact;
use serde::Serialize;

use self::pairs::Pair;
use super::{Outcome, reports, terminal};

const EXAMPLES: &str = "\
Examples:
  monet evaluate --pred mask.nii.gz --truth label.nii.gz
  monet evaluate --pred masks/ --truth labelsTs/ --labels 1=anterior,2=posterior
  monet evaluate --pred masks/ --truth labelsTs/ --model pancreas.toml --csv scores.csv --json -
  monet evaluate --pred masks/ --truth labelsTs/ --slices  # slices by themselves

With folders, files of the same name are compared, whatever their endings (.nii, .nii.gz, .hdr \
    beside .img, in any case);
folders within are not looked into. What is wrong with one subject, as a file without its \
    counterpart, never costs the others.
Labels are whole numbers up to 65535, of any NIfTI type; a thousandth more or less is rounded. The \
    two grids may be stored
in different orders of their axes. A volume with several channels is refused: write it as one 3-D \
    volume first.
Distances run in world millimetres, of sheared grids too, between the surfaces of a label: its \
    voxels with a face neighbour
outside it. From each surface voxel of either volume the distance to the nearest of the other is \
    taken, both directions pooled
(as MedPy does): HD is the largest of these distances, HD95 their 95th percentile with linear \
    interpolation.
Without --labels and --model, a subject's labels are those that one of its two volumes has.
Means leave out subjects where a score is undefined, and the number of these is reported: Dice \
    where neither volume
has the label, HD and HD95 where either lacks it, percent where the truth lacks it.
In JSON and CSV a byte of a file name that is no UTF-8 is \\x and two hexadecimal digits, and a \
    backslash is doubled; CSV puts an
apostrophe before a text that a spreadsheet would take for a formula.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some subjects of several failed.";

/// Compare label volumes with the truth: Dice, Hausdorff distances and volume difference per label
/// and subject
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EvaluateArgs {
    /// Predicted label volume (NIfTI, or a DICOM segmentation, label map or structure set), or a
    /// folder of them
    #[arg(long, value_name = "FILE|DIR")]
    pred: PathBuf,
    /// True label volume, or a folder of them
    #[arg(long, value_name = "FILE|DIR")]
    truth: PathBuf,
    /// Labels to compare and their names; all labels that occur when neither this nor --model is
    /// given
    #[arg(
        long,
        value_name = "VALUE=NAME,...",
        value_delimiter = ',',
        value_parser = named,
        conflicts_with = "model"
    )]
    labels: Vec<Named>,
    /// Package whose labels are compared and named
    #[arg(long, value_name = "FILE.toml")]
    model: Option<PathBuf>,
    /// Dice of each slice along the true volume's third axis, too: its mean over the slices of all
    /// subjects where either volume has the label; each in the JSON
    #[arg(long)]
    slices: bool,
    /// Write subjects and summary as JSON; - for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a row for each subject and label as CSV; - for standard output
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Replace existing outputs
    #[arg(long)]
    force: bool,
}

/// A label's voxel value and name.
type Named = (u16, String);

/// Reads `1=anterior`.
fn named(text: &str) -> Result<Named, String> {
    let (value, name) = text.split_once('=').ok_or("write VALUE=NAME, as in 1=anterior")?;
    match value.trim().parse() {
        Ok(0) | Err(_) => {
            Err(format!("`{value}` is no label value: write a whole number from 1 to 65535"))
        }
        Ok(_) if name.trim().is_empty() => Err(format!("label {value} has no name")),
        Ok(value) => Ok((value, name.trim().to_owned())),
    }
}

#[derive(Serialize)]
struct Evaluation<'a> {
    subjects: &'a [SubjectScore],
    summary: &'a [Comparison],
}

/// Runs the command.
///
/// # Errors
/// What concerns all subjects; what concerns one of several is reported and counted.
pub(super) fn run(args: &EvaluateArgs) -> Result<Outcome> {
    let mut files = Vec::new();
    let labels: Vec<Named> = match &args.model {
        Some(path) => {
            let package = super::package(Some(path))?;
            files = reports::files_of(Some(path), &package);
            package
                .manifest
                .labels
                .into_iter()
                .map(|label| (label.value.into(), label.name))
                .collect()
        }
        None => args.labels.clone(),
    };
    let wanted: Vec<u16> = labels.iter().map(|(value, _)| *value).collect();
    if let Some(twice) = (1..wanted.len()).find(|&i| wanted[..i].contains(&wanted[i])) {
        bail!("label {} is named twice", wanted[twice]);
    }
    let pairs = pairs::pairs(&args.pred, &args.truth)?;
    files.extend(pairs::all(&args.pred)?.into_iter().chain(pairs::all(&args.truth)?));
    let outputs = [&args.json, &args.csv].into_iter().flatten().map(PathBuf::as_path);
    reports::guard(files, outputs, args.force)?;
    let (mut subjects, mut failed, inputs) = (Vec::new(), 0, pairs.len());
    for Pair { subject, files } in pairs {
        let name = exact(&subject);
        match files.and_then(|[pred, truth]| {
            Ok(measure::compare(&name, &pred, &truth, &wanted, args.slices)?)
        }) {
            Ok(score) => {
                for warning in
                    score.warnings.iter().cloned().chain(unnamed(&score)).chain(nothing(&score))
                {
                    terminal::warn(warning);
                }
                subjects.push(score);
            }
            Err(error) => {
                failed += 1;
                terminal::report(&error);
            }
        }
    }
    let summary = measure::summarise(&subjects);
    let to_stdout =
        [&args.json, &args.csv].into_iter().flatten().any(|path| reports::is_stdout(path));
    let json = measure::json(&Evaluation { subjects: &subjects, summary: &summary });
    let texts =
        [(args.json.as_deref(), json), (args.csv.as_deref(), sheet::csv(&subjects, &labels))];
    reports::deliver(&texts, args.force)?;
    if !to_stdout && !subjects.is_empty() {
        terminal::print(&sheet::table(&subjects, &summary, &labels))?;
    }
    Ok(Outcome::of(failed, inputs))
}

/// A warning of a subject that has no row in any table.
fn nothing(score: &SubjectScore) -> Option<String> {
    let empty = score.labels.is_empty() && score.unknown.is_empty();
    empty.then(|| format!("{}: neither volume has a label: nothing is compared", score.subject))
}

/// A warning of labels that were found and not compared; of very many, the first.
fn unnamed(score: &SubjectScore) -> Option<String> {
    const SHOWN: usize = 20;
    let unknown = &score.unknown;
    let shown = &unknown[..unknown.len().min(SHOWN)];
    let more = match unknown.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!shown.is_empty()).then(|| {
        format!("{}: labels {shown:?}{more} have no name and are not compared", score.subject)
    })
}
