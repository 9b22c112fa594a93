//! Convolution, `[h, w, ci] -> [h', w', co]`: an indirect GEMM over gathered rows, forward and z+ relevance.
//!
//! Forward: `y = relu?(conv(x, w) * scale + shift + skip)`. Relevance (spec 1.2): `z = conv(a, w+)`, `s = R / (z + eps)`,
//! `R_in = a * conv_transposed(s, w+)`; scale and shift (BatchNorm) and the ReLU pass relevance unchanged. There is no
//! second copy of the weights: `w+` is taken as they are loaded.
//!
//! Layers of up to four input channels (the stem) have paths of their own: the product runs over a copy of the input
//! with the padding written out, so that a whole kernel row is contiguous, and the transposed product has its lanes
//! over output channels.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::graph::{Conv, PANEL};
use crate::op::gather::{ALL_TAPS, Gather, PADDING, Residue, Window, padded};
use crate::op::panel::{Epilogue, Rows, sweep};
use crate::op::{Context, LEAST_Z, Sinks, part};
use crate::par::{Grid, Tile, tiles};
use crate::rule::{Dead, Rule};
use crate::shape::Shape;
use crate::simd::{Lanes, Load, ROWS, Task};
use crate::view::{Weight, Weights};

/// Layers with at most this many input channels take the paths of the stem.
const NARROW: u32 = 4;
/// Input floats that a block of pixels may span, so that it stays in the second-level cache.
const BLOCK: usize = 128 * 1024;

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

/// Cells whose z vanished, with their relevance.
fn dead_cells<'a>(r: &'a [f32], s: &'a [f32]) -> impl Iterator<Item = (usize, f32)> + 'a {
    r.iter()
        .zip(s)
        .enumerate()
        .filter(|&(_, (&r, &s))| s == 0.0 && r != 0.0)
        .map(|(i, (&r, _))| (i, r))
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
        let first = channel - tile.cols.start;
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
        let first = channel - tile.cols.start;
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

/// Rows per tile and columns per tile of a product, so that threads have enough tiles and blocks stay in the cache.
fn product_grid(c: &Conv, output: Shape, capacity: usize, threads: usize) -> Grid {
    let (rows, cols) = (output.pixels(), c.co as usize);
    let fits = (BLOCK / c.ci as usize / ROWS).max(1) * ROWS;
    let row_step = capacity.min(fits);
    let blocks = rows.div_ceil(row_step);
    let splits = if threads == 1 {
        1
    } else {
        (4 * threads).div_ceil(blocks).min(c.panels())
    };
    Grid {
        rows,
        cols,
        row_step,
        col_step: c.panels().div_ceil(splits) * PANEL,
    }
}

/// Hands `conv(x, w)`, or `conv(x, w+)` with `PLUS`, to the epilogue.
fn product<const PLUS: bool, E: Epilogue + Sync>(
    cx: &Context<'_>,
    c: &Conv,
    (input, output): (Shape, Shape),
    x: Option<&[f32]>,
    w: Weights<'_>,
    (y, scratch): (&mut [f32], &mut [f32]),
    epilogue: &E,
) {
    let (window, x) = if narrow(c) {
        let copy = &mut scratch[..padded(c, input).elements()];
        write_padding(c, input, x, copy);
        (Window::merged(c, input, output), &*copy)
    } else {
        // Only the image can be missing, and its three channels are narrow.
        (Window::plain(c, input, output), x.unwrap_or_default())
    };
    let rows = Rows {
        x,
        zero: cx.zero,
        span: window.span,
        taps: &ALL_TAPS[..window.taps()],
    };
    let capacity = Gather::new(window.taps()).capacity();
    let grid = product_grid(c, output, capacity, cx.pool.threads());
    tiles(cx.pool, y, grid, &mut [], &|tile, _| match w {
        Weights::F32(w) => cx.isa.run(Product::<_, _, PLUS> {
            rows,
            window,
            c,
            w,
            tile,
            epilogue,
        }),
        Weights::F16(w) => cx.isa.run(Product::<_, _, PLUS> {
            rows,
            window,
            c,
            w,
            tile,
            epilogue,
        }),
    });
}

struct Product<'a, W, E, const PLUS: bool> {
    rows: Rows<'a>,
    window: Window,
    c: &'a Conv,
    w: &'a [W],
    tile: Tile<'a>,
    epilogue: &'a E,
}

