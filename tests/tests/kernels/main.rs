//! The CUDA kernels without executing them: their parameters are the same in C and Rust; NVRTC compiles each for every
//! architecture that the project names, into registers alone; and the machine code's inner loops hold what they should.
//!
//! `ELUCID_NVRTC` names the library for the second (`libnvrtc.so.12` of the wheel `nvidia-cuda-nvrtc-cu12`),
//! `ELUCID_NVDISASM` the program for the third (of the wheel `nvidia-cuda-nvdisasm`); without them those tests say that they
//! were skipped. `tests/run.sh tests` gets both.
//!
//! What the kernels compute when executed is proven in `tests/emulator/`.
#![allow(unsafe_code)] // NVRTC is a C library.

mod compile;
mod loops;
mod nvrtc;
mod occupancy;
mod parameters;
mod sass;
mod usage;

use std::io::{self, Write};

/// Says something that the test runner doesn't hide.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
