//! The CUDA backend: the steps of a plan as launches over one allocation on a device.

use std::sync::Arc;

use bytemuck::Zeroable;
use cudarc::driver::{CudaGraph, CudaStream};
use elucid_core::Model;
use elucid_core::audit::Entry;
use elucid_core::backend::{Backend, Seeding};
use elucid_core::error::{Buffer, Error};
use elucid_core::op::head::Seed;
use elucid_core::plan::{Act, Options, Plan, Region, Step};
use elucid_core::rule::{Init, Target};
use elucid_kernels::Kernel;
use elucid_kernels::params::{SeedRequest, SeedResult};

use crate::device::Device;
use crate::error::CudaError;
use crate::launch::{self, Ready};
use crate::lower::layout::{TALLY, tensor_bytes};
use crate::lower::ledger::tally;
use crate::lower::{Launch, Layout, Lowering, seed};
use crate::memory::Memory;

/// Plans whose launches are remembered: those of inference and of explanation, for two sizes of batches.
const PLANS: usize = 4;

/// Executes the steps of plans on a device.
///
/// The first run of a list of steps launches its kernels one by one, which compiles and loads them; the second makes a graph of
/// them; from then on a run is one launch of that graph, and allocates nothing. What a list of steps becomes is
/// remembered by its content.
pub struct Cuda<'m> {
    plans: Vec<Planned>,
    /// Whether graphs are still made: not after the driver refused one.
    graphs: bool,
    requests: Vec<SeedRequest>,
    results: Vec<SeedResult>,
    tallies: Vec<[f64; TALLY]>,
    memory: Option<Memory>,
    stream: Arc<CudaStream>,
    model: &'m Model<'m>,
    device: Arc<Device>,
}

/// A plan over the memory. The current one is the last.
struct Planned {
    options: Options,
    /// Elements of the arena.
    arena: usize,
    /// Its steps: no others are run, for theirs might not fit the memory.
    steps: Vec<Step>,
    layout: Layout,
    lists: Vec<List>,
}

/// A list of steps that was run.
struct List {
    steps: Vec<Step>,
    init: Option<Init>,
    launches: Vec<Ready>,
    played: bool,
    graph: Option<CudaGraph>,
}

impl<'m> Cuda<'m> {
    /// A backend for the steps of `plan`, which is of this model, with the model's weights on the device.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`], or whatever else keeps it from the device.
    pub fn new(
        device: &Arc<Device>,
        model: &'m Model<'m>,
        plan: &Plan<'_>,
    ) -> Result<Self, CudaError> {
        let mut backend = Self {
            plans: Vec::new(),
            graphs: device.graphs(),
            requests: Vec::new(),
            results: Vec::new(),
            tallies: Vec::new(),
            memory: None,
            stream: device.stream()?,
            model,
            device: Arc::clone(device),
        };
        backend.adopt(plan)?;
        Ok(backend)
    }

    /// Goes on with another plan of the same model. Weights stay where they are as long as the memory suffices; what was
    /// computed is forgotten, unless the plan is the one before.
    ///
    /// # Errors
    /// Those of [`Cuda::new`].
    pub fn adopt(&mut self, plan: &Plan<'_>) -> Result<(), CudaError> {
        let (options, arena) = (*plan.options(), plan.arena());
        let same = |p: &Planned| p.options == options && p.arena == arena;
        if self.memory.is_some() && self.plans.last().is_some_and(same) {
            return Ok(());
        }
        let known = match self.plans.iter().position(same) {
            Some(i) => self.plans.remove(i),
            None => Planned {
                layout: Layout::new(self.model, plan),
                steps: plan.steps().to_vec(),
                lists: Vec::new(),
                options,
                arena,
            },
        };
        if self.plans.len() >= PLANS {
            self.plans.remove(0);
        }
        let bytes = known.layout.bytes();
        if self.memory.as_ref().is_none_or(|m| m.bytes() < bytes) {
            // All launches are over the old memory, which goes first: both may not fit.
            self.plans.clear();
            self.memory = None;
            let memory = Memory::new(&self.stream, bytes, self.device.shares_memory())?;
            self.memory = Some(self.filled(memory, &known.layout)?);
        }
        let zero = plan.zero();
        self.plans.push(known);
        let prepared = self.lowering(|l| Ok(l.prepare()))?;
        let planned = current(&self.plans)?;
        let memory = present(self.memory.as_mut())?;
        let at = planned.layout.arena() + 4 * u64::from(zero.start);
        memory.clear(at, 4 * zero.len as usize)?;
        launch::play(&self.stream, &launch::prepare(&self.device, prepared)?)?;
        memory.synchronize()?;
        let maps = options.maps();
        self.requests.resize(maps, SeedRequest::zeroed());
        self.results.resize(maps, SeedResult::zeroed());
        self.tallies.resize(maps, [0.0; TALLY]);
        Ok(())
    }

