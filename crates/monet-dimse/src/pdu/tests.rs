//! PDUs there and back, and damaged ones.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::limits::{DEFAULT_PDU, MAX_CONTEXTS};

fn uid() -> impl Strategy<Value = String> {
    "1\\.2(\\.[1-9][0-9]{0,5}){1,4}"
}

fn title() -> impl Strategy<Value = [u8; 16]> {
    proptest::array::uniform16(b' '..=b'~')
}

fn user() -> impl Strategy<Value = UserInformation> {
    let role = (uid(), any::<bool>(), any::<bool>());
    let role = role.prop_map(|(class, user, provider)| Role { class, user, provider });
    let window = proptest::option::of(any::<(u16, u16)>());
    (any::<u32>(), uid(), "[A-Z][A-Z0-9_]{0,15}|", vec(role, 0..4), window).prop_map(
        |(max_length, implementation, version, roles, window)| UserInformation {
            max_length,
            implementation,
            version,
            roles,
            window,
        },
    )
}

fn associate() -> impl Strategy<Value = Associate> {
    let contexts = vec((uid(), vec(uid(), 0..5)), 0..9);
    (title(), title(), contexts, user(), any::<u16>()).prop_map(
        |(called, calling, contexts, user, versions)| {
            let contexts = contexts.into_iter().enumerate();
            let contexts = contexts.map(|(at, (class, syntaxes))| ProposedContext {
                id: at as u8 * 2 + 1,
                class,
                syntaxes,
            });
            let contexts = contexts.collect();
            Associate { versions, contexts, ..Associate::new(called, calling, user) }
        },
    )
}

fn accept() -> impl Strategy<Value = Accept> {
    let answer = prop_oneof![
        Just(Answer::Acceptance),
        Just(Answer::UserRejection),
        Just(Answer::NoReason),
        Just(Answer::ClassNotSupported),
        Just(Answer::SyntaxesNotSupported),
    ];
    let context = (any::<u8>(), answer, uid());
    let context = context.prop_map(|(id, answer, syntax)| ContextAnswer { id, answer, syntax });
    (title(), title(), vec(context, 0..9), user())
        .prop_map(|(called, calling, contexts, user)| Accept { called, calling, contexts, user })
}

/// A PDU's type and body.
fn taken(bytes: &[u8]) -> (PduKind, &[u8]) {
    let (head, body) = bytes.split_first_chunk::<HEADER>().unwrap();
    let (kind, length) = header(*head, DEFAULT_PDU).unwrap();
    assert_eq!(length as usize, body.len());
    (kind, body)
}

proptest! {
    #[test]
    fn requests_come_back(request in associate()) {
        let mut bytes = Vec::new();
        request.put(&mut bytes);
        let (kind, body) = taken(&bytes);
        prop_assert_eq!(kind, PduKind::AssociateRequest);
        prop_assert_eq!(Associate::parse(body).unwrap(), request);
    }

    #[test]
    fn acceptances_come_back(accept in accept()) {
        let mut bytes = Vec::new();
        accept.put(&mut bytes);
        let (kind, body) = taken(&bytes);
        prop_assert_eq!(kind, PduKind::AssociateAccept);
        prop_assert_eq!(Accept::parse(body).unwrap(), accept);
    }

    #[test]
    fn short_pdus_come_back(result: u8, source: u8, reason: u8) {
        let mut bytes = Vec::new();
        Reject { result, source, reason }.put(&mut bytes);
        let body = *taken(&bytes).1.first_chunk().unwrap();
        prop_assert_eq!(Reject::parse(body), Reject { result, source, reason });
        bytes.clear();
        Abort { source, reason }.put(&mut bytes);
        let body = *taken(&bytes).1.first_chunk().unwrap();
        prop_assert_eq!(Abort::parse(body), Abort { source, reason });
    }

    #[test]
    fn fragments_come_back(
        (context, command, last) in any::<(u8, bool, bool)>(),
        content in vec(any::<u8>(), 0..99),
    ) {
        let mut bytes = Vec::new();
        put_pdv(context, command, last, content.len() as u32, &mut bytes);
        bytes.extend(&content);
        let (kind, body) = taken(&bytes);
        prop_assert_eq!(kind, PduKind::Data);
        let found = pdv(body, 0).unwrap();
        prop_assert_eq!((found.context, found.command, found.last), (context, command, last));
        prop_assert_eq!(&body[found.start..found.end], &content[..]);
    }

    #[test]
    fn arbitrary_bodies_are_errors_or_short(body in vec(any::<u8>(), 0..400)) {
        let _ = Associate::parse(&body);
        let _ = Accept::parse(&body);
        let mut at = 0;
        while let Ok(found) = pdv(&body, at) {
            prop_assert!(found.end > at && found.end <= body.len());
            at = found.end;
        }
    }

    #[test]
    fn damaged_requests_are_errors_or_requests(
        request in associate(),
        damages in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut: prop::sample::Index,
    ) {
        let mut bytes = Vec::new();
        request.put(&mut bytes);
        let mut body = bytes.split_off(HEADER);
        damages.iter().for_each(|(at, byte)| {
            let at = at.index(body.len());
            body[at] = *byte;
        });
        body.truncate(cut.index(body.len() + 1));
        if let Ok(found) = Associate::parse(&body) {
            prop_assert!(found.contexts.len() <= MAX_CONTEXTS);
        }
    }
}

