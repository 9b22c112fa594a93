//! The implementation under test, as the suite sees it.
//!
//! A [`Subject`] explains one image with one model and hands back everything there is to compare: the logits, the map and
//! the ledger. A backend joins the suite by implementing it. Images are kept channels last, as the core takes them, and
//! turned to the reference's order where that is asked.

use std::fmt::Display;

use elucid_core::audit::{Entry, Ledger};
use elucid_core::backend::Backend;
use elucid_core::explain::Explainer;
use elucid_core::op::Sinks;
use elucid_core::op::head::Seed;
use elucid_core::plan::Memory;
use elucid_core::rule::{self, Composite, Init, Target};
use elucid_core::simd::Isa;
use elucid_core::{Model, Shape};
use elucid_host::engine::{Engine, Method, Threads, ledger_entries};
use elucid_host::synthetic::Random;

use crate::reference::{Preset, Split};
use crate::tensors::Tensor;

/// A normalised image.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// `[h, w, 3]`.
    pub shape: Shape,
    /// The values, channels last.
    pub values: Vec<f32>,
}

impl Image {
    /// From the order of frameworks, `[1, 3, H, W]`.
    pub fn new(nchw: &Tensor) -> Self {
        let &[1, 3, h, w] = nchw.shape.as_slice() else {
            panic!("an image of shape {:?}", nchw.shape)
        };
        let at = |i: usize| nchw.data[i % 3 * h * w + i / 3] as f32;
        Self {
            shape: Shape::new(h as u32, w as u32, 3),
            values: (0..3 * h * w).map(at).collect(),
        }
    }

    /// Values between -2 and 2, the same for the same seed.
    pub fn random(seed: u64, h: u32, w: u32) -> Self {
        let shape = Shape::new(h, w, 3);
        let mut random = Random::new(seed);
        let values = (0..shape.elements()).map(|_| 2.0 * random.draw());
        Self {
            shape,
            values: values.collect(),
        }
    }

    /// In the order of frameworks, `[1, 3, H, W]`.
    pub fn to_nchw(&self) -> Tensor {
        let pixels = self.shape.pixels();
        let at = |i: usize| f64::from(self.values[i % pixels * 3 + i / pixels]);
        let (h, w) = (self.shape.h as usize, self.shape.w as usize);
        Tensor::new(&[1, 3, h, w], (0..3 * pixels).map(at).collect())
    }
}

/// How an image is explained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Rules.
    pub preset: Preset,
    /// Splitting of relevance between branches.
    pub split: Split,
    /// Class to explain.
    pub target: Target,
    /// Relevance it starts with.
    pub init: Init,
}

impl Run {
    /// The predicted class with its probability.
    pub const fn new(preset: Preset, split: Split) -> Self {
        Self {
            preset,
            split,
            target: Target::Predicted,
            init: Init::Probability,
        }
    }

    /// Both presets with all splits.
    pub fn all() -> impl Iterator<Item = Self> {
        let presets = [Preset::Paper, Preset::Exact];
        presets
            .into_iter()
            .flat_map(|preset| Split::ALL.map(|split| Self::new(preset, split)))
    }

    /// The rules in the core's words.
    pub fn composite(&self) -> Composite {
        let split = match self.split {
            Split::Ratio => rule::Split::Ratio,
            Split::Half => rule::Split::Half,
            Split::ProjectionRatio => rule::Split::ProjectionRatio,
            Split::ProjectionHalf => rule::Split::ProjectionHalf,
        };
        match self.preset {
            Preset::Paper => Composite::paper(split),
            Preset::Exact => Composite::exact(split),
        }
    }
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Predicted and explained class.
    pub seed: Seed,
    /// Class scores.
    pub logits: Vec<f32>,
    /// `[h, w]`.
    pub map: Vec<f32>,
    /// The steps of the ledger.
    pub entries: Vec<Entry>,
    /// The sum of the ledger's sinks.
    pub sinks: Sinks,
    /// Whether the ledger says that every step balances.
    pub balances: bool,
}

