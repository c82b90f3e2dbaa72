//! The configuration: one TOML file. Here are its tables; `check` reads and checks it, `numbers`
//! checks its numbers and where things come in, `overlap` its folders; `peers` has what peers are
//! known by, `tls` the tables of TLS.

mod check;
mod numbers;
mod overlap;
mod peers;
mod tls;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use check::ConfigError;
pub use peers::{AeTitle, Network};
pub use tls::{Clients, ListenTls, PeerTls};

/// What the service is told. Every table but `folder` and one rule may be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept.
    pub folder: PathBuf,
    /// The DICOM listener; none without it.
    #[serde(default)]
    pub listen: Option<Listen>,
    /// Folders from which files are taken.
    #[serde(default)]
    pub watch: Vec<Watch>,
    /// When a study is complete.
    #[serde(default)]
    pub study: Study,
    /// How studies are worked on.
    #[serde(default)]
    pub jobs: Jobs,
    /// Where installed packages are.
    #[serde(default)]
    pub models: Models,
    /// What is made of which series.
    #[serde(default)]
    pub rule: Vec<Rule>,
    /// Where results go.
    #[serde(default)]
    pub destination: Vec<Destination>,
    /// How failed deliveries are tried again.
    #[serde(default)]
    pub retry: Retry,
    /// What is kept, and when the disk counts as full.
    #[serde(default)]
    pub keep: Keep,
    /// The status page; none without it.
    #[serde(default)]
    pub page: Option<Page>,
    /// The log.
    #[serde(default)]
    pub log: Log,
}

impl Config {
    /// Where the status page listens, if there is one.
    #[must_use]
    pub fn page_address(&self) -> Option<SocketAddr> {
        self.page.as_ref().map(|page| page.address)
    }
}

/// The DICOM listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Address and port.
    #[serde(default = "Listen::default_address", deserialize_with = "peers::socket")]
    pub address: SocketAddr,
    /// Titles that a peer may call this service by.
    pub ae_titles: Vec<AeTitle>,
    /// Titles that a peer may bear; all where empty.
    #[serde(default)]
    pub callers: Vec<AeTitle>,
    /// Addresses that a peer may have; all where empty.
    #[serde(default)]
    pub peers: Vec<Network>,
    /// Associations at the same time.
    #[serde(default = "Listen::default_associations")]
    pub associations: u16,
    /// Associations of one address at the same time.
    #[serde(default = "Listen::default_per_address")]
    pub per_address: u16,
    /// Longest protocol data unit that is taken, in bytes.
    #[serde(default = "Listen::default_max_pdu")]
    pub max_pdu: u32,
    /// Seconds without a byte after which an association is ended.
    #[serde(default = "Listen::default_idle_s")]
    pub idle_s: u32,
    /// Seconds after which an association is ended, whatever it does.
    #[serde(default = "Listen::default_longest_s")]
    pub longest_s: u32,
    /// Longest instance that is taken, in MiB.
    #[serde(default = "Listen::default_instance_mib")]
    pub instance_mib: u32,
    /// TLS; plain DICOM without it.
    #[serde(default)]
    pub tls: Option<ListenTls>,
}

impl Listen {
    fn default_address() -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0], 11112))
    }
    fn default_associations() -> u16 {
        32
    }
    fn default_per_address() -> u16 {
        16
    }
    fn default_max_pdu() -> u32 {
        64 << 10
    }
    fn default_idle_s() -> u32 {
        30
    }
    fn default_longest_s() -> u32 {
        3600
    }
    fn default_instance_mib() -> u32 {
        4096
    }
}

/// A folder from which files are taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// The folder; files in it and below are moved away when they have stopped growing.
    pub folder: PathBuf,
    /// What the log, and `jobs.urgent`, call it.
    pub name: AeTitle,
    /// Seconds for which a file must not have changed.
    #[serde(default = "Watch::default_quiet_s")]
    pub quiet_s: u32,
}

impl Watch {
    fn default_quiet_s() -> u32 {
        10
    }
}

/// When a study is complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Study {
    /// Seconds after the last instance.
    pub quiet_s: u32,
    /// Seconds after the first instance, whatever still comes.
    pub longest_s: u32,
    /// Whether the number of instances that images state (0020,1208) is believed: a study that has
    /// exactly so many is complete 5 s after the last one, or after `quiet_s` where that is less.
    /// It is not believed for a study that grew on after it was complete.
    pub count: bool,
}

impl Default for Study {
    fn default() -> Self {
        Self { quiet_s: 60, longest_s: 5400, count: true }
    }
}

/// How studies are worked on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jobs {
    /// Studies at the same time.
    pub parallel: u16,
    /// Slices of a study at the same time.
    pub threads: u16,
    /// Address space of a study's process, in MiB.
    pub memory_mib: u32,
    /// Seconds that a study may take.
    pub seconds: u32,
    /// How often a study is tried whose process fails.
    pub tries: u16,
    /// Milliseconds that a slice should take, which the status page holds results against.
    pub slice_budget_ms: Option<f64>,
    /// Senders and watch folders whose studies go before the others'.
    pub urgent: Vec<AeTitle>,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            parallel: 1,
            threads: 1,
            memory_mib: 1024,
            seconds: 900,
            tries: 2,
            slice_budget_ms: None,
            urgent: Vec::new(),
        }
    }
}

