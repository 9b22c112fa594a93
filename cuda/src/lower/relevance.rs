//! Launches of steps with relevance, map by map.

use elucid_core::Error;
use elucid_core::graph::{NONE, Op};
use elucid_core::op::conv::Pass;
use elucid_core::op::gate::Gate;
use elucid_core::plan::{Act, Step};
use elucid_core::rule::{Composite, PoolRule, Rule};
use elucid_kernels::params::Address;

use super::{Launch, Lowering, Map, conv, flow, ledger};

/// All maps of a step.
pub fn step(l: &Lowering<'_>, step: &Step, audit: bool, to: &mut Vec<Launch>) -> Result<(), Error> {
    let maps = l.options.maps();
    let (targets, images) = (l.options.targets, l.options.images);
    for index in 0..maps {
        let image = index / targets;
        let map = Map {
            a: l.part(step.ins[0], image, images),
            r: l.part(step.ins[1], index, maps),
            out: l.part(step.out, index, maps),
            accumulate: step.accumulate,
        };
        let pass = match (targets, index % targets) {
            (1, _) => Pass::Only,
            (_, 0) => Pass::First,
            _ => Pass::Again,
        };
        let count = |region: elucid_core::plan::Region| region.len as usize / maps;
        let book = ledger::Book::new(l, index, audit);
        let out = (map.out, count(step.out));
        match step.act {
            Act::Split => {
                let r = (l.part(step.ins[2], index, maps), count(step.ins[2]));
                book.arrived(r, to);
                book.before(out, map.accumulate, to);
                // The second input of a split is a branch, one for each image.
                let branches = (map.a, l.part(step.ins[1], image, images));
                split(l, step, branches, (r, map), to)?;
                book.kept(r, to);
                book.left(out, to);
            }
            Act::Collect => {
                let r = (l.part(step.ins[0], index, maps), count(step.ins[0]));
                book.arrived(r, to);
                book.before(out, map.accumulate, to);
                let channels = step.shapes[1].c as usize;
                let size = (step.shapes[1].pixels(), channels);
                flow::collect(to, r.0, size, map.accumulate, map.out);
                book.left(out, to);
            }
            Act::Relevance => {
                book.arrived((map.r, count(step.ins[1])), to);
                book.before(out, map.accumulate, to);
                layer(l, step, &map, pass, &book, to)?;
                book.left(out, to);
            }
            Act::Weigh | Act::Gate => {
                book.arrived(out, to);
                gate(l, step, &map, out.1, to)?;
                book.left(out, to);
            }
            Act::Forward | Act::Recompute | Act::Seed | Act::Enlarge | Act::Pack | Act::Unpack => {
                return Err(l.unsupported(step));
            }
        }
    }
    Ok(())
}

