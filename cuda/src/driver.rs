//! The driver library: whether it is there, how old it is and what it can do, and its devices.
//!
//! cudarc panics where the library or one of its functions is missing, so nothing of it is called before [`ready`] has
//! looked.

use std::fmt;
use std::sync::OnceLock;

use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::{result, sys};

use crate::error::CudaError;

/// The oldest driver whose functions are asked for, as CUDA says versions.
pub const NEEDED: (u32, u32) = (11, 4);

/// What elucid calls in any case.
const FUNCTIONS: &[&str] = &[
    "cuInit",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuStreamSynchronize",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemsetD8Async",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuLaunchKernel",
];

/// What a stream of one's own needs besides; without it there is the context's.
const STREAMS: &[&str] = &["cuStreamCreate", "cuStreamDestroy_v2"];

/// What graphs need besides.
const GRAPHS: &[&str] = &[
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
];

/// What memory that CPU and GPU share needs besides.
const MANAGED: &[&str] = &["cuMemAllocManaged", "cuStreamAttachMemAsync"];

/// Whether the library exports a function.
fn exports(name: &str) -> bool {
    // SAFETY: only called once `is_culib_present` has said yes, so the library opens; the symbol is looked up and not called.
    #[allow(unsafe_code)]
    unsafe {
        sys::culib()
            .get::<unsafe extern "C" fn()>(name.as_bytes())
            .is_ok()
    }
}

/// The library, opened and complete.
fn library() -> Result<(), CudaError> {
    static FOUND: OnceLock<Result<(), CudaError>> = OnceLock::new();
    let look = || {
        // SAFETY: only tries to open the library, whose initialisers have no preconditions.
        #[allow(unsafe_code)]
        let present = unsafe { sys::is_culib_present() };
        if !present {
            return Err(CudaError::NoDriver);
        }
        match FUNCTIONS.iter().find(|name| !exports(name)) {
            None => Ok(()),
            Some(lacks) => Err(CudaError::DriverBroken {
                what: format!("libcuda has no {lacks}"),
            }),
        }
    };
    FOUND.get_or_init(look).clone()
}

/// Starts the driver; returns its CUDA version, zeros if it doesn't tell.
///
/// # Errors
/// [`CudaError::NoDriver`], [`CudaError::DriverBroken`] or [`CudaError::OldDriver`]; [`CudaError::NoDevice`] from a driver
/// that doesn't start without one.
pub fn ready() -> Result<(u32, u32), CudaError> {
    library()?;
    let have = version()?;
    if have < NEEDED && have != (0, 0) {
        let need = NEEDED;
        return Err(CudaError::OldDriver { have, need });
    }
    match result::init() {
        Ok(()) => Ok(have),
        Err(result::DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => Err(CudaError::NoDevice {
            ordinal: 0,
            count: 0,
        }),
        Err(result::DriverError(code)) => Err(CudaError::DriverBroken {
            what: format!("cuInit says {code:?}"),
        }),
    }
}

/// The driver's CUDA version, which it tells before it is started.
fn version() -> Result<(u32, u32), CudaError> {
    if !exports("cuDriverGetVersion") {
        return Ok((0, 0));
    }
    let mut version = 0;
    // SAFETY: the function is there and writes one integer.
    #[allow(unsafe_code)]
    let status = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    status
        .result()
        .map_err(CudaError::driver("cuDriverGetVersion"))?;
    let version = u32::try_from(version).unwrap_or(0);
    Ok((version / 1000, version % 1000 / 10))
}

/// Functions that only some drivers have; asked once [`ready`] has succeeded.
fn all(names: &[&str]) -> bool {
    library().is_ok() && names.iter().all(|name| exports(name))
}

/// Whether the driver makes streams.
#[must_use]
pub fn has_streams() -> bool {
    all(STREAMS)
}

/// Whether the driver can replay lists of launches.
#[must_use]
pub fn has_graphs() -> bool {
    has_streams() && all(GRAPHS)
}

/// Whether the driver gives memory that CPU and GPU share.
#[must_use]
pub fn has_managed() -> bool {
    has_streams() && all(MANAGED)
}

/// Bytes of the current context's device that are free, and all of them; zeros if the driver doesn't tell.
#[must_use]
pub fn memory() -> (u64, u64) {
    if !all(&["cuMemGetInfo_v2"]) {
        return (0, 0);
    }
    let (free, total) = result::mem_get_info().unwrap_or_default();
    (free as u64, total as u64)
}

/// What the driver says of a device without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its number.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Whether it shares memory with the CPU, as on a Jetson.
    pub integrated: bool,
    /// Whether device and driver have memory that CPU and GPU both address.
    pub managed: bool,
    /// Bytes of memory; 0 if the driver doesn't tell.
    pub memory: u64,
}

/// The devices of this machine; only asked once [`ready`] has succeeded.
///
/// # Errors
/// [`CudaError::Driver`].
pub fn count() -> Result<usize, CudaError> {
    let count = result::device::get_count().map_err(CudaError::driver("cuDeviceGetCount"))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// What there is to know of device number `ordinal`; only asked once [`ready`] has succeeded.
///
/// # Errors
/// [`CudaError::NoDevice`] or [`CudaError::Driver`].
pub fn facts(ordinal: usize) -> Result<Facts, CudaError> {
    let count = count()?;
    let none = CudaError::NoDevice { ordinal, count };
    if ordinal >= count {
        return Err(none);
    }
    let number = i32::try_from(ordinal).map_err(|_| none)?;
    let device = result::device::get(number).map_err(CudaError::driver("cuDeviceGet"))?;
    let attribute = |which: Attribute| {
        // SAFETY: the device came from cuDeviceGet; the call writes one integer.
        #[allow(unsafe_code)]
        let value = unsafe { result::device::get_attribute(device, which) };
        value
            .map(|v| u32::try_from(v).unwrap_or(0))
            .map_err(CudaError::driver("cuDeviceGetAttribute"))
    };
    let memory = if all(&["cuDeviceTotalMem_v2"]) {
        // SAFETY: the function is there, and the device came from cuDeviceGet.
        #[allow(unsafe_code)]
        let bytes = unsafe { result::device::total_mem(device) };
        bytes.map_err(CudaError::driver("cuDeviceTotalMem"))? as u64
    } else {
        0
    };
    let integrated = attribute(Attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED)? != 0;
    let managed = has_managed() && attribute(Attribute::CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY)? != 0;
    Ok(Facts {
        ordinal,
        name: result::device::get_name(device).map_err(CudaError::driver("cuDeviceGetName"))?,
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        integrated,
        managed,
        memory,
    })
}

impl Facts {
    /// The architecture as compilers name it: 87 for compute capability 8.7.
    #[must_use]
    pub fn arch(&self) -> u32 {
        10 * self.capability.0 + self.capability.1
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.integrated {
            "integrated"
        } else {
            "discrete"
        };
        let (name, arch) = (&self.name, self.arch());
        write!(
            f,
            "{name} (sm_{arch}, {kind}, {} MB)",
            self.memory / 1_000_000
        )
    }
}
