//! What lies between weighted layers: `cu/params_flow.h`.

use bytemuck::{Pod, Zeroable};

use super::Address;

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

/// Argument of [`crate::flow::SPLIT`]: tensors of `count` elements, `[pixels, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SplitParams {
    /// Activation of the residual branch; read for [`Share::Ratio`] only.
    pub residual: Address,
    /// Activation of the skip branch; read for [`Share::Ratio`] only.
    pub skip: Address,
    /// Relevance of the sum; keeps the residual branch's share.
    pub relevance: Address,
    /// Gets the skip branch's share.
    pub skip_relevance: Address,
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

/// Argument of [`crate::flow::COLLECT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CollectParams {
    /// Relevance of the image, `[pixels, channels]`.
    pub relevance: Address,
    /// The map, `[pixels]`.
    pub heat: Address,
    /// Pixels.
    pub pixels: u32,
    /// Channels, at least 1.
    pub channels: u32,
}

/// The class that a map is to explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SeedRequest {
    /// 0: the class with `index` others before it; 1: class `index`.
    pub kind: u32,
    /// A rank or a class.
    pub index: u32,
}

/// What the network said, and what is explained of it.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct SeedResult {
    /// The predicted class.
    pub predicted: u32,
    /// The explained class.
    pub target: u32,
    /// Its softmax probability.
    pub probability: f32,
    /// Its logit.
    pub logit: f32,
    /// The relevance it starts with.
    pub relevance: f32,
    /// 0: well; 1: a logit is not finite; 2: there is no such class.
    pub status: u32,
}
