//! A label's display colour, written `#rrggbb` in manifests.

use serde::{Deserialize, Serialize};

/// An sRGB colour, one byte per component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Colour(pub [u8; 3]);

impl TryFrom<String> for Colour {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bad =
            || format!("`{text}` is no colour: write six hexadecimal digits as in \"#e6194b\"");
        let digits = text.strip_prefix('#').filter(|d| d.len() == 6).ok_or_else(bad)?;
        let value = digits
            .chars()
            .try_fold(0u32, |sum, c| Some(sum << 4 | c.to_digit(16)?))
            .ok_or_else(bad)?;
        let [_, r, g, b] = value.to_be_bytes();
        Ok(Self([r, g, b]))
    }
}

impl From<Colour> for String {
    fn from(Colour([r, g, b]): Colour) -> Self {
        format!("#{r:02x}{g:02x}{b:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_reads_back_as_written() {
        let colour = Colour::try_from("#e6194b".to_owned()).unwrap();
        assert_eq!(colour, Colour([0xe6, 0x19, 0x4b]));
        assert_eq!(String::from(colour), "#e6194b");
    }

    #[test]
    fn what_is_no_colour_is_refused() {
        for text in ["", "#", "e6194b", "#e6194", "#e6194bb", "#e6194g", "#ééé"] {
            assert!(Colour::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
