//! DICOM associations: the upper layer (PS3.8) and the services of PS3.7 that an appliance needs.
//!
//! ```text
//! stream ─ link: PDUs, deadlines ─ association: messages ─┬─ incoming: next_request, respond
//!          accept | request: negotiation                  └─ outgoing: echo, store, commit
//! ```
//!
//! A peer is trusted in nothing. Memory of an association is bounded by the longest PDU that this
//! side announces, whatever lengths are declared; every step, every message and the whole
//! association have a limit of time; a data set is passed on as it comes and never looked into.
//!
//! The crate opens no sockets to listen and starts no threads: it speaks over any [`Stream`], a
//! [`Timed`] TCP connection or what wraps one: module `tls` (feature `tls`) has TLS.
//!
//! # Example
//!
//! Both sides of an echo:
//!
//! ```
//! use std::net::{TcpListener, TcpStream};
//! use std::thread;
//!
//! use monet_dimse::{Admission, Policy, Proposal, Request, Status, Timed, accept, request, uids};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! let server = thread::spawn(move || {
//!     let (socket, _) = listener.accept().unwrap();
//!     let stream = Timed::new(socket).unwrap();
//!     let mut association =
//!         accept(stream, &Policy::default(), |_| Admission::Welcome).unwrap();
//!     loop {
//!         match association.next_request().unwrap() {
//!             Request::Echo(echo) => echo.respond(Status::SUCCESS).unwrap(),
//!             Request::Released => break,
//!             other => panic!("{other:?}"),
//!         }
//!     }
//! });
//!
//! let stream = Timed::new(TcpStream::connect(address)?)?;
//! let proposal = Proposal::new("HERE".parse()?, "THERE".parse()?).with(uids::VERIFICATION);
//! let mut association = request(stream, &proposal)?;
//! assert_eq!(association.echo()?.status, Status::SUCCESS);
//! association.release()?;
//! server.join().unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod accept;
mod association;
mod command;
mod commitment;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod incoming;
pub mod limits;
mod link;
mod outgoing;
pub mod pdu;
mod request;
mod status;
mod stream;
mod title;
#[cfg(feature = "tls")]
pub mod tls;
pub mod uids;

pub use accept::{Admission, Policy, accept, decodable};
pub use association::{Association, Context, Peer, Response};
pub use commitment::{CommitmentRequest, Reference, Report};
pub use error::{Error, InformationError, Phase, Violation};
pub use incoming::{CopyError, Reply, Request, Store, StoreHeader};
pub use outgoing::Instance;
pub use request::{Proposal, request};
pub use status::{Class, Status};
pub use stream::{Stream, Timed, Untimed};
pub use title::{AeTitle, NoTitle, Titles};
