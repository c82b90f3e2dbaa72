//! Box plots as SVG: a panel for each data set, in it a group of boxes for each label, one a
//! package (Tukey 1977).

use std::fmt::Write;

use monet::measure::{escape, percentile};

use super::Findings;
use super::scores::{Metric, Protocol, values};
use crate::plot::{COLOURS, marks, range, short};

/// Height of the picture, and where the axis begins and ends in it.
const HEIGHT: f64 = 380.0;
const TOP: f64 = 78.0;
const BOTTOM: f64 = 336.0;

/// Between the frame and the first and last mark, so that nothing lies on the frame.
const PAD: f64 = 8.0;

/// Room for the numbers of the axis.
const LEFT: f64 = 64.0;

/// Width of a box, and the room that it takes.
const BOX: f64 = 26.0;
const SLOT: f64 = 36.0;

/// Between groups and between panels.
const GAP: f64 = 26.0;

/// Widest a letter of the font comes at 12 px, about: what is written must fit.
const LETTER: f64 = 7.0;

/// The longest whisker, in lengths of the box.
const WHISKER: f64 = 1.5;

/// What a box shows; values in ascending order.
#[derive(Debug, Clone, PartialEq)]
struct Quartiles {
    /// Lower quartile, median, upper quartile.
    parts: [f64; 3],
    /// Farthest values within [`WHISKER`] box lengths of the box.
    whiskers: [f64; 2],
    /// Values beyond.
    outliers: Vec<f64>,
    mean: f64,
    count: usize,
}

impl Quartiles {
    /// `None` of no values.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        if values.is_empty() {
            return None;
        }
        let parts = [0.25, 0.5, 0.75].map(|part| percentile(&values, part));
        let reach = WHISKER * (parts[2] - parts[0]);
        let within = |v: &f64| (parts[0] - reach..=parts[2] + reach).contains(v);
        let inner: Vec<f64> = values.iter().copied().filter(within).collect();
        // A quartile between two values may lie beyond what is left within: then there is no
        // whisker.
        let whiskers = [
            inner.first().map_or(parts[0], |v| v.min(parts[0])),
            inner.last().map_or(parts[2], |v| v.max(parts[2])),
        ];
        let outliers = values.iter().copied().filter(|v| !within(v)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Some(Self { parts, whiskers, outliers, mean, count: values.len() })
    }
}

/// The values that a picture shows: whole marks around the data.
#[derive(Debug, Clone, PartialEq)]
struct Axis {
    marks: Vec<f64>,
}

impl Axis {
    /// From 0, unless a value lies below or all lie far above it.
    fn of(values: &[f64]) -> Self {
        let [mut low, high] = range(values.iter().copied());
        if low < high / 2.0 && values.iter().all(|&v| v >= 0.0) {
            low = 0.0;
        }
        let steps = marks([low, high]);
        let step = if let [first, second, ..] = steps[..] { second - first } else { high - low };
        // What lies on a mark but for rounding stays there.
        let [first, last] =
            [(low / step + 1e-9).floor(), (high / step - 1e-9).ceil()].map(|n| n as i64);
        Self { marks: (first..=last).map(|n| n as f64 * step).collect() }
    }

    /// Where a value stands between the first mark, 0, and the last, 1.
    fn part(&self, value: f64) -> f64 {
        let (low, high) = (self.marks[0], self.marks[self.marks.len() - 1]);
        (value - low) / (high - low)
    }
}

