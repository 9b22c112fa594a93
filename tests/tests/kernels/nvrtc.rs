//! NVRTC as the tests need it: machine code, PTX and what the assembler says of both.

use std::env;
use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;

use elucid_kernels::{HEADERS, Source};
use libloading::Library;

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
type Read = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;
type Integers = unsafe extern "C" fn(*mut c_int) -> c_int;
type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;

/// A loaded NVRTC. Its functions return 0 for success; a program is an opaque pointer.
pub struct Nvrtc(Library);

/// A compiled file.
pub struct Code {
    /// Machine code.
    pub cubin: Vec<u8>,
    /// What it was made of.
    pub ptx: String,
    /// What the assembler says of each kernel.
    pub log: String,
}

impl Nvrtc {
    /// The library that `ELUCID_NVRTC` names, if it is set.
    pub fn named() -> Option<Self> {
        let path = env::var_os("ELUCID_NVRTC").filter(|v| !v.is_empty())?;
        // SAFETY: whoever sets the variable names an NVRTC; its initialisers have no preconditions.
        let library = unsafe { Library::new(&path) };
        Some(Self(library.expect("ELUCID_NVRTC names a library")))
    }

    fn function<F: Copy>(&self, name: &str) -> F {
        // SAFETY: callers name the type that nvrtc.h gives the function; it is called only while the library is open.
        *unsafe { self.0.get::<F>(name.as_bytes()) }.expect("NVRTC has it")
    }

    /// Major and minor.
    pub fn version(&self) -> (i32, i32) {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the call writes two integers.
        let status =
            unsafe { self.function::<Version>("nvrtcVersion")(&raw mut major, &raw mut minor) };
        assert_eq!(status, 0, "nvrtcVersion");
        (major, minor)
    }

    /// The architectures that it makes code for.
    pub fn architectures(&self) -> Vec<u32> {
        let mut count = 0;
        // SAFETY: the first call writes one integer, the second as many as that says.
        let all = unsafe {
            let status = self.function::<Integers>("nvrtcGetNumSupportedArchs")(&raw mut count);
            assert_eq!(status, 0, "nvrtcGetNumSupportedArchs");
            let mut all: Vec<c_int> = vec![0; count as usize];
            let status = self.function::<Integers>("nvrtcGetSupportedArchs")(all.as_mut_ptr());
            assert_eq!(status, 0, "nvrtcGetSupportedArchs");
            all
        };
        all.into_iter().map(|arch| arch as u32).collect()
    }

    /// Compiles a file as the device library does, for one architecture.
    pub fn compile(&self, source: &Source, arch: u32) -> Code {
        let text = |s: &str| CString::new(s).expect("sources hold no NUL");
        let (code, name) = (text(source.text), text(source.name));
        let headers: Vec<_> = HEADERS.iter().map(|h| text(h.text)).collect();
        let includes: Vec<_> = HEADERS.iter().map(|h| text(h.name)).collect();
        let target = format!("--gpu-architecture=sm_{arch}");
        let options: Vec<_> = (elucid::OPTIONS.iter().copied())
            .chain([&*target, "--ptxas-options=-v"])
            .map(text)
            .collect();
        let pointers = |all: &[CString]| all.iter().map(|s| s.as_ptr()).collect::<Vec<_>>();
        let mut program = ptr::null_mut();
        // SAFETY: the types are those of nvrtc.h; all strings are NUL-terminated and live to the end of this function,
        // and the arrays have as many entries as is said.
        let (created, compiled) = unsafe {
            let created = self.function::<Create>("nvrtcCreateProgram")(
                &raw mut program,
                code.as_ptr(),
                name.as_ptr(),
                headers.len() as c_int,
                pointers(&headers).as_ptr(),
                pointers(&includes).as_ptr(),
            );
            let compile = self.function::<Compile>("nvrtcCompileProgram");
            let flags = pointers(&options);
            (
                created,
                compile(program, flags.len() as c_int, flags.as_ptr()),
            )
        };
        assert_eq!(created, 0, "{}", source.name);
        let words = |of| String::from_utf8_lossy(&self.read(program, of)).into_owned();
        let log = words("nvrtcGetProgramLog");
        assert_eq!(compiled, 0, "{} for sm_{arch}: {log}", source.name);
        let all = Code {
            cubin: self.read(program, "nvrtcGetCUBIN"),
            ptx: words("nvrtcGetPTX"),
            log,
        };
        // SAFETY: the program was created above and isn't used again.
        unsafe { self.function::<Destroy>("nvrtcDestroyProgram")(&raw mut program) };
        all
    }

    /// What the function `getter` writes, as long as `getter` + `Size` says.
    fn read(&self, program: Program, getter: &str) -> Vec<u8> {
        let mut size = 0;
        // SAFETY: all of NVRTC's size functions have this type; the program exists.
        let status =
            unsafe { self.function::<Size>(&format!("{getter}Size"))(program, &raw mut size) };
        assert_eq!(status, 0, "{getter}Size");
        let mut bytes = vec![0u8; size];
        // SAFETY: the buffer is as long as NVRTC asked for; the program exists.
        let status = unsafe { self.function::<Read>(getter)(program, bytes.as_mut_ptr().cast()) };
        assert_eq!(status, 0, "{getter}");
        bytes
    }
}
