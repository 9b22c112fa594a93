//! NVRTC, the run-time compiler: opened by a list of names of our own, and used for machine code as well as for PTX.
//!
//! CUDA 13's library is called otherwise than CUDA 12's and that than CUDA 11's, and the toolkit's folder is often in no
//! search path; `ELUCID_NVRTC` names a library and nothing else is tried then.

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

use elucid_kernels::{HEADERS, Source};
use libloading::Library;

use crate::error::CudaError;

/// The environment variable that names a library.
pub const VARIABLE: &str = "ELUCID_NVRTC";

/// How everything is compiled, beside the architecture: every rounding as the kernels say it, and nothing fast.
pub const OPTIONS: &[&str] = &[
    "--std=c++14",
    "--ftz=false",
    "--prec-div=true",
    "--prec-sqrt=true",
    "--fmad=true",
];

/// Names that dynamic loaders know.
const NAMES: &[&str] = &[
    "libnvrtc.so",
    "libnvrtc.so.13",
    "libnvrtc.so.12",
    "libnvrtc.so.11.2",
    "libnvrtc.so.11.4",
    "libnvrtc.so.11",
];

/// Folders where toolkits are installed; each may also have `targets/*/lib`.
const TOOLKITS: &[&str] = &["/usr/local/cuda", "/opt/cuda"];

/// What the compiler makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Machine code for one architecture.
    Cubin,
    /// PTX, which the driver compiles.
    Ptx,
}

type Program = *mut c_void;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type CompileProgram = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Text = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;
type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
type Count = unsafe extern "C" fn(*mut c_int) -> c_int;
type Archs = unsafe extern "C" fn(*mut c_int) -> c_int;
type Message = unsafe extern "C" fn(c_int) -> *const c_char;

/// The functions of an opened library.
struct Functions {
    create: Create,
    compile: CompileProgram,
    destroy: Destroy,
    log: (Size, Text),
    cubin: (Size, Text),
    ptx: (Size, Text),
    message: Message,
}

/// An opened run-time compiler.
pub struct Compiler {
    path: String,
    version: (u32, u32),
    /// Architectures it makes code for; empty if it doesn't say.
    archs: Vec<u32>,
    functions: Functions,
    /// What the functions are of: closed after them.
    _library: Library,
}

impl Compiler {
    /// Opens the library that `ELUCID_NVRTC` names, or the first that is found.
    ///
    /// # Errors
    /// [`CudaError::NoCompiler`] or [`CudaError::CompilerBroken`].
    pub fn find() -> Result<Self, CudaError> {
        let candidates = match env::var_os(VARIABLE).filter(|v| !v.is_empty()) {
            Some(path) => vec![PathBuf::from(path)],
            None => candidates(),
        };
        let tried = || candidates.iter().map(|c| c.display().to_string()).collect();
        for path in &candidates {
            // SAFETY: a library by this name is NVRTC, whose initialisers have no preconditions; with ELUCID_NVRTC the user
            // vouches for it.
            if let Ok(library) = unsafe { Library::new(path) } {
                return Self::of(library, path.display().to_string());
            }
        }
        Err(CudaError::NoCompiler { tried: tried() })
    }

    fn of(library: Library, path: String) -> Result<Self, CudaError> {
        let broken = |what: String| CudaError::CompilerBroken {
            path: path.clone(),
            what,
        };
        let lacks = |name: &str| broken(format!("it has no {name}"));
        // SAFETY: the types are those of nvrtc.h, the same in every version since CUDA 11.1; the copied functions are only
        // called while the library, which `Compiler` owns, is open.
        let (functions, version) = unsafe {
            let functions = Functions {
                create: function(&library, "nvrtcCreateProgram").map_err(lacks)?,
                compile: function(&library, "nvrtcCompileProgram").map_err(lacks)?,
                destroy: function(&library, "nvrtcDestroyProgram").map_err(lacks)?,
                log: (
                    function(&library, "nvrtcGetProgramLogSize").map_err(lacks)?,
                    function(&library, "nvrtcGetProgramLog").map_err(lacks)?,
                ),
                cubin: (
                    function(&library, "nvrtcGetCUBINSize").map_err(lacks)?,
                    function(&library, "nvrtcGetCUBIN").map_err(lacks)?,
                ),
                ptx: (
                    function(&library, "nvrtcGetPTXSize").map_err(lacks)?,
                    function(&library, "nvrtcGetPTX").map_err(lacks)?,
                ),
                message: function(&library, "nvrtcGetErrorString").map_err(lacks)?,
            };
            let version: Version = function(&library, "nvrtcVersion").map_err(lacks)?;
            (functions, version)
        };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the call writes two integers.
        let status = unsafe { version(&raw mut major, &raw mut minor) };
        if status != 0 {
            return Err(broken(format!("nvrtcVersion says {status}")));
        }
        let number = |v: c_int| u32::try_from(v).unwrap_or(0);
        Ok(Self {
            archs: supported(&library),
            version: (number(major), number(minor)),
            path,
            functions,
            _library: library,
        })
    }