/// The plot of one figure of merit, on whole volumes.
pub(super) fn plot(findings: &Findings, metric: &Metric) -> String {
    let defined = |cohort: usize, model: usize, label: usize| -> Vec<f64> {
        let evaluation =
            findings.evaluations.iter().filter(|e| e.cohort == cohort && e.model == model);
        let all = evaluation.flat_map(|e| values(&e.subjects, Protocol::Whole, label, metric));
        all.flatten().collect()
    };
    let (cohorts, models, labels) =
        (findings.cohorts.len(), findings.models.len(), findings.labels.len());
    let all: Vec<f64> = (0..cohorts)
        .flat_map(|c| (0..models).flat_map(move |m| (0..labels).map(move |l| (c, m, l))))
        .flat_map(|(c, m, l)| defined(c, m, l))
        .collect();
    let mut picture = Picture { body: String::new(), axis: Axis::of(&all) };
    let mut x = LEFT;
    for (c, cohort) in findings.cohorts.iter().enumerate() {
        let names = findings.labels.iter().map(|l| l.name.as_str());
        let widths: Vec<f64> = names.map(|n| width(n).max(SLOT * models as f64)).collect();
        let inner = widths.iter().sum::<f64>() + GAP * (labels + 1) as f64;
        let part = format!("{}, {} subjects", cohort.part, cohort.pairs.len());
        let panel = inner.max(width(&cohort.name) + GAP).max(width(&part) + GAP);
        picture.panel(x, panel, [&cohort.name, &part], c == 0);
        let mut left = x + (panel - inner) / 2.0 + GAP;
        for (l, label) in findings.labels.iter().enumerate() {
            let middle = left + widths[l] / 2.0;
            picture.text([middle, BOTTOM + 20.0], "middle", 12, &label.name);
            for m in 0..models {
                let centre = middle + SLOT * (m as f64 - (models - 1) as f64 / 2.0);
                match Quartiles::of(defined(c, m, l)) {
                    Some(q) => picture.draw(centre, m, &q, &findings.models[m].name),
                    None => picture.text([centre, BOTTOM - 8.0], "middle", 12, "none"),
                }
            }
            left += widths[l] + GAP;
        }
        x += panel + GAP;
    }
    for (m, model) in findings.models.iter().enumerate() {
        picture.key(x, TOP + 20.0 * m as f64, m, &model.name);
    }
    let longest = findings.models.iter().map(|m| width(&m.name)).fold(0.0, f64::max);
    picture.finish(x + 22.0 + longest + GAP, metric.title)
}

/// About how wide a text is at 12 px.
fn width(text: &str) -> f64 {
    LETTER * text.chars().count() as f64
}

/// An SVG drawing with an axis of values.
struct Picture {
    body: String,
    axis: Axis,
}

impl Picture {
    fn y(&self, value: f64) -> f64 {
        BOTTOM - PAD - self.axis.part(value) * (BOTTOM - TOP - 2.0 * PAD)
    }

