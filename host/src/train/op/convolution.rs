//! Convolutions as one product of matrices, and pools.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::hand::{ByHand, tensor, values};
use super::window::Windows;

/// `x` `[images, h * w, ci]` with `w` `[co, ci, kh, kw]`: `[images, h' * w', co]`.
///
/// Where there are fewer outputs than inputs, every pixel is multiplied with all taps at once and the products are
/// shifted and added, which moves less memory than cutting windows out.
///
/// # Errors
/// For shapes that don't fit.
pub fn convolution(x: &Tensor, w: &Tensor, windows: Windows) -> Result<Tensor> {
    let (images, _, ci) = x.dims3()?;
    let [kh, kw] = windows.kernel;
    let co = w.elem_count() / (ci * kh * kw).max(1);
    let shifts = windows.stride == 1 && co <= ci && kh == kw && windows.pad < kh;
    let flat = x.detach().reshape(((), ci))?.contiguous()?;
    let weights = Weights {
        taps: kh * kw,
        ci,
        co,
    };
    let (w_shape, x_shape) = (w.shape().clone(), x.shape().clone());
    let wants = [x, w].map(Tensor::track_op);
    let [rows, cols] = windows.places();
    let shape = (images, rows * cols, co);
    if shifts {
        let matrix = weights.outwards(&values(&w.contiguous()?)?)?;
        let back = windows.reversed();
        let y = back.fold(co, &values(&flat.matmul(&matrix)?)?);
        let backward = move |grad: &Tensor| {
            let wide = tensor(
                back.unfold(co, &values(grad)?),
                (flat.dim(0)?, weights.taps * co),
            )?;
            let dx = wants[0].then(|| wide.matmul(&matrix.t()?)?.reshape(&x_shape));
            let dw = wants[1].then(|| {
                let dw = flat.t()?.matmul(&wide)?;
                tensor(weights.outwards_back(&values(&dw)?), &w_shape)
            });
            Ok([dx.transpose()?, dw.transpose()?])
        };
        return ([x, w], backward).by_hand("convolution", y, shape);
    }
    let matrix = weights.inwards(&values(&w.contiguous()?)?)?;
    let cut = windows.unfold(ci, &values(&flat)?);
    let cut = tensor(cut, (images * rows * cols, weights.taps * ci))?;
    let y = cut.matmul(&matrix)?.flatten_all()?.to_vec1()?;
    let backward = move |grad: &Tensor| {
        let grad = grad.reshape(((), co))?;
        let dx = wants[0].then(|| {
            let wide = grad.matmul(&matrix.t()?)?;
            tensor(windows.fold(ci, &values(&wide)?), &x_shape)
        });
        let dw = wants[1].then(|| {
            let dw = cut.t()?.matmul(&grad)?;
            tensor(weights.inwards_back(&values(&dw)?), &w_shape)
        });
        Ok([dx.transpose()?, dw.transpose()?])
    };
    ([x, w], backward).by_hand("convolution", y, shape)
}

/// How weights `[co, ci, taps]` are laid out.
#[derive(Clone, Copy)]
struct Weights {
    taps: usize,
    ci: usize,
    co: usize,
}

impl Weights {
    /// `[ci][taps, last first][co]`: products that are then shifted.
    fn outwards(self, w: &[f32]) -> Result<Tensor> {
        let Self { taps, ci, co } = self;
        let mut to = vec![0.0; w.len()];
        to.par_chunks_mut(taps * co)
            .enumerate()
            .for_each(|(i, to)| {
                for (tap, to) in to.chunks_exact_mut(co).enumerate() {
                    let from = i * taps + (taps - 1 - tap);
                    for (o, to) in to.iter_mut().enumerate() {
                        *to = w[o * ci * taps + from];
                    }
                }
            });
        tensor(to, (ci, taps * co))
    }

    fn outwards_back(self, d: &[f32]) -> Vec<f32> {
        let Self { taps, ci, co } = self;
        let mut to = vec![0.0; d.len()];
        to.par_chunks_mut(ci * taps)
            .enumerate()
            .for_each(|(o, to)| {
                for (i, to) in to.chunks_exact_mut(taps).enumerate() {
                    for (tap, to) in to.iter_mut().enumerate() {
                        *to = d[(i * taps + (taps - 1 - tap)) * co + o];
                    }
                }
            });
        to
    }