    /// Where the library was found.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its version, major and minor.
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// The architecture to compile for: a device's own, or the nearest lower one whose code it runs. Machine code runs on
    /// the same major number only, PTX on every newer one.
    ///
    /// # Errors
    /// [`CudaError::NoArchitecture`].
    pub fn architecture(&self, device: u32, kind: Kind) -> Result<u32, CudaError> {
        nearest(&self.archs, device, kind).ok_or_else(|| CudaError::NoArchitecture {
            arch: format!("sm_{device}"),
            compiler: self.version,
        })
    }

    /// Compiles a file for an architecture.
    ///
    /// # Errors
    /// [`CudaError::Compile`] with what the compiler said.
    pub fn compile(
        &self,
        source: &'static Source,
        arch: u32,
        kind: Kind,
    ) -> Result<Vec<u8>, CudaError> {
        let arch = target(arch, kind);
        let refused = |log: String| CudaError::Compile {
            file: source.name,
            arch: arch.clone(),
            log,
        };
        let c = |text: &str| {
            CString::new(text).map_err(|_| refused("a NUL byte in the source".to_owned()))
        };
        let (text, name) = (c(source.text)?, c(source.name)?);
        let all = |texts: &mut dyn Iterator<Item = &str>| {
            texts.map(c).collect::<Result<Vec<CString>, CudaError>>()
        };
        let headers = all(&mut HEADERS.iter().map(|h| h.text))?;
        let includes = all(&mut HEADERS.iter().map(|h| h.name))?;
        let option = format!("--gpu-architecture={arch}");
        let options = all(&mut OPTIONS.iter().copied().chain([option.as_str()]))?;
        let pointers = |all: &[CString]| all.iter().map(|s| s.as_ptr()).collect::<Vec<_>>();
        let mut raw = ptr::null_mut();
        // SAFETY: all strings are NUL-terminated and live to the end of this function, and both arrays have as many
        // entries as is said.
        let status = unsafe {
            (self.functions.create)(
                &raw mut raw,
                text.as_ptr(),
                name.as_ptr(),
                headers.len() as c_int,
                pointers(&headers).as_ptr(),
                pointers(&includes).as_ptr(),
            )
        };
        self.check(status).map_err(refused)?;
        let program = Compiling {
            functions: &self.functions,
            raw,
        };
        let flags = pointers(&options);
        // SAFETY: the program was created above; the strings live to the end of this function.
        let status =
            unsafe { (self.functions.compile)(program.raw, flags.len() as c_int, flags.as_ptr()) };
        if let Err(what) = self.check(status) {
            let log = program.take(self.functions.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            return Err(refused(first_lines(&log).unwrap_or(what)));
        }
        let getter = match kind {
            Kind::Cubin => self.functions.cubin,
            Kind::Ptx => self.functions.ptx,
        };
        let mut code = program
            .take(getter)
            .map_err(|status| refused(self.check(status).err().unwrap_or_default()))?;
        if kind == Kind::Ptx {
            while code.last() == Some(&0) {
                code.pop();
            }
        }
        if code.is_empty() {
            return Err(refused("the compiler made nothing".to_owned()));
        }
        Ok(code)
    }

    /// What a status other than 0 means.
    fn check(&self, status: c_int) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the call takes any number and returns a constant string of the library, or null.
        let text = unsafe {
            let text = (self.functions.message)(status);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        };
        Err(text.unwrap_or_else(|| format!("NVRTC error {status}")))
    }
}

/// A program until it is dropped.
struct Compiling<'f> {
    functions: &'f Functions,
    raw: Program,
}

impl Compiling<'_> {
    /// What a pair of getters gives.
    fn take(&self, (size, get): (Size, Text)) -> Result<Vec<u8>, c_int> {
        let mut bytes = 0;
        // SAFETY: the program exists; the call writes one integer.
        let status = unsafe { size(self.raw, &raw mut bytes) };
        if status != 0 {
            return Err(status);
        }
        let mut text = vec![0u8; bytes];
        // SAFETY: the program exists, and the buffer is as long as NVRTC asks for.
        match unsafe { get(self.raw, text.as_mut_ptr().cast()) } {
            0 => Ok(text),
            status => Err(status),
        }
    }
}

impl Drop for Compiling<'_> {
    fn drop(&mut self) {
        // SAFETY: the program was created and is used no more. What the call says would change nothing.
        unsafe {
            (self.functions.destroy)(&raw mut self.raw);
        }
    }
}

