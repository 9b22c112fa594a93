//! Convolution, `[h, w, ci] -> [h', w', co]`: an indirect GEMM over gathered rows, forward and z+ relevance.
//!
//! Forward: `y = relu?(conv(x, w) * scale + shift + skip)`. Relevance: `z = conv(a, w+)`, `s = R / (z + eps)`,
//! `R_in = a * conv_transposed(s, w+)`; scale and shift (BatchNorm) and the ReLU pass relevance unchanged. There is no
//! second copy of the weights: `w+` is taken as they are loaded.
//!
//! Layers of up to four input channels (the stem) have paths of their own: the product runs over a copy of the input
//! with the padding written out, so that a whole kernel row is contiguous, and the transposed product has its lanes
//! over output channels.

mod dead;
mod product;
#[cfg(test)]
mod tests;
mod transposed;

use core::sync::atomic::{AtomicBool, Ordering};

use crate::graph::{Conv, PANEL};
use crate::op::gather::padded;
use crate::op::panel::Epilogue;
use crate::op::{Context, LEAST_Z, Sinks, part};
use crate::par::Tile;
use crate::rule::{Dead, Rule};
use crate::shape::Shape;
use crate::simd::Lanes;
use crate::view::Weights;
use dead::{dead_cells, spread};
use product::product;
use transposed::{transposed, transposed_narrow};

/// Layers with at most this many input channels take the paths of the stem.
const NARROW: u32 = 4;

const fn narrow(c: &Conv) -> bool {
    c.ci <= NARROW
}

/// Zeros that [`Context::zero`] must hold for this layer: the longest row that any tap reads.
#[must_use]
pub fn zeros(c: &Conv) -> usize {
    let span = if narrow(c) {
        c.ci as usize * usize::from(c.kw)
    } else {
        c.ci as usize
    };
    span.max(c.co as usize)
}

/// Floats of scratch that [`forward`] needs.
#[must_use]
pub fn forward_scratch(c: &Conv, input: Shape) -> usize {
    if narrow(c) {
        padded(c, input).elements()
    } else {
        0
    }
}

/// Floats of scratch that [`relevance`] needs with this many threads: s, and the padded input or transposed panels.
#[must_use]
pub fn relevance_scratch(c: &Conv, input: Shape, output: Shape, threads: usize) -> usize {
    let work = if narrow(c) {
        padded(c, input).elements()
    } else {
        threads * c.taps() * c.co as usize * PANEL
    };
    output.elements().next_multiple_of(PANEL) + work
}

/// What a forward pass does with the product.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish<'a> {
    /// Factor per channel.
    pub scale: Option<&'a [f32]>,
    /// Summand per channel.
    pub shift: Option<&'a [f32]>,
    /// The skip branch, `[h', w', co]`.
    pub skip: Option<&'a [f32]>,
    /// Whether a ReLU ends it.
    pub relu: bool,
}

/// `y = relu?(conv(x, w) * scale + shift + skip)`.
pub fn forward(
    cx: &Context<'_>,
    c: &Conv,
    shapes: (Shape, Shape),
    x: &[f32],
    w: Weights<'_>,
    finish: Finish<'_>,
    out: (&mut [f32], &mut [f32]),
) {
    product::<false, _>(
        cx,
        c,
        shapes,
        Some(x),
        w,
        out,
        &Forward {
            finish,
            co: c.co as usize,
        },
    );
}

