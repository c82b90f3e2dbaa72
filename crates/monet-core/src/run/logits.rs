//! Turns logits into labels or probabilities.
//!
//! Logits are f32 in native byte order, each pixel padded to whole blocks of channels.

use super::super::image::View;
use super::super::kernels::BLOCK;
use super::super::requant::{exp, sigmoid};
use super::super::types::Output;

/// Where results go.
pub(super) enum Sink<'a> {
    Labels(&'a mut [u8]),
    Probabilities(&'a mut [f32]),
}

/// What logits mean, and how many there are.
pub(super) struct Head {
    output: Output,
    /// Of a sigmoid: the logit above which the label is 1.
    logit: f32,
    classes: usize,
    width: usize,
}

impl Head {
    /// Of a plan.
    pub(super) fn new(view: &View) -> Self {
        Self {
            output: view.output(),
            logit: view.header.threshold[1],
            classes: view.classes(),
            width: view.output_size().width,
        }
    }

    /// Turns the logits of row `y` into labels or probabilities.
    pub(super) fn decide(&self, logits: &[u8], y: usize, sink: &mut Sink) {
        let width = self.width;
        let pixels = logits.chunks_exact(self.classes.next_multiple_of(BLOCK) * 4);
        match sink {
            Sink::Labels(labels) => {
                let labels = &mut labels[y * width..(y + 1) * width];
                for (label, pixel) in labels.iter_mut().zip(pixels) {
                    *label = match self.output {
                        Output::Sigmoid { .. } => u8::from(real(pixel, 0) > self.logit),
                        Output::Softmax | Output::Identity => largest(pixel, self.classes),
                    };
                }
            }
            Sink::Probabilities(out) => {
                let plane = out.len() / self.classes;
                for (x, pixel) in pixels.enumerate() {
                    self.probabilities(pixel, |class, p| out[class * plane + y * width + x] = p);
                }
            }
        }
    }

    /// Calls `put` with each class and its probability at one pixel.
    fn probabilities(&self, pixel: &[u8], mut put: impl FnMut(usize, f32)) {
        match self.output {
            Output::Sigmoid { .. } => put(0, sigmoid(real(pixel, 0))),
            Output::Softmax => {
                let top = real(pixel, usize::from(largest(pixel, self.classes)));
                let total: f32 = (0..self.classes).map(|class| exp(real(pixel, class) - top)).sum();
                (0..self.classes)
                    .for_each(|class| put(class, exp(real(pixel, class) - top) / total));
            }
            Output::Identity => (0..self.classes).for_each(|class| put(class, real(pixel, class))),
        }
    }
}

/// The i-th f32, in native byte order.
pub(super) fn real(bytes: &[u8], i: usize) -> f32 {
    f32::from_ne_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
}

/// Index of the largest logit, the first among equals.
fn largest(pixel: &[u8], classes: usize) -> u8 {
    let mut best = 0;
    for class in 1..classes {
        if real(pixel, class) > real(pixel, best) {
            best = class;
        }
    }
    best as u8
}
