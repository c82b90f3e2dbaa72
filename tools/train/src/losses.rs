//! The losses of a run's steps, read a few at a time: to read one, the CPU must wait until a GPU
//! has done all that it was given.

use anyhow::{Result, ensure};
use tch::Tensor;

/// Steps whose losses are read together.
const TOGETHER: usize = 16;

/// Losses not yet read, and those that were.
#[derive(Debug, Default)]
pub struct Losses {
    /// Of consecutive steps.
    waiting: Vec<Tensor>,
    read: Vec<f64>,
}

impl Losses {
    /// Takes up the loss of step `step`, the one after the last.
    ///
    /// # Errors
    /// Where a loss is no number; names its step.
    pub fn push(&mut self, loss: Tensor, step: u64) -> Result<()> {
        self.waiting.push(loss);
        if self.waiting.len() == TOGETHER { self.read(step) } else { Ok(()) }
    }

    /// All losses since the last call; the last is of step `step`.
    ///
    /// # Errors
    /// As [`Losses::push`].
    pub fn take(&mut self, step: u64) -> Result<Vec<f64>> {
        self.read(step)?;
        Ok(std::mem::take(&mut self.read))
    }

    fn read(&mut self, last: u64) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let first = last + 1 - self.waiting.len() as u64;
        let values =
            Vec::<f64>::try_from(Tensor::stack(&self.waiting, 0).to_kind(tch::Kind::Double))?;
        for (step, value) in (first..).zip(&values) {
            ensure!(value.is_finite(), "the loss is {value} at step {step}: lower --rate");
        }
        self.waiting.clear();
        self.read.extend(values);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_comes_back_in_its_order_and_once() {
        let mut losses = Losses::default();
        for step in 1..=40u16 {
            losses.push(Tensor::from(f32::from(step)), step.into()).unwrap();
        }
        assert_eq!(losses.take(40).unwrap(), (1..=40).map(f64::from).collect::<Vec<_>>());
        assert!(losses.take(40).unwrap().is_empty());
    }

    #[test]
    fn a_loss_that_is_no_number_is_told_with_its_step_soon() {
        let mut losses = Losses::default();
        let loss = |step| Tensor::from(if step == 103 { f32::NAN } else { 1.0 });
        let error =
            (100..200).find_map(|step| losses.push(loss(step), step).err()).unwrap().to_string();
        assert!(error.contains("NaN at step 103"), "{error}");
    }
}
