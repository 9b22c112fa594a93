//! Step by step: both backends start from the same arena, and what a step leaves must be the same; what isn't its output, it
//! must leave alone.

use elucid::lower::Layout;
use elucid_core::backend::Backend;
use elucid_core::cpu::Cpu;
use elucid_core::op::head::Seed;
use elucid_core::par::Serial;
use elucid_core::plan::{Act, End, Memory, Options, Plan, Region, Step};
use elucid_core::rule::{CAPTUM_EPS, Composite, Init, Split, Target};
use elucid_core::{Model, Shape};
use elucid_emulator::{Emulator, Order};
use elucid_host::architecture::{self, Wanted};
use elucid_host::checkpoint::Checkpoint;
use elucid_host::engine::PlanMemory;
use elucid_host::import;
use elucid_host::model_file::ModelBytes;
use elucid_host::preprocess;
use elucid_host::synthetic::Random;
use elucid_tests::emulated::Emulated;
use elucid_tests::golden::path;
use elucid_tests::suite::{NETWORKS, network};

/// Largest difference of a step's output, relative to its largest value.
const TOLERANCE: f32 = 2e-5;

/// Runs all steps of a plan on both. Returns the largest difference.
fn check(
    model: &Model<'_>,
    options: &Options,
    (tensor_cores, order): (bool, Order),
    what: &str,
) -> f32 {
    let mut plan = PlanMemory::new(model);
    let plan = plan
        .plan(model, options)
        .unwrap_or_else(|e| panic!("{what}: {e:#}"));
    let layout = Layout::new(model, &plan);
    let mut device =
        Emulated::new(Emulator::fast(), model, &plan, &layout, tensor_cores).in_order(order);
    let mut arena = vec![0.0; plan.arena()];
    let mut cpu = Cpu::new(model, &plan, &mut arena, &Serial).unwrap();
    let mut random = Random::new(7);
    let image: Vec<f32> = (0..plan.image().len).map(|_| 2.0 * random.draw()).collect();
    cpu.put(plan.image(), &image).unwrap();
    let mut largest = 0.0f32;
    for (number, step) in plan.steps().iter().enumerate() {
        let what = format!(
            "{what}, step {number}, {:?} of {}",
            step.act,
            model.node_name(step.node)
        );
        largest = largest.max(check_step(&plan, (&mut cpu, &mut device), step, &what));
    }
    largest
}

fn check_step(
    plan: &Plan<'_>,
    (cpu, device): (&mut Cpu<'_>, &mut Emulated<'_>),
    step: &Step,
    what: &str,
) -> f32 {
    let whole = Region {
        start: 0,
        len: plan.arena() as u32,
    };
    let mut arena = vec![0.0; plan.arena()];
    cpu.get(whole, &mut arena).unwrap();
    device.write(whole, &arena);
    let before = device.bytes();
    if step.act == Act::Seed {
        let maps = plan.options().maps();
        let targets: Vec<Target> = (0..maps as u32)
            .map(Target::Rank)
            .map(|t| match t {
                Target::Rank(rank) => Target::Rank(rank % 2),
                other => other,
            })
            .collect();
        let (mut want, mut got) = (vec![Seed::default(); maps], vec![Seed::default(); maps]);
        cpu.seed(step, &targets, Init::Probability, &mut want)
            .unwrap();
        device
            .seed(step, &targets, Init::Probability, &mut got)
            .unwrap();
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(
                (got.predicted, got.target),
                (want.predicted, want.target),
                "{what}"
            );
            assert!(
                (got.probability / want.probability - 1.0).abs() < 1e-5,
                "{what}: {got:?} {want:?}"
            );
        }
    } else {
        cpu.step(step, &mut [])
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        device
            .step(step, &mut [])
            .unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    let mut largest = 0.0f32;
    let mut written = vec![step.out];
    if step.act == Act::Split {
        written.push(step.ins[2]);
    }
    for &region in &written {
        let mut want = vec![0.0; region.len as usize];
        cpu.get(region, &mut want).unwrap();
        let got = device.read(region);
        largest = largest.max(if step.act == Act::Pack {
            assert_eq!(bits(&got), bits(&want), "{what}");
            0.0
        } else {
            difference(&got, &want, what)
        });
    }
    // Nothing but what a step may change, and what host and device tell each other behind the arena, has changed.
    let after = device.bytes();
    written.push(step.scratch);
    let mut allowed: Vec<_> = written
        .iter()
        .filter(|r| r.len > 0)
        .map(|&r| device.range(r))
        .collect();
    allowed.sort_by_key(|r| r.start);
    let end = device.range(whole).end;
    let mut start = 0;
    for range in allowed.into_iter().chain(std::iter::once(end..end)) {
        if start < range.start {
            assert!(
                before[start..range.start] == after[start..range.start],
                "{what} changed what isn't its output"
            );
        }
        start = start.max(range.end);
    }
    largest
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn difference(got: &[f32], want: &[f32], what: &str) -> f32 {
    let most = want.iter().fold(1e-30f32, |most, v| most.max(v.abs()));
    let mut largest = 0.0f32;
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let off = (got - want).abs() / most;
        assert!(
            off <= TOLERANCE,
            "{what}: {i}: {got} instead of {want}, largest {most}"
        );
        largest = largest.max(off);
    }
    largest
}

