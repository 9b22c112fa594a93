//! The conservation ledger: what every step did with relevance.
//!
//! For each step `into = out + eps + dead` up to rounding; redistributed relevance is inside `out`. An explanation
//! conserves when the sum of the map and of all sinks equals the relevance of the explained class.
//!
//! What flows in a [`crate::rule::Chain`] is no share of anything: its ledger tells what every step made of it, and says
//! truthfully that they don't balance.

use crate::backend::Tally;
use crate::error::{Buffer, Error};
use crate::graph::NodeId;
use crate::op::Sinks;
use crate::plan::Act;

/// Largest unexplained difference, relative to the start, that still counts as balanced.
pub const TOLERANCE: f64 = 1e-5;

/// One step of the ledger.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Entry {
    /// The node.
    pub node: NodeId,
    /// What was done.
    pub act: Act,
    /// What it did with relevance.
    pub tally: Tally,
}

impl Entry {
    /// Fills lent slices.
    pub const EMPTY: Entry = Entry {
        node: 0,
        act: Act::Seed,
        tally: Tally {
            into: 0.0,
            out: 0.0,
            sinks: Sinks {
                eps: 0.0,
                dead: 0.0,
                redistributed: 0.0,
            },
        },
    };

    /// Relevance that neither went on nor into a sink: rounding, or a bug.
    #[must_use]
    pub fn unexplained(&self) -> f64 {
        let t = &self.tally;
        t.into - t.out - t.sinks.eps - t.sinks.dead
    }

    /// Relevance that didn't go on.
    #[must_use]
    pub fn lost(&self) -> f64 {
        self.tally.into - self.tally.out
    }
}

/// The ledger of one call, over a lent slice: an account for each map.
#[derive(Debug)]
pub struct Ledger<'l> {
    entries: &'l mut [Entry],
    len: usize,
    maps: usize,
}

impl<'l> Ledger<'l> {
    /// An empty ledger; as many entries as the plan has relevance steps, times its maps, suffice.
    pub fn new(entries: &'l mut [Entry]) -> Self {
        Self {
            entries,
            len: 0,
            maps: 1,
        }
    }

    /// Forgets everything; from here on every step has this many maps.
    pub(crate) fn open(&mut self, maps: usize) {
        (self.len, self.maps) = (0, maps.max(1));
    }

    /// Room for a step's entries, one for each map.
    pub(crate) fn next(&mut self, node: NodeId, act: Act) -> Result<&mut [Entry], Error> {
        let (first, have) = (self.len, self.entries.len() as u64);
        self.len += self.maps;
        let room = self
            .entries
            .get_mut(first..self.len)
            .ok_or(Error::Capacity {
                buffer: Buffer::Ledger,
                need: self.len as u64,
                have,
            })?;
        room.fill(Entry {
            node,
            act,
            ..Entry::EMPTY
        });
        Ok(room)
    }

    /// Maps of the call.
    #[must_use]
    pub fn maps(&self) -> usize {
        self.maps
    }

    /// The account of one map; an empty one if there is no such map.
    #[must_use]
    pub fn account(&self, map: usize) -> Account<'_> {
        let used = self.entries.get(..self.len).unwrap_or_default();
        Account {
            entries: if map < self.maps { used } else { &[] },
            maps: self.maps,
            map,
        }
    }
}

/// What became of the relevance of one map.
#[derive(Clone, Copy, Debug)]
pub struct Account<'l> {
    entries: &'l [Entry],
    maps: usize,
    map: usize,
}

impl<'l> Account<'l> {
    fn all(self) -> impl Iterator<Item = &'l Entry> {
        self.entries.iter().skip(self.map).step_by(self.maps)
    }

    /// The steps, from the head to the image.
    pub fn entries(self) -> impl Iterator<Item = &'l Entry> {
        self.all().filter(|e| e.act != Act::Seed)
    }

    /// The relevance that the explained class started with.
    #[must_use]
    pub fn start(self) -> f64 {
        self.all().next().map_or(0.0, |seed| seed.tally.out)
    }

    /// The sum of all sinks.
    #[must_use]
    pub fn sinks(self) -> Sinks {
        let mut total = Sinks::default();
        for entry in self.entries() {
            let sinks = entry.tally.sinks;
            total.eps += sinks.eps;
            total.dead += sinks.dead;
            total.redistributed += sinks.redistributed;
        }
        total
    }

    /// The step that lost most relevance.
    #[must_use]
    pub fn worst(self) -> Option<Entry> {
        self.entries()
            .copied()
            .max_by(|a, b| a.lost().abs().total_cmp(&b.lost().abs()))
    }

    /// Whether every step balances to [`TOLERANCE`] of the start.
    #[must_use]
    pub fn balances(self) -> bool {
        let limit = TOLERANCE * self.start().abs();
        self.entries().all(|e| e.unexplained().abs() <= limit)
    }
}
