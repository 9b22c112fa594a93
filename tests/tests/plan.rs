//! The planner: arena sizes of the published networks, pinned so that growth fails; values that are alive together lie
//! apart; buffers that are too small are typed errors.

use elucid_core::arch::resnet::{Resnet, Shortcut};
use elucid_core::audit::{Entry, Ledger};
use elucid_core::cpu::Cpu;
use elucid_core::error::{Buffer, Error, Kind};
use elucid_core::explain::Explainer;
use elucid_core::par::{Pool, Serial};
use elucid_core::plan::{Memory, Options, Plan, Slot, Step, Value, Workspace};
use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_core::{Model, Shape};
use elucid_host::aligned::Aligned;
use elucid_host::engine::PlanMemory;
use elucid_tests::forge::hollow;
use elucid_tests::schedule::check;
use elucid_tests::suite::{NETWORKS, basic, bottleneck, small};

/// Arenas in bytes at 224 x 224 with one thread, exact preset, ratio split: depth, everything kept, block checkpoints,
/// stage checkpoints, the same three in half precision, ten classes at once with block checkpoints, inference alone.
const ARENAS: [(u32, [usize; 8]); 5] = [
    (
        18,
        [
            14_251_904, 7_233_408, 7_233_408, 7_782_272, 7_233_408, 7_233_408, 43_360_128,
            4_452_224,
        ],
    ),
    (
        34,
        [
            21_778_304, 7_729_024, 7_233_408, 11_341_696, 7_233_408, 7_233_408, 43_360_128,
            4_452_224,
        ],
    ),
    (
        50,
        [
            68_112_320, 25_061_312, 19_947_456, 35_146_688, 17_940_416, 17_940_416, 88_186_816,
            7_233_536,
        ],
    ),
    (
        101,
        [
            102_232_000,
            38_709_184,
            27_234_240,
            52_221_888,
            21_614_528,
            17_940_416,
            88_186_816,
            7_233_536,
        ],
    ),
    (
        152,
        [
            144_379_840,
            55_568_320,
            37_670_848,
            73_295_808,
            30_044_096,
            21_213_120,
            88_186_816,
            7_233_536,
        ],
    ),
];

/// A limit of the specification: block checkpoints make ResNet-50 fit into 26 MB.
const RESNET50_LIMIT: usize = 26_000_000;

fn options(image: Shape, composite: Option<Composite>, memory: Memory, threads: usize) -> Options {
    Options {
        memory,
        threads,
        ..Options::new(image, composite)
    }
}

const EXACT: Option<Composite> = Some(Composite::exact(Split::Ratio));

#[test]
fn arenas_of_the_published_networks() {
    let image = Shape::new(224, 224, 3);
    let (mut found, mut tight) = (Vec::new(), 0);
    for (depth, _) in ARENAS {
        let bytes = Aligned::copy_of(&hollow(&Resnet::imagenet(depth, 64, 1000).unwrap()));
        let model = Model::parse(bytes.bytes()).unwrap();
        let mut memory = PlanMemory::new(&model);
        let mut arena = |composite, memory_mode, half, targets| {
            let options = Options {
                half,
                targets,
                ..options(image, composite, memory_mode, 1)
            };
            let plan = memory.plan(&model, &options).unwrap();
            check(&plan, &format!("ResNet-{depth}, {options:?}"));
            // Placed without a gap, or next to none.
            let (arena, bound) = (plan.arena(), plan.lower_bound());
            assert!(
                arena - bound <= bound / 500,
                "ResNet-{depth}, {options:?}: {arena} > {bound}"
            );
            tight += usize::from(arena == bound);
            arena * size_of::<f32>()
        };
        let modes = Memory::ALL.map(|(mode, _)| mode);
        let [keep, block, stage] = modes.map(|mode| arena(EXACT, mode, false, 1));
        let [keep_half, block_half, stage_half] = modes.map(|mode| arena(EXACT, mode, true, 1));
        let ten = arena(EXACT, Memory::Block, false, 10);
        let inference = arena(None, Memory::Block, false, 1);
        found.push((
            depth,
            [
                keep, block, stage, keep_half, block_half, stage_half, ten, inference,
            ],
        ));
    }
    let resnet50 = found.iter().find(|f| f.0 == 50).unwrap().1;
    assert!(
        resnet50[1] <= RESNET50_LIMIT,
        "ResNet-50: {} bytes",
        resnet50[1]
    );
    println!(
        "{tight} of {} plans are as small as the bound",
        8 * ARENAS.len()
    );
    assert_eq!(
        found, ARENAS,
        "an arena changed; if it should, pin the new sizes"
    );
}

