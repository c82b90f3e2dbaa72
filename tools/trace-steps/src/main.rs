//! What `tools/predict` runs under an emulator: the bench net's steps once, with a marker after
//! each.
//!
//! `trace-steps KERNEL HEIGHT WIDTH` prints the plan's steps as JSON, one a line, and runs one
//! slice. The emulator's trace shows when [`monet_step_done`] is entered: what ran between two
//! entries is one step.

#![allow(missing_docs, reason = "a tool, no library")]

use std::error::Error;
use std::hint::black_box;

use monet_core::{Kernel, Plan, Size};
use monet_testing::nets;

/// The marker; its address is what counts.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn monet_step_done(step: usize) -> usize {
    black_box(step)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kernel, height, width] = arguments.as_slice() else {
        return Err("usage: trace-steps KERNEL HEIGHT WIDTH".into());
    };
    let size = Size::new(height.parse()?, width.parse()?);
    let plan = Plan::new(&nets::monet(1), size, Kernel::choose(Some(kernel.as_str()))?)?;
    for s in plan.steps() {
        let step = serde_json::json!({
            "name": s.name, "kind": s.kind, "shape": s.shape, "macs": s.macs, "bytes": s.bytes
        });
        println!("{step}");
    }
    let input: Vec<f32> = (0..plan.input_len()).map(|i| (i % 251) as f32 / 251.0).collect();
    let mut arena = vec![0; plan.arena_len()];
    let mut labels = vec![0; plan.output_size().area()];
    // Ends the trace's first part, which is no step.
    monet_step_done(usize::MAX);
    plan.run_observed(&mut arena, &[&input], &mut labels, |step| {
        monet_step_done(step);
    })?;
    black_box(labels);
    Ok(())
}