/// A function of the library by its name; its name if it isn't there.
///
/// # Safety
/// `F` is the function's type, and is called only while the library is open.
unsafe fn function<'n, F: Copy>(library: &Library, name: &'n str) -> Result<F, &'n str> {
    // SAFETY: the caller's promise.
    let found = unsafe { library.get::<F>(name.as_bytes()) };
    found.map(|f| *f).map_err(|_| name)
}

/// The architectures of a library that tells them: CUDA 11.2 and newer.
fn supported(library: &Library) -> Vec<u32> {
    // SAFETY: the types are those of nvrtc.h, and the library is open; the second call writes as many integers as the first
    // one says, for which there is room.
    let archs = unsafe {
        let count = function::<Count>(library, "nvrtcGetNumSupportedArchs");
        let list = function::<Archs>(library, "nvrtcGetSupportedArchs");
        let (Ok(count), Ok(list)) = (count, list) else {
            return Vec::new();
        };
        let mut n = 0;
        if count(&raw mut n) != 0 {
            return Vec::new();
        }
        let mut archs = vec![0; usize::try_from(n).unwrap_or(0)];
        if list(archs.as_mut_ptr()) != 0 {
            return Vec::new();
        }
        archs
    };
    archs
        .into_iter()
        .filter_map(|a| u32::try_from(a).ok())
        .collect()
}

/// See [`Compiler::architecture`]. A compiler that doesn't say what it knows is asked for the device's own.
fn nearest(archs: &[u32], device: u32, kind: Kind) -> Option<u32> {
    if archs.is_empty() {
        return Some(device);
    }
    let runs = |&arch: &u32| arch <= device && (kind == Kind::Ptx || arch / 10 == device / 10);
    archs.iter().copied().filter(runs).max()
}

/// An architecture as the compiler takes it.
fn target(arch: u32, kind: Kind) -> String {
    match kind {
        Kind::Cubin => format!("sm_{arch}"),
        Kind::Ptx => format!("compute_{arch}"),
    }
}

/// The first lines of a log that say something.
fn first_lines(log: &str) -> Option<String> {
    let log = log.trim_end_matches('\0');
    let mut lines = log.lines().map(str::trim).filter(|l| !l.is_empty());
    let first: Vec<&str> = lines.by_ref().take(2).collect();
    (!first.is_empty()).then(|| first.join(" "))
}

/// Everything that might be NVRTC: names for the loader, then what toolkits have.
fn candidates() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = NAMES.iter().map(PathBuf::from).collect();
    for toolkit in TOOLKITS.iter().map(Path::new) {
        let mut folders = vec![toolkit.join("lib64"), toolkit.join("lib")];
        folders.extend(listed(&toolkit.join("targets")).map(|target| target.join("lib")));
        for folder in folders {
            let mut found: Vec<PathBuf> = listed(&folder).filter(|f| is_nvrtc(f)).collect();
            found.sort();
            all.extend(found);
        }
    }
    all
}

/// What a folder holds; nothing if there is none.
fn listed(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok().map(|e| e.path()))
}

fn is_nvrtc(file: &Path) -> bool {
    let name = file.file_name().and_then(|n| n.to_str());
    name.is_some_and(|n| n == "libnvrtc.so" || n.starts_with("libnvrtc.so."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_for_the_device_or_what_it_runs() {
        let archs = [50, 53, 72, 75, 80, 86, 87, 90, 100, 101, 120];
        let of = |device, kind| nearest(&archs, device, kind);
        assert_eq!(of(87, Kind::Cubin), Some(87));
        assert_eq!(of(89, Kind::Cubin), Some(87));
        assert_eq!(of(70, Kind::Cubin), None);
        assert_eq!(of(70, Kind::Ptx), Some(53));
        assert_eq!(of(110, Kind::Ptx), Some(101));
        assert_eq!(of(110, Kind::Cubin), None);
        assert_eq!(nearest(&[], 87, Kind::Cubin), Some(87));
        assert_eq!(target(87, Kind::Cubin), "sm_87");
        assert_eq!(target(87, Kind::Ptx), "compute_87");
    }

    #[test]
    fn logs_are_shortened() {
        assert_eq!(first_lines("\n \0"), None);
        let log = "split.cu(3): error: no such thing\n  x = y;\n      ^\n\n1 error\n\0";
        let first = first_lines(log).unwrap();
        assert_eq!(first, "split.cu(3): error: no such thing x = y;");
    }

    #[test]
    fn names_of_the_library_are_told_apart() {
        let is = |name: &str| is_nvrtc(Path::new(name));
        assert!(is("/usr/local/cuda/lib64/libnvrtc.so.12.6.85") && is("libnvrtc.so"));
        assert!(!is("libnvrtc-builtins.so.12.6") && !is("libnvrtc.alt.so.12"));
        assert!(candidates().len() >= NAMES.len());
    }
}
