//! CUDA kernel sources of elucid and their Rust signatures.
//!
//! A kernel is a file of header-free CUDA C++ under `cu/` and a `#[repr(C)]` struct of [`params`], its only argument.
//! Nothing is compiled here: the sources travel as text inside the library, and the device's own NVRTC makes machine
//! code of [`Kernel::source`] with [`HEADERS`] as its includes.

pub mod params;

pub use params::{CollectParams, Params, Share, SplitParams};

/// Threads of a block, for every kernel: `ELUCID_BLOCK` of `cu/params.h`.
pub const BLOCK: u32 = 256;

/// A file that kernels include by name.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// As written in `#include "..."`.
    pub name: &'static str,
    /// Its text.
    pub source: &'static str,
}

/// A kernel: one operation in one file.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Name of the file, for compilers' messages.
    pub name: &'static str,
    /// Name of the function to launch.
    pub entry: &'static str,
    /// Text of the file.
    pub source: &'static str,
}

/// Everything that a kernel may include.
pub const HEADERS: &[Header] = &[
    Header {
        name: "elucid.cuh",
        source: include_str!("../cu/elucid.cuh"),
    },
    Header {
        name: "params.h",
        source: include_str!("../cu/params.h"),
    },
];

/// Relevance splitting; takes [`SplitParams`].
pub const SPLIT: Kernel = Kernel {
    name: "split.cu",
    entry: "elucid_split",
    source: include_str!("../cu/split.cu"),
};

/// Channel sum of the image's relevance; takes [`CollectParams`].
pub const COLLECT: Kernel = Kernel {
    name: "collect.cu",
    entry: "elucid_collect",
    source: include_str!("../cu/collect.cu"),
};

/// All kernels.
pub const KERNELS: &[Kernel] = &[SPLIT, COLLECT];
