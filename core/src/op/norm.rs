//! Normalisation over channels, and a factor and a summand per channel.

use crate::graph::PANEL;
use crate::op::{Context, part};
use crate::par::{Grid, Tile, tiles};
use crate::simd::{Lanes, Task};

/// Rows that a thread works on at once.
const ROWS: usize = 16;

/// `(x - mean) / sqrt(variance + eps) * weight + bias` of each row of `c` channels; any number of rows.
pub fn forward(
    cx: &Context<'_>,
    (c, eps): (usize, f32),
    x: &[f32],
    w: (Option<&[f32]>, Option<&[f32]>),
    y: &mut [f32],
) {
    each_row(cx, (c, Some(eps)), x, w, y);
}

/// `x * scale + shift` of each row of `c` channels; any number of rows.
pub fn affine(
    cx: &Context<'_>,
    c: usize,
    x: &[f32],
    w: (Option<&[f32]>, Option<&[f32]>),
    y: &mut [f32],
) {
    each_row(cx, (c, None), x, w, y);
}

fn each_row(
    cx: &Context<'_>,
    (c, eps): (usize, Option<f32>),
    x: &[f32],
    (weight, bias): (Option<&[f32]>, Option<&[f32]>),
    y: &mut [f32],
) {
    let grid = Grid {
        rows: y.len() / c.max(1),
        cols: c,
        row_step: ROWS,
        col_step: c,
    };
    tiles(cx.pool, y, grid, &mut [], &|tile, _| {
        cx.isa.run(Normal {
            c,
            eps,
            x,
            weight,
            bias,
            tile,
        });
    });
}

struct Normal<'a> {
    c: usize,
    eps: Option<f32>,
    x: &'a [f32],
    weight: Option<&'a [f32]>,
    bias: Option<&'a [f32]>,
    tile: Tile<'a>,
}

impl Task for Normal<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        for row in self.tile.rows() {
            let x = part(self.x, row * self.c, self.c);
            let (mean, factor) = match self.eps {
                Some(eps) => moments(l, x, eps),
                None => (0.0, 1.0),
            };
            let y = self.tile.row(row);
            for (p, (x, y)) in x.chunks(PANEL).zip(y.chunks_mut(PANEL)).enumerate() {
                let vector = |v: Option<&[f32]>, missing| match v {
                    Some(v) => l.load_some(part(v, p * PANEL, x.len())),
                    None => l.splat(missing),
                };
                let centred = l.add(l.load_some(x), l.splat(-mean));
                let normal = l.mul(centred, l.splat(factor));
                let scaled = l.mul_add(normal, vector(self.weight, 1.0), vector(self.bias, 0.0));
                l.store_some(scaled, y);
            }
        }
    }
}

/// Mean, and the inverse of the standard deviation, of a row that isn't empty.
#[inline(always)]
pub fn moments<L: Lanes>(l: L, x: &[f32], eps: f32) -> (f32, f32) {
    let count = x.len() as f32;
    let sum = x
        .chunks(PANEL)
        .fold(l.splat(0.0), |sum, x| l.add(sum, l.load_some(x)));
    let mean = l.sum(sum) / count;
    let (whole, rest) = x.as_chunks::<PANEL>();
    let squares = whole.iter().fold(l.splat(0.0), |sum, x| {
        let d = l.add(l.load(x), l.splat(-mean));
        l.mul_add(d, d, sum)
    });
    let rest: f32 = rest.iter().map(|&x| (x - mean) * (x - mean)).sum();
    let variance = (l.sum(squares) + rest) / count;
    (mean, 1.0 / libm::sqrtf(variance + eps))
}
