//! A topology with weights in tch: initialisation, forward pass, and reading and writing as named
//! tensors.

use anyhow::{Context, Result, ensure};
use tch::{Device, Kind, Tensor};

use crate::device::send;
use crate::export::Scales;
use crate::topology::{Activation, Conv, Op, Topology};
use crate::tune;

/// Batch normalisation's ε, as in PyTorch.
pub const BN_EPSILON: f64 = 1e-5;

/// How much of a batch's statistics enters the running ones.
const BN_MOMENTUM: f64 = 0.1;

/// The head's initial factor and offset. Its batch normalisation gives every class's logits mean 0
/// and variance 1, with which nothing is told apart with confidence and each class seems as
/// frequent as any other; both would take most of the training to grow. The offset is added for the
/// background and subtracted for the rest.
const HEAD_GAMMA: f64 = 4.0;
const HEAD_BETA: f64 = 2.0;

/// How a forward pass is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pass {
    /// Running statistics, nothing dropped.
    Inference,
    /// Batch statistics, which move the running ones.
    Training {
        /// Chance that a channel is dropped.
        drop: f64,
        /// Element type of activations: `Float`, or `BFloat16` for speed where the processor has
        /// it.
        kind: Kind,
    },
}

/// One convolution's tensors.
#[derive(Debug)]
pub struct Block {
    /// Shape of [`Conv::weight_shape`].
    pub weight: Tensor,
    /// Per output channel, where the convolution has one.
    pub bias: Option<Tensor>,
    /// Batch normalisation, where it follows.
    pub norm: Option<Norm>,
}

/// Batch normalisation's tensors, one value per output channel.
#[derive(Debug)]
pub struct Norm {
    /// Factor.
    pub gamma: Tensor,
    /// Offset.
    pub beta: Tensor,
    /// Running mean.
    pub mean: Tensor,
    /// Running variance.
    pub var: Tensor,
}

impl Block {
    /// Fresh weights. A head begins with the background's logit above the others'.
    fn new(conv: &Conv, head: bool, device: Device) -> Self {
        // A transposed convolution reaches each output through (kernel / stride)² taps only.
        let taps = (conv.kernel * conv.kernel) as f64
            / if conv.transposed { (conv.stride * conv.stride) as f64 } else { 1.0 };
        let std = (2.0 / (conv.inputs as f64 * taps)).sqrt();
        let full = |value: f64| Tensor::full([conv.outputs as i64], value, (Kind::Float, device));
        let offset = full(if head { -HEAD_BETA } else { 0.0 });
        if head && conv.outputs > 1 {
            let _ = offset.get(0).fill_(HEAD_BETA);
        }
        Self {
            weight: send(&Tensor::randn(conv.weight_shape(), (Kind::Float, Device::Cpu)), device)
                * std,
            bias: conv.bias.then(|| offset.copy()),
            norm: conv.norm.then(|| Norm {
                gamma: full(if head { HEAD_GAMMA } else { 1.0 }),
                beta: offset,
                mean: full(0.0),
                var: full(1.0),
            }),
        }
    }

    /// The trained tensors with their names' endings.
    fn trained(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let norm = self.norm.as_ref();
        let parts = [
            ("weight", Some(&self.weight)),
            ("bias", self.bias.as_ref()),
            ("gamma", norm.map(|n| &n.gamma)),
            ("beta", norm.map(|n| &n.beta)),
        ];
        parts.into_iter().filter_map(|(name, tensor)| Some((name, tensor?)))
    }

    /// All tensors with their names' endings.
    fn tensors(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        self.trained().chain(self.running())
    }

    /// The running statistics with their names' endings.
    fn running(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        self.norm.iter().flat_map(|n| [("mean", &n.mean), ("var", &n.var)])
    }

    /// A copy that shares no memory.
    fn duplicate(&self) -> Self {
        let copy = |t: &Tensor| t.detach().copy();
        let norm = |n: &Norm| Norm {
            gamma: copy(&n.gamma),
            beta: copy(&n.beta),
            mean: copy(&n.mean),
            var: copy(&n.var),
        };
        Self {
            weight: copy(&self.weight),
            bias: self.bias.as_ref().map(copy),
            norm: self.norm.as_ref().map(norm),
        }
    }

