//! `monet evaluate`: label volumes against the truth.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use monet::measure::{self, Comparison, SubjectScore, Summary};
use monet::package::Label;
use serde::Serialize;

use super::Outcome;

const EXAMPLES: &str = "\
Examples:
  monet evaluate --pred mask.nii.gz --truth label.nii.gz
  monet evaluate --pred masks/ --truth labelsTs/ --model pancreas.toml --csv scores.csv --json -

With folders, files of the same name are compared; a predicted file without truth, or the other way, is an error.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some subjects of several failed.";

/// Compare label volumes with the truth: Dice, HD95 and volume difference per label and subject
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EvaluateArgs {
    /// Predicted label volume, or a folder of them
    #[arg(long, value_name = "FILE|DIR")]
    pred: PathBuf,
    /// True label volume, or a folder of them
    #[arg(long, value_name = "FILE|DIR")]
    truth: PathBuf,
    /// Package whose labels are compared and named; all labels that occur when not given
    #[arg(long, value_name = "FILE.toml")]
    model: Option<PathBuf>,
    /// Write subjects and summary as JSON; - for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a row for each subject and label as CSV; - for standard output
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
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
    let labels = match &args.model {
        Some(path) => super::package(Some(path))?.manifest.labels,
        None => Vec::new(),
    };
    let wanted: Vec<u8> = labels.iter().map(|l| l.value).collect();
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
            Ok(score) => subjects.push(score),
            Err(error) => {
                failed += 1;
                super::report(&error);
            }
        }
    }
    let summary = measure::summarise(&subjects);
    let to_stdout = [&args.json, &args.csv].into_iter().flatten().any(|p| p == Path::new("-"));
    if !to_stdout && !subjects.is_empty() {
        super::print(&table(&subjects, &summary, &labels));
    }
    if let Some(path) = &args.json {
        super::write(path, &measure::json(&Evaluation { subjects: &subjects, summary: &summary }))?;
    }
    if let Some(path) = &args.csv {
        super::write(path, &csv(&subjects, &labels))?;
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
                pair.0 = Some(path);
            }
            for path in volumes(truth)? {
                let pair = by_name.entry(subject(&path)).or_default();
                pair.1 = Some(path);
            }
            if by_name.is_empty() {
                bail!("{} and {} hold no .nii or .nii.gz files", pred.display(), truth.display());
            }
            Ok(by_name.into_iter().map(|(name, (pred, truth))| (name, pred, truth)).collect())
        }
        _ => bail!("--pred and --truth must both be files or both be folders"),
    }
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
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(".gz").trim_end_matches(".nii").to_owned()
}

fn name(label: u8, labels: &[Label]) -> String {
    labels.iter().find(|l| l.value == label).map_or_else(|| label.to_string(), |l| l.name.clone())
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
}

fn table(subjects: &[SubjectScore], summary: &[Comparison], labels: &[Label]) -> String {
    let row =
        |a: &str, b: &str, c: &str, d: &str, e: &str| format!("{a:<24} {b:<16} {c:>17} {d:>17} {e:>19}\n");
    let mut out = row("subject", "label", "Dice", "HD95 mm", "volume diff ml");
    for s in subjects {
        for l in &s.labels {
            let difference = format!("{:+.3}", l.difference_ml());
            out +=
                &row(&s.subject, &name(l.label, labels), &cell(l.dice, 4), &cell(l.hd95_mm, 2), &difference);
        }
    }
    let spread = |s: &Summary, digits| match s.std {
        Some(std) => format!("{} ± {std:.digits$}", cell(s.mean, digits)),
        None => cell(s.mean, digits),
    };
    for c in summary {
        let first = format!("mean of {}", c.dice.count);
        let columns = [spread(&c.dice, 4), spread(&c.hd95_mm, 2), spread(&c.difference_ml, 3)];
        out += &row(&first, &name(c.label, labels), &columns[0], &columns[1], &columns[2]);
    }
    out
}

fn csv(subjects: &[SubjectScore], labels: &[Label]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    let mut out = "subject,label,name,dice,hd95_mm,pred_ml,truth_ml,difference_ml\n".to_owned();
    for s in subjects {
        for l in &s.labels {
            out += &format!(
                "{},{},{},{},{},{},{},{}\n",
                quoted(&s.subject),
                l.label,
                quoted(&name(l.label, labels)),
                number(l.dice),
                number(l.hd95_mm),
                l.pred_ml,
                l.truth_ml,
                l.difference_ml()
            );
        }
    }
    out
}
