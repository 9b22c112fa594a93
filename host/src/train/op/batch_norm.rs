//! BatchNorm with the activation that follows it.

use candle_core::{Result, Tensor, bail};
use elucid_core::graph::Activation;
use rayon::prelude::*;

use super::hand::{ByHand, part_rows, tensor, total, values};

/// Mean and biased variance of each of `c` channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Means.
    pub mean: Vec<f32>,
    /// Variances; rows are the divisor.
    pub variance: Vec<f32>,
}

impl Statistics {
    /// Those of rows of `c` values, summed up in f64.
    ///
    /// # Errors
    /// If there is no row.
    pub fn new(c: usize, x: &Tensor) -> Result<Self> {
        let x = x.contiguous()?;
        let x = values(&x)?;
        let rows = x.len() / c.max(1);
        if rows == 0 {
            bail!("no rows to take statistics of");
        }
        let sum = |f: &(dyn Fn(usize, f32) -> f64 + Sync)| -> Vec<f32> {
            let parts: Vec<Vec<f64>> = x
                .par_chunks(part_rows(rows) * c)
                .map(|x| {
                    let mut sum = vec![0.0; c];
                    for row in x.chunks_exact(c) {
                        for (i, (sum, &x)) in sum.iter_mut().zip(row).enumerate() {
                            *sum += f(i, x);
                        }
                    }
                    sum
                })
                .collect();
            (0..c)
                .map(|i| (parts.iter().map(|p| p[i]).sum::<f64>() / rows as f64) as f32)
                .collect()
        };
        let mean = sum(&|_, x| f64::from(x));
        let variance = sum(&|i, x| {
            let d = f64::from(x) - f64::from(mean[i]);
            d * d
        });
        Ok(Self { mean, variance })
    }
}

/// `act((x - mean) / sqrt(variance + eps) * weight + bias)` over the last dimension. With `batch`, the statistics are those
/// of `x` itself, and the gradient goes through them, too. `act` is the identity or ReLU.
///
/// # Errors
/// For shapes that don't fit, and for other activations.
pub fn batch_norm(
    x: &Tensor,
    [weight, bias]: [&Tensor; 2],
    (statistics, batch): (Statistics, bool),
    eps: f64,
    act: Activation,
) -> Result<Tensor> {
    let relu = match act {
        Activation::Identity => false,
        Activation::Relu => true,
        _ => bail!("{act:?} doesn't follow a BatchNorm"),
    };
    let x = x.contiguous()?;
    let c = weight.elem_count();
    let step = part_rows(x.elem_count() / c.max(1)) * c;
    let inverse: Vec<f32> = (statistics.variance.iter())
        .map(|&v| (1.0 / (f64::from(v) + eps).sqrt()) as f32)
        .collect();
    let channels = move |weight: &[f32]| -> Vec<[f32; 3]> {
        (statistics.mean.iter().zip(&inverse).zip(weight))
            .map(|((&mean, &inverse), &weight)| [mean, inverse, weight])
            .collect()
    };
    let mut y = vec![0.0; x.elem_count()];
    {
        let (x, w, b) = (values(&x)?, values(weight)?, values(bias)?);
        let (channels, b) = (channels(&w), &*b);
        y.par_chunks_mut(step)
            .zip(x.par_chunks(step))
            .for_each(|(y, x)| {
                for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                    for ((y, x), (&[mean, inverse, w], b)) in
                        y.iter_mut().zip(x).zip(channels.iter().zip(b))
                    {
                        let value = (x - mean) * inverse * w + b;
                        *y = if relu { value.max(0.0) } else { value };
                    }
                }
            });
    }
    let kept = (x.detach(), weight.detach(), bias.detach());
    let wants = x.track_op();
    let backward = move |grad: &Tensor| {
        let (x, w, b) = (values(&kept.0)?, values(&kept.1)?, values(&kept.2)?);
        let (x, b, grad) = (&*x, &*b, values(grad)?);
        let (grad, channels) = (&*grad, channels(&w));
        // The gradient behind the activation, and the normalised value.
        let both = |x: f32, grad: f32, [mean, inverse, w]: [f32; 3], b: f32| {
            let normal = (x - mean) * inverse;
            let open = !relu || normal * w + b > 0.0;
            (if open { grad } else { 0.0 }, normal)
        };
        let sums: (Vec<_>, Vec<_>) = x
            .par_chunks(step)
            .zip(grad.par_chunks(step))
            .map(|(x, grad)| {
                let (mut dw, mut db) = (vec![0.0; c], vec![0.0; c]);
                for (x, grad) in x.chunks_exact(c).zip(grad.chunks_exact(c)) {
                    let cells = x.iter().zip(grad).zip(channels.iter().zip(b));
                    for (((&x, &grad), (&channel, &b)), (dw, db)) in
                        cells.zip(dw.iter_mut().zip(&mut db))
                    {
                        let (grad, normal) = both(x, grad, channel, b);
                        *dw += grad * normal;
                        *db += grad;
                    }
                }
                (dw, db)
            })
            .unzip();
        let (dw, db) = (total(&sums.0, c), total(&sums.1, c));
        let dx = wants.then(|| {
            let rows = (x.len() / c) as f32;
            let mut dx = vec![0.0; x.len()];
            dx.par_chunks_mut(step)
                .zip(x.par_chunks(step).zip(grad.par_chunks(step)))
                .for_each(|(dx, (x, grad))| {
                    let inputs = x.chunks_exact(c).zip(grad.chunks_exact(c));
                    for (dx, (x, grad)) in dx.chunks_exact_mut(c).zip(inputs) {
                        for i in 0..c {
                            let (grad, normal) = both(x[i], grad[i], channels[i], b[i]);
                            let [_, inverse, w] = channels[i];
                            let along = if batch {
                                (db[i] + normal * dw[i]) / rows
                            } else {
                                0.0
                            };
                            dx[i] = (grad - along) * inverse * w;
                        }
                    }
                });
            tensor(dx, kept.0.shape())
        });
        Ok([
            dx.transpose()?,
            Some(tensor(dw, kept.1.shape())?),
            Some(tensor(db, kept.2.shape())?),
        ])
    };
    ([&x, weight, bias], backward).by_hand("batch norm", y, x.shape())
}
