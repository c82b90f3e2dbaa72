//! A federation over the network: Flower's SuperLink with the app on one side, its SuperNode on
//! each site's.

use std::fs;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tch::Device;

use super::flower::{self, Flower};
use super::report::Course;
use super::site::{self, Place};
use super::terms::{Terms, Update};
use crate::checkpoint::Run;
use crate::dataset::Split;
use crate::settings::Settings;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long Flower's own server may take to start.
const START: Duration = Duration::from_secs(60);

/// Serves.
#[derive(Debug, clap::Args)]
pub struct Server {
    /// Folder of the run, which `export` and `quantize` take when it is over
    #[arg(long)]
    out: PathBuf,
    /// Sites to wait for
    #[arg(long, default_value_t = 2)]
    sites: usize,
    /// How weights travel
    #[arg(long, value_enum, default_value = "f32")]
    update: Update,
    /// Address to listen at
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen at
    #[arg(long, default_value_t = 9092)]
    port: u16,
    /// PEM files of the authority's certificate, the server's certificate and its key; without them
    /// nothing is encrypted
    #[arg(long, num_args = 3, value_names = ["CA", "CERTIFICATE", "KEY"])]
    tls: Option<Vec<PathBuf>>,
    /// Public keys of the sites that may take part, and no others: files as `ssh-keygen -t ecdsa -b
    /// 384` writes them
    #[arg(long, num_args = 1.., value_name = "FILE.pub", requires = "tls")]
    site_keys: Vec<PathBuf>,
    /// Data to derive the task from, where `--task` names none
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    terms: Terms,
    /// Each site does `--steps` in all, `--epoch` of them a round
    #[command(flatten)]
    settings: Settings,
}

impl Server {
    pub fn run(mut self, device: Device) -> Result<()> {
        self.settings.check()?;
        self.settings.untaught()?;
        ensure!(self.sites >= 1, "--sites 0: expected 1 or more");
        self.terms.check(self.sites)?;
        let keys = self.site_keys.len();
        ensure!(
            keys == 0 || keys >= self.sites,
            "--site-keys names {keys} key(s) for {} sites: expected one for each",
            self.sites
        );
        self.site_keys.iter().try_for_each(|key| public(key))?;
        if self.data.is_none() {
            let named = self.settings.task.as_deref().is_some_and(|task| task != "auto");
            ensure!(named, "give --task, or --data to derive it from");
        }
        let data = self.data.clone().unwrap_or_default();
        let (package, fingerprint) = self.settings.complete(&data)?;
        let flower = Flower::find()?;
        let run = Run(self.out.clone());
        run.create(&self.settings, &package, fingerprint.as_ref(), device)?;
        self.terms.write(&run, self.sites, self.update)?;
        let link = self.link(&flower)?;
        self.configure(&flower)?;
        self.admit(&flower)?;
        self.submit(&flower, &run)?;
        drop(link);
        // Flower's program ends well even where the app failed.
        let course = Course::read(&run.0);
        let (done, lost) = course.map_or((0, 0), |course| (course.count(), course.lost()));
        let rounds = self.settings.steps.div_ceil(self.settings.epoch);
        ensure!(
            done as u64 == rounds,
            "the federation failed, as said above, with {done} of {rounds} rounds done; {} holds \
             the weights of the last",
            self.out.display()
        );
        ensure!(lost < done, "all {rounds} rounds were lost, as said above");
        let lost = if lost > 0 { format!(", {lost} of them lost") } else { String::new() };
        println!("{}: the weights after {rounds} rounds{lost}", self.out.display());
        Ok(())
    }

    /// Where this machine reaches the server: as Flower's own programs do, by the loopback where it
    /// listens at every address.
    fn address(&self) -> String {
        let host = if self.host == "0.0.0.0" { "127.0.0.1" } else { &self.host };
        format!("{host}:{}", self.port)
    }

