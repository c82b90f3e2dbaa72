//! `monet inspect`: what a package is and what runs it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use monet::Size;
use monet::engine::Summary;
use monet::package::{Manifest, Package};
use monet::text::plain;
use serde::Serialize;

use super::{Outcome, nets, terminal};

const EXAMPLES: &str = "\
Examples:
  monet inspect
  monet inspect models/hippocampus.f32.toml --size 128x96
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
    #[arg(long, value_name = "HxW", value_parser = super::parse_size)]
    size: Option<Size>,
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
    let net = nets::describe(&package, size, args.engine.choose(&package)?)?;
    if args.json {
        let inspection = Inspection {
            origin: &package.origin,
            bytes: package.net.bytes().len(),
            manifest: &package.manifest,
            net,
        };
        terminal::print(&monet::measure::json(&inspection))?;
    } else {
        terminal::print(&text(&package, &net))?;
    }
    Ok(Outcome::Done)
}

fn text(package: &Package, net: &Summary) -> String {
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
