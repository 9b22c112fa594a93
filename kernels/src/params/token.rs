//! Layers of transformers and of the adapter: `cu/params_token.h`.
//!
//! Activations are `[images, tokens + rows * columns, channels]`: tokens before the grid. Where a kernel takes `vector`, it
//! is 1 if every address is a multiple of 16 bytes and every count of elements that separates two rows one of 4.

use bytemuck::{Pod, Zeroable};

use super::Address;

/// Keys of a tile of the attention kernels.
pub const ATTENTION_KEYS: u32 = 32;

/// Threads of a block of the attention kernels.
pub const ATTENTION_BLOCK: u32 = 64;

/// Argument of [`crate::token::TOKENS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TokensParams {
    /// The tokens, `head` elements.
    pub tokens: Address,
    /// `[images, rest]`.
    pub x: Address,
    /// `[images, head + rest]`.
    pub y: Address,
    /// Elements of the tokens.
    pub head: u32,
    /// Elements of an image before.
    pub rest: u32,
    /// Images.
    pub images: u32,
    /// 1 if 16 bytes can be read at once.
    pub vector: u32,
}

/// Argument of [`crate::token::SLICE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SliceParams {
    /// `[images, stride]`.
    pub x: Address,
    /// `[images, count]`.
    pub y: Address,
    /// The first element that is cut out.
    pub first: u32,
    /// Elements that are cut out.
    pub count: u32,
    /// Elements of an image.
    pub stride: u32,
    /// Images.
    pub images: u32,
    /// 1 if 16 bytes can be read at once.
    pub vector: u32,
    /// 0.
    pub reserved: u32,
}

/// Argument of [`crate::token::POSITIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct PositionsParams {
    /// `[images, tokens + rows * columns, channels]`.
    pub x: Address,
    /// Embeddings of the tokens, `[tokens, channels]`, or 0.
    pub head: Address,
    /// Embeddings of the grid, `[table_rows, table_columns, channels]`.
    pub table: Address,
    /// As `x`.
    pub y: Address,
    /// Rows of the grid.
    pub rows: u32,
    /// Columns of the grid.
    pub columns: u32,
    /// Rows of the table.
    pub table_rows: u32,
    /// Columns of the table.
    pub table_columns: u32,
    /// Channels.
    pub channels: u32,
    /// Tokens before the grid.
    pub tokens: u32,
    /// Rows of the table for one row of the grid.
    pub down: f32,
    /// Columns of the table for one column of the grid.
    pub across: f32,
    /// Images.
    pub images: u32,
    /// 1 if 16 bytes can be read at once.
    pub vector: u32,
}

/// Argument of [`crate::token::NORM`] and [`crate::token::NORM_WIDE`].
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct NormParams {
    /// `[rows, channels]`.
    pub x: Address,
    /// `[channels]`, or 0 for ones.
    pub weight: Address,
    /// `[channels]`, or 0 for zeros.
    pub bias: Address,
    /// As `x`.
    pub y: Address,
    /// Rows.
    pub rows: u32,
    /// Channels.
    pub channels: u32,
    /// Added to the variance.
    pub eps: f32,
    /// 0.
    pub reserved: u32,
}

/// Argument of [`crate::token::AFFINE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct AffineParams {
    /// `[rows, channels]`.
    pub x: Address,
    /// `[channels]`, or 0 for ones.
    pub scale: Address,
    /// `[channels]`, or 0 for zeros.
    pub shift: Address,
    /// As `x`.
    pub y: Address,
    /// Elements of `x`.
    pub count: u32,
    /// Channels.
    pub channels: u32,
    /// 1 if 16 bytes can be read at once.
    pub vector: u32,
    /// 0.
    pub reserved: u32,
}

/// Argument of the attention kernels, [`crate::token::ATTENTION_64`] and its like.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct AttentionParams {
    /// `[images, n, 3 * channels]`: queries, keys, values, each head by head.
    pub qkv: Address,
    /// `[images, n, channels]`.
    pub y: Address,
    /// Rows.
    pub n: u32,
    /// `heads * width`.
    pub channels: u32,
    /// Channels of a head.
    pub width: u32,
    /// Images.
    pub images: u32,
    /// `log2(e) / sqrt(width)`.
    pub scale: f32,
    /// 1 if 16 bytes can be read at once.
    pub vector: u32,
}

/// Argument of [`crate::token::FUSE`].
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct FuseParams {
    /// `[images, map_rows, map_columns, channels]`.
    pub map: Address,
    /// `[images, tokens + rows * columns, channels]`.
    pub x: Address,
    /// As `x`.
    pub y: Address,
    /// Rows of the grid.
    pub rows: u32,
    /// Columns of the grid.
    pub columns: u32,
    /// Rows of the map.
    pub map_rows: u32,
    /// Columns of the map.
    pub map_columns: u32,
    /// Channels.
    pub channels: u32,
    /// Tokens before the grid.
    pub tokens: u32,
    /// Rows of the map for one row of the grid.
    pub down: f32,
    /// Columns of the map for one column of the grid.
    pub across: f32,
    /// Images.
    pub images: u32,
    /// 1 if 16 bytes can be read at once.
    pub vector: u32,
}

/// Argument of [`crate::token::ENLARGE`].
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct EnlargeParams {
    /// `[images, map_rows, map_columns]`.
    pub map: Address,
    /// `[images, targets, rows, columns]`.
    pub heat: Address,
    /// Rows of pixels.
    pub rows: u32,
    /// Columns of pixels.
    pub columns: u32,
    /// Rows of the map.
    pub map_rows: u32,
    /// Columns of the map.
    pub map_columns: u32,
    /// Rows of the map for one row of pixels.
    pub down: f32,
    /// Columns of the map for one column of pixels.
    pub across: f32,
    /// Images.
    pub images: u32,
    /// Targets of an image.
    pub targets: u32,
}

/// Argument of [`crate::token::MATMUL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct MatmulParams {
    /// `[images, queries, channels]`.
    pub query: Address,
    /// `[images, pixels, channels]`.
    pub x: Address,
    /// `[images, pixels, queries]`.
    pub y: Address,
    /// Queries.
    pub queries: u32,
    /// Pixels.
    pub pixels: u32,
    /// Channels.
    pub channels: u32,
    /// Images.
    pub images: u32,
    /// 1 if 16 bytes can be read at once.
    pub vector: u32,
    /// 0.
    pub reserved: u32,
}

/// Argument of [`crate::token::MINMAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct MinmaxParams {
    /// `[images, count]`.
    pub x: Address,
    /// As `x`.
    pub y: Address,
    /// Elements of an image, at least 1.
    pub count: u32,
    /// Images.
    pub images: u32,
}

/// Argument of [`crate::token::MULMAP`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct MulmapParams {
    /// `[pixels, channels]`.
    pub x: Address,
    /// `[pixels]`.
    pub map: Address,
    /// As `x`.
    pub y: Address,
    /// Elements of `x`.
    pub count: u32,
    /// Channels.
    pub channels: u32,
    /// 1 if 16 bytes can be read at once.
    pub vector: u32,
    /// 0.
    pub reserved: u32,
}
