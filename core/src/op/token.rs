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

/// Taps of an output cell on a line of `size` cells: where they are, and their weights.
struct Taps<const N: usize> {
    at: [usize; N],
    weight: [f32; N],
}

/// Cubic with a = -0.75, edges repeated; `step` is how far the input moves for one output cell.
fn cubic(out: usize, size: usize, step: f32) -> Taps<4> {
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

/// Linear, edges repeated, half-pixel centres.
fn linear(out: usize, size: usize, step: f32) -> Taps<2> {
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
    let more = if p.larger { 0.1 } else { 0.0 };
    let step = |table: usize, size: usize| match size == table {
        true => 1.0,
        false => table as f32 / (size as f32 + more),
    };
    let (down, across) = (step(rows, h), step(cols, w));
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
