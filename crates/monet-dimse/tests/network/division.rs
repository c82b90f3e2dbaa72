//! However a peer divides its messages into fragments and PDUs, the same is heard.

use std::io::{self, Cursor, Read, Write};

use monet_dimse::{Admission, Request, Status, Untimed, accept};
use monet_testing::Random;
use proptest::prelude::*;

use super::server::{self, CT};
use super::wire::{ECHO, STORE, associate, echo, fragment, release, store};

/// A peer that has said all, and to whom nobody needs to listen.
struct Said(Cursor<Vec<u8>>);

impl Read for Said {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A command or data set as fragments, without the headers of PDUs.
fn divided(context: u8, command: bool, mut bytes: &[u8], random: &mut Random) -> Vec<Vec<u8>> {
    let mut fragments = Vec::new();
    loop {
        let most = random.pick(&[1, 7, 100, 5000, 60_000]);
        let (part, rest) = bytes.split_at(random.below(most + 1).min(bytes.len()));
        bytes = rest;
        // The last fragment may come behind the last byte, and be empty.
        let last = bytes.is_empty() && random.below(3) > 0;
        fragments.push(fragment(context, command, last, part).split_off(6));
        if last {
            return fragments;
        }
    }
}

/// Messages, each the length of a data set or an echo, divided as a seed says.
fn said(messages: &[Option<u16>], random: &mut Random) -> Vec<u8> {
    let mut fragments = Vec::new();
    for (number, length) in (1..).zip(messages) {
        match length {
            None => fragments.extend(divided(ECHO, true, &echo(number), random)),
            Some(length) => {
                let command = store(number, CT, &format!("1.2.{number}"));
                let data: Vec<u8> = (0..*length).map(|at| at as u8).collect();
                fragments.extend(divided(STORE, true, &command, random));
                fragments.extend(divided(STORE, false, &data, random));
            }
        }
    }
    let mut bytes = associate();
    let mut body: Vec<u8> = Vec::new();
    for fragment in fragments {
        let full = body.len() + fragment.len() > 64 << 10;
        if !body.is_empty() && (full || random.below(2) == 0) {
            bytes.extend(pdu(&body));
            body.clear();
        }
        body.extend(fragment);
    }
    bytes.extend(pdu(&body));
    bytes.extend(release());
    bytes
}

fn pdu(body: &[u8]) -> Vec<u8> {
    [&[4, 0], &(body.len() as u32).to_be_bytes()[..], body].concat()
}

/// What a server makes of it: messages as they were meant.
fn heard(bytes: Vec<u8>) -> Vec<Option<u16>> {
    let stream = Untimed(Said(Cursor::new(bytes)));
    let mut association = accept(stream, &server::any(), |_| Admission::Welcome).unwrap();
    let mut heard = Vec::new();
    loop {
        match association.next_request().unwrap() {
            Request::Echo(reply) => {
                heard.push(None);
                reply.respond(Status::SUCCESS).unwrap();
            }
            Request::Store(mut store) => {
                let mut data = Vec::new();
                store.copy_to(&mut data, u64::MAX).unwrap();
                assert!(data.iter().enumerate().all(|(at, byte)| *byte == at as u8));
                assert_eq!(usize::from(store.header().message), heard.len() + 1);
                heard.push(Some(data.len() as u16));
                store.respond(Status::SUCCESS).unwrap();
            }
            Request::Released => return heard,
            _ => panic!("something that nobody said"),
        }
    }
}

proptest! {
    #[test]
    fn every_division_is_understood(
        messages in proptest::collection::vec(proptest::option::of(any::<u16>()), 1..6),
        seed: u64,
    ) {
        let bytes = said(&messages, &mut Random(seed));
        prop_assert_eq!(heard(bytes), messages);
    }
}
