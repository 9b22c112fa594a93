//! The golden networks, imported as a user would: the `paper` preset against the official maps, the `exact` preset against
//! its contract and the reference, and the same bits from every memory mode and number of threads.

use elucid_tests::golden::Golden;
use elucid_tests::reference::{Architecture, Preset, ResNet, Rules, Split};
use elucid_tests::subject::{Cpu, Run, Subject};
use elucid_tests::suite::{check_exact, compare};
use elucid_tests::tensors::worst;

/// Largest difference from an official map, relative to its largest value.
const PAPER: f64 = 1e-5;
/// From official logits, which are f32.
const LOGITS: f64 = 2e-5;

#[test]
fn paper_maps_are_the_official_ones() {
    for golden in Golden::all() {
        let model = golden.model.parse().unwrap();
        for cpu in Cpu::all(2) {
            for split in Split::ALL {
                let what = format!("{}, {split:?}, {}", golden.name, cpu.name());
                let got = cpu
                    .explain(&model, &golden.image, &Run::new(Preset::Paper, split))
                    .unwrap();
                let logits = worst(&got.logits, golden.logits());
                assert!(logits.error <= LOGITS, "{what}: logits: {logits}");
                let map = worst(&got.map, &golden.map(split).data);
                let width = golden.image.shape.w as usize;
                let at = (map.index / width, map.index % width);
                assert!(
                    map.error <= PAPER,
                    "{what}: map, row and column {at:?}: {map}"
                );
                got.check_ledger(&what);
                println!("{what}: map {:.1e}, logits {:.1e}", map.error, logits.error);
            }
        }
    }
}

#[test]
fn exact_maps_conserve_and_are_the_references() {
    for golden in Golden::all() {
        let model = golden.model.parse().unwrap();
        let network = ResNet::new(&golden.weights, Architecture::default());
        for split in Split::ALL {
            let want = network.explain(
                &golden.image.to_nchw(),
                &Rules::new(Preset::Exact, split),
                None,
            );
            for cpu in Cpu::all(2) {
                let what = format!("{}, {split:?}, {}", golden.name, cpu.name());
                let got = cpu
                    .explain(&model, &golden.image, &Run::new(Preset::Exact, split))
                    .unwrap();
                let error = compare(&got, &want, golden.image.shape.w, &what);
                check_exact(&got, &what);
                got.check_ledger(&what);
                println!(
                    "{what}: map {error:.1e}, conservation {:.1e}",
                    got.conservation_error()
                );
            }
        }
    }
}

#[test]
fn memory_modes_and_threads_give_the_same_bits() {
    for golden in Golden::all() {
        let model = golden.model.parse().unwrap();
        let subjects = Cpu::all(3);
        for run in Run::all() {
            let first = subjects[0].explain(&model, &golden.image, &run).unwrap();
            for subject in &subjects[1..] {
                let other = subject.explain(&model, &golden.image, &run).unwrap();
                first.check_same(
                    &other,
                    &format!("{}, {run:?}, {}", golden.name, subject.name()),
                );
            }
        }
    }
}
