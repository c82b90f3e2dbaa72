//! The report as text: tables in Markdown that read well on a terminal too, and a row for each
//! score as CSV.

use std::collections::BTreeMap;
use std::fmt::Write;

use monet::measure::Summary;

use super::scores::{Evaluation, METRICS, Metric, Protocol};
use super::speed::SLICES;
use super::{Cohort, Findings, ModelReport};
use crate::text::grouped;

/// A table in the making; the first columns hold words, the others numbers.
struct Table {
    words: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(words: usize, head: &[&str]) -> Self {
        Self { words, rows: vec![head.iter().map(|&h| h.to_owned()).collect()] }
    }

    /// Columns aligned, numbers to the right.
    fn markdown(&self) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default().max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for (n, row) in self.rows.iter().enumerate() {
            for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = match i < self.words {
                    true => write!(out, "| {cell:<width$} "),
                    false => write!(out, "| {cell:>width$} "),
                };
            }
            out += "|\n";
            if n == 0 {
                for (i, &width) in widths.iter().enumerate() {
                    out += &if i < self.words {
                        format!("| {} ", "-".repeat(width))
                    } else {
                        format!("| {}: ", "-".repeat(width - 1))
                    };
                }
                out += "|\n";
            }
        }
        out
    }
}

/// All tables, as printed and in the page.
pub(super) fn text(findings: &Findings) -> String {
    let mut out = String::new();
    for (n, cohort) in findings.cohorts.iter().enumerate() {
        let evaluations: Vec<&Evaluation> =
            findings.evaluations.iter().filter(|e| e.cohort == n).collect();
        let _ = writeln!(out, "## Table {}: {}\n", n + 1, cohort.told());
        if cohort.shared > 0 {
            let _ = writeln!(
                out,
                "Not independent: {} of its images are in {}, too.\n",
                cohort.shared, findings.cohorts[0].name
            );
        }
        out += "Whole volumes, mean ± standard deviation over subjects; 95 % of the mean Dice by \
            bootstrap over subjects.\n\n";
        out += &scores(findings, &evaluations, Protocol::Whole);
        out += &cropped(findings, cohort, &evaluations);
        out += &by_slice(findings, &evaluations);
        out += &paired(findings, n);
        out.push('\n');
    }
    out + &losses(findings) + &cost(findings)
}

/// An interval of Dice or of a difference; a dash where there is none.
fn between(interval: Option<[f64; 2]>, digits: usize) -> String {
    interval.map_or("—".into(), |[low, high]| format!("{low:.digits$} to {high:.digits$}"))
}

/// Dice slice by slice, beside that of whole stacks.
fn by_slice(findings: &Findings, evaluations: &[&Evaluation]) -> String {
    let head = ["package", "label", "slices", "Dice per slice", "95 % of the mean"];
    let mut table = Table::new(2, &head);
    let [dice, ..] = &METRICS;
    for evaluation in evaluations {
        for (label, slices) in findings.labels.iter().zip(&evaluation.by_slice) {
            table.rows.push(vec![
                findings.models[evaluation.model].name.clone(),
                label.name.clone(),
                slices.dice.count.to_string(),
                spread(&slices.dice, dice),
                between(slices.dice_interval, 3),
            ]);
        }
    }
    format!(
        "\nSlice by slice, where the label was drawn or found; subjects are drawn with all of \
         their slices.\n\n{}",
        table.markdown()
    )
}

/// Packages beside the first, on one cohort.
fn paired(findings: &Findings, cohort: usize) -> String {
    let found: Vec<_> = findings.paired.iter().filter(|p| p.cohort == cohort).collect();
    if found.is_empty() {
        return String::new();
    }
    let first = &findings.models[0].name;
    let head = ["package", "label", "figure", "pairs", "difference", "95 %", "p"];
    let mut table = Table::new(3, &head);
    for pair in &found {
        let metric = METRICS.iter().find(|m| m.key == pair.metric);
        let (title, digits) = metric.map_or((pair.metric, 3), |m| (m.title, m.digits + 1));
        table.rows.push(vec![
            findings.models[pair.model].name.clone(),
            findings.labels[pair.label].name.clone(),
            title.into(),
            pair.pairs.to_string(),
            format!("{:+.digits$}", pair.difference),
            between(pair.interval, digits),
            pair.p.map_or("—".into(), |p| {
                if p < 1e-4 { "<0.0001".into() } else { format!("{p:.4}") }
            }),
        ]);
    }
    format!(
        "\nLess {first}, subject by subject: mean difference, its 95 % interval by bootstrap, and \
         p of Wilcoxon's signed ranks\n(two-sided; {} tests, none corrected for the others).\n\n{}",
        found.len(),
        table.markdown()
    )
}

