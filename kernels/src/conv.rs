//! Kernels of weighted layers.

use crate::params::{
    BLOCK, BackParams, ConvParams, DivideParams, FoldedDivideParams, GEMM_BLOCK, OnesParams,
    QuotientParams, SumsParams, TermInputsParams, TermWeightsParams,
};
use crate::{Kernel, Source};

const CONV: &Source = source!("conv.cu");
const CONV_TENSOR: &Source = source!("conv_tensor.cu");
const CONV_Z_TENSOR: &Source = source!("conv_z_tensor.cu");
const CONV_Z: &Source = source!("conv_z.cu");
const CONV_BACK: &Source = source!("conv_back.cu");
const LINEAR: &Source = source!("linear.cu");
const STEM: &Source = source!("stem.cu");
const ONES: &Source = source!("ones.cu");
const SUMS: &Source = source!("sums.cu");
const FOLDED: &Source = source!("folded.cu");

const fn kernel<P>(source: &'static Source, entry: &'static str, block: u32) -> Kernel {
    Kernel {
        source,
        entry,
        block,
        argument: size_of::<P>(),
    }
}

/// One kernel for either precision of the weights.
#[derive(Clone, Copy, Debug)]
pub struct Precisions {
    /// For weights in f32.
    pub f32: &'static Kernel,
    /// For weights in f16.
    pub f16: &'static Kernel,
}

/// The same product in three tiles.
#[derive(Clone, Copy, Debug)]
pub struct Tiles {
    /// 64 pixels, four channels at a time.
    pub whole: Precisions,
    /// 32 pixels, four channels at a time.
    pub half: Precisions,
    /// 64 pixels, channel by channel.
    pub single: Precisions,
}

macro_rules! precisions {
    ($params:ty, $source:expr, $block:expr, $name:literal) => {
        Precisions {
            f32: &kernel::<$params>($source, concat!("elucid_", $name, "_f32"), $block),
            f16: &kernel::<$params>($source, concat!("elucid_", $name, "_f16"), $block),
        }
    };
}

/// Forward; takes [`ConvParams`].
pub const FORWARD: Tiles = Tiles {
    whole: precisions!(ConvParams, CONV, GEMM_BLOCK, "conv"),
    half: precisions!(ConvParams, CONV, GEMM_BLOCK, "conv_half"),
    single: precisions!(ConvParams, CONV, GEMM_BLOCK, "conv_single"),
};

/// Forward on tensor cores, f16 weights, four channels at a time; takes [`ConvParams`]. Below sm_80 the same by other means.
pub const TENSOR: &Kernel = &kernel::<ConvParams>(CONV_TENSOR, "elucid_tensor_f16", GEMM_BLOCK);

/// z+, first half; takes [`QuotientParams`].
pub const Z: Tiles = Tiles {
    whole: precisions!(QuotientParams, CONV_Z, GEMM_BLOCK, "z"),
    half: precisions!(QuotientParams, CONV_Z, GEMM_BLOCK, "z_half"),
    single: precisions!(QuotientParams, CONV_Z, GEMM_BLOCK, "z_single"),
};

/// z+, first half, on tensor cores, f16 weights, four channels at a time; takes [`QuotientParams`].
pub const TENSOR_Z: &Kernel =
    &kernel::<QuotientParams>(CONV_Z_TENSOR, "elucid_tensor_z_f16", GEMM_BLOCK);

/// z+, second half, and derivatives; takes [`BackParams`].
pub const BACK: Tiles = Tiles {
    whole: precisions!(BackParams, CONV_BACK, GEMM_BLOCK, "back"),
    half: precisions!(BackParams, CONV_BACK, GEMM_BLOCK, "back_half"),
    single: precisions!(BackParams, CONV_BACK, GEMM_BLOCK, "back_single"),
};

/// Layers of up to four input channels, back; takes [`BackParams`].
pub const STEM_BACK: Precisions = precisions!(BackParams, STEM, BLOCK, "stem_back");

/// A fully connected layer; takes [`ConvParams`].
pub const LINEAR_FORWARD: Precisions = precisions!(ConvParams, LINEAR, GEMM_BLOCK, "linear");

/// Its z+, first half; takes [`QuotientParams`].
pub const LINEAR_Z: Precisions = precisions!(QuotientParams, LINEAR, GEMM_BLOCK, "linear_z");

/// Its z+, second half, and derivative; takes [`BackParams`].
pub const LINEAR_BACK: Precisions = precisions!(BackParams, LINEAR, GEMM_BLOCK, "linear_back");

/// Sums over weights; takes [`SumsParams`].
pub const WEIGHT_SUMS: Precisions = precisions!(SumsParams, SUMS, BLOCK, "sums");

/// A term's weights; takes [`TermWeightsParams`].
pub const TERM_WEIGHTS: Precisions = precisions!(TermWeightsParams, FOLDED, BLOCK, "term_weights");

/// Quotients by known denominators; takes [`DivideParams`].
pub const DIVIDE: &Kernel = &kernel::<DivideParams>(CONV_Z, "elucid_divide", BLOCK);

/// Quotients of the layer that sees ones; takes [`OnesParams`].
pub const ONES_DIVIDE: &Kernel = &kernel::<OnesParams>(ONES, "elucid_ones_divide", BLOCK);

/// The map of the layer that sees ones; takes [`OnesParams`].
pub const ONES_COLLECT: &Kernel = &kernel::<OnesParams>(ONES, "elucid_ones_collect", BLOCK);

/// A term's input and bias; takes [`TermInputsParams`].
pub const TERM_INPUTS: &Kernel = &kernel::<TermInputsParams>(FOLDED, "elucid_term_inputs", BLOCK);

/// Quotients of rules over folded weights; takes [`FoldedDivideParams`].
pub const FOLDED_DIVIDE: &Kernel =
    &kernel::<FoldedDivideParams>(FOLDED, "elucid_folded_divide", BLOCK);

/// All of them.
pub const KERNELS: &[&Kernel] = &[
    FORWARD.whole.f32,
    FORWARD.whole.f16,
    FORWARD.half.f32,
    FORWARD.half.f16,
    FORWARD.single.f32,
    FORWARD.single.f16,
    TENSOR,
    TENSOR_Z,
    Z.whole.f32,
    Z.whole.f16,
    Z.half.f32,
    Z.half.f16,
    Z.single.f32,
    Z.single.f16,
    BACK.whole.f32,
    BACK.whole.f16,
    BACK.half.f32,
    BACK.half.f16,
    BACK.single.f32,
    BACK.single.f16,
    STEM_BACK.f32,
    STEM_BACK.f16,
    LINEAR_FORWARD.f32,
    LINEAR_FORWARD.f16,
    LINEAR_Z.f32,
    LINEAR_Z.f16,
    LINEAR_BACK.f32,
    LINEAR_BACK.f16,
    WEIGHT_SUMS.f32,
    WEIGHT_SUMS.f16,
    TERM_WEIGHTS.f32,
    TERM_WEIGHTS.f16,
    DIVIDE,
    ONES_DIVIDE,
    ONES_COLLECT,
    TERM_INPUTS,
    FOLDED_DIVIDE,
];
