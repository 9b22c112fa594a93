//! The CUDA kernels without a GPU: their parameters are the same in C and Rust; their threads, run on the CPU in any
//! order, compute what the CPU backend computes, bit for bit; and NVRTC compiles them.
//!
//! `ELUCID_NVRTC` names the library for the last (`libnvrtc.so.12` of the wheel `nvidia-cuda-nvrtc-cu12`); without it
//! that test says that it was skipped.
#![allow(unsafe_code)] // NVRTC is a C library.

use std::env;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io::{self, Write};
use std::mem::{align_of, offset_of, size_of};
use std::ops::Range;
use std::ptr;

use elucid_core::op::{Context, add, head};
use elucid_core::par::Serial;
use elucid_core::rule;
use elucid_core::simd::Isa;
use elucid_host::synthetic::Random;
use elucid_kernels::{BLOCK, HEADERS, KERNELS, Kernel, Share};
use elucid_tests::emulator::{self, Launch, Order};

/// `kernels/cu/params.h` as bindgen sees it.
#[allow(missing_docs, non_upper_case_globals, unused_qualifications)]
mod c {
    include!(concat!(env!("OUT_DIR"), "/params.rs"));
}

/// Compares a struct of both sides. The patterns have no `..`: a field that isn't named here doesn't compile.
macro_rules! same {
    ($name:ident { $($field:ident),* $(,)? }) => {{
        let _ = |c::$name { $($field: _),* }: c::$name| {};
        let _ = |elucid_kernels::$name { $($field: _),* }: elucid_kernels::$name| {};
        assert_eq!(size_of::<c::$name>(), size_of::<elucid_kernels::$name>());
        assert_eq!(align_of::<c::$name>(), align_of::<elucid_kernels::$name>());
        $(
            assert_eq!(
                offset_of!(c::$name, $field),
                offset_of!(elucid_kernels::$name, $field),
                concat!(stringify!($name), ".", stringify!($field)),
            );
        )*
    }};
}

#[test]
fn parameters_are_the_same_in_c_and_rust() {
    same!(SplitParams {
        residual,
        skip,
        relevance,
        skip_relevance,
        count,
        channels,
        live_start,
        live_end,
        share,
        accumulate,
    });
    same!(CollectParams {
        relevance,
        heat,
        pixels,
        channels,
    });
    assert_eq!(c::ELUCID_BLOCK, BLOCK);
    assert_eq!(c::SHARE_RESIDUAL, Share::Residual as u32);
    assert_eq!(c::SHARE_HALF, Share::Half as u32);
    assert_eq!(c::SHARE_RATIO, Share::Ratio as u32);
}

const ORDERS: [Order; 4] = [
    Order::Ascending,
    Order::Descending,
    Order::Shuffled(1),
    Order::Shuffled(2),
];

const SHARES: [(Share, rule::Share); 3] = [
    (Share::Residual, rule::Share::Residual),
    (Share::Half, rule::Share::Half),
    (Share::Ratio, rule::Share::Ratio),
];

/// What the elements past the end hold, before and after.
const CANARY: f32 = -77.25;
const CANARIES: usize = 3 * BLOCK as usize;

/// Numbers of every size with zeros of both signs among them, and canaries behind.
fn numbers(random: &mut Random, len: usize) -> Vec<f32> {
    let one = |random: &mut Random| match (random.draw() * 8.0) as i32 {
        0 => 0.0,
        1 => -0.0,
        2 => random.draw() * 1e-30,
        3 => random.draw() * f32::MIN_POSITIVE,
        4 => random.draw() * 1e20,
        _ => random.draw(),
    };
    let mut all: Vec<f32> = (0..len).map(|_| one(random)).collect();
    all.resize(len + CANARIES, CANARY);
    all
}

fn assert_same_bits(got: &[f32], want: &[f32], what: &str) {
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert_eq!(g.to_bits(), w.to_bits(), "{what}: element {i}: {g:e} {w:e}");
    }
    assert_eq!(got.len(), want.len(), "{what}");
}

