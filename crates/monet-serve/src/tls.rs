//! TLS as the configuration has it: certificates are read when the service starts, and anew when
//! their files change, so that who renews them need not think of the service.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use monet_dimse::tls::{
    Acceptor, Authorities, Callers, Connector, Identity, ServerName, TlsError, Validity,
};
use monet_dimse::{Error, Timed};

use crate::channel::{About, Channel};
use crate::check::Finding;
use crate::config::{Clients, Config, Destination, ListenTls, PeerTls};
use crate::log::Log;

pub(crate) const PRESENT: bool = true;

/// A certificate with less time left is named.
const SOON: Duration = Duration::from_secs(30 * 86_400);

/// The listener's side.
#[derive(Debug)]
pub(crate) struct Door {
    config: ListenTls,
    current: Mutex<(Stamp, Acceptor)>,
}

/// When each file was changed, and how long it is.
type Stamp = [Option<(SystemTime, u64)>; 3];

impl Door {
    /// Reads the files.
    ///
    /// # Errors
    /// One that is of no use.
    pub(crate) fn open(config: &ListenTls) -> io::Result<Self> {
        // Before the files: one that is changed meanwhile is read once more.
        let stamp = stamp(config);
        let acceptor = acceptor(config).map_err(io::Error::other)?;
        Ok(Self { config: config.clone(), current: Mutex::new((stamp, acceptor)) })
    }

    /// Puts a caller's connection into TLS; the handshake comes with the first byte.
    ///
    /// # Errors
    /// What rustls says.
    pub(crate) fn accept(&self, socket: Timed, log: &Log) -> io::Result<Channel> {
        Ok(Box::new(self.current(log).accept(socket)?))
    }

    /// What the files say now; or what they said before, where they have become useless.
    fn current(&self, log: &Log) -> Acceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.config);
        if stamp != current.0 {
            current.0 = stamp;
            match acceptor(&self.config) {
                Ok(acceptor) => {
                    current.1 = acceptor;
                    log.info("certificates read anew", &[]);
                }
                Err(error) => {
                    log.error(
                        "certificates not read anew, the old ones hold",
                        &[("error", &error)],
                    );
                }
            }
        }
        current.1.clone()
    }
}

fn stamp(config: &ListenTls) -> Stamp {
    let ListenTls { certificate, key, authorities, .. } = config;
    [Some(certificate), Some(key), authorities.as_ref()].map(|path| {
        let data = fs::metadata(path?).ok()?;
        Some((data.modified().ok()?, data.len()))
    })
}

fn acceptor(config: &ListenTls) -> Result<Acceptor, String> {
    let own = Identity::load(&config.certificate, &config.key).map_err(|e| e.to_string())?;
    let authorities = config.authorities.as_deref().map(Authorities::load).transpose();
    let callers = match (config.clients, authorities.map_err(|e| e.to_string())?) {
        (Clients::None, _) => Callers::Unasked,
        (Clients::Required, Some(authorities)) => Callers::Required(authorities),
        (Clients::Optional, Some(authorities)) => Callers::Optional(authorities),
        (_, None) => return Err("listen.tls.authorities is missing".to_owned()),
    };
    Acceptor::new(&own, callers).map_err(|error| error.to_string())
}

/// Puts a connection to a destination into TLS, within the connection's deadline. The files are
/// read each time.
///
/// # Errors
/// A file that is of no use, a peer that is refused or refuses.
pub(crate) fn connect(
    config: &PeerTls,
    to: &Destination,
    socket: Timed,
) -> io::Result<(Channel, About)> {
    let connector = connector(config, to).map_err(io::Error::other)?;
    let mut stream = connector.connect(socket)?;
    stream.handshake()?;
    let version = stream.version();
    let valid = stream.peer_validity().map(|validity| left(Some(validity)));
    Ok((Box::new(stream), About { version, valid }))
}

