//! Convolution, `[h, w, ci] -> [h', w', co]`: an indirect GEMM over gathered rows, forward and z+ relevance.
//!
//! Forward: `y = act(conv(x, w) * scale + shift + skip)`. Relevance: `z = conv(a, w+)`, `s = R / (z + eps)`,
//! `R_in = a * conv_transposed(s, w+)`; scale and shift (BatchNorm) and the ReLU pass relevance unchanged. There is no
//! second copy of the weights: `w+` is taken as they are loaded. Derivatives take the same transposed product with all
//! weights ([`gradient`]); their scale is applied before ([`crate::op::gate`]).
//!
//! Layers of up to four input channels (the stem) have paths of their own: the product runs over a copy of the input
//! with the padding written out, so that a whole kernel row is contiguous, and the transposed product has its lanes
//! over output channels. The first layer, which sees ones instead of the image, goes further ([`ones`]).

mod dead;
pub mod folded;
pub mod ones;
mod product;
mod quotient;
#[cfg(test)]
mod tests;
mod transposed;

use crate::graph::{Activation, Conv, PANEL};
use crate::op::gather::padded;
use crate::op::panel::Epilogue;
use crate::op::{Context, Sinks, part};
use crate::par::Tile;
use crate::rule::Dead;
use crate::shape::Shape;
use crate::simd::{Lanes, gelu, quick_gelu};
use crate::view::Weights;
use product::product;
use quotient::{Denominator, Quotient, divide, settle};
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

/// Floats of scratch that [`relevance`] needs with this many threads: s, z if several maps share it, and the padded
/// input or transposed panels.
#[must_use]
pub fn relevance_scratch(
    c: &Conv,
    input: Shape,
    output: Shape,
    threads: usize,
    maps: usize,
) -> usize {
    let work = if narrow(c) {
        padded(c, input).elements()
    } else {
        threads.saturating_mul(transposed::turned(c))
    };
    let cells = output.elements().next_multiple_of(PANEL);
    let kept = if maps > 1 { 2 } else { 1 };
    cells.saturating_mul(kept).saturating_add(work)
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
    /// What ends it.
    pub act: Activation,
}

/// `y = act(conv(x, w) * scale + shift + skip)` for every image of a batch: operands hold one image after the other.
pub fn forward(
    cx: &Context<'_>,
    c: &Conv,
    shapes: (Shape, Shape),
    x: &[f32],
    w: Weights<'_>,
    finish: Finish<'_>,
    (y, scratch): (&mut [f32], &mut [f32]),
) {
    let co = c.co as usize;
    if !narrow(c) {
        product::<false, _>(cx, c, shapes, x, w, (y, scratch), &Forward { finish, co });
        return;
    }
    let (input, output) = (shapes.0.elements(), shapes.1.elements());
    for (image, (x, y)) in x.chunks(input).zip(y.chunks_mut(output)).enumerate() {
        let skip = finish.skip.map(|skip| part(skip, image * output, output));
        let finish = Finish { skip, ..finish };
        product::<false, _>(cx, c, shapes, x, w, (y, scratch), &Forward { finish, co });
    }
}

/// Where the denominators of a relevance pass come from: maps of one image share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The only map: z is divided by as soon as it is known.
    Only,
    /// The first of several: z is kept in the scratch.
    First,
    /// A later one: z is there.
    Again,
}