    /// Starts Flower's server, and waits until it listens.
    fn link(&self, flower: &Flower) -> Result<Process> {
        ensure!(
            !listens(&self.address(), Duration::from_secs(1)),
            "{}: somebody listens there already: choose another --port",
            self.address()
        );
        let mut command = flower.program("flower-superlink")?;
        command.args(["--host", &self.host, "--port", &self.port.to_string()]);
        command.arg("--disable-runtime-dependency-installation");
        match &self.tls {
            None => command.arg("--insecure"),
            Some(files) => {
                let options = ["--ssl-ca-certfile", "--ssl-certfile", "--ssl-keyfile"];
                options
                    .iter()
                    .zip(files)
                    .fold(&mut command, |command, (option, file)| command.arg(option).arg(file))
            }
        };
        if !self.site_keys.is_empty() {
            command.arg("--enable-supernode-auth");
        }
        let mut link = Process::start(command)?;
        let begun = Instant::now();
        while !listens(&self.address(), Duration::from_secs(1)) {
            if let Some(status) = link.0.try_wait()? {
                bail!("flower-superlink ended, as said above ({status})");
            }
            ensure!(
                begun.elapsed() < START,
                "flower-superlink does not listen at {}",
                self.address()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(link)
    }

    /// Tells Flower's programs here where the server is.
    fn configure(&self, flower: &Flower) -> Result<()> {
        let security = match self.tls.as_deref().and_then(|files| files.first()) {
            None => "insecure = true".to_owned(),
            Some(ca) => format!("root-certificates = {}", flower::quoted(site::absolute(ca)?)),
        };
        let link = format!(
            "[superlink]\ndefault = \"here\"\n\n[superlink.here]\naddress = \"{}\"\n{security}\n",
            self.address()
        );
        Ok(fs::write(flower.home().join("config.toml"), link)?)
    }

    /// Lets the sites in whose keys are named; the server knows no others.
    fn admit(&self, flower: &Flower) -> Result<()> {
        for key in &self.site_keys {
            let mut command = flower.program("flwr")?;
            command.args(["supernode", "register"]).arg(site::absolute(key)?).arg("here");
            flower::finish(&mut command, &format!("registering {}", key.display()))?;
        }
        Ok(())
    }

    /// Has the server run the app, and shows its log to the end.
    fn submit(&self, flower: &Flower, run: &Run) -> Result<()> {
        let config = format!("run={}", flower::quoted(site::absolute(&run.0)?));
        let mut command = flower.program("flwr")?;
        command.arg("run").arg(flower.app()).args(["here", "--stream", "--run-config", &config]);
        flower::finish(&mut command, "the federation")
    }
}

/// Takes part.
#[derive(Debug, clap::Args)]
pub struct Client {
    /// The server's address, as host:port
    #[arg(long)]
    superlink: String,
    #[command(flatten)]
    place: Place,
    /// PEM file of the authority that certifies the server; without it nothing is encrypted
    #[arg(long, value_name = "CA")]
    tls: Option<PathBuf>,
    /// The site's private key, whose public half the server was given
    #[arg(long, value_name = "FILE", requires = "tls")]
    key: Option<PathBuf>,
    /// Answer masked only, whatever the server asks for
    #[arg(long)]
    secure: bool,
    /// Answer only where this site adds noise of so many clips, or more, to its update, and is
    /// asked for no scores
    #[arg(long, value_name = "FACTOR")]
    least_noise: Option<f64>,
    /// Port on this machine through which Flower's two halves here talk
    #[arg(long, default_value_t = 9094)]
    port: u16,
}

impl Client {
    pub fn run(self, device: Device, threads: Option<i32>) -> Result<()> {
        // A site that cannot train says so here, not to the server.
        [Split::Train, Split::Validation]
            .iter()
            .try_for_each(|&s| self.place.pairs(s, None).map(drop))?;
        let flower = Flower::find()?;
        ensure!(
            listens(&self.superlink, PATIENCE),
            "no server answers at {}: expected host:port of `monet-train federate server`, or of \
             another SuperLink",
            self.superlink
        );
        let mut command = flower.program("flower-supernode")?;
        match &self.tls {
            None => command.arg("--insecure"),
            Some(ca) => command.arg("--root-certificates").arg(ca),
        };
        if let Some(key) = &self.key {
            command.arg("--auth-supernode-private-key").arg(site::absolute(key)?);
        }
        let site = self.place.site.map(String::from).unwrap_or_default();
        let deal = self.place.deal.as_deref().map(site::absolute).transpose()?.unwrap_or_default();
        let node = format!(
            "data={} site={} deal={} trainer={} options={} secure={} least_noise={:?}",
            flower::quoted(site::absolute(&self.place.data)?),
            flower::quoted(site),
            flower::quoted(deal),
            flower::quoted(flower::trainer()?),
            flower::quoted(flower::options(device, threads)),
            self.secure,
            self.least_noise.unwrap_or(0.0)
        );
        command.args(["--superlink", &self.superlink, "--node-config", &node]);
        command.args(["--port", &self.port.to_string(), "--max-retries", "5"]);
        // Flower tells an unknown key by a number only.
        let key = self.key.as_ref().map_or(String::new(), |key| {
            format!(" with --key {} (code 2004: the server was not given its .pub)", key.display())
        });
        flower::finish(&mut command, &format!("flower-supernode{key}"))
    }
}

/// That a file is a public key as Flower takes it.
fn public(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    ensure!(
        text.starts_with("ecdsa-sha2-nistp"),
        "{}: expected a public key as `ssh-keygen -t ecdsa -b 384` writes it, which begins with \
         ecdsa-sha2-nistp",
        path.display()
    );
    Ok(())
}

/// Whether somebody listens at an address.
fn listens(address: &str, patience: Duration) -> bool {
    let Ok(mut addresses) = address.to_socket_addrs() else { return false };
    addresses.any(|address| TcpStream::connect_timeout(&address, patience).is_ok())
}

/// A process that ends with this.
struct Process(Child);

impl Process {
    fn start(mut command: Command) -> Result<Self> {
        Ok(Self(command.spawn().with_context(|| format!("{:?}", command.get_program()))?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
