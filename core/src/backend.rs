//! What a backend does: executes the steps of a schedule over its own memory.

use crate::audit::Entry;
use crate::error::Error;
use crate::op::Sinks;
use crate::op::head::Seed;
use crate::plan::{Act, Plan, Region, Step};
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

/// What a list of steps needs to choose the classes: [`Backend::seed`] says how long both slices are.
#[derive(Debug)]
pub struct Seeding<'s> {
    /// What to explain.
    pub targets: &'s [Target],
    /// The relevance that each class starts with.
    pub init: Init,
    /// What that was.
    pub seeds: &'s mut [Seed],
}

impl Seeding<'_> {
    /// The same once more.
    pub fn again(&mut self) -> Seeding<'_> {
        Seeding {
            targets: self.targets,
            init: self.init,
            seeds: self.seeds,
        }
    }
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

    /// Does all of these steps in order, without an audit: a backend that works by itself can take them at once. `seeding`
    /// is for a list with a seed.
    ///
    /// # Errors
    /// Those of the steps, [`Error::Order`] for a seed without `seeding`.
    fn run(&mut self, steps: &[Step], mut seeding: Option<Seeding<'_>>) -> Result<(), Self::Error> {
        for step in steps {
            if step.act == Act::Seed {
                let seeding = seeding.as_mut().ok_or(Error::Order)?;
                self.seed(step, seeding.targets, seeding.init, seeding.seeds)?;
            } else {
                self.step(step, &mut [])?;
            }
        }
        Ok(())
    }

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

    /// Heat Quantization ([`crate::heat::quantize`]) of `maps` maps that lie side by side in a region, each by itself, in
    /// place.
    ///
    /// # Errors
    /// The backend's.
    fn quantize(&mut self, region: Region, maps: usize, levels: u32) -> Result<(), Self::Error>;
}

/// A backend whose arena the caller can reach, or a mirror of it.
pub trait Lend: Backend {
    /// A region of the plan, and [`Plan::spare`] memory beside it that no other call relies on. With `read` the region holds
    /// what steps left there, without it anything.
    ///
    /// # Errors
    /// The backend's.
    fn lend(
        &mut self,
        plan: &Plan<'_>,
        region: Region,
        read: bool,
    ) -> Result<(&mut [f32], &mut [f32]), Self::Error>;

    /// What was written to a region that was lent is there for the steps from here on.
    ///
    /// # Errors
    /// The backend's.
    fn settle(&mut self, region: Region) -> Result<(), Self::Error>;
}