#[test]
fn values_alive_together_lie_apart() {
    let mut plans = 0;
    for (name, case) in NETWORKS {
        let case = case(name);
        let bytes = Aligned::copy_of(&hollow(&case.net));
        let model = Model::parse(bytes.bytes()).unwrap();
        let mut memory = PlanMemory::new(&model);
        for (_, preset) in elucid_host::engine::PRESETS {
            for (split, _) in Split::ALL {
                for (mode, _) in Memory::ALL {
                    for threads in [1, 2, 7] {
                        let image = Shape::new(case.image.0, case.image.1, 3);
                        let options = options(
                            image,
                            Some(preset(split, &model.preprocess())),
                            mode,
                            threads,
                        );
                        let plan = memory.plan(&model, &options).unwrap();
                        check(&plan, &format!("{name}, {options:?}"));
                        plans += 1;
                    }
                }
            }
        }
        let options = options(
            Shape::new(case.image.0, case.image.1, 3),
            None,
            Memory::Keep,
            1,
        );
        check(&memory.plan(&model, &options).unwrap(), name);
    }
    println!("{plans} plans");
}

#[test]
fn block_checkpoints_need_no_more() {
    for net in [
        Resnet::imagenet(34, 8, 10).unwrap(),
        Resnet::imagenet(50, 8, 10).unwrap(),
        Resnet::cifar(5, 8, 10),
        bottleneck(8, &[(3, 4, 16), (3, 8, 32)], 10),
        small(basic(8, &[(4, 8)], 10)),
        Resnet {
            shortcut: Shortcut::Pad,
            ..small(basic(8, &[(4, 8), (4, 16)], 10))
        },
    ] {
        let bytes = Aligned::copy_of(&hollow(&net));
        let model = Model::parse(bytes.bytes()).unwrap();
        let mut memory = PlanMemory::new(&model);
        for (split, _) in Split::ALL {
            let mut arena = |mode| {
                let options = options(
                    Shape::new(96, 80, 3),
                    Some(Composite::exact(split)),
                    mode,
                    1,
                );
                memory.plan(&model, &options).unwrap().arena()
            };
            let (keep, block) = (arena(Memory::Keep), arena(Memory::Block));
            // Placing values is not optimal: a small loss is possible where there is nothing to gain.
            assert!(
                block <= keep + keep / 20,
                "{net:?}, {split:?}: {block} > {keep}"
            );
        }
    }
}

/// Three threads that never come.
struct Three;

impl Pool for Three {
    fn threads(&self) -> usize {
        3
    }

    fn broadcast(&self, _: &(dyn Fn() + Sync)) {}
}

#[test]
fn buffers_that_are_too_small_are_typed_errors() {
    let bytes = Aligned::copy_of(&hollow(&basic(4, &[(2, 4), (1, 8)], 5)));
    let model = Model::parse(bytes.bytes()).unwrap();
    let image = Shape::new(20, 20, 3);
    let options = options(image, EXACT, Memory::Block, 1);
    let (slots, values, steps) = Workspace::capacity(model.node_count());
    let mut slots = vec![Slot::EMPTY; slots];
    let mut values = vec![Value::EMPTY; values];
    let mut steps = vec![Step::EMPTY; steps];
    let mut plan = |a: usize, b: usize, c: usize| {
        let workspace = Workspace {
            slots: &mut slots[..a],
            values: &mut values[..b],
            steps: &mut steps[..c],
        };
        Plan::new(&model, &options, workspace).map(|p| (p.values().len(), p.steps().len()))
    };
    let nodes = usize::from(model.node_count());
    let (_, most_values, most_steps) = Workspace::capacity(model.node_count());
    let (values, steps) = plan(nodes, most_values, most_steps).unwrap();
    assert_eq!(
        plan(nodes, values, steps),
        Ok((values, steps)),
        "exactly enough is enough"
    );
    for (a, b, c, wanted) in [
        (nodes - 1, values, steps, Buffer::Slots),
        (0, values, steps, Buffer::Slots),
        (nodes, values - 1, steps, Buffer::Values),
        (nodes, 0, steps, Buffer::Values),
        (nodes, values, steps - 1, Buffer::Steps),
        (nodes, values, 0, Buffer::Steps),
    ] {
        let error = plan(a, b, c).unwrap_err();
        assert!(
            matches!(error, Error::Capacity { buffer, need, have } if buffer == wanted && need > have),
            "{wanted:?}: {error:?}"
        );
        assert_eq!(error.kind(), Kind::Memory);
    }
}

