//! Runs the conformance cases of the kernel on a Cortex-M7, the mps2-an500 machine.

#![no_std]
#![no_main]

board::program!(board::cases::run);
