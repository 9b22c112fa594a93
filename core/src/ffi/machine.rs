//! What an explainer of the C API works by: the CPU in the caller's memory, or a device, for which that memory is a mirror.

use core::ptr::NonNull;

use crate::audit::Entry;
use crate::backend::{Backend, Lend, Seeding};
use crate::cpu::Cpu;
use crate::op::head::Seed;
use crate::plan::{Plan, Region, Step};
use crate::rule::{Init, Target};
use crate::simd::Isa;

use super::Status;

/// A backend that somebody else made, for a plan of an explainer.
pub type Worker = dyn Backend<Error = Status>;

/// A device that steps are executed on. Whoever made it says how it is freed.
pub struct Device {
    worker: NonNull<Worker>,
    free: unsafe fn(NonNull<Worker>),
}

impl Device {
    /// A device behind this pointer.
    ///
    /// # Safety
    /// The worker is there, and nobody else's, until `free` is called with it, which happens once.
    #[must_use]
    pub unsafe fn new(worker: NonNull<Worker>, free: unsafe fn(NonNull<Worker>)) -> Self {
        Self { worker, free }
    }

    fn worker(&mut self) -> &mut Worker {
        // SAFETY: it is there and nobody else's, by the promise of `new`; `&mut self` keeps other calls away.
        unsafe { self.worker.as_mut() }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: by the promise of `new`; it is not used any more, and dropped once.
        unsafe { (self.free)(self.worker) }
    }
}

/// Either of them. A device works on its own arena; pieces of it are copied to the same places of the caller's when they're lent.
pub(super) enum Machine {
    Cpu(Cpu<'static>),
    Device(Device, &'static mut [f32]),
}

impl Machine {
    /// The instruction set that frames and pictures are worked on with.
    pub(super) fn isa(&self) -> Isa {
        match self {
            Machine::Cpu(cpu) => cpu.isa(),
            Machine::Device(..) => Isa::detect(),
        }
    }
}

impl Backend for Machine {
    type Error = Status;

    fn step(&mut self, step: &Step, audit: &mut [Entry]) -> Result<(), Status> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.step(step, audit)?),
            Machine::Device(device, _) => device.worker().step(step, audit),
        }
    }

    fn seed(
        &mut self,
        step: &Step,
        targets: &[Target],
        init: Init,
        seeds: &mut [Seed],
    ) -> Result<(), Status> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.seed(step, targets, init, seeds)?),
            Machine::Device(device, _) => device.worker().seed(step, targets, init, seeds),
        }
    }

    fn run(&mut self, steps: &[Step], seeding: Option<Seeding<'_>>) -> Result<(), Status> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.run(steps, seeding)?),
            Machine::Device(device, _) => device.worker().run(steps, seeding),
        }
    }

    fn put(&mut self, region: Region, from: &[f32]) -> Result<(), Status> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.put(region, from)?),
            Machine::Device(device, _) => device.worker().put(region, from),
        }
    }

    fn get(&mut self, region: Region, to: &mut [f32]) -> Result<(), Status> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.get(region, to)?),
            Machine::Device(device, _) => device.worker().get(region, to),
        }
    }

    fn quantize(&mut self, region: Region, maps: usize, levels: u32) -> Result<(), Status> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.quantize(region, maps, levels)?),
            Machine::Device(device, _) => device.worker().quantize(region, maps, levels),
        }
    }
}

impl Lend for Machine {
    fn lend(
        &mut self,
        plan: &Plan<'_>,
        region: Region,
        read: bool,
    ) -> Result<(&mut [f32], &mut [f32]), Status> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.lend(plan, region, read)?),
            Machine::Device(device, arena) => {
                if read {
                    let place = arena.get_mut(region.range()).ok_or(Status::Internal)?;
                    device.worker().get(region, place)?;
                }
                let parts = [region.range(), plan.spare(region)];
                let [lent, spare] = arena
                    .get_disjoint_mut(parts)
                    .map_err(|_| Status::Internal)?;
                Ok((lent, spare))
            }
        }
    }

    fn settle(&mut self, region: Region) -> Result<(), Status> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.settle(region)?),
            Machine::Device(device, arena) => {
                let place = arena.get(region.range()).ok_or(Status::Internal)?;
                device.worker().put(region, place)
            }
        }
    }
}