#[test]
fn wrong_uses_are_typed_errors() {
    let bytes = Aligned::copy_of(&hollow(&basic(4, &[(2, 4), (1, 8)], 5)));
    let model = Model::parse(bytes.bytes()).unwrap();
    let shape = Shape::new(20, 20, 3);
    let mut memory = PlanMemory::new(&model);
    let plan = memory
        .plan(&model, &options(shape, EXACT, Memory::Block, 1))
        .unwrap();
    let mut arena = vec![0.0; plan.arena()];

    let short = plan.arena() - 1;
    let error = Cpu::new(&model, &plan, &mut arena[..short], &Serial)
        .err()
        .unwrap();
    let (need, have) = (plan.arena() as u64, short as u64);
    let wanted = Error::Capacity {
        buffer: Buffer::Arena,
        need,
        have,
    };
    assert_eq!(error, wanted);
    let error = Cpu::new(&model, &plan, &mut arena, &Three).err().unwrap();
    assert!(
        matches!(
            error,
            Error::Capacity {
                need: 3,
                have: 1,
                ..
            }
        ),
        "{error:?}"
    );

    let cpu = Cpu::new(&model, &plan, &mut arena, &Serial).unwrap();
    let mut explainer = Explainer::new(plan, cpu);
    let image = vec![0.25; shape.elements()];
    assert_eq!(
        explainer.relevance(Target::Predicted, Init::One, None),
        Err(Error::Order)
    );
    for wrong in [&image[1..], &[]] {
        let error = explainer.forward(wrong).unwrap_err();
        let (need, have) = (image.len() as u64, wrong.len() as u64);
        let wanted = Error::Length {
            buffer: Buffer::Image,
            need,
            have,
        };
        assert_eq!(error, wanted);
    }
    assert_eq!(
        explainer.relevance(Target::Predicted, Init::One, None),
        Err(Error::Order)
    );
    explainer.forward(&image).unwrap();
    let error = explainer
        .relevance(Target::Class(5), Init::One, None)
        .unwrap_err();
    assert_eq!(
        error,
        Error::Target {
            index: 5,
            classes: 5
        }
    );
    explainer.forward(&image).unwrap();
    explainer
        .relevance(Target::Class(4), Init::One, None)
        .unwrap();
    let again = explainer.relevance(Target::Class(4), Init::One, None);
    assert_eq!(
        again,
        Err(Error::Order),
        "the way back uses up the forward pass"
    );
    for len in [0, shape.pixels() - 1, shape.pixels() + 1] {
        let error = explainer.heat(&mut vec![0.0; len]).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Length {
                    buffer: Buffer::Output,
                    ..
                }
            ),
            "{error:?}"
        );
    }
    assert!(matches!(
        explainer.logits(&mut [0.0; 4]),
        Err(Error::Length { .. })
    ));
    let mut entries = [Entry::EMPTY; 3];
    explainer.forward(&image).unwrap();
    let error = explainer.relevance(
        Target::Predicted,
        Init::One,
        Some(&mut Ledger::new(&mut entries)),
    );
    assert!(
        matches!(
            error,
            Err(Error::Capacity {
                buffer: Buffer::Ledger,
                need: 4,
                have: 3
            })
        ),
        "{error:?}"
    );
}

#[test]
fn images_that_fit_no_network_are_typed_errors() {
    let bytes = Aligned::copy_of(&hollow(&basic(4, &[(1, 4)], 5)));
    let model = Model::parse(bytes.bytes()).unwrap();
    let mut memory = PlanMemory::new(&model);
    let mut plan = |h, w, c| {
        let options = options(Shape::new(h, w, c), EXACT, Memory::Block, 1);
        memory
            .plan(&model, &options)
            .map(|p| p.arena())
            .map_err(|e| e.to_string())
    };
    assert!(plan(1, 1, 3).is_ok());
    for (h, w, c) in [
        (0, 5, 3),
        (5, 0, 3),
        (5, 5, 0),
        (5, 5, 4),
        (u32::MAX, u32::MAX, 3),
        (1 << 15, 1 << 15, 3),
    ] {
        let error = plan(h, w, c).unwrap_err();
        assert!(error.contains("cannot take"), "{h} x {w} x {c}: {error}");
    }
}

#[test]
fn a_forward_plan_explains_nothing() {
    let bytes = Aligned::copy_of(&hollow(&basic(4, &[(1, 4)], 5)));
    let model = Model::parse(bytes.bytes()).unwrap();
    let mut memory = PlanMemory::new(&model);
    let shape = Shape::new(9, 9, 3);
    let plan = memory
        .plan(&model, &options(shape, None, Memory::Block, 1))
        .unwrap();
    let mut arena = vec![0.0; plan.arena()];
    let cpu = Cpu::new(&model, &plan, &mut arena, &Serial).unwrap();
    let mut explainer = Explainer::new(plan, cpu);
    explainer.forward(&vec![0.5; shape.elements()]).unwrap();
    explainer.logits(&mut [0.0; 5]).unwrap();
    assert_eq!(
        explainer.relevance(Target::Predicted, Init::One, None),
        Err(Error::Order)
    );
    assert!(explainer.heat(&mut [0.0; 81]).is_err());
}