impl<W: Load, E: Epilogue, const PLUS: bool> Task for Product<'_, W, E, PLUS> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let (panels, _) = self.w.as_chunks::<PANEL>();
        let depth = self.c.taps() * self.c.ci as usize;
        let mut gather = Gather::new(self.window.taps());
        let (mut next, end) = (self.tile.rows.start, self.tile.rows.end);
        while next < end {
            next = self.window.fill(&mut gather, next, end);
            let mut channel = self.tile.cols.start;
            while channel < self.tile.cols.end {
                let panel = &panels[channel / PANEL * depth..][..depth];
                let out = (&mut self.tile, self.epilogue);
                sweep::<L, W, E, PLUS>(lanes, self.rows, &gather, panel, channel, out);
                channel += PANEL;
            }
        }
    }
}

/// Copies `x` (or ones) into the middle of a buffer whose border is zero.
fn write_padding(c: &Conv, input: Shape, x: Option<&[f32]>, copy: &mut [f32]) {
    let (pad, ci) = (usize::from(c.pad), c.ci as usize);
    let line = input.w as usize * ci;
    let wide = line + 2 * pad * ci;
    copy.fill(0.0);
    for y in 0..input.h as usize {
        let to = &mut copy[(y + pad) * wide + pad * ci..][..line];
        match x {
            Some(x) => to.copy_from_slice(part(x, y * line, line)),
            None => to.fill(1.0),
        }
    }
}

/// `out (+)= a * conv_transposed(s, w+)`, lanes over input channels: each tile turns the panels of its sixteen channels
/// once, then sweeps them over the rows of `s`, one residue class of the stride at a time so that no tap is wasted.
fn transposed(
    cx: &Context<'_>,
    c: &Conv,
    shapes: (Shape, Shape),
    (a, s): (Option<&[f32]>, &[f32]),
    w: Weights<'_>,
    accumulate: bool,
    (out, scratch): (&mut [f32], &mut [f32]),
) {
    let share = Share {
        a,
        ci: c.ci as usize,
        accumulate,
    };
    let grid = lines_grid(cx, c, shapes.0, PANEL);
    tiles(cx.pool, out, grid, scratch, &|tile, panel| {
        let (panel, _) = panel.as_chunks_mut::<PANEL>();
        match w {
            Weights::F32(w) => cx.isa.run(Turn {
                c,
                w,
                channel: tile.cols.start,
                panel,
            }),
            Weights::F16(w) => cx.isa.run(Turn {
                c,
                w,
                channel: tile.cols.start,
                panel,
            }),
        }
        cx.isa.run(Transposed {
            cx,
            c,
            shapes,
            s,
            panel,
            tile,
            share: &share,
        });
    });
}

/// Tiles of whole image lines, a multiple of the stride high.
fn lines_grid(cx: &Context<'_>, c: &Conv, input: Shape, col_step: usize) -> Grid {
    let (lines, stride) = (input.h as usize, usize::from(c.stride));
    let across = (c.ci as usize).div_ceil(col_step);
    let threads = cx.pool.threads();
    let splits = if threads == 1 {
        1
    } else {
        (4 * threads).div_ceil(across)
    };
    let step = lines.div_ceil(splits).next_multiple_of(stride);
    Grid {
        rows: input.pixels(),
        cols: c.ci as usize,
        row_step: step * input.w as usize,
        col_step,
    }
}

/// Transposes the panels of all output channels for sixteen input channels: `[tap][co][16]`, negative weights as 0.
struct Turn<'a, W> {
    c: &'a Conv,
    w: &'a [W],
    channel: usize,
    panel: &'a mut [[f32; PANEL]],
}

impl<W: Load> Task for Turn<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (weights, _) = self.w.as_chunks::<PANEL>();
        let (ci, co, taps) = (self.c.ci as usize, self.c.co as usize, self.c.taps());
        let present = PANEL.min(ci - self.channel);
        let (mut block, mut turned) = ([[0.0; PANEL]; PANEL], [[0.0; PANEL]; PANEL]);
        for from in (0..co).step_by(PANEL) {
            for tap in 0..taps {
                let start = (from / PANEL * taps + tap) * ci + self.channel;
                for (row, weights) in block.iter_mut().zip(&weights[start..start + present]) {
                    lanes.store(W::load::<L, true>(lanes, weights), row);
                }
                lanes.transpose(&block, &mut turned);
                let count = PANEL.min(co - from);
                self.panel[tap * co + from..][..count].copy_from_slice(&turned[..count]);
            }
        }
    }
}

