//! Parameter-free shortcut (option A): every `stride`-th pixel, with zero channels before and after.

use crate::graph::Subsample;
use crate::shape::Shape;

/// Pairs of (input offset, output offset) of the `input.c` channels that pass.
fn pairs(s: &Subsample, input: Shape, output: Shape) -> impl Iterator<Item = (usize, usize)> {
    let (stride, before) = (usize::from(s.stride), usize::from(s.before));
    let (iw, ow) = (input.w as usize, output.w as usize);
    let (ci, co) = (input.c as usize, output.c as usize);
    (0..output.pixels()).map(move |p| {
        (
            (p / ow * stride * iw + p % ow * stride) * ci,
            p * co + before,
        )
    })
}

/// `[h, w, c] -> [ceil(h / stride), ceil(w / stride), before + c + after]`
pub fn forward(s: &Subsample, (input, output): (Shape, Shape), x: &[f32], y: &mut [f32]) {
    let c = input.c as usize;
    y.fill(0.0);
    for (from, to) in pairs(s, input, output) {
        y[to..to + c].copy_from_slice(&x[from..from + c]);
    }
}

/// Relevance back to the pixels it came from, written or added to `out`; returns what lay on the zero channels, which
/// have no input to go to.
pub fn relevance(
    s: &Subsample,
    (input, output): (Shape, Shape),
    r: &[f32],
    accumulate: bool,
    out: &mut [f32],
) -> f64 {
    let c = input.c as usize;
    if !accumulate {
        out.fill(0.0);
    }
    let mut stranded = 0.0;
    for (to, from) in pairs(s, input, output) {
        for (out, &r) in out[to..to + c].iter_mut().zip(&r[from..from + c]) {
            *out += r;
        }
        let cell = from - usize::from(s.before);
        let (first, last) = (&r[cell..from], &r[from + c..cell + output.c as usize]);
        stranded += first.iter().chain(last).map(|&r| f64::from(r)).sum::<f64>();
    }
    stranded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relevance_returns_the_way_it_came() {
        let s = Subsample {
            stride: 2,
            before: 1,
            after: 2,
        };
        let (input, output) = (Shape::new(3, 3, 2), Shape::new(2, 2, 5));
        let x: [f32; 18] = core::array::from_fn(|i| i as f32 + 1.0);
        let mut y = [9.0; 20];
        forward(&s, (input, output), &x, &mut y);
        assert_eq!(&y[5..10], &[0.0, 5.0, 6.0, 0.0, 0.0]);
        let mut back = [1.0; 18];
        let stranded = relevance(&s, (input, output), &[1.0; 20], true, &mut back);
        assert_eq!(stranded, 12.0);
        assert_eq!(back.iter().sum::<f32>(), 18.0 + 8.0);
        assert_eq!((back[4], back[2]), (2.0, 1.0));
    }
}
