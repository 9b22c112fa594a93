//! What registers itself in the libraries is what the kernels' Rust side says.

use elucid_emulator::{Emulator, Registered};

#[test]
fn the_libraries_have_the_kernels_that_rust_knows() {
    let mut known: Vec<Registered> = elucid_kernels::kernels()
        .map(|k| Registered {
            entry: k.entry.to_owned(),
            argument: k.argument,
            block: k.block,
        })
        .collect();
    known.sort();
    assert_eq!(Emulator::fast().kernels(), known);
    assert_eq!(Emulator::checked().kernels(), known);
}
