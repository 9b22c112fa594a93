//! The CPU backend against the f64 reference, over all networks of the suite, both presets and all splits; and the same
//! bits from every memory mode and number of threads.

use elucid_core::arch::resnet::Resnet;
use elucid_core::plan::Memory;
use elucid_tests::reference::{Preset, Split};
use elucid_tests::subject::{Cpu, Run, Subject};
use elucid_tests::suite::{Case, NETWORKS};

/// The cases whose names pass, on one thread with block checkpoints.
fn check(mut passes: impl FnMut(&str) -> bool) {
    let cpu = Cpu::new(Memory::Block, 1);
    let mut largest = 0.0f64;
    let mut count = 0;
    for (name, case) in NETWORKS.iter().filter(|(name, _)| passes(name)) {
        largest = largest.max(case(name).check(&cpu));
        count += 1;
    }
    assert!(count > 0);
    println!("{count} networks, largest difference {largest:.1e}");
}

#[test]
fn basic_networks() {
    check(|name| name.starts_with("basic"));
}

#[test]
fn bottleneck_networks() {
    check(|name| name.starts_with("bottleneck"));
}

#[test]
fn all_other_networks() {
    check(|name| !name.starts_with("basic") && !name.starts_with("bottleneck"));
}

/// Networks of published depth, narrow, on images large enough for several tiles: too much for the reference.
fn larger() -> Vec<Case> {
    let net = |depth| Resnet::imagenet(depth, 16, 10).unwrap();
    vec![
        Case::new("ResNet-18, narrow", net(18), (130, 97)),
        Case::new("ResNet-50, narrow", net(50), (97, 130)),
        Case::new("ResNet-20", Resnet::cifar(3, 16, 10), (32, 32)),
    ]
}

#[test]
fn memory_modes_and_threads_give_the_same_bits() {
    let runs = [
        Run::new(Preset::Exact, Split::Ratio),
        Run::new(Preset::Paper, Split::Half),
    ];
    let subjects = Cpu::all(3);
    let small = NETWORKS.iter().map(|(name, case)| case(name));
    for case in small.chain(larger()) {
        let drawn = case.draw();
        let model = drawn.model.parse().unwrap();
        for run in runs {
            let first = subjects[0].explain(&model, &drawn.image, &run).unwrap();
            first.check_ledger(case.name);
            for subject in &subjects[1..] {
                let other = subject.explain(&model, &drawn.image, &run).unwrap();
                first.check_same(
                    &other,
                    &format!("{}, {run:?}, {}", case.name, subject.name()),
                );
            }
        }
    }
}