    /// Convolution, normalisation and activation, computed in `kind`; weights rounded to a part of
    /// `limit` where there is one.
    fn forward(
        &self,
        x: &Tensor,
        conv: &Conv,
        training: bool,
        kind: Kind,
        limit: Option<i8>,
    ) -> Tensor {
        let bias = self.bias.as_ref().map(|b| b.to_kind(kind));
        let weight = match limit {
            None => self.weight.to_kind(kind),
            Some(limit) => tune::round_weight(&self.weight, conv, limit),
        };
        let y = convolve(x, &weight, bias.as_ref(), conv);
        let y = match &self.norm {
            None => y,
            Some(Norm { gamma, beta, mean, var }) => y.batch_norm(
                Some(gamma),
                Some(beta),
                Some(mean),
                Some(var),
                training,
                BN_MOMENTUM,
                BN_EPSILON,
                true,
            ),
        };
        activate(y, conv.activation)
    }
}

/// A network: a topology and its weights.
#[derive(Debug)]
pub struct Net {
    /// What it computes.
    pub topology: Topology,
    /// One block per node; `None` for nodes without weights.
    pub blocks: Vec<Option<Block>>,
    /// Where the blocks' tensors lie: those that are trained, then the running statistics.
    values: Tensor,
}

impl Net {
    /// Fresh weights, normal with the variance 2 / fan-in (He et al. 2015), from tch's current
    /// random state.
    #[must_use]
    pub fn new(topology: Topology, device: Device) -> Self {
        let last = topology.nodes.len() - 1;
        let blocks = topology
            .nodes
            .iter()
            .enumerate()
            .map(|(i, node)| match node.op {
                Op::Conv(conv) => Some(Block::new(&conv, i == last, device)),
                _ => None,
            })
            .collect();
        Self::of(topology, blocks)
    }

    /// A network of blocks, whose tensors move into one vector, so that an optimizer changes all
    /// layers at once: on a GPU starting an operation costs more than running it on a small tensor.
    #[must_use]
    pub fn of(topology: Topology, blocks: Vec<Option<Block>>) -> Self {
        let trained = blocks.iter().flatten().flat_map(Block::trained);
        let running = blocks.iter().flatten().flat_map(Block::running);
        let parts: Vec<Tensor> = trained.chain(running).map(|(_, t)| t.shallow_clone()).collect();
        let values = joined(&parts);
        let places = parted(&values, &parts);
        parts.into_iter().zip(&places).for_each(|(mut part, place)| part.set_data(place));
        Self { topology, blocks, values }
    }

