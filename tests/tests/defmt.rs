//! Proof that the feature `defmt` is real: the library of `tests/no_std.rs`, built with it, hands the core's log lines and
//! errors to a global logger, values and all.

#[path = "../proof/harness.rs"]
mod harness;

use elucid_core::arch::resnet::Resnet;
use elucid_core::{Error, Model};
use elucid_host::aligned::Aligned;
use harness::{Proof, STACK, hosted, model};

#[test]
fn log_lines_and_errors_arrive_at_the_logger() {
    let proof = Proof::build("defmt", "defmt");
    proof.assert_bare();
    assert!(hosted("__rust_alloc"));
    let (mut bytes, size) = (model(&Resnet::cifar(1, 4, 3), false), (8, 8));
    let image = [0.5; 3 * 8 * 8];
    let holds = |log: &[u8], values: &[u32]| {
        let wanted: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        log.windows(wanted.len()).any(|bytes| bytes == wanted)
    };

    // "planned {} steps over {} f32".
    let well = proof.explain(&bytes, &image, size);
    assert!((0..3).contains(&well.class));
    assert!(well.map.iter().any(|&v| v != 0.0));
    assert!(well.stack <= STACK);
    assert!(well.log.len() >= 2 + 4 + 4, "{:x?}", well.log);

    // "elucid: {}" with `Error::Checksum { stored, computed }`.
    *bytes.last_mut().unwrap() ^= 1;
    let copy = Aligned::copy_of(&bytes);
    let Err(Error::Checksum { stored, computed }) = Model::parse(copy.bytes()) else {
        panic!("the checksum can't be right");
    };
    let damaged = proof.explain(&bytes, &image, size);
    assert!(damaged.class < 0);
    assert!(
        holds(&damaged.log, &[stored, computed]),
        "{:x?}",
        damaged.log
    );
    println!(
        "{} bytes of log for a plan, {} for an error",
        well.log.len(),
        damaged.log.len()
    );
}
