//! The device library: finds NVIDIA GPUs through cudarc, and carries the C API of `core/include/elucid.h` as `libelucid.a` and
//! `libelucid.so`. No GPU is data, not an error.

#[allow(unsafe_code)]
pub mod ffi;
pub mod lower;
mod probe;

pub use probe::{Device, Probe, probe};
