//! Command sets: what a message asks or answers (PS3.7, section 6.3 and annex E). They are always
//! in implicit VR little endian.

use std::io::Cursor;

use monet_dicom::read::{Keep, data_set};
use monet_dicom::syntax::Syntax;
use monet_dicom::write::{self, Writer};
use monet_dicom::{Dataset, Tag, uid};

use crate::error::Violation;
use crate::limits::MAX_COMMENT;
use crate::status::Status;

const GROUP_LENGTH: Tag = Tag(0, 0x0000);
const AFFECTED_CLASS: Tag = Tag(0, 0x0002);
const REQUESTED_CLASS: Tag = Tag(0, 0x0003);
const FIELD: Tag = Tag(0, 0x0100);
/// Message ID.
pub(crate) const MESSAGE: Tag = Tag(0, 0x0110);
const ANSWERED: Tag = Tag(0, 0x0120);
const PRIORITY: Tag = Tag(0, 0x0700);
const DATA_SET: Tag = Tag(0, 0x0800);
/// Status.
pub(crate) const STATUS: Tag = Tag(0, 0x0900);
const COMMENT: Tag = Tag(0, 0x0902);
const AFFECTED_INSTANCE: Tag = Tag(0, 0x1000);
const REQUESTED_INSTANCE: Tag = Tag(0, 0x1001);
const EVENT: Tag = Tag(0, 0x1002);
const ACTION: Tag = Tag(0, 0x1008);

/// What is kept of a command.
const KEPT: &[Tag] = &[
    AFFECTED_CLASS,
    REQUESTED_CLASS,
    FIELD,
    MESSAGE,
    ANSWERED,
    DATA_SET,
    STATUS,
    COMMENT,
    AFFECTED_INSTANCE,
    REQUESTED_INSTANCE,
    EVENT,
    ACTION,
];

/// C-STORE-RQ.
pub(crate) const STORE: u16 = 0x0001;
/// C-ECHO-RQ.
pub(crate) const ECHO: u16 = 0x0030;
/// N-EVENT-REPORT-RQ.
pub(crate) const EVENT_REPORT: u16 = 0x0100;
/// N-ACTION-RQ.
pub(crate) const N_ACTION: u16 = 0x0130;
/// C-CANCEL-RQ, which has no answer.
pub(crate) const CANCEL: u16 = 0x0fff;
/// The bit of answers.
pub(crate) const ANSWER: u16 = 0x8000;
/// Command Data Set Type of a message without data set.
const NO_DATA_SET: u16 = 0x0101;
/// Command Data Set Type of a message with one; anything but [`NO_DATA_SET`].
const HAS_DATA_SET: u16 = 0x0001;

/// A command set. Elements that are missing or no values of their kind are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Command {
    pub(crate) field: u16,
    /// Message ID.
    pub(crate) message: Option<u16>,
    /// Message ID Being Responded To.
    pub(crate) answered: Option<u16>,
    /// Affected or Requested SOP Class UID.
    pub(crate) class: Option<String>,
    /// Affected or Requested SOP Instance UID.
    pub(crate) instance: Option<String>,
    /// Whether a data set follows.
    pub(crate) data_set: bool,
    pub(crate) status: Option<Status>,
    /// Event or Action Type ID.
    pub(crate) kind: Option<u16>,
    /// Error Comment, printable.
    pub(crate) comment: Option<String>,
}

impl Command {
    /// A request.
    pub(crate) fn request(field: u16, message: u16, class: &str) -> Self {
        let class = Some(class.to_owned());
        Self { field, message: Some(message), class, ..Self::default() }
    }

    /// The answer to a request. A UID that is none is not repeated.
    pub(crate) fn answer(&self, status: Status) -> Self {
        let valid = |uid: &Option<String>| uid.clone().filter(|uid| uid::is_valid(uid));
        Self {
            field: self.field | ANSWER,
            answered: Some(self.message.unwrap_or(0)),
            class: valid(&self.class),
            instance: valid(&self.instance),
            status: Some(status),
            kind: self.kind,
            ..Self::default()
        }
    }

    /// Whether this is an answer.
    pub(crate) fn is_answer(&self) -> bool {
        self.field & ANSWER != 0
    }

