//! A first walk over the bytes of an ONNX file, before any of them becomes a value. It bounds the
//! number of messages, their nesting, and the memory of the numbers.
//!
//! The length of a file bounds none of these: in protobuf two bytes can become a message of
//! hundreds, and one byte a number of eight. This module knows which fields of `onnx.proto` (IR
//! version 13) hold messages and numbers, but not what they mean.

/// Most messages, strings and lists of a file.
const MAX_FIELDS: usize = 1 << 18;

/// Deepest nesting of messages; a constant's tensor lies five deep.
const MAX_DEPTH: usize = 12;

/// Most memory that integers take which are not stored as raw bytes.
const MAX_INTEGERS: usize = 1 << 30;

/// The messages that hold others, or numbers.
#[derive(Debug, Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Function,
    Training,
    Annotation,
    /// A message without messages in it.
    Flat,
}

/// What a field of a message is.
enum Content {
    Message(Message),
    /// Integers, each of this many bytes in memory.
    Integers(usize),
    Other,
}

impl Message {
    fn field(self, number: u64) -> Content {
        use Content::{Integers, Message as In, Other};
        match (self, number) {
            (Self::Model, 7) => In(Self::Graph),
            (Self::Model, 8 | 14) => In(Self::Flat),
            (Self::Model, 20) => In(Self::Training),
            (Self::Model, 25) => In(Self::Function),
            (Self::Training, 1 | 2) => In(Self::Graph),
            (Self::Function, 7) => In(Self::Node),
            (Self::Graph, 1) => In(Self::Node),
            (Self::Graph, 5) => In(Self::Tensor),
            (Self::Graph, 11..=13) => In(Self::ValueInfo),
            (Self::Graph, 14) => In(Self::Annotation),
            (Self::Graph, 15) => In(Self::Sparse),
            (Self::Annotation, 2) | (Self::Tensor, 13) => In(Self::Flat),
            (Self::Node, 5) => In(Self::Attribute),
            (Self::Attribute, 5 | 10) => In(Self::Tensor),
            (Self::Attribute, 6 | 11) => In(Self::Graph),
            (Self::Attribute, 22 | 23) => In(Self::Sparse),
            (Self::Attribute, 14 | 15) => In(Self::Type),
            (Self::Attribute, 8) | (Self::Tensor, 1 | 7 | 11) | (Self::Sparse, 3) => Integers(8),
            (Self::Tensor, 5) => Integers(4),
            (Self::Sparse, 1 | 2) => In(Self::Tensor),
            (Self::ValueInfo, 2) => In(Self::Type),
            (Self::Type, 1) => In(Self::TensorType),
            (Self::TensorType, 2) => In(Self::Shape),
            (Self::Shape, 1) => In(Self::Flat),
            _ => Other,
        }
    }
}

/// Checks the bytes of a whole model.
///
/// # Errors
/// What is wrong with them.
pub(super) fn scan(bytes: &[u8]) -> Result<(), String> {
    Scan { fields: 0, integers: 0 }.message(Message::Model, bytes, 0)
}

struct Scan {
    fields: usize,
    integers: usize,
}

impl Scan {
    fn message(&mut self, kind: Message, mut bytes: &[u8], depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!(
                "its messages nest more than {MAX_DEPTH} deep: export the model without control \
                 flow"
            ));
        }
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            let content = kind.field(tag >> 3);
            match tag & 7 {
                0 => {
                    varint(&mut bytes)?;
                    if let Content::Integers(size) = content {
                        self.integers(1, size)?;
                    }
                }
                1 => drop(take(&mut bytes, 8)?),
                5 => drop(take(&mut bytes, 4)?),
                2 => {
                    let length = varint(&mut bytes)?;
                    let inner = take(&mut bytes, length)?;
                    self.fields += 1;
                    if self.fields > MAX_FIELDS {
                        return Err(format!(
                            "it has more than {MAX_FIELDS} messages, strings and lists"
                        ));
                    }
                    match content {
                        Content::Message(kind) => self.message(kind, inner, depth + 1)?,
                        Content::Integers(size) => self.integers(inner.len(), size)?,
                        Content::Other => {}
                    }
                }
                _ => return Err("it has fields of a kind that ONNX does not know".into()),
            }
        }
        Ok(())
    }

    fn integers(&mut self, count: usize, size: usize) -> Result<(), String> {
        self.integers = self.integers.saturating_add(count.saturating_mul(size));
        match self.integers {
            0..=MAX_INTEGERS => Ok(()),
            _ => Err(format!(
                "its integers take more than {MAX_INTEGERS} bytes: store them as raw data"
            )),
        }
    }
}

/// The number that these bytes begin with.
fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or_else(broken)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("it has a number of more than 64 bits".into())
}

/// The next so many bytes.
fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], String> {
    let cut = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
    let (taken, rest) = cut.ok_or_else(broken)?;
    *bytes = rest;
    Ok(taken)
}

fn broken() -> String {
    "it breaks off".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that holds bytes.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut length = content.len();
        let mut out = vec![number << 3 | 2];
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        [&out[..], content].concat()
    }

    #[test]
    fn few_bytes_cannot_stand_for_many_messages() {
        let nodes = |n: usize| field(7, &field(1, b"").repeat(n));
        assert_eq!(scan(&nodes(1000)), Ok(()));
        assert!(scan(&nodes(MAX_FIELDS)).unwrap_err().contains("messages"));
    }

    #[test]
    fn few_bytes_cannot_stand_for_many_integers() {
        let packed = field(7, &field(5, &field(7, &vec![1; MAX_INTEGERS / 8 + 1])));
        assert!(scan(&packed).unwrap_err().contains("integers"));
        let single = field(7, &field(5, &[7 << 3, 1].repeat(1000)));
        assert_eq!(scan(&single), Ok(()));
    }

    #[test]
    fn nesting_is_bounded() {
        let mut graph = Vec::new();
        for _ in 0..1000 {
            graph = field(1, &field(5, &field(6, &graph)));
        }
        assert!(scan(&field(7, &graph)).unwrap_err().contains("deep"));
    }

    #[test]
    fn what_breaks_off_is_refused() {
        let whole = field(7, &field(1, &field(4, b"Relu")));
        assert_eq!(scan(&whole), Ok(()));
        for cut in 1..whole.len() {
            assert!(scan(&whole[..cut]).is_err(), "{cut}");
        }
        assert!(scan(&[0xff; 11]).is_err() && scan(&[7]).is_err());
    }
}
