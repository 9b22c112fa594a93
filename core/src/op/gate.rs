//! What is done to a derivative element by element before a layer passes it on: ReLU masks, BatchNorm's scale, and the
//! factors of LRP without splitting.

use crate::graph::{Activation, Op};
use crate::op::{Context, part};
use crate::par::{Grid, Tile, tiles};
use crate::rule::Chain;
use crate::simd::{Lanes, Task};

/// What becomes of `r`, the derivative by an output `y`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// `r`
    Open,
    /// `r [y > 0]`: a ReLU, whose derivative at 0 is 0.
    Mask,
    /// `max(r, 0) [y > 0]`
    ClampMask,
    /// `max(r, 0)`
    Clamp,
    /// `r / (y + eps sign(y))`, where 0 is positive; 0 where that denominator is 0.
    Divide {
        /// Added, with the sign of `y`.
        eps: f32,
    },
    /// `r y`
    Weigh,
}

impl Gate {
    /// What a chain does to the derivative by a node's output before the node passes it on.
    #[must_use]
    pub const fn of(chain: Chain, op: &Op) -> Self {
        let (relu, divided) = match op {
            Op::Conv(c) => (matches!(c.act, Activation::Relu), true),
            Op::Add { relu, .. } => (*relu, false),
            Op::Linear(_) | Op::MaxPool(_) | Op::AvgPool => (false, true),
            Op::Input
            | Op::Subsample(_)
            | Op::Tokens(_)
            | Op::Positions(_)
            | Op::Norm(_)
            | Op::Attention(_)
            | Op::Slice(_)
            | Op::Fuse
            | Op::MatMul
            | Op::MinMax
            | Op::MulMap
            | Op::Affine(_) => (false, false),
        };
        match (chain, relu) {
            (Chain::Gradient, true) => Gate::Mask,
            (Chain::Guided, true) => Gate::ClampMask,
            (Chain::Deconvolution, true) => Gate::Clamp,
            (Chain::Gradient | Chain::Guided | Chain::Deconvolution, false) => Gate::Open,
            (Chain::Duplicated { eps }, _) if divided => Gate::Divide { eps },
            (Chain::Duplicated { .. }, _) => Gate::Open,
        }
    }

    /// Whether it looks at `y`.
    #[must_use]
    pub const fn reads(self) -> bool {
        match self {
            Gate::Open | Gate::Clamp => false,
            Gate::Mask | Gate::ClampMask | Gate::Divide { .. } | Gate::Weigh => true,
        }
    }
}

/// `r = gate(r, y) * scale` in place, `[pixels, channels]`; `y` may be empty if the gate doesn't read it.
pub fn gate(
    cx: &Context<'_>,
    gate: Gate,
    y: &[f32],
    (channels, scale): (usize, Option<&[f32]>),
    r: &mut [f32],
) {
    let rows = r.len() / channels.max(1);
    let grid = Grid {
        rows,
        cols: channels,
        row_step: rows.div_ceil(4 * cx.pool.threads()).max(1),
        col_step: channels.max(1),
    };
    tiles(cx.pool, r, grid, &mut [], &|tile, _| {
        cx.isa.run(Gating {
            gate,
            y,
            scale,
            tile,
        });
    });
}

struct Gating<'a> {
    gate: Gate,
    y: &'a [f32],
    scale: Option<&'a [f32]>,
    tile: Tile<'a>,
}

impl Task for Gating<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, _: L) {
        let channels = self.tile.cols().len();
        for row in self.tile.rows() {
            let y = match self.gate.reads() {
                true => part(self.y, row * channels, channels),
                false => &[],
            };
            let r = self.tile.row(row);
            match self.gate {
                Gate::Open => {}
                Gate::Mask => each(r, y, |r, y| if y > 0.0 { r } else { 0.0 }),
                Gate::ClampMask => each(r, y, |r, y| if y > 0.0 && r > 0.0 { r } else { 0.0 }),
                Gate::Clamp => r
                    .iter_mut()
                    .for_each(|r| *r = if *r > 0.0 { *r } else { 0.0 }),
                Gate::Divide { eps } => each(r, y, |r, y| {
                    let z = y + if y < 0.0 { -eps } else { eps };
                    if z == 0.0 { 0.0 } else { r / z }
                }),
                Gate::Weigh => each(r, y, |r, y| r * y),
            }
            if let Some(scale) = self.scale {
                each(r, scale, |r, scale| r * scale);
            }
        }
    }
}

#[inline(always)]
fn each(r: &mut [f32], y: &[f32], f: impl Fn(f32, f32) -> f32) {
    for (r, &y) in r.iter_mut().zip(y) {
        *r = f(*r, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::par::Serial;
    use crate::simd::Isa;

    #[test]
    fn gates_do_what_they_say() {
        let y = [2.0, 0.0, -4.0, -0.0, 0.5, 1.0];
        let before = [1.0, 3.0, 2.0, -1.0, -6.0, 0.0];
        let scale = [1.0, -2.0];
        for (kind, want) in [
            (Gate::Open, [1.0, 3.0, 2.0, -1.0, -6.0, 0.0]),
            (Gate::Mask, [1.0, 0.0, 0.0, 0.0, -6.0, 0.0]),
            (Gate::ClampMask, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
            (Gate::Clamp, [1.0, 3.0, 2.0, 0.0, 0.0, 0.0]),
            (Gate::Divide { eps: 0.0 }, [0.5, 0.0, -0.5, 0.0, -12.0, 0.0]),
            (
                Gate::Divide { eps: 2.0 },
                [0.25, 1.5, -1.0 / 3.0, -0.5, -2.4, 0.0],
            ),
            (Gate::Weigh, [2.0, 0.0, -8.0, 0.0, -3.0, 0.0]),
        ] {
            for isa in Isa::available() {
                let cx = Context {
                    isa,
                    pool: &Serial,
                    zero: &[],
                    audit: false,
                };
                let mut r = before;
                gate(
                    &cx,
                    kind,
                    if kind.reads() { &y } else { &[] },
                    (2, None),
                    &mut r,
                );
                assert_eq!(r, want, "{kind:?}");
                let mut r = before;
                gate(&cx, kind, &y, (2, Some(&scale)), &mut r);
                let mut scaled = want;
                scaled
                    .iter_mut()
                    .skip(1)
                    .step_by(2)
                    .for_each(|r| *r *= -2.0);
                assert_eq!(r, scaled, "{kind:?}");
            }
        }
    }
}
