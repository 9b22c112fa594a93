//! Hands the linker its scripts.

fn main() {
    println!("cargo::rerun-if-changed=link.ld");
    let here = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo::rustc-link-arg=-T{here}/link.ld");
    println!("cargo::rustc-link-arg=--gc-sections");
    if std::env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        // Where defmt keeps its format strings: in the file, not in flash.
        println!("cargo::rustc-link-arg=-Tdefmt.x");
    }
}
