//! What must hold for every network: linearity in the initial relevance, no memory of earlier images, and no NaN, no
//! negative and no lost relevance where parts of a network are dead.

use elucid_core::audit::Ledger;
use elucid_core::plan::Memory;
use elucid_core::rule::{Init, Target};
use elucid_host::checkpoint::Checkpoint;
use elucid_host::engine::{Engine, Method, Threads, ledger_entries};
use elucid_tests::reference::{Preset, Split};
use elucid_tests::subject::{Cpu, Explanation, Image, Run, Subject};
use elucid_tests::suite::{Case, basic, bottleneck, check_exact, network, small};
use elucid_tests::tensors::worst;

/// One of each kind of network.
const KINDS: [&str; 4] = [
    "basic, odd widths, a projection without stride",
    "bottleneck, stride on the first 1x1",
    "cifar, option A, odd image",
    "f16, bottleneck",
];

/// Rounding of one factor, carried through a network.
const ROUNDING: f64 = 2e-6;

#[test]
fn maps_are_linear_in_the_initial_relevance() {
    let cpu = Cpu::new(Memory::Block, 1);
    for name in KINDS {
        let drawn = network(name).draw();
        let model = drawn.model.parse().unwrap();
        for run in Run::all() {
            for target in [
                Target::Predicted,
                Target::Class(0),
                Target::Class(model.classes() - 1),
            ] {
                let explain = |init| {
                    let run = Run {
                        target,
                        init,
                        ..run
                    };
                    cpu.explain(&model, &drawn.image, &run).unwrap()
                };
                let one = explain(Init::One);
                assert_eq!(one.seed.relevance, 1.0);
                for init in [Init::Probability, Init::Logit] {
                    let other = explain(init);
                    let factor = match init {
                        Init::Probability => other.seed.probability,
                        Init::Logit => other.seed.logit,
                        Init::One => 1.0,
                    };
                    assert_eq!(other.seed.relevance, factor);
                    let want: Vec<f64> = one.map.iter().map(|v| f64::from(v * factor)).collect();
                    let found = worst(&other.map, &want);
                    assert!(
                        found.error <= ROUNDING,
                        "{name}, {run:?}, {target:?}, {init:?}: {found}"
                    );
                }
            }
        }
    }
}

#[test]
fn targets_and_seeds_are_reported() {
    let drawn = network(KINDS[0]).draw();
    let model = drawn.model.parse().unwrap();
    let cpu = Cpu::new(Memory::Keep, 1);
    let run = Run::new(Preset::Exact, Split::Ratio);
    let predicted = cpu.explain(&model, &drawn.image, &run).unwrap();
    let trace = drawn.reference(&run);
    assert_eq!(predicted.seed.predicted as usize, trace.target);
    assert_eq!(predicted.seed.target, predicted.seed.predicted);
    for class in 0..model.classes() {
        let target = Target::Class(class);
        let got = cpu
            .explain(&model, &drawn.image, &Run { target, ..run })
            .unwrap();
        assert_eq!(
            (got.seed.predicted, got.seed.target),
            (predicted.seed.predicted, class)
        );
        let want = trace.softmax[class as usize];
        assert!((f64::from(got.seed.probability) / want - 1.0).abs() < 1e-5);
        assert_eq!(got.seed.logit, got.logits[class as usize]);
    }
    let target = Target::Class(model.classes());
    let error = cpu
        .explain(&model, &drawn.image, &Run { target, ..run })
        .unwrap_err();
    assert!(error.contains("class 3 does not exist"), "{error}");
}

/// Explains images one after the other with one explainer.
fn session(
    case: &Case,
    run: &Run,
    memory: Memory,
    threads: usize,
    images: &[Image],
) -> Vec<(Vec<f32>, Vec<f32>)> {
    let drawn = case.draw();
    let model = drawn.model.parse().unwrap();
    let threads = Threads::new(threads).unwrap();
    let mut engine = Engine::new(&model, &threads);
    let method = Method {
        memory,
        ..Method::new(Some(run.composite()))
    };
    let mut explainer = engine.open(images[0].shape, method).unwrap();
    let mut entries = ledger_entries(explainer.plan());
    let mut results = Vec::new();
    for (i, image) in images.iter().enumerate() {
        // Audited or not: the numbers are the same.
        let mut ledger = Ledger::new(&mut entries);
        let ledger = (i % 2 == 0).then_some(&mut ledger);
        explainer
            .explain(&image.values, run.target, run.init, ledger)
            .unwrap();
        let mut logits = vec![0.0; model.classes() as usize];
        let mut map = vec![0.0; image.shape.pixels()];
        explainer.logits(&mut logits).unwrap();
        explainer.heat(&mut map).unwrap();
        results.push((logits, map));
    }
    results
}

