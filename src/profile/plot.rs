//! Plots as SVG, drawn by hand: light, self-contained, colours from the page's style sheet.

use std::fmt::Write;

use crate::measure::escape;

/// A number with as many digits as a reader needs.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        v if v > 0.0 => 3,
        _ => 0,
    };
    format!("{value:.digits$}")
}

/// A mark of an axis: a number without zeros that tell nothing.
pub(super) fn mark(value: f64) -> String {
    let text = number(value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// A drawing of fixed size that scales with the page.
pub(super) struct Svg(String);

impl Svg {
    pub(super) fn new(width: f64, height: f64, label: &str) -> Self {
        let label = escape(label);
        Self(format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">\n"
        ))
    }

    pub(super) fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        let _ = writeln!(
            self.0,
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
    }

    pub(super) fn text(&mut self, class: &str, [x, y]: [f64; 2], text: &str) {
        let text = escape(text);
        let _ = writeln!(self.0, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
    }

    /// A rectangle that tells `title` under the pointer and carries the plotted `value`.
    pub(super) fn bar(&mut self, class: &str, [x, y, w, h]: [f64; 4], value: f64, title: &str) {
        let title = escape(title);
        let _ = writeln!(
            self.0,
            "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{w:.2}\" height=\"{h:.2}\" \
             rx=\"2\" data-value=\"{value}\"><title>{title}</title></rect>"
        );
    }

    /// A point, likewise.
    pub(super) fn point(
        &mut self,
        class: &str,
        [x, y]: [f64; 2],
        radius: f64,
        value: f64,
        title: &str,
    ) {
        let title = escape(title);
        let _ = writeln!(
            self.0,
            "<circle class=\"{class}\" cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{radius:.1}\" \
             data-value=\"{value}\"><title>{title}</title></circle>"
        );
    }

    pub(super) fn path(&mut self, class: &str, points: &[[f64; 2]]) {
        let list: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(self.0, "<polyline class=\"{class}\" points=\"{}\"/>", list.join(" "));
    }

    pub(super) fn finish(self) -> String {
        self.0 + "</svg>\n"
    }
}

/// An axis: values to places, linear or logarithmic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) log: bool,
}

impl Axis {
    pub(super) fn at(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.log { v.max(1e-12).log10() } else { v };
        let part = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low));
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Values worth a mark: powers of ten with 2 and 5 between, or about six round steps; none
    /// where nothing is plotted.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let plotted = self.low.is_finite() && self.high.is_finite() && self.low < self.high;
        if !plotted || (self.log && self.low <= 0.0) {
            return Vec::new();
        }
        if self.log {
            // Of positive finite numbers, so that both are small.
            let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
            let decades = last - first;
            let within = |&v: &f64| v >= self.low * 0.999 && v <= self.high * 1.001;
            let digits: &[f64] = if decades > 3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            return (first..=last)
                .flat_map(|e| digits.iter().map(move |d| d * 10f64.powi(e)))
                .filter(within)
                .collect();
        }
        let span = self.high - self.low;
        let raw = span / 6.0;
        let magnitude = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|d| d * magnitude)
            .into_iter()
            .find(|&s| s >= raw)
            .unwrap_or(span);
        let first = (self.low / step).ceil();
        (0..20)
            .map(|i| (first + f64::from(i)) * step)
            .take_while(|&v| v <= self.high + step * 1e-9)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_put_values_in_their_places() {
        let log = Axis { low: 1.0, high: 100.0, from: 0.0, to: 10.0, log: true };
        assert!((log.at(10.0) - 5.0).abs() < 1e-9 && log.at(1e9) == 10.0 && log.at(0.0) == 0.0);
        assert_eq!(log.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        let linear = Axis { low: 0.0, high: 3.0, from: 10.0, to: 0.0, log: false };
        assert!((linear.at(1.5) - 5.0).abs() < 1e-9);
        assert_eq!(linear.ticks(), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
    }

    #[test]
    fn axes_of_nothing_have_no_marks() {
        for [low, high] in [
            [f64::INFINITY, 0.0],
            [0.0, f64::INFINITY],
            [f64::NAN, 1.0],
            [1.0, 1.0],
            [-f64::INFINITY, f64::INFINITY],
        ] {
            for log in [true, false] {
                assert_eq!(
                    Axis { low, high, from: 0.0, to: 1.0, log }.ticks(),
                    [0.0; 0],
                    "{low} to {high}"
                );
            }
        }
        for log in [true, false] {
            let wide = Axis { low: f64::MIN_POSITIVE, high: f64::MAX, from: 0.0, to: 1.0, log };
            assert!((1..2000).contains(&wide.ticks().len()));
            let narrow = Axis { low: 1e300, high: 1e300 * (1.0 + 1e-15), from: 0.0, to: 1.0, log };
            assert!(narrow.ticks().len() < 30);
        }
    }

    #[test]
    fn marks_are_short() {
        assert_eq!(
            [0.0, 0.2, 0.5, 1.0, 2.5, 10.0, 100.0].map(mark),
            ["0", "0.2", "0.5", "1", "2.5", "10", "100"]
        );
    }
}
