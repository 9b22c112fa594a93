//! What ends a layer: a bias per channel and an activation, and the slope of both.

use candle_core::{Result, Tensor};
use elucid_core::graph::{Activation, PANEL};
use elucid_core::simd::{Isa, Lanes, Task, exp, gelu, quick_gelu};
use rayon::prelude::*;

use super::hand::{ByHand, part_rows, sum_rows, tensor, total, values};

/// `act(z + bias)` of rows of `c` values.
pub fn finish(act: Activation, c: usize, z: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let (mut y, isa) = (vec![0.0; z.len()], Isa::detect());
    let step = part_rows(z.len() / c) * c;
    y.par_chunks_mut(step)
        .zip(z.par_chunks(step))
        .for_each(|(y, z)| {
            isa.run(Finish { act, c, z, bias, y });
        });
    y
}

/// Gradients of `z` and of the bias from `grad`, that of `act(z + bias)`.
pub fn slope(
    act: Activation,
    c: usize,
    z: &[f32],
    bias: Option<&[f32]>,
    grad: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let (mut dz, isa) = (vec![0.0; z.len()], Isa::detect());
    let step = part_rows(z.len() / c) * c;
    let sums: Vec<Vec<f32>> = dz
        .par_chunks_mut(step)
        .zip(z.par_chunks(step).zip(grad.par_chunks(step)))
        .map(|(dz, (z, grad))| {
            let mut sum = vec![0.0; c];
            isa.run(Slope {
                act,
                c,
                z,
                bias,
                grad,
                dz,
                sum: &mut sum,
            });
            sum
        })
        .collect();
    (dz, total(&sums, c))
}

/// `act(x + bias)` over the last dimension, which has `bias`'s length.
///
/// # Errors
/// For shapes that don't fit.
pub fn epilogue(x: &Tensor, bias: &Tensor, act: Activation) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (c, shape) = (bias.elem_count(), x.shape().clone());
    let y = finish(act, c, &values(&x)?, Some(&*values(bias)?));
    let kept = (x.detach(), bias.detach());
    let backward = move |grad: &Tensor| {
        let (z, bias) = (values(&kept.0)?, values(&kept.1)?);
        let (shape, grad_values) = (kept.0.shape(), values(grad)?);
        if act == Activation::Identity {
            let db = tensor(sum_rows(&grad_values, c), kept.1.shape())?;
            return Ok([Some(grad.clone()), Some(db)]);
        }
        let (dz, db) = slope(act, c, &z, Some(&bias), &grad_values);
        Ok([Some(tensor(dz, shape)?), Some(tensor(db, kept.1.shape())?)])
    };
    ([&x, bias], backward).by_hand("epilogue", y, shape)
}

#[inline(always)]
fn biased<L: Lanes>(l: L, z: &[f32], bias: Option<&[f32]>, at: usize) -> L::Row {
    let z = l.load_some(z);
    match bias {
        Some(bias) => l.add(z, l.load_some(&bias[at..])),
        None => z,
    }
}

struct Finish<'a> {
    act: Activation,
    c: usize,
    z: &'a [f32],
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Task for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let rows = self.y.chunks_exact_mut(self.c);
        for (y, z) in rows.zip(self.z.chunks_exact(self.c)) {
            for (p, (y, z)) in y.chunks_mut(PANEL).zip(z.chunks(PANEL)).enumerate() {
                let x = biased(l, z, self.bias, p * PANEL);
                let value = match self.act {
                    Activation::Identity => x,
                    Activation::Relu => l.relu(x),
                    Activation::Gelu => gelu(l, x),
                    Activation::QuickGelu => quick_gelu(l, x),
                };
                l.store_some(value, y);
            }
        }
    }
}

struct Slope<'a> {
    act: Activation,
    c: usize,
    z: &'a [f32],
    bias: Option<&'a [f32]>,
    grad: &'a [f32],
    dz: &'a mut [f32],
    sum: &'a mut [f32],
}

impl Task for Slope<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let rows = (self.z.chunks_exact(self.c)).zip(self.grad.chunks_exact(self.c));
        for (dz, (z, grad)) in self.dz.chunks_exact_mut(self.c).zip(rows) {
            let panels = (dz.chunks_mut(PANEL).zip(self.sum.chunks_mut(PANEL)))
                .zip(z.chunks(PANEL).zip(grad.chunks(PANEL)));
            for (p, ((dz, sum), (z, grad))) in panels.enumerate() {
                let x = biased(l, z, self.bias, p * PANEL);
                let grad = l.load_some(grad);
                let product = match self.act {
                    Activation::Identity => grad,
                    Activation::Relu => l.mul(grad, step(l, x)),
                    Activation::Gelu => l.mul(grad, gelu_slope(l, x)),
                    Activation::QuickGelu => l.mul(grad, quick_gelu_slope(l, x)),
                };
                l.store_some(product, dz);
                l.store_some(l.add(l.load_some(sum), product), sum);
            }
        }
    }
}

/// 1 above 0, else 0.
#[inline(always)]
fn step<L: Lanes>(l: L, x: L::Row) -> L::Row {
    l.guarded_div(x, x, 0.0).0
}

/// `|x|`
#[inline(always)]
fn size<L: Lanes>(l: L, x: L::Row) -> L::Row {
    l.add(l.relu(x), l.relu(l.mul(x, l.splat(-1.0))))
}

/// `f(x)` for a function with `f(-x) = 1 - f(x)` from `below`, its value at `-|x|`.
#[inline(always)]
fn reflect<L: Lanes>(l: L, x: L::Row, below: L::Row) -> L::Row {
    let above = l.mul_add(below, l.splat(-2.0), l.splat(1.0));
    l.mul_add(step(l, x), above, below)
}

/// `Phi(x) + x phi(x)`: Phi by formula 7.1.26 of Abramowitz and Stegun, as the core's GELU.
#[inline(always)]
fn gelu_slope<L: Lanes>(l: L, x: L::Row) -> L::Row {
    const DENSITY: f32 = 0.398_942_3;
    let y = l.mul(size(l, x), l.splat(core::f32::consts::FRAC_1_SQRT_2));
    let t = l.div(
        l.splat(1.0),
        l.mul_add(y, l.splat(0.327_591_1), l.splat(1.0)),
    );
    let series = [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6];
    let p = series
        .iter()
        .fold(l.splat(1.061_405_4), |p, &c| l.mul_add(p, t, l.splat(c)));
    let bell = exp(l, l.mul(l.mul(y, y), l.splat(-1.0)));
    let below = l.mul(l.mul(p, t), l.mul(bell, l.splat(0.5)));
    l.mul_add(l.mul(x, l.splat(DENSITY)), bell, reflect(l, x, below))
}

/// `s + 1.702 x s (1 - s)` with `s = sigmoid(1.702 x)`.
#[inline(always)]
fn quick_gelu_slope<L: Lanes>(l: L, x: L::Row) -> L::Row {
    let e = exp(l, l.mul(size(l, x), l.splat(-1.702)));
    let below = l.div(e, l.add(e, l.splat(1.0)));
    // s (1 - s) is the same on both sides of 0.
    let bell = l.mul(below, l.mul_add(below, l.splat(-1.0), l.splat(1.0)));
    l.mul_add(l.mul(x, l.splat(1.702)), bell, reflect(l, x, below))
}