fn bits(results: &[(Vec<f32>, Vec<f32>)]) -> Vec<u32> {
    let values = results
        .iter()
        .flat_map(|(logits, map)| logits.iter().chain(map));
    values.map(|v| v.to_bits()).collect()
}

#[test]
fn an_explainer_has_no_memory_of_earlier_images() {
    for name in KINDS {
        let case = network(name);
        let images: Vec<Image> = [1, 2, 2, 3, 1]
            .map(|seed| Image::random(seed, case.image.0, case.image.1))
            .to_vec();
        for run in Run::all() {
            for (memory, threads) in [(Memory::Keep, 1), (Memory::Block, 1), (Memory::Block, 2)] {
                let together = session(&case, &run, memory, threads, &images);
                for (i, image) in images.iter().enumerate() {
                    let alone = session(&case, &run, memory, threads, std::slice::from_ref(image));
                    assert!(
                        bits(&together[i..=i]) == bits(&alone),
                        "{name}, {run:?}, {memory:?}, image {i}"
                    );
                }
                assert!(
                    bits(&together[1..2]) == bits(&together[2..3]),
                    "the second call is not the first"
                );
                assert!(
                    bits(&together[0..1]) != bits(&together[1..2]),
                    "two images, one map"
                );
            }
        }
    }
}