fn split_case(shares: (Share, rule::Share), pixels: usize, channels: usize, live: &Range<usize>) {
    let cx = Context {
        isa: Isa::detect(),
        pool: &Serial,
        zero: &[],
        audit: false,
    };
    let len = pixels * channels;
    let mut random = Random::new(len as u64);
    let [m, s, r, skip] = [(); 4].map(|()| numbers(&mut random, len));
    let branches = match shares.0 {
        Share::Ratio => (&m[..len], &s[..len]),
        // Not even there: the kernel must not read them.
        Share::Residual | Share::Half => (&[][..], &[][..]),
    };
    for accumulate in [false, true] {
        let (mut want_r, mut want_skip) = (r.clone(), skip.clone());
        add::split(
            &cx,
            shares.1,
            branches,
            (channels, live.clone()),
            accumulate,
            (&mut want_r[..len], &mut want_skip[..len]),
        );
        for (order, spare) in ORDERS.into_iter().zip([0, 1, 2, 1]) {
            let (mut got_r, mut got_skip) = (r.clone(), skip.clone());
            emulator::split(
                shares.0,
                branches,
                (channels, live.clone()),
                accumulate,
                (&mut got_r[..len], &mut got_skip[..len]),
                Launch { order, spare },
            );
            let what = format!(
                "{:?} {pixels} x {channels}, live {live:?}, accumulate {accumulate}, {order:?}",
                shares.0
            );
            assert_same_bits(&got_r, &want_r, &what);
            assert_same_bits(&got_skip, &want_skip, &what);
        }
    }
}

#[test]
fn splitting_equals_the_cpu_and_writes_nothing_past_the_end() {
    for (pixels, channels) in [(1, 1), (7, 3), (25, 19), (33, 64), (1, 513), (256, 1)] {
        for shares in SHARES {
            for live in [
                0..channels,
                channels / 3..channels - channels / 4,
                channels..channels,
            ] {
                split_case(shares, pixels, channels, &live);
            }
        }
    }
}

#[test]
fn collecting_equals_the_cpu_and_writes_nothing_past_the_end() {
    for (pixels, channels) in [(1, 1), (7 * 5, 3), (255, 2), (256, 3), (257, 17), (4, 1000)] {
        let mut random = Random::new((pixels * channels) as u64);
        let r = numbers(&mut random, pixels * channels);
        let r = &r[..pixels * channels];
        let mut want = vec![CANARY; pixels + CANARIES];
        head::collect(r, channels, false, &mut want[..pixels]);
        for (order, spare) in ORDERS.into_iter().zip([0, 1, 2, 1]) {
            let mut got = vec![CANARY; pixels + CANARIES];
            emulator::collect(r, channels, &mut got[..pixels], Launch { order, spare });
            assert_same_bits(&got, &want, &format!("{pixels} x {channels}, {order:?}"));
        }
    }
}

/// Architectures that NVRTC 12 compiles for: Nano, Xavier, Turing, A100, Orin, H100, RTX 50.
const ARCHITECTURES: [u32; 7] = [53, 72, 75, 80, 87, 90, 120];

/// What must not be in PTX that rounds as the CPU does. Operations without `.rn` may still be fused by the assembler.
const LOOSE: [&str; 8] = [
    "fma.", "mad.f32", "mul.f32", "add.f32", "sub.f32", ".ftz", "div.full", ".approx",
];

