//! Whole plans, step by step: each starts from what the CPU left, and must leave the same, with the same account.

use bytemuck::{Pod, Zeroable, cast_slice};
use elucid::lower::{Layout, Lowering};
use elucid_core::audit::Entry;
use elucid_core::backend::Backend;
use elucid_core::cpu::Cpu;
use elucid_core::graph::Op;
use elucid_core::op::head::Seed;
use elucid_core::par::Serial;
use elucid_core::plan::{Act, Memory, Options, Plan, Region, Slot, Step, Value, Workspace};
use elucid_core::rule::{Composite, Init, PoolRule, Rules, Split, Target};
use elucid_core::{Model, Shape};
use elucid_emulator::Memory as Emulated;
use elucid_kernels::params::{SeedRequest, SeedResult};

use crate::device::{Device, Random, devices};
use crate::network::{CLASSES, network};

/// Doubles of a map's account, and where they are in it.
const TALLY: usize = 8;
const INTO: usize = 0;
const BEFORE: usize = 1;
const OUT: usize = 2;
const KEPT: usize = 3;
const SINKS: usize = 4;

/// Sixty-four bytes at a multiple of as many: tensors of a model file lie at such.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// The device's memory, filled with the model.
struct Card {
    device: Device,
    memory: Emulated<'static>,
    layout: Layout,
}

impl Card {
    fn new(device: Device, model: &Model<'_>, plan: &Plan<'_>) -> Self {
        let layout = Layout::new(model, plan);
        let mut bytes = vec![0u8; layout.bytes() as usize];
        for id in 0..model.tensor_count() {
            let tensor: &[u8] = match (model.weights(id), model.vector(id)) {
                (_, Some(v)) => cast_slice(v),
                _ => panic!("the network is in single precision"),
            };
            let at = layout.tensor(id).expect("it has a place") as usize;
            bytes[at..at + tensor.len()].copy_from_slice(tensor);
        }
        let memory = device.emulator.upload("memory", &bytes);
        Self {
            device,
            memory,
            layout,
        }
    }

    /// Puts floats or anything else in at an offset.
    fn put(&self, at: u64, bytes: &[u8]) {
        let mut all: Vec<u8> = self.memory.download();
        all[at as usize..][..bytes.len()].copy_from_slice(bytes);
        self.memory.upload(&all);
    }

    fn get<T: Pod>(&self, at: u64, count: usize) -> Vec<T> {
        let all: Vec<u8> = self.memory.download();
        let bytes = &all[at as usize..][..count * size_of::<T>()];
        bytes
            .chunks(size_of::<T>())
            .map(bytemuck::pod_read_unaligned)
            .collect()
    }
}

/// One plan on both.
struct Race<'r> {
    model: &'r Model<'r>,
    plan: &'r Plan<'r>,
    cpu: Cpu<'r>,
    card: Card,
}

impl Race<'_> {
    fn lowering(&self) -> Lowering<'_> {
        let base = self.card.memory.address();
        Lowering::new(self.model, &self.card.layout, self.plan.options(), base)
    }

    fn arena(&mut self) -> Vec<f32> {
        let len = self.plan.arena();
        let mut all = vec![0.0; len];
        let region = Region {
            start: 0,
            len: len as u32,
        };
        self.cpu.get(region, &mut all).expect("as long");
        all
    }

    /// A step from the CPU's state on both sides.
    fn step(&mut self, step: &Step, audit: bool) {
        let before = self.arena();
        let arena = self.card.layout.arena();
        let maps = self.plan.options().maps();
        self.card.put(arena, cast_slice(&before));
        let zeros = vec![0f64; maps * TALLY];
        self.card.put(self.card.layout.ledger(), cast_slice(&zeros));
        let launches = self.lowering().step(step, audit).expect("a step");
        self.card.device.run(&launches);
        let got: Vec<f32> = self.card.get(arena, before.len());

        let mut entries = vec![Entry::EMPTY; if audit { maps } else { 0 }];
        self.cpu.step(step, &mut entries).expect("a step");
        let want = self.arena();
        let op = self.model.node(step.node).op;
        let weighted = matches!(op, Op::Conv(_) | Op::Linear(_)) && step.act != Act::Split;
        let tolerance = if weighted { 1e-4 } else { 1e-6 };
        let what = format!("{:?} of node {}, {op:?}", step.act, step.node);
        let written = [step.out.range(), step.ins[2].range()];
        for region in &written {
            near(
                &got[region.clone()],
                &want[region.clone()],
                tolerance,
                &what,
            );
        }
        let working = step.scratch.range();
        for i in 0..got.len() {
            let touched = working.contains(&i) || written.iter().any(|w| w.contains(&i));
            let same = got[i].to_bits() == before[i].to_bits();
            assert!(touched || same, "{what}: element {i} was written");
        }
        let slots: Vec<f64> = self.card.get(self.card.layout.ledger(), maps * TALLY);
        for (slots, entry) in slots.chunks(TALLY).zip(&entries) {
            let tally = &entry.tally;
            let out = slots[OUT] - slots[BEFORE] + slots[KEPT];
            let sinks = [tally.sinks.eps, tally.sinks.dead, tally.sinks.redistributed];
            let size = tally.into.abs() + tally.out.abs() + slots[BEFORE].abs() + 1e-3;
            let close = |got: f64, want: f64, of: &str| {
                let limit = f64::from(tolerance) * size;
                assert!((got - want).abs() <= limit, "{what}: {of} {got:e} {want:e}");
            };
            close(slots[INTO], tally.into, "into");
            close(out, tally.out, "out");
            for (i, of) in ["eps", "dead", "redistributed"].into_iter().enumerate() {
                close(slots[SINKS + i], sinks[i], of);
            }
        }
    }

    fn seed(&mut self, step: &Step, targets: &[Target], init: Init) {
        let requests: Vec<SeedRequest> = targets
            .iter()
            .map(|&target| match target {
                Target::Predicted => SeedRequest { kind: 0, index: 0 },
                Target::Rank(index) => SeedRequest { kind: 0, index },
                Target::Class(index) => SeedRequest { kind: 1, index },
            })
            .collect();
        let before = self.arena();
        let arena = self.card.layout.arena();
        self.card.put(arena, cast_slice(&before));
        self.card
            .put(self.card.layout.requests(), cast_slice(&requests));
        let launches = self.lowering().seed(step, init);
        self.card.device.run(&launches);
        let got: Vec<f32> = self.card.get(arena, before.len());
        let results: Vec<SeedResult> = self.card.get(self.card.layout.results(), targets.len());
        let mut seeds = vec![Seed::default(); targets.len()];
        self.cpu
            .seed(step, targets, init, &mut seeds)
            .expect("a seed");
        let want = self.arena();
        near(
            &got[step.out.range()],
            &want[step.out.range()],
            1e-6,
            "seed",
        );
        for (got, want) in results.iter().zip(seeds) {
            assert_eq!((got.predicted, got.target), (want.predicted, want.target));
            near(&[got.relevance], &[want.relevance], 1e-6, "start");
        }
    }
}

