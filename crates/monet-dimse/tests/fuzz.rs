//! The fuzzers of [`monet_dimse::fuzz`] on stable Rust, with every byte of memory counted: see
//! [`monet_testing::damage`]. The seeds are what real peers of this crate say.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use monet_dicom::write::{EXPLICIT_LITTLE, IMPLICIT_LITTLE};
use monet_dimse::fuzz::{acceptor, proposal, requestor};
use monet_dimse::limits::{DEFAULT_PDU, MAX_ASSOCIATE, MAX_INFORMATION};
use monet_dimse::pdu::{Associate, put_pdv};
use monet_dimse::{
    Admission, CommitmentRequest, Error, Instance, Policy, Reference, Report, Request, Status,
    Stream, Timed, Untimed, accept, request, uids,
};
use monet_testing::damage::{Counter, Fuzzer, folder, memory};

#[global_allocator]
static COUNTER: Counter = Counter;

/// Most memory of an association: what a negotiation may name, what comes and what goes.
const ASSOCIATION: usize = 8 * MAX_ASSOCIATE as usize + 4 * DEFAULT_PDU as usize;
/// Most memory of a storage commitment's data set: it has at most some bytes, and small items take
/// more memory than bytes.
const COMMITMENT: usize = 16 * MAX_INFORMATION;

const WORDS: &[&[u8]] = &[
    &[1, 0, 0, 0, 0xff, 0xff],
    &[4, 0, 0, 0, 0, 14],
    &[5, 0, 0, 0, 0, 4, 0, 0, 0, 0],
    &[7, 0, 0, 0, 0, 4, 0, 0, 0, 0],
    &[0x20, 0, 0xff, 0xff],
    &[0x50, 0, 0xff, 0xff],
    &[0x51, 0, 0, 4, 0, 0, 0, 0],
    &[0x54, 0, 0, 4, 0, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0, 0, 0, 2],
    &[0, 0, 0, 0],
    &[0, 0, 0, 8, 2, 0, 0, 0, 1, 1],
    &[0xfe, 0xff, 0, 0xe0, 0xff, 0xff, 0xff, 0xff],
    &[8, 0, 0x99, 0x11, 0xff, 0xff, 0xff, 0xff],
    b"1.2.840.10008.1.20.1",
];

#[test]
fn damaged_callers_are_errors_within_bounds() {
    let commits = |bytes: &[u8]| bytes.windows(12).any(|window| window == b"10008.1.20.1");
    let limit = |bytes: &[u8]| if commits(bytes) { COMMITMENT } else { ASSOCIATION };
    let fuzzer = Fuzzer {
        name: "dimse_accept",
        run: acceptor,
        words: WORDS,
        limit: &limit,
        may_panic: &|_| false,
    };
    fuzzer.run(|| folder("dimse_accept"), 20_000);
}

#[test]
fn damaged_answers_are_errors_within_bounds() {
    let fuzzer = Fuzzer {
        name: "dimse_request",
        run: requestor,
        words: WORDS,
        limit: &|_| COMMITMENT,
        may_panic: &|_| false,
    };
    fuzzer.run(|| folder("dimse_request"), 20_000);
}

/// A PDU, header and body.
fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&[kind, 0], &length[..], body].concat()
}

/// An item of an association's PDU.
fn item(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16).to_be_bytes();
    [&[kind, 0], &length[..], content].concat()
}

/// The body of an association request up to its contexts.
fn front() -> Vec<u8> {
    let titles = b"CALLED          CALLING         ";
    let name = item(0x10, uids::APPLICATION_CONTEXT.as_bytes());
    [&[0, 1, 0, 0], &titles[..], &[0; 32], &name].concat()
}

/// The largest request that there can be, of the shortest items.
fn greedy_request() -> Vec<u8> {
    let mut body = front();
    let syntaxes = ((MAX_ASSOCIATE as usize - body.len()) / 128 - 8) / 5;
    let syntaxes = item(0x40, b"1").repeat(syntaxes);
    for id in (1..=u8::MAX).step_by(2) {
        body.extend(item(0x20, &[&[id, 0, 0, 0], &syntaxes[..]].concat()));
    }
    assert_eq!(Associate::parse(&body).unwrap().contexts.len(), 128);
    assert!(body.len() > MAX_ASSOCIATE as usize - 1000);
    pdu(1, &body)
}

