//! The core with memory of its own: buffers for the plan, the arena and threads.

use anyhow::{Result, anyhow, bail};
use elucid::{Cuda, CudaError};
use elucid_core::audit::Entry;
use elucid_core::cpu::Cpu;
use elucid_core::error::Buffer;
use elucid_core::explain::Explainer;
use elucid_core::graph::Op;
use elucid_core::model::Preprocess;
use elucid_core::par::{Pool, Serial};
use elucid_core::plan::{End, Memory, Options, Plan, Slot, Step, Value, Workspace};
use elucid_core::rule::{Composite, Split};
use elucid_core::simd::Isa;
use elucid_core::{Error, Model, Shape};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::aligned::Aligned;
use crate::place::{Machine, Place, core_error};

/// A preset: the composite for a split, and for networks with this preprocessing.
pub type Preset = fn(Split, &Preprocess) -> Composite;

/// The rule presets with their names on the command line. Those of zennit have one way to split: in proportion to the signed
/// values of both branches.
pub const PRESETS: [(&str, Preset); 7] = [
    ("exact", |split, _| Composite::exact(split)),
    ("paper", |split, _| Composite::paper(split)),
    ("epsilon-plus", |_, _| Composite::epsilon_plus(true)),
    ("epsilon-plus-flat", |_, _| {
        Composite::epsilon_plus_flat(true)
    }),
    ("alpha2-beta1", |_, _| Composite::alpha2_beta1(true)),
    ("alpha2-beta1-flat", |_, _| {
        Composite::alpha2_beta1_flat(true)
    }),
    ("epsilon-gamma-box", |_, how| {
        // Black and white, normalised.
        let bound = |byte: f32| {
            let level = byte * how.scale;
            [0, 1, 2].map(|c| (level - how.mean[c]) / how.std[c])
        };
        Composite::epsilon_gamma_box(bound(0.0), bound(255.0), true)
    }),
];

/// Threads of the host.
pub enum Threads {
    /// The caller's alone.
    One(Serial),
    /// A pool of its own.
    Many(Workers),
}

/// A rayon pool as the core sees it.
pub struct Workers(ThreadPool);

impl Pool for Workers {
    fn threads(&self) -> usize {
        self.0.current_num_threads()
    }

    fn broadcast(&self, f: &(dyn Fn() + Sync)) {
        self.0.broadcast(|_| f());
    }
}

impl Threads {
    /// This many threads; all of the machine's with 0.
    ///
    /// # Errors
    /// If the system refuses the threads.
    pub fn new(count: usize) -> Result<Self> {
        const MOST: usize = 1024;
        let machine = std::thread::available_parallelism().map_or(1, usize::from);
        match if count == 0 { machine } else { count } {
            1 => Ok(Threads::One(Serial)),
            n if n > MOST => bail!("--threads {n} is more than {MOST}"),
            n => Ok(Threads::Many(Workers(
                ThreadPoolBuilder::new().num_threads(n).build()?,
            ))),
        }
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &dyn Pool {
        match self {
            Threads::One(serial) => serial,
            Threads::Many(workers) => workers,
        }
    }
}

/// Memory that a plan is made in.
pub struct PlanMemory {
    slots: Vec<Slot>,
    values: Vec<Value>,
    steps: Vec<Step>,
}

impl PlanMemory {
    /// Enough for any plan of this model.
    #[must_use]
    pub fn new(model: &Model<'_>) -> Self {
        let (slots, values, steps) = Workspace::capacity(model.node_count());
        Self {
            slots: vec![Slot::EMPTY; slots],
            values: vec![Value::EMPTY; values],
            steps: vec![Step::EMPTY; steps],
        }
    }

    /// Plans the model.
    ///
    /// # Errors
    /// One line that names the layer the image doesn't fit.
    pub fn plan(&mut self, model: &Model<'_>, options: &Options) -> Result<Plan<'_>> {
        let workspace = Workspace {
            slots: &mut self.slots,
            values: &mut self.values,
            steps: &mut self.steps,
        };
        Plan::new(model, options, workspace).map_err(|e| explain_error(model, e))
    }
}

/// An error with the names that only the model knows.
#[must_use]
pub fn explain_error(model: &Model<'_>, error: impl Into<CudaError>) -> anyhow::Error {
    let error = match core_error(&error.into()) {
        Ok(error) => error,
        Err(of_gpu) => return of_gpu,
    };
    match error {
        Error::Shape {
            node,
            found: [h, w, c],
        } => {
            let id = u16::try_from(node).unwrap_or(u16::MAX);
            let wanted = match model.node(id).op {
                Op::Conv(conv) => format!(
                    " (a {}x{} convolution of {} channels)",
                    conv.kh, conv.kw, conv.ci
                ),
                Op::Linear(linear) => format!(" ({} features)", linear.ci),
                _ => String::new(),
            };
            anyhow!(
                "layer {}{wanted} cannot take {h} x {w} pixels of {c} channels; give an image of another size, or import the weights with the right --arch",
                model.node_name(id)
            )
        }
        Error::Capacity {
            buffer: Buffer::Arena,
            need,
            have,
        } => anyhow!(
            "the arena would need {need} elements, but {have} can be addressed; take fewer images or classes at a time, or smaller images"
        ),
        Error::Unsupported { node } => {
            let id = u16::try_from(node).unwrap_or(u16::MAX);
            let (name, kind) = (model.node_name(id), model.node(id).op.kind());
            anyhow!(
                "relevance and gradients can't pass layer {name} ({kind}); choose a method that doesn't need them: --method ala for a model with an adapter, attention, rollout or rise for a transformer"
            )
        }
        other => anyhow!("{other}"),
    }
}

/// An arena, a plan's memory and a ledger, reused from image to image.
pub struct Engine<'m> {
    model: &'m Model<'m>,
    threads: &'m Threads,
    plan: PlanMemory,
    arena: Aligned,
    kernels: Isa,
    place: Place,
    /// The backend on a GPU, once there is one: weights, compiled kernels and graphs stay on it from image to image.
    cuda: Option<Cuda<'m>>,
}

/// How images are explained.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Rules; `None` for a forward pass only.
    pub composite: Option<Composite>,
    /// Where relevance ends.
    pub end: End,
    /// What is kept for the way back.
    pub memory: Memory,
    /// Whether that lies in half precision.
    pub half: bool,
    /// Images of a batch.
    pub images: usize,
    /// Classes explained of each image in one call.
    pub targets: usize,
}

