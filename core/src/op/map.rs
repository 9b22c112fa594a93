//! The adapter's map: products of queries and pixels, minimum to 0 and maximum to 1, and masking a feature with it.
//!
//! All work on one image.

use crate::graph::{Activation, Conv, NONE, PANEL};
use crate::op::conv::{self, Finish};
use crate::op::{Context, pack, part};
use crate::shape::Shape;
use crate::view::Weights;

/// Added to the range of a map, so that a constant one doesn't divide by zero (the reference's value).
const LEAST_RANGE: f32 = 1e-7;

/// The product of pixels with queries as a convolution whose weights are the queries.
const fn product(queries: Shape) -> Conv {
    Conv {
        ci: queries.c,
        co: queries.w,
        kh: 1,
        kw: 1,
        stride: 1,
        pad: 0,
        weight: NONE,
        scale: NONE,
        shift: NONE,
        act: Activation::Identity,
    }
}

/// Floats of scratch that [`matmul`] needs: the queries as panels.
#[must_use]
pub fn matmul_scratch(queries: Shape, pixels: Shape) -> usize {
    let c = product(queries);
    let panels = c.panels().saturating_mul(PANEL);
    let stored = panels.saturating_mul(queries.c as usize);
    stored.saturating_add(conv::forward_scratch(&c, pixels))
}

/// `[q, c]` and `[h, w, c]` to `[h, w, q]`: products over the channels.
pub fn matmul(
    cx: &Context<'_>,
    (queries, pixels): (Shape, Shape),
    (q, x): (&[f32], &[f32]),
    (y, scratch): (&mut [f32], &mut [f32]),
) {
    let c = product(queries);
    let (panels, rest) = scratch.split_at_mut(c.stored());
    pack(&c, q, panels);
    let shapes = (pixels, pixels.with_channels(c.co));
    let w = Weights::F32(panels);
    conv::forward(cx, &c, shapes, x, w, Finish::default(), (y, rest));
}

/// `(x - min) / (max - min + 1e-7)`
pub fn minmax(x: &[f32], y: &mut [f32]) {
    let least = x.iter().copied().fold(f32::INFINITY, f32::min);
    let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = most - least + LEAST_RANGE;
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (x - least) / range;
    }
}

/// Each pixel of `x`, `c` channels, times its cell of the map.
pub fn multiply(c: usize, (x, map): (&[f32], &[f32]), y: &mut [f32]) {
    for (i, (&m, y)) in map.iter().zip(y.chunks_exact_mut(c)).enumerate() {
        for (y, &x) in y.iter_mut().zip(part(x, i * c, c)) {
            *y = x * m;
        }
    }
}