impl Explanation {
    /// Explains one image, audited, by an explainer of one image and one class.
    ///
    /// # Errors
    /// The backend's, in its own words.
    pub fn of<B: Backend<Error: Display>>(
        explainer: &mut Explainer<'_, B>,
        image: &Image,
        run: &Run,
    ) -> Result<Self, String> {
        let mut entries = ledger_entries(explainer.plan());
        let mut ledger = Ledger::new(&mut entries);
        let wrong = |e: B::Error| e.to_string();
        let seed = explainer
            .explain(&image.values, run.target, run.init, Some(&mut ledger))
            .map_err(wrong)?;
        let mut logits = vec![0.0; explainer.plan().logits().len as usize];
        let mut map = vec![0.0; image.shape.pixels()];
        explainer.logits(&mut logits).map_err(wrong)?;
        explainer.heat(&mut map).map_err(wrong)?;
        let account = ledger.account(0);
        Ok(Self {
            seed,
            logits,
            map,
            sinks: account.sinks(),
            balances: account.balances(),
            entries: account.entries().copied().collect(),
        })
    }

    /// The relevance in the map.
    pub fn sum(&self) -> f64 {
        self.map.iter().map(|&v| f64::from(v)).sum()
    }

    /// The relative difference between what arrived in the map and what started at the class.
    pub fn conservation_error(&self) -> f64 {
        let start = f64::from(self.seed.relevance);
        (self.sum() - start).abs() / start.abs()
    }

    /// Panics unless the ledger tells the whole story: every step balances, the steps add up, and what the map lacks lies
    /// in the sinks, all to 1e-5 of the start.
    pub fn check_ledger(&self, what: &str) {
        assert!(
            self.balances,
            "{what}: a step of the ledger doesn't balance: {:?}",
            self.entries
        );
        let start = f64::from(self.seed.relevance);
        let limit = 1e-5 * start.abs();
        let unexplained: f64 = self.entries.iter().map(Entry::unexplained).sum();
        assert!(
            unexplained.abs() <= limit,
            "{what}: the steps leave {unexplained:e} of {start:e} unexplained"
        );
        let found = self.sum() + self.sinks.eps + self.sinks.dead;
        assert!(
            (found - start).abs() <= limit,
            "{what}: map {} and sinks {:?} make {found}, not {start}",
            self.sum(),
            self.sinks
        );
    }

    /// Panics unless `other` is the same, bit for bit.
    pub fn check_same(&self, other: &Self, what: &str) {
        let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&self.logits), bits(&other.logits), "{what}: logits");
        assert_eq!(bits(&self.map), bits(&other.map), "{what}: maps");
    }
}

/// Something that explains images.
pub trait Subject {
    /// What to call it in messages.
    fn name(&self) -> String;

    /// Explains one image, audited.
    ///
    /// # Errors
    /// Whatever the implementation says, in its own words.
    fn explain(&self, model: &Model<'_>, image: &Image, run: &Run) -> Result<Explanation, String>;
}

/// The CPU backend through the host's engine.
pub struct Cpu {
    memory: Memory,
    threads: Threads,
    kernels: Isa,
}

impl Cpu {
    /// With this memory mode and this many threads.
    pub fn new(memory: Memory, threads: usize) -> Self {
        let threads = Threads::new(threads).unwrap_or_else(|e| panic!("{e}"));
        Self {
            memory,
            threads,
            kernels: Isa::detect(),
        }
    }

    /// Every memory mode with one to `threads` threads. With the same kernels, all give the same bits.
    pub fn all(threads: usize) -> Vec<Self> {
        (1..=threads)
            .flat_map(|n| Memory::ALL.map(|(memory, _)| Self::new(memory, n)))
            .collect()
    }

    /// Whether its kernels multiply and add with one rounding: then each element's value is the same in all of them.
    pub fn fuses(&self) -> bool {
        self.kernels != Isa::Portable
    }

    /// The other kernels that this machine can run.
    pub fn other_kernels() -> Vec<Self> {
        let other = Isa::available().skip(1).map(|kernels| Self {
            kernels,
            ..Self::new(Memory::Block, 1)
        });
        other.collect()
    }
}

impl Subject for Cpu {
    fn name(&self) -> String {
        format!(
            "cpu, {:?}, {} threads, {} kernels",
            self.memory,
            self.threads.pool().threads(),
            self.kernels.name()
        )
    }

    fn explain(&self, model: &Model<'_>, image: &Image, run: &Run) -> Result<Explanation, String> {
        let method = Method {
            memory: self.memory,
            ..Method::new(Some(run.composite()))
        };
        let mut engine = Engine::new(model, &self.threads).with_kernels(self.kernels);
        let mut explainer = engine
            .open(image.shape, method)
            .map_err(|e| format!("{e:#}"))?;
        Explanation::of(&mut explainer, image, run)
    }
}
