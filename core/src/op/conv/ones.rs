//! The first layer: it sees ones instead of the image (paper, section 1.2 of the method: pixel values never enter the
//! last step), and of its relevance only the sum over the image's channels is ever wanted.
//!
//! So `z` depends on the position alone, through the kernel taps that lie inside the image, and the transposed product
//! needs one weight for each tap and output channel, summed over the image's channels:
//! `heat[p] = sum over taps t and channels j of s[cell(p, t), j] * sum_i w+[j, i, t]`.

use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::graph::{Conv, PANEL};
use crate::op::gather::Residue;
use crate::op::{Context, Sinks, part};
use crate::par::{Grid, Tile, tiles};
use crate::rule::Dead;
use crate::shape::Shape;
use crate::simd::{Lanes, Load, Task};
use crate::view::Weights;

use super::dead;
use super::quotient::{quotients, settle};
use super::transposed::lines_grid;

/// Pixels of one image line that share each load of weights.
const PIXELS: usize = 6;

/// Floats of scratch that [`relevance`] needs: s, the summed weights, and z for each thread.
#[must_use]
pub fn scratch(c: &Conv, output: Shape, threads: usize) -> usize {
    let sums = c.taps().saturating_add(threads);
    let sums = sums.saturating_mul(c.panels() * PANEL);
    let cells = output.elements().next_multiple_of(PANEL);
    cells.saturating_add(sums)
}

/// Relevance of the image summed over its channels, written to `heat`, `[h, w]`, or added to it.
pub fn relevance(
    cx: &Context<'_>,
    c: &Conv,
    (input, output): (Shape, Shape),
    r: &[f32],
    (w, (eps, dead)): (Weights<'_>, (f32, Dead)),
    accumulate: bool,
    (heat, scratch): (&mut [f32], &mut [f32]),
) -> Sinks {
    let (s, rest) = scratch.split_at_mut(r.len().next_multiple_of(PANEL));
    let s = &mut s[..r.len()];
    let (sums, z) = rest.split_at_mut(c.taps() * c.panels() * PANEL);
    let (sums, _) = sums.as_chunks_mut::<PANEL>();
    match w {
        Weights::F32(w) => cx.isa.run(Sum { c, w, sums }),
        Weights::F16(w) => cx.isa.run(Sum { c, w, sums }),
    }
    let sums = &*sums;
    let any = AtomicBool::new(false);
    let lines = output.h as usize;
    let grid = Grid {
        rows: output.pixels(),
        cols: c.co as usize,
        row_step: lines.div_ceil(4 * cx.pool.threads()) * output.w as usize,
        col_step: c.co as usize,
    };
    tiles(cx.pool, s, grid, z, &|tile, z| {
        let (z, _) = z.as_chunks_mut::<PANEL>();
        cx.isa.run(Divide {
            c,
            shapes: (input, output),
            r,
            eps,
            sums,
            z: &mut z[..c.panels()],
            tile,
            dead: &any,
        });
    });
    let s = &*s;
    let grid = Grid {
        cols: 1,
        ..lines_grid(cx, c, input, 1)
    };
    tiles(cx.pool, heat, grid, &mut [], &|tile, _| {
        cx.isa.run(Collect {
            cx,
            c,
            shapes: (input, output),
            s,
            sums,
            accumulate,
            tile,
        });
    });
    settle(cx, (r, s), (eps, dead, any.into_inner()), || {
        dead::spread(c, (input, output), (r, s), w, |pixel, _, share| {
            heat[pixel] += share;
        })
    })
}

/// `sums[tap][panel] = sum_i w+[panel, tap, i]`
struct Sum<'a, W> {
    c: &'a Conv,
    w: &'a [W],
    sums: &'a mut [[f32; PANEL]],
}

impl<W: Load> Task for Sum<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let (weights, _) = self.w.as_chunks::<PANEL>();
        let (panels, taps) = (self.c.panels(), self.c.taps());
        for (cell, weights) in weights.chunks_exact(self.c.ci as usize).enumerate() {
            let mut sum = l.splat(0.0);
            for weights in weights {
                sum = l.add(sum, W::load::<L, true>(l, weights));
            }
            let (panel, tap) = (cell / taps, cell % taps);
            l.store(sum, &mut self.sums[tap * panels + panel]);
        }
    }
}

