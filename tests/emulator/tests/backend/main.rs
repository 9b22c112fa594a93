//! The CUDA backend as it is: real cudarc, code that a real NVRTC made, and the mock driver, which runs the kernels on this
//! CPU. What a driver, a device, a compiler or a folder can do to it is done to it here.
//!
//! cudarc finds a driver by its name alone, so every case runs in a process of its own: this program again, with the driver's
//! folder in `LD_LIBRARY_PATH`. `ELUCID_NVRTC` names the compiler; without it everything that compiles says that it was
//! skipped.

mod c_api;
mod cases;
mod model;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use elucid::{Compiler, CudaError, Kind};
use elucid_emulator::mock_driver;
use elucid_kernels::Source;

/// Names the case that a child runs.
const CASE: &str = "ELUCID_BACKEND_CASE";

/// What a child did.
struct Ran {
    /// What it said of itself, line by line: what begins with `said: `.
    said: Vec<String>,
    /// What the driver was asked.
    log: String,
}

impl Ran {
    fn lines(&self, start: &str) -> usize {
        self.log.lines().filter(|l| l.starts_with(start)).count()
    }

    /// The one line that it said.
    fn line(&self) -> &str {
        assert_eq!(self.said.len(), 1, "{:?}", self.said);
        &self.said[0]
    }
}

/// A folder for one test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("elucid-backend-{}-{number}", process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        Self(folder)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The compiler, or a line that says what isn't tested.
fn compiler(what: &str) -> Option<PathBuf> {
    let found = env::var_os("ELUCID_NVRTC").map(PathBuf::from);
    if found.is_none() {
        // Not by `println`, which the test runner hides.
        let note = format!("skipped: {what}, as ELUCID_NVRTC names no libnvrtc\n");
        let _ = io::stderr().write_all(note.as_bytes());
    }
    found
}

