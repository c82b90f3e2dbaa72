//! What a signature says of a package, in its trusted comment: `monet name=NAME version=V
//! serial=N`.

use std::fmt;

use crate::text::is_plain;

/// The longest name.
const MAX_NAME: usize = 64;

/// The highest serial: any reader of JSON knows it exactly.
pub const MAX_SERIAL: u64 = (1 << 53) - 1;

/// What a maker signs beside the package itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The manifest's name.
    pub name: String,
    /// The manifest's version.
    pub version: String,
    /// Counts what must not be gone back behind; independent of the version. Releases between which
    /// going back does no harm may share one. At most [`MAX_SERIAL`].
    pub serial: u64,
}

impl Release {
    /// Reads a trusted comment: each field once, in any order, and no other. A field that this
    /// version does not know may forbid what it would do, so that it refuses it.
    pub(super) fn parse(comment: &str) -> Option<Self> {
        let mut words = comment.split(' ');
        let (mut name, mut version, mut serial) = (None, None, None);
        if words.next() != Some("monet") {
            return None;
        }
        for word in words {
            let (key, value) = word.split_once('=')?;
            let field = match key {
                "name" => &mut name,
                "version" => &mut version,
                "serial" => &mut serial,
                _ => return None,
            };
            if value.is_empty() || field.replace(value.to_owned()).is_some() {
                return None;
            }
        }
        let serial = serial?;
        let digits = serial.bytes().all(|byte| byte.is_ascii_digit());
        let serial = serial.parse().ok().filter(|serial| digits && *serial <= MAX_SERIAL)?;
        let release = Self { name: name?, version: version?, serial };
        (is_name(&release.name) && is_plain(&release.version)).then_some(release)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, serial } = self;
        write!(f, "monet name={name} version={version} serial={serial}")
    }
}

/// Whether a package of this name can have a folder: no hidden one, none outside of the store.
pub(super) fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first && name.len() <= MAX_NAME && name.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_comment_has_each_field_once() {
        let release = Release { name: "liver-ct".into(), version: "1.2.0".into(), serial: 7 };
        for comment in [
            "monet name=liver-ct version=1.2.0 serial=7",
            "monet serial=7 name=liver-ct version=1.2.0",
            "monet name=liver-ct version=1.2.0 serial=007",
        ] {
            assert_eq!(Release::parse(comment).as_ref(), Some(&release), "{comment}");
        }
        for comment in [
            "",
            "monet",
            "timestamp:1633700835\tfile:test\tprehashed",
            "name=liver-ct version=1.2.0 serial=7",
            "monet name=liver-ct version=1.2.0",
            "monet name=liver-ct version=1.2.0 serial=",
            "monet name=liver-ct version=1.2.0 serial=+7",
            "monet name=liver-ct version=1.2.0 serial=-7",
            "monet name=liver-ct version=1.2.0 serial=9007199254740992",
            "monet name=liver-ct version=1.2.0 serial=18446744073709551616",
            "monet name=liver-ct version=1.2.0 serial=7 serial=8",
            "monet name=liver-ct version=1.2.0 serial=7 expires=2027",
            "monet name=../liver version=1.2.0 serial=7",
            "monet name=.new version=1.2.0 serial=7",
            "monet  name=liver-ct version=1.2.0 serial=7",
            "monet name=liver-ct version=1\u{1b}[2J serial=7",
        ] {
            assert_eq!(Release::parse(comment), None, "{comment}");
        }
    }

    proptest! {
        #[test]
        fn a_release_reads_back(
            name in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
            version in "[!-~]{1,20}",
            serial in 0..=MAX_SERIAL,
        ) {
            let release = Release { name, version, serial };
            prop_assert_eq!(Release::parse(&release.to_string()), Some(release));
        }

        #[test]
        fn any_comment_is_read_or_refused(comment in "(monet )?\\PC{0,60}") {
            if let Some(release) = Release::parse(&comment) {
                prop_assert!(is_name(&release.name));
                prop_assert_eq!(Release::parse(&release.to_string()), Some(release));
            }
        }
    }
}
