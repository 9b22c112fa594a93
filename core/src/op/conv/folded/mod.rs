//! Rules over weights with BatchNorm folded in, as zennit defines them: `w' = scale w`, `b' = shift`.
//!
//! A rule is a sum of terms, each a part of the input times a part of the weights. Terms of one group share a denominator:
//! `z = sum over terms of conv(x_t, w_t) + b_t`, `s = R / (z + eps sign(z))`, `R_in = sum over terms of x_t conv_transposed(s,
//! w_t)`. A term's weights are written out one layer at a time, so that the kernels are those of the forward pass.

#[cfg(test)]
mod tests;

use crate::graph::{Activation, Conv, PANEL};
use crate::op::Context;
use crate::par::{Grid, Tile, tiles};
use crate::rule::{Folded, Kind};
use crate::shape::Shape;
use crate::simd::{Lanes, Load, Task};
use crate::view::Weights;

use super::transposed::{transposed, transposed_narrow, turned};
use super::{Finish, Share, forward, forward_scratch, narrow};

/// Scale and shift, of each output channel.
pub type Norm<'a> = (Option<&'a [f32]>, Option<&'a [f32]>);

/// What a term takes of the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Of {
    /// As it is.
    All,
    /// What is positive.
    Positive,
    /// What is negative.
    Negative,
    /// Ones.
    Ones,
    /// The same in every pixel.
    Constant([f32; 3]),
}

/// What a term takes of weights and bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    /// As they are.
    All,
    /// What is positive.
    Positive,
    /// What is negative.
    Negative,
    /// All, and the positive ones this many times more.
    MorePositive(f32),
    /// All, and the negative ones this many times more.
    MoreNegative(f32),
    /// One.
    One,
    /// Their squares.
    Square,
}

impl Part {
    #[inline(always)]
    fn of(self, v: f32) -> f32 {
        let (plus, minus) = (if v > 0.0 { v } else { 0.0 }, if v < 0.0 { v } else { 0.0 });
        match self {
            Part::All => v,
            Part::Positive => plus,
            Part::Negative => minus,
            Part::MorePositive(gamma) => v + gamma * plus,
            Part::MoreNegative(gamma) => v + gamma * minus,
            Part::One => 1.0,
            Part::Square => v * v,
        }
    }
}

/// A part of the input times a part of the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// Of the input.
    pub of: Of,
    /// Of the weights, and of the bias.
    pub part: Part,
    /// Whether the bias counts.
    pub bias: bool,
    /// Factor of weights and bias.
    pub sign: f32,
}

impl Term {
    /// The product of all weights with the bias: in rules that look at a cell's sign it always counts, as in zennit.
    pub const WHOLE: Self = Self {
        of: Of::All,
        part: Part::All,
        bias: true,
        sign: 1.0,
    };
}

/// Which cells pass a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cells {
    /// All of them.
    Every,
    /// Those whose product of all weights is positive.
    Positive,
    /// Those whose product of all weights is negative.
    Negative,
}

/// Terms of one denominator, their common factor, and the cells that pass: those with such a product of all weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// The terms.
    pub terms: [Option<Term>; 3],
    /// Factor of the quotient.
    pub factor: f32,
    /// The cells.
    pub cells: Cells,
}

/// The groups of a rule.
#[must_use]
pub fn groups(rule: Folded) -> [Option<Group>; 2] {
    let term = |of, part, bias, sign| {
        Some(Term {
            of,
            part,
            bias: bias && rule.bias,
            sign,
        })
    };
    let group = |terms, factor, cells| {
        Some(Group {
            terms,
            factor,
            cells,
        })
    };
    // What is positive times what is positive and negative times negative, or the other way round.
    let pair = |plus, minus, factor: f32, cells| {
        let terms = [
            term(Of::Positive, plus, true, 1.0),
            term(Of::Negative, minus, false, 1.0),
            None,
        ];
        group(terms, factor, cells).filter(|_| factor != 0.0)
    };
    let one = |of, part, bias| group([term(of, part, bias, 1.0), None, None], 1.0, Cells::Every);
    match rule.kind {
        Kind::Epsilon => [one(Of::All, Part::All, true), None],
        Kind::AlphaBeta { alpha, beta } => [
            pair(Part::Positive, Part::Negative, alpha, Cells::Every),
            pair(Part::Negative, Part::Positive, -beta, Cells::Every),
        ],
        Kind::Gamma { gamma } => {
            let (more, less) = (Part::MorePositive(gamma), Part::MoreNegative(gamma));
            [
                pair(more, less, 1.0, Cells::Positive),
                pair(less, more, 1.0, Cells::Negative),
            ]
        }
        Kind::Flat => [one(Of::Ones, Part::One, false), None],
        Kind::WSquare => [one(Of::Ones, Part::Square, true), None],
        Kind::ZBox { low, high } => {
            let terms = [
                term(Of::All, Part::All, true, 1.0),
                term(Of::Constant(low), Part::Positive, true, -1.0),
                term(Of::Constant(high), Part::Negative, true, -1.0),
            ];
            [group(terms, 1.0, Cells::Every), None]
        }
    }
}

