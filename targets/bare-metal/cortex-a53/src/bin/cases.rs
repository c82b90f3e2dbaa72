//! Runs the conformance cases of the kernel on a Cortex-A53, the virt machine.

#![no_std]
#![no_main]

board::program!(board::cases::run);