struct Transposed<'a> {
    cx: &'a Context<'a>,
    c: &'a Conv,
    shapes: (Shape, Shape),
    s: &'a [f32],
    panel: &'a [[f32; PANEL]],
    tile: Tile<'a>,
    share: &'a Share<'a>,
}

impl Task for Transposed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let (input, output) = self.shapes;
        let (stride, co) = (u32::from(self.c.stride), self.c.co as usize);
        let (first, last) = (
            self.tile.rows.start as u32 / input.w,
            self.tile.rows.end as u32 / input.w,
        );
        for (ry, rx) in (0..stride).flat_map(|ry| (0..stride).map(move |rx| (ry, rx))) {
            let residue = Residue::new(self.c, ry, rx);
            let pixels = (first..last)
                .filter(|y| y % stride == ry)
                .flat_map(|y| (rx..input.w).step_by(stride as usize).map(move |x| (y, x)));
            if residue.taps().is_empty() {
                if !self.share.accumulate {
                    pixels.for_each(|(y, x)| self.tile.row((y * input.w + x) as usize).fill(0.0));
                }
                continue;
            }
            let rows = Rows {
                x: self.s,
                zero: self.cx.zero,
                span: co,
                taps: residue.taps(),
            };
            let mut gather = Gather::new(residue.taps().len());
            let channel = self.tile.cols.start;
            for (y, x) in pixels {
                gather.push((y * input.w + x) as usize, |t| {
                    residue
                        .output(t, y, x, stride, output)
                        .map_or(PADDING, |pixel| (pixel * co) as u32)
                });
                if gather.full() {
                    let out = (&mut self.tile, self.share);
                    sweep::<L, f32, Share<'_>, false>(
                        lanes, rows, &gather, self.panel, channel, out,
                    );
                    gather.clear();
                }
            }
            if !gather.is_empty() {
                let out = (&mut self.tile, self.share);
                sweep::<L, f32, Share<'_>, false>(lanes, rows, &gather, self.panel, channel, out);
            }
        }
    }
}

/// [`transposed`] for at most four input channels: lanes over output channels, summed at the end.
fn transposed_narrow(
    cx: &Context<'_>,
    c: &Conv,
    shapes: (Shape, Shape),
    (a, s): (Option<&[f32]>, &[f32]),
    w: Weights<'_>,
    accumulate: bool,
    out: &mut [f32],
) {
    let share = Share {
        a,
        ci: c.ci as usize,
        accumulate,
    };
    let grid = lines_grid(cx, c, shapes.0, c.ci as usize);
    tiles(cx.pool, out, grid, &mut [], &|tile, _| match w {
        Weights::F32(w) => cx.isa.run(Narrow {
            c,
            shapes,
            s,
            w,
            tile,
            share: &share,
        }),
        Weights::F16(w) => cx.isa.run(Narrow {
            c,
            shapes,
            s,
            w,
            tile,
            share: &share,
        }),
    });
}

struct Narrow<'a, W> {
    c: &'a Conv,
    shapes: (Shape, Shape),
    s: &'a [f32],
    w: &'a [W],
    tile: Tile<'a>,
    share: &'a Share<'a>,
}

impl<W: Load> Task for Narrow<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        match self.c.ci {
            1 => self.channels::<L, 1>(lanes),
            2 => self.channels::<L, 2>(lanes),
            3 => self.channels::<L, 3>(lanes),
            _ => self.channels::<L, 4>(lanes),
        }
    }
}

