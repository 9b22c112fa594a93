//! The CUDA part of the C API, as `core/include/elucid.h` declares it. The rest of it is `elucid_core::ffi`.

use std::ffi::{c_char, c_void};
use std::ptr::NonNull;

use elucid_core::Model;
use elucid_core::audit::Entry;
use elucid_core::backend::{Backend, Seeding};
pub use elucid_core::ffi::*;
use elucid_core::op::head::Seed;
use elucid_core::plan::{Plan, Region, Step};
use elucid_core::rule::{Init, Target};

use crate::backend::Cuda;
use crate::error::CudaError;
use crate::probe::{Probe, devices, probe};

/// Device number `ordinal` of what was found.
fn find(found: &Probe, ordinal: u32) -> Result<CudaInfo, Status> {
    let devices = match &found.driver {
        Err(error) => return Err(status(error)),
        Ok((_, devices)) => devices,
    };
    let device = usize::try_from(ordinal).ok().and_then(|i| devices.get(i));
    let device = device.ok_or(Status::NoDevice)?;
    let mut name = [0; 64];
    let most = name.len() - 1;
    for (to, from) in name[..most].iter_mut().zip(device.name.bytes()) {
        *to = from as c_char;
    }
    Ok(CudaInfo {
        memory_bytes: device.memory,
        devices: devices.len() as u32,
        capability_major: device.capability.0,
        capability_minor: device.capability.1,
        integrated: u32::from(device.integrated),
        compiler: u32::from(found.compiler.is_ok()),
        kernels: 1,
        name,
    })
}

/// Null and unaligned pointers are known before anything is looked for.
fn place<T>(to: *mut T) -> Result<(), Status> {
    if to.is_null() {
        Err(Status::Null)
    } else if !to.is_aligned() {
        Err(Status::Alignment)
    } else {
        Ok(())
    }
}

fn code(result: Result<(), Status>) -> i32 {
    result.err().unwrap_or(Status::Ok) as i32
}

/// An error as the C API says it.
fn status(error: &CudaError) -> Status {
    match error {
        CudaError::NoDriver => Status::NoDriver,
        CudaError::DriverBroken { .. } | CudaError::OldDriver { .. } => Status::DriverBroken,
        CudaError::NoDevice { .. } => Status::NoDevice,
        CudaError::NoCompiler { .. }
        | CudaError::CompilerBroken { .. }
        | CudaError::NoArchitecture { .. } => Status::NoCompiler,
        CudaError::OutOfMemory { .. } => Status::DeviceMemory,
        CudaError::OldDevice { .. }
        | CudaError::Compile { .. }
        | CudaError::NotLoaded { .. }
        | CudaError::Mismatch { .. }
        | CudaError::Driver { .. } => Status::Device,
        CudaError::Setting { .. } => Status::Options,
        CudaError::Core(error) => (*error).into(),
    }
}

impl From<CudaError> for Status {
    fn from(error: CudaError) -> Self {
        status(&error)
    }
}

/// The CUDA backend with the statuses of C.
struct OnDevice(Cuda<'static>);

impl Backend for OnDevice {
    type Error = Status;

    fn step(&mut self, step: &Step, audit: &mut [Entry]) -> Result<(), Status> {
        Ok(self.0.step(step, audit)?)
    }

    fn seed(
        &mut self,
        step: &Step,
        targets: &[Target],
        init: Init,
        seeds: &mut [Seed],
    ) -> Result<(), Status> {
        Ok(self.0.seed(step, targets, init, seeds)?)
    }

    fn run(&mut self, steps: &[Step], seeding: Option<Seeding<'_>>) -> Result<(), Status> {
        Ok(self.0.run(steps, seeding)?)
    }

    fn put(&mut self, region: Region, from: &[f32]) -> Result<(), Status> {
        Ok(self.0.put(region, from)?)
    }

    fn get(&mut self, region: Region, to: &mut [f32]) -> Result<(), Status> {
        Ok(self.0.get(region, to)?)
    }

    fn quantize(&mut self, region: Region, maps: usize, levels: u32) -> Result<(), Status> {
        Ok(self.0.quantize(region, maps, levels)?)
    }
}

/// Frees what [`on_device`] made.
///
/// # Safety
/// `worker` came from there, and nobody uses it any more.
unsafe fn free(worker: NonNull<Worker>) {
    // SAFETY: it came out of a box there; the caller's promise.
    drop(unsafe { Box::from_raw(worker.as_ptr()) });
}

/// Device number `ordinal` for a plan of a model.
fn on_device(
    ordinal: u32,
    model: &'static Model<'static>,
    plan: &Plan<'_>,
) -> Result<Device, Status> {
    let ordinal = usize::try_from(ordinal).map_err(|_| Status::NoDevice)?;
    let device = crate::Device::open(ordinal)?;
    let worker: Box<Worker> = Box::new(OnDevice(Cuda::new(&device, model, plan)?));
    let worker = NonNull::from(Box::leak(worker));
    // SAFETY: the box is nobody's any more, and `free` takes it back.
    Ok(unsafe { Device::new(worker, free) })
}

/// `elucid_cuda_probe`
///
/// # Safety
/// `info` is null or points to room for one [`CudaInfo`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_cuda_probe(ordinal: u32, info: *mut CudaInfo) -> i32 {
    code(place(info).and_then(|()| {
        // Without a driver nobody needs to know of a compiler, which is large.
        devices().map_err(|error| status(&error))?;
        let found = find(&probe(), ordinal)?;
        // SAFETY: not null and aligned; the caller's promise.
        unsafe { info.write(found) };
        Ok(())
    }))
}

/// `elucid_cuda_open`
///
/// # Safety
/// As for [`elucid_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_cuda_open(
    ordinal: u32,
    model: *const c_void,
    model_bytes: usize,
    options: *const Options,
    memory: *mut c_void,
    memory_bytes: usize,
    explainer: *mut *mut Elucid,
) -> i32 {
    let make =
        |model: &'static Model<'static>, plan: &Plan<'static>| on_device(ordinal, model, plan);
    let (model, memory) = ((model, model_bytes), (memory, memory_bytes));
    // SAFETY: the caller's promise.
    unsafe { open_on(Some(&make), model, options, memory, explainer) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Facts;

    #[test]
    fn what_was_found_is_told_device_by_device() {
        let device = |ordinal, name: &str| Facts {
            ordinal,
            name: name.to_owned(),
            capability: (8, 7),
            integrated: true,
            managed: true,
            memory: 1 << 33,
        };
        let none = || CudaError::NoCompiler { tried: Vec::new() };
        let of = |driver| Probe {
            driver,
            compiler: Err(none()),
            graphs: true,
            foreign: Vec::new(),
        };
        let devices = vec![device(0, "Orin"), device(1, &"x".repeat(100))];
        let found = of(Ok(((12, 6), devices)));
        let orin = find(&found, 0).unwrap();
        assert_eq!((orin.devices, orin.capability_major), (2, 8));
        assert_eq!(
            orin.name[..5].iter().map(|&c| c as u8).collect::<Vec<_>>(),
            b"Orin\0"
        );
        assert_eq!(find(&found, 1).unwrap().name[62..], [120, 0]);
        assert_eq!(find(&found, 2).unwrap_err(), Status::NoDevice);
        let missing = find(&of(Err(CudaError::NoDriver)), 0).unwrap_err();
        assert_eq!(missing, Status::NoDriver);
        let what = String::new();
        let broken = find(&of(Err(CudaError::DriverBroken { what })), 0).unwrap_err();
        assert_eq!(broken, Status::DriverBroken);
    }
}
