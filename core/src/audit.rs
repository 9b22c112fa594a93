//! The conservation ledger: what every step did with relevance.
//!
//! For each step `into = out + eps + dead` up to rounding; redistributed relevance is inside `out`. An explanation
//! conserves when the sum of the map and of all sinks equals the relevance of the explained class.

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

/// The ledger of one explanation, over a lent slice.
#[derive(Debug)]
pub struct Ledger<'l> {
    entries: &'l mut [Entry],
    len: usize,
    start: f64,
}

impl<'l> Ledger<'l> {
    /// An empty ledger; as many entries as the plan has relevance steps suffice.
    pub fn new(entries: &'l mut [Entry]) -> Self {
        Self {
            entries,
            len: 0,
            start: 0.0,
        }
    }

    /// Forgets everything and starts with this relevance.
    pub(crate) fn open(&mut self, start: f64) {
        (self.len, self.start) = (0, start);
    }

    pub(crate) fn record(&mut self, entry: Entry) -> Result<(), Error> {
        let (need, have) = (self.len as u64 + 1, self.entries.len() as u64);
        *self.entries.get_mut(self.len).ok_or(Error::Capacity {
            buffer: Buffer::Ledger,
            need,
            have,
        })? = entry;
        self.len += 1;
        Ok(())
    }

    /// The steps, from the head to the image.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries[..self.len]
    }

    /// The relevance that the explained class started with.
    #[must_use]
    pub fn start(&self) -> f64 {
        self.start
    }

    /// The sum of all sinks.
    #[must_use]
    pub fn sinks(&self) -> Sinks {
        let mut total = Sinks::default();
        for Entry {
            tally: Tally { sinks, .. },
            ..
        } in self.entries()
        {
            total.eps += sinks.eps;
            total.dead += sinks.dead;
            total.redistributed += sinks.redistributed;
        }
        total
    }

    /// The step that lost most relevance.
    #[must_use]
    pub fn worst(&self) -> Option<Entry> {
        self.entries()
            .iter()
            .copied()
            .max_by(|a, b| a.lost().abs().total_cmp(&b.lost().abs()))
    }

    /// Whether every step balances to [`TOLERANCE`] of the start.
    #[must_use]
    pub fn balances(&self) -> bool {
        let limit = TOLERANCE * self.start.abs();
        self.entries()
            .iter()
            .all(|e| e.unexplained().abs() <= limit)
    }
}
