//! What a package costs to store: its parameters and bytes, and which of the paper's networks it
//! is.

use anyhow::{Context, Result};
use clap::ValueEnum;
use monet::package::Package;
use prost::Message;
use serde::Serialize;

use crate::onnx::Model;
use crate::topology::{Arch, Topology};

/// Parameters and size of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Cost {
    /// The network, recognised by its number of weights; `None` for one that this trainer does not
    /// make.
    pub(super) network: Option<String>,
    /// As the paper counts: with four values a channel of batch normalisation, which an exported
    /// file no longer has.
    pub(super) parameters: Option<usize>,
    /// Weights and biases in the file.
    pub(super) stored: usize,
    /// `f32` or `int8`.
    pub(super) kind: &'static str,
    /// Of the ONNX file.
    pub(super) bytes: usize,
}

impl Cost {
    /// # Errors
    /// Where the package's file is no ONNX file.
    pub(super) fn of(package: &Package) -> Result<Self> {
        let bytes = package.net.bytes();
        let graph = Model::decode(bytes)?.graph.context("the ONNX file has no graph")?;
        let shapes =
            || graph.initializer.iter().map(|t| t.dims.as_slice()).filter(|dims| dims.len() == 4);
        let size = |dims: &[i64]| dims.iter().map(|&d| d.max(0) as usize).product::<usize>();
        let weights: usize = shapes().map(size).sum();
        // A convolution's third input is its bias, or what one is dequantized from: one a channel
        // in either case.
        let convolutions = || {
            graph.node.iter().filter(|n| ["Conv", "ConvTranspose"].contains(&n.op_type.as_str()))
        };
        let held = |name: &str| {
            let made = graph.node.iter().find(|n| n.output.iter().any(|o| o == name));
            let source = made.and_then(|n| n.input.first()).map_or(name, String::as_str);
            graph.initializer.iter().find(|t| t.name == source).map_or(0, |t| size(&t.dims))
        };
        let biases: usize =
            convolutions().filter_map(|n| n.input.get(2)).map(|name| held(name)).sum();
        let width = shapes().next().map_or(0, |dims| dims[0].max(0) as usize);
        let topology =
            recognise(package.manifest.input.planes(), package.manifest.classes(), width, weights);
        Ok(Self {
            network: topology.as_ref().map(|(name, _)| name.clone()),
            parameters: topology.map(|(_, topology)| topology.parameters()),
            stored: weights + biases,
            kind: if graph.node.iter().any(|n| n.op_type == "QuantizeLinear") {
                "int8"
            } else {
                "f32"
            },
            bytes: bytes.len(),
        })
    }
}

/// The network of the paper that has this many channels in its first block and this many weights.
fn recognise(
    channels: usize,
    classes: usize,
    width: usize,
    weights: usize,
) -> Option<(String, Topology)> {
    // Beyond any network that is trained here, and the sums cannot overflow.
    if !(1..=1024).contains(&width) {
        return None;
    }
    let of = |topology: &Topology| {
        topology
            .convs()
            .map(|(_, c)| c.weight_shape().iter().product::<i64>() as usize)
            .sum::<usize>()
    };
    let name = |arch: Arch| match arch {
        Arch::Monet if width == arch.width() => "MoNet".to_owned(),
        Arch::Monet => format!("MoNet-{width}"),
        Arch::Unet16 | Arch::Unet64 => format!("U-Net-{width}"),
        Arch::AttentionUnet if width == arch.width() => "Attention U-Net".to_owned(),
        Arch::AttentionUnet => format!("Attention U-Net-{width}"),
    };
    let all =
        Arch::value_variants().iter().map(|&arch| (arch, arch.topology(channels, classes, width)));
    all.into_iter().find(|(_, t)| of(t) == weights).map(|(arch, topology)| (name(arch), topology))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_s_networks_are_recognised_by_their_weights() {
        for (arch, name, parameters) in [
            (Arch::Monet, "MoNet", 403_556),
            (Arch::Unet16, "U-Net-16", 1_946_705),
            (Arch::Unet64, "U-Net-64", 31_054_145),
            (Arch::AttentionUnet, "Attention U-Net", 31_753_349),
        ] {
            let topology = arch.topology(1, 1, arch.width());
            let weights =
                topology.convs().map(|(_, c)| c.inputs * c.outputs * c.kernel * c.kernel).sum();
            let (found, topology) = recognise(1, 1, arch.width(), weights).unwrap();
            assert_eq!((found.as_str(), topology.parameters()), (name, parameters));
        }
        assert!(recognise(1, 1, 16, 12_345).is_none());
        assert!(recognise(1, 1, usize::MAX, 1).is_none());
    }

    #[test]
    fn the_benchmark_packages_cost_what_the_paper_says() {
        let package = |kind: &str| {
            let path =
                format!("{}/../../models/bench/monet-256.{kind}.toml", env!("CARGO_MANIFEST_DIR"));
            Package::load(path.as_ref()).unwrap()
        };
        for kind in ["f32", "int8"] {
            let package = package(kind);
            let cost = Cost::of(&package).unwrap();
            assert_eq!((cost.kind, cost.network.as_deref()), (kind, Some("MoNet")));
            assert_eq!((cost.parameters, cost.stored), (Some(403_556), 399_776 + 945));
            assert_eq!(cost.bytes, package.net.bytes().len());
        }
    }
}
