//! A network as data: the one description from which training, export and the parameter count are
//! made.
//!
//! A topology is a list of nodes, each naming the earlier nodes that it reads. A convolution node
//! stands for convolution, batch normalisation and activation, as in the paper's CBE block, or for
//! a part of these.

mod unet;

use serde::{Deserialize, Serialize};

/// The networks of the paper's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Arch {
    /// MoNet.
    #[default]
    Monet,
    /// U-Net with 16 channels in its first block.
    #[value(name = "unet16")]
    Unet16,
    /// U-Net with 64 channels in its first block.
    #[value(name = "unet64")]
    Unet64,
    /// U-Net with 64 channels in its first block and a gate on every skip.
    AttentionUnet,
}

impl Arch {
    /// Name on the command line and in packages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Monet => "monet",
            Self::Unet16 => "unet16",
            Self::Unet64 => "unet64",
            Self::AttentionUnet => "attention-unet",
        }
    }

    /// Channels of the first block.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::Monet | Self::Unet16 => 16,
            Self::Unet64 | Self::AttentionUnet => 64,
        }
    }

    /// The network for `channels` modalities and `classes` output channels, `width` channels in its
    /// first block.
    #[must_use]
    pub fn topology(self, channels: usize, classes: usize, width: usize) -> Topology {
        match self {
            Self::Monet => Topology::monet(channels, classes, width),
            Self::Unet16 | Self::Unet64 => Topology::unet(channels, classes, width),
            Self::AttentionUnet => Topology::attention_unet(channels, classes, width),
        }
    }
}

/// What follows a convolution's batch normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x` where positive, `exp(x) - 1` elsewhere.
    Elu,
    /// `x` where positive, 0 elsewhere.
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Nothing. The head is such: its sigmoid or softmax is applied by whoever reads the logits.
    None,
}

impl Activation {
    /// The ONNX operator.
    #[must_use]
    pub fn operator(self) -> Option<&'static str> {
        match self {
            Self::Elu => Some("Elu"),
            Self::Relu => Some("Relu"),
            Self::Sigmoid => Some("Sigmoid"),
            Self::None => None,
        }
    }
}

/// A convolution with what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Side of the square kernel.
    pub kernel: usize,
    /// Step; for a transposed convolution the factor by which the output is larger.
    pub stride: usize,
    /// Distance between kernel taps.
    pub dilation: usize,
    /// Whether it is transposed.
    pub transposed: bool,
    /// Whether an offset per output channel is added to the sums.
    pub bias: bool,
    /// Whether batch normalisation follows.
    pub norm: bool,
    /// What follows.
    pub activation: Activation,
}

impl Conv {
    /// Zeros on every side such that the output is exactly the input's size divided (transposed:
    /// multiplied) by the stride.
    #[must_use]
    pub fn padding(&self) -> usize {
        (self.dilation * (self.kernel - 1) + 1 - self.stride).div_ceil(2)
    }

    /// Shape of the weight as PyTorch and ONNX store it.
    #[must_use]
    pub fn weight_shape(&self) -> [i64; 4] {
        let (i, o, k) = (self.inputs as i64, self.outputs as i64, self.kernel as i64);
        if self.transposed { [i, o, k, k] } else { [o, i, k, k] }
    }

    /// Trained and running parameters: weights, biases, and four values a channel of batch
    /// normalisation.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let per_channel = usize::from(self.bias) + 4 * usize::from(self.norm);
        self.inputs * self.outputs * self.kernel * self.kernel + per_channel * self.outputs
    }
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// The slice.
    Input,
    /// See [`Conv`].
    Conv(Conv),
    /// Spatial dropout: whole channels, in training only.
    Drop,
    /// Sum of two nodes.
    Add,
    /// `x` where positive, 0 elsewhere, on its own.
    Relu,
    /// The first node times the single channel of the second.
    Scale,
    /// Largest of each 2×2 window.
    MaxPool,
    /// Channels of the first node, then of the second.
    Concat,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Unique; parts are separated by underscores.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// Indices of the nodes that it reads.
    pub inputs: Vec<usize>,
}

/// A network; the last node is its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Input channels.
    pub channels: usize,
    /// Output channels: 1 for sigmoid, else one a class with the background.
    pub classes: usize,
    /// In an order in which they can be computed.
    pub nodes: Vec<Node>,
}

impl Topology {
    /// Trained and running parameters: see [`Conv::parameters`].
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.convs().map(|(_, conv)| conv.parameters()).sum()
    }

    /// Height and width of a slice must be multiples of this: the factor from the finest level to
    /// the coarsest.
    #[must_use]
    pub fn step(&self) -> usize {
        let factor = |node: &Node| match node.op {
            Op::Conv(conv) if !conv.transposed => conv.stride,
            Op::MaxPool => 2,
            _ => 1,
        };
        self.nodes.iter().map(factor).product()
    }

    /// The convolutions with their nodes' indices.
    pub fn convs(&self) -> impl Iterator<Item = (usize, Conv)> + '_ {
        self.nodes.iter().enumerate().filter_map(|(i, node)| match node.op {
            Op::Conv(conv) => Some((i, conv)),
            _ => None,
        })
    }

    /// MoNet (Knolle et al., PLoS ONE 2021, doi 10.1371/journal.pone.0255397) with `width` channels
    /// in its first block; the paper's is 16.
    #[must_use]
    pub fn monet(channels: usize, classes: usize, width: usize) -> Self {
        let mut net = Builder::new(channels);
        let mut skips = Vec::new();
        for (level, f) in [width, 2 * width].into_iter().enumerate() {
            net.cbe(&format!("enc{level}_in"), f, 3, 1, 1);
            let skip = net.rddc(&format!("enc{level}"), f);
            skips.push(skip);
            net.cbe(&format!("enc{level}_down"), f, 4, 2, 1);
        }
        net.cbe("mid_in", 4 * width, 3, 1, 1);
        net.rddc("mid", 4 * width);
        for (level, f) in [width, 2 * width].into_iter().enumerate().rev() {
            net.up(&format!("dec{level}_up"));
            net.concat(&format!("dec{level}_cat"), skips[level]);
            net.cbe(&format!("dec{level}_in"), f, 3, 1, 1);
            net.rddc(&format!("dec{level}"), f);
        }
        net.head(classes, true)
    }
}

