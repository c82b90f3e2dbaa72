//! A federation over the network: Flower's SuperLink with the app on one side, its SuperNode on
//! each site's.

use std::fs;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tch::Device;

use super::flower::{self, Flower};
use super::report::Course;
use super::simulate::Update;
use super::site::{self, Place};
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
    /// Data to derive the task from, where `--task` names none
    #[arg(long)]
    data: Option<PathBuf>,
    /// Each site does `--steps` in all, `--epoch` of them a round
    #[command(flatten)]
    settings: Settings,
}

impl Server {
    pub fn run(mut self, device: Device) -> Result<()> {
        self.settings.check()?;
        ensure!(self.sites >= 1, "--sites 0: expected 1 or more");
        if self.data.is_none() {
            let named = self.settings.task.as_deref().is_some_and(|task| task != "auto");
            ensure!(named, "give --task, or --data to derive it from");
        }
        let data = self.data.clone().unwrap_or_default();
        let (package, fingerprint) = self.settings.complete(&data)?;
        let flower = Flower::find()?;
        let run = Run(self.out.clone());
        run.create(&self.settings, &package, fingerprint.as_ref(), device)?;
        let link = self.link(&flower)?;
        self.submit(&flower, &run)?;
        drop(link);
        // Flower's program ends well even where the app failed.
        let (done, rounds) = (
            Course::read(&run.0).map_or(0, |c| c.count()),
            self.settings.steps.div_ceil(self.settings.epoch),
        );
        ensure!(
            done as u64 == rounds,
            "the federation failed, as said above, with {done} of {rounds} rounds done; {} holds \
             the weights of the last",
            self.out.display()
        );
        println!("{}: the weights after {rounds} rounds", self.out.display());
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

    /// Has the server run the app, and shows its log to the end.
    fn submit(&self, flower: &Flower, run: &Run) -> Result<()> {
        let security = match self.tls.as_deref().and_then(|files| files.first()) {
            None => "insecure = true".to_owned(),
            Some(ca) => format!("root-certificates = {}", flower::quoted(site::absolute(ca)?)),
        };
        let link = format!(
            "[superlink]\ndefault = \"here\"\n\n[superlink.here]\naddress = \"{}\"\n{security}\n",
            self.address()
        );
        fs::write(flower.home().join("config.toml"), link)?;
        let config = format!(
            "run={} sites={} update={}",
            flower::quoted(site::absolute(&run.0)?),
            self.sites,
            flower::quoted(self.update.name())
        );
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
        let site = self.place.site.map(String::from).unwrap_or_default();
        let node = format!(
            "data={} site={} trainer={} options={}",
            flower::quoted(site::absolute(&self.place.data)?),
            flower::quoted(site),
            flower::quoted(flower::trainer()?),
            flower::quoted(flower::options(device, threads))
        );
        command.args(["--superlink", &self.superlink, "--node-config", &node]);
        command.args(["--port", &self.port.to_string(), "--max-retries", "5"]);
        flower::finish(&mut command, "flower-supernode")
    }
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