impl Method {
    /// One class of one image at a time, block checkpoints in single precision.
    #[must_use]
    pub const fn new(composite: Option<Composite>) -> Self {
        Self {
            composite,
            end: End::Map,
            memory: Memory::Block,
            half: false,
            images: 1,
            targets: 1,
        }
    }

    /// What a plan is made for, on one thread.
    #[must_use]
    pub const fn options(&self, image: Shape) -> Options {
        let Self {
            composite,
            end,
            memory,
            half,
            images,
            targets,
        } = *self;
        Options {
            images,
            targets,
            end,
            memory,
            half,
            ..Options::new(image, composite)
        }
    }
}

impl<'m> Engine<'m> {
    /// An engine without memory yet.
    #[must_use]
    pub fn new(model: &'m Model<'m>, threads: &'m Threads) -> Self {
        Self {
            model,
            threads,
            plan: PlanMemory::new(model),
            arena: Aligned::empty(),
            kernels: Isa::detect(),
            place: Place::Cpu,
            cuda: None,
        }
    }

    /// The same engine elsewhere.
    #[must_use]
    pub fn at(self, place: &Place) -> Self {
        Self {
            place: place.clone(),
            cuda: None,
            ..self
        }
    }

    /// The same engine with other kernels than this machine's best.
    #[must_use]
    pub fn with_kernels(self, kernels: Isa) -> Self {
        Self { kernels, ..self }
    }

    /// Where it computes.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Bytes of the arena: what the largest plan so far needed. On a GPU the weights lie there too.
    #[must_use]
    pub fn arena_bytes(&self) -> usize {
        let on_gpu = self.cuda.as_ref().map_or(0, Cuda::bytes);
        self.arena.bytes().len() + usize::try_from(on_gpu).unwrap_or(usize::MAX)
    }

    /// An explainer for images of this shape.
    ///
    /// # Errors
    /// If the image doesn't fit the network, or its plan the GPU.
    pub fn open(&mut self, image: Shape, method: Method) -> Result<Explainer<'_, Machine<'_>>> {
        let (plan, machine) = self.parts(image, method)?;
        Ok(Explainer::new(plan, machine))
    }

    /// A plan for images of this shape, and a backend for it.
    ///
    /// # Errors
    /// If the image doesn't fit the network, or its plan the GPU.
    pub fn parts(&mut self, image: Shape, method: Method) -> Result<(Plan<'_>, Machine<'_>)> {
        let pool = self.threads.pool();
        let options = Options {
            threads: match self.place {
                Place::Cpu => pool.threads(),
                Place::Cuda(_) => 1,
            },
            ..method.options(image)
        };
        let model = self.model;
        let plan = self.plan.plan(model, &options)?;
        if let Place::Cuda(device) = &self.place {
            let named = |e| explain_error(model, e);
            let cuda = match self.cuda.take() {
                Some(mut cuda) => cuda.adopt(&plan).map(|()| cuda),
                None => Cuda::new(device, model, &plan),
            };
            let cuda = self.cuda.insert(cuda.map_err(named)?);
            return Ok((plan, Machine::Cuda(cuda)));
        }
        let bytes = plan.arena() * size_of::<f32>();
        if self.arena.bytes().len() < bytes {
            // The old one first: both may not fit.
            self.arena = Aligned::empty();
            self.arena = Aligned::zeroed(bytes)?;
        }
        let cpu = Cpu::new(self.model, &plan, self.arena.floats_mut(), pool)?;
        Ok((plan, Machine::Cpu(cpu.with_isa(self.kernels))))
    }
}

/// Room for the ledger of a plan.
#[must_use]
pub fn ledger_entries(plan: &Plan<'_>) -> Vec<Entry> {
    vec![Entry::EMPTY; plan.relevance_steps().len() * plan.options().maps()]
}
