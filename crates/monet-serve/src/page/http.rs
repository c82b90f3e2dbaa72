//! As much of HTTP/1.1 (RFC 9112) as a page that only shows needs: `GET`, one request a
//! connection, within limits.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::guard::{Guard, Verdict};
use crate::log::Log;

/// Longest request head.
const MAX_HEAD: usize = 8 << 10;
/// Most header fields.
const MAX_FIELDS: usize = 64;
/// Most connections at the same time; more are not answered.
const CONNECTIONS: usize = 16;
/// How long a connection may take, from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the server rests when nobody asks.
const REST: Duration = Duration::from_millis(20);
/// The user's name that goes with the password.
pub(super) const USER: &str = "monet";

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Whether it is `GET`; `false` is `HEAD`.
    pub get: bool,
    /// The path, without what follows a `?`.
    pub path: String,
    /// The value of `Authorization`.
    pub authorization: Option<Vec<u8>>,
}

/// Reads a request's head. `None` where the bytes are not a whole one yet.
///
/// # Errors
/// The status with which the request is refused.
pub fn parse(bytes: &[u8]) -> Result<Option<Head>, u16> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => return Err(431),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(_) => return Err(400),
    }
    let get = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => return Err(405),
    };
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path).to_owned();
    let authorization = request
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("authorization"))
        .map(|field| field.value.to_vec());
    Ok(Some(Head { get, path, authorization }))
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    status: &'static str,
    kind: &'static str,
    body: Vec<u8>,
}

impl Reply {
    pub(super) fn html(body: String) -> Self {
        Self { status: "200 OK", kind: "text/html; charset=utf-8", body: body.into() }
    }

    pub(super) fn text(body: String) -> Self {
        Self { status: "200 OK", kind: "text/plain; version=0.0.4", body: body.into() }
    }

    pub(super) fn png(body: Vec<u8>) -> Self {
        Self { status: "200 OK", kind: "image/png", body }
    }

    pub(super) fn unwell(what: String) -> Self {
        Self { status: "503 Service Unavailable", ..Self::text(what + "\n") }
    }

    pub(super) fn not_found() -> Self {
        Self { status: "404 Not Found", ..Self::text("there is no such page\n".into()) }
    }

    pub(super) fn failed() -> Self {
        let text = "the page cannot be made: the log says why\n";
        Self { status: "500 Internal Server Error", ..Self::text(text.into()) }
    }

    fn refused(status: u16) -> Self {
        let status = match status {
            401 => "401 Unauthorized",
            429 => "429 Too Many Requests",
            405 => "405 Method Not Allowed",
            431 => "431 Request Header Fields Too Large",
            _ => "400 Bad Request",
        };
        Self { status, ..Self::text(format!("{status}\n")) }
    }

    fn bytes(&self, with_body: bool) -> Vec<u8> {
        let ask = if self.status.starts_with("401") {
            "WWW-Authenticate: Basic realm=\"monet\", charset=\"UTF-8\"\r\n"
        } else {
            ""
        };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: no-referrer\r\n\
             Content-Security-Policy: default-src 'none'; img-src 'self'; \
             style-src 'unsafe-inline'; frame-ancestors 'none'\r\n{ask}\r\n",
            self.status,
            self.kind,
            self.body.len()
        );
        let mut bytes = head.into_bytes();
        if with_body {
            bytes.extend(&self.body);
        }
        bytes
    }
}

/// Makes an answer to a path.
pub(super) type Answer = dyn Fn(&str) -> Reply + Send + Sync;

/// Answers one request a connection.
#[derive(Debug)]
pub(super) struct Server {
    socket: TcpListener,
    guard: Option<Arc<Guard>>,
    open: Arc<AtomicUsize>,
    log: Log,
}

impl Server {
    pub(super) fn new(socket: TcpListener, password: Option<&str>, log: Log) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let expected = |text| format!("Basic {}", base64(format!("{USER}:{text}").as_bytes()));
        let guard = password.map(|text| Arc::new(Guard::new(expected(text).into())));
        Ok(Self { socket, guard, open: Arc::default(), log })
    }

    pub(super) fn serve(&self, answer: Arc<Answer>, go_on: &dyn Fn() -> bool) {
        while go_on() {
            match self.socket.accept() {
                Ok((socket, _)) => self.connection(socket, answer.clone()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(REST),
                Err(error) => {
                    self.log.error("page out of reach", &[("error", &error)]);
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }

    fn connection(&self, socket: TcpStream, answer: Arc<Answer>) {
        let open = Open::new(&self.open);
        if open.others >= CONNECTIONS {
            return;
        }
        let guard = self.guard.clone();
        // A connection for which there is no thread is closed, which is all that can be done.
        let _ = thread::Builder::new().name("page".into()).spawn(move || {
            let _open = open;
            // Whoever does not listen any more has lost nothing.
            let _ = talk(socket, guard.as_deref(), &*answer);
        });
    }
}

/// A connection that counts until it is dropped, in whatever way its thread ends.
struct Open {
    count: Arc<AtomicUsize>,
    /// Connections that there were before it.
    others: usize,
}

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        Self { count: count.clone(), others: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

fn talk(mut socket: TcpStream, guard: Option<&Guard>, answer: &Answer) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    let end = Instant::now() + PATIENCE;
    let from = socket.peer_addr()?.ip();
    let judge = |head: &Head| {
        let given = head.authorization.as_deref();
        guard.map_or(Verdict::Welcome, |guard| guard.judge(from, given, Instant::now()))
    };
    let (get, reply) = match head(&mut socket, end)? {
        Ok(head) => match judge(&head) {
            Verdict::Welcome => (head.get, answer(&head.path)),
            Verdict::Ask => (head.get, Reply::refused(401)),
            Verdict::Wait => (head.get, Reply::refused(429)),
        },
        Err(status) => (true, Reply::refused(status)),
    };
    let mut bytes = &reply.bytes(get)[..];
    while !bytes.is_empty() {
        socket.set_write_timeout(Some(left(end)?))?;
        match socket.write(bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => bytes = &bytes[count..],
        }
    }
    Ok(())
}

/// A request's head, or the status with which it is refused.
fn head(socket: &mut TcpStream, end: Instant) -> io::Result<Result<Head, u16>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        socket.set_read_timeout(Some(left(end)?))?;
        match socket.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
        match parse(&bytes) {
            Ok(None) => {}
            Ok(Some(head)) => return Ok(Ok(head)),
            Err(status) => return Ok(Err(status)),
        }
    }
}

fn left(end: Instant) -> io::Result<Duration> {
    match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// Base64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = (0..3).fold(0, |all, i| all << 8 | u32::from(*chunk.get(i).unwrap_or(&0)));
        for i in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { letter.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_whole_or_refused() {
        let head =
            parse(b"GET /study/1?x=../.. HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eA==\r\n\r\n");
        let head = head.unwrap().unwrap();
        assert_eq!((head.get, head.path.as_str()), (true, "/study/1"));
        assert_eq!(head.authorization.as_deref(), Some(&b"Basic eA=="[..]));
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost"), Ok(None));
        assert_eq!(parse(b"POST / HTTP/1.1\r\n\r\n"), Err(405));
        assert_eq!(parse(b"\0\x01\r\n\r\n"), Err(400));
        let long = [&b"GET / HTTP/1.1\r\nX: "[..], &vec![b'x'; MAX_HEAD]].concat();
        assert_eq!(parse(&long), Err(431));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(parse(many.as_bytes()), Err(431));
    }

    #[test]
    fn base64_is_rfc_4648s() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