/// Where installed packages are, as `monet model` keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Models {
    /// The packages.
    pub folder: PathBuf,
    /// The keys of whom this machine trusts.
    pub keys: PathBuf,
}

impl Default for Models {
    fn default() -> Self {
        Self { folder: "/var/lib/monet/models".into(), keys: "/etc/monet/keys".into() }
    }
}

/// What is made of the series that a package accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The package: the name of an installed one (`monet model`).
    #[serde(default)]
    pub model: Option<String>,
    /// The package: a manifest's or a plan's path. The embedded one where neither is given.
    #[serde(default)]
    pub package: Option<PathBuf>,
    /// Only series of these modalities, besides what the package accepts; any where empty.
    #[serde(default)]
    pub modality: Vec<String>,
    /// Only series whose description (0008,103E) contains this, whatever the case.
    #[serde(default)]
    pub description: Option<String>,
    /// Only studies from these senders and watch folders; any where empty.
    #[serde(default)]
    pub from: Vec<AeTitle>,
    /// Whether series outside the package's limits are taken.
    #[serde(default)]
    pub accept_any: bool,
    /// Whether series with gaps are taken.
    #[serde(default)]
    pub allow_gaps: bool,
    /// What is made.
    #[serde(default = "Rule::default_outputs")]
    pub outputs: BTreeSet<Output>,
    /// Names of the destinations; all where empty.
    #[serde(default)]
    pub to: Vec<String>,
}

impl Rule {
    fn default_outputs() -> BTreeSet<Output> {
        BTreeSet::from([Output::Seg])
    }
}

/// A kind of result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// Segmentation storage.
    Seg,
    /// Label map segmentation storage.
    Labelmap,
    /// Structure set.
    Rtstruct,
    /// NIfTI label volume; goes to folders alone.
    Nifti,
    /// Measurement report; with `seg` or `labelmap`.
    Report,
    /// Secondary capture.
    Capture,
    /// Figures as JSON; go to folders alone.
    Figures,
}

impl Output {
    /// Whether a DICOM peer can take it.
    #[must_use]
    pub fn is_dicom(self) -> bool {
        !matches!(self, Self::Nifti | Self::Figures)
    }
}

/// Where results go: a DICOM peer or a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// What rules, log and status page call it: letters, digits, `-` and `_`.
    pub name: String,
    /// Host and port of a DICOM peer.
    #[serde(default)]
    pub address: Option<String>,
    /// The peer's title.
    #[serde(default)]
    pub ae_title: Option<AeTitle>,
    /// The title that this service bears towards the peer.
    #[serde(default = "Destination::default_own")]
    pub own_ae_title: AeTitle,
    /// Whether the peer is asked to commit itself to keep what it got.
    #[serde(default)]
    pub commitment: bool,
    /// Seconds for which its answer is waited for, before all is sent again.
    #[serde(default = "Destination::default_commitment_s")]
    pub commitment_s: u32,
    /// TLS towards the peer; plain DICOM without it.
    #[serde(default)]
    pub tls: Option<PeerTls>,
    /// A folder.
    #[serde(default)]
    pub folder: Option<PathBuf>,
}

impl Destination {
    /// Whether it gets a result of that kind; `named` are the destinations of the rule that makes
    /// it: all where empty.
    #[must_use]
    pub fn takes(&self, named: &[String], kind: Output) -> bool {
        let is_named = named.is_empty() || named.contains(&self.name);
        is_named && (kind.is_dicom() || self.folder.is_some())
    }

    fn default_commitment_s() -> u32 {
        3600
    }

    fn default_own() -> AeTitle {
        "MONET".parse().expect("five letters are a title")
    }
}

/// How failed deliveries are tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Seconds before the first repetition; each pause is twice the one before.
    pub first_s: u32,
    /// Longest pause, in seconds.
    pub longest_s: u32,
    /// Days after which a delivery has failed: days in which the service ran.
    pub days: u32,
    /// Seconds without a byte after which a delivery is broken off.
    pub idle_s: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { first_s: 60, longest_s: 3600, days: 7, idle_s: 30 }
    }
}

/// What is kept, and when the disk counts as full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// Days for which delivered studies are kept.
    pub days: u32,
    /// Share of the disk, in percent, over which nothing new is taken.
    pub full_percent: u8,
    /// Free MiB under which nothing new is taken.
    pub free_mib: u32,
    /// Waiting studies over which nothing new is taken.
    pub waiting: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self { days: 7, full_percent: 85, free_mib: 2048, waiting: 10_000 }
    }
}

/// The status page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Address and port.
    #[serde(default = "Page::default_address", deserialize_with = "peers::socket")]
    pub address: SocketAddr,
    /// A file that holds the password; asked for with any user's name. Must be there where the
    /// address is not of this machine alone.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

impl Page {
    fn default_address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 8042))
    }
}

/// The log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// JSON in place of text.
    pub json: bool,
}

/// Seconds as a duration.
#[must_use]
pub(crate) fn seconds(n: u32) -> Duration {
    Duration::from_secs(n.into())
}