    /// A copy that shares no memory.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let blocks = self.blocks.iter().map(|b| b.as_ref().map(Block::duplicate)).collect();
        Self::of(self.topology.clone(), blocks)
    }

    /// The values of all tensors in one vector; to change it is to change them.
    pub fn values(&self) -> Tensor {
        self.values.shallow_clone()
    }

    /// All tensors by name, trained and running, each name `prefix` + node + `/` + part.
    #[must_use]
    pub fn named(&self, prefix: &str) -> Vec<(String, Tensor)> {
        let nodes = self.topology.nodes.iter().zip(&self.blocks);
        nodes
            .filter_map(|(node, block)| Some((node, block.as_ref()?)))
            .flat_map(|(node, block)| {
                block
                    .tensors()
                    .map(|(part, t)| (format!("{prefix}{}/{part}", node.name), t.shallow_clone()))
            })
            .collect()
    }

    /// The trained tensors, in a fixed order.
    #[must_use]
    pub fn trained(&self) -> Vec<Tensor> {
        let blocks = self.blocks.iter().flatten();
        blocks.flat_map(Block::trained).map(|(_, t)| t.shallow_clone()).collect()
    }

    /// Overwrites all tensors by name.
    ///
    /// # Errors
    /// Where one is missing or has another shape.
    pub fn load(&mut self, prefix: &str, tensors: &[(String, Tensor)]) -> Result<()> {
        for (name, mut to) in self.named(prefix) {
            let (_, from) = tensors
                .iter()
                .find(|(n, _)| *n == name)
                .with_context(|| format!("no tensor {name:?} in the checkpoint"))?;
            ensure!(
                from.size() == to.size(),
                "tensor {name:?} is {:?} in the checkpoint, {:?} in the network: another topology",
                from.size(),
                to.size()
            );
            tch::no_grad(|| to.copy_(from));
        }
        Ok(())
    }

    /// Logits of a batch `[n, channels, h, w]`: `[n, classes, h, w]`, f32 whatever the pass
    /// computes in.
    pub fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        self.compute(x, pass, None)
    }

    /// As [`Net::forward`] with running statistics, weights and values rounded as the quantized
    /// file rounds them. Normalisation must be folded.
    pub fn rounded(&self, x: &Tensor, scales: &Scales) -> Tensor {
        self.compute(x, Pass::Inference, Some(scales))
    }

    /// Where the weights are.
    #[must_use]
    pub fn device(&self) -> Device {
        self.blocks.iter().flatten().next().map_or(Device::Cpu, |b| b.weight.device())
    }

    fn compute(&self, x: &Tensor, pass: Pass, scales: Option<&Scales>) -> Tensor {
        let (training, drop, kind) = match pass {
            Pass::Inference => (false, 0.0, Kind::Float),
            Pass::Training { drop, kind } => (true, drop, kind),
        };
        let mut values: Vec<Tensor> = Vec::with_capacity(self.blocks.len());
        for (node, block) in self.topology.nodes.iter().zip(&self.blocks) {
            let input = |i: usize| &values[node.inputs[i]];
            let value = match (node.op, block) {
                (Op::Input, _) => channels_last(&x.to_kind(kind)),
                (Op::Conv(conv), Some(block)) => {
                    block.forward(input(0), &conv, training, kind, scales.map(|s| s.limits.weight))
                }
                (Op::Conv(_), None) => unreachable!("Net::new gives every convolution a block"),
                (Op::Drop, _) if drop > 0.0 => drop_channels(input(0), drop),
                (Op::Drop, _) => input(0).shallow_clone(),
                (Op::Add, _) => input(0) + input(1),
                (Op::Relu, _) => input(0).relu(),
                (Op::Scale, _) => input(0) * input(1),
                (Op::MaxPool, _) => max_pool(input(0)),
                (Op::Concat, _) => Tensor::cat(&[input(0), input(1)], 1),
            };
            let rounded =
                scales.and_then(|s| Some((s.activations[values.len()]?, s.limits.activation)));
            values.push(match rounded {
                None => value,
                Some((scale, most)) => tune::round_value(&value, scale, most),
            });
        }
        values.pop().expect("a topology has nodes").to_kind(Kind::Float)
    }
}

/// The same batch with the channels of a pixel side by side in memory, the layout of the CPU's
/// fastest convolutions, which every later tensor inherits. Strides are stated outright, as with a
/// single channel they would be ambiguous.
fn channels_last(x: &Tensor) -> Tensor {
    let size = x.size();
    let [c, h, w] = [size[1], size[2], size[3]];
    x.permute([0, 2, 3, 1]).contiguous().as_strided(&size, [h * w * c, 1, w * c, c], None::<i64>)
}

/// Spatial dropout: each slice loses each channel with a chance, and what stays is raised to the
/// same sum.
fn drop_channels(x: &Tensor, chance: f64) -> Tensor {
    let shape = [x.size()[0], x.size()[1], 1, 1];
    let kept = Tensor::empty(shape, (Kind::Float, Device::Cpu)).bernoulli_float_(1.0 - chance);
    x * send(&(kept / (1.0 - chance).max(f64::MIN_POSITIVE)).to_kind(x.kind()), x.device())
}

/// Tensors in a vector begin at multiples of so many values: a GPU's convolutions read weights 16
/// bytes at a time, and PyTorch's own tensors begin at multiples of 256 bytes or more.
const ALIGNMENT: usize = 64;

/// Values that a tensor takes in a vector, the zeros after it included.
fn taken(tensor: &Tensor) -> i64 {
    (tensor.numel().div_ceil(ALIGNMENT) * ALIGNMENT) as i64
}

/// Tensors one after another in a new vector, each filled up with zeros to [`ALIGNMENT`].
pub fn joined(parts: &[Tensor]) -> Tensor {
    let Some(first) = parts.first() else { return Tensor::zeros([0], (Kind::Float, Device::Cpu)) };
    let zeros = Tensor::zeros([ALIGNMENT as i64], (first.kind(), first.device()));
    let pieces = parts.iter().flat_map(|t| {
        let fill = taken(t) - t.numel() as i64;
        [t.detach().reshape([-1]), zeros.narrow(0, 0, fill)]
    });
    Tensor::cat(&pieces.collect::<Vec<_>>(), 0)
}