fn connector(config: &PeerTls, to: &Destination) -> Result<Connector, String> {
    let own = shown(config).map(|(certificate, key)| Identity::load(certificate, key));
    let own = own.transpose().map_err(|error| error.to_string())?;
    let trusted = Authorities::load(&config.authorities).map_err(|error| error.to_string())?;
    let name = config.server_name.as_deref().unwrap_or_else(|| host(to));
    let peer = ServerName::new(name).map_err(|error| format!("{name:?}: {error}"))?;
    let peer = if config.check_name { peer } else { peer.unchecked() };
    Connector::new(own.as_ref(), &trusted, peer).map_err(|error| error.to_string())
}

/// The certificate that a peer is shown, and its key.
fn shown(config: &PeerTls) -> Option<(&Path, &Path)> {
    config.certificate.as_deref().zip(config.key.as_deref())
}

/// The host of an address, as `pacs` of `pacs:104` and `::1` of `[::1]:104`.
fn host(to: &Destination) -> &str {
    let address = to.address.as_deref().unwrap_or_default();
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Why TLS let a caller not in; `None` where an association ended for another reason.
pub(crate) fn refusal(error: &Error) -> Option<String> {
    let Error::Io(error) = error else { return None };
    error.get_ref()?.downcast_ref::<TlsError>().map(ToString::to_string)
}

/// How the files are that the configuration names.
pub(crate) fn findings(config: &Config) -> Vec<Finding> {
    let mut all = Vec::new();
    if let Some(tls) = config.listen.as_ref().and_then(|listen| listen.tls.as_ref()) {
        own("listener", &tls.certificate, &tls.key, &mut all);
        if let Some(path) = &tls.authorities {
            all.push(authorities("listener", path));
        }
    }
    for to in &config.destination {
        let Some(tls) = &to.tls else { continue };
        let what = format!("destination {}", to.name);
        if let Some((certificate, key)) = shown(tls) {
            own(&what, certificate, key, &mut all);
        }
        all.push(authorities(&what, &tls.authorities));
    }
    all
}

fn own(whose: &str, certificate: &Path, key: &Path, all: &mut Vec<Finding>) {
    let found = Identity::load(certificate, key).map_err(|error| error.to_string());
    let found = found.and_then(|own| {
        let names = own.names().join(", ");
        let names = if names.is_empty() { "no name".to_owned() } else { names };
        left(own.validity()).map(|left| format!("for {names}; {left}"))
    });
    all.push(Finding::of(format!("{whose}: certificate {}", certificate.display()), found));
    if is_open(key) {
        let what = format!("{whose}: key {}", key.display());
        let found = "everybody on this machine can read it; expected chmod o= for it".to_owned();
        all.push(Finding { what, good: false, found });
    }
}

fn authorities(whose: &str, path: &Path) -> Finding {
    let found = Authorities::load(path).map_err(|error| error.to_string()).and_then(|all| {
        left(all.validity()).map(|left| format!("{} of them; {left}", all.count()))
    });
    Finding::of(format!("{whose}: authorities {}", path.display()), found)
}

/// Whether others than the owner and the group can read a file.
fn is_open(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o004 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// How long something is still valid; an error where that is not for long.
fn left(validity: Option<Validity>) -> Result<String, String> {
    let Some(Validity { begin, end }) = validity else {
        return Err("its dates cannot be read".to_owned());
    };
    let now = SystemTime::now();
    let days = |time: Duration| time.as_secs() / 86_400;
    if let Ok(until) = begin.duration_since(now) {
        return Err(format!("not valid yet, but in {} s; is a clock wrong?", until.as_secs()));
    }
    match end.duration_since(now) {
        Err(over) => Err(format!("expired {} days ago", days(over.duration()))),
        Ok(left) if left < SOON => Err(format!("expires in {} days: renew it", days(left))),
        Ok(left) => Ok(format!("valid for {} days", days(left))),
    }
}
