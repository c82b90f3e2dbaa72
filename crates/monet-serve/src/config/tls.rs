//! The tables of TLS, and what in them contradicts itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::check::{Refusal, refuse};
use super::{Destination, Listen};
use crate::tls;

/// TLS of the listener: with this table, nobody gets in without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenTls {
    /// The own certificate and those between it and its authority, in PEM's form.
    pub certificate: PathBuf,
    /// Its key, in PEM's form, without password.
    pub key: PathBuf,
    /// Who signs the callers' certificates, in PEM's form.
    #[serde(default)]
    pub authorities: Option<PathBuf>,
    /// Whether callers show certificates.
    #[serde(default)]
    pub clients: Clients,
}

/// Whether callers show certificates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clients {
    /// Each does.
    #[default]
    Required,
    /// Who shows one shows the right one.
    Optional,
    /// None is asked for.
    None,
}

/// TLS towards a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerTls {
    /// Who signs the peer's certificate, in PEM's form.
    pub authorities: PathBuf,
    /// The own certificate, for a peer that asks for one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// The name or address that the peer's certificate is for; that of `address` without it.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Whether that name is looked at. Otherwise every certificate that the authorities signed is
    /// the peer's.
    #[serde(default = "PeerTls::default_check_name")]
    pub check_name: bool,
}

impl PeerTls {
    fn default_check_name() -> bool {
        true
    }

    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Self { authorities, certificate, key, .. } = self;
        [Some(authorities), certificate.as_mut(), key.as_mut()].into_iter().flatten()
    }
}

impl Destination {
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls = self.tls.as_mut().map(PeerTls::paths);
        tls.into_iter().flatten().chain(self.folder.as_mut())
    }
}

impl ListenTls {
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Self { certificate, key, authorities, .. } = self;
        [Some(certificate), Some(key), authorities.as_mut()].into_iter().flatten()
    }
}

const BUILD: &str = "a build of monet with TLS (feature `tls`), which this one is not";

pub(super) fn validate_listener(listen: &Listen) -> Result<(), Refusal> {
    let Some(own) = &listen.tls else { return Ok(()) };
    if !tls::PRESENT {
        return refuse("listen.tls", "TLS", BUILD);
    }
    match (own.clients, &own.authorities) {
        (Clients::None, Some(file)) => {
            let expected = "clients = \"required\" or \"optional\" beside it";
            refuse("listen.tls.authorities", file.display(), expected)
        }
        (Clients::Required | Clients::Optional, None) => {
            let expected = "the file of who signs callers' certificates, or clients = \"none\"";
            refuse("listen.tls.authorities", "none", expected)
        }
        _ => Ok(()),
    }
}

pub(super) fn validate_destination(to: &Destination) -> Result<(), Refusal> {
    let Some(own) = &to.tls else { return Ok(()) };
    if !tls::PRESENT {
        return refuse("destination.tls", &to.name, BUILD);
    }
    if to.folder.is_some() {
        return refuse("destination.tls", &to.name, "an address: folders know no TLS");
    }
    if own.certificate.is_some() != own.key.is_some() {
        return refuse("destination.tls", &to.name, "both certificate and key, or neither");
    }
    if own.server_name.is_some() && !own.check_name {
        return refuse("destination.tls", &to.name, "server_name or check_name = false");
    }
    Ok(())
}
