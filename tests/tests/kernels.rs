//! The CUDA kernels without a GPU: their parameters are the same in C and Rust, and NVRTC compiles them. That they compute
//! what the CPU backend computes is tested in `emulator/`.
//!
//! `ELUCID_NVRTC` names the library for the last (`libnvrtc.so.12` of the wheel `nvidia-cuda-nvrtc-cu12`); without it
//! that test says that it was skipped.
#![allow(unsafe_code)] // NVRTC is a C library.

use std::env;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io::{self, Write};
use std::mem::{align_of, offset_of, size_of};
use std::ptr;

use elucid_kernels::params::{self, BLOCK, Share};
use elucid_kernels::{HEADERS, Source};

/// `kernels/cu/params.h` as bindgen sees it.
#[allow(missing_docs, non_upper_case_globals, unused_qualifications)]
mod c {
    include!(concat!(env!("OUT_DIR"), "/params.rs"));
}

/// Compares a struct of both sides. The patterns have no `..`: a field that isn't named here doesn't compile.
macro_rules! same {
    ($name:ident { $($field:ident),* $(,)? }) => {{
        let _ = |c::$name { $($field: _),* }: c::$name| {};
        let _ = |params::$name { $($field: _),* }: params::$name| {};
        assert_eq!(size_of::<c::$name>(), size_of::<params::$name>());
        assert_eq!(align_of::<c::$name>(), align_of::<params::$name>());
        $(
            assert_eq!(
                offset_of!(c::$name, $field),
                offset_of!(params::$name, $field),
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

/// Architectures that NVRTC 12 compiles for: Nano, Xavier, Turing, A100, Orin, H100, RTX 50.
const ARCHITECTURES: [u32; 7] = [53, 72, 75, 80, 87, 90, 120];

/// What must not be in any PTX: approximations that nobody asked for.
const FAST: [&str; 2] = ["div.full", "sqrt.approx"];

/// What must not be in PTX of a file that promises to equal the CPU bit for bit, unless its text has the second string.
/// Operations without `.rn` may still be fused by the assembler.
const LOOSE: [(&str, &str); 7] = [
    ("mad.f32", "never"),
    ("mul.f32", "never"),
    ("add.f32", "never"),
    ("sub.f32", "never"),
    ("fma.", "fmaf("),
    (".ftz", "expf("),
    (".approx", "expf("),
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
    for source in elucid_kernels::sources() {
        let exact = source.text.contains("bit for bit");
        for arch in ARCHITECTURES {
            let (ptx, cubin) = nvrtc.compile(source, arch);
            assert!(cubin > 0, "{} for sm_{arch}", source.name);
            for kernel in elucid_kernels::kernels().filter(|k| k.source.name == source.name) {
                assert!(ptx.contains(&format!(".entry {}(", kernel.entry)));
            }
            for fast in FAST {
                assert!(!ptx.contains(fast), "{} has {fast}", source.name);
            }
            for (loose, unless) in LOOSE {
                let allowed = !exact || source.text.contains(unless);
                assert!(
                    allowed || !ptx.contains(loose),
                    "{} has {loose}",
                    source.name
                );
            }
            println!("{} sm_{arch}: cubin of {cubin} bytes", source.name);
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
    fn compile(&self, kernels: &Source, arch: u32) -> (String, usize) {
        let text = |s: &str| CString::new(s).expect("sources hold no NUL");
        let (source, name) = (text(kernels.text), text(kernels.name));
        let headers: Vec<_> = HEADERS.iter().map(|h| text(h.text)).collect();
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
        assert_eq!(compiled, 0, "{} for sm_{arch}: {log}", kernels.name);
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
