//! Fully connected layer: a convolution over one pixel. Its bias stays out of z.

use crate::graph::Linear;
use crate::op::conv::{self, Finish, Pass};
use crate::op::{Context, Sinks};
use crate::rule::{Dead, Folded};
use crate::shape::Shape;
use crate::view::Weights;

fn shapes(l: &Linear) -> (Shape, Shape) {
    (Shape::features(l.ci), Shape::features(l.co))
}

/// Floats of scratch that [`forward`] needs.
#[must_use]
pub fn forward_scratch(l: &Linear) -> usize {
    conv::forward_scratch(&l.as_conv(), shapes(l).0)
}

/// Floats of scratch that [`relevance`] needs.
#[must_use]
pub fn relevance_scratch(l: &Linear, threads: usize, maps: usize) -> usize {
    let (input, output) = shapes(l);
    conv::relevance_scratch(&l.as_conv(), input, output, threads, maps)
}

/// `y = W x + b`, `[ci] -> [co]`, for every image of a batch.
pub fn forward(
    cx: &Context<'_>,
    l: &Linear,
    x: &[f32],
    (w, bias): (Weights<'_>, Option<&[f32]>),
    out: (&mut [f32], &mut [f32]),
) {
    conv::forward(
        cx,
        &l.as_conv(),
        shapes(l),
        x,
        w,
        Finish {
            shift: bias,
            ..Finish::default()
        },
        out,
    );
}

/// Relevance of the input features by z+ with this eps, written or added to `out`.
pub fn relevance(
    cx: &Context<'_>,
    l: &Linear,
    (a, r): (&[f32], &[f32]),
    (w, rule): (Weights<'_>, (f32, Dead)),
    how: (Pass, bool),
    out: (&mut [f32], &mut [f32]),
) -> Sinks {
    conv::relevance(cx, &l.as_conv(), shapes(l), (a, r), (w, rule), how, out)
}

/// Floats of scratch that [`gradient`] needs.
#[must_use]
pub fn gradient_scratch(l: &Linear, threads: usize) -> usize {
    conv::gradient_scratch(&l.as_conv(), threads)
}

/// `W^T s`, `[co] -> [ci]`, written or added to `out`.
pub fn gradient(
    cx: &Context<'_>,
    l: &Linear,
    s: &[f32],
    w: Weights<'_>,
    accumulate: bool,
    out: (&mut [f32], &mut [f32]),
) {
    conv::gradient(cx, &l.as_conv(), shapes(l), s, w, accumulate, out);
}

/// Floats of scratch that [`folded`] needs.
#[must_use]
pub fn folded_scratch(l: &Linear, threads: usize) -> usize {
    let (input, output) = shapes(l);
    conv::folded::scratch(&l.as_conv(), input, output, threads)
}

/// Relevance of the input features by a rule of zennit's, written or added to `out`.
pub fn folded(
    cx: &Context<'_>,
    l: &Linear,
    (a, r): (&[f32], &[f32]),
    (w, bias): (Weights<'_>, Option<&[f32]>),
    how: (Folded, bool),
    out: (&mut [f32], &mut [f32]),
) {
    let w = (w, (None, bias));
    conv::folded::relevance(cx, &l.as_conv(), shapes(l), (a, r), w, how, out);
}
