//! What training makes smaller.

use candle_core::{Result, Tensor, bail};

use super::hand::{ByHand, tensor, values};

/// Mean over images of `-log softmax(logits)[label]`: `[images, classes]` or `[images, 1, classes]` to a number of shape
/// `[]`, worked out in f64.
///
/// # Errors
/// If there isn't one label for each image, or one that is no class.
pub fn cross_entropy(logits: &Tensor, labels: &[u32]) -> Result<Tensor> {
    let logits = logits.contiguous()?;
    let classes = logits.dim(candle_core::D::Minus1)?;
    let images = logits.elem_count() / classes.max(1);
    if images != labels.len() || images == 0 {
        bail!("{images} images have {} labels", labels.len());
    }
    if let Some(label) = labels.iter().find(|&&l| l as usize >= classes) {
        bail!("label {label} is none of {classes} classes");
    }
    let mut loss = 0.0;
    let mut slope = vec![0.0; logits.elem_count()];
    let values = values(&logits)?;
    let rows = values.chunks_exact(classes).zip(labels);
    for ((row, &label), slope) in rows.zip(slope.chunks_exact_mut(classes)) {
        let label = label as usize;
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let e = |x: f32| (f64::from(x) - f64::from(most)).exp();
        let sum: f64 = row.iter().map(|&x| e(x)).sum();
        loss += sum.ln() + f64::from(most) - f64::from(row[label]);
        for (i, (slope, &x)) in slope.iter_mut().zip(row).enumerate() {
            let wanted = if i == label { 1.0 } else { 0.0 };
            *slope = ((e(x) / sum - wanted) / images as f64) as f32;
        }
    }
    drop(values);
    let slope = tensor(slope, logits.shape())?;
    let backward = move |grad: &Tensor| Ok([Some(slope.broadcast_mul(grad)?)]);
    let value = vec![(loss / images as f64) as f32];
    ([&logits], backward).by_hand("cross entropy", value, ())
}