/// Every kind of rule, chain and end.
fn composites() -> Vec<(&'static str, Composite)> {
    vec![
        ("exact", Composite::exact(Split::Ratio)),
        ("exact half", Composite::exact(Split::Half)),
        ("exact projection", Composite::exact(Split::ProjectionRatio)),
        ("paper", Composite::paper(Split::Ratio)),
        (
            "paper projection half",
            Composite::paper(Split::ProjectionHalf),
        ),
        ("epsilon-plus", Composite::epsilon_plus(true)),
        ("epsilon-plus-flat", Composite::epsilon_plus_flat(false)),
        ("alpha2-beta1", Composite::alpha2_beta1(true)),
        (
            "epsilon-gamma-box",
            Composite::epsilon_gamma_box([-2.1; 3], [2.6; 3], true),
        ),
        ("gradient", Composite::gradient()),
        ("guided", Composite::guided()),
        ("deconvolution", Composite::deconvolution()),
    ]
}

#[test]
fn every_step_of_every_network_is_the_cpus() {
    let mut largest = 0.0f32;
    for (number, (name, case)) in NETWORKS.iter().enumerate() {
        let drawn = case(name).draw();
        let model = drawn.model.parse().unwrap();
        let all = composites();
        // Two rules a network, in turn, so that all networks see some and all rules several.
        for (which, composite) in [0, 1].map(|i| all[(2 * number + i) % all.len()]) {
            let options = Options {
                memory: Memory::ALL[number % 3].0,
                half: number % 4 == 1,
                ..Options::new(drawn.image.shape, Some(composite))
            };
            let order = [Order::Ascending, Order::Shuffled(number as u64)][number % 2];
            largest = largest.max(check(
                &model,
                &options,
                (number % 3 == 0, order),
                &format!("{name}, {which}"),
            ));
        }
    }
    println!("largest difference {largest:.1e}");
}

#[test]
fn every_rule_is_the_cpus_for_batches_and_several_targets() {
    let drawn = network("bottleneck, four stages").draw();
    let model = drawn.model.parse().unwrap();
    for (which, composite) in composites() {
        let options = Options {
            images: 2,
            targets: 2,
            ..Options::new(Shape::new(32, 35, 3), Some(composite))
        };
        check(&model, &options, (false, Order::Descending), which);
    }
    let duplicated = Composite::duplicated(CAPTUM_EPS);
    let options = Options {
        end: End::Node(0),
        ..Options::new(Shape::new(32, 32, 3), Some(duplicated))
    };
    // Not every network has denominators for it.
    let mut plan = PlanMemory::new(&model);
    if plan.plan(&model, &options).is_ok() {
        check(&model, &options, (false, Order::Ascending), "duplicated");
    }
}

/// A transformer of the golden files.
fn transformer(name: &str, half: bool) -> ModelBytes {
    let checkpoint = Checkpoint::open(&path(name).join("weights.safetensors")).unwrap();
    let wanted = Wanted {
        heads: Some(if matches!(name, "ala" | "clip") { 3 } else { 4 }),
        adapter_heads: (name == "ala").then_some(4),
        ..Wanted::default()
    };
    let net = architecture::infer(&checkpoint, &wanted).unwrap();
    let options = import::Options {
        bn_eps: 1e-5,
        half,
        preprocess: preprocess::find(None, &net).unwrap(),
        classes: Vec::new(),
    };
    ModelBytes::from_bytes(&import::import(&checkpoint, &net, &options).unwrap(), name)
}

#[test]
fn every_step_of_transformers_is_the_cpus() {
    for name in ["ala", "clip", "vit", "timm"] {
        for half in [false, true] {
            let bytes = transformer(name, half);
            let model = bytes.parse().unwrap();
            let own = model.input_shape();
            // Its own size, and one that its positions are resized for.
            for more in [0, 16] {
                let shape = Shape::new(own.h + more, own.w + 2 * more, 3);
                let options = Options {
                    images: 2,
                    ..Options::new(shape, None)
                };
                check(&model, &options, (half, Order::Shuffled(3)), name);
            }
            if name == "ala" {
                let options = Options {
                    images: 2,
                    targets: 3,
                    ..Options::new(own, Some(Composite::Attention))
                };
                check(
                    &model,
                    &options,
                    (half, Order::Ascending),
                    "the adapter's map",
                );
            }
        }
    }
}