/// Relevance of the input, written to `out` or, with `accumulate`, added to it. Ones stand in for a missing `a`, as
/// the first layer wants it.
pub fn relevance(
    cx: &Context<'_>,
    c: &Conv,
    shapes: (Shape, Shape),
    (a, r): (Option<&[f32]>, &[f32]),
    (w, rule): (Weights<'_>, Rule),
    accumulate: bool,
    (out, scratch): (&mut [f32], &mut [f32]),
) -> Sinks {
    let Rule::ZPlus { eps, dead } = rule;
    let (s, work) = scratch.split_at_mut(r.len().next_multiple_of(PANEL));
    let s = &mut s[..r.len()];
    let quotient = Quotient {
        r,
        eps,
        co: c.co as usize,
        dead: AtomicBool::new(false),
    };
    product::<true, _>(cx, c, shapes, a, w, (s, work), &quotient);
    if narrow(c) {
        transposed_narrow(cx, c, shapes, (a, s), w, accumulate, out);
    } else {
        transposed(cx, c, shapes, (a, s), w, accumulate, (out, work));
    }
    let mut sinks = Sinks::default();
    if quotient.dead.into_inner() {
        match dead {
            Dead::Redistribute => sinks.redistributed = spread(c, shapes, (r, s), w, out),
            Dead::Sink => sinks.dead = dead_cells(r, s).map(|(_, r)| f64::from(r)).sum(),
        }
    }
    if cx.audit && eps > 0.0 {
        for (&r, &s) in r.iter().zip(s.iter()) {
            // z = 0 gives exactly R / eps: nothing of it went on.
            let sink = if s == r / eps {
                &mut sinks.dead
            } else {
                &mut sinks.eps
            };
            *sink += f64::from(s) * f64::from(eps);
        }
    }
    sinks
}

struct Forward<'a> {
    finish: Finish<'a>,
    co: usize,
}

impl Epilogue for Forward<'_> {
    #[inline(always)]
    fn finish<L: Lanes>(
        &self,
        l: L,
        tile: &mut Tile<'_>,
        pixel: usize,
        channel: usize,
        acc: L::Row,
    ) {
        let width = PANEL.min(self.co - channel);
        let mut y = acc;
        match (self.finish.scale, self.finish.shift) {
            (Some(scale), Some(shift)) => {
                let (scale, shift) = (part(scale, channel, width), part(shift, channel, width));
                y = l.mul_add(y, l.load_some(scale), l.load_some(shift));
            }
            (Some(scale), None) => y = l.mul(y, l.load_some(part(scale, channel, width))),
            (None, Some(shift)) => y = l.add(y, l.load_some(part(shift, channel, width))),
            (None, None) => {}
        }
        if let Some(skip) = self.finish.skip {
            y = l.add(y, l.load_some(part(skip, pixel * self.co + channel, width)));
        }
        if self.finish.relu {
            y = l.relu(y);
        }
        let first = channel - tile.cols().start;
        l.store_some(y, &mut tile.row(pixel)[first..first + width]);
    }
}

/// `s = R / (z + eps)`, 0 where that denominator vanishes.
struct Quotient<'a> {
    r: &'a [f32],
    eps: f32,
    co: usize,
    dead: AtomicBool,
}

impl Epilogue for Quotient<'_> {
    #[inline(always)]
    fn finish<L: Lanes>(
        &self,
        l: L,
        tile: &mut Tile<'_>,
        pixel: usize,
        channel: usize,
        acc: L::Row,
    ) {
        let width = PANEL.min(self.co - channel);
        let r = l.load_some(part(self.r, pixel * self.co + channel, width));
        let (s, dead) = l.guarded_div(r, l.add(acc, l.splat(self.eps)), LEAST_Z);
        if dead {
            self.dead.store(true, Ordering::Relaxed);
        }
        let first = channel - tile.cols().start;
        l.store_some(s, &mut tile.row(pixel)[first..first + width]);
    }
}

/// `R_in = a * c`, written or added.
struct Share<'a> {
    a: Option<&'a [f32]>,
    ci: usize,
    accumulate: bool,
}

impl Epilogue for Share<'_> {
    #[inline(always)]
    fn finish<L: Lanes>(
        &self,
        l: L,
        tile: &mut Tile<'_>,
        pixel: usize,
        channel: usize,
        acc: L::Row,
    ) {
        let width = PANEL.min(self.ci - channel);
        let out = tile.row(pixel);
        let a = match self.a {
            Some(a) => l.load_some(part(a, pixel * self.ci + channel, width)),
            None => l.splat(1.0),
        };
        let before = if self.accumulate {
            l.load_some(out)
        } else {
            l.splat(0.0)
        };
        l.store_some(l.mul_add(a, acc, before), out);
    }
}