/// Runs a case in a process of its own, with some of its environment changed.
fn child(case: &str, folder: &Folder, changes: &[(&str, &str)]) -> Ran {
    let program = env::current_exe().expect("this program");
    let log = folder.join("log");
    let _ = fs::remove_file(&log);
    let mut command = Command::new(program);
    command
        .args(["a_child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .env("LD_LIBRARY_PATH", mock_driver(false))
        // As new as any compiler's PTX.
        .env("MOCK_DRIVER_VERSION", "13090")
        .env("MOCK_LOG", &log)
        // Emulated, they take ten times as long, and it isn't about them here.
        .env("ELUCID_CUDA_TENSOR_CORES", "0")
        // Compiled once for all cases and runs; what is about the cache itself has one of its own.
        .env(
            "ELUCID_CACHE",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels"),
        );
    for (name, value) in changes {
        command.env(name, value);
    }
    let output = command.output().expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{case} {changes:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = text.lines().filter_map(|l| l.strip_prefix("said: "));
    Ran {
        said: said.map(str::to_owned).collect(),
        log: fs::read_to_string(&log).unwrap_or_default(),
    }
}

#[test]
fn a_child() {
    if let Some(case) = env::var_os(CASE) {
        cases::run(&case.to_string_lossy());
    }
}

#[test]
fn explanations_are_the_cpus_by_machine_code_and_ptx_on_both_kinds_of_memory() {
    if compiler("the CUDA backend").is_none() {
        return;
    }
    let folder = Folder::new();
    for (code, integrated, memory) in [
        ("cubin", "1", "managed"),
        ("cubin", "0", "device"),
        ("ptx", "1", "managed"),
    ] {
        let set = [("ELUCID_CUDA_CODE", code), ("MOCK_INTEGRATED", integrated)];
        let ran = child("explain", &folder, &set);
        assert!(ran.line().starts_with("graphs 2"), "{code}");
        assert_eq!(ran.lines("alloc"), 1, "{}", ran.log);
        assert_eq!(ran.lines(&format!("alloc {memory}")), 1, "{}", ran.log);
        // Of the two lists' three and four runs, the first is plain and the second captures.
        assert_eq!(ran.lines("capture ends"), 2, "{}", ran.log);
        assert_eq!(ran.lines("graph launch"), 5, "{}", ran.log);
        assert_eq!(
            ran.lines("module cubin"),
            if code == "ptx" {
                0
            } else {
                ran.lines("module")
            }
        );
        if memory == "managed" {
            assert_eq!(ran.lines("copy"), 0, "nothing is copied: {}", ran.log);
        }
    }
}

#[test]
fn graphs_that_cannot_be_made_are_done_without() {
    if compiler("graphs").is_none() {
        return;
    }
    let folder = Folder::new();
    for set in [
        ("ELUCID_CUDA_GRAPH", "0"),
        ("MOCK_NO_GRAPHS", "1"),
        ("MOCK_FAIL", "cuStreamBeginCapture_v2:900"),
        ("MOCK_FAIL", "cuGraphInstantiateWithFlags:801"),
    ] {
        let ran = child("explain", &folder, &[set]);
        assert!(ran.line().starts_with("graphs 0"), "{set:?} {:?}", ran.said);
        assert_eq!(ran.lines("graph launch"), 0, "{set:?}");
        assert!(ran.lines("capture begins") <= 1, "{set:?}: {}", ran.log);
    }
    // A driver without managed memory to give.
    let ran = child(
        "explain",
        &folder,
        &[("MOCK_FAIL", "cuMemAllocManaged:801")],
    );
    assert_eq!(ran.lines("alloc device"), 1, "{}", ran.log);
    let ran = child(
        "explain",
        &folder,
        &[("MOCK_FAIL", "cuStreamAttachMemAsync:801")],
    );
    assert_eq!((ran.lines("alloc"), ran.lines("alloc device")), (2, 1));
}

#[test]
fn ledgers_batches_targets_and_plans_are_the_cpus() {
    if compiler("ledgers on the CUDA backend").is_none() {
        return;
    }
    let folder = Folder::new();
    for case in ["ledger", "batch", "plans", "mistakes"] {
        let ran = child(case, &folder, &[]);
        assert_eq!(ran.line(), "done", "{case}");
    }
}

#[test]
fn the_c_api_explains_on_the_device_and_gives_it_back() {
    if compiler("the C API on a device").is_none() {
        return;
    }
    let folder = Folder::new();
    let ran = child("c_api", &folder, &[]);
    assert_eq!(ran.line(), "done");
    assert_eq!(ran.lines("alloc"), ran.lines("free"), "{}", ran.log);
    assert_eq!(ran.lines("leaked"), 0, "{}", ran.log);
    assert!(ran.lines("graph launch") > 0, "{}", ran.log);
    let memory = [("MOCK_MEMORY", "300000"), ("ELUCID_BACKEND_STATUS", "45")];
    assert_eq!(child("c_status", &folder, &memory).line(), "done");
    let none = [
        ("ELUCID_NVRTC", "/nowhere"),
        ("ELUCID_BACKEND_STATUS", "44"),
    ];
    assert_eq!(child("c_status", &folder, &none).line(), "done");
    let broken = [("MOCK_FAIL", "cuInit:999"), ("ELUCID_BACKEND_STATUS", "42")];
    assert_eq!(child("c_status", &folder, &broken).line(), "done");
    let devices = [("MOCK_DEVICES", "0"), ("ELUCID_BACKEND_STATUS", "41")];
    assert_eq!(child("c_status", &folder, &devices).line(), "done");
}

#[test]
fn code_is_compiled_once_and_again_when_its_entry_is_damaged() {
    if compiler("the cache").is_none() {
        return;
    }
    let folder = Folder::new();
    let cache = folder.join("cache");
    let own = cache.to_string_lossy();
    let explain = || child("explain", &folder, &[("ELUCID_CACHE", &own)]);
    let compiled = |ran: &Ran| ran.line().ends_with(", compiled");
    assert!(compiled(&explain()));
    assert!(!compiled(&explain()));
    let entries = || -> Vec<PathBuf> {
        let all = fs::read_dir(&cache).expect("the cache");
        all.map(|e| e.expect("an entry").path()).collect()
    };
    assert!(entries().len() >= 10, "a file for each kernel file");
    for (i, entry) in entries().iter().enumerate() {
        let mut bytes = fs::read(entry).expect("an entry");
        match i % 3 {
            0 => bytes.truncate(bytes.len() / 2),
            1 => bytes.clear(),
            _ => bytes[200] ^= 1,
        }
        fs::write(entry, bytes).expect("an entry");
    }
    assert!(compiled(&explain()));
    assert!(!compiled(&explain()), "they were mended");
}

#[test]
fn a_cache_that_cannot_be_written_is_a_note() {
    if compiler("a read-only cache").is_none() {
        return;
    }
    let folder = Folder::new();
    let file = folder.join("a file");
    fs::write(&file, b"").expect("a file");
    let file = file.to_string_lossy();
    let ran = child("explain", &folder, &[("ELUCID_CACHE", &file)]);
    assert_eq!(ran.said.len(), 2, "{:?}", ran.said);
    assert!(ran.said[0].contains("ELUCID_CACHE"), "{:?}", ran.said);
}

#[test]
fn whatever_is_wrong_is_one_line_with_the_mend() {
    if compiler("faults of devices").is_none() {
        return;
    }
    let folder = Folder::new();
    // A run first, so that nothing needs to be compiled.
    child("explain", &folder, &[]);
    let faults: &[(&str, &str, &[&str])] = &[
        ("MOCK_DEVICES", "0", &["no device", "nvidia-smi"]),
        ("MOCK_FAIL", "cuInit:999", &["CUDA_ERROR_UNKNOWN", "reboot"]),
        ("MOCK_DRIVER_VERSION", "10020", &["10.2", "11.4", "JetPack"]),
        ("MOCK_CAPABILITY", "5.2", &["5.2", "5.3", "--device"]),
        (
            "MOCK_MEMORY",
            "300000",
            &["0.3 of 0.3 MB", "--memory stage"],
        ),
        (
            "MOCK_FAIL",
            "cuMemAllocManaged:2,cuMemAlloc_v2:2",
            &["--checkpoints f16", "free"],
        ),
        (
            "MOCK_FAIL",
            "cuDevicePrimaryCtxRetain:46",
            &["CUDA_ERROR_DEVICE_UNAVAILABLE", "doctor"],
        ),
        (
            "MOCK_FAIL",
            "cuModuleLoadData:209",
            &[
                "machine code of",
                "NO_BINARY_FOR_GPU",
                "ELUCID_CUDA_CODE=ptx",
            ],
        ),
        (
            "MOCK_FAIL",
            "cuModuleGetFunction:500",
            &["CUDA_ERROR_NOT_FOUND"],
        ),
        (
            "MOCK_FAIL",
            "cuLaunchKernel:719:7",
            &["cuLaunchKernel", "LAUNCH_FAILED"],
        ),
        (
            "MOCK_FAIL",
            "cuStreamSynchronize:700:6",
            &["ILLEGAL_ADDRESS"],
        ),
        ("MOCK_FAIL", "cuStreamCreate:2", &["cuStreamCreate"]),
        ("MOCK_FAIL", "cuGraphLaunch:999", &["cuGraphLaunch"]),
        (
            "ELUCID_CUDA_CODE",
            "sass",
            &["ELUCID_CUDA_CODE=sass", "cubin or ptx"],
        ),
        (
            "ELUCID_CUDA_GRAPH",
            "yes",
            &["ELUCID_CUDA_GRAPH=yes", "0 or 1"],
        ),
        (
            "ELUCID_NVRTC",
            "/nowhere/libnvrtc.so",
            &["/nowhere/libnvrtc.so", "cuda-nvrtc"],
        ),
        (
            "ELUCID_BACKEND_DEVICE",
            "4",
            &["device 4", "leave --device out"],
        ),
    ];
    for (name, value, words) in faults {
        let ran = child("fault", &folder, &[(name, value)]);
        let line = ran.line();
        for word in *words {
            assert!(line.contains(word), "{name}={value}: no {word} in {line:?}");
        }
    }
    // PTX for a driver that is older than the compiler.
    let old = [
        ("ELUCID_CUDA_CODE", "ptx"),
        ("MOCK_DRIVER_VERSION", "11040"),
    ];
    let ran = child("fault", &folder, &old);
    let line = ran.line();
    assert!(
        line.contains("UNSUPPORTED_PTX_VERSION") && line.contains("leave ELUCID_CUDA_CODE out")
    );
    // A library that is no compiler.
    let driver = mock_driver(false).join("libcuda.so.1");
    let ran = child(
        "fault",
        &folder,
        &[("ELUCID_NVRTC", &driver.to_string_lossy())],
    );
    assert!(ran.line().contains("has no nvrtc"), "{}", ran.line());
}

#[test]
fn a_machine_without_a_driver_or_with_half_of_one_is_one_line() {
    let folder = Folder::new();
    let empty = folder.join("empty");
    fs::create_dir_all(&empty).expect("a folder");
    let ran = child(
        "fault",
        &folder,
        &[("LD_LIBRARY_PATH", &empty.to_string_lossy())],
    );
    // Where there is a driver of the system, it may be anything.
    assert!(!ran.line().is_empty());
    if Path::new("/proc/self/maps").exists() {
        let maps = fs::read_to_string("/proc/self/maps").expect("our own");
        let library = maps.split_whitespace().find(|w| w.contains("/libc.so"));
        let Some(library) = library else { return };
        std::os::unix::fs::symlink(library, empty.join("libcuda.so")).expect("a link");
        let ran = child(
            "fault",
            &folder,
            &[("LD_LIBRARY_PATH", &empty.to_string_lossy())],
        );
        assert!(
            ran.line().contains("libcuda has no cuInit"),
            "{}",
            ran.line()
        );
    }
}

#[test]
fn what_the_compiler_refuses_is_said_with_file_and_line() {
    if compiler("compile errors").is_none() {
        return;
    }
    static BAD: Source = Source {
        name: "bad.cu",
        text: "#include \"elucid.cuh\"\nELUCID_KERNEL(bad, SplitParams, 32, 1) {\n    p.count = ;\n}\n",
    };
    let compiler = Compiler::find().unwrap_or_else(|e| panic!("{e}"));
    let error = compiler.compile(&BAD, 75, Kind::Cubin).unwrap_err();
    let line = error.to_string();
    assert!(matches!(error, CudaError::Compile { file: "bad.cu", .. }));
    assert!(
        line.contains("bad.cu(3)") && line.contains("sm_75"),
        "{line}"
    );
    assert!(!line.contains('\n'), "{line}");
    let error = compiler.architecture(20, Kind::Cubin).unwrap_err();
    assert!(error.to_string().contains("sm_20"), "{error}");
}