/// Relevance of one image's input by z+ with this eps, written to `out` or, with `accumulate`, added to it.
pub fn relevance(
    cx: &Context<'_>,
    c: &Conv,
    shapes: (Shape, Shape),
    (a, r): (&[f32], &[f32]),
    (w, (eps, dead)): (Weights<'_>, (f32, Dead)),
    (pass, accumulate): (Pass, bool),
    (out, scratch): (&mut [f32], &mut [f32]),
) -> Sinks {
    let cells = r.len().next_multiple_of(PANEL);
    let (s, rest) = scratch.split_at_mut(cells);
    let s = &mut s[..r.len()];
    let co = c.co as usize;
    let (any, work) = if pass == Pass::Only {
        let quotient = Quotient::new(r, eps, co);
        product::<true, _>(cx, c, shapes, a, w, (s, rest), &quotient);
        (quotient.dead(), rest)
    } else {
        let (z, work) = rest.split_at_mut(cells);
        let z = &mut z[..r.len()];
        if pass == Pass::First {
            product::<true, _>(cx, c, shapes, a, w, (z, work), &Denominator { eps });
        }
        (divide(cx, r, z, co, s), work)
    };
    let share = Share {
        a,
        row: c.ci as usize,
        accumulate,
    };
    if narrow(c) {
        transposed_narrow::<true>(cx, c, shapes, s, w, &share, out);
    } else {
        transposed::<true>(cx, c, shapes, s, w, &share, (out, work));
    }
    settle(cx, (r, s), (eps, dead, any), || {
        dead::spread(c, shapes, (r, s), w, |pixel, i, share| {
            out[pixel * c.ci as usize + i] += share;
        })
    })
}

/// Floats of scratch that [`gradient`] needs with this many threads: ones, and turned panels.
#[must_use]
pub fn gradient_scratch(c: &Conv, threads: usize) -> usize {
    let panels = if narrow(c) { 0 } else { transposed::turned(c) };
    let ones = (c.ci as usize).next_multiple_of(PANEL);
    threads.saturating_mul(panels).saturating_add(ones)
}

/// `conv_transposed(s, w)` with all weights, of one image: the derivative by the input of a product whose derivative is `s`,
/// `[h', w', co] -> [h, w, ci]`. Written to `out` or, with `accumulate`, added to it.
pub fn gradient(
    cx: &Context<'_>,
    c: &Conv,
    shapes: (Shape, Shape),
    s: &[f32],
    w: Weights<'_>,
    accumulate: bool,
    (out, scratch): (&mut [f32], &mut [f32]),
) {
    let (ones, work) = scratch.split_at_mut((c.ci as usize).next_multiple_of(PANEL));
    ones.fill(1.0);
    // Every pixel reads the same ones: the kernels are those of relevance.
    let share = Share {
        a: ones,
        row: 0,
        accumulate,
    };
    if narrow(c) {
        transposed_narrow::<false>(cx, c, shapes, s, w, &share, out);
    } else {
        transposed::<false>(cx, c, shapes, s, w, &share, (out, work));
    }
}

struct Forward<'a> {
    finish: Finish<'a>,
    co: usize,
}

impl Epilogue for Forward<'_> {
    /// Scale and shift.
    type Channels<L: Lanes> = (L::Row, L::Row);

    #[inline(always)]
    fn channels<L: Lanes>(&self, l: L, channel: usize) -> (L::Row, L::Row) {
        let width = PANEL.min(self.co - channel);
        let row = |vector: Option<&[f32]>, missing| match vector {
            Some(v) => l.load_some(part(v, channel, width)),
            None => l.splat(missing),
        };
        (row(self.finish.scale, 1.0), row(self.finish.shift, 0.0))
    }

    #[inline(always)]
    fn expect<L: Lanes>(&self, l: L, tile: &mut Tile<'_>, (pixel, channel): (usize, usize)) {
        l.prefetch(tile.cells(pixel, channel, PANEL).as_ptr());
        if let Some(skip) = self.finish.skip {
            l.prefetch(part(skip, pixel * self.co + channel, 1).as_ptr());
        }
    }

    #[inline(always)]
    fn finish<L: Lanes>(
        &self,
        l: L,
        (scale, shift): (L::Row, L::Row),
        tile: &mut Tile<'_>,
        (pixel, channel): (usize, usize),
        acc: L::Row,
    ) {
        let out = tile.cells(pixel, channel, PANEL);
        let mut y = l.mul_add(acc, scale, shift);
        if let Some(skip) = self.finish.skip {
            y = l.add(
                y,
                l.load_some(part(skip, pixel * self.co + channel, out.len())),
            );
        }
        y = match self.finish.act {
            Activation::Identity => y,
            Activation::Relu => l.relu(y),
            Activation::Gelu if cfg!(feature = "transformer") => gelu(l, y),
            Activation::QuickGelu if cfg!(feature = "transformer") => quick_gelu(l, y),
            // Refused before it comes to this.
            Activation::Gelu | Activation::QuickGelu => y,
        };
        l.store_some(y, out);
    }
}

/// `R_in = a * c`, written or added.
struct Share<'a> {
    a: &'a [f32],
    /// From the activations of one pixel to those of the next: the input channels, or 0 if all pixels share them.
    row: usize,
    accumulate: bool,
}

impl Epilogue for Share<'_> {
    type Channels<L: Lanes> = ();

    #[inline(always)]
    fn channels<L: Lanes>(&self, _: L, _: usize) {}

    #[inline(always)]
    fn expect<L: Lanes>(&self, l: L, tile: &mut Tile<'_>, (pixel, channel): (usize, usize)) {
        l.prefetch(tile.cells(pixel, channel, PANEL).as_ptr());
        l.prefetch(part(self.a, pixel * self.row + channel, 1).as_ptr());
    }

    #[inline(always)]
    fn finish<L: Lanes>(
        &self,
        l: L,
        (): (),
        tile: &mut Tile<'_>,
        (pixel, channel): (usize, usize),
        acc: L::Row,
    ) {
        let out = tile.cells(pixel, channel, PANEL);
        let a = l.load_some(part(self.a, pixel * self.row + channel, out.len()));
        let r = if self.accumulate {
            l.mul_add(a, acc, l.load_some(out))
        } else {
            l.mul(a, acc)
        };
        l.store_some(r, out);
    }
}
