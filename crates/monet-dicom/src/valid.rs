//! Whether a value is what its value representation allows (PS3.5, section 6.2).
//!
//! What an object takes over from its source is held against these rules, since receivers refuse
//! an object for a value that they let pass in an image.

use crate::dataset::Vr;

/// How the characters of text are counted: by the Specific Character Set (0008,0005).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Characters {
    /// A byte each.
    Bytes,
    /// UTF-8.
    Utf8,
    /// By escape sequences, or two bytes each: they cannot be counted without a table.
    Unknown,
}

impl Characters {
    /// Of a Specific Character Set; an empty one is ASCII.
    #[must_use]
    pub fn of(set: &[u8]) -> Self {
        let set = String::from_utf8_lossy(set);
        let set = set.trim_matches([' ', '\0']);
        match set {
            "ISO_IR 192" => Self::Utf8,
            "GB18030" | "GBK" => Self::Unknown,
            _ if set.contains('\\') || set.contains("2022") => Self::Unknown,
            _ => Self::Bytes,
        }
    }

    /// Whether text has at most so many characters.
    fn fit(self, text: &[u8], most: usize) -> bool {
        match self {
            Self::Bytes => text.len() <= most,
            // A byte that begins no character is one that goes on.
            Self::Utf8 => text.iter().filter(|byte| **byte & 0xc0 != 0x80).count() <= most,
            Self::Unknown => true,
        }
    }
}

/// Whether bytes, with or without padding, are values of a representation. What has no rule here
/// passes.
#[must_use]
pub fn value(vr: Vr, bytes: &[u8], characters: Characters) -> bool {
    let each = |rule: fn(&[u8]) -> bool| {
        bytes.split(|byte| *byte == b'\\').all(|value| {
            let value = value.trim_ascii();
            value.is_empty() || rule(value)
        })
    };
    match &vr.0 {
        b"UI" => {
            let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
            bytes.is_empty() || bytes.split(|byte| *byte == b'\\').all(uid)
        }
        b"AS" => each(age),
        b"CS" => each(code),
        b"DA" => each(date),
        b"TM" => each(time),
        b"DS" => each(decimal),
        b"IS" => each(integer),
        // A backslash may be half of a character, so text of several values is not taken apart.
        b"SH" => text(bytes, characters) && several(bytes, 16, characters),
        b"LO" => text(bytes, characters) && several(bytes, 64, characters),
        b"PN" => text(bytes, characters) && name(bytes, characters),
        b"AT" => bytes.len().is_multiple_of(4),
        b"US" | b"SS" | b"OW" => bytes.len().is_multiple_of(2),
        b"UL" | b"SL" | b"FL" => bytes.len().is_multiple_of(4),
        b"FD" => bytes.len().is_multiple_of(8),
        _ => true,
    }
}

fn uid(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(crate::uid::is_valid)
}

/// Whether bytes, with or without padding, are one value: none of several.
#[must_use]
pub fn is_single(vr: Vr, bytes: &[u8], characters: Characters) -> bool {
    // A backslash may be half of a character.
    let uncertain = characters == Characters::Unknown && matches!(&vr.0, b"SH" | b"LO" | b"PN");
    uncertain || !bytes.contains(&b'\\')
}

/// No control characters but those of character sets; of UTF-8 what is UTF-8.
fn text(bytes: &[u8], characters: Characters) -> bool {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let unicode = characters == Characters::Utf8;
    bytes.iter().all(|byte| !byte.is_ascii_control() || *byte == 0x1b && !unicode)
        && (!unicode || std::str::from_utf8(bytes).is_ok())
}

fn several(bytes: &[u8], most: usize, characters: Characters) -> bool {
    bytes.split(|byte| *byte == b'\\').all(|value| characters.fit(value.trim_ascii(), most))
}

/// Up to three groups: alphabetic, ideographic, phonetic.
fn name(bytes: &[u8], characters: Characters) -> bool {
    bytes.split(|byte| *byte == b'\\').all(|name| {
        // An equals sign may be half of a character, as a backslash may.
        let groups = name.split(|byte| *byte == b'=');
        characters == Characters::Unknown
            || groups.clone().count() <= 3
                && groups.clone().all(|group| characters.fit(group.trim_ascii(), 64))
    })
}

fn age(value: &[u8]) -> bool {
    matches!(value, [a, b, c, b'D' | b'W' | b'M' | b'Y'] if digits(&[*a, *b, *c]))
}

fn code(value: &[u8]) -> bool {
    let allowed = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_' | b' ');
    value.len() <= 16 && value.iter().all(allowed)
}

