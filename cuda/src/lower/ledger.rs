//! Launches that book what a step did with relevance: sums in a fixed order, in double precision.

use elucid_core::Shape;
use elucid_core::graph::{Pool, Subsample};
use elucid_core::plan::Step;
use elucid_core::rule::{Dead, PoolRule};
use elucid_kernels::params::Address;

use super::layout::TALLY;
use super::{Launch, Lowering, Map};

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

    fn sum(&self, values: Values, slot: Slot, to: &mut Vec<Launch>) {
        if self.audit {
            // the launches of `elucid_total`: partial sums, then their sum
            let _ = (values, self.slot(slot), to);
        }
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
    pub fn cells(&self, step: &Step, map: &Map, rule: (f32, Dead), to: &mut Vec<Launch>) {}

    /// What a max pool lost.
    pub fn max_pool(
        &self,
        p: &Pool,
        shapes: [Shape; 2],
        operands: (Address, Address),
        rule: (PoolRule, f32),
        to: &mut Vec<Launch>,
    ) {
    }

    /// What a global average lost.
    pub fn average(
        &self,
        input: Shape,
        operands: (Address, Address),
        rule: (f32, Dead),
        to: &mut Vec<Launch>,
    ) {
    }

    /// What lay on zero channels.
    pub fn subsample(&self, s: &Subsample, shapes: [Shape; 2], r: Address, to: &mut Vec<Launch>) {}
}
