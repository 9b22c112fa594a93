//! With the feature `fatbin`: has nvcc compile every kernel file for a list of architectures.
//!
//! `NVCC` names the compiler, `nvcc` or the toolkit's in `/usr/local/cuda` otherwise; `ELUCID_CUDA_ARCHS` lists the
//! architectures, as in `72,87`.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

/// Jetson Xavier and Orin, and the desktops and servers of the same years.
const ARCHS: &str = "72,75,80,86,87,89,90";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_FATBIN").is_none() {
        return;
    }
    if let Err(error) = build() {
        println!("cargo::error={error}");
        exit(1);
    }
}

fn build() -> Result<(), String> {
    for variable in ["NVCC", "ELUCID_CUDA_ARCHS"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=cu");
    let archs = archs(&env::var("ELUCID_CUDA_ARCHS").unwrap_or_default())?;
    let nvcc = compiler();
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    let mut list = String::from("&[");
    for file in sources()? {
        let name = file.file_name().and_then(|n| n.to_str());
        let name = name.ok_or_else(|| format!("{} is no name", file.display()))?;
        let code = out.join(name).with_extension("fatbin");
        compile(&nvcc, &archs, &file, &code)?;
        list.push_str(&format!("({name:?}, include_bytes!({code:?})),"));
    }
    list.push(']');
    fs::write(out.join("fatbin.rs"), list).map_err(|e| format!("{}: {e}", out.display()))
}

/// The numbers of a list.
fn archs(list: &str) -> Result<Vec<u32>, String> {
    let list = if list.trim().is_empty() { ARCHS } else { list };
    let number = |arch: &str| {
        let digits = arch.trim().trim_start_matches("sm_");
        digits.parse().map_err(|_| {
            format!("ELUCID_CUDA_ARCHS={list}: {arch} is no architecture; write 72,87")
        })
    };
    list.split(',').map(number).collect()
}

fn compiler() -> PathBuf {
    let toolkit = Path::new("/usr/local/cuda/bin/nvcc");
    match env::var_os("NVCC").filter(|v| !v.is_empty()) {
        Some(chosen) => PathBuf::from(chosen),
        None if Command::new("nvcc").arg("--version").output().is_err() && toolkit.exists() => {
            toolkit.to_owned()
        }
        None => PathBuf::from("nvcc"),
    }
}

/// The kernel files, in order.
fn sources() -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir("cu").map_err(|e| format!("cu: {e}"))?;
    let mut all: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    all.retain(|path| path.extension().is_some_and(|e| e == "cu"));
    all.sort();
    Ok(all)
}

fn compile(nvcc: &Path, archs: &[u32], file: &Path, code: &Path) -> Result<(), String> {
    let mut command = Command::new(nvcc);
    // As NVRTC is asked to in elucid-cuda.
    command.args(["--fatbin", "--std=c++14", "--ftz=false", "--prec-div=true"]);
    command.args(["--prec-sqrt=true", "--fmad=true", "-I", "cu"]);
    for arch in archs {
        command.arg(format!(
            "--generate-code=arch=compute_{arch},code=sm_{arch}"
        ));
    }
    command.arg("--output-file").arg(code).arg(file);
    let done = command.output().map_err(|e| {
        format!(
            "the feature fatbin needs nvcc, and {} can't be run ({e}): install the CUDA toolkit, set NVCC to its nvcc, or build without the feature",
            nvcc.display()
        )
    })?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let said: Vec<&str> = said.split_whitespace().take(60).collect();
    Err(format!(
        "nvcc refuses {}: {}",
        file.display(),
        said.join(" ")
    ))
}
