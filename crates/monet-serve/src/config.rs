//! The configuration: one TOML file.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// No configuration is longer than this many bytes.
const MAX_BYTES: u64 = 1 << 20;

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

/// The DICOM listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Address and port.
    #[serde(default = "Listen::default_address")]
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
}

impl Listen {
    fn default_address() -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0], 11112))
    }
    fn default_associations() -> u16 {
        32
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
    /// Whether a study is complete as soon as it has as many instances as its images state
    /// (0020,1208).
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
    /// A folder.
    #[serde(default)]
    pub folder: Option<PathBuf>,
}

impl Destination {
    fn default_commitment_s() -> u32 {
        3600
    }

    fn default_own() -> AeTitle {
        AeTitle("MONET".parse().expect("five letters are a title"))
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
    /// Days after which a delivery has failed.
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
    #[serde(default = "Page::default_address")]
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

/// An application entity's title: 1 to 16 printable ASCII characters without `\`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AeTitle(monet_dimse::AeTitle);

impl AeTitle {
    /// The title.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The title as associations have it.
    #[must_use]
    pub fn to_dimse(&self) -> monet_dimse::AeTitle {
        self.0.clone()
    }
}

impl FromStr for AeTitle {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("{text:?}: {error}"))
    }
}

impl TryFrom<String> for AeTitle {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<AeTitle> for String {
    fn from(title: AeTitle) -> Self {
        title.0.as_str().to_owned()
    }
}

/// Addresses with common first bits, as `10.1.0.0/16`; a single address without `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address belongs to it. An IPv4 address counts as such in IPv6's clothes, too.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let number = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(v4) => (32, u128::from(u32::from(v4)) << 96),
            IpAddr::V6(v6) => (128, u128::from(v6)),
        };
        let ((width, own), (other_width, other)) = (number(self.address), number(address));
        let shift = 128 - u32::from(self.bits);
        width == other_width && (own ^ other).checked_shr(shift).unwrap_or(0) == 0
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: expected an address, or one with bits as 10.1.0.0/16");
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        format!("{}/{}", network.address, network.bits)
    }
}

/// Why a configuration is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{}: the configuration cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no TOML, or not this one.
    #[error("{}: {}", path.display(), source.to_string().trim_end())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// It contradicts itself.
    #[error("{}: {field}: {found}: expected {expected}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        field: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
}

/// A field, what was found there, and what was expected.
type Refusal = (String, String, &'static str);

fn refuse<T>(field: &str, found: impl ToString, expected: &'static str) -> Result<T, Refusal> {
    Err((field.into(), found.to_string(), expected))
}

impl Config {
    /// Reads and checks a configuration. Paths in it are seen from its folder.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unread = |source| ConfigError::Read { path: path.into(), source };
        let length = fs::metadata(path).map_err(unread)?.len();
        if length > MAX_BYTES {
            return Err(unread(std::io::ErrorKind::FileTooLarge.into()));
        }
        let text = fs::read_to_string(path).map_err(unread)?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.into(), source: Box::new(source) })?;
        config.validate().map_err(|(field, found, expected)| ConfigError::Refused {
            path: path.into(),
            field,
            found,
            expected,
        })?;
        let base = std::path::absolute(path).map_err(unread)?;
        config.seen_from(base.parent().unwrap_or(Path::new("/")));
        Ok(config)
    }

    fn seen_from(&mut self, base: &Path) {
        let Models { folder, keys } = &mut self.models;
        let paths = [&mut self.folder, folder, keys]
            .into_iter()
            .chain(self.watch.iter_mut().map(|watch| &mut watch.folder))
            .chain(self.rule.iter_mut().filter_map(|rule| rule.package.as_mut()))
            .chain(self.destination.iter_mut().filter_map(|to| to.folder.as_mut()))
            .chain(self.page.iter_mut().filter_map(|page| page.password_file.as_mut()));
        for path in paths {
            *path = base.join(&*path);
        }
    }

    fn validate(&self) -> Result<(), Refusal> {
        if self.rule.is_empty() {
            return refuse("rule", "no rule", "at least one [[rule]], which may be empty");
        }
        if let Some(listen) = &self.listen {
            listen.validate()?;
        }
        self.validate_destinations()?;
        for rule in &self.rule {
            self.validate_rule(rule)?;
        }
        let positive = [
            ("study.longest_s", self.study.longest_s),
            ("jobs.parallel", self.jobs.parallel.into()),
            ("jobs.threads", self.jobs.threads.into()),
            ("jobs.seconds", self.jobs.seconds),
            ("jobs.tries", self.jobs.tries.into()),
            ("retry.first_s", self.retry.first_s),
            ("retry.idle_s", self.retry.idle_s),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, number)| *number == 0) {
            return refuse(field, 0, "a number over 0");
        }
        if self.jobs.memory_mib < 64 {
            return refuse("jobs.memory_mib", self.jobs.memory_mib, "64 at least");
        }
        if self.keep.full_percent > 100 {
            return refuse("keep.full_percent", self.keep.full_percent, "a share up to 100");
        }
        match &self.page {
            Some(page) if !page.address.ip().is_loopback() && page.password_file.is_none() => {
                refuse("page", page.address, "an address of this machine, or a password_file")
            }
            _ => Ok(()),
        }
    }

    fn validate_destinations(&self) -> Result<(), Refusal> {
        let mut names = BTreeSet::new();
        for to in &self.destination {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if !(1..=32).contains(&to.name.len()) || !to.name.bytes().all(plain) {
                return refuse("destination.name", &to.name, "1 to 32 letters, digits, - and _");
            }
            if !names.insert(&to.name) {
                return refuse("destination.name", &to.name, "names that differ");
            }
            let peer = to.address.is_some() && to.ae_title.is_some();
            if peer == to.folder.is_some() || to.address.is_some() != to.ae_title.is_some() {
                let expected = "either address and ae_title, or folder";
                return refuse("destination", &to.name, expected);
            }
        }
        Ok(())
    }

    fn validate_rule(&self, rule: &Rule) -> Result<(), Refusal> {
        let known = |name: &&String| self.destination.iter().any(|to| to.name == **name);
        if let Some(name) = rule.to.iter().find(|name| !known(name)) {
            return refuse("rule.to", name, "the name of a [[destination]]");
        }
        if let (Some(model), Some(_)) = (&rule.model, &rule.package) {
            return refuse("rule", model, "either model or package");
        }
        let has = |output| rule.outputs.contains(&output);
        if rule.outputs.is_empty() {
            return refuse("rule.outputs", "nothing", "at least one kind of result");
        }
        if has(Output::Report) && !has(Output::Seg) && !has(Output::Labelmap) {
            let expected = "seg or labelmap, too: the report refers to segments";
            return refuse("rule.outputs", "report", expected);
        }
        Ok(())
    }
}

