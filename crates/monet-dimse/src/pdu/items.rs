//! What associations' PDUs consist of: items in items (PS3.8, section 9.3.2 and annex D; PS3.7,
//! annex D.3.3).
//!
//! ```text
//! type  0  length16  content       big-endian
//!   10 application context   20, 21 presentation context   50 user information
//!     30 abstract syntax   40 transfer syntax
//!     51 maximum length   52 implementation class   53 asynchronous window
//!     54 role selection   55 implementation version   56, 57 extended negotiation
//!     58, 59 user identity
//! ```

use crate::error::Violation;
use crate::limits::MAX_ROLES;

/// Longest UID (PS3.5, section 9.1).
const UID: usize = 64;
/// Longest implementation version name.
const VERSION: usize = 16;

/// Walks over items; what comes out lies within the bytes that went in.
pub(super) struct Items<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = Result<(u8, &'a [u8]), Violation>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let front = self.0.split_first_chunk::<4>();
        let Some((&[kind, _, a, b], rest)) = front else {
            let left = self.0.len();
            self.0 = &[];
            return Some(Err(Violation::Item { kind: 0, found: 4, left: left as u32 }));
        };
        let found = u16::from_be_bytes([a, b]);
        let Some((content, rest)) = rest.split_at_checked(found.into()) else {
            self.0 = &[];
            let (found, left) = (found.into(), rest.len() as u32);
            return Some(Err(Violation::Item { kind, found, left }));
        };
        self.0 = rest;
        Some(Ok((kind, content)))
    }
}

/// Begins an item whose length is not known yet; [`end`] fills it in.
pub(super) fn begin(kind: u8, out: &mut Vec<u8>) -> usize {
    out.extend([kind, 0, 0, 0]);
    out.len()
}

pub(super) fn end(content: usize, out: &mut [u8]) {
    // What this side writes is far shorter than 64 KiB.
    let length = (out.len() - content) as u16;
    out[content - 2..content].copy_from_slice(&length.to_be_bytes());
}

pub(super) fn put(kind: u8, content: &[u8], out: &mut Vec<u8>) {
    let at = begin(kind, out);
    out.extend(content);
    end(at, out);
}

/// A UID's text; empty where the bytes are none. Peers pad UIDs though they should not.
pub(super) fn uid(bytes: &[u8]) -> String {
    let text = bytes.trim_ascii_end();
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let text = &text[..end];
    let digits = text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    match std::str::from_utf8(text) {
        Ok(text) if digits && text.len() <= UID => text.to_owned(),
        _ => String::new(),
    }
}

/// Which of the two roles of a SOP class a requestor would play (PS3.7, section D.3.3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// SOP class.
    pub class: String,
    /// Service class user.
    pub user: bool,
    /// Service class provider.
    pub provider: bool,
}

/// What the two sides say of themselves. Extended negotiation and user identity are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserInformation {
    /// Longest P-DATA body that the speaker takes, in bytes; 0 is any.
    pub max_length: u32,
    /// Implementation Class UID.
    pub implementation: String,
    /// Implementation Version Name; empty if none is said.
    pub version: String,
    /// Roles other than the requestor's default one, which is user.
    pub roles: Vec<Role>,
    /// Operations that may be under way at once, invoked and performed; 0 is any.
    pub window: Option<(u16, u16)>,
}

impl UserInformation {
    /// Appends the item.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let at = begin(0x50, out);
        put(0x51, &self.max_length.to_be_bytes(), out);
        put(0x52, self.implementation.as_bytes(), out);
        if let Some((invoked, performed)) = self.window {
            let ([a, b], [c, d]) = (invoked.to_be_bytes(), performed.to_be_bytes());
            put(0x53, &[a, b, c, d], out);
        }
        for role in &self.roles {
            let inner = begin(0x54, out);
            out.extend((role.class.len() as u16).to_be_bytes());
            out.extend(role.class.as_bytes());
            out.extend([u8::from(role.user), u8::from(role.provider)]);
            end(inner, out);
        }
        if !self.version.is_empty() {
            put(0x55, self.version.as_bytes(), out);
        }
        end(at, out);
    }

    /// From an item's content.
    pub(super) fn parse(content: &[u8]) -> Result<Self, Violation> {
        let mut said = Self::default();
        for item in Items(content) {
            let (kind, content) = item?;
            let wrong = Violation::Item { kind, found: content.len() as u32, left: 0 };
            match kind {
                0x51 => {
                    let bytes = <[u8; 4]>::try_from(content).map_err(|_| wrong)?;
                    said.max_length = u32::from_be_bytes(bytes);
                }
                0x52 => said.implementation = uid(content),
                0x53 => {
                    let [a, b, c, d] = <[u8; 4]>::try_from(content).map_err(|_| wrong)?;
                    let window = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                    said.window = Some(window);
                }
                0x54 if said.roles.len() < MAX_ROLES => {
                    said.roles.push(role(content).ok_or(wrong)?);
                }
                0x55 => said.version = version(content),
                // Extended negotiation, user identity, and what is not known.
                _ => {}
            }
        }
        Ok(said)
    }
}

fn role(content: &[u8]) -> Option<Role> {
    let (length, rest) = content.split_first_chunk::<2>()?;
    let (class, roles) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let &[user, provider] = roles else { return None };
    Some(Role { class: uid(class), user: user == 1, provider: provider == 1 })
}

/// A version name without what cannot be printed.
fn version(content: &[u8]) -> String {
    let printable = |byte: &&u8| matches!(byte, b' '..=b'~');
    let text = content.iter().filter(printable).take(VERSION).map(|&byte| char::from(byte));
    text.collect::<String>().trim().to_owned()
}
