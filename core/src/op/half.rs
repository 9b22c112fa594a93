//! Checkpoints in half precision: two activations in the place of one.
//!
//! Rounded to nearest, ties to even, as IEEE 754 has it; what is too large for a half becomes the largest finite one, so
//! that no infinity can come of it.

use half::f16;

use crate::graph::PANEL;
use crate::op::Context;
use crate::simd::{Lanes, Task};

/// `[n] -> [n / 2]`: puts `x` by.
pub fn pack(cx: &Context<'_>, x: &[f32], packed: &mut [f32]) {
    let packed: &mut [f16] = bytemuck::cast_slice_mut(packed);
    cx.isa.run(Pack { x, packed });
}

/// `[n / 2] -> [n]`: takes it out again.
pub fn unpack(cx: &Context<'_>, packed: &[f32], y: &mut [f32]) {
    let packed: &[f16] = bytemuck::cast_slice(packed);
    cx.isa.run(Unpack { packed, y });
}

struct Pack<'a> {
    x: &'a [f32],
    packed: &'a mut [f16],
}

impl Task for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        for (x, packed) in self.x.chunks(PANEL).zip(self.packed.chunks_mut(PANEL)) {
            let mut halves = [f16::ZERO; PANEL];
            l.store_half(l.load_some(x), &mut halves);
            packed[..x.len()].copy_from_slice(&halves[..x.len()]);
        }
    }
}

struct Unpack<'a> {
    packed: &'a [f16],
    y: &'a mut [f32],
}

impl Task for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        for (packed, y) in self.packed.chunks(PANEL).zip(self.y.chunks_mut(PANEL)) {
            let mut halves = [f16::ZERO; PANEL];
            halves[..y.len()].copy_from_slice(&packed[..y.len()]);
            l.store_some(l.load_half(&halves), y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::par::Serial;
    use crate::simd::Isa;

    #[test]
    fn what_is_put_by_comes_back_rounded_once() {
        let mut x: [f32; 37] = core::array::from_fn(|i| (i as f32 - 9.0) * 0.337);
        (x[3], x[4], x[5], x[36]) = (1e6, -1e6, 1e-7, 65_519.0);
        for isa in Isa::available() {
            let cx = Context {
                isa,
                pool: &Serial,
                zero: &[],
                audit: false,
            };
            let (mut packed, mut y) = ([7.0; 19], [7.0; 37]);
            pack(&cx, &x, &mut packed);
            unpack(&cx, &packed, &mut y);
            for (x, y) in x.into_iter().zip(y) {
                let want = f16::from_f32(x.clamp(-65_504.0, 65_504.0)).to_f32();
                assert_eq!(y, want, "{isa:?}: {x}");
            }
        }
    }
}