/// From the split to the independent set.
fn losses(findings: &Findings) -> String {
    if findings.losses.is_empty() {
        return String::new();
    }
    let (first, far) = (&findings.models[0].name, findings.cohorts[1].told());
    let head = ["package", "label", "Dice lost", "95 %", "beyond the first", "95 %"];
    let mut table = Table::new(2, &head);
    for loss in &findings.losses {
        table.rows.push(vec![
            findings.models[loss.model].name.clone(),
            findings.labels[loss.label].name.clone(),
            format!("{:+.3}", loss.loss),
            between(loss.interval, 3),
            loss.beyond_first.map_or("—".into(), |beyond| format!("{beyond:+.3}")),
            between(loss.beyond_interval, 3),
        ]);
    }
    format!(
        "## Out of sample\n\nMean Dice on {} less that on {far}, and how much more than {first} \
         loses; 95 % by bootstrap over the subjects of both.\n\n{}\n",
        findings.cohorts[0].told(),
        table.markdown()
    )
}

fn scores(findings: &Findings, evaluations: &[&Evaluation], protocol: Protocol) -> String {
    let mut table = Table::new(2, &["package", "label"]);
    for metric in &METRICS {
        table.rows[0].push(metric.title.to_owned());
        if metric.key == "dice" {
            table.rows[0].push("95 % of the mean".into());
        }
    }
    let mut notes = String::new();
    for evaluation in evaluations {
        let model = &findings.models[evaluation.model].name;
        for (i, label) in findings.labels.iter().enumerate() {
            let mut row = vec![model.clone(), label.name.clone()];
            // Scores that are undefined for as many subjects share a line.
            let mut undefined: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
            for metric in &METRICS {
                let summary = evaluation.summary(protocol, i, metric);
                row.push(spread(&summary, metric));
                if metric.key == "dice" {
                    row.push(between(evaluation.dice_interval(protocol, i), 3));
                }
                undefined.entry(summary.undefined).or_default().push(metric.title);
            }
            table.rows.push(row);
            let subjects = findings.cohorts[evaluation.cohort].pairs.len();
            for (count, titles) in undefined.into_iter().filter(|&(count, _)| count > 0) {
                let (titles, label) = (titles.join(" and "), &label.name);
                let _ = writeln!(
                    notes,
                    "- {titles} of {label} by {model}: undefined for {count} of {subjects}, in no \
                     mean"
                );
            }
        }
    }
    let gap = if notes.is_empty() { "" } else { "\n" };
    table.markdown() + gap + &notes
}

/// The paper's protocol, or that it is the same here.
fn cropped(findings: &Findings, cohort: &Cohort, evaluations: &[&Evaluation]) -> String {
    let margin = findings.margin_slices;
    if !evaluations.iter().any(|e| e.crops()) {
        return format!(
            "\nCropped to the label ± {margin} slices, as in the paper: the same, as that is all \
             of every volume ({} subjects).\n",
            cohort.pairs.len()
        );
    }
    format!(
        "\nCropped to the label ± {margin} slices, as in the paper. It hides what is found farther \
         away, which a device without the\nlabel cannot.\n\n{}",
        scores(findings, evaluations, Protocol::Cropped)
    )
}

/// `0.864 ± 0.041`; a dash where nothing is defined.
fn spread(summary: &Summary, metric: &Metric) -> String {
    let digits = metric.digits;
    match (summary.mean, summary.std) {
        (Some(mean), Some(std)) => format!("{mean:.digits$} ± {std:.digits$}"),
        (Some(mean), None) => format!("{mean:.digits$}"),
        _ => "—".into(),
    }
}

fn cost(findings: &Findings) -> String {
    let mut out = format!("## Table {}: cost\n\n", findings.cohorts.len() + 1);
    let seconds = format!("s / {SLICES} slices");
    let mut table = Table::new(
        3,
        &[
            "package",
            "network",
            "type",
            "parameters",
            "MB",
            "slice",
            &seconds,
            "net alone",
            "peak MB",
        ],
    );
    for model in &findings.models {
        let megabytes = |bytes: f64| bytes / 1e6;
        let speed =
            |of: &dyn Fn(&super::Speed) -> String| model.speed.as_ref().map_or("—".into(), of);
        table.rows.push(vec![
            model.name.clone(),
            model.cost.network.clone().unwrap_or_else(|| "—".into()),
            model.cost.kind.into(),
            grouped(model.cost.parameters.unwrap_or(model.cost.stored) as u64),
            format!("{:.2}", megabytes(model.cost.bytes as f64)),
            speed(&|s| format!("{}×{}", s.size[0], s.size[1])),
            speed(&|s| format!("{:.2}", s.seconds)),
            speed(&|s| format!("{:.2}", s.net_seconds)),
            speed(&|s| {
                s.peak_memory_bytes
                    .map_or("—".into(), |bytes| format!("{:.0}", megabytes(bytes as f64)))
            }),
        ]);
    }
    out += &table.markdown();
    out += "\nParameters as the paper counts them, batch normalisation included; MB of the ONNX \
        file, where it is folded away.\n";
    out + &timing(findings)
}