impl<W: Load> Narrow<'_, W> {
    #[inline(always)]
    fn channels<L: Lanes, const CI: usize>(mut self, lanes: L) {
        let (input, output) = self.shapes;
        let (stride, co, taps) = (u32::from(self.c.stride), self.c.co as usize, self.c.taps());
        let (weights, _) = self.w.as_chunks::<PANEL>();
        let (first, last) = (
            self.tile.rows.start as u32 / input.w,
            self.tile.rows.end as u32 / input.w,
        );
        for (ry, rx) in (0..stride).flat_map(|ry| (0..stride).map(move |rx| (ry, rx))) {
            let residue = Residue::new(self.c, ry, rx);
            for y in (first..last).filter(|y| y % stride == ry) {
                // Two pixels of the class at a time share each load of weights.
                for x in (rx..input.w).step_by(2 * stride as usize) {
                    let second = (x + stride < input.w).then_some(x + stride);
                    let mut acc = [[lanes.splat(0.0); CI]; 2];
                    for (t, &tap) in residue.taps().iter().enumerate() {
                        let cells = [Some(x), second].map(|x| {
                            x.and_then(|x| residue.output(t, y, x, stride, output))
                                .map(|cell| cell * co)
                        });
                        if cells == [None; 2] {
                            continue;
                        }
                        for (from, panel) in
                            (0..co).step_by(PANEL).zip(weights.chunks_exact(taps * CI))
                        {
                            let width = PANEL.min(co - from);
                            let s = cells.map(|cell| match cell {
                                Some(cell) => lanes.load_some(part(self.s, cell + from, width)),
                                None => lanes.splat(0.0),
                            });
                            for i in 0..CI {
                                let w =
                                    W::load::<L, true>(lanes, &panel[usize::from(tap) * CI + i]);
                                for p in 0..2 {
                                    acc[p][i] = lanes.mul_add(s[p], w, acc[p][i]);
                                }
                            }
                        }
                    }
                    for (x, acc) in [Some(x), second].into_iter().zip(acc) {
                        let Some(x) = x else { continue };
                        let pixel = (y * input.w + x) as usize;
                        for (i, out) in self.tile.row(pixel).iter_mut().enumerate() {
                            let a = self.share.a.map_or(1.0, |a| a[pixel * CI + i]);
                            let before = if self.share.accumulate { *out } else { 0.0 };
                            *out = before + a * lanes.sum(acc[i]);
                        }
                    }
                }
            }
        }
    }
}

/// Spreads the relevance of dead cells over their receptive fields in proportion to `w+`, or evenly where no weight is
/// positive; returns how much that was.
fn spread(
    c: &Conv,
    shapes: (Shape, Shape),
    (r, s): (&[f32], &[f32]),
    w: Weights<'_>,
    out: &mut [f32],
) -> f64 {
    match w {
        Weights::F32(w) => spread_typed(c, shapes, (r, s), w, out),
        Weights::F16(w) => spread_typed(c, shapes, (r, s), w, out),
    }
}

fn spread_typed<W: Weight>(
    c: &Conv,
    (input, output): (Shape, Shape),
    (r, s): (&[f32], &[f32]),
    w: &[W],
    out: &mut [f32],
) -> f64 {
    let (ci, co, taps) = (c.ci as usize, c.co as usize, c.taps());
    let (stride, pad) = (i64::from(c.stride), i64::from(c.pad));
    let mut moved = 0.0;
    for (cell, r) in dead_cells(r, s) {
        let (pixel, j) = (cell / co, cell % co);
        let (oy, ox) = (pixel / output.w as usize, pixel % output.w as usize);
        let (top, left) = (oy as i64 * stride - pad, ox as i64 * stride - pad);
        // Taps inside the image, with the input pixel under each.
        let field = || {
            (0..taps).filter_map(move |tap| {
                let (y, x) = (
                    top + (tap / usize::from(c.kw)) as i64,
                    left + (tap % usize::from(c.kw)) as i64,
                );
                let inside = y >= 0 && x >= 0 && y < i64::from(input.h) && x < i64::from(input.w);
                inside.then(|| (tap, (y as usize * input.w as usize + x as usize) * ci))
            })
        };
        let plus = |tap: usize, i: usize| {
            w[((j / PANEL * taps + tap) * ci + i) * PANEL + j % PANEL]
                .widen()
                .max(0.0)
        };
        let total: f32 = field()
            .map(|(tap, _)| (0..ci).map(|i| plus(tap, i)).sum::<f32>())
            .sum();
        let even = 1.0 / (field().count() * ci) as f32;
        for (tap, at) in field() {
            for i in 0..ci {
                let share = if total > LEAST_Z {
                    plus(tap, i) / total
                } else {
                    even
                };
                out[at + i] += r * share;
            }
        }
        moved += f64::from(r);
    }
    moved
}

#[cfg(test)]
#[path = "conv_tests.rs"]
mod tests;
