//! What runs on the mock driver, in a process of its own.

use std::env;
use std::sync::Arc;

use elucid::{Cuda, CudaError, Device};
use elucid_core::audit::{Entry, Ledger};
use elucid_core::backend::Backend;
use elucid_core::cpu::Cpu;
use elucid_core::explain::Explainer;
use elucid_core::op::head::Seed;
use elucid_core::par::Serial;
use elucid_core::plan::{End, Memory as Kept, Options};
use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_core::{Error, Model, Shape};

use crate::c_api;
use crate::model::{Bytes, Memory, image};

/// Largest difference to the CPU, as a share of the largest value.
const TOLERANCE: f32 = 1e-4;

/// One line for the parent.
pub fn say(line: &str) {
    println!("\nsaid: {line}");
}

pub fn run(case: &str) {
    match case {
        "explain" => explain(),
        "ledger" => ledger(),
        "batch" => batch(),
        "plans" => plans(),
        "mistakes" => mistakes(),
        "fault" => fault(),
        "c_api" => c_api::explain(),
        "c_status" => c_api::status(),
        other => panic!("no case {other}"),
    }
}

fn options(shape: Shape) -> Options {
    Options::new(shape, Some(Composite::exact(Split::Ratio)))
}

fn open() -> Arc<Device> {
    Device::open(0).unwrap_or_else(|e| panic!("{e}"))
}

pub fn close(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (g - w).abs() <= TOLERANCE * largest,
            "{what}, element {i}: {g:e} instead of {w:e}, of {largest:e}"
        );
    }
}

/// What an explanation gives.
struct Outcome {
    seeds: Vec<Seed>,
    logits: Vec<f32>,
    heat: Vec<f32>,
}

fn outcome<B: Backend>(
    explainer: &mut Explainer<'_, B>,
    seeds: Vec<Seed>,
) -> Result<Outcome, B::Error> {
    let plan = explainer.plan();
    let (logits, heat) = (plan.logits().len, plan.heat().len);
    let mut outcome = Outcome {
        seeds,
        logits: vec![0.0; logits as usize],
        heat: vec![0.0; heat as usize],
    };
    explainer.logits(&mut outcome.logits)?;
    explainer.heat(&mut outcome.heat)?;
    Ok(outcome)
}

/// The CPU's explanation by the same plan.
fn on_cpu(model: &Model<'_>, options: &Options, image: &[f32], targets: &[Target]) -> Outcome {
    let mut memory = Memory::new(model);
    let plan = memory.plan(model, options);
    let mut arena = vec![0.0; plan.arena()];
    let cpu = Cpu::new(model, &plan, &mut arena, &Serial).expect("a backend");
    let mut explainer = Explainer::new(plan, cpu);
    let mut seeds = vec![Seed::default(); targets.len()];
    let run = explainer.explain_maps(image, targets, Init::Probability, &mut seeds);
    run.and_then(|()| outcome(&mut explainer, seeds))
        .expect("an explanation")
}

fn agree(got: &Outcome, want: &Outcome, what: &str) {
    close(&got.logits, &want.logits, &format!("{what}: logits"));
    close(&got.heat, &want.heat, &format!("{what}: map"));
    for (g, w) in got.seeds.iter().zip(&want.seeds) {
        assert_eq!((g.predicted, g.target), (w.predicted, w.target), "{what}");
        close(
            &[g.probability, g.logit, g.relevance],
            &[w.probability, w.logit, w.relevance],
            what,
        );
    }
}

/// Plain launches, captures and replays; in two pieces and in one.
fn explain() {
    let bytes = Bytes::flowers();
    let model = bytes.model();
    let options = options(Shape::new(21, 19, 3));
    let input = image(21 * 19 * 3, 1);
    let want = on_cpu(&model, &options, &input, &[Target::Predicted]);
    let mut memory = Memory::new(&model);
    let plan = memory.plan(&model, &options);
    let device = open();
    let cuda = Cuda::new(&device, &model, &plan).unwrap_or_else(|e| panic!("{e}"));
    let count = cuda.launches(plan.steps(), Init::One).expect("launches");
    assert!(count.len() > 50 && count.iter().any(|k| k.entry == "elucid_seed"));
    let mut explainer = Explainer::new(plan, cuda);
    // The list of the forward pass three times, and then that of all steps four times.
    for _ in 0..3 {
        explainer.forward(&input).expect("a forward pass");
        let mut logits = vec![0.0; want.logits.len()];
        explainer.logits(&mut logits).expect("logits");
        close(&logits, &want.logits, "forward alone");
    }
    let mut first = None;
    for round in 0..4 {
        let seed = explainer
            .explain(&input, Target::Predicted, Init::Probability, None)
            .expect("an explanation");
        let got = outcome(&mut explainer, vec![seed]).expect("results");
        agree(&got, &want, &format!("round {round}"));
        let bits: Vec<u32> = got.heat.iter().map(|v| v.to_bits()).collect();
        assert_eq!(*first.get_or_insert(bits.clone()), bits, "round {round}");
    }
    for note in device.take_notes() {
        say(&note);
    }
    let compiled = if device.compiled() > 0 {
        "compiled"
    } else {
        "cached"
    };
    say(&format!(
        "graphs {}, {compiled}",
        explainer.backend().graph_count()
    ));
}

