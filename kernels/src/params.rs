//! Parameters of the kernels: what `cu/params.h` says, in Rust.
//!
//! Pointers are addresses on the device (`CUdeviceptr`). `Pod` forbids padding, so a struct's bytes are exactly the
//! kernel's argument; the tests compare every size and offset with the C side through bindgen.

use bytemuck::{Pod, Zeroable};

use crate::{BLOCK, COLLECT, Kernel, SPLIT};

/// The argument of one kernel.
pub trait Params: Pod {
    /// The kernel that takes it.
    const KERNEL: Kernel;

    /// Threads that have something to do; those past them return at once.
    fn threads(&self) -> u32;

    /// Blocks of [`BLOCK`] threads that a launch needs.
    fn blocks(&self) -> u32 {
        self.threads().div_ceil(BLOCK)
    }
}

/// How the relevance of a sum is shared between its two branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Share {
    /// All to the residual branch.
    Residual = 0,
    /// Half and half.
    Half = 1,
    /// In proportion to absolute values, 0/0 = 1/2.
    Ratio = 2,
}

/// Argument of [`SPLIT`]: tensors of `count` elements, `[pixels, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SplitParams {
    /// Activation of the residual branch; read for [`Share::Ratio`] only.
    pub residual: u64,
    /// Activation of the skip branch; read for [`Share::Ratio`] only.
    pub skip: u64,
    /// Relevance of the sum; keeps the residual branch's share.
    pub relevance: u64,
    /// Gets the skip branch's share.
    pub skip_relevance: u64,
    /// Elements of each tensor.
    pub count: u32,
    /// Channels, at least 1.
    pub channels: u32,
    /// First channel that takes part in the split; the others leave everything to the residual branch.
    pub live_start: u32,
    /// The channel after the last that takes part.
    pub live_end: u32,
    /// A [`Share`].
    pub share: u32,
    /// 0 if the skip branch's relevance is written, 1 if it is added to.
    pub accumulate: u32,
}

impl Params for SplitParams {
    const KERNEL: Kernel = SPLIT;

    fn threads(&self) -> u32 {
        self.count
    }
}

/// Argument of [`COLLECT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CollectParams {
    /// Relevance of the image, `[pixels, channels]`.
    pub relevance: u64,
    /// The map, `[pixels]`.
    pub heat: u64,
    /// Pixels.
    pub pixels: u32,
    /// Channels, at least 1.
    pub channels: u32,
}

impl Params for CollectParams {
    const KERNEL: Kernel = COLLECT;

    fn threads(&self) -> u32 {
        self.pixels
    }
}