#[test]
fn lengths_are_limited_by_type() {
    let head = |kind, length: u32| {
        let [a, b, c, d] = length.to_be_bytes();
        header([kind, 0, a, b, c, d], DEFAULT_PDU)
    };
    for (kind, length) in [(1, MAX_ASSOCIATE), (2, 68), (3, 4), (4, DEFAULT_PDU), (5, 4), (7, 4)] {
        assert!(head(kind, length).is_ok(), "{kind} {length}");
    }
    let wrong = [(1, MAX_ASSOCIATE + 1), (1, 67), (3, 5), (4, DEFAULT_PDU + 1), (4, 0), (4, 5)];
    for (kind, length) in wrong.into_iter().chain([(5, 0), (6, 3), (7, u32::MAX)]) {
        let found = head(kind, length);
        assert!(matches!(found, Err(Violation::PduLength { .. })), "{kind} {length}");
    }
    assert!(matches!(head(8, 4), Err(Violation::PduKind { found: 8 })));
    assert!(matches!(head(0x16, 4), Err(Violation::PduKind { .. })), "TLS");
}

#[test]
fn what_peers_add_is_passed_over() {
    let user = UserInformation { max_length: 16_384, ..UserInformation::default() };
    let mut request = Associate::new([b'A'; 16], [b'B'; 16], user);
    request.contexts.push(ProposedContext {
        id: 1,
        class: "1.2.840.10008.1.1".into(),
        syntaxes: vec!["1.2.840.10008.1.2".into()],
    });
    let mut bytes = Vec::new();
    request.put(&mut bytes);
    let mut body = bytes.split_off(HEADER);
    // User identity within the user information, which comes last; an unknown item behind it.
    let identity = b"\x58\0\0\x0a\x01\0\0\x04user\0\0";
    let at = body.windows(4).rposition(|window| window == [0x50, 0, 0, 12]).unwrap();
    body[at + 3] += identity.len() as u8;
    body.extend(identity);
    body.extend(b"\x77\0\0\x03abc");
    assert_eq!(Associate::parse(&body).unwrap(), request);
    // Padding of a UID.
    let padded = items::uid(b"1.2.840.10008.1.1\0");
    assert_eq!(padded, "1.2.840.10008.1.1");
    assert_eq!([&b"../etc"[..], &[b'1'; 65], b""].map(items::uid), [""; 3]);
}

#[test]
fn contexts_have_odd_numbers_each_once() {
    let context = |id| ProposedContext { id, class: "1.2".into(), syntaxes: Vec::new() };
    for ids in [&[2][..], &[1, 1], &[0]] {
        let mut request = Associate::new([b'A'; 16], [b'B'; 16], UserInformation::default());
        request.contexts = ids.iter().copied().map(context).collect();
        let mut bytes = Vec::new();
        request.put(&mut bytes);
        let parsed = Associate::parse(&bytes[HEADER..]);
        assert!(matches!(parsed, Err(Violation::ContextNumber { .. })), "{ids:?}");
    }
}
