//! A-ASSOCIATE-RQ and A-ASSOCIATE-AC (PS3.8, sections 9.3.2 and 9.3.3).
//!
//! ```text
//! version16  0 0  called AE 16  calling AE 16  0 x 32  item+
//! ```

use super::items::{Items, UserInformation, begin, end, put, uid};
use super::{PduKind, begin as begin_pdu, end as end_pdu};
use crate::error::Violation;
use crate::limits::{MAX_CONTEXTS, MAX_SYNTAXES};
use crate::title::WIRE;
use crate::uids::APPLICATION_CONTEXT;

/// Bytes in front of the items.
pub(super) const FIXED: usize = 68;
/// The only version of the protocol, a bit.
const VERSION: u16 = 1;

/// A request to open an association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Associate {
    /// Versions of the protocol, a bit each; bit 0 is the one that exists.
    pub versions: u16,
    /// The title that is called, padded.
    pub called: [u8; WIRE],
    /// The title of the caller, padded.
    pub calling: [u8; WIRE],
    /// Application context name; empty if none is said.
    pub application_context: String,
    /// What the caller wants to speak about.
    pub contexts: Vec<ProposedContext>,
    /// What the caller says of itself.
    pub user: UserInformation,
}

/// A SOP class and the transfer syntaxes that its instances may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedContext {
    /// Odd number that names the context.
    pub id: u8,
    /// SOP class; empty where the peer names none that is a UID.
    pub class: String,
    /// Transfer syntaxes.
    pub syntaxes: Vec<String>,
}

/// The answer that opens an association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// The request's called title, as it came.
    pub called: [u8; WIRE],
    /// The request's calling title, as it came.
    pub calling: [u8; WIRE],
    /// An answer to each context.
    pub contexts: Vec<ContextAnswer>,
    /// What the acceptor says of itself.
    pub user: UserInformation,
}

/// The answer to a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextAnswer {
    /// The context's number.
    pub id: u8,
    /// Yes or no.
    pub answer: Answer,
    /// The syntax that was chosen; of no meaning if the context was refused.
    pub syntax: String,
}

/// Yes or no to a context (PS3.8, table 9-18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Acceptance,
    /// No: the other side's application refuses.
    UserRejection,
    /// No, without reason.
    NoReason,
    /// No: the SOP class is none that the acceptor takes.
    ClassNotSupported,
    /// No: none of the transfer syntaxes is one that the acceptor takes.
    SyntaxesNotSupported,
}

impl Answer {
    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Acceptance,
            1 => Self::UserRejection,
            3 => Self::ClassNotSupported,
            4 => Self::SyntaxesNotSupported,
            _ => Self::NoReason,
        }
    }
}

/// The part that both PDUs begin with.
fn put_front(versions: u16, called: &[u8], calling: &[u8], context: &str, out: &mut Vec<u8>) {
    out.extend(versions.to_be_bytes());
    out.extend([0; 2]);
    out.extend(called);
    out.extend(calling);
    out.extend([0; 32]);
    put(0x10, context.as_bytes(), out);
}

/// Version, titles and items of a body.
type Front<'a> = (u16, [u8; WIRE], [u8; WIRE], Items<'a>);

fn front(body: &[u8]) -> Result<Front<'_>, Violation> {
    let short = || Violation::Item { kind: 0, found: FIXED as u32, left: body.len() as u32 };
    let (fixed, items) = body.split_first_chunk::<FIXED>().ok_or_else(short)?;
    let mut titles = fixed[4..4 + 2 * WIRE].as_chunks::<WIRE>().0.iter();
    let (Some(called), Some(calling)) = (titles.next(), titles.next()) else {
        return Err(short());
    };
    Ok((u16::from_be_bytes([fixed[0], fixed[1]]), *called, *calling, Items(items)))
}

impl Associate {
    /// A request with the version and the application context that exist.
    #[must_use]
    pub fn new(called: [u8; WIRE], calling: [u8; WIRE], user: UserInformation) -> Self {
        let application_context = APPLICATION_CONTEXT.to_owned();
        let contexts = Vec::new();
        Self { versions: VERSION, called, calling, application_context, contexts, user }
    }

    /// Whether the protocol's version is the one that exists.
    #[must_use]
    pub fn has_version(&self) -> bool {
        self.versions & VERSION != 0
    }

