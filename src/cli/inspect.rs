//! `monet inspect`: what a package is and what runs it.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use monet::Size;
use monet::core::Schedule;
use monet::engine::Summary;
use monet::package::{Manifest, Net, Package, slice_size};
use monet::targets::{self, Planned, Target};
use monet::text::plain;
use serde::Serialize;

use super::{Outcome, nets, room, terminal};

const EXAMPLES: &str = "\
Examples:
  monet inspect
  monet inspect models/hippocampus.f32.toml --size 128x96
  monet inspect --target cortex-m7 --size 96x96     # does it fit, how many instructions, what time
  monet inspect --json | jq .net.macs";

/// Show a model package: manifest, layers, parameters, multiply-accumulates, what runs how
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InspectArgs {
    /// Manifest of the package, a plan, or an ONNX file without manifest; the embedded package when
    /// not given
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Height and width of the slice that figures are for; the package's own when not given
    #[arg(long, value_name = "HxW", value_parser = slice_size)]
    size: Option<Size>,
    /// Show the plan for a board: a name that `monet targets` lists, or a TOML file of your own. Of
    /// a board without an operating system, say whether it fits, and predict what a slice takes
    #[arg(long, value_name = "NAME|FILE.toml")]
    target: Option<OsString>,
    #[command(flatten)]
    engine: nets::EngineArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    trial: nets::TrialArgs,
}

#[derive(Serialize)]
struct Inspection<'a> {
    origin: &'a str,
    bytes: usize,
    manifest: &'a Manifest,
    net: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    board: Option<Board>,
}

/// A plan on a board.
#[derive(Debug, Serialize)]
struct Board {
    target: String,
    /// None of a board with an operating system, whose memory is not counted.
    fits: Option<bool>,
    room: Option<targets::Room>,
    /// None where it is not known.
    predicted: Option<Predicted>,
    #[serde(skip)]
    text: String,
}

/// What a slice takes: predicted, not measured.
#[derive(Debug, Serialize)]
struct Predicted {
    instructions: Option<f64>,
    slice_ms: f64,
    error_percent: f64,
}

/// Runs the command.
///
/// # Errors
/// A package that cannot be loaded.
pub(super) fn run(args: &InspectArgs) -> Result<Outcome> {
    let is_trial = args.trial.bind()?;
    let package = super::package_or_net(args.model.as_deref(), args.size)?;
    let size = args.size.unwrap_or(package.size());
    if let (Some(model), false) = (&args.model, is_trial) {
        nets::try_inspect(model, &args.engine, &package, size)?;
    }
    let target = args.target.as_deref().map(Target::find).transpose()?;
    let (net, board) = match &target {
        Some(target) => on_board(&package, size, target)?,
        None => (nets::describe(&package, size, args.engine.choose(&package)?)?, None),
    };
    if args.json {
        let inspection = Inspection {
            origin: &package.origin,
            bytes: package.net.bytes().len(),
            manifest: &package.manifest,
            net,
            board,
        };
        terminal::print(&monet::measure::json(&inspection))?;
    } else {
        terminal::print(&text(&package, &net, board.as_ref()))?;
    }
    Ok(Outcome::Done)
}

/// The net as a board runs it, and what that takes.
fn on_board(package: &Package, size: Size, target: &Target) -> Result<(Summary, Option<Board>)> {
    let package = match package.net {
        Net::Image(_) => package.clone(),
        _ => nets::to_plan(package)?,
    };
    let planned = targets::plan(&package, size, target, Schedule::Planes)?;
    let (predicted, told) = predict(&package, size, target);
    let text = room::text(&planned, target) + &format!("{:<8} {told}\n", "slice");
    let Planned { image, room, fits, .. } = planned;
    let fits = room.is_some().then_some(fits);
    let board = Board { target: target.name.clone(), fits, room, predicted, text };
    Ok((Summary::of_image(&image), Some(board)))
}

