//! What can go wrong with a GPU: each in one line that says what, where, and the mend.

use std::fmt;

use cudarc::driver::DriverError;
use elucid_core::Error;

/// Everything that can go wrong between here and the GPU.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CudaError {
    /// There is no CUDA driver library on this machine.
    NoDriver,
    /// The driver library is there but doesn't work.
    DriverBroken {
        /// What is wrong with it.
        what: String,
    },
    /// The driver is older than what is asked of it.
    OldDriver {
        /// Its CUDA version, major and minor.
        have: (u32, u32),
        /// The oldest that does.
        need: (u32, u32),
    },
    /// There is no device of this number.
    NoDevice {
        /// The number asked for.
        ordinal: usize,
        /// Devices of this machine.
        count: usize,
    },
    /// The device can't run the kernels.
    OldDevice {
        /// Its name.
        name: String,
        /// Its compute capability, major and minor.
        capability: (u32, u32),
    },
    /// There is no run-time compiler.
    NoCompiler {
        /// What was looked for.
        tried: Vec<String>,
    },
    /// The run-time compiler is there but doesn't work.
    CompilerBroken {
        /// Where it is.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The run-time compiler makes no code for this device.
    NoArchitecture {
        /// The device's, as in `sm_87`.
        arch: String,
        /// The compiler's version, major and minor.
        compiler: (u32, u32),
    },
    /// A kernel file was refused by the compiler.
    Compile {
        /// Its name.
        file: &'static str,
        /// What it was compiled for.
        arch: String,
        /// The first lines of what the compiler said.
        log: String,
    },
    /// Compiled code was refused by the driver.
    NotLoaded {
        /// Name of the kernel file.
        file: &'static str,
        /// What the driver said.
        why: String,
        /// Whether it was PTX instead of machine code.
        ptx: bool,
    },
    /// A kernel and what it is launched with don't belong together: a bug.
    Mismatch {
        /// Name of the kernel.
        kernel: &'static str,
        /// What doesn't fit.
        what: String,
    },
    /// The device hasn't enough memory.
    OutOfMemory {
        /// Bytes asked for.
        need: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes there are.
        total: u64,
    },
    /// A call of the driver failed.
    Driver {
        /// The call.
        call: &'static str,
        /// The driver's name of what happened.
        code: String,
    },
    /// An environment variable has a value that means nothing.
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        known: &'static str,
    },
    /// An error that isn't the GPU's.
    Core(Error),
}

impl CudaError {
    /// A failed call.
    pub(crate) fn driver(call: &'static str) -> impl Fn(DriverError) -> Self {
        move |DriverError(code)| Self::Driver {
            call,
            code: format!("{code:?}"),
        }
    }

    /// The error, if it isn't the GPU's.
    #[must_use]
    pub fn core(&self) -> Option<Error> {
        match self {
            Self::Core(error) => Some(*error),
            _ => None,
        }
    }
}

impl From<Error> for CudaError {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

/// One line of what may be several.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Bytes in MB, as elucid says them everywhere.
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

impl fmt::Display for CudaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver => write!(
                f,
                "no CUDA driver (libcuda) on this machine; install NVIDIA's driver (a Jetson's is part of JetPack)"
            ),
            Self::DriverBroken { what } => write!(
                f,
                "the CUDA driver doesn't work: {}; reboot after an update of the driver, or install it again",
                one_line(what)
            ),
            Self::OldDriver { have, need } => write!(
                f,
                "the CUDA driver is of CUDA {}.{}, and {}.{} is needed; update it (JetPack 5.1 or newer on a Jetson)",
                have.0, have.1, need.0, need.1
            ),
            Self::NoDevice { count: 0, .. } => write!(
                f,
                "the CUDA driver finds no device; check with nvidia-smi, and CUDA_VISIBLE_DEVICES"
            ),
            Self::NoDevice { ordinal, count } => {
                write!(f, "there is no CUDA device {ordinal}; ")?;
                match count {
                    1 => write!(f, "this machine has one: leave --device out"),
                    _ => write!(
                        f,
                        "this machine has {count}: give --device 0 to {}",
                        count - 1
                    ),
                }
            }
            Self::OldDevice { name, capability } => write!(
                f,
                "{name} is of compute capability {}.{}, and 5.3 is the least; choose another one with --device",
                capability.0, capability.1
            ),
            Self::NoCompiler { tried } => write!(
                f,
                "no run-time compiler (NVRTC) found as {}; install cuda-nvrtc of your CUDA version (cuda-nvrtc-12-6 on JetPack 6), set ELUCID_NVRTC to the library, or use a build with the feature fatbin",
                brief(tried)
            ),
            Self::CompilerBroken { path, what } => write!(
                f,
                "the run-time compiler {path} doesn't work: {}; install cuda-nvrtc again, or set ELUCID_NVRTC to another one",
                one_line(what)
            ),
            Self::NoArchitecture { arch, compiler } => write!(
                f,
                "NVRTC {}.{} makes no code for {arch}; install the cuda-nvrtc that came with the device's driver, or set ELUCID_NVRTC to it",
                compiler.0, compiler.1
            ),
            Self::Compile { file, arch, log } => write!(
                f,
                "{file} can't be compiled for {arch}: {}; please report this with the output of elucid doctor",
                one_line(log)
            ),
            Self::NotLoaded { file, why, ptx } => write!(
                f,
                "the driver refuses the {} of {file}: {}; {}, or install the cuda-nvrtc of the driver's own CUDA version",
                if *ptx { "PTX" } else { "machine code" },
                one_line(why),
                if *ptx {
                    "leave ELUCID_CUDA_CODE out"
                } else {
                    "try ELUCID_CUDA_CODE=ptx"
                }
            ),
            Self::Mismatch { kernel, what } => write!(
                f,
                "kernel {kernel}: {what}; this is a bug of elucid, please report it"
            ),
            Self::OutOfMemory { need, free, total } => write!(
                f,
                "{:.1} MB of GPU memory are needed in one piece, and {:.1} of {:.1} MB are free; use --memory stage, --checkpoints f16, smaller images or fewer at a time",
                megabytes(*need),
                megabytes(*free),
                megabytes(*total)
            ),
            Self::Driver { call, code } => write!(
                f,
                "the CUDA driver failed in {call}: {code}; elucid doctor shows what was found"
            ),
            Self::Setting { name, value, known } => {
                write!(f, "{name}={value} means nothing; set it to {known}")
            }
            Self::Core(error) => error.fmt(f),
        }
    }
}

