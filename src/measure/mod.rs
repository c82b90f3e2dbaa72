//! Figures and pictures a person reads: label statistics, Dice and HD95, previews, timings.

mod overlap;

pub use overlap::dice;
