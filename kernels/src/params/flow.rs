//! What lies between weighted layers: `cu/params_flow.h`.
//!
//! `vector` is 1 where all addresses are multiples of 16 bytes and each thread takes four neighbouring elements, which are
//! channels of one pixel wherever channels matter; `count` then is a multiple of 4.

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
    /// In proportion to signed values, by their sum and eps with its sign.
    Signed = 3,
    /// All to each of both: a derivative.
    Both = 4,
}

/// Argument of [`crate::flow::SPLIT`], one thread per element: tensors of `count` elements, `[pixels, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct SplitParams {
    /// Activation of the residual branch; read for [`Share::Ratio`] and [`Share::Signed`] only.
    pub residual: Address,
    /// Activation of the skip branch; read for the same.
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
    /// Of [`Share::Signed`]: added to sums, with their sign.
    pub eps: f32,
    /// 0 if the skip branch's relevance is written, 1 if it is added to.
    pub accumulate: u32,
    /// 1 if each thread takes four neighbouring elements: only where all channels take part.
    pub vector: u32,
}

/// Argument of [`crate::flow::COLLECT`], one thread per pixel.
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
    /// 0 if the result is written, 1 if it is added to what is there.
    pub accumulate: u32,
    /// Nothing, 0.
    pub reserved: u32,
}

/// Argument of [`crate::flow::ADD`], one thread per element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct AddParams {
    /// The residual branch.
    pub residual: Address,
    /// The skip branch.
    pub skip: Address,
    /// Gets the sum.
    pub sum: Address,
    /// Elements of each tensor.
    pub count: u32,
    /// 1 if what is negative becomes 0.
    pub relu: u32,
    /// 1 if each thread takes four neighbouring elements.
    pub vector: u32,
    /// Nothing, 0.
    pub reserved: u32,
}

/// What becomes of `r`, the derivative by an output `y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum GateKind {
    /// `r`
    Open = 0,
    /// `r [y > 0]`
    Mask = 1,
    /// `max(r, 0) [y > 0]`
    ClampMask = 2,
    /// `max(r, 0)`
    Clamp = 3,
    /// `r / (y + eps sign(y))`, where 0 is positive; 0 where that denominator is 0.
    Divide = 4,
    /// `r y`
    Weigh = 5,
}

/// Argument of [`crate::flow::GATE`], one thread per element: tensors of `count` elements, `[pixels, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct GateParams {
    /// The output; not read for [`GateKind::Open`] and [`GateKind::Clamp`].
    pub y: Address,
    /// A factor for each channel, or 0.
    pub scale: Address,
    /// Changed in place.
    pub relevance: Address,
    /// Elements of each tensor.
    pub count: u32,
    /// Channels, at least 1.
    pub channels: u32,
    /// A [`GateKind`].
    pub kind: u32,
    /// Of [`GateKind::Divide`].
    pub eps: f32,
    /// 1 if each thread takes four neighbouring elements.
    pub vector: u32,
    /// Nothing, 0.
    pub reserved: u32,
}

/// Argument of [`crate::flow::SUBSAMPLE`], one thread per element of the output, and of [`crate::flow::SUBSAMPLE_RELEVANCE`], one
/// per element of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SubsampleParams {
    /// Input, `[images, in_h, in_w, in_c]`; relevance of the output for the way back.
    pub from: Address,
    /// Output, `[images, out_h, out_w, out_c]`; relevance of the input for the way back.
    pub to: Address,
    /// Elements of `to`.
    pub count: u32,
    /// Rows of the input.
    pub in_h: u32,
    /// Columns of the input.
    pub in_w: u32,
    /// Channels of the input.
    pub in_c: u32,
    /// Rows of the output.
    pub out_h: u32,
    /// Columns of the output.
    pub out_w: u32,
    /// Channels of the output.
    pub out_c: u32,
    /// Of how many pixels one passes, in both directions.
    pub stride: u32,
    /// Zero channels before those that pass.
    pub before: u32,
    /// Of the way back: 0 if `to` is written, 1 if it is added to.
    pub accumulate: u32,
}

/// Argument of [`crate::flow::PACK`], one thread for eight elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct PackParams {
    /// Values, `[count]`.
    pub x: Address,
    /// Two halves in each, `[ceil(count / 2)]`.
    pub packed: Address,
    /// Elements.
    pub count: u32,
    /// 1 if each thread takes four neighbouring elements.
    pub vector: u32,
}

