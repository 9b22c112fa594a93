//! Tokens and their grid: putting tokens before it, positions, cutting one of the two out, and adding a feature map.
//!
//! All work on one image; rows of `c` channels, the tokens before the grid.

use crate::graph::{Part, Positions};
use crate::op::{Context, part};
use crate::par::{Grid, tiles};
use crate::shape::Shape;

/// `tokens`, then `x`.
pub fn prepend(x: &[f32], tokens: &[f32], y: &mut [f32]) {
    let (head, rest) = y.split_at_mut(tokens.len());
    head.copy_from_slice(tokens);
    rest.copy_from_slice(x);
}

/// The tokens or the grid.
pub fn slice(which: Part, input: Shape, x: &[f32], y: &mut [f32]) {
    y.copy_from_slice(&x[which.range(input)]);
}

/// Taps of an output cell on a line of cells. Where an edge is repeated, a cell is named more than once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taps<const N: usize> {
    /// The cells.
    pub at: [usize; N],
    /// Their weights, which sum to 1.
    pub weight: [f32; N],
}

/// How far the input, a line of `table` cells, moves for one of `size` output cells; `larger` as in [`Positions::larger`].
#[must_use]
pub fn step(table: usize, size: usize, larger: bool) -> f32 {
    let more = if larger { 0.1 } else { 0.0 };
    if size == table {
        1.0
    } else {
        table as f32 / (size as f32 + more)
    }
}

/// The taps of output cell `out` on a line of `size` cells: cubic with a = -0.75, edges repeated; `step` is how far the
/// input moves for one output cell.
#[must_use]
pub fn cubic(out: usize, size: usize, step: f32) -> Taps<4> {
    const A: f32 = -0.75;
    let place = (out as f32 + 0.5) * step - 0.5;
    let first = libm::floorf(place);
    let t = place - first;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let last = size as isize - 1;
    Taps {
        at: core::array::from_fn(|k| (first as isize + k as isize - 1).clamp(0, last) as usize),
        weight: [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)],
    }
}

/// The same, linear, edges repeated, half-pixel centres. `size` is at least 1.
#[must_use]
pub fn linear(out: usize, size: usize, step: f32) -> Taps<2> {
    let place = ((out as f32 + 0.5) * step - 0.5).max(0.0);
    let first = (place as usize).min(size - 1);
    let t = place - first as f32;
    Taps {
        at: [first, (first + 1).min(size - 1)],
        weight: [1.0 - t, t],
    }
}

/// Adds to `y`, a pixel of `c` channels, what the taps of a line and of a column say of the `table`.
fn mix<const N: usize>(
    table: &[f32],
    cols: usize,
    (down, across): (&Taps<N>, &Taps<N>),
    y: &mut [f32],
) {
    for (&row, &weight) in down.at.iter().zip(&down.weight) {
        for (&col, &factor) in across.at.iter().zip(&across.weight) {
            let w = weight * factor;
            if w == 0.0 {
                continue;
            }
            let cell = part(table, (row * cols + col) * y.len(), y.len());
            for (y, &v) in y.iter_mut().zip(cell) {
                *y += w * v;
            }
        }
    }
}

/// `x` plus the position embeddings: those of the `tokens` (none: nothing is added to them), and those of the grid,
/// resized to it.
pub fn positions(
    cx: &Context<'_>,
    p: &Positions,
    shape: Shape,
    x: &[f32],
    (tokens, table): (Option<&[f32]>, &[f32]),
    y: &mut [f32],
) {
    let (rows, cols) = (usize::from(p.rows), usize::from(p.cols));
    let (h, w) = (shape.h as usize, shape.w as usize);
    let (down, across) = (step(rows, h, p.larger), step(cols, w, p.larger));
    let (count, c) = (p.count as usize, p.c as usize);
    let grid = Grid {
        rows: count + h * w,
        cols: c,
        row_step: w.max(16),
        col_step: c,
    };
    tiles(cx.pool, y, grid, &mut [], &|mut tile, _| {
        for row in tile.rows() {
            let y = tile.row(row);
            y.copy_from_slice(part(x, row * c, c));
            match row.checked_sub(count) {
                None => {
                    let Some(tokens) = tokens else { continue };
                    for (y, &v) in y.iter_mut().zip(part(tokens, row * c, c)) {
                        *y += v;
                    }
                }
                Some(cell) => {
                    let taps = (&cubic(cell / w, rows, down), &cubic(cell % w, cols, across));
                    mix(table, cols, taps, y);
                }
            }
        }
    });
}