/// Every step's account, and the map of an audited explanation.
fn ledger() {
    let bytes = Bytes::flowers();
    let model = bytes.model();
    for composite in [
        Composite::exact(Split::Ratio),
        Composite::paper(Split::Half),
    ] {
        let options = Options {
            targets: 2,
            ..Options::new(Shape::new(19, 21, 3), Some(composite))
        };
        let input = image(19 * 21 * 3, 2);
        let targets = [Target::Class(3), Target::Rank(1)];
        let mut memories = [Memory::new(&model), Memory::new(&model)];
        let [on_cpu, on_gpu] = &mut memories;
        let plan = on_cpu.plan(&model, &options);
        let entries = plan.relevance_steps().len() * 2;
        let mut arena = vec![0.0; plan.arena()];
        let cpu = Cpu::new(&model, &plan, &mut arena, &Serial).expect("a backend");
        let mut want = vec![Entry::EMPTY; entries];
        audit(Explainer::new(plan, cpu), &input, &targets, &mut want);
        let plan = on_gpu.plan(&model, &options);
        let cuda = Cuda::new(&open(), &model, &plan).unwrap_or_else(|e| panic!("{e}"));
        let mut got = vec![Entry::EMPTY; entries];
        audit(Explainer::new(plan, cuda), &input, &targets, &mut got);
        for (g, w) in got.iter().zip(&want) {
            assert_eq!((g.node, g.act), (w.node, w.act));
            let start = f64::from(TOLERANCE) * (1.0 + w.tally.into.abs());
            let pairs = [
                (g.tally.into, w.tally.into),
                (g.tally.out, w.tally.out),
                (g.tally.sinks.eps, w.tally.sinks.eps),
                (g.tally.sinks.dead, w.tally.sinks.dead),
                (g.tally.sinks.redistributed, w.tally.sinks.redistributed),
            ];
            for (a, b) in pairs {
                assert!((a - b).abs() <= start, "{g:?} instead of {w:?}");
            }
        }
    }
    say("done");
}

fn audit<B: Backend>(
    mut explainer: Explainer<'_, B>,
    input: &[f32],
    targets: &[Target],
    entries: &mut [Entry],
) where
    B::Error: std::fmt::Debug,
{
    let mut ledger = Ledger::new(entries);
    let mut seeds = vec![Seed::default(); targets.len()];
    explainer.forward(input).expect("a forward pass");
    explainer
        .maps(targets, Init::Logit, &mut seeds, Some(&mut ledger))
        .expect("maps");
    for map in 0..targets.len() {
        assert!(ledger.account(map).balances(), "map {map}");
    }
}

/// Several images and several classes of each, and what is kept for the way back.
fn batch() {
    let bytes = Bytes::flowers();
    let model = bytes.model();
    let device = open();
    for (memory, half) in [
        (Kept::Keep, false),
        (Kept::Stage, false),
        (Kept::Block, true),
    ] {
        let options = Options {
            images: 2,
            targets: 2,
            memory,
            half,
            ..options(Shape::new(16, 24, 3))
        };
        let input = image(2 * 16 * 24 * 3, 3);
        let targets = [
            Target::Class(4),
            Target::Predicted,
            Target::Rank(2),
            Target::Class(0),
        ];
        let want = on_cpu(&model, &options, &input, &targets);
        let mut plans = Memory::new(&model);
        let plan = plans.plan(&model, &options);
        let cuda = Cuda::new(&device, &model, &plan).unwrap_or_else(|e| panic!("{e}"));
        let mut explainer = Explainer::new(plan, cuda);
        let mut seeds = vec![Seed::default(); 4];
        explainer.forward(&input).expect("a forward pass");
        explainer
            .maps(&targets, Init::Probability, &mut seeds, None)
            .expect("maps");
        let got = outcome(&mut explainer, seeds).expect("results");
        agree(&got, &want, &format!("{memory:?}, half {half}"));
    }
    say("done");
}