    /// Fresh memory with the weights in it and zeros behind them.
    fn filled(&self, mut memory: Memory, layout: &Layout) -> Result<Memory, CudaError> {
        let weights = layout.weight_bytes();
        let rest = usize::try_from(memory.bytes() - weights).unwrap_or(usize::MAX);
        memory.clear(weights, rest)?;
        let tensors = 0..self.model.tensor_count();
        let pieces = tensors.filter_map(|id| {
            let offset = layout.tensor(id)?;
            Some((offset, tensor_bytes(self.model, id)))
        });
        memory.write(pieces)?;
        Ok(memory)
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Bytes of the one allocation.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.memory.as_ref().map_or(0, Memory::bytes)
    }

    /// Whether it is shared with the CPU.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        self.memory.as_ref().is_some_and(Memory::is_managed)
    }

    /// Graphs that were made so far, of all lists.
    #[must_use]
    pub fn graph_count(&self) -> usize {
        let lists = self.plans.iter().flat_map(|p| &p.lists);
        lists.filter(|list| list.graph.is_some()).count()
    }

    /// The kernels that a list of steps launches, in order.
    ///
    /// # Errors
    /// Those of the core for steps of another plan.
    pub fn launches(&self, steps: &[Step], init: Init) -> Result<Vec<&'static Kernel>, CudaError> {
        let launches = self.lowered(steps, Some(init), false)?;
        Ok(launches.iter().map(|l| l.kernel).collect())
    }

    fn lowering<R>(
        &self,
        f: impl FnOnce(&Lowering<'_>) -> Result<R, CudaError>,
    ) -> Result<R, CudaError> {
        let planned = current(&self.plans)?;
        let base = present(self.memory.as_ref())?.address();
        let lowering = Lowering::new(self.model, &planned.layout, &planned.options, base);
        f(&lowering.with_tensor_cores(self.device.tensor_cores()))
    }

    /// The launches of some steps. No kernel may touch what isn't ours, so steps of another plan are errors.
    fn lowered(
        &self,
        steps: &[Step],
        init: Option<Init>,
        audit: bool,
    ) -> Result<Vec<Launch>, CudaError> {
        let own = &current(&self.plans)?.steps;
        self.lowering(|l| {
            let mut launches = Vec::new();
            for step in steps {
                if !own.contains(step) {
                    let node = u32::from(step.node);
                    return Err(Error::Overlap { node }.into());
                }
                if step.act == Act::Seed {
                    launches.extend(l.seed(step, init.ok_or(Error::Order)?));
                } else {
                    launches.extend(l.step(step, audit)?);
                }
            }
            Ok(launches)
        })
    }

    /// Runs a list of steps in the way that is its turn, and waits for it.
    fn play(&mut self, steps: &[Step], init: Option<Init>) -> Result<(), CudaError> {
        let planned = current(&self.plans)?;
        let same = |list: &List| list.init == init && list.steps == steps;
        let index = match planned.lists.iter().position(same) {
            Some(index) => index,
            None => {
                let lowered = self.lowered(steps, init, false)?;
                let launches = launch::prepare(&self.device, lowered)?;
                let list = List {
                    steps: steps.to_vec(),
                    init,
                    launches,
                    played: false,
                    graph: None,
                };
                let planned = self.plans.last_mut().ok_or(Error::Order)?;
                planned.lists.push(list);
                planned.lists.len() - 1
            }
        };
        let planned = self.plans.last_mut().ok_or(Error::Order)?;
        let list = planned.lists.get_mut(index).ok_or(Error::Order)?;
        if self.graphs && list.played && list.graph.is_none() {
            match launch::graph(&self.stream, &list.launches) {
                Ok(graph) => list.graph = Some(graph),
                // It goes on without.
                Err(_) => self.graphs = false,
            }
        }
        match &list.graph {
            Some(graph) => graph.launch().map_err(CudaError::driver("cuGraphLaunch"))?,
            None => launch::play(&self.stream, &list.launches)?,
        }
        list.played = true;
        present(self.memory.as_ref())?.synchronize()
    }

    /// Tells the device what to explain.
    fn ask(&mut self, targets: &[Target], seeds: &[Seed]) -> Result<(), CudaError> {
        let maps = self.requests.len();
        let lengths = [targets.len(), seeds.len()];
        if let Some(other) = lengths.into_iter().find(|&n| n != maps) {
            return Err(Error::Length {
                buffer: Buffer::Targets,
                need: maps as u64,
                have: other as u64,
            }
            .into());
        }
        for (request, &target) in self.requests.iter_mut().zip(targets) {
            *request = seed::request(target);
        }
        let at = current(&self.plans)?.layout.requests();
        let requests = bytemuck::cast_slice(&self.requests);
        present(self.memory.as_mut())?.write([(at, requests)])
    }

    /// What the device chose.
    fn answer(
        &mut self,
        targets: &[Target],
        classes: usize,
        seeds: &mut [Seed],
    ) -> Result<(), CudaError> {
        let at = current(&self.plans)?.layout.results();
        let results = bytemuck::cast_slice_mut(&mut self.results);
        present(self.memory.as_ref())?.read(at, results)?;
        for ((result, &target), seed) in self.results.iter().zip(targets).zip(seeds) {
            *seed = seed::answer(result, target, classes)?;
        }
        Ok(())
    }

    /// Where a region lies in the memory.
    fn offset(&self, region: Region) -> Result<u64, CudaError> {
        let planned = current(&self.plans)?;
        let (need, have) = (
            u64::from(region.start) + u64::from(region.len),
            planned.arena as u64,
        );
        if need > have {
            let buffer = Buffer::Arena;
            return Err(Error::Capacity { buffer, need, have }.into());
        }
        Ok(planned.layout.arena() + 4 * u64::from(region.start))
    }
}