/// The first few of a list of names.
fn brief(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        shown.push_str(&format!(" and {} other names", names.len() - SHOWN));
    }
    shown
}

impl std::error::Error for CudaError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<CudaError> {
        let text = |s: &str| s.to_owned();
        vec![
            CudaError::NoDriver,
            CudaError::DriverBroken {
                what: text("libcuda lacks\ncuInit"),
            },
            CudaError::OldDriver {
                have: (10, 2),
                need: (11, 4),
            },
            CudaError::NoDevice {
                ordinal: 0,
                count: 0,
            },
            CudaError::NoDevice {
                ordinal: 3,
                count: 2,
            },
            CudaError::OldDevice {
                name: text("Tesla K40"),
                capability: (3, 5),
            },
            CudaError::NoCompiler {
                tried: ["a", "b", "c", "d", "e"].map(text).to_vec(),
            },
            CudaError::CompilerBroken {
                path: text("libnvrtc.so"),
                what: text("no nvrtcVersion"),
            },
            CudaError::NoArchitecture {
                arch: text("sm_53"),
                compiler: (13, 0),
            },
            CudaError::Compile {
                file: "split.cu",
                arch: text("sm_87"),
                log: text("split.cu(3): error:\n  expected a ;"),
            },
            CudaError::NotLoaded {
                file: "split.cu",
                why: text("CUDA_ERROR_NO_BINARY_FOR_GPU"),
                ptx: false,
            },
            CudaError::NotLoaded {
                file: "split.cu",
                why: text("CUDA_ERROR_UNSUPPORTED_PTX_VERSION"),
                ptx: true,
            },
            CudaError::Mismatch {
                kernel: "elucid_split",
                what: text("an argument of 8 bytes instead of 56"),
            },
            CudaError::OutOfMemory {
                need: 3_000_000,
                free: 2_000_000,
                total: 8_000_000,
            },
            CudaError::Driver {
                call: "cuLaunchKernel",
                code: text("CUDA_ERROR_ILLEGAL_ADDRESS"),
            },
            CudaError::Setting {
                name: "ELUCID_CUDA_CODE",
                value: text("sass"),
                known: "cubin or ptx",
            },
        ]
    }

    #[test]
    fn every_error_is_one_line_that_says_what_to_do() {
        for error in all() {
            let line = error.to_string();
            assert!(!line.contains('\n'), "{line}");
            assert!(line.contains("; "), "{line}");
            assert!(line.len() < 330, "{line}");
        }
    }

    #[test]
    fn what_matters_is_named() {
        let lines: Vec<String> = all().iter().map(CudaError::to_string).collect();
        let said = |words: &[&str]| {
            assert!(
                lines.iter().any(|l| words.iter().all(|w| l.contains(w))),
                "{words:?}"
            );
        };
        said(&["11.4", "10.2", "JetPack"]);
        said(&["--device 0 to 1"]);
        said(&["a, b, c, d and 1 other names", "cuda-nvrtc", "fatbin"]);
        said(&[
            "3.0 MB",
            "2.0 of 8.0 MB",
            "--memory stage",
            "--checkpoints f16",
        ]);
        said(&["split.cu(3): error: expected a ;", "sm_87"]);
        assert_eq!(
            CudaError::from(Error::NotFinite).to_string(),
            Error::NotFinite.to_string()
        );
        assert_eq!(CudaError::from(Error::Order).core(), Some(Error::Order));
    }
}
