//! Self-attention, `[n, 3 c] -> [n, c]`: `softmax(q k^T / sqrt(c / heads)) v` in each head.
//!
//! No n x n matrix: keys and values of one head are laid out as weight panels once, and the scores of a few queries at a
//! time live in a thread's scratch.

use crate::graph::{Attention, PANEL};
use crate::op::{Context, part};
use crate::par::{Grid, Tile, tiles};
use crate::simd::{Lanes, Sources, Task, dot, exp};

/// Queries whose scores a thread holds at once.
const QUERIES: usize = 8;

/// Floats of scratch that one thread needs for `n` rows: keys, values, scores.
const fn piece(a: &Attention, n: usize) -> usize {
    let keys = n.next_multiple_of(PANEL);
    let width = a.width();
    keys.saturating_mul(width)
        .saturating_add(n.saturating_mul(width.next_multiple_of(PANEL)))
        .saturating_add(keys.saturating_mul(QUERIES))
}

/// Floats of scratch that [`forward`] needs for `n` rows with this many threads.
#[must_use]
pub const fn forward_scratch(a: &Attention, n: usize, threads: usize) -> usize {
    threads.saturating_mul(piece(a, n))
}

/// One image: `qkv` is `[n, 3 c]` (q, k, v side by side, each head by head), `y` is `[n, c]`.
pub fn forward(
    cx: &Context<'_>,
    a: &Attention,
    n: usize,
    qkv: &[f32],
    (y, scratch): (&mut [f32], &mut [f32]),
) {
    let heads = usize::from(a.heads);
    let splits = match cx.pool.threads() {
        1 => 1,
        threads => (4 * threads).div_ceil(heads),
    };
    let grid = Grid {
        rows: n,
        cols: a.c as usize,
        row_step: n.div_ceil(splits).next_multiple_of(QUERIES),
        col_step: a.width(),
    };
    let scratch = &mut scratch[..cx.pool.threads().max(1) * piece(a, n)];
    tiles(cx.pool, y, grid, scratch, &|tile, piece| {
        cx.isa.run(Head {
            a,
            n,
            qkv,
            tile,
            piece,
        });
    });
}

/// Some queries of one head.
struct Head<'a> {
    a: &'a Attention,
    n: usize,
    qkv: &'a [f32],
    tile: Tile<'a>,
    piece: &'a mut [f32],
}

impl Task for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let (n, width) = (self.n, self.a.width());
        let columns = n.next_multiple_of(PANEL);
        let (keys, rest) = self.piece.split_at_mut(columns * width);
        let (values, scores) = rest.split_at_mut(n * width.next_multiple_of(PANEL));
        let (c, first) = (self.a.c as usize, self.tile.cols().start);
        let row = |i: usize, which: usize| part(self.qkv, (3 * i + which) * c + first, width);
        pack_keys(l, n, width, |i| row(i, 1), keys);
        pack_values(l, n, width, |i| row(i, 2), values);
        let packed = (keys.as_chunks().0, values.as_chunks().0);
        let query = |i: usize| row(i, 0);
        let (mut next, end) = (self.tile.rows().start, self.tile.rows().end);
        while next < end {
            let count = QUERIES.min(end - next);
            let block = (next, count, n, width);
            // As many rows at once as the set has registers for.
            if L::ROWS >= 8 {
                queries::<L, 8>(l, block, query, packed, scores, &mut self.tile);
            } else if L::ROWS >= 6 {
                queries::<L, 4>(l, block, query, packed, scores, &mut self.tile);
            } else {
                queries::<L, 2>(l, block, query, packed, scores, &mut self.tile);
            }
            next += count;
        }
    }
}

/// Panels of sixteen keys, `[n/16][width][16]`; missing keys are 0. `key(i)` has `width` channels.
#[inline(always)]
pub fn pack_keys<'k, L: Lanes>(
    l: L,
    n: usize,
    width: usize,
    key: impl Fn(usize) -> &'k [f32],
    keys: &mut [f32],
) {
    for (p, panel) in keys.chunks_exact_mut(PANEL * width).enumerate() {
        let (lines, _) = panel.as_chunks_mut::<PANEL>();
        for (d, lines) in lines.chunks_mut(PANEL).enumerate() {
            let start = d * PANEL;
            let block = core::array::from_fn(|j| match p * PANEL + j {
                i if i < n => l.load_some(&key(i)[start..start + lines.len()]),
                _ => l.splat(0.0),
            });
            for (line, row) in lines.iter_mut().zip(l.transpose(block)) {
                l.store(row, line);
            }
        }
    }
}

/// Panels of sixteen channels, `[width/16][n][16]`; missing channels are 0. `value(i)` has `width` channels.
#[inline(always)]
pub fn pack_values<'k, L: Lanes>(
    l: L,
    n: usize,
    width: usize,
    value: impl Fn(usize) -> &'k [f32],
    values: &mut [f32],
) {
    for (p, panel) in values.chunks_exact_mut(PANEL * n).enumerate() {
        let channels = p * PANEL..width.min((p + 1) * PANEL);
        let (lines, _) = panel.as_chunks_mut::<PANEL>();
        for (i, line) in lines.iter_mut().enumerate() {
            l.store(l.load_some(&value(i)[channels.clone()]), line);
        }
    }
}

