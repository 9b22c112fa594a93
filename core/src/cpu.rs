//! The CPU backend: one exhaustive match over the op list for each direction.

use crate::backend::{Backend, Tally};
use crate::error::{Buffer, Error};
use crate::graph::{NONE, Node, Op};
use crate::math;
use crate::model::Model;
use crate::op::conv::{self, Finish};
use crate::op::head::{self, Seed};
use crate::op::{Context, Sinks, add, linear, pool, subsample};
use crate::par::Pool;
use crate::plan::{Act, Plan, Region, Step};
use crate::rule::{Composite, Dead, Init, Rule, Split, Target};
use crate::simd::Isa;
use crate::view::Weights;

/// Executes steps over an arena that the caller lends. Allocates nothing.
pub struct Cpu<'a> {
    model: &'a Model<'a>,
    arena: &'a mut [f32],
    pool: &'a dyn Pool,
    isa: Isa,
    composite: Composite,
    zero: Region,
    audit: bool,
}

/// The operands of a step, cut out of the arena.
struct Operands<'o> {
    a: &'o [f32],
    b: &'o [f32],
    c: &'o mut [f32],
    out: &'o mut [f32],
    scratch: &'o mut [f32],
}

impl<'a> Cpu<'a> {
    /// A backend for the steps of `plan` over an arena of at least [`Plan::arena`] elements.
    ///
    /// # Errors
    /// [`Error::Capacity`] if the arena is too small or was planned for fewer threads than `pool` has.
    pub fn new(
        model: &'a Model<'a>,
        plan: &Plan<'_>,
        arena: &'a mut [f32],
        pool: &'a dyn Pool,
    ) -> Result<Self, Error> {
        let (need, have) = (plan.arena() as u64, arena.len() as u64);
        if have < need {
            return Err(Error::Capacity {
                buffer: Buffer::Arena,
                need,
                have,
            });
        }
        let (need, have) = (pool.threads() as u64, plan.options().threads.max(1) as u64);
        if have < need {
            return Err(Error::Capacity {
                buffer: Buffer::Arena,
                need,
                have,
            });
        }
        arena[plan.zero().range()].fill(0.0);
        let composite = plan
            .options()
            .composite
            .unwrap_or(Composite::exact(Split::Ratio));
        Ok(Self {
            model,
            arena,
            pool,
            isa: Isa::detect(),
            composite,
            zero: plan.zero(),
            audit: false,
        })
    }

    /// The instruction set in use.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    fn weights(&self, id: u16) -> Weights<'a> {
        // Checked when the model was parsed.
        self.model.weights(id).unwrap_or(Weights::F32(&[]))
    }

    fn total(&self, region: Region) -> f64 {
        math::sum(&self.arena[region.range()])
    }

    fn forward(&mut self, node: &Node, step: &Step) -> Result<(), Error> {
        let (model, weight) = (self.model, |id| self.weights(id));
        let shapes = (step.shapes[0], step.shapes[1]);
        match node.op {
            Op::Conv(c) => {
                let w = weight(c.weight);
                let (skip, relu) = match self.model.node(step.fused).op {
                    Op::Add { relu, .. } if step.fused != NONE => (true, relu),
                    _ => (false, c.relu),
                };
                let (cx, o) = self.operands(step)?;
                let skip = skip.then_some(o.b);
                let finish = Finish {
                    scale: model.vector(c.scale),
                    shift: model.vector(c.shift),
                    skip,
                    relu,
                };
                conv::forward(&cx, &c, shapes, o.a, w, finish, (o.out, o.scratch));
            }
            Op::Linear(l) => {
                let w = (weight(l.weight), model.vector(l.bias));
                let (cx, o) = self.operands(step)?;
                linear::forward(&cx, &l, o.a, w, (o.out, o.scratch));
            }
            Op::Add { relu, .. } => {
                let (cx, o) = self.operands(step)?;
                add::forward(&cx, (o.a, o.b), relu, o.out);
            }
            Op::MaxPool(p) => {
                let (cx, o) = self.operands(step)?;
                pool::max_forward(&cx, &p, shapes, o.a, o.out);
            }
            Op::AvgPool => {
                let (_, o) = self.operands(step)?;
                pool::average_forward(shapes.0, o.a, o.out);
            }
            Op::Subsample(s) => {
                let (_, o) = self.operands(step)?;
                subsample::forward(&s, shapes, o.a, o.out);
            }
            Op::Input => {}
        }
        Ok(())
    }

    fn relevance(&mut self, node: &Node, step: &Step) -> Result<Sinks, Error> {
        let (shapes, composite) = ((step.shapes[0], step.shapes[1]), self.composite);
        let Rule::ZPlus {
            eps: pool_eps,
            dead,
        } = composite.conv;
        match node.op {
            Op::Conv(c) => {
                let w = (self.weights(c.weight), composite.conv);
                let (cx, o) = self.operands(step)?;
                let a = (!o.a.is_empty()).then_some(o.a);
                Ok(conv::relevance(
                    &cx,
                    &c,
                    shapes,
                    (a, o.b),
                    w,
                    step.accumulate,
                    (o.out, o.scratch),
                ))
            }
            Op::Linear(l) => {
                let w = (self.weights(l.weight), composite.linear);
                let (cx, o) = self.operands(step)?;
                Ok(linear::relevance(
                    &cx,
                    &l,
                    (o.a, o.b),
                    w,
                    step.accumulate,
                    (o.out, o.scratch),
                ))
            }
            Op::MaxPool(p) => {
                let (cx, o) = self.operands(step)?;
                let rule = (composite.pool, pool_eps);
                Ok(pool::max_relevance(
                    &cx,
                    &p,
                    shapes,
                    (o.a, o.b),
                    rule,
                    step.accumulate,
                    o.out,
                ))
            }
            Op::AvgPool => {
                let (cx, o) = self.operands(step)?;
                let rule = (composite.average_eps, dead);
                Ok(pool::average_relevance(
                    &cx,
                    shapes.0,
                    (o.a, o.b),
                    rule,
                    step.accumulate,
                    o.out,
                ))
            }
            Op::Subsample(s) => {
                let (_, o) = self.operands(step)?;
                let dead = subsample::relevance(&s, shapes, o.b, step.accumulate, o.out);
                Ok(Sinks {
                    dead,
                    ..Sinks::default()
                })
            }
            Op::Add { .. } | Op::Input => Err(Error::Unsupported {
                node: u32::from(step.node),
            }),
        }
    }

    fn split(&mut self, node: &Node, step: &Step) -> Result<(), Error> {
        let Op::Add { skip, .. } = node.op else {
            return Err(Error::Unsupported {
                node: u32::from(step.node),
            });
        };
        let share = self.composite.split.share(skip);
        // Zero channels of a parameter-free shortcut have no input: what lands there would be lost.
        let Rule::ZPlus { dead, .. } = self.composite.conv;
        let channels = step.shapes[1].c as usize;
        let live = match self.model.node(node.inputs[1]).op {
            Op::Subsample(s) if dead == Dead::Redistribute => {
                usize::from(s.before)..channels - usize::from(s.after)
            }
            _ => 0..channels,
        };
        let (cx, o) = self.operands(step)?;
        add::split(
            &cx,
            share,
            (o.a, o.b),
            (channels, live),
            step.accumulate,
            (o.c, o.out),
        );
        Ok(())
    }

    /// Cuts the regions of a step out of the arena; overlapping ones are an error.
    fn operands(&mut self, step: &Step) -> Result<(Context<'_>, Operands<'_>), Error> {
        let regions = [
            step.ins[0],
            step.ins[1],
            step.ins[2],
            step.out,
            step.scratch,
            self.zero,
        ];
        let overlap = Error::Overlap {
            node: u32::from(step.node),
        };
        let cut = self.arena.get_disjoint_mut(regions.map(Region::range));
        let [a, b, c, out, scratch, zero] = cut.map_err(|_| overlap)?;
        let cx = Context {
            isa: self.isa,
            pool: self.pool,
            zero,
            audit: self.audit,
        };
        Ok((
            cx,
            Operands {
                a,
                b,
                c,
                out,
                scratch,
            },
        ))
    }
}

