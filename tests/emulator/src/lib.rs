//! Executes the CUDA kernels of elucid on the CPU, checks them, and stands in for the CUDA driver.
#![allow(unsafe_code)] // The emulator is C++ and takes addresses.

mod fault;
mod library;
mod lines;
mod memory;
mod numbers;
mod site;

use std::path::{Path, PathBuf};

pub use fault::{Fault, Finding, Kind, Place, Thread};
pub use library::{Emulator, Order, Registered};
pub use memory::Memory;
pub use numbers::numbers;
pub use site::Site;

use crate::lines::Lines;

/// The folder with a `libcuda.so.1` for `LD_LIBRARY_PATH`: a driver whose device is this CPU.
#[must_use]
pub fn mock_driver(checked: bool) -> PathBuf {
    Path::new(if checked { CHECKED } else { FAST }).to_path_buf()
}

const FAST: &str = env!("EMULATOR_FAST");
const CHECKED: &str = env!("EMULATOR_CHECKED");

/// A log of the checked driver, with its offsets in the library (`@0x1234`) replaced by places in the source.
#[must_use]
pub fn explain(log: &str) -> String {
    let lines = Lines::of(mock_driver(true).join("libcuda.so.1"));
    let mut parts = log.split("@0x");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(part.len());
        let offset = u64::from_str_radix(&part[..digits], 16).unwrap_or(0);
        text += &lines.places([offset]).remove(0).to_string();
        text += &part[digits..];
    }
    text
}
