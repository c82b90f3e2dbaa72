//! One slice, step by step: what `tools/predict` traces.
//!
//! The program says each step as a line of JSON, and enters [`monet_step_done`] after each: what
//! the emulator ran between two entries is one step.

use core::hint::black_box;

use monet_core::{Plan, StepInfo};

use super::sample::{PLANES, Program, Slices, prove, refuse};
use super::semihosting::Line;

/// The marker; its address is what counts.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn monet_step_done(step: usize) -> usize {
    black_box(step)
}

impl Program {
    /// Runs the plan over the first slice; `false` where something does not fit.
    pub fn steps(self) -> bool {
        let plan = match prove(self.image) {
            Ok(plan) => plan,
            Err(why) => return refuse(why),
        };
        plan.steps().for_each(describe);
        let mut planes: [&[f32]; PLANES] = [&[]; PLANES];
        let first = Slices::new(self.sample).and_then(|slices| slices.planes(0, &mut planes));
        let Some(input) = first else { return refuse("no sample") };
        self.run_marked(&plan, input)
    }

    fn run_marked(self, plan: &Plan, input: &[&[f32]]) -> bool {
        // Ends the trace's first part, which is no step.
        monet_step_done(usize::MAX);
        let run = plan.run_observed(self.arena, input, self.labels, |step| {
            monet_step_done(step);
        });
        run.is_ok() || refuse("the plan does not run")
    }
}

fn describe(step: StepInfo) {
    let [channels, height, width] = step.shape.map(|n| n as u64);
    let line = Line::new("{\"name\":\"").text(step.name).text("\",\"kind\":\"").text(step.kind);
    let line = line.text("\",\"shape\":[").number(channels).text(",").number(height).text(",");
    let line = line.number(width).text("],\"macs\":").number(step.macs);
    line.text(",\"bytes\":").number(step.bytes).text("}").end();
}