/// How times were measured, or why not.
fn timing(findings: &Findings) -> String {
    let mut out = String::from("\n");
    let any = findings.models.iter().any(|m| m.speed.is_some());
    if let Some(version) = findings.monet.as_ref().filter(|_| any) {
        let host = findings.host.cpu.as_deref().unwrap_or("an unknown processor");
        let _ = write!(
            out,
            "Times: `monet {version} segment`, one thread, {host}, {} cores",
            findings.host.cores
        );
        let _ = match findings.load_average {
            Some(load) => writeln!(out, ", load average {load:.1} before."),
            None => writeln!(out, "."),
        };
    }
    for model in &findings.models {
        let _ = match (&model.speed, &model.not_measured) {
            (Some(speed), _) => {
                writeln!(
                    out,
                    "- {}: {}, the middle of {} run(s)",
                    model.name, speed.engine, speed.runs
                )
            }
            (None, why) => {
                let why = why.as_deref().unwrap_or_default();
                writeln!(out, "- {}: not measured: {why}", model.name)
            }
        };
    }
    out
}

/// `report.md`.
pub(super) fn page(findings: &Findings) -> String {
    let names: Vec<&str> = findings.models.iter().map(|m: &ModelReport| m.name.as_str()).collect();
    let mut out = format!("# {}\n\n", names.join(", "));
    let _ =
        writeln!(out, "Written by monet-train {}:\n\n    {}\n", findings.version, findings.command);
    out += &text(findings);
    out += "\n## Box plots\n\n";
    out += "Whole volumes. Box: quartiles and median; whiskers: the farthest values within 1.5 box \
        lengths; circles: values beyond; diamond: mean.\nUndefined distances are not drawn; the \
        tables count them.\n\n";
    for metric in &METRICS {
        let _ = writeln!(out, "![{}]({}.svg)", metric.title, metric.key);
    }
    out
}

/// `subjects.csv`: a row for each data set, package, protocol, subject and label; undefined scores
/// are empty fields.
pub(super) fn csv(findings: &Findings) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    let mut out =
        "data,part,package,protocol,subject,label,name,dice,hausdorff_mm,hd95_mm\n".to_owned();
    for evaluation in &findings.evaluations {
        let (cohort, model) =
            (&findings.cohorts[evaluation.cohort], &findings.models[evaluation.model]);
        for protocol in [Protocol::Whole, Protocol::Cropped] {
            for subject in &evaluation.subjects {
                for (label, score) in findings.labels.iter().zip(subject.of(protocol)) {
                    let words = [&cohort.name, &cohort.part, &model.name].map(|text| quoted(text));
                    let _ = writeln!(
                        out,
                        "{},{},{},{},{},{},{},{}",
                        words.join(","),
                        protocol.name(),
                        quoted(&subject.subject),
                        label.value,
                        quoted(&label.name),
                        number(score.dice),
                        number(score.hausdorff),
                        number(score.hd95)
                    );
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_numbers_grouped() {
        let mut table = Table::new(1, &["package", "Dice"]);
        table.rows.push(vec!["a".into(), "0.864 ± 0.041".into()]);
        let expected = "| package |          Dice |\n| ------- | ------------: |\n| a       | \
            0.864 ± 0.041 |\n";
        assert_eq!(table.markdown(), expected);
        assert_eq!([1, 403_556, 31_054_145].map(grouped), ["1", "403,556", "31,054,145"]);
    }

    #[test]
    fn spreads_say_what_is_not_known() {
        let [dice, hausdorff, _] = &METRICS;
        assert_eq!(spread(&Summary::of(&[Some(0.5), Some(1.0), None]), dice), "0.750 ± 0.354");
        assert_eq!(spread(&Summary::of(&[Some(2.0)]), hausdorff), "2.00");
        assert_eq!(spread(&Summary::of(&[None]), dice), "—");
    }
}
