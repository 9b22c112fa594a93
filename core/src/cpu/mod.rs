//! The CPU backend: one exhaustive match over the op list for each direction.

mod layer;
mod transformer;

use crate::audit::Entry;
use crate::backend::{Backend, Lend, Tally};
use crate::error::{Buffer, Error};
use crate::graph::{NONE, Node, Op};
use crate::heat;
use crate::math;
use crate::model::Model;
use crate::op::conv::{self, Finish, Pass};
use crate::op::head::{self, Seed};
use crate::op::{Context, add, half, linear, part, pool, subsample};
use crate::par::Pool;
use crate::plan::{Act, Plan, Region, Step};
use crate::rule::{Composite, Init, Split, Target};
use crate::simd::Isa;
use crate::view::Weights;
use layer::Layer;

/// Executes steps over an arena that the caller lends. Allocates nothing.
pub struct Cpu<'a> {
    model: &'a Model<'a>,
    arena: &'a mut [f32],
    pool: &'a dyn Pool,
    isa: Isa,
    composite: Composite,
    images: usize,
    targets: usize,
    zero: Region,
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
        let options = plan.options();
        Ok(Self {
            model,
            arena,
            pool,
            isa: Isa::detect(),
            composite: options.composite.unwrap_or(Composite::exact(Split::Ratio)),
            images: options.images,
            targets: options.targets,
            zero: plan.zero(),
        })
    }

    /// The same backend with another instruction set.
    #[must_use]
    pub fn with_isa(self, isa: Isa) -> Self {
        Self { isa, ..self }
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

    fn forward(&mut self, node: &Node, step: &Step) -> Result<(), Error> {
        // Code for boards leaves out what their networks don't have.
        let left_out = !cfg!(feature = "transformer") && node.op.is_of_transformer();
        if left_out {
            return Err(Error::Unsupported {
                node: u32::from(step.node),
            });
        }
        let (model, weight) = (self.model, |id| self.weights(id));
        let shapes = (step.shapes[0], step.shapes[1]);
        let (input, output) = (shapes.0.elements(), shapes.1.elements());
        match node.op {
            Op::Conv(c) => {
                let w = weight(c.weight);
                let (skip, act) = step.end(model, c.act);
                let (cx, o) = self.operands(step)?;
                let skip = skip.then_some(o.b);
                let finish = Finish {
                    scale: model.vector(c.scale),
                    shift: model.vector(c.shift),
                    skip,
                    act,
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
                for (x, y) in o.a.chunks(input).zip(o.out.chunks_mut(output)) {
                    pool::max_forward(&cx, &p, shapes, x, y);
                }
            }
            Op::AvgPool => {
                let (cx, o) = self.operands(step)?;
                for (x, y) in o.a.chunks(input).zip(o.out.chunks_mut(output)) {
                    pool::average_forward(&cx, shapes.0, x, y);
                }
            }
            Op::Subsample(s) => {
                let (_, o) = self.operands(step)?;
                for (x, y) in o.a.chunks(input).zip(o.out.chunks_mut(output)) {
                    subsample::forward(&s, shapes, x, y);
                }
            }
            Op::Tokens(_)
            | Op::Positions(_)
            | Op::Norm(_)
            | Op::Attention(_)
            | Op::Slice(_)
            | Op::Fuse
            | Op::MatMul
            | Op::MinMax
            | Op::MulMap
            | Op::Affine(_) => {
                if cfg!(feature = "transformer") {
                    self.transformer(node, step)?;
                }
            }
            Op::Input => {}
        }
        Ok(())
    }

    /// A step with relevance, map by map.
    fn relevance(&mut self, step: &Step, audit: &mut [Entry]) -> Result<(), Error> {
        let (maps, targets, images) = (self.images * self.targets, self.targets, self.images);
        let layer = self.model.node(step.node).op.layer();
        let weights = self.weights(layer.map_or(NONE, |c| c.weight));
        let (model, composite) = (self.model, self.composite);
        let (cx, o) = self.operands(step)?;
        let audited = !audit.is_empty();
        let cx = Context {
            audit: audited,
            ..cx
        };
        let total = |values: &[f32]| if audited { math::sum(values) } else { 0.0 };
        let layer = Layer {
            cx: &cx,
            model,
            step,
            weights,
            composite,
        };
        for map in 0..maps {
            let branch = |values: &[f32]| {
                let each = values.len() / images;
                map / targets * each..(map / targets + 1) * each
            };
            let own = |len: usize| map * (len / maps)..(map + 1) * (len / maps);
            let (a, b) = (&o.a[branch(o.a)], o.b);
            let out_range = own(o.out.len());
            let out = &mut o.out[out_range];
            let before = if step.accumulate { total(out) } else { 0.0 };
            let mut tally = Tally::default();
            match step.act {
                Act::Split => {
                    let range = own(o.c.len());
                    let r = &mut o.c[range];
                    tally.into = total(r);
                    layer.split((a, &b[branch(b)]), (r, out))?;
                    tally.out = total(r);
                }
                Act::Collect => {
                    let r = &o.a[own(o.a.len())];
                    tally.into = total(r);
                    let channels = step.shapes[1].c as usize;
                    head::collect(r, channels, step.accumulate, out);
                }
                Act::Relevance => {
                    let r = &b[own(b.len())];
                    tally.into = total(r);
                    let pass = match (targets, map % targets) {
                        (1, _) => Pass::Only,
                        (_, 0) => Pass::First,
                        _ => Pass::Again,
                    };
                    tally.sinks = layer.relevance((a, r), pass, (out, o.scratch))?;
                }
                Act::Weigh | Act::Gate => {
                    tally.into = total(out);
                    layer.gate(a, out)?;
                }
                Act::Forward
                | Act::Recompute
                | Act::Seed
                | Act::Enlarge
                | Act::Pack
                | Act::Unpack => {
                    return Err(layer.unsupported());
                }
            }
            tally.out += total(out) - before;
            if let Some(entry) = audit.get_mut(map) {
                entry.tally = tally;
            }
        }
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
            audit: false,
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

    fn step(&mut self, step: &Step, audit: &mut [Entry]) -> Result<(), Error> {
        match step.act {
            Act::Forward | Act::Recompute => self.forward(&self.model.node(step.node), step),
            Act::Relevance | Act::Split | Act::Collect | Act::Weigh | Act::Gate => {
                self.relevance(step, audit)
            }
            Act::Enlarge if cfg!(feature = "transformer") => self.enlarge(step),
            Act::Pack => {
                let (cx, o) = self.operands(step)?;
                half::pack(&cx, o.a, o.out);
                Ok(())
            }
            Act::Unpack => {
                let (cx, o) = self.operands(step)?;
                half::unpack(&cx, o.a, o.out);
                Ok(())
            }
            Act::Seed | Act::Enlarge => Err(Error::Unsupported {
                node: u32::from(step.node),
            }),
        }
    }

    fn seed(
        &mut self,
        step: &Step,
        targets: &[Target],
        init: Init,
        seeds: &mut [Seed],
    ) -> Result<(), Error> {
        let each = self.targets;
        let (_, o) = self.operands(step)?;
        o.out.fill(0.0);
        let classes = step.shapes[1].elements();
        let maps = targets.iter().zip(seeds).zip(o.out.chunks_mut(classes));
        for (map, ((&target, seed), r)) in maps.enumerate() {
            *seed = head::seed(part(o.a, map / each * classes, classes), target, init)?;
            r[seed.target as usize] = seed.relevance;
        }
        Ok(())
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

    fn quantize(&mut self, region: Region, maps: usize, levels: u32) -> Result<(), Error> {
        let all = &mut self.arena[region.range()];
        let pixels = (all.len() / maps.max(1)).max(1);
        for map in all.chunks_mut(pixels) {
            heat::quantize(map, levels);
        }
        Ok(())
    }
}

impl Lend for Cpu<'_> {
    fn lend(
        &mut self,
        plan: &Plan<'_>,
        region: Region,
        _: bool,
    ) -> Result<(&mut [f32], &mut [f32]), Error> {
        let parts = [region.range(), plan.spare(region)];
        // They don't overlap: `spare` keeps clear of the region.
        match self.arena.get_disjoint_mut(parts) {
            Ok([lent, spare]) => Ok((lent, spare)),
            Err(_) => Ok((&mut [], &mut [])),
        }
    }

    fn settle(&mut self, _: Region) -> Result<(), Error> {
        Ok(())
    }
}
