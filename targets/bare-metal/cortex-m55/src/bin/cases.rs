//! Runs the conformance cases of the kernel on a Cortex-M55, the mps3-an547 machine.

#![no_std]
#![no_main]

board::program!(board::cases::run);
