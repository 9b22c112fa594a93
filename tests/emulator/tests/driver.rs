//! The mock driver: what it does, and what it refuses as a real one does.
//!
//! It reads its environment once, so each case runs in a process of its own: this program again, with [`CASE`] set.
#![allow(unsafe_code)] // The driver is a C library.

use std::env;
use std::ffi::{CStr, CString, c_char};
use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use elucid_emulator::mock_driver;
use libloading::Library;

/// Names the case that a child runs.
const CASE: &str = "ELUCID_DRIVER_CASE";

/// Calls the driver. All arguments go in registers or in places of eight bytes, whatever their types.
fn call(name: &str, arguments: &[u64]) -> i32 {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let path = mock_driver(env::var_os("ELUCID_DRIVER_CHECKED").is_some()).join("libcuda.so.1");
        // SAFETY: the build script made it; its initialisers only make a list of kernels.
        unsafe { Library::new(path) }.expect("the build script made it")
    });
    type Eleven =
        unsafe extern "C" fn(u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64) -> i32;
    let mut a = [0; 11];
    a[..arguments.len()].copy_from_slice(arguments);
    // SAFETY: functions of the driver take integers and pointers only, and ignore what comes after their own arguments.
    // Whether pointers are good is up to the cases below.
    unsafe {
        let function = library
            .get::<Eleven>(name)
            .expect("a function of the driver");
        function(
            a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10],
        )
    }
}

/// A call that must succeed.
fn ok(name: &str, arguments: &[u64]) {
    assert_eq!(call(name, arguments), 0, "{name}");
}

/// What a call that must succeed writes to the place that its first argument points at.
fn get(name: &str, arguments: &[u64]) -> u64 {
    let mut value = 0u64;
    let mut all = vec![&raw mut value as u64];
    all.extend(arguments);
    ok(name, &all);
    value
}

fn begin() {
    ok("cuInit", &[0]);
    let context = get("cuDevicePrimaryCtxRetain", &[0]);
    ok("cuCtxSetCurrent", &[context]);
}

fn ptx(version: &str, target: u32, bytes: usize) -> CString {
    let text = format!(
        "//\n.version {version}\n.target sm_{target}\n.address_size 64\n\n.visible .entry fixture_transpose(\n\t.param .align 8 .b8 \
         fixture_transpose_param_0[{bytes}]\n)\n.maxntid 256, 1, 1\n{{\n\tret;\n}}\n.entry missing(.param .u64 p, .param .u32 q){{ret;}}\n"
    );
    CString::new(text).expect("no NUL")
}

fn function() -> u64 {
    let module = get("cuModuleLoadData", &[ptx("8.0", 80, 24).as_ptr() as u64]);
    get(
        "cuModuleGetFunction",
        &[module, c"fixture_transpose".as_ptr() as u64],
    )
}

/// `fixtures/fixture.h`.
#[repr(C)]
struct Params {
    from: u64,
    to: u64,
    rows: u32,
    columns: u32,
}

fn launch(function: u64, block: u64, params: &Params, stream: u64) -> i32 {
    let pointers = [&raw const *params as u64];
    let arguments = pointers.as_ptr() as u64;
    call(
        "cuLaunchKernel",
        &[function, 1, 1, 1, block, 1, 1, 0, stream, arguments, 0],
    )
}

/// Copies, a launch and a graph of both, on a stream.
fn transposes() {
    begin();
    let function = function();
    let x: Vec<f32> = (0..6).map(|i| i as f32).collect();
    let (from, to) = (get("cuMemAlloc_v2", &[24]), get("cuMemAlloc_v2", &[24]));
    let stream = get("cuStreamCreate", &[1]);
    let params = Params {
        from,
        to,
        rows: 2,
        columns: 3,
    };
    let mut y = [0f32; 6];
    ok(
        "cuMemcpyHtoDAsync_v2",
        &[from, x.as_ptr() as u64, 24, stream],
    );
    assert_eq!(launch(function, 256, &params, stream), 0);
    ok(
        "cuMemcpyDtoHAsync_v2",
        &[y.as_mut_ptr() as u64, to, 24, stream],
    );
    ok("cuStreamSynchronize", &[stream]);
    assert_eq!(y, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);

    // A graph does nothing while it is captured, and each time it is launched everything, with what is in memory then.
    ok("cuStreamBeginCapture_v2", &[stream, 1]);
    let mut status = 0i32;
    ok("cuStreamIsCapturing", &[stream, &raw mut status as u64]);
    assert_eq!(status, 1);
    assert_eq!(launch(function, 256, &params, stream), 0);
    ok(
        "cuMemcpyDtoHAsync_v2",
        &[y.as_mut_ptr() as u64, to, 24, stream],
    );
    ok("cuMemsetD8Async", &[to, 7, 24, stream]);
    let mut graph = 0u64;
    ok("cuStreamEndCapture", &[stream, &raw mut graph as u64]);
    let executable = get("cuGraphInstantiateWithFlags", &[graph, 0]);
    ok("cuGraphDestroy", &[graph]);
    for round in 1..3 {
        let x: Vec<f32> = (0..6).map(|i| (i * round) as f32).collect();
        y = [0.0; 6];
        ok("cuMemcpyHtoD_v2", &[from, x.as_ptr() as u64, 24]);
        ok("cuGraphLaunch", &[executable, stream]);
        ok("cuStreamSynchronize", &[stream]);
        assert_eq!(y[1], 3.0 * round as f32);
    }
    ok("cuMemcpyDtoH_v2", &[y.as_mut_ptr() as u64, to, 24]);
    assert_eq!(y[0].to_bits(), 0x0707_0707);

    // What must not be called during a capture spoils it.
    ok("cuStreamBeginCapture_v2", &[stream, 0]);
    assert_eq!(call("cuMemAlloc_v2", &[&raw mut graph as u64, 24]), 900);
    assert_eq!(
        call("cuStreamEndCapture", &[stream, &raw mut graph as u64]),
        901
    );
    assert_eq!(graph, 0);

    ok("cuGraphExecDestroy", &[executable]);
    assert_eq!(call("cuGraphExecDestroy", &[executable]), 400);
    ok("cuStreamDestroy_v2", &[stream]);
    ok("cuMemFree_v2", &[from]);
    assert_eq!(call("cuMemFree_v2", &[from]), 1);
    ok("cuDevicePrimaryCtxRelease_v2", &[0]);
    assert_eq!(call("cuCtxSynchronize", &[]), 201);
}

