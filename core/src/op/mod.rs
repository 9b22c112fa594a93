//! Operations on slices: forward and relevance of each side by side.
//!
//! Activations are channels-last slices, weights are views into the model. Nothing here knows about arenas, schedules or
//! graphs; a [`Context`] brings the instruction set and the threads.

pub mod add;
pub mod attention;
pub mod conv;
pub mod gate;
pub mod half;
pub mod head;
pub mod linear;
pub mod map;
pub mod norm;
pub mod pool;
pub mod subsample;
pub mod token;

mod gather;
mod panel;

pub use panel::pack;

use crate::par::Pool;
use crate::simd::Isa;

/// What every operation may use besides its operands.
#[derive(Clone, Copy)]
pub struct Context<'c> {
    /// Instruction set.
    pub isa: Isa,
    /// Threads.
    pub pool: &'c dyn Pool,
    /// Zeros, at least [`conv::zeros`] of every layer: stand in for pixels of the padding.
    pub zero: &'c [f32],
    /// Whether to work out where relevance went.
    pub audit: bool,
}

/// Where the relevance of one step went besides onwards. Zeros where nobody audits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sinks {
    /// Swallowed by the eps in a denominator.
    pub eps: f64,
    /// Lost in cells whose z is 0.
    pub dead: f64,
    /// Not lost: relevance of dead cells that was spread over their receptive field.
    pub redistributed: f64,
}

/// z at or below this counts as 0: a quotient by it could overflow.
pub(crate) const LEAST_Z: f32 = 1e-30;

/// `base + index * step .. + len` of a slice, as every operation cuts its operands.
#[inline(always)]
pub(crate) fn part(values: &[f32], start: usize, len: usize) -> &[f32] {
    &values[start..start + len]
}
