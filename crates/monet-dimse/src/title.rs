//! Application entity titles (PS3.5, section 6.2, AE; PS3.8, section 9.3.2).

use std::fmt;
use std::str::FromStr;

/// Bytes of a title in a PDU.
pub(crate) const WIRE: usize = 16;

/// The name of an application on the network: 1 to 16 printable ASCII characters without
/// backslash, and without the spaces around them, which mean nothing.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AeTitle(String);

/// Why text is no title.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an AE title has 1 to 16 printable ASCII characters, no backslash, \
     and something other than spaces"
)]
pub struct NoTitle;

impl AeTitle {
    /// The title as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A title as a PDU has it; some peers pad it with zero bytes.
    pub(crate) fn from_wire(bytes: &[u8; WIRE]) -> Result<Self, NoTitle> {
        let text = std::str::from_utf8(bytes).map_err(|_| NoTitle)?;
        text.trim_end_matches('\0').parse()
    }

    /// The title as a PDU has it.
    pub(crate) fn wire(&self) -> [u8; WIRE] {
        let mut wire = [b' '; WIRE];
        wire.iter_mut().zip(self.0.bytes()).for_each(|(to, from)| *to = from);
        wire
    }
}

impl FromStr for AeTitle {
    type Err = NoTitle;

    fn from_str(text: &str) -> Result<Self, NoTitle> {
        let text = text.trim_matches(' ');
        let allowed = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'\\';
        if text.is_empty() || text.len() > WIRE || !text.bytes().all(allowed) {
            return Err(NoTitle);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Which titles are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Titles {
    /// Every title.
    Any,
    /// Those of a list.
    Only(Vec<AeTitle>),
}

impl Titles {
    /// Whether a title is let in.
    #[must_use]
    pub fn allow(&self, title: &AeTitle, case_sensitive: bool) -> bool {
        let same = |other: &AeTitle| match case_sensitive {
            true => other == title,
            false => other.0.eq_ignore_ascii_case(&title.0),
        };
        match self {
            Self::Any => true,
            Self::Only(titles) => titles.iter().any(same),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_trimmed_and_short() {
        let title: AeTitle = " CT 1  ".parse().unwrap();
        assert_eq!(title.as_str(), "CT 1");
        assert_eq!(&title.wire(), b"CT 1            ");
        assert_eq!(AeTitle::from_wire(b"CT 1\0\0\0\0\0\0\0\0\0\0\0\0"), Ok(title.clone()));
        for text in ["", "   ", "A\\B", "12345678901234567", "A\nB", "Ä"] {
            assert_eq!(text.parse::<AeTitle>(), Err(NoTitle), "{text:?}");
        }
        assert_eq!(AeTitle::from_wire(&[0xff; 16]), Err(NoTitle));
        let only = Titles::Only(vec![title]);
        let other: AeTitle = "ct 1".parse().unwrap();
        assert!(!only.allow(&other, true) && only.allow(&other, false));
        assert!(Titles::Any.allow(&other, true));
    }
}
