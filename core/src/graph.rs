//! The network as data: a flat list of nodes in topological order.
//!
//! A node knows its operation, its inputs and the tensors it reads, never its shapes: [`Op::infer`] is the one place
//! where shapes come from, so one model runs at any image size. Channels are last everywhere.

use crate::shape::Shape;

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

/// A convolution with its BatchNorm as an epilogue: `y = relu?(conv(x, w) * scale + shift)`.
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
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl Conv {
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
            relu: false,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// A node: an operation, where its inputs come from, and which block it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            Op::Add { .. } => 2,
            Op::Conv(_) | Op::Linear(_) | Op::MaxPool(_) | Op::AvgPool | Op::Subsample(_) => 1,
        }
    }

    /// The output shape for inputs of shape `a` and (for two inputs) `b`; `None` if the operation can't take them.
    #[must_use]
    pub fn infer(&self, a: Shape, b: Shape) -> Option<Shape> {
        match *self {
            Op::Input => (a.c == 3).then_some(a)?.checked(),
            Op::Conv(c) => {
                let h = slide(a.h, c.kh, c.stride, c.pad)?;
                let w = slide(a.w, c.kw, c.stride, c.pad)?;
                (a.c == c.ci).then_some(Shape::new(h, w, c.co))?.checked()
            }
            Op::Linear(l) => (a == Shape::features(l.ci))
                .then_some(Shape::features(l.co))?
                .checked(),
            Op::Add { .. } => (a == b).then_some(a)?.checked(),
            Op::MaxPool(p) => {
                let h = slide(a.h, p.kernel, p.stride, p.pad)?;
                let w = slide(a.w, p.kernel, p.stride, p.pad)?;
                Shape::new(h, w, a.c).checked()
            }
            Op::AvgPool => Shape::features(a.c).checked(),
            Op::Subsample(s) => {
                let stride = u32::from(s.stride);
                let c =
                    a.c.checked_add(u32::from(s.before))?
                        .checked_add(u32::from(s.after))?;
                (stride > 0)
                    .then_some(Shape::new(a.h.div_ceil(stride), a.w.div_ceil(stride), c))?
                    .checked()
            }
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
            Op::Input | Op::Subsample(_) => 0,
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
            Op::Input | Op::Add { .. } | Op::AvgPool => true,
            Op::Conv(c) => {
                CHANNELS.contains(&c.ci)
                    && CHANNELS.contains(&c.co)
                    && (1..=11).contains(&c.kh)
                    && (1..=11).contains(&c.kw)
                    && (1..=16).contains(&c.stride)
                    && c.pad < c.kh.min(c.kw)
                    && (c.stored() as u64) < (1 << 31)
            }
            Op::Linear(l) => {
                CHANNELS.contains(&l.ci)
                    && CHANNELS.contains(&l.co)
                    && l.as_conv().stored() < (1 << 31)
            }
            Op::MaxPool(p) => {
                (1..=31).contains(&p.kernel) && (1..=16).contains(&p.stride) && p.pad < p.kernel
            }
            Op::Subsample(s) => (1..=16).contains(&s.stride),
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
            relu: true,
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