    /// `[taps][ci][co]`: for windows that were cut out.
    fn inwards(self, w: &[f32]) -> Result<Tensor> {
        let Self { taps, ci, co } = self;
        let mut to = vec![0.0; w.len()];
        to.par_chunks_mut(ci * co)
            .enumerate()
            .for_each(|(tap, to)| {
                for (i, to) in to.chunks_exact_mut(co).enumerate() {
                    for (o, to) in to.iter_mut().enumerate() {
                        *to = w[(o * ci + i) * taps + tap];
                    }
                }
            });
        tensor(to, (taps * ci, co))
    }

    fn inwards_back(self, d: &[f32]) -> Vec<f32> {
        let Self { taps, ci, co } = self;
        let mut to = vec![0.0; d.len()];
        to.par_chunks_mut(ci * taps)
            .enumerate()
            .for_each(|(o, to)| {
                for (i, to) in to.chunks_exact_mut(taps).enumerate() {
                    for (tap, to) in to.iter_mut().enumerate() {
                        *to = d[(tap * ci + i) * co + o];
                    }
                }
            });
        to
    }
}

/// The largest of each window and channel, `[images, h * w, c]` to `[images, h' * w', c]`. The gradient goes to the first
/// largest.
///
/// # Errors
/// For shapes that don't fit.
pub fn max_pool(x: &Tensor, windows: Windows) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (images, cells, c) = x.dims3()?;
    if cells != windows.grid[0] * windows.grid[1] {
        bail!("{cells} cells are no grid {:?}", windows.grid);
    }
    let [rows, cols] = windows.places();
    let (y, at) = windows.largest(c, &values(&x)?);
    let shape = x.shape().clone();
    let backward = move |grad: &Tensor| {
        let (grad, each) = (values(grad)?, (rows * cols * c).max(1));
        let mut dx = vec![0.0; shape.elem_count()];
        dx.par_chunks_mut(cells * c)
            .zip(grad.par_chunks(each).zip(at.par_chunks(each)))
            .for_each(|(dx, (grad, at))| {
                for (grad, at) in grad.chunks_exact(c).zip(at.chunks_exact(c)) {
                    for (i, (grad, &at)) in grad.iter().zip(at).enumerate() {
                        if at != u32::MAX {
                            dx[at as usize * c + i] += grad;
                        }
                    }
                }
            });
        Ok([Some(tensor(dx, &shape)?)])
    };
    ([&x], backward).by_hand("max pool", y, (images, rows * cols, c))
}

/// Every `stride`-th cell of `[images, h * w, c]`, which is what windows of one cell are.
///
/// # Errors
/// For shapes that don't fit.
pub fn subsample(x: &Tensor, windows: Windows) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (images, _, c) = x.dims3()?;
    let y = windows.unfold(c, &values(&x)?);
    let (shape, cells) = (x.shape().clone(), y.len() / (images * c));
    let backward = move |grad: &Tensor| {
        let dx = windows.fold(c, &values(grad)?);
        Ok([Some(tensor(dx, &shape)?)])
    };
    ([&x], backward).by_hand("subsample", y, (images, cells, c))
}

/// The mean over all cells: `[images, h * w, c]` to `[images, 1, c]`.
///
/// # Errors
/// For shapes that don't fit.
pub fn average(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (images, cells, c) = x.dims3()?;
    let factor = 1.0 / cells as f32;
    let mut y = vec![0.0; images * c];
    for (y, x) in y
        .chunks_exact_mut(c)
        .zip(values(&x)?.chunks_exact(cells * c))
    {
        for x in x.chunks_exact(c) {
            y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
        }
        y.iter_mut().for_each(|y| *y *= factor);
    }
    let backward = move |grad: &Tensor| {
        let grad = (grad * f64::from(factor))?.broadcast_as((images, cells, c))?;
        Ok([Some(grad.contiguous()?)])
    };
    ([&x], backward).by_hand("average", y, (images, 1, c))
}