/// Floats of scratch that [`relevance`] needs: a term's weights, bias and input, two times z, s, the product of all weights,
/// and what the kernels need.
#[must_use]
pub fn scratch(c: &Conv, input: Shape, output: Shape, threads: usize) -> usize {
    let [weights, bias, x, cells] = sizes(c, input, output);
    let work = if narrow(c) {
        forward_scratch(c, input)
    } else {
        threads.saturating_mul(turned(c))
    };
    weights
        .saturating_add(bias)
        .saturating_add(x)
        .saturating_add(cells.saturating_mul(3))
        .saturating_add(work)
}

/// Pieces of that scratch: weights, bias, input, and (three times) what is as large as the output.
#[must_use]
pub fn sizes(c: &Conv, input: Shape, output: Shape) -> [usize; 4] {
    [
        c.stored(),
        c.panels() * PANEL,
        input.elements().next_multiple_of(PANEL),
        output.elements().next_multiple_of(PANEL),
    ]
}

/// Relevance of one image's input, written to `out` or, with `accumulate`, added to it.
pub fn relevance(
    cx: &Context<'_>,
    c: &Conv,
    shapes: (Shape, Shape),
    (a, r): (&[f32], &[f32]),
    (w, bn): (Weights<'_>, Norm<'_>),
    (rule, mut accumulate): (Folded, bool),
    (out, scratch): (&mut [f32], &mut [f32]),
) {
    let [weights, bias, x, cells] = sizes(c, shapes.0, shapes.1);
    let (weights, rest) = scratch.split_at_mut(weights);
    let (bias, rest) = rest.split_at_mut(bias);
    let (x, rest) = rest.split_at_mut(x);
    let (z, rest) = rest.split_at_mut(cells);
    let (s, rest) = rest.split_at_mut(cells);
    let (whole, work) = rest.split_at_mut(cells);
    let (x, z, s) = (&mut x[..a.len()], &mut z[..r.len()], &mut s[..r.len()]);
    let whole = &mut whole[..r.len()];
    let mut layer = Layer {
        cx,
        c,
        shapes,
        a,
        w,
        bn,
        weights,
        bias,
        x,
        work,
    };
    for group in groups(rule).into_iter().flatten() {
        if group.cells != Cells::Every {
            z.fill(0.0);
            layer.take(Term::WHOLE);
            layer.product(z, whole);
        }
        z.fill(0.0);
        let terms = || group.terms.into_iter().flatten();
        for term in terms() {
            if layer.take(term) {
                layer.product(z, s);
                z.copy_from_slice(s);
            }
        }
        for (((s, &z), &r), &whole) in s.iter_mut().zip(&*z).zip(r).zip(&*whole) {
            let passes = match group.cells {
                Cells::Every => true,
                Cells::Positive => whole > 0.0,
                Cells::Negative => whole < 0.0,
            };
            let z = z + if z < 0.0 { -rule.eps } else { rule.eps };
            *s = if passes && z != 0.0 {
                group.factor * r / z
            } else {
                0.0
            };
        }
        for term in terms() {
            if layer.take(term) {
                layer.back(s, accumulate, out);
                accumulate = true;
            }
        }
    }
    if !accumulate {
        out.fill(0.0);
    }
}

