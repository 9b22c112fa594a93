//! The device library: explains on NVIDIA GPUs through cudarc, and carries the C API of `core/include/elucid.h` as `libelucid.a`
//! and `libelucid.so`. No GPU is data, not an error.
//!
//! - [`lower`]: from the steps of a plan to launches, apart from any device;
//! - [`cost`]: what such a launch costs, counted and not measured;
//! - [`Device`], [`Cuda`]: an opened device, and the backend that runs those launches on it;
//! - [`Compiler`], [`Cache`]: from kernel sources to code, once for each device;
//! - [`timing`]: how long its launches take;
//! - [`probe`]: what CUDA hardware and libraries this machine has, for people.

mod backend;
mod cache;
pub mod cost;
mod device;
mod driver;
mod error;
#[allow(unsafe_code)]
pub mod ffi;
#[allow(unsafe_code)]
mod launch;
pub mod lower;
#[allow(unsafe_code)]
mod memory;
mod modules;
#[allow(unsafe_code)]
mod nvrtc;
mod probe;
#[allow(unsafe_code)]
pub mod timing;

pub use backend::Cuda;
pub use cache::{Cache, Key};
pub use device::{CODE, Device, GRAPH};
pub use driver::Facts;
pub use error::CudaError;
pub use nvrtc::{Compiler, Kind, OPTIONS};
pub use probe::{Probe, probe};