/// Views of a vector in the shapes of the tensors that it was joined from.
pub fn parted(joined: &Tensor, shapes: &[Tensor]) -> Vec<Tensor> {
    let mut at = 0;
    let part = |like: &Tensor| {
        let place = joined.narrow(0, at, like.numel() as i64);
        at += taken(like);
        place.view_(like.size()).detach()
    };
    shapes.iter().map(part).collect()
}

/// The convolution alone.
pub fn convolve(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, conv: &Conv) -> Tensor {
    let [stride, padding, dilation] =
        [conv.stride, conv.padding(), conv.dilation].map(|v| [v as i64; 2]);
    if conv.transposed {
        x.conv_transpose2d(weight, bias, stride, padding, [0i64, 0], 1, dilation)
    } else {
        x.conv2d(weight, bias, stride, padding, dilation, 1)
    }
}

/// Largest of each 2×2 window.
pub fn max_pool(x: &Tensor) -> Tensor {
    x.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
}

/// The activation alone.
pub fn activate(x: Tensor, activation: Activation) -> Tensor {
    match activation {
        Activation::Elu => x.elu(),
        Activation::Relu => x.relu(),
        Activation::Sigmoid => x.sigmoid(),
        Activation::None => x,
    }
}

/// Probabilities from logits: sigmoid for one class, softmax over channels for several.
pub fn probabilities(logits: &Tensor) -> Tensor {
    if logits.size()[1] == 1 { logits.sigmoid() } else { logits.softmax(1, Kind::Float) }
}

/// Inverse of the sigmoid.
pub fn logit(p: &Tensor) -> Tensor {
    (p / (p * -1.0 + 1.0)).log()
}

/// Labels from logits `[n, classes, h, w]`: uint8 `[n, h, w]`.
pub fn labels(logits: &Tensor, threshold: f64) -> Tensor {
    let labels = if logits.size()[1] == 1 {
        logits.sigmoid().squeeze_dim(1).gt(threshold)
    } else {
        logits.argmax(1, false)
    };
    labels.to_kind(Kind::Uint8)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::topology::Arch;

    #[test]
    fn tensors_hold_as_many_values_as_the_topology_counts() {
        let values = |topology| -> usize {
            Net::new(topology, Device::Cpu).named("").iter().map(|(_, t)| t.numel()).sum()
        };
        assert_eq!(values(Topology::monet(1, 1, 16)), 403_556);
        assert_eq!(values(Topology::unet(1, 1, 16)), 1_946_705);
        let small = Topology::attention_unet(2, 3, 4);
        assert_eq!(values(small.clone()), small.parameters());
    }

    #[test]
    fn every_tensor_begins_where_a_gpu_reads_it_whole() {
        let net = Net::new(Topology::monet(1, 3, 5), Device::Cpu);
        let first = net.values().data_ptr() as usize;
        for (name, tensor) in net.named("") {
            let at = (tensor.data_ptr() as usize - first) / size_of::<f32>();
            assert_eq!(at % ALIGNMENT, 0, "{name} begins at value {at}");
        }
        assert_eq!(net.values().size()[0] as usize % ALIGNMENT, 0);
    }

    #[test]
    fn the_output_has_the_input_s_size() {
        for arch in Arch::value_variants() {
            let net = Net::new(arch.topology(1, 3, 4), Device::Cpu);
            let (h, w) = (3 * net.topology.step() as i64, 5 * net.topology.step() as i64);
            let y = net
                .forward(&Tensor::zeros([2, 1, h, w], (Kind::Float, Device::Cpu)), Pass::Inference);
            assert_eq!(y.size(), [2, 3, h, w]);
        }
    }

    #[test]
    fn a_checkpoint_of_another_topology_is_refused() {
        let mut net = Net::new(Topology::monet(1, 3, 4), Device::Cpu);
        let other = Net::new(Topology::monet(1, 2, 4), Device::Cpu);
        let error = net.load("", &other.named("")).unwrap_err().to_string();
        assert!(error.contains("head/weight"), "{error}");
    }
}
