//! Gives `libelucid.so` its versioned name.
//!
//! Programs that link it ask for `libelucid.so.MAJOR` at run time, so a link of that name is put beside it: what `cargo build` made can be
//! used in place, before it is installed.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let of = |name: &str| env::var(name).unwrap_or_default();
    if of("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    let name = format!("libelucid.so.{}", of("CARGO_PKG_VERSION_MAJOR"));
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{name}");
    // target/PROFILE/build/elucid-cuda-HASH/out
    let out = PathBuf::from(of("OUT_DIR"));
    if let Some(profile) = out.ancestors().nth(3) {
        link(profile.join(name));
    }
}

#[cfg(unix)]
fn link(at: PathBuf) {
    // Where it is there already, or can't be, an installed library does.
    let _ = std::os::unix::fs::symlink("libelucid.so", at);
}

#[cfg(not(unix))]
fn link(_: PathBuf) {}