    /// From bytes.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, Violation> {
        let keep = Keep::all().only(KEPT);
        let set = data_set(&mut Cursor::new(bytes), &Syntax::ImplicitLittle, &keep)
            .map_err(Violation::Command)?;
        let number = |tag| {
            let bytes = set.bytes(tag)?;
            <[u8; 2]>::try_from(bytes).ok().map(u16::from_le_bytes)
        };
        let needed = |tag| number(tag).ok_or(Violation::Lacks { tag });
        let text = |first, second| set.bytes(first).or_else(|| set.bytes(second)).and_then(text);
        Ok(Self {
            field: needed(FIELD)?,
            message: number(MESSAGE),
            answered: number(ANSWERED),
            class: text(AFFECTED_CLASS, REQUESTED_CLASS),
            instance: text(AFFECTED_INSTANCE, REQUESTED_INSTANCE),
            data_set: needed(DATA_SET)? != NO_DATA_SET,
            status: number(STATUS).map(Status),
            kind: number(EVENT).or_else(|| number(ACTION)),
            comment: set.bytes(COMMENT).map(comment).filter(|text| !text.is_empty()),
        })
    }

    /// As bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut set = Dataset::new();
        // An action is asked of an instance; all else concerns one.
        let requested = self.field == N_ACTION;
        let class = if requested { REQUESTED_CLASS } else { AFFECTED_CLASS };
        let instance = if requested { REQUESTED_INSTANCE } else { AFFECTED_INSTANCE };
        for (tag, value) in [(class, &self.class), (instance, &self.instance)] {
            if let Some(value) = value {
                set.put_text(tag, b"UI", value);
            }
        }
        let mut number = |tag, value: Option<u16>| {
            if let Some(value) = value {
                set.put_u16(tag, &[value]);
            }
        };
        number(FIELD, Some(self.field));
        number(MESSAGE, self.message);
        number(ANSWERED, self.answered);
        // Medium.
        number(PRIORITY, (self.field == STORE).then_some(0));
        number(DATA_SET, Some(if self.data_set { HAS_DATA_SET } else { NO_DATA_SET }));
        number(STATUS, self.status.map(|status| status.0));
        let event = self.field & !ANSWER == EVENT_REPORT;
        number(if event { EVENT } else { ACTION }, self.kind);
        let length = write::Syntax::Implicit.length(&set) as u32;
        set.put_u32(GROUP_LENGTH, &[length]);
        let mut writer = Writer::data_set(Vec::new(), write::Syntax::Implicit);
        writer.elements(&set).expect("memory takes a short command");
        writer.finish().expect("memory takes a short command")
    }
}

/// A UID's text, valid or not; one value, though several may stand there.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.trim_end_matches(['\0', ' ']).to_owned())
}

/// A peer's words, printable and short.
fn comment(bytes: &[u8]) -> String {
    let text = bytes.iter().take(MAX_COMMENT).map(|&byte| match byte {
        b' '..=b'~' => char::from(byte),
        0 => ' ',
        _ => '?',
    });
    text.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_has_the_bytes_of_the_standard() {
        let echo = Command::request(ECHO, 7, "1.2.840.10008.1.1");
        let expected = [
            b"\0\0\0\0\x04\0\0\0\x38\0\0\0".as_slice(),
            b"\0\0\x02\0\x12\0\0\x001.2.840.10008.1.1\0",
            b"\0\0\0\x01\x02\0\0\0\x30\0",
            b"\0\0\x10\x01\x02\0\0\0\x07\0",
            b"\0\0\0\x08\x02\0\0\0\x01\x01",
        ]
        .concat();
        assert_eq!(echo.bytes(), expected);
    }

    #[test]
    fn commands_come_back() {
        let store = Command {
            instance: Some("1.2.3".into()),
            data_set: true,
            ..Command::request(STORE, 65_535, "1.2")
        };
        let action = Command { kind: Some(1), ..Command { field: N_ACTION, ..store.clone() } };
        let event = Command { field: EVENT_REPORT, ..action.clone() };
        let answers = [&store, &action, &event].map(|c| c.answer(Status::OUT_OF_RESOURCES));
        for command in [store, action, event].iter().chain(&answers) {
            assert_eq!(&Command::parse(command.bytes()).unwrap(), command);
        }
    }

    #[test]
    fn what_is_missing_or_cut_off_is_an_error() {
        let bytes = Command::request(ECHO, 1, "1.2").bytes();
        for length in 0..bytes.len() {
            assert!(Command::parse(bytes[..length].to_vec()).is_err(), "{length}");
        }
    }

    #[test]
    fn a_comment_is_short_and_printable() {
        assert_eq!(comment(b" no\n\x1b[2J room\0"), "no??[2J room");
        assert_eq!(comment(&[b'x'; 200]).len(), MAX_COMMENT);
    }
}
