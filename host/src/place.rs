//! Where networks are computed: on the CPU, or on an NVIDIA GPU.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use elucid::{CudaError, Device};
use elucid_core::Error;
use elucid_core::audit::Entry;
use elucid_core::backend::{Backend, Seeding};
use elucid_core::cpu::Cpu;
use elucid_core::op::head::Seed;
use elucid_core::plan::{Region, Step};
use elucid_core::rule::{Init, Target};

/// What is added to an error of a GPU: what works anyway.
const INSTEAD: &str = "or use --backend cpu";

/// Where networks are computed.
#[derive(Clone, Default)]
pub enum Place {
    /// On the CPU.
    #[default]
    Cpu,
    /// On a GPU.
    Cuda(Arc<Device>),
}

impl Place {
    /// Every place by its name on the command line.
    pub const NAMES: [&str; 2] = ["cpu", "cuda"];

    /// A GPU by its number.
    ///
    /// # Errors
    /// One line with the mend if it can't be used.
    pub fn gpu(ordinal: usize) -> Result<Self> {
        match Device::open(ordinal) {
            Ok(device) => Ok(Place::Cuda(device)),
            Err(error) => Err(gpu_error(&error)),
        }
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Place::Cpu => Self::NAMES[0],
            Place::Cuda(_) => Self::NAMES[1],
        }
    }

    /// The GPU's name and architecture.
    #[must_use]
    pub fn device(&self) -> Option<String> {
        match self {
            Place::Cpu => None,
            Place::Cuda(device) => {
                let facts = device.facts();
                Some(format!("{} (sm_{})", facts.name, facts.arch()))
            }
        }
    }

    /// What was noticed on the way and harms nothing, in one line each.
    #[must_use]
    pub fn take_notes(&self) -> Vec<String> {
        match self {
            Place::Cpu => Vec::new(),
            Place::Cuda(device) => device.take_notes(),
        }
    }
}

/// An error of a GPU in one line.
#[must_use]
pub fn gpu_error(error: &CudaError) -> anyhow::Error {
    anyhow!("{error}, {INSTEAD}")
}

/// A backend of either place.
pub enum Machine<'e> {
    /// The CPU.
    Cpu(Cpu<'e>),
    /// A GPU.
    Cuda(&'e mut (dyn Backend<Error = CudaError> + 'e)),
}

impl Backend for Machine<'_> {
    type Error = CudaError;

    fn step(&mut self, step: &Step, audit: &mut [Entry]) -> Result<(), CudaError> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.step(step, audit)?),
            Machine::Cuda(cuda) => cuda.step(step, audit),
        }
    }

    fn seed(
        &mut self,
        step: &Step,
        targets: &[Target],
        init: Init,
        seeds: &mut [Seed],
    ) -> Result<(), CudaError> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.seed(step, targets, init, seeds)?),
            Machine::Cuda(cuda) => cuda.seed(step, targets, init, seeds),
        }
    }

    fn run(&mut self, steps: &[Step], seeding: Option<Seeding<'_>>) -> Result<(), CudaError> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.run(steps, seeding)?),
            Machine::Cuda(cuda) => cuda.run(steps, seeding),
        }
    }

    fn put(&mut self, region: Region, from: &[f32]) -> Result<(), CudaError> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.put(region, from)?),
            Machine::Cuda(cuda) => cuda.put(region, from),
        }
    }

    fn get(&mut self, region: Region, to: &mut [f32]) -> Result<(), CudaError> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.get(region, to)?),
            Machine::Cuda(cuda) => cuda.get(region, to),
        }
    }

    fn quantize(&mut self, region: Region, maps: usize, levels: u32) -> Result<(), CudaError> {
        match self {
            Machine::Cpu(cpu) => Ok(cpu.quantize(region, maps, levels)?),
            Machine::Cuda(cuda) => cuda.quantize(region, maps, levels),
        }
    }
}

/// The core's error, if it is one; otherwise the GPU's line.
///
/// # Errors
/// The GPU's line.
pub fn core_error(error: &CudaError) -> Result<Error> {
    error.core().ok_or_else(|| gpu_error(error))
}
