//! Runs the net on one slice.

pub mod int8;
