//! The CUDA kernels as a backend, executed on the CPU: the launches that the steps of a plan become, without a driver.

use elucid::lower::layout::{TALLY, tensor_bytes};
use elucid::lower::ledger::tally;
use elucid::lower::seed::{answer, request};
use elucid::lower::{Launch, Layout, Lowering};
use elucid_core::audit::Entry;
use elucid_core::backend::Backend;
use elucid_core::explain::Explainer;
use elucid_core::op::head::Seed;
use elucid_core::plan::{Plan, Region, Step};
use elucid_core::rule::{Init, Target};
use elucid_core::{Error, Model};
use elucid_emulator::{Emulator, Memory, Order};
use elucid_host::engine::{Method, PlanMemory};
use elucid_kernels::params::{SeedRequest, SeedResult};

use crate::subject::{Explanation, Image, Run, Subject};

/// Executes steps over memory of the host that kernels take for a device's.
pub struct Emulated<'a> {
    memory: Memory<'a>,
    emulator: &'a Emulator,
    lowering: Lowering<'a>,
    layout: &'a Layout,
    order: Order,
}

impl<'a> Emulated<'a> {
    /// A backend for a plan of this model, with the model's weights in its memory.
    ///
    /// # Panics
    /// If a kernel faults.
    pub fn new(
        emulator: &'a Emulator,
        model: &'a Model<'a>,
        plan: &Plan<'_>,
        layout: &'a Layout,
        tensor_cores: bool,
    ) -> Self {
        let bytes = layout.bytes() as usize;
        let memory = emulator.allocate("device", bytes);
        for id in 0..model.tensor_count() {
            let offset = layout.tensor(id).expect("every tensor has its place");
            memory.upload_at(offset as usize, tensor_bytes(model, id));
        }
        let lowering = Lowering::new(model, layout, plan.options(), memory.address())
            .with_tensor_cores(tensor_cores);
        let device = Self {
            memory,
            emulator,
            lowering,
            layout,
            order: Order::Ascending,
        };
        device.write(plan.zero(), &vec![0.0; plan.zero().len as usize]);
        device.play(&lowering.prepare());
        device
    }

    /// The same, its threads in another order.
    pub fn in_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The launches of a step.
    ///
    /// # Errors
    /// Those of the lowering.
    pub fn launches(&self, step: &Step) -> Result<Vec<Launch>, Error> {
        self.lowering.step(step, false)
    }

    fn play(&self, launches: &[Launch]) {
        for launch in launches {
            let (entry, argument) = (launch.kernel.entry, launch.argument.bytes());
            let result = self
                .emulator
                .launch(entry, launch.grid, argument, self.order);
            result.unwrap_or_else(|fault| panic!("{entry}: {fault}"));
        }
    }

    fn offset(&self, region: Region) -> usize {
        self.layout.arena() as usize + 4 * region.start as usize
    }

    /// Puts values into a region of the arena.
    pub fn write(&self, region: Region, values: &[f32]) {
        self.memory.upload_at(self.offset(region), values);
    }

    /// The values of a region of the arena.
    pub fn read(&self, region: Region) -> Vec<f32> {
        self.memory.part(self.offset(region), region.len as usize)
    }

    /// Every byte, to see what changes.
    pub fn bytes(&self) -> Vec<u8> {
        self.memory.download()
    }

    /// Where a region lies among [`Emulated::bytes`].
    pub fn range(&self, region: Region) -> std::ops::Range<usize> {
        let start = self.offset(region);
        start..start + 4 * region.len as usize
    }
}

impl Backend for Emulated<'_> {
    type Error = Error;

    fn step(&mut self, step: &Step, audit: &mut [Entry]) -> Result<(), Error> {
        let audited = !audit.is_empty();
        let at = self.layout.ledger() as usize;
        if audited {
            self.memory
                .upload_at(at, &vec![0.0f64; audit.len() * TALLY]);
        }
        self.play(&self.lowering.step(step, audited)?);
        if audited {
            let slots: Vec<f64> = self.memory.part(at, audit.len() * TALLY);
            for (entry, slots) in audit.iter_mut().zip(slots.chunks_exact(TALLY)) {
                entry.tally = tally(slots.try_into().expect("a chunk is as long"));
            }
        }
        Ok(())
    }

    fn seed(
        &mut self,
        step: &Step,
        targets: &[Target],
        init: Init,
        seeds: &mut [Seed],
    ) -> Result<(), Error> {
        let requests: Vec<SeedRequest> = targets.iter().map(|&t| request(t)).collect();
        self.memory
            .upload_at(self.layout.requests() as usize, &requests);
        self.play(&self.lowering.seed(step, init));
        let at = self.layout.results() as usize;
        let results: Vec<SeedResult> = self.memory.part(at, seeds.len());
        let classes = step.shapes[1].elements();
        for ((seed, result), &target) in seeds.iter_mut().zip(&results).zip(targets) {
            *seed = answer(result, target, classes)?;
        }
        Ok(())
    }

    fn put(&mut self, region: Region, from: &[f32]) -> Result<(), Error> {
        self.write(region, from);
        Ok(())
    }

    fn get(&mut self, region: Region, to: &mut [f32]) -> Result<(), Error> {
        to.copy_from_slice(&self.read(region));
        Ok(())
    }

    fn quantize(&mut self, region: Region, maps: usize, levels: u32) -> Result<(), Error> {
        self.play(&self.lowering.quantize(region, maps, levels));
        Ok(())
    }
}

/// The kernels through the suite.
pub struct Kernels {
    /// What executes them.
    pub emulator: &'static Emulator,
    /// Whether forward passes take tensor cores.
    pub tensor_cores: bool,
    /// How images are explained; the composite is the run's.
    pub method: Method,
    /// In which order threads run.
    pub order: Order,
}

impl Subject for Kernels {
    fn name(&self) -> String {
        format!(
            "cuda kernels, {:?}, tensor cores {}",
            self.order, self.tensor_cores
        )
    }

    fn explain(&self, model: &Model<'_>, image: &Image, run: &Run) -> Result<Explanation, String> {
        let method = Method {
            composite: Some(run.composite()),
            ..self.method
        };
        let mut plan = PlanMemory::new(model);
        let plan = plan
            .plan(model, &method.options(image.shape))
            .map_err(|e| format!("{e:#}"))?;
        let layout = Layout::new(model, &plan);
        let backend = Emulated::new(self.emulator, model, &plan, &layout, self.tensor_cores)
            .in_order(self.order);
        Explanation::of(&mut Explainer::new(plan, backend), image, run)
    }
}
