//! The transposed product with `w+`, multiplied by the activation: how relevance returns to the input. With all weights
//! and ones for activations it is the derivative.

use core::ops::Range;

use crate::graph::{Conv, PANEL};
use crate::op::gather::{Gather, PADDING, Residue};
use crate::op::panel::{Rows, sweep};
use crate::op::{Context, part};
use crate::par::{Grid, Tile, tiles};
use crate::shape::Shape;
use crate::simd::{Lanes, Load, Task};
use crate::view::Weights;

use super::Share;

/// Floats of turned weights that may lie beside the pixels of a block in the second-level cache.
const TURNED: usize = 80 * 1024;

/// Floats of one turned panel.
const fn panel(c: &Conv) -> usize {
    c.taps() * c.co as usize * PANEL
}

/// Panels of sixteen input channels that are turned at once: with more, whole lines of memory are worked on together.
fn together(c: &Conv) -> usize {
    (TURNED / panel(c)).clamp(1, (c.ci as usize).div_ceil(PANEL))
}

/// Floats of scratch that [`transposed`] needs for each thread.
pub fn turned(c: &Conv) -> usize {
    together(c) * panel(c)
}

/// `out (+)= a * conv_transposed(s, w)`, with `PLUS` of `w+`, lanes over input channels: each tile turns the panels of its
/// channels once, then sweeps them over the rows of `s`, one residue class of the stride at a time so that no tap is wasted.
pub fn transposed<const PLUS: bool>(
    cx: &Context<'_>,
    c: &Conv,
    shapes: (Shape, Shape),
    s: &[f32],
    w: Weights<'_>,
    share: &Share<'_>,
    (out, scratch): (&mut [f32], &mut [f32]),
) {
    let grid = lines_grid(cx, c, shapes.0, together(c) * PANEL);
    tiles(cx.pool, out, grid, scratch, &|tile, panels| {
        let (panels, _) = panels.as_chunks_mut::<PANEL>();
        let channels = tile.cols();
        match w {
            Weights::F32(w) => cx.isa.run(Turn::<_, PLUS> {
                c,
                w,
                channels,
                panels,
            }),
            Weights::F16(w) => cx.isa.run(Turn::<_, PLUS> {
                c,
                w,
                channels,
                panels,
            }),
        }
        cx.isa.run(Transposed {
            cx,
            c,
            shapes,
            s,
            panels,
            tile,
            share,
        });
    });
}

/// Tiles of whole image lines, a multiple of the stride high.
pub fn lines_grid(cx: &Context<'_>, c: &Conv, input: Shape, col_step: usize) -> Grid {
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

/// Transposes the panels of all output channels for some input channels, with `PLUS` negative weights as 0:
/// `[ci/16][tap][co][16]`.
struct Turn<'a, W, const PLUS: bool> {
    c: &'a Conv,
    w: &'a [W],
    channels: Range<usize>,
    panels: &'a mut [[f32; PANEL]],
}

impl<W: Load, const PLUS: bool> Task for Turn<'_, W, PLUS> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (weights, _) = self.w.as_chunks::<PANEL>();
        let (ci, co, taps) = (self.c.ci as usize, self.c.co as usize, self.c.taps());
        // In the order in which the weights lie, so that they are read in long runs.
        for from in (0..co).step_by(PANEL) {
            let count = PANEL.min(co - from);
            for tap in 0..taps {
                let run = &weights[(from / PANEL * taps + tap) * ci..][..ci];
                for (panel, channel) in self.channels.clone().step_by(PANEL).enumerate() {
                    let weights = &run[channel..ci.min(channel + PANEL)];
                    let turned = &mut self.panels[(panel * taps + tap) * co + from..][..count];
                    if let (Some(weights), Some(turned)) =
                        (weights.first_chunk(), turned.first_chunk_mut())
                    {
                        turn::<L, W, PLUS>(lanes, weights, turned);
                    } else {
                        let (mut some, mut all) =
                            ([[W::ZERO; PANEL]; PANEL], [[0.0; PANEL]; PANEL]);
                        some[..weights.len()].copy_from_slice(weights);
                        turn::<L, W, PLUS>(lanes, &some, &mut all);
                        turned.copy_from_slice(&all[..count]);
                    }
                }
            }
        }
    }
}

