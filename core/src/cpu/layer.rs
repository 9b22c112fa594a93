//! One map of a step with relevance, layer by layer.

use crate::error::Error;
use crate::graph::Op;
use crate::model::Model;
use crate::op::conv::{self, Pass};
use crate::op::gate::{self, Gate};
use crate::op::{Context, Sinks, add, linear, pool, subsample};
use crate::plan::{Act, Step};
use crate::rule::{Composite, PoolRule, Rule};
use crate::view::Weights;

/// What is the same for all maps of a step with relevance.
pub(super) struct Layer<'l> {
    pub(super) cx: &'l Context<'l>,
    pub(super) model: &'l Model<'l>,
    pub(super) step: &'l Step,
    pub(super) weights: Weights<'l>,
    pub(super) composite: Composite,
}

impl Layer<'_> {
    pub(super) fn unsupported(&self) -> Error {
        Error::Unsupported {
            node: u32::from(self.step.node),
        }
    }

    /// Relevance of one map through a layer.
    pub(super) fn relevance(
        &self,
        (a, r): (&[f32], &[f32]),
        pass: Pass,
        (out, scratch): (&mut [f32], &mut [f32]),
    ) -> Result<Sinks, Error> {
        let Self {
            cx, step, weights, ..
        } = *self;
        let shapes = (step.shapes[0], step.shapes[1]);
        let accumulate = step.accumulate;
        let rules = match self.composite {
            Composite::Rules(rules) => rules,
            Composite::Chain(_) => return self.derivative((a, r), (out, scratch)),
            Composite::Attention => return Err(self.unsupported()),
        };
        let node = self.model.node(step.node);
        let vector = |id| self.model.vector(id);
        Ok(match node.op {
            Op::Conv(c) => {
                let image = self.model.node(node.inputs[0]).op == Op::Input;
                match rules.of_conv(image) {
                    Rule::ZPlus { eps, dead } => {
                        let (w, out) = ((weights, (eps, dead)), (out, scratch));
                        if a.is_empty() {
                            conv::ones::relevance(cx, &c, shapes, r, w, accumulate, out)
                        } else {
                            conv::relevance(cx, &c, shapes, (a, r), w, (pass, accumulate), out)
                        }
                    }
                    Rule::Folded(rule) => {
                        let w = (weights, (vector(c.scale), vector(c.shift)));
                        let (how, out) = ((rule, accumulate), (out, scratch));
                        conv::folded::relevance(cx, &c, shapes, (a, r), w, how, out);
                        Sinks::default()
                    }
                }
            }
            Op::Linear(l) => match rules.linear {
                Rule::ZPlus { eps, dead } => {
                    let (w, out) = ((weights, (eps, dead)), (out, scratch));
                    linear::relevance(cx, &l, (a, r), w, (pass, accumulate), out)
                }
                Rule::Folded(rule) => {
                    let (w, out) = ((weights, vector(l.bias)), (out, scratch));
                    linear::folded(cx, &l, (a, r), w, (rule, accumulate), out);
                    Sinks::default()
                }
            },
            Op::MaxPool(p) => {
                let rule = (rules.pool, rules.conv.eps());
                pool::max_relevance(cx, &p, shapes, (a, r), rule, accumulate, out)
            }
            Op::AvgPool => {
                let rule = (rules.average_eps, rules.conv.dead());
                pool::average_relevance(cx, shapes.0, (a, r), rule, accumulate, out)
            }
            Op::Subsample(s) => Sinks {
                dead: subsample::relevance(&s, shapes, r, accumulate, out),
                ..Sinks::default()
            },
            Op::Add { .. }
            | Op::Input
            | Op::Tokens(_)
            | Op::Positions(_)
            | Op::Norm(_)
            | Op::Attention(_)
            | Op::Slice(_)
            | Op::Fuse
            | Op::MatMul
            | Op::MinMax
            | Op::MulMap
            | Op::Affine(_) => return Err(self.unsupported()),
        })
    }

    /// The derivative of one map through a layer; a max pool reads its input.
    fn derivative(
        &self,
        (a, r): (&[f32], &[f32]),
        (out, scratch): (&mut [f32], &mut [f32]),
    ) -> Result<Sinks, Error> {
        let Self {
            cx, step, weights, ..
        } = *self;
        let shapes = (step.shapes[0], step.shapes[1]);
        let accumulate = step.accumulate;
        match self.model.node(step.node).op {
            Op::Conv(c) => {
                conv::gradient(cx, &c, shapes, r, weights, accumulate, (out, scratch));
            }
            Op::Linear(l) => linear::gradient(cx, &l, r, weights, accumulate, (out, scratch)),
            Op::MaxPool(p) => {
                let rule = (PoolRule::Winner, 0.0);
                return Ok(pool::max_relevance(
                    cx,
                    &p,
                    shapes,
                    (a, r),
                    rule,
                    accumulate,
                    out,
                ));
            }
            Op::AvgPool => pool::average_gradient(cx, shapes.0, r, accumulate, out),
            Op::Subsample(s) => {
                let dead = subsample::relevance(&s, shapes, r, accumulate, out);
                return Ok(Sinks {
                    dead,
                    ..Sinks::default()
                });
            }
            Op::Add { .. }
            | Op::Input
            | Op::Tokens(_)
            | Op::Positions(_)
            | Op::Norm(_)
            | Op::Attention(_)
            | Op::Slice(_)
            | Op::Fuse
            | Op::MatMul
            | Op::MinMax
            | Op::MulMap
            | Op::Affine(_) => return Err(self.unsupported()),
        }
        Ok(Sinks::default())
    }

    /// What one map's derivative by an output `y` becomes before the layer passes it on.
    pub(super) fn gate(&self, y: &[f32], r: &mut [f32]) -> Result<(), Error> {
        let Composite::Chain(chain) = self.composite else {
            return Err(self.unsupported());
        };
        let op = self.model.node(self.step.node).op;
        let scale = op.layer().and_then(|c| self.model.vector(c.scale));
        let (gate, scale) = if self.step.act == Act::Weigh {
            (Gate::Weigh, None)
        } else {
            (Gate::of(chain, &op), scale)
        };
        let channels = self.step.shapes[1].c as usize;
        gate::gate(self.cx, gate, y, (channels, scale), r);
        Ok(())
    }

    /// Relevance of one map at an addition.
    pub(super) fn split(
        &self,
        branches: (&[f32], &[f32]),
        parts: (&mut [f32], &mut [f32]),
    ) -> Result<(), Error> {
        let node = self.model.node(self.step.node);
        let Op::Add { skip, .. } = node.op else {
            return Err(self.unsupported());
        };
        let share = self.composite.share(skip);
        let channels = self.step.shapes[1].c as usize;
        let branch = self.model.node(node.inputs[1]).op;
        let live = self.composite.live(&branch, channels);
        let accumulate = self.step.accumulate;
        add::split(
            self.cx,
            share,
            branches,
            (channels, live),
            accumulate,
            parts,
        );
        Ok(())
    }
}
