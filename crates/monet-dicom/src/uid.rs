//! Unique identifiers: of classes and syntaxes, and made ones.

use sha2::{Digest, Sha256};

/// A UID under 2.25 that follows from what it identifies, so that the same input, package and
/// settings give the same objects.
///
/// The number is a UUID of version 8 (RFC 9562, section 5.8: content is the maker's), made of the
/// SHA-256 of the parts, each with its length in front.
#[must_use]
pub fn derived(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut number = u128::from_be_bytes(*digest.first_chunk().expect("32 bytes hold 16"));
    number = number & !(0xf << 76) | 8 << 76;
    number = number & !(3 << 62) | 2 << 62;
    format!("2.25.{number}")
}

/// Whether text is a UID as PS3.5, section 9.1 has it: numbers without leading zeros, divided by
/// full stops, 64 characters at most.
#[must_use]
pub fn is_valid(uid: &str) -> bool {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        digits && (part == "0" || !part.starts_with('0'))
    };
    uid.len() <= 64 && uid.split('.').all(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_uids_are_valid_and_follow_from_their_parts() {
        let one = derived(&[b"a", b"bc"]);
        assert!(is_valid(&one), "{one}");
        assert_eq!(one, derived(&[b"a", b"bc"]));
        assert_ne!(one, derived(&[b"ab", b"c"]));
    }

    #[test]
    fn uids_are_numbers_and_full_stops() {
        assert!(is_valid("1.2.840.10008.1.2") && is_valid("0.1"));
        for uid in ["", "1..2", "1.02", "1.2.", "1.a", &"1.".repeat(33)] {
            assert!(!is_valid(uid), "{uid}");
        }
    }
}