#[test]
fn a_failed_call_spoils_nothing() {
    let case = network(KINDS[0]);
    let drawn = case.draw();
    let model = drawn.model.parse().unwrap();
    let threads = Threads::new(1).unwrap();
    let mut engine = Engine::new(&model, &threads);
    let run = Run::new(Preset::Exact, Split::Ratio);
    let method = Method::new(Some(run.composite()));
    let mut explainer = engine.open(drawn.image.shape, method).unwrap();
    let mut map = vec![0.0; drawn.image.shape.pixels()];
    let mut explain =
        |explainer: &mut elucid_core::explain::Explainer<'_, elucid_host::place::Machine<'_>>| {
            explainer
                .explain(
                    &drawn.image.values,
                    Target::Predicted,
                    Init::Probability,
                    None,
                )
                .unwrap();
            explainer.heat(&mut map).unwrap();
            map.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
    let first = explain(&mut explainer);
    explainer
        .explain(
            &drawn.image.values,
            Target::Class(99),
            Init::Probability,
            None,
        )
        .unwrap_err();
    explainer
        .explain(
            &drawn.image.values[1..],
            Target::Predicted,
            Init::Probability,
            None,
        )
        .unwrap_err();
    assert_eq!(first, explain(&mut explainer));
}

/// Sets gamma and beta of the batch normalisations that pass, in the channels that pass, to 0.
fn kill(checkpoint: &mut Checkpoint, norm: impl Fn(&str) -> bool, channel: impl Fn(usize) -> bool) {
    let mut killed = 0;
    for (name, tensor) in &mut checkpoint.tensors {
        let Some((layer, "weight" | "bias")) = name.rsplit_once('.') else {
            continue;
        };
        if tensor.shape.len() == 1 && norm(layer) {
            for (_, v) in tensor
                .data
                .iter_mut()
                .enumerate()
                .filter(|(i, _)| channel(*i))
            {
                *v = 0.0;
                killed += 1;
            }
        }
    }
    assert!(killed > 0, "nothing was killed");
}

/// A channel of every residual branch and of every projection.
fn one_channel(checkpoint: &mut Checkpoint) {
    kill(
        checkpoint,
        |layer| layer.contains("bn") || layer.ends_with("downsample.1"),
        |c| c == 1,
    );
}

/// As training starts with zero-init-residual: every residual branch gives 0.
fn residual_branches(checkpoint: &mut Checkpoint) {
    let last = if checkpoint.tensors.contains_key("layer1.0.conv3.weight") {
        "bn3"
    } else {
        "bn2"
    };
    kill(checkpoint, |layer| layer.ends_with(last), |_| true);
}

/// Nothing but the biases of the head is left of the network.
fn stem(checkpoint: &mut Checkpoint) {
    kill(checkpoint, |layer| layer == "bn1", |_| true);
}

/// The inside of every block.
fn first_layers(checkpoint: &mut Checkpoint) {
    kill(
        checkpoint,
        |layer| layer.starts_with("layer") && layer.ends_with("bn1"),
        |_| true,
    );
}

/// Weights of the head without a positive one: no class has a positively weighted input.
fn negative_head(checkpoint: &mut Checkpoint) {
    let head = checkpoint.tensors.get_mut("fc.weight").unwrap();
    head.data.iter_mut().for_each(|v| *v = -v.abs());
}

/// First layers of the blocks that see nothing positive.
fn negative_filters(checkpoint: &mut Checkpoint) {
    for (name, tensor) in &mut checkpoint.tensors {
        if name.starts_with("layer") && name.ends_with("conv1.weight") {
            tensor.data.iter_mut().for_each(|v| *v = -v.abs());
        }
    }
}

/// A way to damage a network.
type Damage = fn(&mut Checkpoint);

const DAMAGE: [(&str, Damage); 6] = [
    ("one channel", one_channel),
    ("residual branches", residual_branches),
    ("stem", stem),
    ("first layers", first_layers),
    ("head", negative_head),
    ("filters", negative_filters),
];

#[test]
fn dead_parts_lose_nothing_and_make_no_nan() {
    let cpu = Cpu::new(Memory::Block, 1);
    let networks = [
        Case::new("dead, basic", basic(6, &[(2, 6), (1, 10)], 5), (19, 25)),
        Case::new(
            "dead, bottleneck",
            bottleneck(5, &[(2, 4, 12), (1, 6, 18)], 5),
            (27, 17),
        ),
        Case::new(
            "dead, small",
            small(basic(6, &[(2, 6), (1, 9)], 5)),
            (9, 10),
        ),
    ];
    for case in networks {
        for (what, edit) in DAMAGE {
            println!("{what} dead:");
            Case { edit, ..case }.check(&cpu);
        }
    }
}

#[test]
fn relevance_is_nowhere_negative() {
    let cpu = Cpu::new(Memory::Keep, 1);
    for name in KINDS {
        let drawn = network(name).draw();
        let model = drawn.model.parse().unwrap();
        for run in Run::all() {
            for init in [Init::Probability, Init::One] {
                let got = cpu
                    .explain(&model, &drawn.image, &Run { init, ..run })
                    .unwrap();
                assert!(got.map.iter().all(|&v| v >= 0.0), "{name}, {run:?}");
                if run.preset == Preset::Exact {
                    check_exact(&got, name);
                }
            }
        }
    }
}

/// A head whose logits lie this many times further apart.
fn sharpen(checkpoint: &mut Checkpoint, factor: f32) {
    for name in ["fc.weight", "fc.bias"] {
        let head = checkpoint.tensors.get_mut(name).unwrap();
        head.data.iter_mut().for_each(|v| *v *= factor);
    }
}

#[test]
fn unlikely_classes_conserve_too() {
    let cpu = Cpu::new(Memory::Block, 1);
    let edits: [fn(&mut Checkpoint); 4] = [
        |c| sharpen(c, 1.0),
        |c| sharpen(c, 3.0),
        |c| sharpen(c, 6.0),
        |c| sharpen(c, 9.0),
    ];
    let mut least = 1.0f32;
    for edit in edits {
        let case = Case {
            edit,
            ..network("basic, 8 wide")
        };
        let drawn = case.draw();
        let model = drawn.model.parse().unwrap();
        for class in 0..model.classes() {
            let target = Target::Class(class);
            let run = Run::new(Preset::Exact, Split::Ratio);
            let got = cpu
                .explain(&model, &drawn.image, &Run { target, ..run })
                .unwrap();
            let p = got.seed.probability;
            // Below that a pixel's share is too small for f32.
            if p > 1e-25 {
                check_exact(&got, &format!("probability {p:e}"));
                got.check_ledger(&format!("probability {p:e}"));
                least = least.min(p);
            }
        }
    }
    println!("down to a probability of {least:e}");
    assert!(least < 1e-15);
}

/// Explains an image in which one value was replaced.
fn explain_with(value: f32) -> Result<Explanation, String> {
    let mut drawn = network(KINDS[0]).draw();
    drawn.image.values[100] = value;
    let model = drawn.model.parse().unwrap();
    let run = Run::new(Preset::Exact, Split::Ratio);
    Cpu::new(Memory::Block, 1).explain(&model, &drawn.image, &run)
}

#[test]
fn an_image_that_is_not_finite_is_refused() {
    assert!(explain_with(0.5).is_ok());
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = explain_with(value).map(|e| e.logits).unwrap_err();
        assert!(error.contains("not finite"), "{value}: {error}");
    }
}
