//! A backend that takes the time of every step of another one.

use std::cell::Cell;
use std::time::{Duration, Instant};

use elucid_core::audit::Entry;
use elucid_core::backend::{Backend, Seeding};
use elucid_core::op::head::Seed;
use elucid_core::plan::{Region, Step};
use elucid_core::rule::{Init, Target};

/// Wraps a backend; the times of all steps since the last [`Backend::put`] lie in order in `times`, unless lists of steps are
/// left whole.
pub struct Timed<'t, B> {
    inner: B,
    times: &'t mut Vec<Duration>,
    whole: Cell<bool>,
}

impl<'t, B> Timed<'t, B> {
    /// Times the steps of `inner`.
    pub fn new(inner: B, times: &'t mut Vec<Duration>) -> Self {
        Self {
            inner,
            times,
            whole: Cell::new(false),
        }
    }

    /// Whether lists of steps are left to the backend as they are, without the times of their steps.
    pub fn leave_whole(&self, whole: bool) {
        self.whole.set(whole);
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

impl<B: Backend> Backend for Timed<'_, B> {
    type Error = B::Error;

    fn step(&mut self, step: &Step, audit: &mut [Entry]) -> Result<(), B::Error> {
        self.time(|b| b.step(step, audit))
    }

    fn seed(
        &mut self,
        step: &Step,
        targets: &[Target],
        init: Init,
        seeds: &mut [Seed],
    ) -> Result<(), B::Error> {
        self.time(|b| b.seed(step, targets, init, seeds))
    }

    fn run(&mut self, steps: &[Step], mut seeding: Option<Seeding<'_>>) -> Result<(), B::Error> {
        if self.whole.get() {
            return self.inner.run(steps, seeding);
        }
        for step in steps {
            let seeding = seeding.as_mut().map(Seeding::again);
            self.time(|b| b.run(std::slice::from_ref(step), seeding))?;
        }
        Ok(())
    }

    fn put(&mut self, region: Region, from: &[f32]) -> Result<(), B::Error> {
        self.times.clear();
        self.inner.put(region, from)
    }

    fn get(&mut self, region: Region, to: &mut [f32]) -> Result<(), B::Error> {
        self.inner.get(region, to)
    }

    fn quantize(&mut self, region: Region, maps: usize, levels: u32) -> Result<(), B::Error> {
        self.inner.quantize(region, maps, levels)
    }
}
