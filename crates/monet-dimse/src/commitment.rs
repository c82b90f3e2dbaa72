//! Storage commitment: what is asked for, and what became of it (PS3.4, annex J.3).
//!
//! ```text
//! request  Transaction UID, Referenced SOP Sequence
//! report   Transaction UID, Referenced SOP Sequence, Failed SOP Sequence with reasons
//! ```

use std::io::Cursor;

use monet_dicom::read::{Keep, data_set};
use monet_dicom::syntax::Syntax;
use monet_dicom::tags::{REFERENCED_CLASS, REFERENCED_INSTANCE, REFERENCED_SOP};
use monet_dicom::write::{self, IMPLICIT_LITTLE, Writer};
use monet_dicom::{Dataset, Tag, uid};

use crate::error::{Error, InformationError};
use crate::limits::{MAX_INFORMATION, MAX_REFERENCES};

/// An instance, by its UIDs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// SOP class.
    pub class: String,
    /// SOP instance.
    pub instance: String,
}

/// Instances that a peer is asked to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitmentRequest {
    /// The request's UID, which the report repeats.
    pub transaction: String,
    /// The instances, [`crate::limits::MAX_REFERENCES`] at most.
    pub instances: Vec<Reference>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The request's UID.
    pub transaction: String,
    /// Instances that the peer keeps.
    pub committed: Vec<Reference>,
    /// Instances that the peer does not keep, and why (PS3.3, section C.14.1.1).
    pub failed: Vec<(Reference, u16)>,
}

/// Transaction UID.
const TRANSACTION_UID: Tag = Tag(0x0008, 0x1195);
/// Failure Reason.
const FAILURE_REASON: Tag = Tag(0x0008, 0x1197);
/// Failed SOP Sequence.
const FAILED_SOP: Tag = Tag(0x0008, 0x1198);

const TOP: &[Tag] = &[TRANSACTION_UID, REFERENCED_SOP, FAILED_SOP];
const INNER: &[Tag] = &[REFERENCED_CLASS, REFERENCED_INSTANCE, FAILURE_REASON];

fn read(bytes: Vec<u8>, syntax: &str) -> Result<(String, Dataset), InformationError> {
    let keep = Keep::all().only(TOP).within(&TOP[1..], INNER);
    let set = data_set(&mut Cursor::new(bytes), &Syntax::from_uid(syntax), &keep)?;
    let transaction = valid(&set, TRANSACTION_UID)?;
    if set.items(REFERENCED_SOP).len() + set.items(FAILED_SOP).len() > MAX_REFERENCES {
        return Err(InformationError::TooMany);
    }
    Ok((transaction, set))
}

fn valid(set: &Dataset, tag: Tag) -> Result<String, InformationError> {
    let text = set.text(tag).filter(|text| uid::is_valid(text));
    text.map(str::to_owned).ok_or(InformationError::Lacks { tag })
}

fn reference(item: &Dataset) -> Result<Reference, InformationError> {
    let class = valid(item, REFERENCED_CLASS)?;
    Ok(Reference { class, instance: valid(item, REFERENCED_INSTANCE)? })
}

/// What a peer asks, from a data set.
pub(crate) fn parse_request(
    bytes: Vec<u8>,
    syntax: &str,
) -> Result<CommitmentRequest, InformationError> {
    let (transaction, set) = read(bytes, syntax)?;
    let instances: Vec<_> =
        set.items(REFERENCED_SOP).iter().map(reference).collect::<Result<_, _>>()?;
    if instances.is_empty() {
        return Err(InformationError::Lacks { tag: REFERENCED_SOP });
    }
    Ok(CommitmentRequest { transaction, instances })
}

/// What a peer reports, from a data set.
pub(crate) fn parse_report(bytes: Vec<u8>, syntax: &str) -> Result<Report, InformationError> {
    let (transaction, set) = read(bytes, syntax)?;
    let failed = |item: &Dataset| {
        let lacks = InformationError::Lacks { tag: FAILURE_REASON };
        Ok((reference(item)?, item.integer(FAILURE_REASON).ok_or(lacks)?))
    };
    Ok(Report {
        transaction,
        committed: set.items(REFERENCED_SOP).iter().map(reference).collect::<Result<_, _>>()?,
        failed: set
            .items(FAILED_SOP)
            .iter()
            .map(failed)
            .collect::<Result<_, InformationError>>()?,
    })
}

