//! Reads the kernels' C structs and the C API with bindgen.
//!
//! Only the tests need this: nothing that a user builds depends on libclang.

use std::env;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::exit;

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let kernels = here.join("../kernels/cu");
    println!("cargo::rerun-if-changed={}", kernels.display());
    let api = here.join("../core/include/elucid.h");
    println!("cargo::rerun-if-changed={}", api.display());
    find_libclang();
    bind(&kernels.join("params.h"), "params.rs", |b| {
        b.clang_arg(format!("-I{}", kernels.display()))
    });
    // The C API twice: with structs as C has them, and with functions over those of `elucid_core::ffi`.
    bind(&api, "elucid.rs", |b| {
        // A macro with an argument is nothing that bindgen reads, but what it makes is.
        let ranks = "enum { RANK_OF_0 = ELUCID_RANK(0), RANK_OF_1 = ELUCID_RANK(1), RANK_OF_LAST = ELUCID_RANK(0x7FFFFFFF) };";
        let text = format!("#include \"{}\"\n{ranks}\n", api.display());
        b.header_contents("ranks.h", &text)
            .allowlist_item("(elucid|ELUCID|RANK).*")
    });
    bind(&api, "elucid_functions.rs", |b| {
        b.allowlist_function("elucid_.*")
            .blocklist_type("elucid.*")
            .merge_extern_blocks(true)
    });
}

fn find_libclang() {
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
}

/// A header as Rust.
fn bind(header: &Path, name: &str, more: impl FnOnce(bindgen::Builder) -> bindgen::Builder) {
    let to = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join(name);
    let builder = bindgen::builder()
        .header(header.to_string_lossy())
        .prepend_enum_name(false)
        .size_t_is_usize(true)
        .formatter(bindgen::Formatter::None);
    let bindings = more(builder)
        .generate()
        .unwrap_or_else(|e| panic!("{}: {e}", header.display()));
    bindings
        .write_to_file(&to)
        .unwrap_or_else(|e| panic!("{}: {e}", to.display()));
}
