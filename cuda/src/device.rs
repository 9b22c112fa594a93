//! An opened device: its context, its run-time compiler and the kernels loaded so far. Backends share it.

use std::env;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaContext, CudaFunction, CudaStream};
use elucid_kernels::Kernel;

use crate::cache::Cache;
use crate::driver::{self, Facts};
use crate::error::CudaError;
use crate::launch;
use crate::modules::Modules;
use crate::nvrtc::{Compiler, Kind};

/// The least compute capability that kernels are compiled for.
pub const LEAST: (u32, u32) = (5, 3);

/// The environment variable that chooses between machine code and PTX.
pub const CODE: &str = "ELUCID_CUDA_CODE";

/// The environment variable that turns graphs off.
pub const GRAPH: &str = "ELUCID_CUDA_GRAPH";

/// The environment variable that has forward passes take tensor cores, or not.
pub const TENSOR_CORES: &str = "ELUCID_CUDA_TENSOR_CORES";

/// The least compute capability with the tensor cores that kernels are written for.
const TENSOR: (u32, u32) = (8, 0);

/// A device that is ready for work.
pub struct Device {
    facts: Facts,
    driver: (u32, u32),
    graphs: bool,
    tensor_cores: bool,
    modules: Mutex<Modules>,
    context: Arc<CudaContext>,
}

impl Device {
    /// Opens device number `ordinal`, and the run-time compiler if it will be needed.
    ///
    /// # Errors
    /// Everything that [`CudaError`] says of drivers, devices and compilers.
    pub fn open(ordinal: usize) -> Result<Arc<Self>, CudaError> {
        let kind = code()?;
        let wanted = graphs()?;
        let tensor = tensor_cores(kind)?;
        let driver = driver::ready()?;
        let facts = driver::facts(ordinal)?;
        if facts.capability < LEAST {
            let (name, capability) = (facts.name, facts.capability);
            return Err(CudaError::OldDevice { name, capability });
        }
        // Before the context is made: a driver without memory for it would hide that the compiler is missing.
        let built_in = kind == Kind::Cubin && built_in();
        let compiler = match Compiler::find() {
            Ok(compiler) => {
                if !built_in {
                    compiler.architecture(facts.arch(), kind)?;
                }
                Some(compiler)
            }
            Err(_) if built_in => None,
            Err(error) => return Err(error),
        };
        let context =
            CudaContext::new(ordinal).map_err(CudaError::driver("cuDevicePrimaryCtxRetain"))?;
        launch::without_events(&context);
        let modules = Modules::new(kind, facts.arch(), compiler, Cache::of_environment());
        Ok(Arc::new(Self {
            driver,
            graphs: wanted && driver::has_graphs(),
            tensor_cores: tensor && facts.capability >= TENSOR,
            modules: Mutex::new(modules),
            context,
            facts,
        }))
    }

    /// What the driver says of it.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether lists of launches are replayed as graphs.
    #[must_use]
    pub fn graphs(&self) -> bool {
        self.graphs
    }

    /// Whether forward passes and denominators take tensor cores, where weights are stored in halves.
    #[must_use]
    pub fn tensor_cores(&self) -> bool {
        self.tensor_cores
    }

    /// Whether memory is shared with the CPU, so that nothing needs to be copied.
    #[must_use]
    pub fn shares_memory(&self) -> bool {
        self.facts.integrated && self.facts.managed
    }

    /// One line: the device, and how it is driven.
    #[must_use]
    pub fn describe(&self) -> String {
        let (major, minor) = self.driver;
        let memory = if self.shares_memory() {
            "managed memory"
        } else {
            "device memory"
        };
        let graphs = if self.graphs { "graphs" } else { "no graphs" };
        let tensor = if self.tensor_cores {
            "tensor cores"
        } else {
            "no tensor cores"
        };
        format!(
            "{}, driver of CUDA {major}.{minor}, {}, {memory}, {graphs}, {tensor}",
            self.facts,
            self.modules().describe()
        )
    }

    /// What was noticed since the last call and harms nothing, in one line each.
    #[must_use]
    pub fn take_notes(&self) -> Vec<String> {
        self.modules().take_notes()
    }

    /// Kernel files compiled so far, beside those that were found compiled.
    #[must_use]
    pub fn compiled(&self) -> usize {
        self.modules().compiled()
    }

    /// A kernel, compiled and loaded if it isn't yet.
    ///
    /// # Errors
    /// [`CudaError::Compile`] or [`CudaError::NotLoaded`].
    pub(crate) fn function(&self, kernel: &'static Kernel) -> Result<CudaFunction, CudaError> {
        self.modules().function(&self.context, kernel)
    }

    /// A stream for one backend: its own, on which graphs can be made, or else the context's.
    ///
    /// # Errors
    /// [`CudaError::Driver`].
    pub(crate) fn stream(&self) -> Result<Arc<CudaStream>, CudaError> {
        if driver::has_streams() {
            let made = self.context.new_stream();
            made.map_err(CudaError::driver("cuStreamCreate"))
        } else {
            Ok(self.context.default_stream())
        }
    }

    fn modules(&self) -> MutexGuard<'_, Modules> {
        // Nothing is left half done where a thread could have ended.
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether every kernel file came compiled with this build.
#[must_use]
pub fn built_in() -> bool {
    let mut sources = elucid_kernels::sources().into_iter();
    sources.all(|s| elucid_kernels::fatbin(s.name).is_some())
}

/// What `ELUCID_CUDA_CODE` says.
///
/// # Errors
/// [`CudaError::Setting`].
pub fn code() -> Result<Kind, CudaError> {
    let known = [
        ("", Kind::Cubin),
        ("cubin", Kind::Cubin),
        ("ptx", Kind::Ptx),
    ];
    setting(CODE, &known, "cubin or ptx")
}

/// What `ELUCID_CUDA_GRAPH` says.
///
/// # Errors
/// [`CudaError::Setting`].
pub fn graphs() -> Result<bool, CudaError> {
    let known = [("", true), ("1", true), ("0", false)];
    setting(GRAPH, &known, "0 or 1")
}

/// What `ELUCID_CUDA_TENSOR_CORES` says; by default they are for machine code alone: what takes PTX is an emulated driver or a
/// debugger, and may not know them.
///
/// # Errors
/// [`CudaError::Setting`].
pub fn tensor_cores(code: Kind) -> Result<bool, CudaError> {
    let known = [("", code == Kind::Cubin), ("1", true), ("0", false)];
    setting(TENSOR_CORES, &known, "0 or 1")
}

fn setting<T: Copy>(
    name: &'static str,
    values: &[(&str, T)],
    known: &'static str,
) -> Result<T, CudaError> {
    let value = env::var_os(name).unwrap_or_default();
    let value = value.to_string_lossy().into_owned();
    let found = values.iter().find(|(v, _)| *v == value);
    found
        .map(|(_, meaning)| *meaning)
        .ok_or(CudaError::Setting { name, value, known })
}
