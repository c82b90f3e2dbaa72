//! Figures and pictures a person reads: label statistics, Dice and Hausdorff distances, previews, timings.
//!
//! Everything here looks at volumes that are already segmented; nothing changes them. What streams (statistics, preview)
//! holds memory that does not depend on the number of slices; scores compare two whole label volumes.

mod canvas;
mod labels;
mod machine;
mod overlap;
mod preview;
mod score;
mod surface;
mod timing;

pub use labels::{LabelReport, LabelStats};
pub use machine::Machine;
pub use overlap::dice;
pub use preview::{Preview, Thinning};
pub use score::{
    Comparison, LabelScore, LabelVolume, MeasureError, SubjectScore, Summary, compare, summarise,
};
pub use surface::{Hausdorff, hausdorff, percentile};
pub use timing::{Clock, Stage, StageTimes, peak_memory};

/// A report as indented JSON, ending in a new line.
#[must_use]
pub fn json(report: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(report).expect("reports have only types that JSON has");
    text + "\n"
}

/// Text as it may stand in XML and HTML, in quotes too.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_cannot_break_a_page() {
        assert_eq!(super::escape("<a b=\"c\">&"), "&lt;a b=&quot;c&quot;&gt;&amp;");
    }
}
