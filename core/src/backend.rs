//! What a backend does: executes the steps of a schedule over its own memory.

use crate::audit::Entry;
use crate::error::Error;
use crate::op::Sinks;
use crate::op::head::Seed;
use crate::plan::{Region, Step};
use crate::rule::{Init, Target};

/// What a step did with relevance. All zero where nobody audits, and for steps without relevance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tally {
    /// Relevance that arrived at the step.
    pub into: f64,
    /// Relevance that it passed on.
    pub out: f64,
    /// Where the rest went.
    pub sinks: Sinks,
}

/// Executes steps. The CPU's is [`crate::cpu::Cpu`].
pub trait Backend {
    /// Its errors; the core's are among them.
    type Error: From<Error>;

    /// Does one step other than a seed. `audit` is empty, or takes what the step did with the relevance of each map.
    ///
    /// # Errors
    /// Whatever went wrong; the memory then holds nothing of use.
    fn step(&mut self, step: &Step, audit: &mut [Entry]) -> Result<(), Self::Error>;

    /// Chooses the classes from the logits and writes their relevance, zeros elsewhere. `targets` and `seeds` have one
    /// element for each map, those of one image side by side.
    ///
    /// # Errors
    /// [`Error::Target`] or [`Error::NotFinite`].
    fn seed(
        &mut self,
        step: &Step,
        targets: &[Target],
        init: Init,
        seeds: &mut [Seed],
    ) -> Result<(), Self::Error>;

    /// Copies into a region, which must be as long.
    ///
    /// # Errors
    /// [`Error::Length`].
    fn put(&mut self, region: Region, from: &[f32]) -> Result<(), Self::Error>;

    /// Copies out of a region, which must be as long.
    ///
    /// # Errors
    /// [`Error::Length`].
    fn get(&mut self, region: Region, to: &mut [f32]) -> Result<(), Self::Error>;
}
