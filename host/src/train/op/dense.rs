//! Fully connected layers of rows.

use candle_core::{Result, Tensor};
use elucid_core::graph::Activation;

use super::activation::{finish, slope};
use super::hand::{ByHand, sum_rows, tensor, values};

/// `act(x w^T + bias)`: `x` is `[.., ci]`, `w` has `co * ci` values, `bias` `co`; gives `[.., co]`.
///
/// # Errors
/// For shapes that don't fit.
pub fn dense(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, act: Activation) -> Result<Tensor> {
    let ci = x.dim(candle_core::D::Minus1)?;
    let co = w.elem_count() / ci.max(1);
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(co);
    let flat = x.detach().reshape(((), ci))?.contiguous()?;
    let matrix = w.detach().reshape((co, ci))?.contiguous()?;
    let z = flat.matmul(&matrix.t()?)?;
    let y = match bias {
        Some(bias) => finish(act, co, &values(&z)?, Some(&*values(bias)?)),
        None => finish(act, co, &values(&z)?, None),
    };
    let wants = [x, w].map(Tensor::track_op);
    let shapes = (x.shape().clone(), w.shape().clone());
    let summand = bias.map(Tensor::detach);
    // Gradients of x and w, and the values of the bias's.
    let back = move |grad: &Tensor| -> Result<(Option<Tensor>, Option<Tensor>, Vec<f32>)> {
        let (dz, db) = if act == Activation::Identity {
            let db = match &summand {
                Some(_) => sum_rows(&values(grad)?, co),
                None => Vec::new(),
            };
            (grad.reshape(((), co))?, db)
        } else {
            let bias = summand.as_ref().map(values).transpose()?;
            let (dz, db) = slope(act, co, &values(&z)?, bias.as_deref(), &values(grad)?);
            (tensor(dz, z.shape())?, db)
        };
        let dx = wants[0].then(|| dz.matmul(&matrix)?.reshape(&shapes.0));
        let dw = wants[1].then(|| dz.t()?.matmul(&flat)?.reshape(&shapes.1));
        Ok((dx.transpose()?, dw.transpose()?, db))
    };
    match bias {
        Some(bias) => {
            let (wanted, like) = (bias.track_op(), bias.shape().clone());
            let backward = move |grad: &Tensor| {
                let (dx, dw, db) = back(grad)?;
                let db = wanted.then(|| tensor(db, &like)).transpose()?;
                Ok([dx, dw, db])
            };
            ([x, w, bias], backward).by_hand("dense", y, shape)
        }
        None => {
            let backward = move |grad: &Tensor| {
                let (dx, dw, _) = back(grad)?;
                Ok([dx, dw])
            };
            ([x, w], backward).by_hand("dense", y, shape)
        }
    }
}
