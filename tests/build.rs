//! Reads the kernels' C structs with bindgen and compiles the kernels themselves as host C++.
//!
//! Only the tests need this: nothing that a user builds depends on libclang or a C++ compiler.

use std::env;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::exit;

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let kernels = here.join("../kernels/cu");
    println!("cargo::rerun-if-changed={}", kernels.display());
    println!("cargo::rerun-if-changed=src/emulator");
    bind(&kernels.join("params.h"));
    emulate(&kernels);
}

/// `params.h` as Rust, for the comparison with `elucid_kernels::params`.
fn bind(header: &Path) {
    let to = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("params.rs");
    // bindgen panics where it finds no libclang; one line is enough.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let version = panic::catch_unwind(bindgen::clang_version);
    panic::set_hook(hook);
    if version.is_err() {
        println!(
            "cargo::error=libclang is missing: install the package libclang-dev (Debian, Ubuntu) or clang-devel (Fedora)"
        );
        exit(1);
    }
    let bindings = bindgen::builder()
        .header(header.to_string_lossy())
        .prepend_enum_name(false)
        .formatter(bindgen::Formatter::None)
        .generate()
        .unwrap_or_else(|e| panic!("{}: {e}", header.display()));
    bindings
        .write_to_file(&to)
        .unwrap_or_else(|e| panic!("{}: {e}", to.display()));
}

/// The kernels with an emulator around them, as a static library.
fn emulate(kernels: &Path) {
    cc::Build::new()
        .cpp(true)
        .cpp_link_stdlib(None)
        .std("c++17")
        .warnings_into_errors(true)
        .opt_level(2)
        // Fused multiply-adds would round otherwise than the kernels say.
        .flag("-ffp-contract=off")
        .include(kernels)
        .file("src/emulator/emulator.cpp")
        .compile("elucid_emulator");
}
