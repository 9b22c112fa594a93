//! A backend that takes the time of every step of another one.

use std::time::{Duration, Instant};

use elucid_core::Error;
use elucid_core::audit::Entry;
use elucid_core::backend::Backend;
use elucid_core::op::head::Seed;
use elucid_core::plan::{Region, Step};
use elucid_core::rule::{Init, Target};

/// Wraps a backend; the times of all steps since the last [`Backend::put`] lie in order in `times`.
pub struct Timed<'t, B> {
    inner: B,
    times: &'t mut Vec<Duration>,
}

impl<'t, B> Timed<'t, B> {
    /// Times the steps of `inner`.
    pub fn new(inner: B, times: &'t mut Vec<Duration>) -> Self {
        Self { inner, times }
    }

    /// The times of the steps so far.
    #[must_use]
    pub fn times(&self) -> &[Duration] {
        self.times
    }

    fn time<T>(&mut self, f: impl FnOnce(&mut B) -> T) -> T {
        let start = Instant::now();
        let result = f(&mut self.inner);
        self.times.push(start.elapsed());
        result
    }
}

impl<B: Backend<Error = Error>> Backend for Timed<'_, B> {
    type Error = Error;

    fn step(&mut self, step: &Step, audit: &mut [Entry]) -> Result<(), Error> {
        self.time(|b| b.step(step, audit))
    }

    fn seed(
        &mut self,
        step: &Step,
        targets: &[Target],
        init: Init,
        seeds: &mut [Seed],
    ) -> Result<(), Error> {
        self.time(|b| b.seed(step, targets, init, seeds))
    }

    fn put(&mut self, region: Region, from: &[f32]) -> Result<(), Error> {
        self.times.clear();
        self.inner.put(region, from)
    }

    fn get(&mut self, region: Region, to: &mut [f32]) -> Result<(), Error> {
        self.inner.get(region, to)
    }
}
