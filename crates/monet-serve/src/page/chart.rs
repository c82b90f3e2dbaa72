//! A chart of the latency of the last results, as SVG within the page.

use std::fmt::Write;

/// Size in the units of the drawing.
const SIZE: [f64; 2] = [640.0, 120.0];

/// Milliseconds of a slice, a dot a result, oldest first; a line where the budget is.
pub(super) fn latency(slice_ms: &[f64], budget_ms: Option<f64>) -> String {
    let [width, height] = SIZE;
    let most = slice_ms.iter().copied().chain(budget_ms).fold(0.0, f64::max).max(1e-3) * 1.15;
    let y = |ms: f64| height - height * ms / most;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"Milliseconds of a slice\">"
    );
    if let Some(budget) = budget_ms {
        let at = y(budget);
        let _ = write!(
            svg,
            "<line class=\"budget\" x1=\"0\" x2=\"{width}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
        );
    }
    let step = width / slice_ms.len().max(1) as f64;
    for (k, ms) in slice_ms.iter().enumerate() {
        let over = budget_ms.is_some_and(|budget| *ms > budget);
        let class = if over { " class=\"over\"" } else { "" };
        let x = (k as f64 + 0.5) * step;
        let _ = write!(svg, "<circle{class} cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4\"/>", y(*ms));
    }
    svg + "</svg>"
}
