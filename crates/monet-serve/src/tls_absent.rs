//! What a build without TLS has in its place: the configuration refuses what would need it.

use std::io;

use monet_dimse::{Error, Timed};

use crate::channel::{About, Channel};
use crate::check::Finding;
use crate::config::{Config, Destination, ListenTls, PeerTls};
use crate::log::Log;

pub(crate) const PRESENT: bool = false;

/// There is none.
#[derive(Debug)]
pub(crate) enum Door {}

impl Door {
    pub(crate) fn open(_: &ListenTls) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn accept(&self, _: Timed, _: &Log) -> io::Result<Channel> {
        match *self {}
    }
}

pub(crate) fn connect(_: &PeerTls, _: &Destination, _: Timed) -> io::Result<(Channel, About)> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn refusal(_: &Error) -> Option<String> {
    None
}

pub(crate) fn findings(_: &Config) -> Vec<Finding> {
    Vec::new()
}
