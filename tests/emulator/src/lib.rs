//! Executes the CUDA kernels of elucid on the CPU, checks them, and stands in for the CUDA driver.
#![allow(unsafe_code)] // The emulator is C++ and takes addresses.

mod fault;
mod library;
mod lines;
mod memory;
mod site;

use std::path::{Path, PathBuf};

pub use fault::{Fault, Finding, Kind, Place, Thread};
pub use library::{Emulator, Order, Registered};
pub use memory::Memory;
pub use site::Site;

/// The folder with a `libcuda.so.1` for `LD_LIBRARY_PATH`: a driver whose device is this CPU.
#[must_use]
pub fn mock_driver(checked: bool) -> PathBuf {
    Path::new(if checked { CHECKED } else { FAST }).to_path_buf()
}

const FAST: &str = env!("EMULATOR_FAST");
const CHECKED: &str = env!("EMULATOR_CHECKED");
