//! Names of segments and regions, as Unicode.

use crate::dataset::Dataset;
use crate::tags;

/// A name in a data set's character set. A character of a set that is not known here becomes
/// U+FFFD.
pub(super) fn name(bytes: &[u8], set: &Dataset) -> String {
    let characters = set.text(tags::CHARACTER_SET).unwrap_or_default();
    let text = match characters {
        "ISO_IR 100" => bytes.iter().map(|byte| char::from(*byte)).collect(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    text.trim_matches([' ', '\0']).to_owned()
}
