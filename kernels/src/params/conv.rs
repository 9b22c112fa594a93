//! Weighted layers: `cu/params_conv.h`.
//!
//! Activations are `[h, w, channels]`; weights are panels of sixteen output channels, `[co/16][kh*kw*ci][16]`, padded with
//! zeros.

use bytemuck::{Pod, Zeroable};

use super::Address;

/// Threads of a block of the products.
pub const GEMM_BLOCK: u32 = 128;

/// Pixels (or twice the pixels) and channels that a block computes.
pub const TILE: u32 = 64;

/// Output channels of a panel.
pub const PANEL: u32 = 16;

/// Stands in `s` for a cell whose z vanished and whose relevance is to be spread over its inputs.
pub const DEAD_CELL: u32 = 0x7FFF_DEAD;

/// What ends a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Activation {
    /// Nothing.
    Identity = 0,
    /// `max(x, 0)`
    Relu = 1,
    /// `x Phi(x)`
    Gelu = 2,
    /// `x sigmoid(1.702 x)`
    QuickGelu = 3,
}

/// What a term takes of weights and bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Part {
    /// As they are.
    All = 0,
    /// What is positive.
    Positive = 1,
    /// What is negative.
    Negative = 2,
    /// All, and the positive ones gamma times more.
    MorePositive = 3,
    /// All, and the negative ones gamma times more.
    MoreNegative = 4,
    /// One.
    One = 5,
    /// Their squares.
    Square = 6,
}

/// What a term takes of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Of {
    /// As it is.
    All = 0,
    /// What is positive.
    Positive = 1,
    /// What is negative.
    Negative = 2,
    /// Ones.
    Ones = 3,
    /// The same in every pixel.
    Constant = 4,
}

/// A convolution between two shapes; a fully connected layer is one over a single pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ConvShape {
    /// Rows of the input.
    pub h: u32,
    /// Columns of the input.
    pub w: u32,
    /// Channels of the input.
    pub ci: u32,
    /// Rows of the output.
    pub oh: u32,
    /// Columns of the output.
    pub ow: u32,
    /// Channels of the output.
    pub co: u32,
    /// Kernel height.
    pub kh: u32,
    /// Kernel width.
    pub kw: u32,
    /// Stride in both directions.
    pub stride: u32,
    /// Padding on all four sides.
    pub pad: u32,
}

/// Argument of the forward kernels: `y = activation(conv(x, w) * scale + shift + skip)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ConvParams {
    /// `[images, h, w, ci]`
    pub x: Address,
    /// Panels, float or half as the kernel's name says.
    pub weight: Address,
    /// `[co]`, or 0 for ones.
    pub scale: Address,
    /// `[co]`, or 0 for zeros.
    pub shift: Address,
    /// `[images, oh, ow, co]`, or 0; may be `y` itself.
    pub skip: Address,
    /// `[images, oh, ow, co]`
    pub y: Address,
    /// The shapes.
    pub shape: ConvShape,
    /// Images of the batch.
    pub images: u32,
    /// An [`Activation`].
    pub activation: u32,
}

/// Argument of the first half of z+: `z = conv(a, max(w, 0)) + eps`, `s = r / z`.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct QuotientParams {
    /// `[h, w, ci]`
    pub a: Address,
    /// Panels.
    pub weight: Address,
    /// Relevance of the output, `[oh, ow, co]`; 0: z itself is written.
    pub r: Address,
    /// Sums of the positive weights, `[taps + 1, panels * 16]`, for [`crate::conv::TENSOR_Z`]; 0: eps is no small one.
    pub sums: Address,
    /// `[oh, ow, co]`
    pub s: Address,
    /// The shapes.
    pub shape: ConvShape,
    /// Added to every z.
    pub eps: f32,
    /// 1: cells whose z vanishes are marked by [`DEAD_CELL`] where they hold relevance.
    pub spread: u32,
}