impl Backend for Cpu<'_> {
    type Error = Error;

    fn step(&mut self, step: &Step) -> Result<Tally, Error> {
        let node = self.model.node(step.node);
        let mut tally = Tally::default();
        let audit = self.audit && matches!(step.act, Act::Split | Act::Relevance | Act::Collect);
        // The relevance that arrives: a split holds it in place, a map is collected from the image's.
        let (source, kept) = match step.act {
            Act::Split => (step.ins[2], step.ins[2]),
            Act::Collect => (step.ins[0], Region::EMPTY),
            Act::Forward | Act::Recompute | Act::Seed | Act::Relevance => {
                (step.ins[1], Region::EMPTY)
            }
        };
        if audit {
            tally.into = self.total(source);
            if step.accumulate {
                tally.out = -self.total(step.out);
            }
        }
        match step.act {
            Act::Forward | Act::Recompute => self.forward(&node, step)?,
            Act::Relevance => tally.sinks = self.relevance(&node, step)?,
            Act::Split => self.split(&node, step)?,
            Act::Collect => {
                let channels = step.shapes[1].c as usize;
                let (_, o) = self.operands(step)?;
                head::collect(o.a, channels, o.out);
            }
            Act::Seed => {
                return Err(Error::Unsupported {
                    node: u32::from(step.node),
                });
            }
        }
        if audit {
            tally.out += self.total(step.out) + self.total(kept);
        }
        Ok(tally)
    }

    fn seed(&mut self, step: &Step, target: Target, init: Init) -> Result<Seed, Error> {
        let (_, o) = self.operands(step)?;
        let seed = head::seed(o.a, target, init)?;
        o.out.fill(0.0);
        o.out[seed.target as usize] = seed.relevance;
        Ok(seed)
    }

    fn put(&mut self, region: Region, from: &[f32]) -> Result<(), Error> {
        let (need, have) = (u64::from(region.len), from.len() as u64);
        if need != have {
            return Err(Error::Length {
                buffer: Buffer::Image,
                need,
                have,
            });
        }
        self.arena[region.range()].copy_from_slice(from);
        Ok(())
    }

    fn get(&mut self, region: Region, to: &mut [f32]) -> Result<(), Error> {
        let (need, have) = (u64::from(region.len), to.len() as u64);
        if need != have {
            return Err(Error::Length {
                buffer: Buffer::Output,
                need,
                have,
            });
        }
        to.copy_from_slice(&self.arena[region.range()]);
        Ok(())
    }

    fn audit(&mut self, on: bool) {
        self.audit = on;
    }
}