    fn text(&mut self, [x, y]: [f64; 2], anchor: &str, size: usize, text: &str) {
        let text = escape(text);
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" \
             font-size=\"{size}\">{text}</text>"
        );
    }

    fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], stroke: &str) {
        let _ = writeln!(
            self.body,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" \
             stroke=\"{stroke}\"/>"
        );
    }

    /// Frame, marks and title of a panel; numbers beside the first.
    fn panel(&mut self, x: f64, width: f64, [name, part]: [&str; 2], numbers: bool) {
        self.text([x + width / 2.0, TOP - 28.0], "middle", 12, name);
        self.text([x + width / 2.0, TOP - 12.0], "middle", 11, part);
        for mark in self.axis.marks.clone() {
            let y = self.y(mark);
            self.line([x, y], [x + width, y], "#e1e1e1");
            if numbers {
                self.text([x - 8.0, y + 4.0], "end", 12, &short(mark));
            }
        }
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"none\" \
             stroke=\"#282828\"/>",
            BOTTOM - TOP
        );
    }

    /// One box; what it shows is told under the pointer, too.
    fn draw(&mut self, x: f64, colour: usize, q: &Quartiles, name: &str) {
        let colour = hex(colour);
        let [lower, median, upper] = q.parts;
        let told = format!(
            "{name}: median {median:.3}, quartiles {lower:.3} and {upper:.3}, mean {:.3}, {} \
             subjects",
            q.mean, q.count
        );
        let _ = writeln!(self.body, "<g><title>{}</title>", escape(&told));
        for (end, side) in q.whiskers.into_iter().zip([lower, upper]) {
            let (end, side) = (self.y(end), self.y(side));
            self.line([x, end], [x, side], &colour);
            self.line([x - BOX / 4.0, end], [x + BOX / 4.0, end], &colour);
        }
        let (left, top, height) = (x - BOX / 2.0, self.y(upper), self.y(lower) - self.y(upper));
        let _ = writeln!(
            self.body,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{BOX}\" height=\"{height:.1}\" \
             fill=\"{colour}\" fill-opacity=\"0.2\" stroke=\"{colour}\"/>"
        );
        let y = self.y(median);
        let _ = writeln!(
            self.body,
            "<line x1=\"{left:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" \
             stroke-width=\"2.5\"/>",
            left + BOX
        );
        for outlier in &q.outliers {
            let y = self.y(*outlier);
            let _ = writeln!(
                self.body,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"none\" stroke=\"{colour}\"/>"
            );
        }
        let y = self.y(q.mean);
        let _ = writeln!(
            self.body,
            "<path d=\"M{x:.1} {:.1}l4 4l-4 4l-4 -4z\" fill=\"white\" stroke=\"{colour}\"/>\n</g>",
            y - 4.0
        );
    }

    /// A line of the legend.
    fn key(&mut self, x: f64, y: f64, colour: usize, name: &str) {
        let colour = hex(colour);
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"14\" height=\"12\" fill=\"{colour}\" \
             fill-opacity=\"0.2\" stroke=\"{colour}\"/>"
        );
        self.text([x + 22.0, y + 10.5], "start", 12, name);
    }

    fn finish(mut self, width: f64, title: &str) -> String {
        self.text([LEFT, 24.0], "start", 15, title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{HEIGHT}\" \
             viewBox=\"0 0 {width:.0} {HEIGHT}\" font-family=\"Helvetica, Arial, sans-serif\" \
             fill=\"#282828\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
            self.body
        )
    }
}

fn hex(colour: usize) -> String {
    let [r, g, b] = COLOURS[colour % COLOURS.len()];
    format!("#{r:02x}{g:02x}{b:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_has_quartiles_whiskers_and_outliers() {
        let q = Quartiles::of(vec![9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 30.0]).unwrap();
        assert_eq!(q.parts, [2.5, 4.0, 7.0]);
        // 1.5 box lengths reach from -4.25 to 13.75.
        assert_eq!((q.whiskers, q.outliers), ([1.0, 9.0], vec![30.0]));
        assert_eq!((q.mean, q.count), (54.0 / 7.0, 7));
        assert_eq!(Quartiles::of(vec![]), None);
        let one = Quartiles::of(vec![0.5]).unwrap();
        assert_eq!((one.parts, one.whiskers), ([0.5; 3], [0.5; 2]));
    }

    #[test]
    fn the_axis_ends_at_marks() {
        let ends = |values: &[f64]| {
            let Axis { marks } = Axis::of(values);
            assert!((3..=12).contains(&marks.len()), "{values:?}: {marks:?}");
            assert!(values.iter().all(|v| (marks[0]..=marks[marks.len() - 1] + 1e-9).contains(v)));
            [short(marks[0]), short(marks[marks.len() - 1])]
        };
        assert_eq!(ends(&[0.73, 0.935]), ["0.7", "0.95"]);
        assert_eq!(ends(&[1.0, 10.0]), ["0", "10"]);
        assert_eq!(ends(&[0.0, 1.0]), ["0", "1"]);
        assert_eq!(ends(&[2.0]), ["1.4", "2.6"]);
        assert_eq!(ends(&[0.0, 0.0]), ["0", "0.5"]);
        assert_eq!(ends(&[]), ["0", "1"]);
    }
}