/// Relevance of one map through a layer.
fn layer(
    l: &Lowering<'_>,
    step: &Step,
    map: &Map,
    pass: Pass,
    book: &ledger::Book<'_>,
    to: &mut Vec<Launch>,
) -> Result<(), Error> {
    let rules = match l.composite {
        Composite::Rules(rules) => rules,
        Composite::Chain(_) => return derivative(l, step, map, book, to),
        Composite::Attention => return Err(l.unsupported(step)),
    };
    let node = l.model.node(step.node);
    let rule = rules.of(&node.op, node.inputs[0] == 0);
    match node.op {
        Op::Conv(c) => match rule {
            Rule::ZPlus { eps, dead } if map.a == 0 => {
                conv::ones(l, &c, step, map, (eps, dead), to)?;
                book.cells(step, map, (eps, dead), to);
            }
            Rule::ZPlus { eps, dead } => {
                conv::relevance(l, &c, step, map, (eps, dead), pass, to);
                book.cells(step, map, (eps, dead), to);
            }
            Rule::Folded(rule) => conv::folded(l, &c, step, map, rule, to),
        },
        Op::Linear(linear) => match rule {
            Rule::ZPlus { eps, dead } => {
                conv::relevance(l, &linear.as_conv(), step, map, (eps, dead), pass, to);
                book.cells(step, map, (eps, dead), to);
            }
            Rule::Folded(rule) => conv::folded(l, &linear.as_conv(), step, map, rule, to),
        },
        Op::MaxPool(p) => {
            let rule = (rules.pool, rules.conv.eps());
            let operands = (map.a, map.r);
            flow::max_relevance(to, &p, step.shapes, operands, rule, map.accumulate, map.out);
            book.max_pool(&p, step.shapes, operands, rule, to);
        }
        Op::AvgPool => {
            let rule = (rules.average_eps, rules.conv.dead());
            let operands = (map.a, map.r);
            flow::average_relevance(to, step.shapes[0], operands, rule, map.accumulate, map.out);
            book.average(step.shapes[0], operands, rule, to);
        }
        Op::Subsample(s) => {
            flow::subsample_relevance(to, &s, step.shapes, map.r, map.accumulate, map.out);
            book.subsample(&s, step.shapes, map.r, to);
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
        | Op::Affine(_) => return Err(l.unsupported(step)),
    }
    Ok(())
}

/// The derivative of one map through a layer.
fn derivative(
    l: &Lowering<'_>,
    step: &Step,
    map: &Map,
    book: &ledger::Book<'_>,
    to: &mut Vec<Launch>,
) -> Result<(), Error> {
    match l.model.node(step.node).op {
        Op::Conv(c) => {
            conv::gradient(l, &c, step, map, to);
            Ok(())
        }
        Op::Linear(linear) => {
            conv::gradient(l, &linear.as_conv(), step, map, to);
            Ok(())
        }
        Op::MaxPool(p) => {
            let rule = (PoolRule::Winner, 0.0);
            let operands = (map.a, map.r);
            flow::max_relevance(to, &p, step.shapes, operands, rule, map.accumulate, map.out);
            Ok(())
        }
        Op::AvgPool => {
            flow::average_gradient(to, step.shapes[0], map.r, map.accumulate, map.out);
            Ok(())
        }
        Op::Subsample(s) => {
            flow::subsample_relevance(to, &s, step.shapes, map.r, map.accumulate, map.out);
            book.subsample(&s, step.shapes, map.r, to);
            Ok(())
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
        | Op::Affine(_) => Err(l.unsupported(step)),
    }
}

/// What one map's derivative by an output becomes before the layer passes it on.
fn gate(
    l: &Lowering<'_>,
    step: &Step,
    map: &Map,
    count: usize,
    to: &mut Vec<Launch>,
) -> Result<(), Error> {
    let Composite::Chain(chain) = l.composite else {
        return Err(l.unsupported(step));
    };
    let op = l.model.node(step.node).op;
    let (gate, scale) = if step.act == Act::Weigh {
        (Gate::Weigh, NONE)
    } else {
        (Gate::of(chain, &op), op.layer().map_or(NONE, |c| c.scale))
    };
    let channels = (step.shapes[1].c as usize, l.tensor(scale));
    flow::gate(to, gate, map.a, channels, count, map.out);
    Ok(())
}

/// Relevance of one map at an addition.
fn split(
    l: &Lowering<'_>,
    step: &Step,
    branches: (Address, Address),
    ((r, count), map): ((Address, usize), Map),
    to: &mut Vec<Launch>,
) -> Result<(), Error> {
    let node = l.model.node(step.node);
    let Op::Add { skip, .. } = node.op else {
        return Err(l.unsupported(step));
    };
    let channels = step.shapes[1].c as usize;
    let branch = l.model.node(node.inputs[1]).op;
    let live = l.composite.live(&branch, channels);
    flow::split(
        to,
        l.composite.share(skip),
        branches,
        (count, channels, live),
        map.accumulate,
        (r, map.out),
    );
    Ok(())
}