/// Argument of [`crate::flow::UNPACK`], one thread for eight elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct UnpackParams {
    /// Two halves in each, `[ceil(count / 2)]`.
    pub packed: Address,
    /// Values, `[count]`.
    pub y: Address,
    /// Elements.
    pub count: u32,
    /// 1 if each thread takes four neighbouring elements.
    pub vector: u32,
}

/// Argument of [`crate::flow::MAX`], one thread per element of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct MaxParams {
    /// Input, `[images, in_h, in_w, channels]`.
    pub x: Address,
    /// Output, `[images, out_h, out_w, channels]`.
    pub y: Address,
    /// Elements of the output.
    pub count: u32,
    /// Rows of the input.
    pub in_h: u32,
    /// Columns of the input.
    pub in_w: u32,
    /// Rows of the output.
    pub out_h: u32,
    /// Columns of the output.
    pub out_w: u32,
    /// Channels.
    pub channels: u32,
    /// Size of a window in both directions.
    pub kernel: u32,
    /// From one window to the next, in both directions.
    pub stride: u32,
    /// Padding on all four sides.
    pub pad: u32,
    /// 1 if each thread takes four neighbouring elements.
    pub vector: u32,
}

/// How relevance passes a max pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PoolShare {
    /// All to the first maximum of a window.
    Winner = 0,
    /// As through an average.
    Average = 1,
}

/// Argument of [`crate::flow::MAX_RELEVANCE`], one thread per element of the input, and of [`crate::flow::MAX_SINKS`], whose
/// threads go over the output; of one map. `kernel`, `stride` and `pad` are those of the windows that relevance passes: the
/// pool's own or, by the rule of the reference, `stride x stride` without padding.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct MaxRelevanceParams {
    /// Input, `[in_h, in_w, channels]`.
    pub a: Address,
    /// Relevance of the output, `[out_h, out_w, channels]`.
    pub r: Address,
    /// Relevance of the input; not touched by [`crate::flow::MAX_SINKS`].
    pub out: Address,
    /// Of [`crate::flow::MAX_SINKS`]: three doubles of each block, for eps, dead and redistributed.
    pub sums: Address,
    /// Rows of the input.
    pub in_h: u32,
    /// Columns of the input.
    pub in_w: u32,
    /// Rows of the output.
    pub out_h: u32,
    /// Columns of the output.
    pub out_w: u32,
    /// Channels.
    pub channels: u32,
    /// Size of a window in both directions.
    pub kernel: u32,
    /// From one window to the next, in both directions.
    pub stride: u32,
    /// Padding on all four sides.
    pub pad: u32,
    /// A [`PoolShare`].
    pub share: u32,
    /// Cells of a window in an average; 0 for as many as lie in the input.
    pub divisor: f32,
    /// Added to averages.
    pub eps: f32,
    /// 0 if the result is written, 1 if it is added to what is there.
    pub accumulate: u32,
    /// 1 if each thread takes four neighbouring elements.
    pub vector: u32,
    /// Nothing, 0.
    pub reserved: u32,
}

/// Argument of [`crate::flow::AVERAGE`], one block for 32 channels of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct AverageParams {
    /// Input, `[images, pixels, channels]`.
    pub x: Address,
    /// Output, `[images, channels]`.
    pub y: Address,
    /// Pixels.
    pub pixels: u32,
    /// Channels.
    pub channels: u32,
}

/// Argument of [`crate::flow::AVERAGE_RELEVANCE`], one block for 32 channels of one map, and of
/// [`crate::flow::AVERAGE_SINKS`].
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct AverageRelevanceParams {
    /// Input, `[pixels, channels]`.
    pub a: Address,
    /// Relevance of the output, `[channels]`.
    pub r: Address,
    /// Relevance of the input; not touched by [`crate::flow::AVERAGE_SINKS`].
    pub out: Address,
    /// Of [`crate::flow::AVERAGE_SINKS`]: three doubles of each block, for eps, dead and redistributed.
    pub sums: Address,
    /// Pixels.
    pub pixels: u32,
    /// Channels.
    pub channels: u32,
    /// Added to means.
    pub eps: f32,
    /// 1 for even shares where a mean vanishes, 0 for none.
    pub redistribute: u32,
    /// 0 if the result is written, 1 if it is added to what is there.
    pub accumulate: u32,
    /// Nothing, 0.
    pub reserved: u32,
}