/// One backend for several plans, there and back.
fn plans() {
    let bytes = Bytes::flowers();
    let model = bytes.model();
    let large = options(Shape::new(40, 40, 3));
    let small = Options {
        composite: Some(Composite::gradient()),
        end: End::Node(0),
        ..options(Shape::new(33, 33, 3))
    };
    let forward = Options {
        composite: None,
        images: 3,
        ..options(Shape::new(20, 20, 3))
    };
    let mut memories = [large, small, forward].map(|o| (o, Memory::new(&model)));
    let device = open();
    let mut cuda: Option<Cuda<'_>> = None;
    for round in 0..3 {
        for (options, memory) in &mut memories {
            let plan = memory.plan(&model, options);
            let backend = match cuda.take() {
                Some(mut cuda) => cuda.adopt(&plan).map(|()| cuda),
                None => Cuda::new(&device, &model, &plan),
            };
            let backend = cuda.insert(backend.unwrap_or_else(|e| panic!("{e}")));
            let bytes = backend.bytes();
            let input = image(plan.image().len as usize, round);
            backend.put(plan.image(), &input).expect("an image");
            backend.run(plan.forward_steps(), None).expect("a pass");
            let mut got = vec![0.0; plan.logits().len as usize];
            backend.get(plan.logits(), &mut got).expect("logits");
            let mut arena = vec![0.0; plan.arena()];
            let mut cpu = Cpu::new(&model, &plan, &mut arena, &Serial).expect("a backend");
            cpu.put(plan.image(), &input).expect("an image");
            cpu.run(plan.forward_steps(), None).expect("a pass");
            let mut want = vec![0.0; plan.logits().len as usize];
            cpu.get(plan.logits(), &mut want).expect("logits");
            close(&got, &want, &format!("round {round}"));
            assert_eq!(backend.bytes(), bytes, "nothing is allocated in a run");
        }
    }
    say("done");
}

/// What is asked wrongly, and numbers that aren't.
fn mistakes() {
    let bytes = Bytes::flowers();
    let model = bytes.model();
    let options = options(Shape::new(32, 32, 3));
    let mut memory = Memory::new(&model);
    let plan = memory.plan(&model, &options);
    let cuda = Cuda::new(&open(), &model, &plan).unwrap_or_else(|e| panic!("{e}"));
    let mut explainer = Explainer::new(plan, cuda);
    let input = image(32 * 32 * 3, 4);
    let core = |error: CudaError| error.core().unwrap_or_else(|| panic!("{error}"));
    for (target, index) in [(Target::Class(99), 99), (Target::Rank(5), 5)] {
        let result = explainer.explain(&input, target, Init::One, None);
        let classes = model.classes();
        assert_eq!(core(result.unwrap_err()), Error::Target { index, classes });
    }
    let huge = vec![3e38; input.len()];
    let result = explainer.explain(&huge, Target::Predicted, Init::One, None);
    assert_eq!(core(result.unwrap_err()), Error::NotFinite);
    explainer
        .explain(&input, Target::Class(1), Init::One, None)
        .expect("it still works");
    let mut other = Memory::new(&model);
    let foreign = other.plan(
        &model,
        &Options {
            image: Shape::new(64, 64, 3),
            ..options
        },
    );
    let mut cuda = Cuda::new(&open(), &model, &plan).unwrap_or_else(|e| panic!("{e}"));
    let result = cuda.run(foreign.forward_steps(), None);
    assert!(matches!(core(result.unwrap_err()), Error::Overlap { .. }));
    let result = cuda.put(foreign.image(), &vec![0.0; foreign.image().len as usize]);
    assert!(result.is_err() || foreign.image().len as usize <= plan.arena());
    let result = cuda.run(plan.steps(), None);
    assert_eq!(core(result.unwrap_err()), Error::Order);
    let result = cuda.get(plan.heat(), &mut [0.0; 3]);
    assert!(matches!(core(result.unwrap_err()), Error::Length { .. }));
    say("done");
}

/// Three explanations, or the first thing that goes wrong.
fn fault() {
    let ordinal = env::var("ELUCID_BACKEND_DEVICE").map_or(0, |v| v.parse().expect("a number"));
    let bytes = Bytes::flowers();
    let model = bytes.model();
    let options = options(Shape::new(21, 19, 3));
    let mut memory = Memory::new(&model);
    let plan = memory.plan(&model, &options);
    let input = image(21 * 19 * 3, 1);
    let run = || -> Result<(), CudaError> {
        let cuda = Cuda::new(&Device::open(ordinal)?, &model, &plan)?;
        let mut explainer = Explainer::new(plan, cuda);
        for _ in 0..3 {
            explainer.explain(&input, Target::Predicted, Init::One, None)?;
        }
        Ok(())
    };
    match run() {
        Ok(()) => say("nothing went wrong"),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n'), "{text}");
            say(&text);
        }
    }
}
