//! The adapter's map: minimum to 0 and maximum to 1, masking a feature with it, and resizing.

use candle_core::{Result, Tensor, bail};
use elucid_core::graph::Positions;
use elucid_core::op::map::minmax;
use elucid_core::op::token::{Taps, cubic, linear, step};
use rayon::prelude::*;

use super::hand::{ByHand, tensor, values};

/// Added to the range of a map, as the core has it.
const LEAST_RANGE: f32 = 1e-7;

/// `(x - min) / (max - min + 1e-7)` of each image of `[images, ..]`. Cells that share an extreme share its gradient.
///
/// # Errors
/// For tensors that aren't contiguous f32.
pub fn min_max(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    let each = x.elem_count() / x.dim(0)?.max(1);
    let mut y = vec![0.0; x.elem_count()];
    for (x, y) in values(&x)?.chunks(each).zip(y.chunks_mut(each)) {
        minmax(x, y);
    }
    let kept = x.detach();
    let backward = move |grad: &Tensor| {
        let (x, grad) = (values(&kept)?, values(grad)?);
        let mut dx = vec![0.0; x.len()];
        let inputs = x.chunks(each).zip(grad.chunks(each));
        for (dx, (x, grad)) in dx.chunks_mut(each).zip(inputs) {
            let least = x.iter().copied().fold(f32::INFINITY, f32::min);
            let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let range = most - least + LEAST_RANGE;
            let count = |extreme: f32| x.iter().filter(|&&x| x == extreme).count() as f64;
            let (mut sum, mut product) = (0.0, 0.0);
            for (&x, &grad) in x.iter().zip(grad) {
                sum += f64::from(grad);
                product += f64::from(grad) * f64::from((x - least) / range);
            }
            // y = (x - a) / (b - a + e): dy/da = (y - 1) / r, dy/db = -y / r.
            let low = ((product - sum) / count(least) / f64::from(range)) as f32;
            let high = (-product / count(most) / f64::from(range)) as f32;
            for (dx, (&x, &grad)) in dx.iter_mut().zip(x.iter().zip(grad)) {
                *dx = grad / range;
                if x == least {
                    *dx += low;
                }
                if x == most {
                    *dx += high;
                }
            }
        }
        Ok([Some(tensor(dx, kept.shape())?)])
    };
    ([&x], backward).by_hand("min-max", y, x.shape())
}

/// Each row of `x` `[images, n, c]` times its cell of `map` `[images, n, 1]`.
///
/// # Errors
/// For shapes that don't fit.
pub fn multiply(x: &Tensor, map: &Tensor) -> Result<Tensor> {
    let (x, map) = (x.contiguous()?, map.contiguous()?);
    let c = x.dim(candle_core::D::Minus1)?;
    if map.elem_count() * c != x.elem_count() {
        bail!("{:?} can't mask {:?}", map.shape(), x.shape());
    }
    let scaled = move |x: &[f32], map: &[f32]| {
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(c)
            .with_min_len(64)
            .zip(x.par_chunks(c).zip(map))
            .for_each(|(y, (x, m))| y.iter_mut().zip(x).for_each(|(y, x)| *y = x * m));
        y
    };
    let y = scaled(&values(&x)?, &values(&map)?);
    let kept = (x.detach(), map.detach());
    let wants = [&x, &map].map(Tensor::track_op);
    let backward = move |grad: &Tensor| {
        let (x, map, grad) = (values(&kept.0)?, values(&kept.1)?, values(grad)?);
        let (x, map, grad) = (&*x, &*map, &*grad);
        let dx = wants[0].then(|| tensor(scaled(grad, map), kept.0.shape()));
        let dm = wants[1].then(|| {
            let products = |(x, grad): (&[f32], &[f32])| dot(x, grad);
            let dm = x
                .par_chunks(c)
                .with_min_len(64)
                .zip(grad.par_chunks(c))
                .map(products)
                .collect();
            tensor(dm, kept.1.shape())
        });
        Ok([dx.transpose()?, dm.transpose()?])
    };
    ([&x, &map], backward).by_hand("mask", y, x.shape())
}

/// The sum of products, in eight lanes.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for (sum, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    lanes.iter().sum()
}

/// The matrix `[h * w, rows * cols]` that resizes tables of positions, or none where the sizes are the same.
///
/// # Errors
/// If candle refuses it.
pub fn bicubic(p: &Positions, [h, w]: [usize; 2]) -> Result<Option<Tensor>> {
    let (rows, cols) = (usize::from(p.rows), usize::from(p.cols));
    let taps = |table: usize, size: usize| -> Vec<Taps<4>> {
        let step = step(table, size, p.larger);
        (0..size).map(|out| cubic(out, table, step)).collect()
    };
    resizer([rows, cols], [h, w], (&taps(rows, h), &taps(cols, w)))
}

/// The matrix that resizes feature maps bilinearly.
///
/// # Errors
/// If candle refuses it.
pub fn bilinear([rows, cols]: [usize; 2], [h, w]: [usize; 2]) -> Result<Option<Tensor>> {
    let taps = |from: usize, to: usize| -> Vec<Taps<2>> {
        let step = from as f32 / to as f32;
        (0..to).map(|out| linear(out, from, step)).collect()
    };
    resizer([rows, cols], [h, w], (&taps(rows, h), &taps(cols, w)))
}

fn resizer<const N: usize>(
    from: [usize; 2],
    to: [usize; 2],
    (down, across): (&[Taps<N>], &[Taps<N>]),
) -> Result<Option<Tensor>> {
    if from == to {
        return Ok(None);
    }
    let cells = from[0] * from[1];
    let mut matrix = vec![0.0; to[0] * to[1] * cells];
    for (i, line) in matrix.chunks_exact_mut(cells).enumerate() {
        let (down, across) = (&down[i / to[1]], &across[i % to[1]]);
        for (&row, &weight) in down.at.iter().zip(&down.weight) {
            for (&col, &factor) in across.at.iter().zip(&across.weight) {
                line[row * from[1] + col] += weight * factor;
            }
        }
    }
    tensor(matrix, (to[0] * to[1], cells)).map(Some)
}
