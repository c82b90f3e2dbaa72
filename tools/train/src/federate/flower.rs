//! The Python side: which Python, the app that it runs, and how it is called.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tch::Device;
use tempfile::TempDir;

/// Names a Python that has what `federate/requirements.txt` lists.
const PYTHON: &str = "MONET_FLOWER_PYTHON";

/// How to get one.
const HOW: &str = "make one with\n  python3 -m venv flower && flower/bin/pip install -r \
    tools/train/federate/requirements.txt\n  export MONET_FLOWER_PYTHON=$PWD/flower/bin/python";

/// The app's files.
const APP: [(&str, &str); 11] = [
    ("pyproject.toml", include_str!("../../federate/pyproject.toml")),
    ("monet_flower/__init__.py", include_str!("../../federate/monet_flower/__init__.py")),
    ("monet_flower/weights.py", include_str!("../../federate/monet_flower/weights.py")),
    ("monet_flower/client_app.py", include_str!("../../federate/monet_flower/client_app.py")),
    ("monet_flower/server_app.py", include_str!("../../federate/monet_flower/server_app.py")),
    ("monet_flower/simulate.py", include_str!("../../federate/monet_flower/simulate.py")),
    ("monet_flower/grids.py", include_str!("../../federate/monet_flower/grids.py")),
    ("monet_flower/private.py", include_str!("../../federate/monet_flower/private.py")),
    ("monet_flower/secure.py", include_str!("../../federate/monet_flower/secure.py")),
    ("monet_flower/strategies.py", include_str!("../../federate/monet_flower/strategies.py")),
    ("monet_flower/sizes.py", include_str!("../../federate/monet_flower/sizes.py")),
];

/// A Python with Flower, and the app unpacked for it.
pub struct Flower {
    python: PathBuf,
    /// Holds the app, and what Flower keeps while it runs; gone when this is dropped.
    folder: TempDir,
}

impl Flower {
    /// Finds the Python, and unpacks the app.
    ///
    /// # Errors
    /// Where no Python is named or it has no Flower; says what to do.
    pub fn find() -> Result<Self> {
        let Some(python) = env::var_os(PYTHON).map(PathBuf::from) else {
            bail!("{PYTHON} is not set: it names a Python with Flower; {HOW}");
        };
        let mut probe = Command::new(&python);
        probe.args(["-c", "import flwr, numpy, safetensors.numpy, dp_accounting"]);
        let probed = quietly(&mut probe)
            .output()
            .with_context(|| format!("{PYTHON}={}", python.display()))?;
        if !probed.status.success() {
            let text = String::from_utf8_lossy(&probed.stderr);
            let reason = text.trim().lines().last().unwrap_or_default();
            bail!("{PYTHON}={} has no Flower ({reason}): {HOW}", python.display());
        }
        let flower = Self { python, folder: tempfile::tempdir()? };
        fs::create_dir(flower.home())?;
        for (name, text) in APP {
            let path = flower.app().join(name);
            fs::create_dir_all(path.parent().context("the app's files are in folders")?)?;
            fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        Ok(flower)
    }

    /// The app's folder.
    pub fn app(&self) -> PathBuf {
        self.folder.path().join("app")
    }

    /// The folder that Flower keeps its things in.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// One of the app's modules as a program.
    pub fn module(&self, name: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-m", &format!("monet_flower.{name}")]).env("PYTHONPATH", self.app());
        quietly(&mut command);
        command
    }

    /// One of Flower's own programs, which lie beside its Python and find each other on the path.
    ///
    /// # Errors
    /// Where the Python is given without its folder.
    pub fn program(&self, name: &str) -> Result<Command> {
        let folder =
            self.python.parent().filter(|p| p.join(name).is_file()).with_context(|| {
                format!(
                    "{PYTHON}={}: expected {name} in the same folder; {HOW}",
                    self.python.display()
                )
            })?;
        let mut command = Command::new(folder.join(name));
        let rest = env::var_os("PATH").unwrap_or_default();
        let paths = [folder.to_owned()].into_iter().chain(env::split_paths(&rest));
        command.env("PATH", env::join_paths(paths)?).env("FLWR_HOME", self.home());
        quietly(&mut command);
        Ok(command)
    }
}

/// Without Flower's reports home about its use, and its questions about newer versions.
fn quietly(command: &mut Command) -> &mut Command {
    command
        .env("FLWR_TELEMETRY_ENABLED", "0")
        .env("FLWR_DISABLE_UPDATE_CHECK", "1")
        .stdin(Stdio::null())
}

/// Runs a command to its end; its output is shown as it comes.
///
/// # Errors
/// Where it fails; it has said why.
pub fn finish(command: &mut Command, what: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("{:?}", command.get_program()))?;
    ensure!(status.success(), "{what} failed, as said above ({status})");
    Ok(())
}

/// This binary's options as the app gives them to it.
pub fn options(device: Device, threads: Option<i32>) -> String {
    let device = match device {
        Device::Cuda(number) => format!("cuda:{number}"),
        _ => "cpu".into(),
    };
    threads.map_or(format!("--device {device}"), |n| format!("--device {device} --threads {n}"))
}

/// This binary's path.
///
/// # Errors
/// Where the system does not tell.
pub fn trainer() -> Result<PathBuf> {
    env::current_exe().context("this program's own path")
}

/// Quoted as a string of TOML, which Flower's configurations are written in.
pub fn quoted(value: impl AsRef<OsStr>) -> String {
    toml::Value::String(value.as_ref().to_string_lossy().into_owned()).to_string()
}