/// The kernel rows or columns that lie inside `size` pixels at output row or column `at`.
fn inside(c: &Conv, kernel: u16, at: usize, size: u32) -> Range<usize> {
    let start = at as i64 * i64::from(c.stride) - i64::from(c.pad);
    let first = (-start).max(0);
    let end = (i64::from(size) - start).clamp(first, i64::from(kernel).max(first));
    first as usize..end as usize
}

/// `s = R / (z + eps)`, with z worked out anew only where other taps lie inside than at the pixel before.
struct Divide<'a> {
    c: &'a Conv,
    shapes: (Shape, Shape),
    r: &'a [f32],
    eps: f32,
    sums: &'a [[f32; PANEL]],
    z: &'a mut [[f32; PANEL]],
    tile: Tile<'a>,
    dead: &'a AtomicBool,
}

impl Task for Divide<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let (input, output) = self.shapes;
        let (co, panels) = (self.c.co as usize, self.c.panels());
        let (mut known, mut any) = ((0..0, 0..0), false);
        for pixel in self.tile.rows() {
            let (y, x) = (pixel / output.w as usize, pixel % output.w as usize);
            let field = (
                inside(self.c, self.c.kh, y, input.h),
                inside(self.c, self.c.kw, x, input.w),
            );
            if field != known || pixel == self.tile.rows().start {
                for (panel, z) in self.z.iter_mut().enumerate() {
                    let mut sum = l.splat(0.0);
                    for (ky, kx) in field
                        .0
                        .clone()
                        .flat_map(|ky| field.1.clone().map(move |kx| (ky, kx)))
                    {
                        let tap = ky * usize::from(self.c.kw) + kx;
                        sum = l.add(sum, l.load(&self.sums[tap * panels + panel]));
                    }
                    l.store(l.add(sum, l.splat(self.eps)), z);
                }
                known = field;
            }
            let z = part(self.z.as_flattened(), 0, co);
            let r = part(self.r, pixel * co, co);
            any |= quotients(l, (r, z), self.tile.row(pixel));
        }
        if any {
            self.dead.store(true, Ordering::Relaxed);
        }
    }
}

/// The transposed product, lanes over output channels.
struct Collect<'a> {
    cx: &'a Context<'a>,
    c: &'a Conv,
    shapes: (Shape, Shape),
    s: &'a [f32],
    sums: &'a [[f32; PANEL]],
    accumulate: bool,
    tile: Tile<'a>,
}

impl Task for Collect<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let (input, output) = self.shapes;
        let (stride, co) = (u32::from(self.c.stride), self.c.co as usize);
        let panels = self.c.panels();
        let zero = part(self.cx.zero, 0, co);
        let width = input.w as usize;
        let (first, last) = (self.tile.rows().start / width, self.tile.rows().end / width);
        for (ry, rx) in (0..stride).flat_map(|ry| (0..stride).map(move |rx| (ry, rx))) {
            let residue = Residue::new(self.c, ry, rx);
            for y in (first as u32..last as u32).filter(|y| y % stride == ry) {
                for x in (rx..input.w).step_by(PIXELS * stride as usize) {
                    let mut acc = [l.splat(0.0); PIXELS];
                    for (t, &tap) in residue.taps().iter().enumerate() {
                        let Some(cells) = residue.cells(t, (y, x), stride, output) else {
                            continue;
                        };
                        let rows: [&[f32]; PIXELS] = core::array::from_fn(|p| {
                            cells(p).map_or(zero, |cell| part(self.s, cell * co, co))
                        });
                        let sums = &self.sums[usize::from(tap) * panels..][..panels];
                        for (from, sums) in (0..co).step_by(PANEL).zip(sums) {
                            let w = l.load(sums);
                            let upto = co.min(from + PANEL);
                            for (acc, row) in acc.iter_mut().zip(rows) {
                                *acc = l.mul_add(l.load_some(&row[from..upto]), w, *acc);
                            }
                        }
                    }
                    let pixels = (x..input.w).step_by(stride as usize);
                    for (x, acc) in pixels.zip(acc) {
                        let heat = self.tile.row((y * input.w + x) as usize);
                        let before = if self.accumulate { heat[0] } else { 0.0 };
                        heat[0] = before + l.sum(acc);
                    }
                }
            }
        }
    }
}
