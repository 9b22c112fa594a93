//! The network as data: a flat list of nodes in topological order.
//!
//! A node knows its operation, its inputs and the tensors it reads, never its shapes: [`Op::infer`] is the one place
//! where shapes come from, so one model runs at any image size. Channels are last everywhere.

mod token;

use crate::shape::Shape;

pub use token::{Affine, Attention, Norm, Part, Positions, Tokens};

/// Largest kernel, but for patches.
const MAX_KERNEL: u16 = 11;
/// Largest patch.
const MAX_PATCH: u16 = 64;

/// Index of a node in its list.
pub type NodeId = u16;
/// Index of a tensor in the model.
pub type TensorId = u16;
/// "No node" and "no tensor".
pub const NONE: u16 = u16::MAX;

/// Panels hold this many output channels: weights lie as `[co/16][kh*kw*ci][16]`.
pub const PANEL: usize = 16;

/// What a skip branch is made of; the projection splits treat the two differently (paper, ablation rows i and iii).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Skip {
    /// The block's input itself, or a parameter-free subsampling of it (option A of He et al.).
    Identity,
    /// A 1x1 convolution with BatchNorm.
    Projection,
}

/// What ends a layer, element by element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `x Phi(x)` with the normal distribution's Phi (exact, by erf).
    Gelu,
    /// `x sigmoid(1.702 x)`, as OpenAI's CLIP has it.
    QuickGelu,
}

/// A convolution with its BatchNorm as an epilogue: `y = act(conv(x, w) * scale + shift)`.
///
/// BatchNorm is never folded into the weights: a negative scale would flip the sign of weights and so change what the
/// z+ rule selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Conv {
    /// Input channels.
    pub ci: u32,
    /// Output channels.
    pub co: u32,
    /// Kernel height.
    pub kh: u16,
    /// Kernel width.
    pub kw: u16,
    /// Stride in both directions.
    pub stride: u16,
    /// Zero padding on all four sides.
    pub pad: u16,
    /// Weights, panels.
    pub weight: TensorId,
    /// Per-channel factor `[co]`, or [`NONE`].
    pub scale: TensorId,
    /// Per-channel summand `[co]`, or [`NONE`].
    pub shift: TensorId,
    /// What follows.
    pub act: Activation,
}

impl Conv {
    /// Whether every output is a function of one input pixel: such a layer takes tokens, too.
    #[must_use]
    pub const fn pointwise(&self) -> bool {
        self.taps() == 1 && self.stride == 1 && self.pad == 0
    }

    /// Whether it embeds patches: kernels are so large nowhere else.
    #[must_use]
    pub const fn embeds(&self) -> bool {
        self.kh > MAX_KERNEL || self.kw > MAX_KERNEL
    }

    /// Whether relevance can flow through it.
    #[must_use]
    pub const fn explainable(&self) -> bool {
        !self.embeds() && matches!(self.act, Activation::Identity | Activation::Relu)
    }

    /// Number of kernel positions.
    #[must_use]
    pub const fn taps(&self) -> usize {
        self.kh as usize * self.kw as usize
    }

    /// Number of panels of 16 output channels.
    #[must_use]
    pub const fn panels(&self) -> usize {
        (self.co as usize).div_ceil(PANEL)
    }

    /// Whether the stored weights can be counted in 32 bits.
    fn storable(&self) -> bool {
        let rows = u64::from(self.ci) * u64::from(self.kh) * u64::from(self.kw);
        u64::from(self.co.div_ceil(PANEL as u32)) * PANEL as u64 * rows < 1 << 31
    }

    /// Stored weights, the padding of the last panel included.
    #[must_use]
    pub const fn stored(&self) -> usize {
        self.panels() * PANEL * self.taps() * self.ci as usize
    }
}

/// A fully connected layer `[1, 1, ci] -> [1, 1, co]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Linear {
    /// Input features.
    pub ci: u32,
    /// Output features.
    pub co: u32,
    /// Weights, panels.
    pub weight: TensorId,
    /// Bias `[co]`, or [`NONE`]. LRP leaves it out of z.
    pub bias: TensorId,
}

impl Linear {
    /// The same layer as a 1x1 convolution over one pixel.
    #[must_use]
    pub const fn as_conv(&self) -> Conv {
        Conv {
            ci: self.ci,
            co: self.co,
            kh: 1,
            kw: 1,
            stride: 1,
            pad: 0,
            weight: self.weight,
            scale: NONE,
            shift: self.bias,
            act: Activation::Identity,
        }
    }
}

