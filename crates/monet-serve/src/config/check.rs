//! Reads a configuration, and refuses one that contradicts itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{Config, Destination, Listen, ListenTls, Models, Output, Rule, numbers, overlap, tls};

/// No configuration is longer than this many bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why a configuration is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{}: the configuration cannot be read: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// It is no TOML, or not this one.
    #[error("{}: {}", path.display(), reason.to_string().trim_end())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: Box<toml::de::Error>,
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
pub(super) type Refusal = (String, String, &'static str);

pub(super) fn refuse<T>(
    field: &str,
    found: impl ToString,
    expected: &'static str,
) -> Result<T, Refusal> {
    Err((field.into(), found.to_string(), expected))
}

impl Config {
    /// Reads and checks a configuration. Paths in it are seen from its folder.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unread = |reason| ConfigError::Read { path: path.into(), reason };
        let length = fs::metadata(path).map_err(unread)?.len();
        if length > MAX_BYTES {
            return Err(unread(std::io::ErrorKind::FileTooLarge.into()));
        }
        let text = fs::read_to_string(path).map_err(unread)?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|reason| ConfigError::Parse { path: path.into(), reason: Box::new(reason) })?;
        let refused = |(field, found, expected)| ConfigError::Refused {
            path: path.into(),
            field,
            found,
            expected,
        };
        config.validate().map_err(refused)?;
        let base = std::path::absolute(path).map_err(unread)?;
        config.seen_from(base.parent().unwrap_or(Path::new("/")));
        overlap::validate(&config).map_err(refused)?;
        Ok(config)
    }

    fn seen_from(&mut self, base: &Path) {
        let Models { folder, keys } = &mut self.models;
        let own = self.listen.iter_mut().filter_map(|listen| listen.tls.as_mut());
        let paths = [&mut self.folder, folder, keys]
            .into_iter()
            .chain(self.watch.iter_mut().map(|watch| &mut watch.folder))
            .chain(self.rule.iter_mut().filter_map(|rule| rule.package.as_mut()))
            .chain(own.flat_map(ListenTls::paths))
            .chain(self.destination.iter_mut().flat_map(Destination::paths))
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
        numbers::validate_inputs(self)?;
        numbers::validate(self)?;
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
            if let Some(text) = to.address.as_ref().filter(|text| !has_port(text)) {
                return refuse("destination.address", text, "a host and a port, as pacs:104");
            }
            if to.commitment && to.folder.is_some() {
                let field = format!("destination {}", to.name);
                return refuse(
                    &field,
                    "commitment = true",
                    "false: a folder commits itself to nothing",
                );
            }
            tls::validate_destination(to)?;
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
        let is_code = |text: &String| {
            let code = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
            !text.is_empty() && text.bytes().all(code)
        };
        if let Some(text) = rule.modality.iter().find(|text| !is_code(text)) {
            return refuse(
                "rule.modality",
                format!("{text:?}"),
                "a code as DICOM has it, as \"MR\"",
            );
        }
        if !rule.outputs.iter().any(|output| output.is_dicom()) {
            let peer = |to: &&Destination| rule.to.contains(&to.name) && to.folder.is_none();
            if let Some(to) = self.destination.iter().find(peer) {
                let expected = "a kind of result that a DICOM peer takes, as seg";
                return refuse("rule.outputs", format!("none for {}", to.name), expected);
            }
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

/// Whether an address ends with a port to which one can connect.
fn has_port(address: &str) -> bool {
    let is_port = |port: &str| port.parse().is_ok_and(|port: u16| port > 0);
    address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port))
}