/// A report of as many instances as its length allows, and each of them nothing.
fn greedy_report() -> Vec<u8> {
    let names = [item(0x30, uids::COMMITMENT.as_bytes()), item(0x40, EXPLICIT_LITTLE.as_bytes())];
    let context = item(0x20, &[&[1, 0, 0, 0], &names.concat()[..]].concat());
    let mut peer = pdu(1, &[front(), context].concat());
    let element = |number: u16, value: &[u8]| {
        let length = (value.len() as u32).to_le_bytes();
        [&[0, 0], &number.to_le_bytes()[..], &length, value].concat()
    };
    let command = [
        element(0x0002, uids::COMMITMENT.as_bytes()),
        element(0x0100, &[0, 1]),
        element(0x0110, &[1, 0]),
        element(0x0800, &[0, 0]),
        element(0x1002, &[1, 0]),
    ];
    let command = command.concat();
    put_pdv(1, true, true, command.len() as u32, &mut peer);
    peer.extend(command);
    let mut data = b"\x08\0\x95\x11UI\x04\x001.2\0".to_vec();
    data.extend(b"\x08\0\x99\x11SQ\0\0\xff\xff\xff\xff");
    let items = (MAX_INFORMATION - data.len()) / 8;
    data.extend([0xfe, 0xff, 0, 0xe0, 0, 0, 0, 0].repeat(items));
    for part in data.chunks(60_000) {
        put_pdv(1, false, false, part.len() as u32, &mut peer);
        peer.extend(part);
    }
    put_pdv(1, false, true, 0, &mut peer);
    peer
}

#[test]
fn the_greediest_peers_are_within_bounds() {
    let within = |name, most: usize, seed: fn() -> Vec<u8>| {
        let limit = move |_: &[u8]| most;
        let (run, words): (_, &[_]) = (acceptor, &[]);
        let fuzzer = Fuzzer { name, run, words, limit: &limit, may_panic: &|_| false };
        fuzzer.run(|| vec![seed()], 0);
    };
    within("dimse_greedy_request", ASSOCIATION, greedy_request);
    within("dimse_greedy_report", COMMITMENT, greedy_report);
}

/// A peer that says something once, and something else many times.
struct Endless {
    once: io::Cursor<Vec<u8>>,
    again: Vec<u8>,
    at: usize,
    left: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.once.read(buffer)?;
        if count > 0 || self.left == 0 {
            return Ok(count);
        }
        let count = buffer.len().min(self.again.len() - self.at);
        buffer[..count].copy_from_slice(&self.again[self.at..self.at + count]);
        self.at += count;
        if self.at == self.again.len() {
            (self.at, self.left) = (0, self.left - 1);
        }
        Ok(count)
    }
}

impl Write for Endless {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An instance of 64 MB, and none of it in memory.
#[test]
fn a_long_instance_takes_the_memory_of_a_pdu() {
    let mut once = fs::read(monet_testing::root().join("fuzz/seeds/dimse_accept/store")).unwrap();
    // Up to the data set's only fragment, which lies in front of the release.
    once.truncate(once.len() - 10 - 300 - 12);
    let mut again = Vec::new();
    put_pdv(3, false, false, 65_530, &mut again);
    again.extend([7; 65_530]);
    let peer = Endless { once: io::Cursor::new(once), again, at: 0, left: 1 << 10 };
    let mut copied = 0;
    let memory = memory(|| {
        let stream = Untimed(peer);
        let mut association = accept(stream, &Policy::default(), |_| Admission::Welcome).unwrap();
        loop {
            match association.next_request().unwrap() {
                Request::Echo(reply) => reply.respond(Status::SUCCESS).unwrap(),
                Request::Store(mut store) => {
                    // The last fragment never comes.
                    let ended = io::copy(&mut store, &mut Count(&mut copied)).unwrap_err();
                    assert!(matches!(Error::from_io(ended), Error::Closed));
                    return;
                }
                _ => panic!("neither echo nor store"),
            }
        }
    });
    assert_eq!(copied, 65_530 << 10);
    assert!(memory < 3 * DEFAULT_PDU as usize, "{memory} bytes");
    eprintln!("{copied} bytes came, {memory} bytes of memory");
}

/// Counts what is written.
struct Count<'a>(&'a mut u64);

