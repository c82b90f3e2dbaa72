//! `monet evaluate`: label volumes against the truth.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use monet::measure::{self, Comparison, SubjectScore, Summary};
use monet::text::{self, exact, plain};
use serde::Serialize;

use super::{Outcome, terminal};

const EXAMPLES: &str = "\
Examples:
  monet evaluate --pred mask.nii.gz --truth label.nii.gz
  monet evaluate --pred masks/ --truth labelsTs/ --labels 1=anterior,2=posterior
  monet evaluate --pred masks/ --truth labelsTs/ --model pancreas.toml --csv scores.csv --json -

With folders, files of the same name are compared; a predicted file without truth, or the other way, is an error.
Means leave out subjects where a score is undefined, and the number of these is reported: Dice where neither volume
has the label, Hausdorff distances (HD the largest, HD95 the 95th percentile) where either lacks it, percent where the truth lacks it.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some subjects of several failed.";

/// Compare label volumes with the truth: Dice, Hausdorff distances and volume difference per label and subject
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EvaluateArgs {
    /// Predicted label volume, or a folder of them
    #[arg(long, value_name = "FILE|DIR")]
    pred: PathBuf,
    /// True label volume, or a folder of them
    #[arg(long, value_name = "FILE|DIR")]
    truth: PathBuf,
    /// Labels to compare and their names; all labels that occur when neither this nor --model is given
    #[arg(long, value_name = "VALUE=NAME,...", value_delimiter = ',', value_parser = named, conflicts_with = "model")]
    labels: Vec<Named>,
    /// Package whose labels are compared and named
    #[arg(long, value_name = "FILE.toml")]
    model: Option<PathBuf>,
    /// Write subjects and summary as JSON; - for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a row for each subject and label as CSV; - for standard output
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

/// A label's voxel value and name.
type Named = (u8, String);

/// Reads `1=anterior`.
fn named(text: &str) -> Result<Named, String> {
    let (value, name) = text.split_once('=').ok_or("write VALUE=NAME, as in 1=anterior")?;
    match value.trim().parse() {
        Ok(0) | Err(_) => Err(format!("`{value}` is no label value: write a whole number from 1 to 255")),
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
    let labels: Vec<Named> = match &args.model {
        Some(path) => {
            let labels = super::package(Some(path))?.manifest.labels;
            labels.into_iter().map(|label| (label.value, label.name)).collect()
        }
        None => args.labels.clone(),
    };
    let wanted: Vec<u8> = labels.iter().map(|(value, _)| *value).collect();
    if let Some(twice) = (1..wanted.len()).find(|&i| wanted[..i].contains(&wanted[i])) {
        bail!("label {} is named twice", wanted[twice]);
    }
    let pairs = pairs(&args.pred, &args.truth)?;
    let (mut subjects, mut failed) = (Vec::new(), 0);
    for (name, pred, truth) in &pairs {
        let score = match (pred, truth) {
            (Some(pred), Some(truth)) => measure::compare(name, pred, truth, &wanted).map_err(Into::into),
            (Some(pred), None) => {
                Err(anyhow::anyhow!("{}: no file of this name in {}", pred.display(), args.truth.display()))
            }
            (_, truth) => {
                let truth = truth.as_deref().unwrap_or(&args.truth).display();
                Err(anyhow::anyhow!("{truth}: no file of this name in {}", args.pred.display()))
            }
        };
        match score {
            Ok(score) => {
                if !score.unknown.is_empty() {
                    terminal::warn(format_args!(
                        "{name}: labels {:?} have no name and are not compared",
                        score.unknown
                    ));
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
    let to_stdout = [&args.json, &args.csv].into_iter().flatten().any(|p| p == Path::new("-"));
    if let Some(path) = &args.json {
        super::write(path, &measure::json(&Evaluation { subjects: &subjects, summary: &summary }))?;
    }
    if let Some(path) = &args.csv {
        super::write(path, &csv(&subjects, &labels))?;
    }
    if !to_stdout && !subjects.is_empty() {
        terminal::print(&table(&subjects, &summary, &labels))?;
    }
    Ok(Outcome::of(failed, pairs.len()))
}

type Pair = (String, Option<PathBuf>, Option<PathBuf>);

/// Files of the same name; a name that only one folder has comes with one path.
fn pairs(pred: &Path, truth: &Path) -> Result<Vec<Pair>> {
    match (pred.is_dir(), truth.is_dir()) {
        (false, false) => Ok(vec![(subject(pred), Some(pred.to_owned()), Some(truth.to_owned()))]),
        (true, true) => {
            let mut by_name: BTreeMap<String, (Option<PathBuf>, Option<PathBuf>)> = BTreeMap::new();
            for path in volumes(pred)? {
                let pair = by_name.entry(subject(&path)).or_default();
                enter(&mut pair.0, path)?;
            }
            for path in volumes(truth)? {
                let pair = by_name.entry(subject(&path)).or_default();
                enter(&mut pair.1, path)?;
            }
            if by_name.is_empty() {
                bail!("{} and {} hold no .nii or .nii.gz files", pred.display(), truth.display());
            }
            Ok(by_name.into_iter().map(|(name, (pred, truth))| (name, pred, truth)).collect())
        }
        _ => bail!("--pred and --truth must both be files or both be folders"),
    }
}

/// Takes a subject's file; a second one, as `a.nii` beside `a.nii.gz`, leaves open which is meant.
fn enter(place: &mut Option<PathBuf>, path: PathBuf) -> Result<()> {
    if let Some(other) = place {
        bail!("{} and {} are the same subject: keep one of them", other.display(), path.display());
    }
    *place = Some(path);
    Ok(())
}

fn volumes(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.with_context(|| format!("{}: cannot be listed", folder.display()))?;
    let is_volume = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        !name.starts_with('.') && (name.ends_with(".nii") || name.ends_with(".nii.gz"))
    };
    Ok(entries.into_iter().map(|entry| entry.path()).filter(is_volume).collect())
}

fn subject(path: &Path) -> String {
    let name = exact(path.file_name().unwrap_or_default());
    name.trim_end_matches(".gz").trim_end_matches(".nii").to_owned()
}

fn name(label: u8, labels: &[Named]) -> String {
    labels
        .iter()
        .find(|(value, _)| *value == label)
        .map_or_else(|| label.to_string(), |(_, name)| name.clone())
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
}

fn signed(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:+.digits$}"))
}

/// A line of the table: subject, label, and five scores.
fn row(subject: &str, label: &str, scores: [String; 5]) -> String {
    let [dice, hd95, hd, ml, percent] = scores;
    let (subject, label) = (plain(subject), plain(label));
    format!("{subject:<24} {label:<16} {dice:>15} {hd95:>13} {hd:>13} {ml:>16} {percent:>13}\n")
}

fn table(subjects: &[SubjectScore], summary: &[Comparison], labels: &[Named]) -> String {
    let titles = ["Dice", "HD95 mm", "HD mm", "volume diff ml", "diff %"].map(str::to_owned);
    let mut out = row("subject", "label", titles);
    for s in subjects {
        for l in &s.labels {
            let scores = [
                cell(l.dice, 4),
                cell(l.hd95_mm, 2),
                cell(l.hausdorff_mm, 2),
                signed(Some(l.difference_ml), 3),
                signed(l.difference_percent, 1),
            ];
            out += &row(&s.subject, &name(l.label, labels), scores);
        }
    }
    let spread = |mean: String, s: &Summary, digits: usize| match s.std {
        Some(std) => format!("{mean} ± {std:.digits$}"),
        None => mean,
    };
    for c in summary {
        let scores = [
            spread(cell(c.dice.mean, 4), &c.dice, 4),
            spread(cell(c.hd95_mm.mean, 2), &c.hd95_mm, 2),
            spread(cell(c.hausdorff_mm.mean, 2), &c.hausdorff_mm, 2),
            spread(signed(c.difference_ml.mean, 3), &c.difference_ml, 3),
            spread(signed(c.difference_percent.mean, 1), &c.difference_percent, 1),
        ];
        out += &row(&format!("mean of {}", c.difference_ml.count), &name(c.label, labels), scores);
    }
    out + &undefined(summary, labels)
}

/// Says which means leave out subjects.
fn undefined(summary: &[Comparison], labels: &[Named]) -> String {
    let mut out = String::new();
    for c in summary {
        let scores = [
            ("Dice", &c.dice),
            ("HD95 and HD", &c.hd95_mm),
            ("volume difference in %", &c.difference_percent),
        ];
        for (score, s) in scores.into_iter().filter(|(_, s)| s.undefined > 0) {
            let all = s.count + s.undefined;
            let label = name(c.label, labels);
            out += &format!("{score} of {label}: undefined for {} of {all}, not in its mean\n", s.undefined);
        }
    }
    out
}

/// A row for each subject and label; undefined scores are empty fields.
fn csv(subjects: &[SubjectScore], labels: &[Named]) -> String {
    let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    let mut out =
        "subject,label,name,dice,hausdorff_mm,hd95_mm,pred_ml,truth_ml,difference_ml,difference_percent\n"
            .to_owned();
    for s in subjects {
        for l in &s.labels {
            out += &[
                text::cell(&s.subject),
                l.label.to_string(),
                text::cell(&name(l.label, labels)),
                number(l.dice),
                number(l.hausdorff_mm),
                number(l.hd95_mm),
                l.pred_ml.to_string(),
                l.truth_ml.to_string(),
                l.difference_ml.to_string(),
                number(l.difference_percent),
            ]
            .join(",");
            out.push('\n');
        }
    }
    out
}
