//! Compiles the kernels as host C++, twice, each time with the emulator and the mock driver into a `libcuda.so.1`:
//! `fast/` is optimised, `checked/` tells the checker of every access of memory.
//!
//! An object is compiled anew only when its own source, a header or the command has changed: cargo keeps the folder.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::sync::Mutex;
use std::thread;
use std::time::SystemTime;

/// What only one of the two libraries is compiled with.
struct Flavour {
    name: &'static str,
    /// For kernels and runtime.
    common: &'static [&'static str],
    /// For kernels.
    kernels: &'static [&'static str],
}

const FLAVOURS: [Flavour; 2] = [
    Flavour {
        name: "fast",
        common: &["-O2"],
        kernels: &["-Wall", "-Werror", "-Wno-maybe-uninitialized"],
    },
    Flavour {
        name: "checked",
        common: &["-DEMULATOR_CHECKED", "-g"],
        // Little is moved and no two accesses become one.
        kernels: &[
            "-O1",
            "-w",
            "-fsanitize=thread",
            "-fno-tree-vectorize",
            "-fno-tree-slp-vectorize",
        ],
    },
];

fn main() {
    if let Err(e) = build() {
        println!("cargo::error={e}");
        exit(1);
    }
}

fn build() -> io::Result<()> {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let cu = here.join("../../kernels/cu").canonicalize()?;
    let (cpp, fixtures) = (here.join("src/cpp"), here.join("fixtures"));
    for folder in [&cu, &cpp, &fixtures] {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
    let mut kernels = files(&cu, "cu")?;
    kernels.extend(files(&fixtures, "cu")?);
    let runtime = files(&cpp, "cpp")?;
    let mut headers = files(&cu, "h")?;
    headers.extend(files(&cu, "cuh")?);
    headers.extend(files(&cpp, "h")?);
    headers.extend(files(&fixtures, "h")?);
    let newest = headers
        .iter()
        .map(|h| modified(h))
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let out = PathBuf::from(variable("OUT_DIR"));
    let tool = tool();
    let mut jobs = Vec::new();
    let mut libraries = Vec::new();
    for flavour in &FLAVOURS {
        let folder = out.join(flavour.name);
        fs::create_dir_all(&folder)?;
        let mut objects = Vec::new();
        for (source, kernel) in kernels
            .iter()
            .map(|k| (k, true))
            .chain(runtime.iter().map(|r| (r, false)))
        {
            let object = folder
                .join(source.file_name().expect("a file"))
                .with_added_extension("o");
            let mut command = compiler(&tool);
            command.args(flavour.common);
            if kernel {
                command
                    .args(["-std=c++14", "-x", "c++", "-Wno-unknown-pragmas"])
                    .args(flavour.kernels);
                if flavour.name == "checked" {
                    command.args(every_read(&tool));
                }
                command
                    .args(instructions())
                    .arg("-include")
                    .arg(cpp.join("emulator.h"))
                    .arg("-I")
                    .arg(&cu)
                    .arg("-I")
                    .arg(&fixtures);
            } else {
                command.args(["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror"]);
            }
            command.arg("-c").arg(source).arg("-o").arg(&object);
            if stale(&object, modified(source).max(newest), &command) {
                jobs.push((object.clone(), command));
            }
            objects.push(object);
        }
        libraries.push((folder.join("libcuda.so.1"), objects));
    }
    run_all(jobs)?;
    for (library, objects) in libraries {
        let mut command = compiler(&tool);
        command.args([
            "-shared",
            "-Wl,-soname,libcuda.so.1",
            "-Wl,-Bsymbolic",
            "-Wl,-z,defs",
        ]);
        command
            .args(objects)
            .arg("-o")
            .arg(&library)
            .arg("-ldl")
            .arg("-lpthread");
        run(&mut command)?;
        let link = library.with_extension("");
        if fs::symlink_metadata(&link).is_err() {
            symlink("libcuda.so.1", &link)?;
        }
    }
    for flavour in &FLAVOURS {
        let folder = out.join(flavour.name);
        println!(
            "cargo::rustc-env=EMULATOR_{}={}",
            flavour.name.to_uppercase(),
            folder.display()
        );
    }
    Ok(())
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

/// The C++ compiler.
fn tool() -> cc::Tool {
    // Chosen per file; what cargo says of this crate's Rust code would only get in the way.
    cc::Build::new()
        .cpp(true)
        .opt_level(0)
        .debug(false)
        .warnings(false)
        .pic(true)
        .get_compiler()
}

/// The C++ compiler with what everything is compiled with.
fn compiler(tool: &cc::Tool) -> Command {
    let mut command = tool.to_command();
    command.args([
        "-fPIC",
        "-fvisibility=hidden",
        // CUDA's functions neither set errno nor contract a * b + c that isn't written as fmaf.
        "-fno-math-errno",
        "-ffp-contract=off",
        "-fno-omit-frame-pointer",
    ]);
    command
}

/// What tells clang to report a read even where the same place is then written: gcc does it anyway.
fn every_read(tool: &cc::Tool) -> &'static [&'static str] {
    if tool.is_like_clang() {
        &["-mllvm", "-tsan-instrument-read-before-write"]
    } else {
        &[]
    }
}

/// Fused multiply-adds and conversions of halves as instructions, where this machine, which will run them, has them.
fn instructions() -> &'static [&'static str] {
    if variable("HOST") != variable("TARGET") {
        return &[];
    }
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("fma") && std::is_x86_feature_detected!("f16c") {
        return &["-mfma", "-mf16c"];
    }
    &[]
}

fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new(extension)) {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

fn modified(file: &Path) -> SystemTime {
    // What can't be asked counts as new.
    fs::metadata(file)
        .and_then(|m| m.modified())
        .unwrap_or_else(|_| SystemTime::now())
}

/// Whether an object is missing, older than its sources, or of another command.
fn stale(object: &Path, sources: SystemTime, command: &Command) -> bool {
    let said = fs::read_to_string(object.with_added_extension("command")).unwrap_or_default();
    !object.exists() || modified(object) <= sources || said != format!("{command:?}")
}

/// Runs the compilers, as many at once as cargo allows.
fn run_all(mut jobs: Vec<(PathBuf, Command)>) -> io::Result<()> {
    jobs.reverse();
    let workers = env::var("NUM_JOBS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let (jobs, failed) = (Mutex::new(jobs), Mutex::new(Ok(())));
    let work = || {
        while let Some((object, mut command)) = jobs.lock().ok().and_then(|mut j| j.pop()) {
            let said = format!("{command:?}");
            let done = run(&mut command)
                .and_then(|()| fs::write(object.with_added_extension("command"), said));
            if let (Err(e), Ok(mut failed)) = (done, failed.lock()) {
                // Compiled again next time.
                let _ = fs::remove_file(&object);
                *failed = Err(e);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    failed.into_inner().unwrap_or_else(|e| e.into_inner())
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    for line in said.lines() {
        println!("cargo::warning={line}");
    }
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} failed",
        command.get_program().to_string_lossy()
    )))
}
