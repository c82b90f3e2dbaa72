//! Text that others wrote (file names, labels, names in a net) where people and programs read it:
//! terminals, logs, JSON.
//!
//! A file name is bytes. It reaches the system unchanged; only here it becomes text. A control
//! character could move a terminal's cursor or begin a line of a log that nobody wrote, so that
//! none is shown as it is.
//!
//! ```
//! use monet::text::{plain, shown};
//!
//! assert_eq!(plain("all\ndone\u{1b}[2J"), r"all\ndone\x1b[2J");
//! # #[cfg(unix)] {
//! use std::os::unix::ffi::OsStrExt;
//! let latin1 = std::path::Path::new(std::ffi::OsStr::from_bytes(b"M\xfcller.nii"));
//! assert_eq!(shown(latin1).to_string(), r"M\xfcller.nii");
//! # }
//! ```

use std::borrow::Cow;
use std::error::Error;
use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::path::Path;

use serde::Serializer;

/// Whether a character changes how a terminal shows what is around it: controls, line ends, and the
/// marks that turn the direction of writing.
fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The character, or its escape: `\n`, `\t`, `\x1b`, `\u{202e}`.
fn put(out: &mut impl Write, c: char) -> fmt::Result {
    match c {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        c if c.is_ascii_control() => write!(out, "\\x{:02x}", u32::from(c)),
        c if acts(c) => write!(out, "\\u{{{:x}}}", u32::from(c)),
        c => out.write_char(c),
    }
}

fn escaped(text: &str, acts: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&acts) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) { put(&mut out, c).expect("a string takes all") } else { out.push(c) }
    }
    out.into()
}

/// Whether text can be shown as it is: it has no control character.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    !text.contains(acts)
}

/// Text on one line, its control characters escaped.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, acts)
}

/// Text of several lines, its control characters escaped but for ends of lines and tabs.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| acts(c) && !matches!(c, '\n' | '\t'))
}

/// An error with its causes, one after another.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// A file name as a person reads it: bytes that are no UTF-8 as `\xff`, control characters escaped.
#[must_use]
pub fn shown(path: &(impl AsRef<OsStr> + ?Sized)) -> Shown<'_> {
    Shown(path.as_ref())
}

/// Of [`shown`].
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(&'a OsStr);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        bytes(self.0, &mut out, put)?;
        f.pad(&out)
    }
}

/// A file name as a program reads it, for JSON and CSV: a byte that is no UTF-8 is `\x` and two
/// hexadecimal digits, and a backslash is doubled, so that the bytes can be had back. (On Windows,
/// where it parts folders, a backslash is itself.)
#[must_use]
pub fn exact(path: &(impl AsRef<OsStr> + ?Sized)) -> String {
    let mut out = String::new();
    let double = |out: &mut String, c| {
        if c == '\\' && !cfg!(windows) { out.write_str("\\\\") } else { out.write_char(c) }
    };
    bytes(path.as_ref(), &mut out, double).expect("a string takes all");
    out
}

/// Writes what is UTF-8 by `put` and other bytes as `\xff`.
fn bytes(
    name: &OsStr,
    out: &mut String,
    put: impl Fn(&mut String, char) -> fmt::Result,
) -> fmt::Result {
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        chunk.valid().chars().try_for_each(|c| put(out, c))?;
        chunk.invalid().iter().try_for_each(|byte| write!(out, "\\x{byte:02x}"))?;
    }
    Ok(())
}

/// JSON as a terminal may show it, too: control characters that JSON lets stand in strings are
/// escaped as it escapes the others.
pub(crate) fn json(text: String) -> String {
    let stands = |c| acts(c) && c != '\n';
    if !text.contains(stands) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if stands(c) {
            write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes all");
        } else {
            out.push(c);
        }
    }
    out
}

/// Text as a quoted field of CSV, its control characters escaped. What a spreadsheet would take for
/// a formula begins with an apostrophe.
#[must_use]
pub fn cell(text: &str) -> String {
    let formula = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    format!("\"{formula}{}\"", plain(text).replace('"', "\"\""))
}

/// A path in a report, by [`exact`].
pub(crate) fn serialize_path<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&exact(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        for (text, told) in [
            ("scan ü 脳 .nii", "scan ü 脳 .nii"),
            ("a\u{1b}]52;c;aGk=\u{7}", "a\\x1b]52;c;aGk=\\x07"),
            ("a\u{7f}\u{9b}2J", "a\\x7f\\u{9b}2J"),
            ("gpj.\u{202e}nii", "gpj.\\u{202e}nii"),
            ("a\r\n\tb\u{2028}c", "a\\r\\n\\tb\\u{2028}c"),
        ] {
            assert_eq!(plain(text), told);
            assert_eq!(shown(text).to_string(), told);
            assert_eq!(is_plain(text), text == told);
        }
        assert_eq!(lines("a\n\tb\u{1b}"), "a\n\tb\\x1b");
    }

    #[test]
    fn a_cell_is_no_formula() {
        assert_eq!(cell("=HYPERLINK(\"x\")\u{1b}\n"), "\"'=HYPERLINK(\"\"x\"\")\\x1b\\n\"");
        assert_eq!(cell("scan-1, \"left\""), "\"scan-1, \"\"left\"\"\"");
    }

    #[cfg(unix)]
    #[test]
    fn names_are_bytes_and_can_be_had_back() {
        use std::os::unix::ffi::OsStrExt;
        let back = |text: &str| {
            let (mut out, mut rest) = (Vec::new(), text.as_bytes());
            while let [first, tail @ ..] = rest {
                rest = match (first, tail) {
                    (b'\\', [b'x', digits @ ..]) => {
                        out.push(
                            u8::from_str_radix(str::from_utf8(&digits[..2]).unwrap(), 16).unwrap(),
                        );
                        &digits[2..]
                    }
                    (b'\\', [_, tail @ ..]) | (_, tail) => {
                        out.push(*first);
                        tail
                    }
                };
            }
            out
        };
        for name in
            [&b"M\xfcller.nii"[..], b"M\\xfcller.nii", b"a\\", b"\\\\x41\xff\xfe", "ü\n".as_bytes()]
        {
            assert_eq!(back(&exact(OsStr::from_bytes(name))), name);
        }
        assert_eq!(exact(OsStr::from_bytes(b"\xff.nii")), "\\xff.nii");
        assert_ne!(exact(OsStr::from_bytes(b"\xff")), exact(OsStr::from_bytes(b"\\xff")));
        assert_eq!(shown(OsStr::from_bytes(b"\xff\x1b.nii")).to_string(), "\\xff\\x1b.nii");
    }
}
