//! Kernels of transformers and of the adapter.

use crate::params::{
    ATTENTION_BLOCK, AffineParams, AttentionParams, BLOCK, EnlargeParams, FuseParams, MatmulParams,
    MinmaxParams, MulmapParams, NormParams, PositionsParams, SliceParams, TokensParams,
};
use crate::{Kernel, Source};

const NORM_SOURCE: &Source = source!("norm.cu");

/// Threads of a block of [`NORM`]: four rows.
const NORM_BLOCK: u32 = 128;

/// Most channels of [`NORM`].
pub const NORM_CHANNELS: u32 = 1024;

/// Output channels of a block of [`ATTENTION_WIDE`].
pub const ATTENTION_CHUNK: u32 = 64;

/// Threads of a block of [`MATMUL`].
const MATMUL_BLOCK: u32 = 128;

/// Pixels of a block of [`MATMUL`].
pub const MATMUL_PIXELS: u32 = 64;

/// Queries of a block of [`MATMUL`].
pub const MATMUL_QUERIES: u32 = 32;

/// Tokens put before the rows; takes [`TokensParams`].
pub const TOKENS: &Kernel = &Kernel {
    source: source!("tokens.cu"),
    entry: "elucid_tokens",
    block: BLOCK,
    argument: size_of::<TokensParams>(),
};

/// Tokens or grid, cut out; takes [`SliceParams`].
pub const SLICE: &Kernel = &Kernel {
    source: source!("slice.cu"),
    entry: "elucid_slice",
    block: BLOCK,
    argument: size_of::<SliceParams>(),
};

/// Position embeddings, resized to the grid and added; takes [`PositionsParams`].
pub const POSITIONS: &Kernel = &Kernel {
    source: source!("positions.cu"),
    entry: "elucid_positions",
    block: BLOCK,
    argument: size_of::<PositionsParams>(),
};

/// Normalisation over at most [`NORM_CHANNELS`] channels, a multiple of 4, a warp per row; takes [`NormParams`].
pub const NORM: &Kernel = &Kernel {
    source: NORM_SOURCE,
    entry: "elucid_norm",
    block: NORM_BLOCK,
    argument: size_of::<NormParams>(),
};

/// Normalisation over any channels, a block per row; takes [`NormParams`].
pub const NORM_WIDE: &Kernel = &Kernel {
    source: NORM_SOURCE,
    entry: "elucid_norm_wide",
    block: BLOCK,
    argument: size_of::<NormParams>(),
};

/// A factor and a summand per channel; takes [`AffineParams`].
pub const AFFINE: &Kernel = &Kernel {
    source: source!("affine.cu"),
    entry: "elucid_affine",
    block: BLOCK,
    argument: size_of::<AffineParams>(),
};

/// Attention with heads of at most 16 channels; takes [`AttentionParams`].
pub const ATTENTION_16: &Kernel = &Kernel {
    source: source!("attention_16.cu"),
    entry: "elucid_attention_16",
    block: ATTENTION_BLOCK,
    argument: size_of::<AttentionParams>(),
};

/// Attention with heads of at most 32 channels; takes [`AttentionParams`].
pub const ATTENTION_32: &Kernel = &Kernel {
    source: source!("attention_32.cu"),
    entry: "elucid_attention_32",
    block: ATTENTION_BLOCK,
    argument: size_of::<AttentionParams>(),
};

/// Attention with heads of at most 40 channels; takes [`AttentionParams`].
pub const ATTENTION_40: &Kernel = &Kernel {
    source: source!("attention_40.cu"),
    entry: "elucid_attention_40",
    block: ATTENTION_BLOCK,
    argument: size_of::<AttentionParams>(),
};

/// Attention with heads of at most 64 channels; takes [`AttentionParams`].
pub const ATTENTION_64: &Kernel = &Kernel {
    source: source!("attention_64.cu"),
    entry: "elucid_attention_64",
    block: ATTENTION_BLOCK,
    argument: size_of::<AttentionParams>(),
};

/// Attention with heads of at most 128 channels; takes [`AttentionParams`].
pub const ATTENTION_128: &Kernel = &Kernel {
    source: source!("attention_128.cu"),
    entry: "elucid_attention_128",
    block: ATTENTION_BLOCK,
    argument: size_of::<AttentionParams>(),
};

/// Attention with heads of any channels, [`ATTENTION_CHUNK`] at a time; takes [`AttentionParams`].
pub const ATTENTION_WIDE: &Kernel = &Kernel {
    source: source!("attention_wide.cu"),
    entry: "elucid_attention_wide",
    block: ATTENTION_BLOCK,
    argument: size_of::<AttentionParams>(),
};

/// A feature map, resized to the grid and added; takes [`FuseParams`].
pub const FUSE: &Kernel = &Kernel {
    source: source!("fuse.cu"),
    entry: "elucid_fuse",
    block: BLOCK,
    argument: size_of::<FuseParams>(),
};

/// The adapter's map in the size of the image; takes [`EnlargeParams`].
pub const ENLARGE: &Kernel = &Kernel {
    source: source!("enlarge.cu"),
    entry: "elucid_enlarge",
    block: BLOCK,
    argument: size_of::<EnlargeParams>(),
};

/// Products of pixels with queries; takes [`MatmulParams`].
pub const MATMUL: &Kernel = &Kernel {
    source: source!("matmul.cu"),
    entry: "elucid_matmul",
    block: MATMUL_BLOCK,
    argument: size_of::<MatmulParams>(),
};

/// Minimum to 0, maximum to 1; takes [`MinmaxParams`].
pub const MINMAX: &Kernel = &Kernel {
    source: source!("minmax.cu"),
    entry: "elucid_minmax",
    block: BLOCK,
    argument: size_of::<MinmaxParams>(),
};

/// Pixels times cells of a map; takes [`MulmapParams`].
pub const MULMAP: &Kernel = &Kernel {
    source: source!("mulmap.cu"),
    entry: "elucid_mulmap",
    block: BLOCK,
    argument: size_of::<MulmapParams>(),
};

/// All of them.
pub const KERNELS: &[&Kernel] = &[
    TOKENS,
    SLICE,
    POSITIONS,
    NORM,
    NORM_WIDE,
    AFFINE,
    ATTENTION_16,
    ATTENTION_32,
    ATTENTION_40,
    ATTENTION_64,
    ATTENTION_128,
    ATTENTION_WIDE,
    FUSE,
    ENLARGE,
    MATMUL,
    MINMAX,
    MULMAP,
];
