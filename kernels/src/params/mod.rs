//! Parameters of the kernels: what `cu/params*.h` say, in Rust.
//!
//! Pointers are addresses on the device ([`Address`]). `Pod` forbids padding, so a struct's bytes are exactly the kernel's
//! argument; the tests compare every size and offset with the C side through bindgen.

mod conv;
mod flow;
mod token;

pub use conv::*;
pub use flow::*;
pub use token::*;

/// An address on the device, as `CUdeviceptr`; 0 for what isn't there.
pub type Address = u64;

/// Threads of a block of most kernels: `ELUCID_BLOCK` of `cu/params.h`.
pub const BLOCK: u32 = 256;