impl Reference {
    fn item(&self) -> Result<Dataset, Error> {
        if !uid::is_valid(&self.class) || !uid::is_valid(&self.instance) {
            return Err(Error::Invalid("a reference of a storage commitment is no UID"));
        }
        let mut item = Dataset::new();
        item.put_text(REFERENCED_CLASS, b"UI", &self.class);
        item.put_text(REFERENCED_INSTANCE, b"UI", &self.instance);
        Ok(item)
    }
}

fn bytes(
    transaction: &str,
    sequences: Vec<(Tag, Vec<Dataset>)>,
    syntax: &str,
) -> Result<Vec<u8>, Error> {
    if !uid::is_valid(transaction) {
        return Err(Error::Invalid("a storage commitment's transaction is no UID"));
    }
    let count: usize = sequences.iter().map(|(_, items)| items.len()).sum();
    if count == 0 || count > MAX_REFERENCES {
        return Err(Error::Invalid("a storage commitment names 1 to 1024 instances"));
    }
    let mut set = Dataset::new();
    set.put_text(TRANSACTION_UID, b"UI", transaction);
    for (tag, items) in sequences.into_iter().filter(|(_, items)| !items.is_empty()) {
        set.put_items(tag, items);
    }
    let implicit = syntax == IMPLICIT_LITTLE;
    let syntax = if implicit { write::Syntax::Implicit } else { write::Syntax::Explicit };
    let mut writer = Writer::data_set(Vec::new(), syntax);
    let written = writer.elements(&set).and_then(|()| writer.finish());
    let bytes = written.map_err(|_| Error::Invalid("a storage commitment is too long"))?;
    // References of the longest UIDs are within the limit.
    debug_assert!(bytes.len() <= MAX_INFORMATION);
    Ok(bytes)
}

impl CommitmentRequest {
    /// As a data set in explicit or implicit VR little endian.
    pub(crate) fn bytes(&self, syntax: &str) -> Result<Vec<u8>, Error> {
        let items = self.instances.iter().map(Reference::item).collect::<Result<_, _>>()?;
        bytes(&self.transaction, vec![(REFERENCED_SOP, items)], syntax)
    }
}

impl Report {
    /// As a data set in explicit or implicit VR little endian.
    pub(crate) fn bytes(&self, syntax: &str) -> Result<Vec<u8>, Error> {
        let failed = |(reference, reason): &(Reference, u16)| {
            let mut item = reference.item()?;
            item.put_u16(FAILURE_REASON, &[*reason]);
            Ok(item)
        };
        let committed = self.committed.iter().map(Reference::item).collect::<Result<_, _>>()?;
        let failed = self.failed.iter().map(failed).collect::<Result<_, Error>>()?;
        bytes(&self.transaction, vec![(REFERENCED_SOP, committed), (FAILED_SOP, failed)], syntax)
    }
}

#[cfg(test)]
mod tests {
    use monet_dicom::write::EXPLICIT_LITTLE;

    use super::*;

    fn longest(n: usize) -> Reference {
        let uid = format!("1.2.{}.{n:04}", "9".repeat(54)).replace(".0", ".10");
        Reference { class: format!("{uid:.64}"), instance: format!("{uid:.64}") }
    }

    #[test]
    fn requests_and_reports_come_back() {
        for syntax in [EXPLICIT_LITTLE, IMPLICIT_LITTLE] {
            let instances: Vec<_> = (0..MAX_REFERENCES).map(longest).collect();
            let request = CommitmentRequest { transaction: "1.2.3".into(), instances };
            let bytes = request.bytes(syntax).unwrap();
            assert!(bytes.len() <= MAX_INFORMATION, "{}", bytes.len());
            assert_eq!(parse_request(bytes, syntax).unwrap(), request);
            let report = Report {
                transaction: "1.2.3".into(),
                committed: vec![longest(1)],
                failed: vec![(longest(2), 0x0112), (longest(3), 0xffff)],
            };
            assert_eq!(parse_report(report.bytes(syntax).unwrap(), syntax).unwrap(), report);
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let request = |transaction: &str, count| CommitmentRequest {
            transaction: transaction.into(),
            instances: (0..count).map(longest).collect(),
        };
        for wrong in [request("1.2", 0), request("1.2", MAX_REFERENCES + 1), request("x", 1)] {
            assert!(matches!(wrong.bytes(IMPLICIT_LITTLE), Err(Error::Invalid(_))));
        }
        let bytes = request("1.2", 2).bytes(IMPLICIT_LITTLE).unwrap();
        for length in 0..bytes.len() {
            assert!(parse_request(bytes[..length].to_vec(), IMPLICIT_LITTLE).is_err(), "{length}");
        }
    }
}