/// A max pool; the padding never wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Pool {
    /// Window size in both directions.
    pub kernel: u16,
    /// Stride in both directions.
    pub stride: u16,
    /// Padding on all four sides.
    pub pad: u16,
}

/// A parameter-free shortcut (option A): every `stride`-th pixel, zero channels put before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Subsample {
    /// Stride in both directions.
    pub stride: u16,
    /// Zero channels before.
    pub before: u16,
    /// Zero channels after.
    pub after: u16,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Op {
    /// The image, `[h, w, 3]`, normalised.
    Input,
    /// Convolution with epilogue.
    Conv(Conv),
    /// Fully connected.
    Linear(Linear),
    /// `relu?(residual branch + skip branch)`: inputs 0 and 1.
    Add {
        /// What input 1 is made of.
        skip: Skip,
        /// Whether a ReLU follows.
        relu: bool,
    },
    /// Max pool.
    MaxPool(Pool),
    /// Global average pool `[h, w, c] -> [1, 1, c]`.
    AvgPool,
    /// Option-A shortcut.
    Subsample(Subsample),
    /// Learned tokens put before the grid.
    Tokens(Tokens),
    /// Position embeddings added.
    Positions(Positions),
    /// Normalisation over the channels of each row.
    Norm(Norm),
    /// Self-attention: `[.., 3 c] -> [.., c]`.
    Attention(Attention),
    /// The tokens or the grid alone.
    Slice(Part),
    /// Input 0, a feature map `[h', w', c]`, resized bilinearly to the grid of input 1 and added to it; the tokens of input 1 stay as they are.
    Fuse,
    /// Products of the rows of input 0 `[1, q, c]` with the pixels of input 1 `[h, w, c]`: `[h, w, q]`.
    MatMul,
    /// One map, `[h, w, 1]`, to 0..1: `(x - min) / (max - min + 1e-7)`.
    MinMax,
    /// Input 0, `[h, w, c]`, times the map at input 1, `[h, w, 1]`.
    MulMap,
    /// A factor and a summand per channel.
    Affine(Affine),
}

/// A node: an operation, where its inputs come from, and which block it belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// Inputs, earlier in the list; [`NONE`] where there are fewer.
    pub inputs: [NodeId; 2],
    /// Block index, growing along the list: the unit of checkpointing.
    pub segment: u16,
    /// Stage index, growing along the list.
    pub stage: u8,
}

/// Output extent of a window that slides over `size` cells.
fn slide(size: u32, kernel: u16, stride: u16, pad: u16) -> Option<u32> {
    let (kernel, stride, pad) = (u32::from(kernel), u32::from(stride), u32::from(pad));
    let span = size.checked_add(2 * pad)?.checked_sub(kernel)?;
    Some(span.checked_div(stride)? + 1)
}

impl Op {
    /// Number of inputs.
    #[must_use]
    pub const fn arity(&self) -> usize {
        match self {
            Op::Input => 0,
            Op::Add { .. } | Op::Fuse | Op::MatMul | Op::MulMap => 2,
            Op::Conv(_)
            | Op::Linear(_)
            | Op::MaxPool(_)
            | Op::AvgPool
            | Op::Subsample(_)
            | Op::Tokens(_)
            | Op::Positions(_)
            | Op::Norm(_)
            | Op::Attention(_)
            | Op::Slice(_)
            | Op::MinMax
            | Op::Affine(_) => 1,
        }
    }

