//! What registers itself in the library is what the kernels' Rust side says.

use elucid_emulator::{Emulator, Registered};

#[test]
fn the_library_has_the_kernels_that_rust_knows() {
    let mut known: Vec<Registered> = elucid_kernels::kernels()
        .map(|k| Registered {
            entry: k.entry.to_owned(),
            argument: k.argument,
            block: k.block,
        })
        .collect();
    known.sort();
    assert_eq!(Emulator::fast().kernels(), known);
}
