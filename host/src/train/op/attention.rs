//! Self-attention and its gradient. No n x n matrix: the core's forward pass, and here a backward pass that works the
//! scores of a few queries out again.

use candle_core::{Result, Tensor};
use elucid_core::graph::{Attention, PANEL};
use elucid_core::op::attention::{forward, forward_scratch, pack_keys, pack_values, softmax};
use elucid_core::simd::{Isa, Lanes, Sources, Task, dot};
use rayon::prelude::*;

use super::hand::{ByHand, context, tensor, values};

/// `softmax(q k^T / sqrt(c / heads)) v` in each head: `[images, n, 3 c]` to `[images, n, c]`.
///
/// # Errors
/// For shapes that don't fit.
pub fn attention(qkv: &Tensor, a: Attention) -> Result<Tensor> {
    let qkv = qkv.contiguous()?;
    let (images, n, _) = qkv.dims3()?;
    let (c, isa) = (a.c as usize, Isa::detect());
    let mut y = vec![0.0; images * n * c];
    {
        let qkv = values(&qkv)?;
        let size = forward_scratch(&a, n, 1);
        y.par_chunks_mut(n * c)
            .zip(qkv.par_chunks(n * 3 * c))
            .for_each_init(
                || vec![0.0; size],
                |scratch, (y, qkv)| forward(&context(isa), &a, n, qkv, (y, scratch)),
            );
    }
    let kept = qkv.detach();
    let backward = move |grad: &Tensor| {
        let (qkv, grad) = (values(&kept)?, values(grad)?);
        let (heads, width) = (usize::from(a.heads), a.width());
        let (qkv, grad) = (&*qkv, &*grad);
        let of_heads: Vec<Vec<f32>> = (0..images * heads)
            .into_par_iter()
            .map(|i| {
                let (image, head) = (i / heads, i % heads);
                isa.run(Head {
                    n,
                    c,
                    width,
                    first: head * width,
                    qkv: &qkv[image * n * 3 * c..][..n * 3 * c],
                    grad: &grad[image * n * c..][..n * c],
                })
            })
            .collect();
        let mut out = vec![0.0; qkv.len()];
        out.par_chunks_mut(n * 3 * c)
            .enumerate()
            .for_each(|(image, out)| {
                for head in 0..heads {
                    let from = of_heads[image * heads + head].chunks_exact(3 * width);
                    for (row, from) in out.chunks_exact_mut(3 * c).zip(from) {
                        for (which, from) in from.chunks_exact(width).enumerate() {
                            row[which * c + head * width..][..width].copy_from_slice(from);
                        }
                    }
                }
            });
        Ok([Some(tensor(out, kept.shape())?)])
    };
    ([&qkv], backward).by_hand("attention", y, (images, n, c))
}

/// The gradient of one head of one image, `[n, 3, width]`.
struct Head<'a> {
    n: usize,
    c: usize,
    width: usize,
    first: usize,
    qkv: &'a [f32],
    grad: &'a [f32],
}

impl Task for Head<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> Vec<f32> {
        if L::ROWS >= 8 {
            self.by_rows::<L, 8>(l)
        } else if L::ROWS >= 6 {
            self.by_rows::<L, 4>(l)
        } else {
            self.by_rows::<L, 2>(l)
        }
    }
}

impl<'a> Head<'a> {
    #[inline(always)]
    fn row(&self, i: usize, which: usize) -> &'a [f32] {
        &self.qkv[(3 * i + which) * self.c + self.first..][..self.width]
    }

    #[inline(always)]
    fn grad(&self, i: usize) -> &'a [f32] {
        &self.grad[i * self.c + self.first..][..self.width]
    }

    /// Sixteen queries at a time, `M` rows of a product at once.
    #[inline(always)]
    fn by_rows<L: Lanes, const M: usize>(self, l: L) -> Vec<f32> {
        let (n, width) = (self.n, self.width);
        let (columns, wide) = (n.next_multiple_of(PANEL), width.next_multiple_of(PANEL));
        let scale = 1.0 / (width as f32).sqrt();
        let mut keys = vec![0.0; columns * width];
        let mut turned = vec![0.0; columns * width];
        let mut rows = vec![0.0; n * wide];
        pack_keys(l, n, width, |i| self.row(i, 1), &mut keys);
        pack_keys(l, n, width, |i| self.row(i, 2), &mut turned);
        pack_values(l, n, width, |i| self.row(i, 1), &mut rows);
        // Panels of sixteen channels, `[wide/16][columns][16]`.
        let (mut dk, mut dv) = (vec![0.0; columns * wide], vec![0.0; columns * wide]);
        let (mut p, mut ds) = (vec![0.0; PANEL * columns], vec![0.0; PANEL * columns]);
        let mut across = vec![0.0; PANEL * columns];
        let mut out = vec![0.0; n * 3 * width];
        for first in (0..n).step_by(PANEL) {
            let count = PANEL.min(n - first);
            // The last row stands in for those that are missing.
            let at = |m: usize| first + m.min(count - 1);
            multiply::<L, M>(l, width, |m| self.row(at(m), 0), &keys, &mut p);
            multiply::<L, M>(l, width, |m| self.grad(at(m)), &turned, &mut ds);
            for (p, ds) in p
                .chunks_exact_mut(columns)
                .zip(ds.chunks_exact_mut(columns))
            {
                p[n..].fill(f32::MIN);
                let inverse = 1.0 / softmax(l, p, scale);
                score_slopes(l, p, ds, (inverse, scale));
            }
            for group in (0..count).step_by(M) {
                let sources = Sources::<M>::new(n, |m| &ds[(group + m) * columns..][..n]);
                for (panel, lines) in rows.chunks_exact(n * PANEL).enumerate() {
                    let acc =
                        dot::<L, f32, false, M>(l, sources, lines.as_chunks().0, [l.splat(0.0); M]);
                    for (m, acc) in acc.into_iter().enumerate().take(count - group) {
                        let to = &mut out[(first + group + m) * 3 * width..][..width];
                        l.store_some(acc, tail(to, panel));
                    }
                }
            }
            turn(l, columns, &p, &mut across);
            gather::<L, M>(l, &across, (count, |m| self.grad(at(m))), &mut dv);
            turn(l, columns, &ds, &mut across);
            gather::<L, M>(l, &across, (count, |m| self.row(at(m), 0)), &mut dk);
        }
        for (i, out) in out.chunks_exact_mut(3 * width).enumerate() {
            let (_, rest) = out.split_at_mut(width);
            let (key, value) = rest.split_at_mut(width);
            for panel in 0..wide / PANEL {
                let from = (panel * columns + i) * PANEL;
                l.store_some(l.load_some(&dk[from..]), tail(key, panel));
                l.store_some(l.load_some(&dv[from..]), tail(value, panel));
            }
        }
        out
    }
}

