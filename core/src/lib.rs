#![doc = include_str!("lib.md")]
#![no_std]

#[macro_use]
mod fmt;

pub mod arch;
pub mod audit;
pub mod backend;
pub mod builder;
pub mod cpu;
pub mod error;
pub mod explain;
#[cfg(feature = "capi")]
#[allow(unsafe_code)]
pub mod ffi;
pub mod frame;
pub mod graph;
pub mod heat;
pub mod math;
pub mod model;
pub mod op;
pub mod overlay;
#[allow(unsafe_code)]
pub mod par;
pub mod plan;
pub mod rule;
pub mod shape;
#[allow(unsafe_code)]
pub mod simd;
pub mod view;

pub use error::Error;
pub use model::Model;
pub use shape::Shape;