/// What a slice takes, as figures and in words.
#[cfg(feature = "desk")]
fn predict(package: &Package, size: Size, target: &Target) -> (Option<Predicted>, String) {
    let question = monet::profile::Question { size, slices: 1, threads: Some(1) };
    match monet::profile::predict(package, target, &question) {
        Ok(profile) => {
            let prediction = profile.prediction.as_ref();
            let error_percent = prediction.map_or(0.0, |p| p.error_percent);
            let instructions = prediction.and_then(|p| p.instructions);
            let predicted =
                Predicted { instructions, slice_ms: profile.latency_ms.median, error_percent };
            let text = format!("predicted, not measured: {}", predicted.told());
            (Some(predicted), text)
        }
        Err(error) => (None, format!("time not known: {error}")),
    }
}

/// This build cannot predict.
#[cfg(not(feature = "desk"))]
fn predict(_: &Package, _: Size, _: &Target) -> (Option<Predicted>, String) {
    (None, "time not known: this build does not predict".into())
}

#[cfg(feature = "desk")]
impl Predicted {
    fn told(&self) -> String {
        let count = self.instructions.map(|n| format!("{:.1} million instructions, ", n / 1e6));
        let count = count.unwrap_or_default();
        format!("{count}{:.1} ms, error bar {} %", self.slice_ms, self.error_percent)
    }
}

fn text(package: &Package, net: &Summary, board: Option<&Board>) -> String {
    let manifest = &package.manifest;
    let mut out =
        format!("package  {} {} ({})\n", manifest.name, manifest.version, plain(&package.origin));
    let mut line = |key: &str, value: String| out += &format!("{key:<8} {value}\n");
    line("task", manifest.task.clone());
    line(
        "file",
        format!(
            "{}, {} bytes, sha256 {}",
            manifest.model,
            package.net.bytes().len(),
            manifest.sha256
        ),
    );
    let limit = |largest| if largest { " (largest piece)" } else { "" };
    let labels: Vec<String> = manifest
        .labels
        .iter()
        .map(|l| format!("{} {}{}", l.value, l.name, limit(l.largest)))
        .collect();
    line("labels", labels.join(", "));
    line(
        "slices",
        format!("{} orientation, {}, {}", manifest.orientation, manifest.normalise, manifest.fit),
    );
    for limit in manifest.accepts.iter().flat_map(|accepts| accepts.describe(manifest.orientation))
    {
        line("accepts", limit);
    }
    if let Some(data) = &manifest.data {
        line("data", format!("{}, {}; {}", data.name, data.licence, data.attribution));
    }
    for m in &manifest.metrics {
        line(
            "metric",
            format!("{} {} {:.4} ± {:.4} ({})", m.name, m.label, m.mean, m.std, m.split),
        );
    }
    line(
        "net",
        format!(
            "{} parameters, {:.1} million multiply-accumulates at {}",
            net.parameters,
            net.macs as f64 / 1e6,
            net.size
        ),
    );
    out += &format!("engine   {}\n", plain(&net.engine));
    if let Some(board) = board {
        let word = match board.fits {
            Some(true) => "fits: ",
            Some(false) => "DOES NOT FIT: ",
            None => "",
        };
        out += &format!("board    {word}{}\n{}", board.target, board.text);
    }
    net.unfused.iter().for_each(|node| out += &format!("  not int8: {}\n", plain(node)));
    net.rounded.iter().for_each(|what| out += &format!("  rounded: {}\n", plain(what)));
    out += &format!(
        "\n{:<34} {:<18} {:>18} {:>10} {:>12}  {}\n",
        "layer", "operation", "result", "parameters", "MMAC", "runs on"
    );
    for layer in &net.layers {
        let shape: Vec<String> = layer.shape.iter().map(ToString::to_string).collect();
        out += &format!(
            "{:<34} {:<18} {:>18} {:>10} {:>12.3}  {}\n",
            plain(&layer.name),
            plain(&layer.op),
            shape.join("x"),
            layer.parameters,
            layer.macs as f64 / 1e6,
            plain(&layer.runs_on)
        );
    }
    out
}
