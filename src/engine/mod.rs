//! Runs the net on one slice.