/// A layer with the term at hand.
struct Layer<'l> {
    cx: &'l Context<'l>,
    c: &'l Conv,
    shapes: (Shape, Shape),
    a: &'l [f32],
    w: Weights<'l>,
    bn: Norm<'l>,
    weights: &'l mut [f32],
    bias: &'l mut [f32],
    x: &'l mut [f32],
    work: &'l mut [f32],
}

impl Layer<'_> {
    /// Writes a term's input, weights and bias out; whether there is anything in it.
    fn take(&mut self, term: Term) -> bool {
        let channels = self.c.ci as usize;
        let pairs = self.x.iter_mut().zip(self.a);
        match term.of {
            Of::All => self.x.copy_from_slice(self.a),
            Of::Positive => pairs.for_each(|(x, &a)| *x = if a > 0.0 { a } else { 0.0 }),
            Of::Negative => pairs.for_each(|(x, &a)| *x = if a < 0.0 { a } else { 0.0 }),
            Of::Ones => self.x.fill(1.0),
            Of::Constant(values) => {
                for pixel in self.x.chunks_mut(channels) {
                    for (i, x) in pixel.iter_mut().enumerate() {
                        *x = values[i % values.len()];
                    }
                }
            }
        }
        if !term.bias && self.x.iter().all(|&x| x == 0.0) {
            return false;
        }
        let (scale, shift) = self.bn;
        self.bias.fill(0.0);
        if let (true, Some(shift)) = (term.bias, shift) {
            for (bias, &shift) in self.bias.iter_mut().zip(shift) {
                *bias = term.sign * term.part.of(shift);
            }
        }
        let rows = self.c.taps() * channels;
        let grid = Grid {
            rows: self.weights.len() / PANEL,
            cols: PANEL,
            row_step: rows,
            col_step: PANEL,
        };
        let (cx, w) = (self.cx, self.w);
        tiles(cx.pool, self.weights, grid, &mut [], &|tile, _| match w {
            Weights::F32(w) => cx.isa.run(Modify {
                w,
                rows,
                scale,
                term,
                tile,
            }),
            Weights::F16(w) => cx.isa.run(Modify {
                w,
                rows,
                scale,
                term,
                tile,
            }),
        });
        true
    }

    /// `z = conv(x, w) + b + before`
    fn product(&mut self, before: &[f32], z: &mut [f32]) {
        let finish = Finish {
            scale: None,
            shift: Some(&self.bias[..self.c.co as usize]),
            skip: Some(before),
            act: Activation::Identity,
        };
        let w = Weights::F32(self.weights);
        forward(
            self.cx,
            self.c,
            self.shapes,
            self.x,
            w,
            finish,
            (z, self.work),
        );
    }

    /// `out (+)= x conv_transposed(s, w)`
    fn back(&mut self, s: &[f32], accumulate: bool, out: &mut [f32]) {
        let share = Share {
            a: self.x,
            row: self.c.ci as usize,
            accumulate,
        };
        let (cx, c, shapes) = (self.cx, self.c, self.shapes);
        let w = Weights::F32(self.weights);
        if narrow(c) {
            transposed_narrow::<false>(cx, c, shapes, s, w, &share, out);
        } else {
            transposed::<false>(cx, c, shapes, s, w, &share, (out, self.work));
        }
    }
}

/// A term's part of one panel.
struct Modify<'a, W> {
    w: &'a [W],
    rows: usize,
    scale: Option<&'a [f32]>,
    term: Term,
    tile: Tile<'a>,
}

impl<W: Load> Task for Modify<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let (weights, _) = self.w.as_chunks::<PANEL>();
        let first = self.tile.rows().start / self.rows * PANEL;
        let scale: [f32; PANEL] = core::array::from_fn(|lane| {
            let of = |scale: &[f32]| scale.get(first + lane).copied().unwrap_or(0.0);
            self.scale.map_or(1.0, of)
        });
        for row in self.tile.rows() {
            let mut values = [0.0; PANEL];
            l.store(W::load::<L, false>(l, &weights[row]), &mut values);
            for ((to, v), scale) in self.tile.row(row).iter_mut().zip(values).zip(scale) {
                *to = self.term.sign * self.term.part.of(v * scale);
            }
        }
    }
}