/// The plan that is worked by.
fn current(plans: &[Planned]) -> Result<&Planned, CudaError> {
    plans.last().ok_or(CudaError::Core(Error::Order))
}

/// The memory, unless making it failed.
fn present<M>(memory: Option<M>) -> Result<M, CudaError> {
    memory.ok_or(CudaError::Core(Error::Order))
}

impl Backend for Cuda<'_> {
    type Error = CudaError;

    fn step(&mut self, step: &Step, audit: &mut [Entry]) -> Result<(), CudaError> {
        if step.act == Act::Seed {
            let node = u32::from(step.node);
            return Err(Error::Unsupported { node }.into());
        }
        let audited = !audit.is_empty();
        let steps = std::slice::from_ref(step);
        let launches = launch::prepare(&self.device, self.lowered(steps, None, audited)?)?;
        let at = current(&self.plans)?.layout.ledger();
        let memory = present(self.memory.as_mut())?;
        if audited {
            memory.clear(at, size_of_val(self.tallies.as_slice()))?;
        }
        launch::play(&self.stream, &launches)?;
        if !audited {
            return memory.synchronize();
        }
        memory.read(at, bytemuck::cast_slice_mut(&mut self.tallies))?;
        for (entry, slots) in audit.iter_mut().zip(&self.tallies) {
            entry.tally = tally(slots);
        }
        Ok(())
    }

    fn seed(
        &mut self,
        step: &Step,
        targets: &[Target],
        init: Init,
        seeds: &mut [Seed],
    ) -> Result<(), CudaError> {
        self.ask(targets, seeds)?;
        let steps = std::slice::from_ref(step);
        let launches = self.lowered(steps, Some(init), false)?;
        launch::play(&self.stream, &launch::prepare(&self.device, launches)?)?;
        self.answer(targets, step.shapes[1].elements(), seeds)
    }

    fn run(&mut self, steps: &[Step], seeding: Option<Seeding<'_>>) -> Result<(), CudaError> {
        let Some(seed) = steps.iter().find(|step| step.act == Act::Seed) else {
            return self.play(steps, None);
        };
        let Seeding {
            targets,
            init,
            seeds,
        } = seeding.ok_or(Error::Order)?;
        self.ask(targets, seeds)?;
        self.play(steps, Some(init))?;
        self.answer(targets, seed.shapes[1].elements(), seeds)
    }

    fn put(&mut self, region: Region, from: &[f32]) -> Result<(), CudaError> {
        same_length(region, from.len(), Buffer::Image)?;
        let at = self.offset(region)?;
        present(self.memory.as_mut())?.write([(at, bytemuck::cast_slice(from))])
    }

    fn get(&mut self, region: Region, to: &mut [f32]) -> Result<(), CudaError> {
        same_length(region, to.len(), Buffer::Output)?;
        let at = self.offset(region)?;
        present(self.memory.as_ref())?.read(at, bytemuck::cast_slice_mut(to))
    }

    fn quantize(&mut self, region: Region, maps: usize, levels: u32) -> Result<(), CudaError> {
        self.offset(region)?;
        let launches = self.lowering(|l| Ok(l.quantize(region, maps, levels)))?;
        launch::play(&self.stream, &launch::prepare(&self.device, launches)?)?;
        present(self.memory.as_ref())?.synchronize()
    }
}

fn same_length(region: Region, have: usize, buffer: Buffer) -> Result<(), Error> {
    let (need, have) = (u64::from(region.len), have as u64);
    if need == have {
        Ok(())
    } else {
        Err(Error::Length { buffer, need, have })
    }
}
