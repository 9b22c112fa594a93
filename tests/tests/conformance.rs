//! The CPU backend against the f64 reference, over all networks of the suite, both presets and all splits.

use elucid_core::plan::Memory;
use elucid_tests::subject::Cpu;
use elucid_tests::suite::NETWORKS;

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