/// A map of one channel, resized bilinearly; centres of pixels on halves, borders repeated.
pub fn enlarge(cx: &Context<'_>, (from, to): (Shape, Shape), map: &[f32], out: &mut [f32]) {
    let (rows, cols) = (from.h as usize, from.w as usize);
    let (h, w) = (to.h as usize, to.w as usize);
    let (down, across) = (rows as f32 / h as f32, cols as f32 / w as f32);
    let grid = Grid {
        rows: h,
        cols: w,
        row_step: 16,
        col_step: w,
    };
    tiles(cx.pool, out, grid, &mut [], &|mut tile, _| {
        for y in tile.rows() {
            let line = linear(y, rows, down);
            for (x, cell) in tile.row(y).iter_mut().enumerate() {
                *cell = 0.0;
                let taps = (&line, &linear(x, cols, across));
                mix(map, cols, taps, core::slice::from_mut(cell));
            }
        }
    });
}

/// `x` plus the feature map, resized bilinearly to its grid.
pub fn fuse(
    cx: &Context<'_>,
    (from, shape): (Shape, Shape),
    (map, x): (&[f32], &[f32]),
    y: &mut [f32],
) {
    let (rows, cols) = (from.h as usize, from.w as usize);
    let (h, w, c) = (shape.h as usize, shape.w as usize, shape.c as usize);
    let (down, across) = (rows as f32 / h as f32, cols as f32 / w as f32);
    let count = shape.tokens as usize;
    let grid = Grid {
        rows: shape.pixels(),
        cols: c,
        row_step: w.max(16),
        col_step: c,
    };
    tiles(cx.pool, y, grid, &mut [], &|mut tile, _| {
        for row in tile.rows() {
            let y = tile.row(row);
            y.copy_from_slice(part(x, row * c, c));
            if let Some(cell) = row.checked_sub(count) {
                let taps = (
                    &linear(cell / w, rows, down),
                    &linear(cell % w, cols, across),
                );
                mix(map, cols, taps, y);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::graph::NONE;
    use crate::par::Serial;
    use crate::simd::Isa;
    use std::vec;
    use std::vec::Vec;

    /// A 14 x 14 table of one channel, `sin(0.37 i)`, resized and added to zeros.
    fn resized(h: u32, w: u32, larger: bool) -> Vec<f32> {
        let table: Vec<f32> = (0..196)
            .map(|i| libm::sin(f64::from(i) * 0.37) as f32)
            .collect();
        let p = Positions {
            c: 1,
            count: 0,
            rows: 14,
            cols: 14,
            tokens: NONE,
            grid: 0,
            larger,
        };
        let cx = Context {
            isa: Isa::detect(),
            pool: &Serial,
            zero: &[],
            audit: false,
        };
        let shape = Shape::new(h, w, 1);
        let (x, mut y) = (vec![0.0; shape.pixels()], vec![f32::NAN; shape.pixels()]);
        positions(&cx, &p, shape, &x, (None, &table), &mut y);
        y
    }

    #[test]
    fn positions_are_resized_as_pytorch_does() {
        // torch.nn.functional.interpolate(table, size=(24, 24), mode="bicubic", align_corners=False)
        let got = resized(24, 24, false);
        for (y, x, want) in [
            (0, 0, 0.050_677_3),
            (0, 23, -1.040_426_7),
            (5, 7, -1.019_957_9),
            (12, 12, 0.981_453_2),
            (23, 1, -1.035_217_6),
            (23, 23, 0.163_615_6),
        ] {
            let got = got[y * 24 + x];
            assert!((got - want).abs() < 1e-5, "{y} {x}: {got} {want}");
        }
        // The same with scale_factor=(24.1 / 14, 20.1 / 14), as DINO calls it.
        let got = resized(24, 20, true);
        for (y, x, want) in [
            (0, 0, 0.056_930_6),
            (0, 19, -1.040_463),
            (5, 7, -0.962_393_7),
            (12, 12, 0.962_992_4),
            (23, 1, -1.038_072_7),
            (23, 19, 0.165_104_8),
        ] {
            let got = got[y * 20 + x];
            assert!((got - want).abs() < 1e-5, "{y} {x}: {got} {want}");
        }
        assert_eq!(resized(14, 14, false)[15], libm::sin(15.0 * 0.37) as f32);
    }
}
