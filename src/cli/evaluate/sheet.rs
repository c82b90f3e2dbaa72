//! Scores as a table for the terminal and as CSV.

use monet::measure::{Comparison, SubjectScore, Summary};
use monet::text::{self, plain};

use super::Named;

fn name(label: u16, labels: &[Named]) -> String {
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

/// Subjects, then means over them.
pub(super) fn table(subjects: &[SubjectScore], summary: &[Comparison], labels: &[Named]) -> String {
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
    out + &by_slice(summary, labels) + &undefined(summary, labels)
}

/// Means over slices, where they were asked for.
fn by_slice(summary: &[Comparison], labels: &[Named]) -> String {
    let mut out = String::new();
    for (label, s) in summary.iter().filter_map(|c| Some((c.label, c.slice_dice?))) {
        let std = s.std.map(|std| format!(" ± {std:.4}")).unwrap_or_default();
        let label = plain(&name(label, labels)).into_owned();
        out += &format!(
            "Dice per slice of {label}: {}{std} over {} slices with it; {} are without\n",
            cell(s.mean, 4),
            s.count,
            s.undefined
        );
    }
    out
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
            out += &format!(
                "{score} of {label}: undefined for {} of {all}, not in its mean\n",
                s.undefined
            );
        }
    }
    out
}

/// A row for each subject and label; undefined scores are empty fields.
pub(super) fn csv(subjects: &[SubjectScore], labels: &[Named]) -> String {
    let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    let mut out = "subject,label,name,dice,hausdorff_mm,hd95_mm,\
             pred_ml,truth_ml,difference_ml,difference_percent\n"
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