/// Channels from panel `panel` on, sixteen at most.
#[inline(always)]
fn tail(row: &mut [f32], panel: usize) -> &mut [f32] {
    let row = &mut row[panel * PANEL..];
    let len = row.len().min(PANEL);
    &mut row[..len]
}

/// Products of sixteen rows with all keys, `[16][columns]`.
#[inline(always)]
fn multiply<'r, L: Lanes, const M: usize>(
    l: L,
    width: usize,
    row: impl Fn(usize) -> &'r [f32],
    keys: &[f32],
    to: &mut [f32],
) {
    let columns = to.len() / PANEL;
    for group in (0..PANEL).step_by(M) {
        let sources = Sources::<M>::new(width, |m| row(group + m));
        for (p, panel) in keys.chunks_exact(width * PANEL).enumerate() {
            let acc = dot::<L, f32, false, M>(l, sources, panel.as_chunks().0, [l.splat(0.0); M]);
            for (m, acc) in acc.into_iter().enumerate() {
                l.store_some(acc, &mut to[(group + m) * columns + p * PANEL..][..PANEL]);
            }
        }
    }
}

/// Makes probabilities of `p`, which lacks the factor `inverse`, and gradients of the scores of those of the
/// probabilities in `ds`: `scale p (ds - sum(p ds))`.
#[inline(always)]
fn score_slopes<L: Lanes>(l: L, p: &mut [f32], ds: &mut [f32], (inverse, scale): (f32, f32)) {
    let (p, _) = p.as_chunks_mut::<PANEL>();
    let (ds, _) = ds.as_chunks_mut::<PANEL>();
    let mut sum = l.splat(0.0);
    for (p, ds) in p.iter_mut().zip(&*ds) {
        let share = l.mul(l.load(p), l.splat(inverse));
        l.store(share, p);
        sum = l.mul_add(share, l.load(ds), sum);
    }
    let mean = l.sum(sum);
    for (p, ds) in p.iter().zip(ds) {
        let centred = l.add(l.load(ds), l.splat(-mean));
        l.store(l.mul(l.mul(l.load(p), l.splat(scale)), centred), ds);
    }
}

/// `[16][columns]` to `[columns][16]`.
#[inline(always)]
fn turn<L: Lanes>(l: L, columns: usize, from: &[f32], to: &mut [f32]) {
    for (block, lines) in to.chunks_exact_mut(PANEL * PANEL).enumerate() {
        let rows = core::array::from_fn(|m| l.load_some(&from[m * columns + block * PANEL..]));
        let (lines, _) = lines.as_chunks_mut::<PANEL>();
        for (line, row) in lines.iter_mut().zip(l.transpose(rows)) {
            l.store(row, line);
        }
    }
}

/// Adds `across` `[columns][16]` times the rows `[16][width]` to `sums`, panels `[width/16][columns][16]`. Rows from
/// `count` on count as zeros.
#[inline(always)]
fn gather<'r, L: Lanes, const M: usize>(
    l: L,
    across: &[f32],
    (count, row): (usize, impl Fn(usize) -> &'r [f32]),
    sums: &mut [f32],
) {
    for (panel, sums) in sums.chunks_exact_mut(across.len()).enumerate() {
        let mut lines = [[0.0; PANEL]; PANEL];
        for (m, line) in lines.iter_mut().enumerate().take(count) {
            l.store(l.load_some(&row(m)[panel * PANEL..]), line);
        }
        let groups = sums
            .chunks_exact_mut(M * PANEL)
            .zip(across.chunks_exact(M * PANEL));
        for (sums, across) in groups {
            let sources = Sources::<M>::new(PANEL, |m| &across[m * PANEL..][..PANEL]);
            let (cells, _) = sums.as_chunks_mut::<PANEL>();
            let start = core::array::from_fn(|m| l.load(&cells[m]));
            let acc = dot::<L, f32, false, M>(l, sources, &lines, start);
            for (cell, acc) in cells.iter_mut().zip(acc) {
                l.store(acc, cell);
            }
        }
    }
}