/// Argument of [`crate::flow::AVERAGE_GRADIENT`], one thread per element of the input, of one map.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct AverageGradientParams {
    /// Derivative by the output, `[channels]`.
    pub r: Address,
    /// Derivative by the input, `[pixels, channels]`.
    pub out: Address,
    /// Elements of `out`.
    pub count: u32,
    /// Channels.
    pub channels: u32,
    /// Pixels.
    pub pixels: f32,
    /// 0 if the result is written, 1 if it is added to what is there.
    pub accumulate: u32,
    /// 1 if each thread takes four neighbouring elements.
    pub vector: u32,
    /// Nothing, 0.
    pub reserved: u32,
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

/// What a [`SeedResult`] says of its map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SeedStatus {
    /// A class was found.
    Well = 0,
    /// A logit is NaN or infinite, or there are none.
    NotFinite = 1,
    /// There is no such class.
    NoClass = 2,
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
    /// A [`SeedStatus`]; the other fields are 0 unless all is well.
    pub status: u32,
}

/// The relevance that the explained class starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Start {
    /// Its softmax probability.
    Probability = 0,
    /// Its logit.
    Logit = 1,
    /// One.
    One = 2,
}

/// Argument of [`crate::flow::SEED`], one block per map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SeedParams {
    /// Logits, `[images, classes]`.
    pub logits: Address,
    /// Relevance of the logits, `[images, targets, classes]`.
    pub relevance: Address,
    /// A [`SeedRequest`] for each map, `[images, targets]`.
    pub requests: Address,
    /// A [`SeedResult`] for each map, `[images, targets]`.
    pub results: Address,
    /// Classes.
    pub classes: u32,
    /// Maps of each image, at least 1.
    pub targets: u32,
    /// A [`Start`].
    pub start: u32,
    /// Nothing, 0.
    pub reserved: u32,
}

/// Argument of [`crate::flow::TOTAL`]: the sum of what lies in all channels but `skip_start..skip_end`, block by block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TotalParams {
    /// Values, `[pixels, channels]`.
    pub values: Address,
    /// A double of each block.
    pub sums: Address,
    /// Elements.
    pub count: u32,
    /// Channels.
    pub channels: u32,
    /// First channel that stays out of the sum.
    pub skip_start: u32,
    /// The channel after the last that stays out of the sum.
    pub skip_end: u32,
}

/// Argument of [`crate::flow::CELLS`]: what became of the relevance of z+ cells, block by block.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct CellsParams {
    /// Relevance of the output, `[count]`.
    pub r: Address,
    /// `r / (z + eps)`, or the mark of a dead cell ([`super::DEAD_CELL`]), `[count]`.
    pub s: Address,
    /// Three doubles of each block, for eps, dead and redistributed.
    pub sums: Address,
    /// Cells.
    pub count: u32,
    /// Added to every z.
    pub eps: f32,
    /// 1 if dead cells are marked and were redistributed, 0 if they have `s = 0` and are lost.
    pub redistribute: u32,
    /// Nothing, 0.
    pub reserved: u32,
}

/// Argument of [`crate::flow::TALLY`], one block: the sums of all blocks in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TallyParams {
    /// Doubles, `[blocks, width]`.
    pub sums: Address,
    /// Doubles, `[width]`.
    pub slots: Address,
    /// Blocks that left sums.
    pub blocks: u32,
    /// Sums side by side.
    pub width: u32,
}

/// Argument of [`crate::flow::RANGE`], whose threads go over a map: smallest, largest and whether there is a NaN, block by
/// block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct RangeParams {
    /// The map, `[count]`.
    pub map: Address,
    /// Three floats of each block, `[3, blocks]`.
    pub ranges: Address,
    /// Elements.
    pub count: u32,
    /// Nothing, 0.
    pub reserved: u32,
}

/// Argument of [`crate::flow::QUANTIZE`] and [`crate::flow::NORMALIZE`], one thread per pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct HeatParams {
    /// Three floats of each block of [`crate::flow::RANGE`], `[3, blocks]`.
    pub ranges: Address,
    /// The map, `[count]`, changed in place.
    pub map: Address,
    /// Elements.
    pub count: u32,
    /// Blocks of [`crate::flow::RANGE`].
    pub blocks: u32,
    /// Levels of [`crate::flow::QUANTIZE`].
    pub levels: u32,
    /// Nothing, 0.
    pub reserved: u32,
}
