//! Views of weights as they lie in the model file.

use half::f16;

/// Weights in one of the two precisions of the model file.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 16-bit floats, widened when loaded into a register.
    F16(&'a [f16]),
}

impl Weights<'_> {
    /// Number of weights, padding of panels included.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Weights::F32(w) => w.len(),
            Weights::F16(w) => w.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A stored weight: an `f32` or an `f16`.
pub trait Weight: Copy + Send + Sync {
    /// Nothing.
    const ZERO: Self;
    /// The value as f32.
    fn widen(self) -> f32;
}

impl Weight for f32 {
    const ZERO: f32 = 0.0;

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Weight for f16 {
    const ZERO: f16 = f16::ZERO;

    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }
}
