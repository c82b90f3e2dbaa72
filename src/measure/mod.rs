//! Figures and pictures a person reads: label statistics, Dice and HD95, previews, timings.

mod overlap;
mod surface;

pub use overlap::dice;
pub use surface::hd95;