    /// The output shape for inputs of shape `a` and (for two inputs) `b`; `None` if the operation can't take them.
    #[must_use]
    pub fn infer(&self, a: Shape, b: Shape) -> Option<Shape> {
        let plain = a.tokens == 0 && b.tokens == 0;
        match *self {
            Op::Input => (a.c == 3 && plain).then_some(a)?.checked(),
            Op::Conv(c) if c.pointwise() => {
                (a.c == c.ci).then_some(a.with_channels(c.co))?.checked()
            }
            Op::Conv(c) => {
                plain.then_some(())?;
                let h = slide(a.h, c.kh, c.stride, c.pad)?;
                let w = slide(a.w, c.kw, c.stride, c.pad)?;
                (a.c == c.ci).then_some(Shape::new(h, w, c.co))?.checked()
            }
            Op::Linear(l) => (a == Shape::features(l.ci))
                .then_some(Shape::features(l.co))?
                .checked(),
            Op::Add { .. } => (a == b).then_some(a)?.checked(),
            Op::MaxPool(p) => {
                plain.then_some(())?;
                let h = slide(a.h, p.kernel, p.stride, p.pad)?;
                let w = slide(a.w, p.kernel, p.stride, p.pad)?;
                Shape::new(h, w, a.c).checked()
            }
            Op::AvgPool => plain.then_some(Shape::features(a.c))?.checked(),
            Op::Subsample(s) => {
                let stride = u32::from(s.stride);
                let c =
                    a.c.checked_add(u32::from(s.before))?
                        .checked_add(u32::from(s.after))?;
                (stride > 0 && plain)
                    .then_some(Shape::new(a.h.div_ceil(stride), a.w.div_ceil(stride), c))?
                    .checked()
            }
            Op::Tokens(t) => t.infer(a)?.checked(),
            Op::Positions(p) => p.infer(a)?.checked(),
            Op::Norm(n) => (a.c == n.c).then_some(a)?.checked(),
            Op::Attention(at) => (a.c == 3 * at.c)
                .then_some(a.with_channels(at.c))?
                .checked(),
            Op::Slice(part) => part.infer(a)?.checked(),
            Op::Fuse => (a.tokens == 0 && a.c == b.c && a.pixels() > 0 && b.h > 0 && b.w > 0)
                .then_some(b)?
                .checked(),
            Op::MatMul => (a.h == 1 && plain && a.c == b.c)
                .then_some(b.with_channels(a.w))?
                .checked(),
            Op::MinMax => (a.c == 1 && plain).then_some(a)?.checked(),
            Op::MulMap => (b.with_channels(a.c) == a && b.c == 1 && plain)
                .then_some(a)?
                .checked(),
            Op::Affine(f) => (a.c == f.c).then_some(a)?.checked(),
        }
    }

    /// Multiply-adds of one forward pass, times two. Pools and sums count one per element read.
    #[must_use]
    pub fn flops(&self, input: Shape, output: Shape) -> u64 {
        match *self {
            Op::Conv(c) => 2 * output.elements() as u64 * c.taps() as u64 * u64::from(c.ci),
            Op::Linear(l) => 2 * u64::from(l.ci) * u64::from(l.co),
            Op::MaxPool(p) => output.elements() as u64 * u64::from(p.kernel) * u64::from(p.kernel),
            Op::Add { .. } | Op::AvgPool => input.elements() as u64,
            Op::Attention(a) => a.flops(output),
            // Sixteen cells of the table, and one map of four, for every element.
            Op::Positions(_) => 32 * output.elements() as u64,
            Op::Fuse => 8 * output.elements() as u64,
            // The sum, the squares, and the normalisation itself.
            Op::Norm(_) => 7 * output.elements() as u64,
            Op::MatMul => 2 * output.elements() as u64 * u64::from(input.c),
            Op::MinMax | Op::Affine(_) => 2 * output.elements() as u64,
            Op::MulMap => output.elements() as u64,
            Op::Input | Op::Subsample(_) | Op::Tokens(_) | Op::Slice(_) => 0,
        }
    }

    /// The convolution, or the fully connected layer as one.
    #[must_use]
    pub const fn layer(&self) -> Option<Conv> {
        match self {
            Op::Conv(c) => Some(*c),
            Op::Linear(l) => Some(l.as_conv()),
            _ => None,
        }
    }

    /// The tensors that are read besides the panels of [`Op::layer`], or [`NONE`].
    #[must_use]
    pub const fn vectors(&self) -> [TensorId; 2] {
        match self {
            Op::Conv(c) => [c.scale, c.shift],
            Op::Linear(l) => [NONE, l.bias],
            Op::Tokens(t) => [t.weight, NONE],
            Op::Positions(p) => [p.grid, p.tokens],
            Op::Norm(n) => [n.weight, n.bias],
            Op::Affine(f) => [f.scale, f.shift],
            Op::Input
            | Op::Add { .. }
            | Op::MaxPool(_)
            | Op::AvgPool
            | Op::Subsample(_)
            | Op::Attention(_)
            | Op::Slice(_)
            | Op::Fuse
            | Op::MatMul
            | Op::MinMax
            | Op::MulMap => [NONE; 2],
        }
    }

    /// Whether it's an operation that only transformers and adapters have: without the feature `transformer` none of them runs.
    #[must_use]
    pub const fn is_of_transformer(&self) -> bool {
        match self {
            Op::Conv(c) => matches!(c.act, Activation::Gelu | Activation::QuickGelu),
            _ => !self.explainable(),
        }
    }

    /// Whether relevance can flow through it.
    #[must_use]
    pub const fn explainable(&self) -> bool {
        match self {
            Op::Conv(c) => c.explainable(),
            Op::Input
            | Op::Linear(_)
            | Op::Add { .. }
            | Op::MaxPool(_)
            | Op::AvgPool
            | Op::Subsample(_) => true,
            Op::Tokens(_)
            | Op::Positions(_)
            | Op::Norm(_)
            | Op::Attention(_)
            | Op::Slice(_)
            | Op::Fuse
            | Op::MatMul
            | Op::MinMax
            | Op::MulMap
            | Op::Affine(_) => false,
        }
    }

