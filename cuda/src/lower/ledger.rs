//! Launches that book what a step did with relevance: sums in a fixed order, in double precision.

use elucid_core::Shape;
use elucid_core::backend::Tally;
use elucid_core::graph::{Pool, Subsample};
use elucid_core::op::Sinks;
use elucid_core::plan::Step;
use elucid_core::rule::{Dead, PoolRule};
use elucid_kernels::flow as kernel;
use elucid_kernels::params::{
    Address, AverageRelevanceParams, CellsParams, MaxRelevanceParams, TallyParams, TotalParams,
};

use super::launch::number;
use super::layout::{PARTIALS, TALLY};
use super::{Launch, Lowering, Map, flow};

/// Places in a map's tally, in doubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Relevance that arrived.
    Into = 0,
    /// What lay in the output before.
    Before = 1,
    /// What lies in it afterwards.
    Out = 2,
    /// What a split left with the residual branch.
    Kept = 3,
    /// Swallowed by eps.
    Eps = 4,
    /// Lost in dead cells.
    Dead = 5,
    /// Spread from dead cells.
    Redistributed = 6,
}

/// What an audited step wrote for a map.
#[must_use]
pub fn tally(slots: &[f64; TALLY]) -> Tally {
    let of = |slot: Slot| slots[slot as usize];
    Tally {
        into: of(Slot::Into),
        out: of(Slot::Kept) + (of(Slot::Out) - of(Slot::Before)),
        sinks: Sinks {
            eps: of(Slot::Eps),
            dead: of(Slot::Dead),
            redistributed: of(Slot::Redistributed),
        },
    }
}

/// The account of one map at one step; launches nothing unless somebody audits.
pub struct Book<'a> {
    l: &'a Lowering<'a>,
    map: usize,
    audit: bool,
}

type Values = (Address, usize);

impl<'a> Book<'a> {
    /// The account of map number `map`.
    pub fn new(l: &'a Lowering<'a>, map: usize, audit: bool) -> Self {
        Self { l, map, audit }
    }

    fn slot(&self, slot: Slot) -> Address {
        let index = self.map * TALLY + slot as usize;
        self.l.base + self.l.layout.ledger() + 8 * index as u64
    }

    /// Where the blocks of a reduction leave their sums.
    fn sums(&self) -> Address {
        self.l.base + self.l.layout.partials()
    }

    /// Adds what `blocks` left, a sum for each slot from `first` to `last`.
    fn tally(&self, blocks: usize, (first, last): (Slot, Slot), to: &mut Vec<Launch>) {
        let params = TallyParams {
            sums: self.sums(),
            slots: self.slot(first),
            blocks: number(blocks),
            width: last as u32 - first as u32 + 1,
        };
        to.push(Launch::new(kernel::TALLY, [1, 1, 1], &params));
    }

    /// The sum of values whose channel isn't in `skip`.
    fn sum_without(
        &self,
        (values, count): Values,
        (channels, skip): (u32, std::ops::Range<u32>),
        slot: Slot,
        to: &mut Vec<Launch>,
    ) {
        if !self.audit {
            return;
        }
        let blocks = flow::blocks(count);
        let params = TotalParams {
            values,
            sums: self.sums(),
            count: number(count),
            channels,
            skip_start: skip.start,
            skip_end: skip.end,
        };
        let grid = [number(blocks), 1, 1];
        to.push(Launch::new(kernel::TOTAL, grid, &params));
        self.tally(blocks, (slot, slot), to);
    }

    fn sum(&self, values: Values, slot: Slot, to: &mut Vec<Launch>) {
        self.sum_without(values, (1, 0..0), slot, to);
    }

    /// Relevance that arrives.
    pub fn arrived(&self, values: Values, to: &mut Vec<Launch>) {
        self.sum(values, Slot::Into, to);
    }

    /// What lies in an output that is added to.
    pub fn before(&self, values: Values, accumulate: bool, to: &mut Vec<Launch>) {
        if accumulate {
            self.sum(values, Slot::Before, to);
        }
    }

    /// What lies in the output in the end.
    pub fn left(&self, values: Values, to: &mut Vec<Launch>) {
        self.sum(values, Slot::Out, to);
    }

    /// What a split left.
    pub fn kept(&self, values: Values, to: &mut Vec<Launch>) {
        self.sum(values, Slot::Kept, to);
    }

    /// What z+ lost: `r` and `s` of every cell.
    pub(super) fn cells(&self, step: &Step, map: &Map, rule: (f32, Dead), to: &mut Vec<Launch>) {
        if !self.audit {
            return;
        }
        let (eps, dead) = rule;
        let count = step.shapes[1].elements();
        let blocks = flow::blocks(count);
        let params = CellsParams {
            r: map.r,
            s: self.l.at(step.scratch),
            sums: self.sums(),
            count: number(count),
            eps,
            redistribute: (dead == Dead::Redistribute).into(),
            reserved: 0,
        };
        let grid = [number(blocks), 1, 1];
        to.push(Launch::new(kernel::CELLS, grid, &params));
        self.tally(blocks, (Slot::Eps, Slot::Redistributed), to);
    }

    /// What a max pool lost.
    pub fn max_pool(
        &self,
        p: &Pool,
        shapes: [Shape; 2],
        operands: (Address, Address),
        rule: (PoolRule, f32),
        to: &mut Vec<Launch>,
    ) {
        if !self.audit || rule.0 == PoolRule::Winner {
            return;
        }
        let blocks = flow::blocks(shapes[1].elements());
        let params = MaxRelevanceParams {
            sums: self.sums(),
            ..flow::max_params(p, shapes, operands, rule)
        };
        let grid = [number(blocks), 1, 1];
        to.push(Launch::new(kernel::MAX_SINKS, grid, &params));
        self.tally(blocks, (Slot::Eps, Slot::Redistributed), to);
    }

    /// What a global average lost.
    pub fn average(
        &self,
        input: Shape,
        operands: (Address, Address),
        rule: (f32, Dead),
        to: &mut Vec<Launch>,
    ) {
        if !self.audit {
            return;
        }
        let (params, blocks) = flow::average_params(input, operands, rule);
        let blocks = blocks.min(PARTIALS);
        let params = AverageRelevanceParams {
            sums: self.sums(),
            ..params
        };
        let grid = [number(blocks), 1, 1];
        to.push(Launch::new(kernel::AVERAGE_SINKS, grid, &params));
        self.tally(blocks, (Slot::Eps, Slot::Redistributed), to);
    }

    /// What lay on zero channels.
    pub fn subsample(&self, s: &Subsample, shapes: [Shape; 2], r: Address, to: &mut Vec<Launch>) {
        let before = u32::from(s.before);
        let passed = before..before + shapes[0].c;
        let channels = (shapes[1].c, passed);
        self.sum_without((r, shapes[1].elements()), channels, Slot::Dead, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_what_arrived_what_went_on_and_what_was_lost() {
        // Into, before, out, kept, eps, dead, redistributed.
        let t = tally(&[10.0, 1.0, 4.0, 6.0, 0.5, 0.25, 2.0, 0.0]);
        assert_eq!((t.into, t.out), (10.0, 9.0));
        let s = t.sinks;
        assert_eq!((s.eps, s.dead, s.redistributed), (0.5, 0.25, 2.0));
    }
}
