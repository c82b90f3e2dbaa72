//! The paper's baselines: U-Net and Attention U-Net.
//!
//! The paper gives parameter counts, the public descriptions leave choices open. Those that give
//! its counts for one channel and one class, 1,946,705 and 31,054,145 (U-Net from 16 and from 64
//! channels) and 31,753,349 (Attention U-Net):
//!
//! - five levels, the width doubling from level to level; two 3×3 convolutions a level and side,
//!   each with a bias *and* batch normalisation, then ReLU; no dropout;
//! - down by 2×2 maximum, up by a 2×2 transposed convolution that halves the channels, with a bias,
//!   without normalisation or activation; the skip and the upper result are concatenated;
//! - the head a 1×1 convolution with a bias and without normalisation;
//! - running means and variances counted, four values a channel of batch normalisation, as Keras
//!   and the paper's MoNet count;
//! - gates (Oktay et al. 2018, arXiv 1804.03999) that read the skip and the up-convolved signal at
//!   the skip's own resolution: 1×1 convolutions with a bias to as many channels as the skip has,
//!   their sum through ReLU, a 1×1 convolution with a bias to one channel, sigmoid; the skip is
//!   multiplied by it. No batch normalisation within.
//!
//! A bias in front of batch normalisation does nothing, as normalisation takes it away again; it is
//! there because it is counted.

use super::{Activation, Builder, Conv, Op, Topology};

/// Times that the slice is halved.
const LEVELS: usize = 4;

impl Topology {
    /// U-Net (Ronneberger et al. 2015, arXiv 1505.04597) with `width` channels in its first block.
    #[must_use]
    pub fn unet(channels: usize, classes: usize, width: usize) -> Self {
        build(channels, classes, width, false)
    }

    /// Attention U-Net with `width` channels in its first block.
    #[must_use]
    pub fn attention_unet(channels: usize, classes: usize, width: usize) -> Self {
        build(channels, classes, width, true)
    }
}

fn build(channels: usize, classes: usize, width: usize, gated: bool) -> Topology {
    let mut net = Builder::new(channels);
    let mut skips = Vec::new();
    for level in 0..LEVELS {
        let skip = net.double(&format!("enc{level}"), width << level);
        skips.push(skip);
        net.push(&format!("enc{level}_down"), Op::MaxPool, vec![skip]);
    }
    net.double("mid", width << LEVELS);
    for level in (0..LEVELS).rev() {
        let f = width << level;
        let from = net.last();
        let up = net.plain(&format!("dec{level}_up"), from, f, 2, Activation::None);
        let skip =
            if gated { net.gate(&format!("dec{level}"), skips[level], up) } else { skips[level] };
        net.push(&format!("dec{level}_cat"), Op::Concat, vec![skip, up]);
        net.double(&format!("dec{level}"), f);
    }
    net.head(classes, false)
}

impl Builder {
    /// Two 3×3 convolutions with bias, batch normalisation and ReLU.
    fn double(&mut self, name: &str, outputs: usize) -> usize {
        for part in ["a", "b"] {
            let from = self.last();
            let conv = Conv {
                inputs: self.widths[from],
                outputs,
                kernel: 3,
                stride: 1,
                dilation: 1,
                transposed: false,
                bias: true,
                norm: true,
                activation: Activation::Relu,
            };
            self.push(&format!("{name}_{part}"), Op::Conv(conv), vec![from]);
        }
        self.last()
    }

    /// A convolution with bias and without normalisation: 1×1, or transposed where `side` is 2.
    fn plain(
        &mut self,
        name: &str,
        from: usize,
        outputs: usize,
        side: usize,
        activation: Activation,
    ) -> usize {
        let conv = Conv {
            inputs: self.widths[from],
            outputs,
            kernel: side,
            stride: side,
            dilation: 1,
            transposed: side > 1,
            bias: true,
            norm: false,
            activation,
        };
        self.push(name, Op::Conv(conv), vec![from])
    }

    /// The skip, weakened where the signal from below sees nothing.
    fn gate(&mut self, name: &str, skip: usize, signal: usize) -> usize {
        let f = self.widths[skip];
        let x = self.plain(&format!("{name}_gate_x"), skip, f, 1, Activation::None);
        let g = self.plain(&format!("{name}_gate_g"), signal, f, 1, Activation::None);
        let sum = self.push(&format!("{name}_gate_sum"), Op::Add, vec![x, g]);
        let relu = self.push(&format!("{name}_gate_relu"), Op::Relu, vec![sum]);
        let mask = self.plain(&format!("{name}_gate"), relu, 1, 1, Activation::Sigmoid);
        self.push(&format!("{name}_skip"), Op::Scale, vec![skip, mask])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_s_u_nets_have_1_946_705_and_31_054_145_parameters() {
        assert_eq!(Topology::unet(1, 1, 16).parameters(), 1_946_705);
        assert_eq!(Topology::unet(1, 1, 64).parameters(), 31_054_145);
    }

    #[test]
    fn the_paper_s_attention_u_net_has_31_753_349_parameters() {
        assert_eq!(Topology::attention_unet(1, 1, 64).parameters(), 31_753_349);
    }
}
