//! Turns logits into labels or probabilities.
//!
//! Logits are f32 in native byte order, each pixel padded to whole blocks of channels.

use super::super::image::View;
use super::super::kernels::padded;
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
        let first = |x: usize| x * padded(self.classes);
        let row = y * self.width;
        match sink {
            Sink::Labels(labels) => {
                for (x, label) in labels.get_mut(row..row + self.width)?.iter_mut().enumerate() {
                    *label = match self.output {
                        Output::Sigmoid { .. } => u8::from(real(logits, first(x))? > self.logit),
                        Output::Softmax | Output::Identity => {
                            largest(logits, first(x), self.classes)?
                        }
                    };
                }
            }
            Sink::Probabilities(out) => {
                let plane = out.len().checked_div(self.classes)?;
                for x in 0..self.width {
                    self.probabilities(logits, first(x), |class, p| {
                        *out.get_mut(class * plane + row + x)? = p;
                        Some(())
                    })?;
                }
            }
        }
        Some(())
    }

    /// Calls `put` with each class and its probability at the pixel whose logits begin there.
    fn probabilities(
        &self,
        logits: &[u8],
        first: usize,
        mut put: impl FnMut(usize, f32) -> Option<()>,
    ) -> Option<()> {
        let logit = |class: usize| real(logits, first + class);
        match self.output {
            Output::Sigmoid { .. } => put(0, sigmoid(logit(0)?)),
            Output::Softmax => {
                let top = logit(largest(logits, first, self.classes)?.into())?;
                let power = |class: usize| Some(exp(logit(class)? - top));
                let mut total = 0.0;
                for class in 0..self.classes {
                    total += power(class)?;
                }
                (0..self.classes).try_for_each(|class| put(class, power(class)? / total))
            }
            Output::Identity => (0..self.classes).try_for_each(|class| put(class, logit(class)?)),
        }
    }
}

/// The i-th f32, in native byte order; `None` where there are fewer.
pub(super) fn real(bytes: &[u8], i: usize) -> Option<f32> {
    bytes.get(4 * i..)?.first_chunk().map(|bytes| f32::from_ne_bytes(*bytes))
}

/// Class of the largest of the logits that begin there, the first among equals.
fn largest(logits: &[u8], first: usize, classes: usize) -> Option<u8> {
    let (mut best, mut most) = (0, real(logits, first)?);
    for class in 1..classes {
        let logit = real(logits, first + class)?;
        if logit > most {
            (best, most) = (class, logit);
        }
    }
    Some(best as u8)
}