#[test]
fn nvrtc_compiles_every_kernel_for_every_architecture() {
    let Some(path) = env::var_os("ELUCID_NVRTC") else {
        // Not by `println`, which the test runner hides.
        let note = "skipped: nvrtc_compiles_every_kernel, as ELUCID_NVRTC names no libnvrtc";
        let _ = writeln!(io::stderr(), "{note}");
        return;
    };
    // SAFETY: whoever sets the variable names an NVRTC; its initialisers have no preconditions.
    let library = unsafe { libloading::Library::new(&path) }.expect("ELUCID_NVRTC names a library");
    let nvrtc = Nvrtc(library);
    for kernel in KERNELS {
        for arch in ARCHITECTURES {
            let (ptx, cubin) = nvrtc.compile(kernel, arch);
            assert!(cubin > 0, "{} for sm_{arch}", kernel.name);
            assert!(ptx.contains(&format!(".entry {}(", kernel.entry)));
            for loose in LOOSE {
                assert!(!ptx.contains(loose), "{} has {loose}", kernel.name);
            }
            println!("{} sm_{arch}: cubin of {cubin} bytes", kernel.name);
        }
    }
}

/// A loaded NVRTC. Its functions return 0 for success; a program is an opaque pointer.
struct Nvrtc(libloading::Library);

type Program = *mut c_void;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Text = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;

impl Nvrtc {
    /// PTX and the size of the cubin.
    fn compile(&self, kernel: &Kernel, arch: u32) -> (String, usize) {
        let text = |s: &str| CString::new(s).expect("sources hold no NUL");
        let (source, name) = (text(kernel.source), text(kernel.name));
        let headers: Vec<_> = HEADERS.iter().map(|h| text(h.source)).collect();
        let includes: Vec<_> = HEADERS.iter().map(|h| text(h.name)).collect();
        let option = text(&format!("--gpu-architecture=sm_{arch}"));
        let pointers = |all: &[CString]| all.iter().map(|s| s.as_ptr()).collect::<Vec<_>>();
        let mut program = ptr::null_mut();
        // SAFETY: the types are those of nvrtc.h; all strings are NUL-terminated and live to the end of this function,
        // and the two arrays have as many entries as is said.
        let (created, compiled) = unsafe {
            let create = self.0.get::<Create>(b"nvrtcCreateProgram\0");
            let created = create.expect("nvrtcCreateProgram")(
                &raw mut program,
                source.as_ptr(),
                name.as_ptr(),
                HEADERS.len() as c_int,
                pointers(&headers).as_ptr(),
                pointers(&includes).as_ptr(),
            );
            let compile = self.0.get::<Compile>(b"nvrtcCompileProgram\0");
            let options = [option.as_ptr()];
            (
                created,
                compile.expect("nvrtcCompileProgram")(program, 1, options.as_ptr()),
            )
        };
        assert_eq!(created, 0);
        let log = self.text(program, "nvrtcGetProgramLog");
        assert_eq!(compiled, 0, "{} for sm_{arch}: {log}", kernel.name);
        let result = (
            self.text(program, "nvrtcGetPTX"),
            self.size(program, "nvrtcGetCUBIN"),
        );
        // SAFETY: the program was created above and isn't used again.
        unsafe {
            let destroy = self.0.get::<Destroy>(b"nvrtcDestroyProgram\0");
            destroy.expect("nvrtcDestroyProgram")(&raw mut program);
        }
        result
    }

    /// What the function `getter` + `Size` says.
    fn size(&self, program: Program, getter: &str) -> usize {
        let mut size = 0;
        // SAFETY: all of NVRTC's size functions have this type; the program exists.
        let status = unsafe {
            let function = self.0.get::<Size>(format!("{getter}Size\0").as_bytes());
            function.expect("a size function of NVRTC")(program, &raw mut size)
        };
        assert_eq!(status, 0, "{getter}");
        size
    }

    /// What the function `getter` writes.
    fn text(&self, program: Program, getter: &str) -> String {
        let mut bytes = vec![0u8; self.size(program, getter)];
        // SAFETY: the buffer is as long as NVRTC asked for; the program exists.
        let status = unsafe {
            let function = self.0.get::<Text>(format!("{getter}\0").as_bytes());
            function.expect("a text function of NVRTC")(program, bytes.as_mut_ptr().cast())
        };
        assert_eq!(status, 0, "{getter}");
        String::from_utf8_lossy(&bytes)
            .trim_end_matches('\0')
            .to_owned()
    }
}
