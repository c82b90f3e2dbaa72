//! Turns logits into labels or probabilities.
//!
//! Logits are f32 in native byte order, each pixel padded to whole blocks of channels.

use super::super::image::View;
use super::super::kernels::blocks;
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
    pub(super) fn decide(&self, logits: &[u8], y: usize, sink: &mut Sink) -> Option<()> {
        let pixel = |x: usize| logits.get(x * blocks(self.classes) * 4..);
        let row = y * self.width;
        match sink {
            Sink::Labels(labels) => {
                for (x, label) in labels.get_mut(row..row + self.width)?.iter_mut().enumerate() {
                    *label = match self.output {
                        Output::Sigmoid { .. } => u8::from(real(pixel(x)?, 0)? > self.logit),
                        Output::Softmax | Output::Identity => largest(pixel(x)?, self.classes)?,
                    };
                }
            }
            Sink::Probabilities(out) => {
                let plane = out.len().checked_div(self.classes)?;
                for x in 0..self.width {
                    self.probabilities(pixel(x)?, |class, p| {
                        *out.get_mut(class * plane + row + x)? = p;
                        Some(())
                    })?;
                }
            }
        }
        Some(())
    }

    /// Calls `put` with each class and its probability at one pixel.
    fn probabilities(
        &self,
        pixel: &[u8],
        mut put: impl FnMut(usize, f32) -> Option<()>,
    ) -> Option<()> {
        match self.output {
            Output::Sigmoid { .. } => put(0, sigmoid(real(pixel, 0)?)),
            Output::Softmax => {
                let top = real(pixel, usize::from(largest(pixel, self.classes)?))?;
                let power = |class: usize| Some(exp(real(pixel, class)? - top));
                let mut total = 0.0;
                for class in 0..self.classes {
                    total += power(class)?;
                }
                (0..self.classes).try_for_each(|class| put(class, power(class)? / total))
            }
            Output::Identity => {
                (0..self.classes).try_for_each(|class| put(class, real(pixel, class)?))
            }
        }
    }
}

/// The i-th f32, in native byte order; `None` where there are fewer.
pub(super) fn real(bytes: &[u8], i: usize) -> Option<f32> {
    bytes.get(4 * i..)?.first_chunk().map(|bytes| f32::from_ne_bytes(*bytes))
}

/// Index of the largest logit, the first among equals.
fn largest(pixel: &[u8], classes: usize) -> Option<u8> {
    let (mut best, mut most) = (0, real(pixel, 0)?);
    for class in 1..classes {
        let logit = real(pixel, class)?;
        if logit > most {
            (best, most) = (class, logit);
        }
    }
    Some(best as u8)
}
