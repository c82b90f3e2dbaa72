//! Turns logits into labels or probabilities.
//!
//! Logits are f32 in native byte order, each pixel padded to whole blocks of channels.

use super::super::image::View;
use super::super::kernels::padded;
use super::super::requant::{exp, sigmoid};
use super::super::types::Output;

/// Where results go. Each kind has code of its own, which a program without it need not hold.
pub(super) trait Sink {
    /// Takes what the logits of row `y` become; `None` where there is no room.
    fn take(&mut self, head: &Head, logits: &[u8], y: usize) -> Option<()>;
}

/// Labels, row by row.
pub(super) struct Labels<'a>(pub(super) &'a mut [u8]);

/// Probabilities, class by class, row by row.
pub(super) struct Probabilities<'a>(pub(super) &'a mut [f32]);

impl Sink for Labels<'_> {
    fn take(&mut self, head: &Head, logits: &[u8], y: usize) -> Option<()> {
        let labels = self.0.get_mut(y * head.width..)?.get_mut(..head.width)?;
        for (x, label) in labels.iter_mut().enumerate() {
            let first = head.first(x);
            *label = match head.output {
                Output::Sigmoid { .. } => u8::from(real(logits, first)? > head.logit),
                Output::Softmax | Output::Identity => largest(logits, first, head.classes)?,
            };
        }
        Some(())
    }
}

impl Sink for Probabilities<'_> {
    fn take(&mut self, head: &Head, logits: &[u8], y: usize) -> Option<()> {
        let plane = self.0.len().checked_div(head.classes)?;
        for x in 0..head.width {
            head.probabilities(logits, head.first(x), |class, p| {
                *self.0.get_mut(class * plane + y * head.width + x)? = p;
                Some(())
            })?;
        }
        Some(())
    }
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

    /// The first logit of a pixel of a row.
    fn first(&self, x: usize) -> usize {
        x * padded(self.classes)
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