    /// A short name for listings.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Conv(_) => "conv",
            Op::Linear(_) => "linear",
            Op::Add { .. } => "add",
            Op::MaxPool(_) => "maxpool",
            Op::AvgPool => "avgpool",
            Op::Subsample(_) => "subsample",
            Op::Tokens(_) => "tokens",
            Op::Positions(_) => "positions",
            Op::Norm(_) => "norm",
            Op::Attention(_) => "attention",
            Op::Slice(_) => "slice",
            Op::Fuse => "fuse",
            Op::MatMul => "matmul",
            Op::MinMax => "minmax",
            Op::MulMap => "mulmap",
            Op::Affine(_) => "affine",
        }
    }
}

/// Limits that keep every size computation of a parsed model inside 32 bits.
impl Node {
    /// Whether the operation's own numbers are possible at all (a parsed node may hold anything).
    #[must_use]
    pub fn plausible(&self) -> bool {
        const CHANNELS: core::ops::RangeInclusive<u32> = 1..=65_536;
        match self.op {
            Op::Input
            | Op::Add { .. }
            | Op::AvgPool
            | Op::Slice(_)
            | Op::Fuse
            | Op::MatMul
            | Op::MinMax
            | Op::MulMap => true,
            Op::Conv(c) if c.embeds() => {
                // A patch embedding: windows of the image side by side.
                c.ci == 3
                    && CHANNELS.contains(&c.co)
                    && c.kh == c.kw
                    && c.kh <= MAX_PATCH
                    && c.stride == c.kh
                    && c.pad == 0
                    && c.storable()
            }
            Op::Conv(c) => {
                CHANNELS.contains(&c.ci)
                    && CHANNELS.contains(&c.co)
                    && (1..=MAX_KERNEL).contains(&c.kh)
                    && (1..=MAX_KERNEL).contains(&c.kw)
                    && (1..=16).contains(&c.stride)
                    && c.pad < c.kh.min(c.kw)
                    && c.storable()
            }
            Op::Linear(l) => {
                CHANNELS.contains(&l.ci) && CHANNELS.contains(&l.co) && l.as_conv().storable()
            }
            Op::MaxPool(p) => {
                (1..=31).contains(&p.kernel) && (1..=16).contains(&p.stride) && p.pad < p.kernel
            }
            Op::Subsample(s) => (1..=16).contains(&s.stride),
            Op::Tokens(t) => {
                CHANNELS.contains(&t.c)
                    && CHANNELS.contains(&t.count)
                    && u64::from(t.c) * u64::from(t.count) < 1 << 31
            }
            Op::Positions(p) => p.plausible(),
            Op::Norm(n) => CHANNELS.contains(&n.c) && n.eps >= 0.0 && n.eps < 1.0,
            Op::Attention(a) => {
                CHANNELS.contains(&a.c) && a.heads > 0 && a.c % u32::from(a.heads) == 0
            }
            Op::Affine(f) => CHANNELS.contains(&f.c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_follow_pytorch() {
        let stem = Conv {
            ci: 3,
            co: 64,
            kh: 7,
            kw: 7,
            stride: 2,
            pad: 3,
            weight: 0,
            scale: NONE,
            shift: NONE,
            act: Activation::Relu,
        };
        let none = Shape::default();
        assert_eq!(
            Op::Conv(stem).infer(Shape::new(224, 225, 3), none),
            Some(Shape::new(112, 113, 64))
        );
        assert_eq!(
            Op::Conv(stem).infer(Shape::new(1, 1, 3), none),
            Some(Shape::new(1, 1, 64))
        );
        assert_eq!(Op::Conv(stem).infer(Shape::new(8, 8, 4), none), None);
        let pool = Op::MaxPool(Pool {
            kernel: 3,
            stride: 2,
            pad: 1,
        });
        assert_eq!(
            pool.infer(Shape::new(113, 112, 64), none),
            Some(Shape::new(57, 56, 64))
        );
        let a = Op::Subsample(Subsample {
            stride: 2,
            before: 8,
            after: 8,
        });
        assert_eq!(
            a.infer(Shape::new(7, 8, 16), none),
            Some(Shape::new(4, 4, 32))
        );
    }

    #[test]
    fn huge_shapes_are_refused() {
        assert_eq!(
            Op::Input.infer(Shape::new(u32::MAX, u32::MAX, 3), Shape::default()),
            None
        );
    }
}
