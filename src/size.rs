//! A [`Size`] in JSON: a pair of numbers, height first.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Size;

/// For `#[serde(with = "crate::size")]`.
pub(crate) fn serialize<S: Serializer>(size: &Size, serializer: S) -> Result<S::Ok, S::Error> {
    [size.height, size.width].serialize(serializer)
}

/// For `#[serde(with = "crate::size")]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
    let [height, width] = Deserialize::deserialize(deserializer)?;
    Ok(Size { height, width })
}