/// Argument of the second half of z+: `out (+)= a * conv_transposed(s, w)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BackParams {
    /// `[oh, ow, co]`
    pub s: Address,
    /// Panels.
    pub weight: Address,
    /// `[h, w, ci]`, or 0 for ones.
    pub a: Address,
    /// Relevance of the output where `s` may mark dead cells, else 0.
    pub r: Address,
    /// Sums of the positive weights over the input channels, `[taps + 1, panels * 16]`; 0 as `r`.
    pub sums: Address,
    /// `[h, w, ci]`
    pub out: Address,
    /// The shapes.
    pub shape: ConvShape,
    /// 1: of the weights only what is positive.
    pub plus: u32,
    /// 0: `out` is written, 1: added to.
    pub accumulate: u32,
}

/// Argument of [`crate::conv::DIVIDE`]: `s = r / z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct DivideParams {
    /// `[count]`
    pub r: Address,
    /// `[count]`
    pub z: Address,
    /// `[count]`
    pub s: Address,
    /// Elements.
    pub count: u32,
    /// As in [`QuotientParams`].
    pub spread: u32,
}

/// Argument of the sums over weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SumsParams {
    /// Panels.
    pub weight: Address,
    /// `[taps + 1, panels * 16]`
    pub sums: Address,
    /// Input channels.
    pub ci: u32,
    /// Panels of sixteen output channels.
    pub panels: u32,
    /// Kernel positions.
    pub taps: u32,
    /// 0.
    pub reserved: u32,
}

/// Argument of the layer that sees ones.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct OnesParams {
    /// Relevance of the output, `[oh, ow, co]`.
    pub r: Address,
    /// `[taps + 1, panels * 16]`
    pub sums: Address,
    /// `[oh, ow, co]`
    pub s: Address,
    /// `[h, w]`
    pub heat: Address,
    /// The shapes.
    pub shape: ConvShape,
    /// Added to every z.
    pub eps: f32,
    /// As in [`QuotientParams`].
    pub spread: u32,
    /// 0: `heat` is written, 1: added to.
    pub accumulate: u32,
    /// 0.
    pub reserved: u32,
}

/// Argument of a term's weights: `to = sign * part(w * scale)`.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct TermWeightsParams {
    /// Panels.
    pub weight: Address,
    /// `[co]`, or 0 for ones.
    pub scale: Address,
    /// Panels.
    pub to: Address,
    /// Stored weights.
    pub count: u32,
    /// Taps times input channels.
    pub rows: u32,
    /// Output channels.
    pub co: u32,
    /// A [`Part`].
    pub part: u32,
    /// How much more, for the parts that are more.
    pub gamma: f32,
    /// Factor of it all.
    pub sign: f32,
}

/// Argument of [`crate::conv::TERM_INPUTS`].
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct TermInputsParams {
    /// `[count]`
    pub a: Address,
    /// `[co]`, or 0 for zeros.
    pub shift: Address,
    /// `[count]`
    pub x: Address,
    /// `[co]`, or 0 if it isn't wanted.
    pub bias: Address,
    /// Elements of the input.
    pub count: u32,
    /// Input channels.
    pub channels: u32,
    /// Output channels.
    pub co: u32,
    /// An [`Of`].
    pub of: u32,
    /// A [`Part`], of the bias.
    pub part: u32,
    /// As in [`TermWeightsParams`].
    pub gamma: f32,
    /// Factor of the bias.
    pub sign: f32,
    /// For [`Of::Constant`], by colour.
    pub constant: [f32; 3],
}

/// Argument of [`crate::conv::FOLDED_DIVIDE`]: `s = factor * r / (z + eps sign(z))` for cells that pass, else 0.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct FoldedDivideParams {
    /// `[count]`
    pub r: Address,
    /// `[count]`
    pub z: Address,
    /// The product of all weights, or 0 where every cell passes.
    pub whole: Address,
    /// `[count]`
    pub s: Address,
    /// Elements.
    pub count: u32,
    /// Added to z, with its sign.
    pub eps: f32,
    /// Common factor.
    pub factor: f32,
    /// Cells pass whose product of all weights has this sign.
    pub sign: f32,
}
