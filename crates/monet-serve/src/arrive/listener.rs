//! The DICOM listener: instances go to disk as they come, and are answered when they are there for
//! good. No data set is looked into here.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use monet_dicom::write::Meta;
use monet_dimse::limits::Limits;
use monet_dimse::{
    Admission, CopyError, Error, Policy, Request, Status, Store, Titles, accept, decodable, uids,
};

use super::seats::{Seat, Seats};
use super::{Gate, Inbox};
use crate::channel::{Channel, Door};
use crate::commit::Commitments;
use crate::config::{Listen, seconds};
use crate::log::{Level, Log};
use crate::tls;

/// How long the listener rests when nobody calls.
const REST: Duration = Duration::from_millis(10);
/// How often the log says that the same address is refused.
const QUIET: Duration = Duration::from_secs(60);
/// Most addresses that the log is quiet about.
const MOST_QUIET: usize = 1024;

/// Listens on one address.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    door: Door,
    policy: Policy,
    config: Listen,
    inbox: Inbox,
    gate: Arc<Gate>,
    commitments: Commitments,
    log: Log,
    seats: Arc<Seats>,
    refused: Mutex<HashMap<IpAddr, Instant>>,
}

impl Listener {
    /// Takes the address.
    ///
    /// # Errors
    /// What the system says; a certificate that is of no use.
    pub fn bind(
        config: &Listen,
        inbox: Inbox,
        gate: Arc<Gate>,
        commitments: Commitments,
        log: Log,
    ) -> io::Result<Self> {
        let socket = TcpListener::bind(config.address)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            door: Door::open(config)?,
            policy: policy(config),
            config: config.clone(),
            inbox,
            gate,
            commitments,
            log,
            seats: Arc::new(Seats::new(config.associations, config.per_address)),
            refused: Mutex::default(),
        })
    }

    /// Associations at this moment.
    #[must_use]
    pub fn open(&self) -> usize {
        self.seats.open()
    }

    /// Serves whoever calls, each on a thread of its own, until it is told to stop. Associations
    /// that are open then are ended: what was answered is on disk.
    pub fn serve(self: &Arc<Self>, go_on: &dyn Fn() -> bool) {
        while go_on() {
            match self.socket.accept() {
                Ok((socket, address)) => self.welcome(socket, address.ip().to_canonical()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(REST),
                Err(error) => {
                    self.log.error("nobody can be let in", &[("error", &error)]);
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }

    fn welcome(self: &Arc<Self>, socket: TcpStream, peer: IpAddr) {
        let known = self.config.peers.is_empty()
            || self.config.peers.iter().any(|network| network.contains(peer));
        if !known {
            self.tell_refused(peer, "its address is not on the list");
            return;
        }
        let seat = match self.seats.take(peer) {
            Ok(seat) => seat,
            Err(why) => return self.tell_refused(peer, why),
        };
        let own = self.clone();
        let started = thread::Builder::new()
            .name(format!("association {peer}"))
            .spawn(move || own.associate(socket, &seat));
        if let Err(error) = started {
            self.log.error("no thread for an association", &[("error", &error)]);
        }
    }

    fn associate(&self, socket: TcpStream, seat: &Seat) {
        let (begun, peer) = (Instant::now(), seat.peer());
        let mut stored = 0;
        let (mut title, ended) = (String::new(), self.talk(socket, seat, &mut stored));
        let ended = ended.map_err(|(calling, error)| {
            title = calling;
            error
        });
        let refusal = ended.as_ref().err().and_then(tls::refusal);
        if let Some(why) = refusal.filter(|_| title.is_empty()) {
            return self.tell_refused(peer, &why);
        }
        let seconds = format!("{:.2}", begun.elapsed().as_secs_f64());
        match ended {
            Err(Error::Refused { reject, calling, called }) => {
                let title = |title: Option<monet_dimse::AeTitle>| {
                    title.map_or("?".to_owned(), |title| title.as_str().to_owned())
                };
                let why = format!("{} calls {}: {reject}", title(calling), title(called));
                self.tell_refused(peer, &why);
            }
            Err(error) => {
                let fields: [(&str, &dyn ToString); 5] = [
                    ("peer", &peer),
                    ("title", &title),
                    ("stored", &stored),
                    ("seconds", &seconds),
                    ("error", &error),
                ];
                self.log.warning("association broken", &fields);
            }
            Ok(title) => {
                let fields: [(&str, &dyn ToString); 4] = [
                    ("peer", &peer),
                    ("title", &title),
                    ("stored", &stored),
                    ("seconds", &seconds),
                ];
                let level = if stored > 0 { Level::Info } else { Level::Debug };
                self.log.event(level, "association", &fields);
            }
        }
    }

    /// One association from its first byte to its last; gives the caller's title.
    fn talk(
        &self,
        socket: TcpStream,
        seat: &Seat,
        stored: &mut usize,
    ) -> Result<String, (String, Error)> {
        let nobody = |error| (String::new(), error);
        let stream = self.door.accept(socket, &self.log);
        let stream = stream.map_err(|error| nobody(Error::from_io(error)))?;
        let mut association = accept(stream, &self.policy, |_| {
            if seat.is_over() {
                Admission::LocalLimit
            } else if self.gate.full().is_some() {
                Admission::Congestion
            } else {
                Admission::Welcome
            }
        })
        .map_err(nobody)?;
        let title = association.peer().calling.as_str().to_owned();
        loop {
            let done = match association.next_request() {
                Ok(Request::Released) => return Ok(title),
                Ok(Request::Echo(echo)) => echo.respond(Status::SUCCESS),
                Ok(Request::Store(store)) => {
                    let (done, status) = self.store(store);
                    *stored += usize::from(status.is_done());
                    done
                }
                Ok(Request::Report(report, reply)) => {
                    let kept = self.commitments.keep(&report);
                    let failed =
                        |error: &io::Error| self.log.error("report lost", &[("error", error)]);
                    let kept = kept.inspect_err(failed).is_ok();
                    reply.respond(if kept { Status::SUCCESS } else { Status::OUT_OF_RESOURCES })
                }
                Ok(Request::Commitment(_, reply)) => reply.respond(Status::CANNOT_UNDERSTAND),
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            done.map_err(|error| (title.clone(), error))?;
        }
    }

    /// Stores an instance. Success is said when the instance is on disk for good, and not before.
    fn store(&self, mut store: Store<'_, Channel>) -> (Result<(), Error>, Status) {
        let status = match self.keep(&mut store) {
            Ok(()) => Status::SUCCESS,
            Err(CopyError::Peer(error)) => return (Err(error), Status::OUT_OF_RESOURCES),
            Err(error) => {
                let instance = &store.header().instance;
                self.log.error("not stored", &[("instance", instance), ("error", &error)]);
                Status::OUT_OF_RESOURCES
            }
        };
        let answered = store.respond(status);
        (answered, status)
    }

    fn keep(&self, store: &mut Store<'_, Channel>) -> Result<(), CopyError> {
        if let Some(full) = self.gate.full() {
            return Err(CopyError::Write(io::Error::other(full.to_string())));
        }
        let header = store.header().clone();
        let mut arriving = self.inbox.begin().map_err(CopyError::Write)?;
        let meta = Meta {
            class: &header.class,
            instance: &header.instance,
            syntax: &header.syntax,
            source: Some(header.calling.as_str()),
        };
        meta.write(&mut arriving).map_err(|e| CopyError::Write(io::Error::other(e)))?;
        store.copy_to(&mut arriving, u64::from(self.config.instance_mib) << 20)?;
        arriving.keep(header.calling.as_str()).map_err(CopyError::Write)
    }

    /// Says that a peer is refused, once a minute for each address.
    fn tell_refused(&self, peer: IpAddr, why: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|_, at| at.elapsed() < QUIET);
        if refused.contains_key(&peer) || refused.len() >= MOST_QUIET {
            return;
        }
        refused.insert(peer, Instant::now());
        self.log.warning("refused", &[("peer", &peer), ("reason", &why)]);
    }
}

fn policy(config: &Listen) -> Policy {
    let titles = |all: &[crate::config::AeTitle]| {
        Titles::Only(all.iter().map(crate::config::AeTitle::to_dimse).collect())
    };
    let idle = seconds(config.idle_s);
    let longest = seconds(config.longest_s);
    Policy {
        called: titles(&config.ae_titles),
        calling: if config.callers.is_empty() { Titles::Any } else { titles(&config.callers) },
        case_sensitive: true,
        classes: Box::new(|class| {
            uids::is_storage(class) || class == uids::VERIFICATION || class == uids::COMMITMENT
        }),
        syntaxes: decodable(),
        max_pdu: config.max_pdu,
        limits: Limits {
            negotiation: idle,
            idle,
            progress: idle,
            message: longest,
            answer: idle,
            association: longest,
        },
    }
}