    /// Appends the PDU.
    pub fn put(&self, out: &mut Vec<u8>) {
        let body = begin_pdu(PduKind::AssociateRequest, out);
        put_front(self.versions, &self.called, &self.calling, &self.application_context, out);
        for context in &self.contexts {
            let at = begin(0x20, out);
            out.extend([context.id, 0, 0, 0]);
            put(0x30, context.class.as_bytes(), out);
            for syntax in &context.syntaxes {
                put(0x40, syntax.as_bytes(), out);
            }
            end(at, out);
        }
        self.user.put(out);
        end_pdu(body, out);
    }

    /// From a PDU's body. Items of unknown types are passed over.
    ///
    /// # Errors
    ///
    /// An item that does not end within the body, a context's number that is even or comes twice.
    pub fn parse(body: &[u8]) -> Result<Self, Violation> {
        let (versions, called, calling, items) = front(body)?;
        let mut request = Self::new(called, calling, UserInformation::default());
        request.versions = versions;
        request.application_context.clear();
        for item in items {
            match item? {
                (0x10, name) => request.application_context = uid(name),
                (0x20, content) => {
                    let context = proposed(content)?;
                    let id = context.id;
                    let twice = request.contexts.iter().any(|other| other.id == id);
                    if twice || id.is_multiple_of(2) || request.contexts.len() == MAX_CONTEXTS {
                        return Err(Violation::ContextNumber { id });
                    }
                    request.contexts.push(context);
                }
                (0x50, content) => request.user = UserInformation::parse(content)?,
                _ => {}
            }
        }
        Ok(request)
    }
}

/// A context of a request.
fn proposed(content: &[u8]) -> Result<ProposedContext, Violation> {
    let ([id, _], items) = context(0x20, content)?;
    let (mut class, mut syntaxes) = (String::new(), Vec::new());
    for item in items {
        match item? {
            (0x30, name) => class = uid(name),
            (0x40, name) if syntaxes.len() < MAX_SYNTAXES => {
                let syntax = uid(name);
                if !syntax.is_empty() {
                    syntaxes.push(syntax);
                }
            }
            _ => {}
        }
    }
    Ok(ProposedContext { id, class, syntaxes })
}

/// A context's number, its third byte, and its items.
fn context(kind: u8, content: &[u8]) -> Result<([u8; 2], Items<'_>), Violation> {
    match content.split_first_chunk::<4>() {
        Some((&[id, _, result, _], items)) => Ok(([id, result], Items(items))),
        None => Err(Violation::Item { kind, found: 4, left: content.len() as u32 }),
    }
}

impl Accept {
    /// Appends the PDU.
    pub fn put(&self, out: &mut Vec<u8>) {
        let body = begin_pdu(PduKind::AssociateAccept, out);
        put_front(VERSION, &self.called, &self.calling, APPLICATION_CONTEXT, out);
        for context in &self.contexts {
            let at = begin(0x21, out);
            out.extend([context.id, 0, context.answer as u8, 0]);
            put(0x40, context.syntax.as_bytes(), out);
            end(at, out);
        }
        self.user.put(out);
        end_pdu(body, out);
    }

    /// From a PDU's body. Items of unknown types are passed over.
    ///
    /// # Errors
    ///
    /// An item that does not end within the body, more contexts than there can be.
    pub fn parse(body: &[u8]) -> Result<Self, Violation> {
        let (_, called, calling, items) = front(body)?;
        let mut contexts = Vec::new();
        let mut user = UserInformation::default();
        for item in items {
            match item? {
                (0x21, content) => {
                    let context = answered(content)?;
                    if contexts.len() == MAX_CONTEXTS {
                        return Err(Violation::ContextNumber { id: context.id });
                    }
                    contexts.push(context);
                }
                (0x50, content) => user = UserInformation::parse(content)?,
                _ => {}
            }
        }
        Ok(Self { called, calling, contexts, user })
    }
}

/// A context of an answer.
fn answered(content: &[u8]) -> Result<ContextAnswer, Violation> {
    let ([id, result], items) = context(0x21, content)?;
    let mut syntax = String::new();
    for item in items {
        if let (0x40, name) = item? {
            syntax = uid(name);
        }
    }
    Ok(ContextAnswer { id, answer: Answer::from_byte(result), syntax })
}
