//! Batches and several classes in one call give the bits of one map at a time; so do all kernels with fused
//! multiply-adds; half-precision checkpoints stay close and conserve.

use elucid_core::Model;
use elucid_core::audit::Ledger;
use elucid_core::error::{Buffer, Error};
use elucid_core::op::head::Seed;
use elucid_core::plan::Memory;
use elucid_core::rule::{Init, Target};
use elucid_host::engine::{Engine, Method, Threads, ledger_entries};
use elucid_tests::reference::{Preset, Split};
use elucid_tests::subject::{Cpu, Explanation, Image, Run, Subject};
use elucid_tests::suite::{NETWORKS, network};

const RUNS: [Run; 2] = [
    Run::new(Preset::Exact, Split::Ratio),
    Run::new(Preset::Paper, Split::Half),
];

/// Everything of one call: seeds, logits and maps, and what the ledger says of each map.
struct Call {
    seeds: Vec<Seed>,
    logits: Vec<f32>,
    maps: Vec<f32>,
    balances: Vec<bool>,
    lost: Vec<f64>,
}

fn call(
    model: &Model<'_>,
    images: &[Image],
    targets: &[Target],
    method: Method,
    threads: usize,
) -> Call {
    let threads = Threads::new(threads).unwrap();
    let method = Method {
        images: images.len(),
        targets: targets.len() / images.len(),
        ..method
    };
    let mut engine = Engine::new(model, &threads);
    let mut explainer = engine.open(images[0].shape, method).unwrap();
    let batch: Vec<f32> = images
        .iter()
        .flat_map(|i| i.values.iter().copied())
        .collect();
    let mut entries = ledger_entries(explainer.plan());
    let mut ledger = Ledger::new(&mut entries);
    let mut seeds = vec![Seed::default(); targets.len()];
    explainer.forward(&batch).unwrap();
    let mut logits = vec![0.0; model.classes() as usize * images.len()];
    explainer.logits(&mut logits).unwrap();
    explainer
        .maps(targets, Init::Probability, &mut seeds, Some(&mut ledger))
        .unwrap();
    let mut maps = vec![0.0; images[0].shape.pixels() * targets.len()];
    explainer.heat(&mut maps).unwrap();
    assert_eq!(ledger.maps(), targets.len());
    let accounts = || (0..targets.len()).map(|map| ledger.account(map));
    Call {
        balances: accounts().map(|a| a.balances()).collect(),
        lost: accounts()
            .map(|a| a.start() - a.sinks().eps - a.sinks().dead)
            .collect(),
        seeds,
        logits,
        maps,
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn a_batch_is_its_maps_one_by_one() {
    for (name, case) in NETWORKS {
        let case = case(name);
        let drawn = case.draw();
        let model = drawn.model.parse().unwrap();
        let (h, w) = case.image;
        let images = [1, 2, 3].map(|seed| Image::random(seed, h, w));
        // Another order for every image.
        let other = 1 % model.classes();
        let targets = [
            Target::Predicted,
            Target::Class(other),
            Target::Rank(other),
            Target::Class(0),
            Target::Rank(0),
            Target::Class(other),
        ];
        for run in RUNS {
            for (memory, half, threads) in [
                (Memory::Block, false, 1),
                (Memory::Keep, true, 2),
                (Memory::Stage, false, 3),
            ] {
                let method = Method {
                    memory,
                    half,
                    ..Method::new(Some(run.composite()))
                };
                let all = call(&model, &images, &targets, method, threads);
                for (i, image) in images.iter().enumerate() {
                    for (k, &target) in targets[2 * i..2 * i + 2].iter().enumerate() {
                        let map = 2 * i + k;
                        let one = call(&model, std::slice::from_ref(image), &[target], method, 1);
                        let what = format!("{name}, {run:?}, {memory:?}, map {map}");
                        let (classes, pixels) = (model.classes() as usize, image.shape.pixels());
                        let of = |v: &[f32], i: usize, n: usize| bits(&v[i * n..][..n]);
                        assert_eq!(all.seeds[map], one.seeds[0], "{what}");
                        assert_eq!(of(&all.logits, i, classes), bits(&one.logits), "{what}");
                        assert_eq!(of(&all.maps, map, pixels), bits(&one.maps), "{what}");
                        assert!(all.balances[map] && one.balances[0], "{what}");
                        assert_eq!(all.lost[map], one.lost[0], "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn ranks_go_from_the_likeliest_down() {
    let drawn = network("basic, 8 wide").draw();
    let model = drawn.model.parse().unwrap();
    let targets: Vec<Target> = (0..model.classes()).map(Target::Rank).collect();
    let method = Method::new(Some(RUNS[0].composite()));
    let found = call(
        &model,
        std::slice::from_ref(&drawn.image),
        &targets,
        method,
        1,
    );
    assert_eq!(found.seeds[0].target, found.seeds[0].predicted);
    assert!(found.seeds.windows(2).all(|s| s[0].logit >= s[1].logit));
    let mut classes: Vec<u32> = found.seeds.iter().map(|s| s.target).collect();
    classes.sort_unstable();
    assert_eq!(classes, (0..model.classes()).collect::<Vec<_>>());
    let total: f32 = found.seeds.iter().map(|s| s.probability).sum();
    assert!((total - 1.0).abs() < 1e-5);
}

#[test]
fn as_many_targets_as_planned() {
    let drawn = network("basic, 8 wide").draw();
    let model = drawn.model.parse().unwrap();
    let threads = Threads::new(1).unwrap();
    let mut engine = Engine::new(&model, &threads);
    let method = Method {
        targets: 2,
        ..Method::new(Some(RUNS[0].composite()))
    };
    let mut explainer = engine.open(drawn.image.shape, method).unwrap();
    explainer.forward(&drawn.image.values).unwrap();
    let wrong = |have| {
        elucid::CudaError::from(Error::Length {
            buffer: Buffer::Targets,
            need: 2,
            have,
        })
    };
    let mut seeds = [Seed::default(); 3];
    let init = Init::One;
    let one = explainer.relevance(Target::Predicted, init, None);
    assert_eq!(one, Err(wrong(1)));
    let targets = [Target::Predicted; 3];
    let three = explainer.maps(&targets, init, &mut seeds, None);
    assert_eq!(three, Err(wrong(3)));
    let few = explainer.maps(&targets[..2], init, &mut seeds, None);
    assert_eq!(few, Err(wrong(3)));
    // The forward pass is still there.
    explainer
        .maps(&targets[..2], init, &mut seeds[..2], None)
        .unwrap();
    let mut method = method;
    for (images, targets) in [(0, 1), (1, 0)] {
        (method.images, method.targets) = (images, targets);
        let mut engine = Engine::new(&model, &threads);
        assert!(engine.open(drawn.image.shape, method).is_err());
    }
}

fn largest(map: &[f32]) -> f32 {
    map.iter().fold(0.0, |most, v| most.max(v.abs()))
}

#[test]
fn half_precision_checkpoints_stay_close_and_conserve() {
    let run = RUNS[0];
    let mut worst = 0f32;
    for (name, case) in NETWORKS {
        let drawn = case(name).draw();
        let model = drawn.model.parse().unwrap();
        for (memory, _) in Memory::ALL {
            let map = |half| {
                let method = Method {
                    memory,
                    half,
                    ..Method::new(Some(run.composite()))
                };
                let images = std::slice::from_ref(&drawn.image);
                call(&model, images, &[Target::Predicted], method, 1)
            };
            let (whole, half) = (map(false), map(true));
            assert_eq!(whole.logits, half.logits, "{name}: nothing kept is read");
            let (start, sum) = (
                half.seeds[0].relevance,
                elucid_core::math::sum(&half.maps) as f32,
            );
            assert!(
                (sum - start).abs() <= 1e-5 * start,
                "{name}, {memory:?}: {sum} of {start}"
            );
            let (mut off, mut all) = (0.0, 0.0);
            for (a, b) in whole.maps.iter().zip(&half.maps) {
                (off, all) = (off + (a - b).abs(), all + a.abs());
            }
            worst = worst.max(off / all);
            assert!(
                off <= 1e-2 * all,
                "{name}, {memory:?}: off by {off} of {all}"
            );
        }
    }
    println!("largest difference {worst:.1e} of the relevance");
    assert!(worst > 0.0, "something was rounded");
}

#[test]
fn all_kernels_agree() {
    let same = |a: &Explanation, b: &Explanation, what: &str| {
        let most = largest(&a.map);
        for (x, y) in a.map.iter().zip(&b.map) {
            assert!((x - y).abs() <= 2e-5 * most, "{what}: {x} {y} of {most}");
        }
    };
    let best = Cpu::new(Memory::Block, 1);
    for (name, case) in NETWORKS {
        let drawn = case(name).draw();
        let model = drawn.model.parse().unwrap();
        for run in RUNS {
            let want = best.explain(&model, &drawn.image, &run).unwrap();
            for other in Cpu::other_kernels() {
                let got = other.explain(&model, &drawn.image, &run).unwrap();
                let what = format!("{name}, {run:?}, {}", other.name());
                if other.fuses() && best.fuses() {
                    want.check_same(&got, &what);
                } else {
                    same(&want, &got, &what);
                }
            }
        }
    }
}
