//! The layers of transformers: what they're made of, and the shapes of those that change them.
//!
//! Tokens that belong to no place lie before the grid ([`Shape::tokens`]), so a fully connected layer over tokens is a
//! 1x1 convolution, and the grid is known wherever it's wanted again.

use crate::graph::TensorId;
use crate::shape::Shape;

/// Learned tokens put before the grid: `[h, w, c] -> [count + h * w, c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tokens {
    /// Tokens.
    pub count: u32,
    /// Channels.
    pub c: u32,
    /// The tokens, `[count, c]`.
    pub weight: TensorId,
}

impl Tokens {
    pub(super) fn infer(self, a: Shape) -> Option<Shape> {
        let tokens = a.tokens.checked_add(self.count)?;
        (a.c == self.c).then_some(Shape { tokens, ..a })
    }
}

/// Position embeddings, added. Those of the grid are resized to its size: bicubic with a = -0.75, edges repeated, not
/// antialiased, as PyTorch's `interpolate(mode="bicubic", align_corners=False)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Positions {
    /// Channels.
    pub c: u32,
    /// Tokens before the grid.
    pub count: u32,
    /// Rows of the table.
    pub rows: u16,
    /// Columns of the table.
    pub cols: u16,
    /// Embeddings of the tokens, `[count, c]`, or [`crate::graph::NONE`].
    pub tokens: TensorId,
    /// Embeddings of the grid, `[rows * cols, c]`.
    pub grid: TensorId,
    /// Whether the scale of the resize is that of a grid 0.1 larger, as DINO's is.
    pub larger: bool,
}

impl Positions {
    pub(super) fn infer(self, a: Shape) -> Option<Shape> {
        (a.c == self.c && a.tokens == self.count && a.h > 0 && a.w > 0).then_some(a)
    }

    pub(super) fn plausible(self) -> bool {
        (1..=65_536).contains(&self.c)
            && self.count <= 65_536
            && (1..=1024).contains(&self.rows)
            && (1..=1024).contains(&self.cols)
            && u64::from(self.rows) * u64::from(self.cols) * u64::from(self.c) < 1 << 31
            && u64::from(self.count) * u64::from(self.c) < 1 << 31
    }

    /// Elements of the table of the grid.
    #[must_use]
    pub fn table(self) -> usize {
        usize::from(self.rows) * usize::from(self.cols) * self.c as usize
    }
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias` over the channels of each row.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Norm {
    /// Channels.
    pub c: u32,
    /// Added to the variance.
    pub eps: f32,
    /// Factors `[c]`, or [`crate::graph::NONE`].
    pub weight: TensorId,
    /// Summands `[c]`, or [`crate::graph::NONE`].
    pub bias: TensorId,
}

/// Multi-head self-attention over all rows: `softmax(q k^T / sqrt(c / heads)) v` in each head. Each input row holds q, k
/// and v side by side, each of `c` channels, head by head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Attention {
    /// Output channels.
    pub c: u32,
    /// Heads; a divisor of `c`.
    pub heads: u16,
}

impl Attention {
    /// Channels of one head.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.c as usize / self.heads as usize
    }

    pub(super) const fn flops(&self, output: Shape) -> u64 {
        4 * output.pixels() as u64 * output.elements() as u64
    }
}

/// What is cut out of tokens and grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Part {
    /// The tokens: `[1, tokens, c]`.
    Tokens,
    /// The grid: `[h, w, c]`.
    Grid,
}

impl Part {
    pub(super) fn infer(self, a: Shape) -> Option<Shape> {
        match self {
            Part::Tokens => (a.tokens > 0).then_some(Shape::new(1, a.tokens, a.c)),
            Part::Grid => (a.h > 0 && a.w > 0).then_some(Shape::new(a.h, a.w, a.c)),
        }
    }

    /// The elements of one image that are cut out.
    #[must_use]
    pub const fn range(self, input: Shape) -> core::ops::Range<usize> {
        let border = input.tokens as usize * input.c as usize;
        match self {
            Part::Tokens => 0..border,
            Part::Grid => border..input.elements(),
        }
    }
}

/// `x * scale + shift` per channel: a BatchNorm that no convolution comes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Affine {
    /// Channels.
    pub c: u32,
    /// Factors `[c]`.
    pub scale: TensorId,
    /// Summands `[c]`.
    pub shift: TensorId,
}