/// Equal to `tolerance` of the largest.
fn near(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    let most = want.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = g.to_bits() == w.to_bits() || (g - w).abs() <= tolerance * most;
        assert!(same, "{what}: element {i}: {g:e} {w:e}");
    }
}

fn race(device: Device, options: &Options, init: Init) {
    let file = network();
    let mut lines = vec![Line([0; 64]); file.len().div_ceil(64)];
    let bytes = &mut bytemuck::cast_slice_mut(&mut lines)[..file.len()];
    bytes.copy_from_slice(&file);
    let model = Model::parse(bytes).expect("a model");
    let (slots, values, steps) = Workspace::capacity(model.node_count());
    let (mut slots, mut values) = (vec![Slot::EMPTY; slots], vec![Value::EMPTY; values]);
    let mut steps = vec![Step::EMPTY; steps];
    let workspace = Workspace {
        slots: &mut slots,
        values: &mut values,
        steps: &mut steps,
    };
    let plan = Plan::new(&model, options, workspace).expect("a plan");
    let mut arena = vec![0.0; plan.arena()];
    let mut cpu = Cpu::new(&model, &plan, &mut arena, &Serial).expect("a backend");
    let image = Random::new(11).draws(plan.image().len as usize);
    cpu.put(plan.image(), &image).expect("as long");
    let card = Card::new(device, &model, &plan);
    let mut race = Race {
        model: &model,
        plan: &plan,
        cpu,
        card,
    };
    let prepare = race.lowering().prepare();
    device.run(&prepare);
    let targets: Vec<Target> = (0..options.maps())
        .map(|map| match map % 3 {
            0 => Target::Predicted,
            1 => Target::Rank(2),
            _ => Target::Class(CLASSES - 1),
        })
        .collect();
    for step in plan.steps() {
        match step.act {
            Act::Seed => race.seed(step, &targets, init),
            Act::Forward | Act::Recompute | Act::Enlarge | Act::Pack | Act::Unpack => {
                race.step(step, false);
            }
            Act::Split | Act::Relevance | Act::Collect | Act::Weigh | Act::Gate => {
                race.step(step, true);
            }
        }
    }
}

/// The reference's rules with another rule for max pools.
fn pooled(pool: PoolRule) -> Composite {
    match Composite::paper(Split::Half) {
        Composite::Rules(rules) => Composite::Rules(Rules { pool, ..rules }),
        other => other,
    }
}

#[test]
fn every_step_of_every_composite_does_what_the_cpus_does() {
    let composites = [
        Composite::exact(Split::Ratio),
        Composite::exact(Split::ProjectionHalf),
        Composite::paper(Split::Ratio),
        pooled(PoolRule::WindowAverage),
        Composite::epsilon_plus(true),
        Composite::gradient(),
        Composite::guided(),
        Composite::deconvolution(),
        Composite::duplicated(1e-9),
    ];
    let all = composites.into_iter().zip(devices().cycle()).enumerate();
    for (number, (composite, device)) in all {
        let options = Options {
            images: 1 + number % 2,
            targets: 1 + number % 3,
            memory: [Memory::Block, Memory::Keep, Memory::Stage][number % 3],
            half: number % 2 == 1,
            ..Options::new(Shape::new(13, 10, 3), Some(composite))
        };
        let init = [Init::Probability, Init::One, Init::Logit][number % 3];
        race(device, &options, init);
    }
}