fn refuses() {
    let mut value = 0u64;
    let at = &raw mut value as u64;
    assert_eq!(call("cuDeviceGet", &[at, 0]), 3);
    begin();
    assert_eq!(call("cuDeviceGet", &[at, 1]), 101);
    for (image, code) in [
        (c"neither this nor that".to_owned(), 200),
        (ptx("8.8", 80, 24), 222),
        (ptx("8.0", 90, 24), 209),
    ] {
        assert_eq!(
            call("cuModuleLoadData", &[at, image.as_ptr() as u64]),
            code,
            "{image:?}"
        );
    }
    let module = get("cuModuleLoadData", &[ptx("8.0", 80, 32).as_ptr() as u64]);
    for (name, code) in [
        (c"nobody", 500),
        (c"missing", 500),
        (c"fixture_transpose", 200),
    ] {
        assert_eq!(
            call("cuModuleGetFunction", &[at, module, name.as_ptr() as u64]),
            code
        );
    }
    let function = function();
    let memory = get("cuMemAlloc_v2", &[24]);
    let params = Params {
        from: memory,
        to: memory,
        rows: 1,
        columns: 1,
    };
    assert_eq!(
        launch(function, 128, &params, 0),
        1,
        "blocks of another size"
    );
    assert_eq!(launch(memory, 256, &params, 0), 400, "no function");
    assert_eq!(
        call(
            "cuMemcpyHtoD_v2",
            &[memory + 1, &raw const params as u64, 24]
        ),
        1,
        "too long"
    );
    assert_eq!(call("cuMemAlloc_v2", &[at, 0]), 1);
    assert_eq!(
        call("cuStreamBeginCapture_v2", &[0, 0]),
        900,
        "the default stream"
    );
    let mut name: *const c_char = std::ptr::null();
    ok("cuGetErrorName", &[222, &raw mut name as u64]);
    // SAFETY: the driver's names are string literals.
    let name = unsafe { CStr::from_ptr(name) };
    assert_eq!(name, c"CUDA_ERROR_UNSUPPORTED_PTX_VERSION");
}

/// With `MOCK_MEMORY=1000000`, `MOCK_CAPABILITY=5.3`, `MOCK_INTEGRATED=0`, `MOCK_NO_GRAPHS=1`, `MOCK_DRIVER_VERSION=10020`.
fn is_another_device() {
    begin();
    let mut address = 0u64;
    assert_eq!(
        call("cuMemAlloc_v2", &[&raw mut address as u64, 1_000_001]),
        2
    );
    let memory = get("cuMemAlloc_v2", &[1_000_000]);
    assert_eq!(call("cuMemAlloc_v2", &[&raw mut address as u64, 1]), 2);
    ok("cuMemFree_v2", &[memory]);
    get("cuMemAlloc_v2", &[1]);
    assert_eq!(get("cuDeviceGetAttribute", &[75, 0]), 5);
    assert_eq!(get("cuDeviceGetAttribute", &[76, 0]), 3);
    assert_eq!(get("cuDeviceGetAttribute", &[18, 0]), 0);
    assert_eq!(
        call("cuDeviceGetAttribute", &[&raw mut address as u64, 115, 0]),
        1,
        "not yet known"
    );
    let stream = get("cuStreamCreate", &[0]);
    assert_eq!(call("cuStreamBeginCapture_v2", &[stream, 0]), 801);
    assert_eq!(
        call(
            "cuModuleLoadData",
            &[&raw mut address as u64, ptx("7.0", 50, 24).as_ptr() as u64]
        ),
        222
    );
    get("cuModuleLoadData", &[ptx("6.5", 50, 24).as_ptr() as u64]);
}

