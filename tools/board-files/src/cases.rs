//! Conformance cases for boards: random nets as plans for one kernel, with inputs, and the hash of
//! the logits that the scalar kernel makes on this machine.
//!
//! The file, little-endian: one case after another, then four numbers of 0.
//!
//! ```text
//! u32 bytes of the image, values of the input, values of the logits, bytes of the arena
//! u64 hash of the logits' bits
//! f32 input
//! u8  image
//! ```

use anyhow::{Context, Result, ensure};
use monet_core::{Image, Kernel, Plan, QuantGraph, Size};
use monet_testing::{Random, nets};

use super::{FNV, fnv};

/// Larger nets are left out, so that each fits into a board's memory: bytes of the image and of the
/// arena, and values of input and logits. `targets/bare-metal/board/src/cases.rs` has so much.
const LARGEST: usize = 450_000;
const VALUES: usize = 120_000;

/// So many cases for a kernel, and MoNet itself.
pub(crate) fn make(kernel: Kernel, count: usize) -> Result<Vec<u8>> {
    let mut random = Random(20_210_729);
    let mut file = Vec::new();
    let mut made = 0;
    let monet = nets::monet(1);
    let fits = case(&mut file, kernel, &monet, Size::new(16, 24), 1.0, &mut random)?;
    ensure!(fits, "MoNet is too large for a case");
    while made < count {
        let (graph, [height, width]) = nets::any(&mut random);
        // Every fourth net sees extreme values alone.
        let spread = if made % 4 == 3 { 1e9 } else { 1.0 };
        let size = Size::new(height, width);
        made += usize::from(case(&mut file, kernel, &graph, size, spread, &mut random)?);
    }
    file.extend([0; 16]);
    Ok(file)
}

/// Adds a case; `false` where it would be too large.
fn case(
    file: &mut Vec<u8>,
    kernel: Kernel,
    graph: &QuantGraph,
    size: Size,
    spread: f32,
    random: &mut Random,
) -> Result<bool> {
    let image = Image::compile(graph, size, kernel, &[])?;
    let plan = Plan::new(graph, size, Kernel::Scalar)?;
    let quant = graph.tensors[0].quant;
    let mut value = || {
        let count = (random.unit() - 0.5) * 256.0 * spread + 128.0;
        (count - f32::from(quant.zero_point)) * quant.scale
    };
    let input: Vec<f32> = (0..plan.input_len()).map(|_| value()).collect();
    let mut arena = vec![0; plan.arena_len()];
    let mut logits = vec![0.0; plan.classes() * plan.output_size().area()];
    let fits = image.bytes().len().max(image.arena_len()) <= LARGEST
        && logits.len() <= LARGEST / 8
        && input.len() + logits.len() <= VALUES;
    if !fits {
        return Ok(false);
    }
    plan.run_probabilities(&mut arena, &[&input], &mut logits).context("the scalar kernel")?;
    let numbers = [image.bytes().len(), input.len(), logits.len(), image.arena_len()];
    file.extend(numbers.into_iter().flat_map(|n| (n as u32).to_le_bytes()));
    let bytes = logits.iter().flat_map(|logit| logit.to_bits().to_le_bytes());
    file.extend(fnv(FNV, &bytes.collect::<Vec<_>>()).to_le_bytes());
    file.extend(input.iter().flat_map(|value| value.to_bits().to_le_bytes()));
    file.extend(image.bytes());
    Ok(true)
}
