//! CUDA kernel sources of elucid and their Rust signatures.
//!
//! A kernel is a function in a file of header-free CUDA C++ under `cu/`, and a `#[repr(C)]` struct of [`params`] is its only
//! argument. Nothing is compiled here: the sources travel as text inside the library, and the device's own NVRTC makes
//! machine code of [`Source::text`] with [`HEADERS`] as its includes.

/// A file of `cu/`.
macro_rules! source {
    ($name:literal) => {
        &$crate::Source {
            name: $name,
            text: include_str!(concat!("../cu/", $name)),
        }
    };
}

pub mod conv;
pub mod flow;
pub mod params;
pub mod token;

/// A file with the kernels of one operation, or a header that kernels include by name.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Name of the file: for compilers' messages, and as written in `#include "..."`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// A kernel.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// The file it is in: what is compiled at once.
    pub source: &'static Source,
    /// Name of the function to launch.
    pub entry: &'static str,
    /// Threads of a block: what the kernel is written for, always `[block, 1, 1]`.
    pub block: u32,
    /// Bytes of its argument.
    pub argument: usize,
}

/// Everything that a kernel may include.
pub const HEADERS: &[&Source] = &[
    source!("elucid.cuh"),
    source!("activation.cuh"),
    source!("gemm.cuh"),
    source!("product.cuh"),
    source!("forward.cuh"),
    source!("tensor.cuh"),
    source!("tensor_product.cuh"),
    source!("denominator.cuh"),
    source!("quotient.cuh"),
    source!("attention.cuh"),
    source!("few.cuh"),
    source!("resize.cuh"),
    source!("params.h"),
    source!("params_conv.h"),
    source!("params_flow.h"),
    source!("params_token.h"),
    source!("flow.cuh"),
];

/// Machine code of a file, made when this crate was built with the feature `fatbin`: for the architectures of
/// `ELUCID_CUDA_ARCHS`.
#[cfg(feature = "fatbin")]
#[must_use]
pub fn fatbin(name: &str) -> Option<&'static [u8]> {
    let all: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/fatbin.rs"));
    let found = all.iter().find(|(file, _)| *file == name);
    found.map(|(_, code)| *code)
}

/// Machine code of a file, made when this crate was built with the feature `fatbin`: it wasn't.
#[cfg(not(feature = "fatbin"))]
#[must_use]
pub fn fatbin(_: &str) -> Option<&'static [u8]> {
    None
}

/// All kernels.
pub fn kernels() -> impl Iterator<Item = &'static Kernel> {
    [conv::KERNELS, flow::KERNELS, token::KERNELS]
        .into_iter()
        .flatten()
        .copied()
}

/// All files that are compiled, each once.
#[must_use]
pub fn sources() -> Vec<&'static Source> {
    let mut all: Vec<&'static Source> = Vec::new();
    for kernel in kernels() {
        if all.iter().all(|s| s.name != kernel.source.name) {
            all.push(kernel.source);
        }
    }
    all
}