impl Write for Count<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket that keeps what is read from it.
#[derive(Debug)]
struct Tap(Timed, Arc<Mutex<Vec<u8>>>);

impl Read for Tap {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.lock().unwrap().extend(&buffer[..count]);
        Ok(count)
    }
}

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Stream for Tap {
    fn set_deadline(&mut self, at: Option<Instant>) -> io::Result<()> {
        self.0.set_deadline(at)
    }
}

/// What a tap kept.
type Kept = Arc<Mutex<Vec<u8>>>;

/// Answers one association that takes instances in a syntax.
fn serve(listener: &TcpListener, syntax: &str, tap: Kept) {
    let stream = Tap(Timed::new(listener.accept().unwrap().0).unwrap(), tap);
    let classes = Box::new(uids::is_known);
    let policy = Policy { classes, syntaxes: vec![syntax.to_owned()], ..Policy::default() };
    let mut association = accept(stream, &policy, |_| Admission::Welcome).unwrap();
    let mut due = None;
    loop {
        if let Some(report) = due.take() {
            association.report(&report).unwrap();
        }
        match association.next_request().unwrap() {
            Request::Echo(reply) => reply.respond(Status::SUCCESS).unwrap(),
            Request::Store(store) => store.respond(Status::SUCCESS).unwrap(),
            Request::Commitment(wanted, reply) => {
                let CommitmentRequest { transaction, instances: committed } = wanted;
                let failed = vec![(committed[0].clone(), 0x0112)];
                due = Some(Report { transaction, committed, failed });
                reply.respond(Status::SUCCESS).unwrap();
            }
            Request::Released => return,
            other => panic!("{other:?}"),
        }
    }
}

/// What a caller says to [`serve`].
fn heard(syntax: &str, call: impl FnOnce(SocketAddr)) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (kept, syntax) = (Kept::default(), syntax.to_owned());
    let tap = kept.clone();
    let server = thread::spawn(move || serve(&listener, &syntax, tap));
    call(address);
    server.join().unwrap();
    std::mem::take(&mut *kept.lock().unwrap())
}

/// Calls as this crate does, and keeps the answers.
fn call(address: SocketAddr, syntax: &str, commits: bool, tap: Kept) {
    let stream = Tap(Timed::new(TcpStream::connect(address).unwrap()).unwrap(), tap);
    let mut association = request(stream, &proposal()).unwrap();
    association.echo().unwrap();
    let class = "1.2.840.10008.5.1.4.1.1.2";
    let instance = Instance { class, instance: "1.2.3", syntax };
    association.store(&instance, &[7; 300][..], 300).unwrap();
    if commits {
        let reference = Reference { class: class.into(), instance: "1.2.3".into() };
        let wanted = CommitmentRequest { transaction: "1.2".into(), instances: vec![reference] };
        association.commit(&wanted).unwrap();
        let Request::Report(_, reply) = association.next_request().unwrap() else { panic!() };
        reply.respond(Status::SUCCESS).unwrap();
    }
    association.release().unwrap();
}

#[test]
#[ignore = "writes fuzz/seeds anew"]
fn make_seeds() {
    let save = |target: &str, name: &str, bytes: &[u8]| {
        let folder = monet_testing::root().join("fuzz/seeds").join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    };
    for (name, syntax, commits) in [
        ("store", EXPLICIT_LITTLE, false),
        ("commit", EXPLICIT_LITTLE, true),
        ("implicit", IMPLICIT_LITTLE, false),
    ] {
        let answers = Kept::default();
        let tap = answers.clone();
        save("dimse_accept", name, &heard(syntax, |at| call(at, syntax, commits, tap)));
        save("dimse_request", name, &answers.lock().unwrap());
    }
    let echoscu = |at: SocketAddr| {
        let port = at.port().to_string();
        let arguments = ["--propose-ts", "3", "--propose-pc", "2", "127.0.0.1", &port];
        assert!(monet_testing::run("echoscu", &arguments).status.success());
    };
    save("dimse_accept", "echoscu", &heard(EXPLICIT_LITTLE, echoscu));
}
