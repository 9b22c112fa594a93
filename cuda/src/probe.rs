//! What CUDA hardware and libraries this machine has.

use std::fmt;

use cudarc::driver::CudaContext;
use cudarc::driver::sys::CUdevice_attribute as Attribute;

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (i32, i32),
    /// Whether it shares memory with the CPU, as on a Jetson.
    pub integrated: bool,
    /// Bytes of memory.
    pub memory: usize,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// There is no CUDA driver library.
    NoDriver,
    /// The driver library is there but doesn't work.
    Broken(String),
    /// The driver's devices, maybe none, and whether kernels can be compiled here.
    Devices {
        /// The devices.
        devices: Vec<Device>,
        /// Whether NVRTC was found.
        compiler: bool,
    },
}

/// Looks for a CUDA driver, its devices and the run-time compiler. Never panics.
#[must_use]
pub fn probe() -> Probe {
    // SAFETY: only tries to open the library.
    #[allow(unsafe_code)]
    let (driver, compiler) = unsafe {
        (
            cudarc::driver::sys::is_culib_present(),
            cudarc::nvrtc::sys::is_culib_present(),
        )
    };
    if !driver {
        return Probe::NoDriver;
    }
    let count = match CudaContext::device_count() {
        Ok(count) => count,
        Err(error) => return Probe::Broken(error.to_string()),
    };
    let mut devices = Vec::new();
    for ordinal in 0..usize::try_from(count).unwrap_or(0) {
        match describe(ordinal) {
            Ok(device) => devices.push(device),
            Err(error) => return Probe::Broken(error.to_string()),
        }
    }
    Probe::Devices { devices, compiler }
}

fn describe(ordinal: usize) -> Result<Device, cudarc::driver::DriverError> {
    let context = CudaContext::new(ordinal)?;
    Ok(Device {
        name: context.name()?,
        capability: context.compute_capability()?,
        integrated: context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED)? != 0,
        memory: context.total_mem()?,
    })
}

impl Probe {
    /// One line for each thing worth knowing.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Probe::NoDriver => vec!["no CUDA driver (libcuda) on this machine".to_owned()],
            Probe::Broken(error) => vec![format!("the CUDA driver doesn't work: {error}")],
            Probe::Devices { devices, compiler } => {
                let mut lines: Vec<String> = devices.iter().map(Device::to_string).collect();
                if lines.is_empty() {
                    lines.push("the CUDA driver is there, but no device".to_owned());
                }
                lines.push(format!(
                    "run-time compiler (NVRTC) {}",
                    if *compiler { "found" } else { "not found" }
                ));
                lines
            }
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.capability;
        let kind = if self.integrated {
            "integrated"
        } else {
            "discrete"
        };
        write!(
            f,
            "{} (sm_{major}{minor}, {kind}, {} MB)",
            self.name,
            self.memory / 1_000_000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_gpu_is_no_error() {
        assert!(!probe().lines().is_empty());
    }
}
