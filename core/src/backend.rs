//! What a backend does: executes the steps of a schedule over its own memory.

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

    /// Does one step other than a seed.
    ///
    /// # Errors
    /// Whatever went wrong; the memory then holds nothing of use.
    fn step(&mut self, step: &Step) -> Result<Tally, Self::Error>;

    /// Chooses the class from the logits and writes its relevance, zeros elsewhere.
    ///
    /// # Errors
    /// [`Error::Target`] or [`Error::NotFinite`].
    fn seed(&mut self, step: &Step, target: Target, init: Init) -> Result<Seed, Self::Error>;

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

    /// Whether steps tell what they did with relevance.
    fn audit(&mut self, on: bool);
}