type Panels<'a> = &'a [[f32; PANEL]];

/// Output rows `first .. first + count` of one head, `M` at a time.
#[inline(always)]
fn queries<'q, L: Lanes, const M: usize>(
    l: L,
    (first, count, n, width): (usize, usize, usize, usize),
    query: impl Fn(usize) -> &'q [f32],
    (keys, values): (Panels<'_>, Panels<'_>),
    scores: &mut [f32],
    tile: &mut Tile<'_>,
) {
    let columns = n.next_multiple_of(PANEL);
    let scale = 1.0 / libm::sqrtf(width as f32);
    let left = tile.cols().start;
    for group in (0..count).step_by(M) {
        // The last row stands in for those that are missing.
        let at = |m: usize| first + (group + m).min(count - 1);
        let sources = Sources::<M>::new(width, |m| query(at(m)));
        for (p, panel) in keys.chunks_exact(width).enumerate() {
            let acc = dot::<L, f32, false, M>(l, sources, panel, [l.splat(0.0); M]);
            for (m, acc) in acc.into_iter().enumerate() {
                l.store_some(acc, &mut scores[m * columns + p * PANEL..][..PANEL]);
            }
        }
        let mut inverse = [0.0; M];
        for (row, inverse) in scores.chunks_exact_mut(columns).zip(&mut inverse) {
            row[n..].fill(f32::MIN);
            *inverse = 1.0 / softmax(l, row, scale);
        }
        let sources = Sources::<M>::new(n, |m| &scores[m * columns..][..n]);
        for (p, panel) in values.chunks_exact(n).enumerate() {
            let acc = dot::<L, f32, false, M>(l, sources, panel, [l.splat(0.0); M]);
            let channel = left + p * PANEL;
            for (m, acc) in acc.into_iter().enumerate().take(count - group) {
                let out = tile.cells(at(m), channel, PANEL);
                l.store_some(l.mul(acc, l.splat(inverse[m])), out);
            }
        }
    }
}

/// `e^((x - max) scale)` in place, and their sum. The row is whole panels.
#[inline(always)]
pub fn softmax<L: Lanes>(l: L, row: &mut [f32], scale: f32) -> f32 {
    let (cells, _) = row.as_chunks_mut::<PANEL>();
    let most = cells
        .iter()
        .fold(l.splat(f32::MIN), |most, x| l.max(l.load(x), most));
    let mut lanes = [0.0; PANEL];
    l.store(most, &mut lanes);
    let most = lanes
        .iter()
        .fold(f32::MIN, |a, &b| if b > a { b } else { a });
    let mut sum = l.splat(0.0);
    for x in cells {
        let e = exp(l, l.mul(l.add(l.load(x), l.splat(-most)), l.splat(scale)));
        sum = l.add(sum, e);
        l.store(e, x);
    }
    l.sum(sum)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::par::Serial;
    use crate::simd::Isa;
    use std::vec;
    use std::vec::Vec;

    fn naive(a: &Attention, n: usize, qkv: &[f32]) -> Vec<f64> {
        let (c, width) = (a.c as usize, a.width());
        let at = |i: usize, which: usize, d: usize| f64::from(qkv[(3 * i + which) * c + d]);
        let mut y = vec![0.0; n * c];
        for head in 0..usize::from(a.heads) {
            let span = head * width..(head + 1) * width;
            for i in 0..n {
                let scores: Vec<f64> = (0..n)
                    .map(|j| span.clone().map(|d| at(i, 0, d) * at(j, 1, d)).sum::<f64>())
                    .map(|s| s / (width as f64).sqrt())
                    .collect();
                let most = scores.iter().fold(f64::MIN, |a, &b| a.max(b));
                let e: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                let sum: f64 = e.iter().sum();
                for d in span.clone() {
                    y[i * c + d] = (0..n).map(|j| e[j] / sum * at(j, 2, d)).sum();
                }
            }
        }
        y
    }

    #[test]
    fn every_set_attends_as_the_formula_says() {
        for (n, c, heads) in [(1, 4, 1), (17, 24, 4), (37, 48, 3), (33, 80, 2), (5, 96, 2)] {
            let a = Attention { c, heads };
            let mut state = 1u32;
            let qkv: Vec<f32> = (0..n * 3 * c as usize)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 8) as f32 / 4_194_304.0 - 2.0
                })
                .collect();
            let wanted = naive(&a, n, &qkv);
            for isa in Isa::available() {
                let cx = Context {
                    isa,
                    pool: &Serial,
                    zero: &[],
                    audit: false,
                };
                let mut y = vec![f32::NAN; n * c as usize];
                let mut scratch = vec![f32::NAN; forward_scratch(&a, n, 1)];
                forward(&cx, &a, n, &qkv, (&mut y, &mut scratch));
                for (i, (&y, &w)) in y.iter().zip(&wanted).enumerate() {
                    assert!(
                        (f64::from(y) - w).abs() < 2e-5,
                        "{} {i}: {y} {w}",
                        isa.name()
                    );
                }
            }
        }
    }
}
