//! Figures and pictures a person reads: label statistics, Dice and Hausdorff distances, previews,
//! timings.
//!
//! Everything here looks at volumes that are already segmented; nothing changes them. What streams
//! (statistics, preview) holds memory that does not depend on the number of slices; scores compare
//! two whole label volumes.

mod canvas;
mod grid;
mod heading;
mod intensities;
mod label_volume;
mod labels;
mod machine;
mod nearest;
mod overlap;
mod preview;
mod score;
mod surface;
mod timing;
mod trace;
mod unread;

pub use canvas::Picture;
pub use heading::Title;
pub use intensities::{Intensities, IntensityReport};
pub use label_volume::{LabelVolume, MAX_LABEL_VOXELS};
pub use labels::{LabelReport, LabelStats};
pub use machine::Machine;
pub use overlap::dice;
pub use preview::{Preview, Subsampling};
pub use score::{Comparison, LabelScore, MeasureError, SubjectScore, Summary, compare, summarise};
pub use surface::{Hausdorff, hausdorff, percentile};
pub use timing::{Clock, Stage, StageTimes, peak_memory};
pub use trace::{MAX_SPANS, Track, trace_event};

/// A report as indented JSON, ending in a new line.
#[must_use]
pub fn json(report: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(report).expect("reports have only types that JSON has");
    crate::text::json(text + "\n")
}

/// Text as it may stand in XML and HTML, in quotes too; control characters are escaped as
/// [`crate::text::plain`] does.
#[must_use]
pub fn escape(text: &str) -> String {
    let text = crate::text::plain(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_cannot_break_a_page() {
        assert_eq!(super::escape("<a b=\"c\">&\u{1b}"), "&lt;a b=&quot;c&quot;&gt;&amp;\\x1b");
    }

    #[test]
    fn json_has_no_control_characters_but_ends_of_lines() {
        let odd = "\u{1b}\u{7f}\u{9b}\u{202e}\n\t\\";
        let text = super::json(&[odd]);
        assert_eq!(text, "[\n  \"\\u001b\\u007f\\u009b\\u202e\\n\\t\\\\\"\n]\n");
        assert_eq!(serde_json::from_str::<[String; 1]>(&text).unwrap(), [odd]);
    }
}