fn digits(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_digit)
}

/// Whether two digits are a number of a range.
fn between(value: &[u8], least: u8, most: u8) -> bool {
    matches!(value, [a, b] if digits(value)
        && (least..=most).contains(&((a - b'0') * 10 + (b - b'0'))))
}

fn date(value: &[u8]) -> bool {
    value.len() == 8
        && digits(&value[..4])
        && between(&value[4..6], 1, 12)
        && between(&value[6..], 1, 31)
}

fn time(value: &[u8]) -> bool {
    let (whole, fraction) = match value.iter().position(|byte| *byte == b'.') {
        Some(6) => (&value[..6], Some(&value[7..])),
        Some(_) => return false,
        None => (value, None),
    };
    let parts = matches!(whole.len(), 2 | 4 | 6);
    // Second 60 is a leap second.
    let limits = [23, 59, 60];
    let in_range = whole.chunks(2).zip(limits).all(|(part, most)| between(part, 0, most));
    parts && in_range && fraction.is_none_or(|part| part.len() <= 6 && digits(part))
}

fn decimal(value: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'e' | b'E' | b'.');
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<f64>().ok());
    value.len() <= 16 && value.iter().all(plain) && number.is_some_and(f64::is_finite)
}

fn integer(value: &[u8]) -> bool {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i32>().ok());
    value.len() <= 12 && number.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(vr: &[u8; 2], bytes: &[u8]) -> bool {
        value(Vr(*vr), bytes, Characters::Bytes)
    }

    #[test]
    fn values_keep_to_their_representation() {
        assert!(ok(b"DA", b"20260131") && ok(b"DA", b"") && ok(b"DA", b"  "));
        assert!(!ok(b"DA", b"2026.1.31") && !ok(b"DA", b"20261301") && !ok(b"DA", b"2026013"));
        assert!(ok(b"TM", b"23") && ok(b"TM", b"235960.123456 ") && ok(b"TM", b"0102"));
        assert!(!ok(b"TM", b"24") && !ok(b"TM", b"1:02:03") && !ok(b"TM", b"010203."));
        assert!(ok(b"CS", b"DERIVED\\PRIMARY") && !ok(b"CS", b"derived"));
        assert!(ok(b"AS", b"018M") && !ok(b"AS", b"18Y"));
        assert!(ok(b"DS", b"-1.5\\+2E-3 ") && !ok(b"DS", b"1,5") && !ok(b"DS", b"nan"));
        assert!(!ok(b"DS", b"0.12345678901234567"));
        assert!(ok(b"IS", b" 12") && !ok(b"IS", b"1.0") && !ok(b"IS", b"2147483648"));
        assert!(ok(b"UI", b"1.2\0") && ok(b"UI", b"") && !ok(b"UI", b"1.02"));
        assert!(ok(b"LO", &[b'x'; 64]) && !ok(b"LO", &[b'x'; 65]) && !ok(b"LO", b"a\nb"));
        assert!(ok(b"PN", b"a=b=c") && !ok(b"PN", b"a=b=c=d"));
        assert!(!ok(b"US", &[0; 3]) && ok(b"OB", &[0; 3]));
    }

    #[test]
    fn characters_are_counted_by_the_character_set() {
        let umlauts = "ä".repeat(16).into_bytes();
        let fits = |set: &[u8]| value(Vr(*b"SH"), &umlauts, Characters::of(set));
        assert!(fits(b"ISO_IR 192") && fits(b"\\ISO 2022 IR 87") && fits(b"GB18030 "));
        assert!(!fits(b"ISO_IR 100") && !fits(b""));
        let name = |bytes: &[u8], set: Characters| value(Vr(*b"PN"), bytes, set);
        assert!(name(b"M\xfcller", Characters::Bytes) && !name(b"M\xfcller", Characters::Utf8));
        assert!(name(b"\x1b$B;3", Characters::Unknown) && !name(b"\x1b$B;3", Characters::Utf8));
    }

    #[test]
    fn a_backslash_divides_values_unless_it_may_be_half_of_a_character() {
        let single = |vr: &[u8; 2], set| is_single(Vr(*vr), b"A\\B", set);
        assert!(!single(b"SH", Characters::Bytes) && !single(b"LO", Characters::Utf8));
        assert!(single(b"PN", Characters::Unknown) && !single(b"DA", Characters::Unknown));
        assert!(is_single(Vr(*b"SH"), b"A/B ", Characters::Bytes));
    }
}
