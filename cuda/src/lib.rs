//! The device library: finds NVIDIA GPUs through cudarc. No GPU is data, not an error.

mod probe;

pub use probe::{Device, Probe, probe};
