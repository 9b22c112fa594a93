//! What CUDA hardware and libraries this machine has: for `elucid doctor` and the C API. Never a panic, never a failure.

use crate::cache::Cache;
use crate::device::{self, CODE, GRAPH, LEAST};
use crate::driver::{self, Facts};
use crate::error::CudaError;
use crate::nvrtc::{Compiler, Kind};

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The driver's CUDA version and its devices, or why it can't be used.
    pub driver: Result<((u32, u32), Vec<Facts>), CudaError>,
    /// Where NVRTC is and its version, or why it can't be used.
    pub compiler: Result<(String, (u32, u32)), CudaError>,
    /// Whether the driver replays graphs.
    pub graphs: bool,
    /// Devices that the compiler makes no code for.
    pub foreign: Vec<CudaError>,
}

/// The driver's CUDA version and its devices.
pub(crate) fn devices() -> Result<((u32, u32), Vec<Facts>), CudaError> {
    let version = driver::ready()?;
    let devices: Result<Vec<Facts>, CudaError> = (0..driver::count()?).map(driver::facts).collect();
    Ok((version, devices?))
}

/// Looks for a CUDA driver, its devices and the run-time compiler.
#[must_use]
pub fn probe() -> Probe {
    let compiler = Compiler::find();
    let driver = devices();
    let kind = device::code().unwrap_or(Kind::Cubin);
    let devices = driver.as_ref().map_or(&[][..], |(_, devices)| devices);
    let refused = |device: &Facts| {
        let compiler = compiler.as_ref().ok()?;
        compiler.architecture(device.arch(), kind).err()
    };
    Probe {
        foreign: devices.iter().filter_map(refused).collect(),
        compiler: compiler.map(|c| (c.path().to_owned(), c.version())),
        graphs: driver.is_ok() && driver::has_graphs(),
        driver,
    }
}

impl Probe {
    /// The devices, maybe none.
    #[must_use]
    pub fn devices(&self) -> &[Facts] {
        self.driver.as_ref().map_or(&[], |(_, devices)| devices)
    }

    /// One line for each thing worth knowing, or what is wrong and its mend.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.driver {
            Err(error) => lines.push(error.to_string()),
            Ok((version, devices)) => {
                let graphs = match (self.graphs, device::graphs()) {
                    (_, Err(error)) => error.to_string(),
                    (false, _) => "no graphs: kernels are launched one by one".to_owned(),
                    (true, Ok(true)) => "graphs".to_owned(),
                    (true, Ok(false)) => format!("graphs are turned off by {GRAPH}=0"),
                };
                lines.push(format!(
                    "driver of CUDA {}.{}, {graphs}",
                    version.0, version.1
                ));
                if devices.is_empty() {
                    let (ordinal, count) = (0, 0);
                    lines.push(CudaError::NoDevice { ordinal, count }.to_string());
                }
                lines.extend(devices.iter().map(device_line));
            }
        }
        match &self.compiler {
            Ok((path, version)) => lines.push(format!(
                "run-time compiler NVRTC {}.{} ({path})",
                version.0, version.1
            )),
            Err(_) if device::built_in() => {
                lines.push(
                    "kernels are built in; no run-time compiler, and none is needed".to_owned(),
                );
            }
            Err(error) => lines.push(error.to_string()),
        }
        lines.extend(self.foreign.iter().map(CudaError::to_string));
        let code = device::code();
        lines.push(match &code {
            Ok(Kind::Cubin) => {
                "kernels become machine code for the device's own architecture".to_owned()
            }
            Ok(Kind::Ptx) => format!("kernels become PTX, by {CODE}=ptx"),
            Err(error) => error.to_string(),
        });
        match device::tensor_cores(code.unwrap_or(Kind::Cubin)) {
            Ok(true) => lines.push("forward passes take tensor cores from sm_80 on".to_owned()),
            Ok(false) => lines.push("forward passes take no tensor cores".to_owned()),
            Err(error) => lines.push(error.to_string()),
        }
        lines.push(format!(
            "compiled kernels in {}",
            Cache::of_environment().describe()
        ));
        lines
    }
}

fn device_line(device: &Facts) -> String {
    if device.capability < LEAST {
        let (name, capability) = (device.name.clone(), device.capability);
        let old = CudaError::OldDevice { name, capability };
        return format!("device {}: {old}", device.ordinal);
    }
    let memory = match (device.integrated, device.managed) {
        (true, true) => "managed memory, shared with the CPU without copies",
        (true, false) => "no managed memory: images and maps are copied",
        (false, _) => "memory of its own",
    };
    format!("device {}: {device}, {memory}", device.ordinal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_gpu_is_no_error() {
        let lines = probe().lines();
        assert!(
            lines.len() >= 4 && lines.iter().all(|l| !l.contains('\n')),
            "{lines:?}"
        );
    }

    #[test]
    fn everything_found_is_said() {
        let device = Facts {
            ordinal: 0,
            name: "Orin".to_owned(),
            capability: (8, 7),
            integrated: true,
            managed: true,
            memory: 7_990_000_000,
        };
        let found = Probe {
            driver: Ok(((12, 6), vec![device])),
            compiler: Ok(("libnvrtc.so.12".to_owned(), (12, 6))),
            graphs: true,
            foreign: vec![CudaError::NoArchitecture {
                arch: "sm_87".to_owned(),
                compiler: (12, 6),
            }],
        };
        let text = found.lines().join("\n");
        for said in [
            "driver of CUDA 12.6, graphs",
            "device 0: Orin (sm_87, integrated, 7990 MB), managed memory",
            "NVRTC 12.6 (libnvrtc.so.12)",
            "makes no code for sm_87",
            "machine code",
            "tensor cores",
            "compiled kernels in",
        ] {
            assert!(text.contains(said), "{said} in\n{text}");
        }
    }
}
