//! Kernels that are run: one after the other, or many at once as a graph.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::{CUgraphInstantiate_flags as Flags, CUstreamCaptureMode as Mode};
use cudarc::driver::{CudaContext, CudaFunction, CudaGraph, CudaStream, DriverError, result};

use crate::device::Device;
use crate::error::CudaError;
use crate::lower::Launch;

/// A launch with its loaded kernel.
pub struct Ready {
    function: CudaFunction,
    launch: Launch,
}

/// The launches of a list with their kernels, which are compiled and loaded if they aren't yet.
///
/// # Errors
/// [`CudaError::Mismatch`] for an argument of the wrong size, or those of compiling and loading.
pub fn prepare(device: &Device, launches: Vec<Launch>) -> Result<Vec<Ready>, CudaError> {
    let mut all = Vec::with_capacity(launches.len());
    for launch in launches {
        let kernel = launch.kernel;
        let wrong = |what: String| CudaError::Mismatch {
            kernel: kernel.entry,
            what,
        };
        let (have, need) = (launch.argument.bytes().len(), kernel.argument);
        if have != need {
            return Err(wrong(format!(
                "an argument of {have} bytes instead of {need}"
            )));
        }
        let [x, y, z] = launch.grid;
        if x == 0 || y == 0 || z == 0 || y > MOST || z > MOST || x > i32::MAX as u32 {
            return Err(wrong(format!("a grid of {x} x {y} x {z} blocks")));
        }
        all.push(Ready {
            function: device.function(kernel)?,
            launch,
        });
    }
    Ok(all)
}

/// Most blocks of a grid in its second and third dimension.
const MOST: u32 = 65_535;

/// Puts launches on a stream, in order.
///
/// # Errors
/// [`CudaError::Driver`].
pub fn play(stream: &CudaStream, launches: &[Ready]) -> Result<(), CudaError> {
    let bind = stream.context().bind_to_thread();
    bind.map_err(CudaError::driver("cuCtxSetCurrent"))?;
    let played = put(stream, launches);
    played.map_err(CudaError::driver("cuLaunchKernel"))
}

fn put(stream: &CudaStream, launches: &[Ready]) -> Result<(), DriverError> {
    for Ready { function, launch } in launches {
        let argument: *const u8 = launch.argument.bytes().as_ptr();
        let mut parameters = [argument.cast_mut().cast::<c_void>()];
        let [x, y, z] = launch.grid;
        // SAFETY: the function is loaded as long as it is held here. It takes one struct by value, of which `prepare` has checked
        // the size and the driver makes a copy before it returns. Addresses in it are those of `Lowering`: inside the
        // allocation of the backend that launches, whose regions it has checked, and that waits for the stream before
        // it frees anything.
        unsafe {
            result::launch_kernel(
                function.cu_function(),
                (x, y, z),
                (launch.kernel.block, 1, 1),
                0,
                stream.cu_stream(),
                &mut parameters,
            )?;
        }
    }
    Ok(())
}

/// The launches as a graph, which is played by [`CudaGraph::launch`]. Nothing is run.
///
/// # Errors
/// That of the driver: then the stream is as before.
pub fn graph(stream: &Arc<CudaStream>, launches: &[Ready]) -> Result<CudaGraph, DriverError> {
    // What other threads do at the time doesn't matter.
    stream.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
    let captured = put(stream, launches);
    // Also after a failure: a stream that captures is of no other use.
    let made = stream.end_capture(Flags(0));
    captured?;
    made?.ok_or(DriverError(
        cudarc::driver::sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
    ))
}

/// Has cudarc make no events for its own slices and streams, of which elucid uses none: a captured stream may not wait for one that
/// was recorded outside.
pub fn without_events(context: &CudaContext) {
    // SAFETY: no `CudaSlice` is ever made here; each allocation is used on one stream, and waited for before it is freed.
    unsafe { context.disable_event_tracking() };
}