/// With `MOCK_FAIL=cuMemAlloc_v2:2:1,cuStreamCreate:999`.
fn fails() {
    begin();
    let memory = get("cuMemAlloc_v2", &[8]);
    let mut address = 0u64;
    assert_eq!(call("cuMemAlloc_v2", &[&raw mut address as u64, 8]), 2);
    assert_eq!(call("cuStreamCreate", &[&raw mut address as u64, 0]), 999);
    ok("cuMemFree_v2", &[memory]);
}

/// With the checked library: a read of what nobody wrote is a fault, and after it nothing works.
fn checks() {
    begin();
    let function = function();
    let (from, to) = (get("cuMemAlloc_v2", &[24]), get("cuMemAlloc_v2", &[24]));
    let mut params = Params {
        from,
        to,
        rows: 2,
        columns: 3,
    };
    ok("cuMemsetD8_v2", &[from, 0, 24]);
    assert_eq!(launch(function, 256, &params, 0), 0);
    params.rows = 3;
    assert_eq!(launch(function, 256, &params, 0), 700, "past the end");
    assert_eq!(call("cuCtxSynchronize", &[]), 700);
    ok("cuDevicePrimaryCtxRelease_v2", &[0]);
    begin();
    ok("cuCtxSynchronize", &[]);
    let (from, to) = (get("cuMemAlloc_v2", &[24]), get("cuMemAlloc_v2", &[24]));
    let params = Params {
        from,
        to,
        rows: 2,
        columns: 3,
    };
    assert_eq!(launch(function, 256, &params, 0), 719, "nobody wrote it");
}

const CASES: [(&str, fn()); 5] = [
    ("transposes", transposes),
    ("refuses", refuses),
    ("another device", is_another_device),
    ("fails", fails),
    ("checks", checks),
];

/// Runs a case in a child and returns its log.
fn run(case: &str, variables: &[(&str, &str)]) -> String {
    let log = env::temp_dir().join(format!(
        "elucid-driver-{}-{}",
        std::process::id(),
        case.replace(' ', "-")
    ));
    let child = Command::new(env::current_exe().expect("there is this program"))
        .args(["--exact", "a_case_in_a_process_of_its_own", "--nocapture"])
        .env(CASE, case)
        .env("MOCK_LOG", &log)
        .envs(variables.iter().copied())
        .output()
        .expect("this program runs");
    let text = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(&log);
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{case}: {said}\n{text}");
    text
}

#[test]
fn a_case_in_a_process_of_its_own() {
    let Some(wanted) = env::var_os(CASE) else {
        return;
    };
    let (_, case) = CASES
        .iter()
        .find(|(name, _)| wanted == *name)
        .expect("a case");
    case();
}

#[test]
fn driver_runs_kernels_and_graphs_replay_them() {
    for variables in [
        &[][..],
        &[("EMULATOR_ORDER", "descending")],
        &[("ELUCID_DRIVER_CHECKED", "1")],
    ] {
        let log = run("transposes", variables);
        let count = |line: &str| log.lines().filter(|l| *l == line).count();
        assert_eq!(count("launch fixture_transpose 1 1 1"), 1, "{log}");
        assert_eq!(count("graph launch 3"), 2, "{log}");
        assert_eq!(count("replay launch fixture_transpose 1 1 1"), 2, "{log}");
        assert_eq!(count("replay copy device-to-host 24"), 2, "{log}");
        assert_eq!(count("leaked 1 allocations of 24 bytes"), 1, "{log}");
    }
}

#[test]
fn driver_refuses_what_a_real_one_does() {
    run("refuses", &[]);
}

#[test]
fn driver_is_the_device_that_the_environment_says() {
    let variables = [
        ("MOCK_MEMORY", "1000000"),
        ("MOCK_CAPABILITY", "5.3"),
        ("MOCK_INTEGRATED", "0"),
        ("MOCK_NO_GRAPHS", "1"),
        ("MOCK_DRIVER_VERSION", "10020"),
    ];
    run("another device", &variables);
}

#[test]
fn driver_fails_when_told_to() {
    run(
        "fails",
        &[("MOCK_FAIL", "cuMemAlloc_v2:2:1,cuStreamCreate:999")],
    );
}

#[test]
fn driver_refuses_what_the_checker_finds() {
    let log = run("checks", &[("ELUCID_DRIVER_CHECKED", "1")]);
    assert!(
        log.contains("fault fixture_transpose: out of bounds"),
        "{log}"
    );
    assert!(
        log.contains("fault fixture_transpose: uninitialised read"),
        "{log}"
    );
    let explained = elucid_emulator::explain(&log);
    assert!(explained.contains(" at transpose.cu:9: "), "{explained}");
}
