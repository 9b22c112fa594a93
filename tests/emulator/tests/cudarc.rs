//! The mock driver under cudarc, which is what elucid drives GPUs with: its safe functions find every symbol they ask for.
//!
//! cudarc finds a driver by its name alone, so the case runs in a process of its own: this program again, with the driver's
//! folder in `LD_LIBRARY_PATH`.
#![allow(unsafe_code)] // Launches are.

use std::env;
use std::process::Command;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{
    CudaContext, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::Ptx;
use elucid_emulator::mock_driver;

/// Set for the child.
const CHILD: &str = "ELUCID_CUDARC_CHILD";

/// `fixtures/fixture.h`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    from: u64,
    to: u64,
    rows: u32,
    columns: u32,
}

// SAFETY: plain numbers in the layout of C.
unsafe impl DeviceRepr for Params {}

const PTX: &str = ".version 7.4\n.target sm_53\n.address_size 64\n.visible .entry fixture_transpose(.param .align 8 .b8 p[24])\n{ret;}\n";

#[test]
fn a_child_of_driver_serves_cudarc() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    let context = CudaContext::new(0).expect("a device");
    assert!(context.name().expect("a name").starts_with("Emulated"));
    assert_eq!(context.compute_capability().expect("an attribute"), (8, 7));
    let module = context.load_module(Ptx::from_src(PTX)).expect("a module");
    let function = module
        .load_function("fixture_transpose")
        .expect("a function");
    for stream in [
        context.default_stream(),
        context.new_stream().expect("a stream"),
    ] {
        transpose(&stream, &function);
    }
    // SAFETY: written before it is read.
    let mut pinned = unsafe { context.alloc_pinned::<f32>(4) }.expect("pinned memory");
    pinned.as_mut_slice().expect("done").fill(1.0);
    let stream = context.default_stream();
    // SAFETY: likewise.
    let mut managed = unsafe { context.alloc_unified::<f32>(4, true) }.expect("managed memory");
    stream.memcpy_htod(&pinned, &mut managed).expect("a copy");
    assert_eq!(stream.clone_dtoh(&managed).expect("a copy"), [1.0; 4]);
}

fn transpose(stream: &Arc<CudaStream>, function: &cudarc::driver::CudaFunction) {
    let x: Vec<f32> = (0..6).map(|i| i as f32).collect();
    let from = stream.clone_htod(&x).expect("a copy");
    let mut to = stream.alloc_zeros::<f32>(6).expect("memory");
    let p = {
        let ((from, _from), (to, _to)) = (from.device_ptr(stream), to.device_ptr_mut(stream));
        Params {
            from,
            to,
            rows: 2,
            columns: 3,
        }
    };
    let config = LaunchConfig {
        grid_dim: (1, 1, 1),
        block_dim: (256, 1, 1),
        shared_mem_bytes: 0,
    };
    let run = || {
        // SAFETY: the argument is the kernel's; its addresses are those of memory that lives to the end of this function.
        unsafe { stream.launch_builder(function).arg(&p).launch(config) }.expect("a launch");
    };
    run();
    assert_eq!(
        stream.clone_dtoh(&to).expect("a copy"),
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    );
    let began = stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    if began.is_err() {
        // The default stream.
        return;
    }
    run();
    let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream
        .end_capture(flags)
        .expect("a capture")
        .expect("a graph");
    stream.memset_zeros(&mut to).expect("zeros");
    graph.launch().expect("a launch");
    stream.synchronize().expect("all done");
    assert_eq!(
        stream.clone_dtoh(&to).expect("a copy"),
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    );
}

#[test]
fn driver_serves_cudarc() {
    for checked in [false, true] {
        let child = Command::new(env::current_exe().expect("there is this program"))
            .args(["--exact", "a_child_of_driver_serves_cudarc", "--nocapture"])
            .env(CHILD, "1")
            .env("LD_LIBRARY_PATH", mock_driver(checked))
            .output()
            .expect("this program runs");
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{said}");
    }
}