impl Listen {
    fn validate(&self) -> Result<(), Refusal> {
        if self.ae_titles.is_empty() {
            return refuse("listen.ae_titles", "none", "the titles that this service answers to");
        }
        if self.associations == 0 || self.idle_s == 0 || self.longest_s == 0 {
            let expected = "associations, idle_s and longest_s over 0";
            return refuse("listen", 0, expected);
        }
        if !(4 << 10..=256 << 10).contains(&self.max_pdu) {
            return refuse("listen.max_pdu", self.max_pdu, "4096 to 262144 bytes");
        }
        Ok(())
    }
}

/// Seconds as a duration.
#[must_use]
pub(crate) fn seconds(n: u32) -> Duration {
    Duration::from_secs(n.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("box.toml");
        fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn little_is_needed() {
        let config = parse("folder = \"/data\"\n[[rule]]\n").unwrap();
        assert_eq!(config.folder, Path::new("/data"));
        assert_eq!(config.rule[0].outputs, BTreeSet::from([Output::Seg]));
        assert_eq!(config.study, Study::default());
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        for (text, part) in [
            ("", "rule"),
            ("surprise = 1", "surprise"),
            ("[[rule]]\nto = [\"pacs\"]", "rule.to"),
            ("[[rule]]\noutputs = [\"report\"]", "refers to segments"),
            ("[[rule]]\n[[destination]]\nname = \"../x\"\nfolder = \"/x\"", "destination.name"),
            ("[[rule]]\n[[destination]]\nname = \"x\"\naddress = \"h:104\"", "ae_title"),
            ("[[rule]]\n[listen]\nae_titles = []", "ae_titles"),
            ("[[rule]]\n[listen]\nae_titles = [\"MUCH TOO LONG A TITLE\"]", "AE title"),
            ("[[rule]]\n[listen]\nae_titles = [\"M\"]\npeers = [\"10.0.0.0/33\"]", "10.0.0.0/33"),
            ("[[rule]]\n[page]\naddress = \"0.0.0.0:80\"", "password_file"),
            ("[[rule]]\n[jobs]\nparallel = 0", "jobs.parallel"),
        ] {
            let error = parse(&format!("folder = \"/data\"\n{text}")).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_belong_to_networks() {
        let network: Network = "10.1.0.0/16".parse().unwrap();
        for (address, inside) in
            [("10.1.255.3", true), ("10.2.0.1", false), ("::ffff:10.1.2.3", true), ("::1", false)]
        {
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{address}");
        }
        let one: Network = "192.168.1.7".parse().unwrap();
        assert!(one.contains("192.168.1.7".parse().unwrap()));
        assert!(!one.contains("192.168.1.6".parse().unwrap()));
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("8.8.8.8".parse().unwrap()));
        assert!("fe80::/10".parse::<Network>().unwrap().contains("fe80::1".parse().unwrap()));
    }
}