impl Listen {
    fn validate(&self) -> Result<(), Refusal> {
        if self.ae_titles.is_empty() {
            return refuse("listen.ae_titles", "none", "the titles that this service answers to");
        }
        tls::validate_listener(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something comes in where the text does not say so.
    const WATCH: &str = "[[watch]]\nname = \"W\"\nfolder = \"/in\"\n";

    fn parse(text: &str) -> Result<Config, String> {
        let input = if text.contains("[listen]") { "" } else { WATCH };
        let text = format!("{text}\n{input}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("box.toml");
        fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|error| error.to_string())
    }

    const LISTEN_TLS: &str = "[[rule]]\n[listen]\nae_titles = [\"M\"]\n[listen.tls]\n\
        certificate = \"a.crt\"\nkey = \"a.key\"\n";
    const PEER_TLS: &str = "[[rule]]\n[[destination]]\nname = \"p\"\naddress = \"h:104\"\n\
        ae_title = \"P\"\n[destination.tls]\nauthorities = \"ca.crt\"\n";

    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_build_without_tls_says_so() {
        for text in [LISTEN_TLS, PEER_TLS] {
            let error = parse(&format!("folder = \"/data\"\n{text}")).unwrap_err();
            assert!(error.contains("feature `tls`"), "{error}");
        }
    }

    /// The configuration that comes with the service, with its examples in force.
    #[cfg(feature = "tls")]
    #[test]
    fn the_examples_are_taken() {
        let text = fs::read_to_string(monet_testing::root().join("tools/box/box.toml")).unwrap();
        let setting = |line: &str| {
            let word = line.split([' ', '=']).next().unwrap_or_default();
            let key = word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            line.starts_with('[') || key && line[word.len()..].starts_with(" = ")
        };
        let lines = text.lines().map(|line| match line.strip_prefix("# ") {
            // A rule has either a model or a package.
            Some(inner) if setting(inner) && !inner.starts_with("package") => inner,
            _ => line,
        });
        let config = parse(&lines.collect::<Vec<_>>().join("\n")).unwrap();
        let own = config.listen.unwrap().tls.unwrap();
        assert_eq!(own.authorities, Some("/etc/monet/tls/ca.crt".into()));
        assert!(config.destination[0].tls.as_ref().unwrap().server_name.is_some());
        assert_eq!((config.destination.len(), config.watch.len()), (2, 1));
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tables_of_tls_are_checked() {
        let parse = |text: &str| parse(&format!("folder = \"/data\"\n{text}"));
        let listen = |more: &str| parse(&format!("{LISTEN_TLS}{more}"));
        let peer = |more: &str| parse(&format!("{PEER_TLS}{more}"));
        let tls = listen("authorities = \"/x/ca.crt\"").unwrap().listen.unwrap().tls.unwrap();
        assert_eq!(tls.clients, super::super::Clients::Required);
        assert!(tls.key.is_absolute() && tls.authorities == Some("/x/ca.crt".into()));
        listen("clients = \"none\"").unwrap();
        let to = peer("server_name = \"pacs\"").unwrap().destination.remove(0).tls.unwrap();
        assert!(to.check_name && to.authorities.is_absolute());
        for (result, part) in [
            (listen(""), "listen.tls.authorities: none"),
            (listen("clients = \"optional\""), "listen.tls.authorities: none"),
            (listen("clients = \"none\"\nauthorities = \"ca.crt\""), "listen.tls.authorities"),
            (listen("clients = \"some\""), "unknown variant"),
            (peer("key = \"a.key\""), "both certificate and key"),
            (peer("server_name = \"pacs\"\ncheck_name = false"), "server_name or check_name"),
        ] {
            let error = result.unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let folder = PEER_TLS.replace("address = \"h:104\"\nae_title = \"P\"", "folder = \"/x\"");
        assert!(parse(&folder).unwrap_err().contains("folders know no TLS"));
    }

    #[test]
    fn little_is_needed() {
        let config = parse("folder = \"/data\"\n[[rule]]\n").unwrap();
        assert_eq!(config.folder, Path::new("/data"));
        assert_eq!(config.rule[0].outputs, BTreeSet::from([Output::Seg]));
        assert_eq!(config.study, super::super::Study::default());
    }

    #[test]
    fn addresses_of_destinations_have_a_port() {
        let parse = |address: &str, more: &str| {
            parse(&format!(
                "folder = \"/data\"\n[[rule]]\n{more}[[destination]]\nname = \"x\"\n\
                 ae_title = \"X\"\naddress = \"{address}\"\n"
            ))
        };
        for good in ["pacs:104", "10.0.0.1:11112", "[fe80::1]:104"] {
            parse(good, "").unwrap();
        }
        for wrong in ["pacs", "pacs:0", "pacs:104000", ":104", "pacs:"] {
            let error = parse(wrong, "").unwrap_err();
            assert!(error.contains("destination.address"), "{error}");
        }
        let error = parse("pacs:104", "to = [\"x\"]\noutputs = [\"nifti\"]\n").unwrap_err();
        assert!(error.contains("none for x"), "{error}");
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
            ("[[rule]]\n[study]\nquiet_s = 0", "study.quiet_s"),
            ("[[rule]]\n[study]\nquiet_s = 9\nlongest_s = 8", "study.quiet_s"),
            ("[[rule]]\n[keep]\nfull_percent = 0", "keep.full_percent"),
            ("[[rule]]\nmodality = [\"mr\"]", "rule.modality"),
            ("[[rule]]\n[listen]\nae_titles = [\"M\"]\npeers = [\"10.1.0.5/16\"]", "10.1.0.0/16"),
        ] {
            let error = parse(&format!("folder = \"/data\"\n{text}")).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