/// One block, in registers from end to end.
#[inline(always)]
fn turn<L: Lanes, W: Load, const PLUS: bool>(
    lanes: L,
    weights: &[[W; PANEL]; PANEL],
    turned: &mut [[f32; PANEL]; PANEL],
) {
    let mut rows = [lanes.splat(0.0); PANEL];
    for (row, weights) in rows.iter_mut().zip(weights) {
        *row = W::load::<L, PLUS>(lanes, weights);
    }
    for (to, row) in turned.iter_mut().zip(lanes.transpose(rows)) {
        lanes.store(row, to);
    }
}

struct Transposed<'a> {
    cx: &'a Context<'a>,
    c: &'a Conv,
    shapes: (Shape, Shape),
    s: &'a [f32],
    panels: &'a [[f32; PANEL]],
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
            self.tile.rows().start as u32 / input.w,
            self.tile.rows().end as u32 / input.w,
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
            for (y, x) in pixels {
                gather.push((y * input.w + x) as usize, |t| {
                    residue
                        .output(t, y, x, stride, output)
                        .map_or(PADDING, |pixel| (pixel * co) as u32)
                });
                if gather.full() {
                    self.sweep(lanes, rows, &gather);
                    gather.clear();
                }
            }
            self.sweep(lanes, rows, &gather);
        }
    }
}

impl Transposed<'_> {
    /// All panels over the pixels of the table.
    #[inline(always)]
    fn sweep<L: Lanes>(&mut self, lanes: L, rows: Rows<'_>, gather: &Gather) {
        let panels = self.panels.chunks_exact(panel(self.c) / PANEL);
        for (panel, channel) in panels.zip(self.tile.cols().step_by(PANEL)) {
            let out = (&mut self.tile, self.share);
            sweep::<L, f32, Share<'_>, false>(lanes, rows, gather, panel, channel, out);
        }
    }
}

/// [`transposed`] for at most four input channels: lanes over output channels, summed at the end.
pub fn transposed_narrow<const PLUS: bool>(
    cx: &Context<'_>,
    c: &Conv,
    shapes: (Shape, Shape),
    s: &[f32],
    w: Weights<'_>,
    share: &Share<'_>,
    out: &mut [f32],
) {
    let grid = lines_grid(cx, c, shapes.0, c.ci as usize);
    tiles(cx.pool, out, grid, &mut [], &|tile, _| match w {
        Weights::F32(w) => cx.isa.run(Narrow::<_, PLUS> {
            c,
            shapes,
            s,
            w,
            tile,
            share,
        }),
        Weights::F16(w) => cx.isa.run(Narrow::<_, PLUS> {
            c,
            shapes,
            s,
            w,
            tile,
            share,
        }),
    });
}

struct Narrow<'a, W, const PLUS: bool> {
    c: &'a Conv,
    shapes: (Shape, Shape),
    s: &'a [f32],
    w: &'a [W],
    tile: Tile<'a>,
    share: &'a Share<'a>,
}

impl<W: Load, const PLUS: bool> Task for Narrow<'_, W, PLUS> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        match self.c.ci {
            _ if L::SMALL => self.channels::<L, 4>(lanes),
            1 => self.channels::<L, 1>(lanes),
            2 => self.channels::<L, 2>(lanes),
            3 => self.channels::<L, 3>(lanes),
            _ => self.channels::<L, 4>(lanes),
        }
    }
}

impl<W: Load, const PLUS: bool> Narrow<'_, W, PLUS> {
    /// For `CI` channels, or for up to so many where one copy of the code must do.
    #[inline(always)]
    fn channels<L: Lanes, const CI: usize>(mut self, lanes: L) {
        let ci = if L::SMALL { self.c.ci as usize } else { CI };
        let (input, output) = self.shapes;
        let (stride, co, taps) = (u32::from(self.c.stride), self.c.co as usize, self.c.taps());
        let (weights, _) = self.w.as_chunks::<PANEL>();
        let (first, last) = (
            self.tile.rows().start as u32 / input.w,
            self.tile.rows().end as u32 / input.w,
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
                            (0..co).step_by(PANEL).zip(weights.chunks_exact(taps * ci))
                        {
                            let width = PANEL.min(co - from);
                            let s = cells.map(|cell| match cell {
                                Some(cell) => lanes.load_some(part(self.s, cell + from, width)),
                                None => lanes.splat(0.0),
                            });
                            for i in 0..ci {
                                let w =
                                    W::load::<L, PLUS>(lanes, &panel[usize::from(tap) * ci + i]);
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
                            let a = self.share.a[pixel * self.share.row + i];
                            let before = if self.share.accumulate { *out } else { 0.0 };
                            *out = before + a * lanes.sum(acc[i]);
                        }
                    }
                }
            }
        }
    }
}