/// Appends nodes; each method reads the node before it and returns the index of the node it made.
struct Builder {
    nodes: Vec<Node>,
    /// Output channels of each node.
    widths: Vec<usize>,
}

impl Builder {
    fn new(channels: usize) -> Self {
        let input = Node { name: "image".into(), op: Op::Input, inputs: vec![] };
        Self { nodes: vec![input], widths: vec![channels] }
    }

    fn last(&self) -> usize {
        self.nodes.len() - 1
    }

    fn push(&mut self, name: &str, op: Op, inputs: Vec<usize>) -> usize {
        let width = match op {
            Op::Conv(conv) => conv.outputs,
            Op::Concat => inputs.iter().map(|&i| self.widths[i]).sum(),
            _ => self.widths[inputs[0]],
        };
        self.nodes.push(Node { name: name.to_owned(), op, inputs });
        self.widths.push(width);
        self.last()
    }

    fn cbe(
        &mut self,
        name: &str,
        outputs: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
    ) -> usize {
        let from = self.last();
        let conv = Conv {
            inputs: self.widths[from],
            outputs,
            kernel,
            stride,
            dilation,
            transposed: false,
            bias: false,
            norm: true,
            activation: Activation::Elu,
        };
        self.push(name, Op::Conv(conv), vec![from])
    }

    /// Repeated dilated convolutions with decreasing dilation.
    fn rddc(&mut self, name: &str, f: usize) -> usize {
        let x = self.last();
        self.cbe(&format!("{name}_c1"), f, 3, 1, 4);
        let c1 = self.drop(&format!("{name}_d1"));
        self.push(&format!("{name}_a1"), Op::Add, vec![x, c1]);
        self.cbe(&format!("{name}_c2"), f, 3, 1, 3);
        let c2 = self.drop(&format!("{name}_d2"));
        self.cbe(&format!("{name}_c3"), f, 3, 1, 2);
        let c3 = self.drop(&format!("{name}_d3"));
        self.push(&format!("{name}_a2"), Op::Add, vec![c2, c3]);
        self.cbe(&format!("{name}_out"), f, 3, 1, 1)
    }

    fn drop(&mut self, name: &str) -> usize {
        let from = self.last();
        self.push(name, Op::Drop, vec![from])
    }

    fn up(&mut self, name: &str) -> usize {
        let from = self.last();
        let c = self.widths[from];
        let conv = Conv {
            inputs: c,
            outputs: c,
            kernel: 4,
            stride: 2,
            dilation: 1,
            transposed: true,
            bias: false,
            norm: true,
            activation: Activation::Elu,
        };
        self.push(name, Op::Conv(conv), vec![from])
    }

    fn concat(&mut self, name: &str, skip: usize) -> usize {
        let from = self.last();
        self.push(name, Op::Concat, vec![skip, from])
    }

    /// The last convolution: batch normalisation in MoNet, a bias in the U-Nets.
    fn head(mut self, classes: usize, norm: bool) -> Topology {
        let from = self.last();
        let conv = Conv {
            inputs: self.widths[from],
            outputs: classes,
            kernel: 1,
            stride: 1,
            dilation: 1,
            transposed: false,
            bias: !norm,
            norm,
            activation: Activation::None,
        };
        self.push("head", Op::Conv(conv), vec![from]);
        Topology { channels: self.widths[0], classes, nodes: self.nodes }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_paper_s_monet_has_403_556_parameters() {
        assert_eq!(Topology::monet(1, 1, 16).parameters(), 403_556);
    }

    #[test]
    fn of_which_401_666_train() {
        let net = Topology::monet(1, 1, 16);
        let channels: usize = net.convs().map(|(_, c)| c.outputs).sum();
        assert_eq!(channels, 945);
        assert_eq!(net.parameters() - 2 * channels, 401_666);
    }

    #[test]
    fn every_node_reads_earlier_nodes() {
        for arch in Arch::value_variants() {
            let net = arch.topology(1, 3, 4);
            for (i, node) in net.nodes.iter().enumerate() {
                assert!(node.inputs.iter().all(|&from| from < i), "{}", node.name);
            }
        }
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for arch in Arch::value_variants() {
            assert_eq!(arch.to_possible_value().unwrap().get_name(), arch.name());
            assert_eq!(serde_json::to_string(arch).unwrap(), format!("{:?}", arch.name()));
        }
    }

    #[test]
    fn slices_are_halved_twice_in_monet_and_four_times_in_the_u_nets() {
        assert_eq!(Arch::Monet.topology(1, 1, 4).step(), 4);
        assert_eq!(Arch::Unet16.topology(1, 1, 4).step(), 16);
        assert_eq!(Arch::AttentionUnet.topology(1, 1, 4).step(), 16);
    }
}
