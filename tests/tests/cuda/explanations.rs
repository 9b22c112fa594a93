//! Whole explanations by the kernels: against the f64 reference, through the suite.

use elucid_core::plan::Memory;
use elucid_emulator::{Emulator, Order};
use elucid_host::engine::Method;
use elucid_tests::emulated::Kernels;
use elucid_tests::suite::NETWORKS;

#[test]
fn the_suite_holds_for_the_kernels() {
    let mut largest = 0.0f64;
    for (number, (name, case)) in NETWORKS.iter().enumerate() {
        let kernels = Kernels {
            emulator: Emulator::fast(),
            tensor_cores: number % 2 == 1,
            method: Method {
                memory: Memory::ALL[number % 3].0,
                ..Method::new(None)
            },
            order: [Order::Ascending, Order::Descending][number % 2],
        };
        largest = largest.max(case(name).check(&kernels));
    }
    println!(
        "{} networks, largest difference {largest:.1e}",
        NETWORKS.len()
    );
}
