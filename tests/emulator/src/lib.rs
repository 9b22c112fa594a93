//! Executes the CUDA kernels of elucid on the CPU, checks them, and stands in for the CUDA driver.
//!
//! The build script compiles every file of `kernels/cu` as host C++, with `cpp/emulator.h` for what CUDA has built in, into
//! two libraries:
//!
//! - [`Emulator::fast`], optimised. Threads of a block are fibers that really wait for each other at barriers, shuffles and
//!   votes, in the [`Order`] that is asked for. It finds what makes threads wait in vain, disagreement of lanes, and sixteen
//!   bytes at an address that isn't a multiple of sixteen.
//! - [`Emulator::checked`], in which a checker hears of every access: it also finds accesses out of bounds, reads of what nobody
//!   wrote, and races, each with its line, and counts for each line the sectors and wavefronts of its accesses
//!   ([`Emulator::report`]).
//!
//! Both say whether a kernel is right, not how fast it is: nothing here tells milliseconds.
//!
//! ```
//! use elucid_emulator::{Emulator, Order};
//! use elucid_kernels::params::CollectParams;
//!
//! let e = Emulator::checked();
//! let relevance = e.upload("relevance", &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
//! let heat = e.allocate("heat", 2 * size_of::<f32>());
//! let params = CollectParams {
//!     relevance: relevance.address(),
//!     heat: heat.address(),
//!     pixels: 2,
//!     channels: 3,
//!     accumulate: 0,
//!     reserved: 0,
//! };
//! e.launch("elucid_collect", [1, 1, 1], bytemuck::bytes_of(&params), Order::Shuffled(1))?;
//! assert_eq!(heat.download::<f32>(), [6.0, 15.0]);
//! # Ok::<(), elucid_emulator::Fault>(())
//! ```
//!
//! # What the checker knows
//!
//! Two accesses of one place by two threads, one of them writing, are a race unless a barrier lies between them or a
//! `__syncwarp` of both; shuffles and votes order nothing, and blocks of one launch are never ordered, fences or not. Atomic
//! accesses don't race with each other. Memory is what was registered ([`Emulator::upload`], [`Emulator::allocate`]),
//! each shared variable by itself. A launch ends at the first access out of bounds; other findings are collected, one for each
//! line. Of a word that several threads read, three readers are remembered; of the halves of one word, the last writer only.
//! What the checker hasn't seen executed it knows nothing about: several orders and odd shapes are up to the tests.
//!
//! # The mock driver
//!
//! Both libraries are also a `libcuda.so.1` ([`mock_driver`]): a process that is started with that folder in
//! `LD_LIBRARY_PATH` finds a GPU. Modules may be PTX or cubins; what is executed are the kernels of the same names. It
//! refuses what a real driver refuses: PTX that is newer than it, cubins for other devices, blocks of another size than the
//! kernel is written for, calls that spoil a capture. Its environment:
//!
//! | variable | means | else |
//! |---|---|---|
//! | `MOCK_CAPABILITY` | compute capability | `8.7` |
//! | `MOCK_INTEGRATED` | 1: shares its memory with the host | `1` |
//! | `MOCK_MEMORY` | bytes of memory; what is beyond is out of memory | 8 GiB |
//! | `MOCK_DRIVER_VERSION` | version of CUDA, `1000 * major + 10 * minor` | `12060` |
//! | `MOCK_DEVICES` | devices; 0: `cuInit` finds none | `1` |
//! | `MOCK_NO_GRAPHS` | 1: a capture is `CUDA_ERROR_NOT_SUPPORTED` | `0` |
//! | `MOCK_POOLS` | 1: has memory pools (`cuMemAllocAsync`) | `0` |
//! | `MOCK_FAIL` | `function:code`, or `function:code:calls that succeed before`, several with commas | |
//! | `MOCK_LOG` | a file that gets a line for each allocation, copy, module, launch, synchronisation, graph and fault | |
//! | `EMULATOR_ORDER` | `ascending`, `descending` or the seed of a shuffle | `ascending` |
//!
//! Fresh memory is poisoned with 0xff. After a fault every call fails until the context is released. Places in the log of
//! the checked driver are offsets in the library: [`explain`] makes lines of them.
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

/// The folder with a `libcuda.so` and `libcuda.so.1` for `LD_LIBRARY_PATH`: a driver whose device is this CPU.
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
