//! Normalisation over the channels of each row (LayerNorm).

use candle_core::{Result, Tensor};
use elucid_core::graph::PANEL;
use elucid_core::op::norm;
use elucid_core::simd::{Isa, Lanes, Task};
use rayon::prelude::*;

use super::hand::{ByHand, context, part_rows, tensor, total, values};

/// `(x - mean) / sqrt(variance + eps) * weight + bias` over the last dimension, the variance biased.
///
/// # Errors
/// For shapes that don't fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (c, isa) = (weight.elem_count(), Isa::detect());
    let mut y = vec![0.0; x.elem_count()];
    let step = part_rows(y.len() / c) * c;
    {
        let (x, w, b) = (values(&x)?, values(weight)?, values(bias)?);
        let (x, vectors) = (&*x, (Some(&*w), Some(&*b)));
        y.par_chunks_mut(step)
            .zip(x.par_chunks(step))
            .for_each(|(y, x)| norm::forward(&context(isa), (c, eps), x, vectors, y));
    }
    let kept = (x.detach(), weight.detach(), bias.shape().clone());
    let wants = x.track_op();
    let backward = move |grad: &Tensor| {
        let (x, weight, grad) = (values(&kept.0)?, values(&kept.1)?, values(grad)?);
        let (x, weight, grad) = (&*x, &*weight, &*grad);
        let mut dx = vec![0.0; x.len()];
        let sums: Vec<(Vec<f32>, Vec<f32>)> = dx
            .par_chunks_mut(step)
            .zip(x.par_chunks(step).zip(grad.par_chunks(step)))
            .map(|(dx, (x, grad))| {
                let mut sums = (vec![0.0; c], vec![0.0; c]);
                isa.run(Backward {
                    c,
                    eps,
                    x,
                    weight,
                    grad,
                    dx,
                    dw: &mut sums.0,
                    db: &mut sums.1,
                });
                sums
            })
            .collect();
        let (dw, db): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
        let dx = wants.then(|| tensor(dx, kept.0.shape())).transpose()?;
        let dw = tensor(total(&dw, c), kept.1.shape())?;
        Ok([dx, Some(dw), Some(tensor(total(&db, c), &kept.2)?)])
    };
    ([&x, weight, bias], backward).by_hand("layer norm", y, x.shape())
}

struct Backward<'a> {
    c: usize,
    eps: f32,
    x: &'a [f32],
    weight: &'a [f32],
    grad: &'a [f32],
    dx: &'a mut [f32],
    dw: &'a mut [f32],
    db: &'a mut [f32],
}

impl Task for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let c = self.c;
        let inputs = self.x.chunks_exact(c).zip(self.grad.chunks_exact(c));
        for (dx, (x, grad)) in self.dx.chunks_exact_mut(c).zip(inputs) {
            let (mean, inverse) = norm::moments(l, x, self.eps);
            // What is padded is 0 in the weights, and so adds nothing to the sums.
            let normal = |x: &[f32]| {
                let centred = l.add(l.load_some(x), l.splat(-mean));
                l.mul(centred, l.splat(inverse))
            };
            let (mut sum, mut product) = (l.splat(0.0), l.splat(0.0));
            let vectors = (self.weight.chunks(PANEL))
                .zip(self.dw.chunks_mut(PANEL).zip(self.db.chunks_mut(PANEL)));
            let rows = x.chunks(PANEL).zip(grad.chunks(PANEL));
            for ((x, grad), (weight, (dw, db))) in rows.zip(vectors) {
                let (normal, grad) = (normal(x), l.load_some(grad));
                let scaled = l.mul(grad, l.load_some(weight));
                sum = l.add(sum, scaled);
                product = l.mul_add(scaled, normal, product);
                l.store_some(l.mul_add(grad, normal, l.load_some(dw)), dw);
                l.store_some(l.add(l.load_some(db), grad), db);
            }
            let (sum, product) = (l.sum(sum) / c as f32, l.sum(product) / c as f32);
            let rows = x.chunks(PANEL).zip(grad.chunks(PANEL));
            let panels = (dx.chunks_mut(PANEL)).zip(self.weight.chunks(PANEL));
            for ((x, grad), (dx, weight)) in rows.zip(panels) {
                let scaled = l.mul(l.load_some(grad), l.load_some(weight));
                let along = l.mul_add(normal(x), l.splat(-product), l.splat(-sum));
                l.store_some(l.mul(l.add(scaled, along), l.splat(inverse)), dx);
            }
        }
    }
}
