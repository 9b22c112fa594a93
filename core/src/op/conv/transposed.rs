//! The transposed product with `w+`, multiplied by the activation: how relevance returns to the input.

use crate::graph::{Conv, PANEL};
use crate::op::gather::{Gather, PADDING, Residue};
use crate::op::panel::{Rows, sweep};
use crate::op::{Context, part};
use crate::par::{Grid, Tile, tiles};
use crate::shape::Shape;
use crate::simd::{Lanes, Load, Task};
use crate::view::Weights;

use super::Share;

/// `out (+)= a * conv_transposed(s, w+)`, lanes over input channels: each tile turns the panels of its sixteen channels
/// once, then sweeps them over the rows of `s`, one residue class of the stride at a time so that no tap is wasted.
pub fn transposed(
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
                channel: tile.cols().start,
                panel,
            }),
            Weights::F16(w) => cx.isa.run(Turn {
                c,
                w,
                channel: tile.cols().start,
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
            let channel = self.tile.cols().start;
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
pub fn transposed_narrow(
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
