//! How long launches take on a device, by the driver's own events; and what the device reaches at best, to compare with.

use std::sync::Arc;

use cudarc::driver::sys::{CUevent, CUevent_flags, CUresult};
use cudarc::driver::{CudaStream, DriverError, result, sys};
use elucid_core::Model;
use elucid_core::error::{Buffer, Error};
use elucid_core::plan::Plan;
use elucid_core::rule::Init;
use elucid_kernels::conv::{FORWARD, TENSOR};
use elucid_kernels::params::{Activation, ConvParams, ConvShape};

use crate::cost::{self, Cost};
use crate::device::Device;
use crate::driver;
use crate::error::CudaError;
use crate::launch::{self, Ready};
use crate::lower::layout::tensor_bytes;
use crate::lower::{Launch, Layout, Lowering};
use crate::memory::Memory;

/// A launch, its price and its time.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// What was launched.
    pub launch: Launch,
    /// What it costs.
    pub cost: Cost,
    /// Median of its seconds.
    pub seconds: f64,
}

/// A plan on a device, to be timed.
pub struct Timing {
    launches: Vec<Launch>,
    ready: Vec<Ready>,
    /// Launches of the forward pass.
    forward: usize,
    stream: Arc<CudaStream>,
    // After the kernels: nothing runs on it any more.
    memory: Memory,
}

impl Timing {
    /// Puts the weights of a model and an image on the device, with forward products on tensor cores or not.
    ///
    /// # Errors
    /// Those of memory, compiling and lowering.
    pub fn new(
        device: &Arc<Device>,
        model: &Model<'_>,
        plan: &Plan<'_>,
        image: &[f32],
        tensor_cores: bool,
    ) -> Result<Self, CudaError> {
        let (need, have) = (u64::from(plan.image().len), image.len() as u64);
        if need != have {
            let buffer = Buffer::Image;
            return Err(Error::Length { buffer, need, have }.into());
        }
        let layout = Layout::new(model, plan);
        let stream = device.stream()?;
        let mut memory = Memory::new(&stream, layout.bytes(), device.shares_memory())?;
        let all = usize::try_from(layout.bytes()).unwrap_or(usize::MAX);
        memory.clear(0, all)?;
        let weights = (0..model.tensor_count())
            .filter_map(|id| Some((layout.tensor(id)?, tensor_bytes(model, id))));
        memory.write(weights)?;
        let at = layout.arena() + 4 * u64::from(plan.image().start);
        memory.write([(at, bytemuck::cast_slice(image))])?;
        let lowering = Lowering::new(model, &layout, plan.options(), memory.address())
            .with_tensor_cores(tensor_cores);
        launch::play(&stream, &launch::prepare(device, lowering.prepare())?)?;
        memory.synchronize()?;
        let (mut launches, mut forward) = (Vec::new(), 0);
        for (i, step) in plan.steps().iter().enumerate() {
            // What is asked for are zeros: the predicted class.
            launches.extend(lowering.launches(step, Init::Probability)?);
            if i < plan.forward_steps().len() {
                forward = launches.len();
            }
        }
        Ok(Self {
            ready: launch::prepare(device, launches.clone())?,
            launches,
            forward,
            stream,
            memory,
        })
    }

    /// Bytes of the allocation.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// Every launch of the plan in its place: the median of some rounds. The device is kept busy with a round that isn't timed
    /// while the host puts the launches and events on the stream; an event itself takes about a microsecond, which is part of the
    /// time of its launch.
    ///
    /// # Errors
    /// [`CudaError::Driver`].
    pub fn rounds(&self, rounds: usize) -> Result<Vec<Timed>, CudaError> {
        let clock = Clock::new(&self.stream, self.ready.len() + 1)?;
        let mut seconds = vec![Vec::with_capacity(rounds); self.ready.len()];
        for _ in 0..rounds.max(1) {
            launch::play(&self.stream, &self.ready)?;
            clock.record(0)?;
            for (i, one) in self.ready.iter().enumerate() {
                launch::play(&self.stream, std::slice::from_ref(one))?;
                clock.record(i + 1)?;
            }
            self.memory.synchronize()?;
            for (i, seconds) in seconds.iter_mut().enumerate() {
                seconds.push(clock.seconds(i, i + 1)?);
            }
        }
        let timed = |(launch, seconds): (&Launch, Vec<f64>)| Timed {
            launch: *launch,
            cost: cost::cost(launch).unwrap_or_default(),
            seconds: median(seconds),
        };
        Ok(self.launches.iter().zip(seconds).map(timed).collect())
    }

    /// Seconds of the forward pass, or of the whole plan, launch by launch or as a graph: the median of some rounds, between two
    /// events.
    ///
    /// # Errors
    /// [`CudaError::Driver`], as where the driver has no graphs.
    pub fn whole(&self, forward: bool, graph: bool, rounds: usize) -> Result<f64, CudaError> {
        let launches = match forward {
            true => &self.ready[..self.forward],
            false => &self.ready[..],
        };
        let graph = match graph {
            true => Some(
                launch::graph(&self.stream, launches)
                    .map_err(CudaError::driver("cuStreamEndCapture"))?,
            ),
            false => None,
        };
        self.repeated(rounds, || match &graph {
            Some(graph) => graph.launch().map_err(CudaError::driver("cuGraphLaunch")),
            None => launch::play(&self.stream, launches),
        })
    }

    fn repeated(
        &self,
        rounds: usize,
        run: impl FnMut() -> Result<(), CudaError>,
    ) -> Result<f64, CudaError> {
        repeated(&self.stream, &self.memory, rounds, run)
    }
}

/// What a device reaches at best.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Bytes a second read and written by the driver's copy within the device's memory.
    pub bytes_per_second: f64,
    /// f32 operations a second of our own product on a large shape.
    pub f32_flops: f64,
    /// Issued f16 operations a second of the product on tensor cores on the same, where they have it.
    pub tensor_flops: Option<f64>,
}

/// Measures what the device reaches at best: a copy of 64 MB, and a 1x1 convolution of 16384 pixels from 512 to 512 channels, 8.6
/// GFLOP, in f32 and on tensor cores. `small` ones say nothing, but are done at once.
///
/// # Errors
/// Those of memory, compiling and launching.
pub fn ceilings(device: &Arc<Device>, small: bool) -> Result<Ceilings, CudaError> {
    let (side, channels, copied) = if small {
        (16, 64, 1 << 16)
    } else {
        (128, 512, 64 << 20)
    };
    let rounds = if small { 1 } else { 7 };
    let stream = device.stream()?;
    let pixels = side as usize * side as usize;
    let (map, matrix) = (
        4 * pixels * channels as usize,
        4 * channels as usize * channels as usize,
    );
    let bytes = (2 * map + matrix).max(2 * copied) as u64;
    let mut memory = Memory::new(&stream, bytes, device.shares_memory())?;
    memory.clear(0, usize::try_from(bytes).unwrap_or(usize::MAX))?;
    let values: Vec<f32> = (0..map / 4).map(|i| (i % 251) as f32 / 251.0).collect();
    // Read as halves, some of these weights are large, none an infinity.
    memory.write([
        (0, bytemuck::cast_slice::<f32, u8>(&values)),
        (2 * map as u64, bytemuck::cast_slice(&values[..matrix / 4])),
    ])?;
    let base = memory.address();
    let params = ConvParams {
        x: base,
        weight: base + 2 * map as u64,
        scale: 0,
        shift: 0,
        skip: 0,
        y: base + map as u64,
        shape: ConvShape {
            h: side,
            w: side,
            ci: channels,
            oh: side,
            ow: side,
            co: channels,
            kh: 1,
            kw: 1,
            stride: 1,
            pad: 0,
        },
        images: 1,
        activation: Activation::Identity as u32,
    };
    let grid = [(pixels as u32).div_ceil(64), channels.div_ceil(64), 1];
    let rate = |kernel, of: fn(&Cost) -> u64| {
        let launch = Launch::new(kernel, grid, &params);
        let issued = of(&cost::cost(&launch).unwrap_or_default());
        let ready = launch::prepare(device, vec![launch])?;
        let seconds = repeated(&stream, &memory, rounds, || launch::play(&stream, &ready))?;
        Ok::<f64, CudaError>(issued as f64 / seconds)
    };
    let f32_flops = rate(FORWARD.whole.f32, |c| c.f32_issued)?;
    let tensor_flops = match device.facts().arch() >= 80 {
        true => Some(rate(TENSOR, |c| c.tensor_issued)?),
        false => None,
    };
    let seconds = repeated(&stream, &memory, rounds, || {
        // SAFETY: both halves lie inside our allocation, which is at least twice as long, don't overlap, and nothing else works
        // on them before the stream is waited for.
        let copy = unsafe {
            result::memcpy_dtod_async(base + copied as u64, base, copied, stream.cu_stream())
        };
        copy.map_err(CudaError::driver("cuMemcpyDtoDAsync"))
    })?;
    Ok(Ceilings {
        bytes_per_second: 2.0 * copied as f64 / seconds,
        f32_flops,
        tensor_flops,
    })
}

/// Median of the seconds between two events around some work, after one run that isn't timed.
fn repeated(
    stream: &Arc<CudaStream>,
    memory: &Memory,
    rounds: usize,
    mut run: impl FnMut() -> Result<(), CudaError>,
) -> Result<f64, CudaError> {
    let clock = Clock::new(stream, 2)?;
    let mut all = Vec::with_capacity(rounds);
    run()?;
    for _ in 0..rounds.max(1) {
        clock.record(0)?;
        run()?;
        clock.record(1)?;
        memory.synchronize()?;
        all.push(clock.seconds(0, 1)?);
    }
    Ok(median(all))
}

/// The middle one, or the mean of the two in the middle.
fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    match (all.get(all.len() / 2), all.get((all.len().max(1) - 1) / 2)) {
        (Some(high), Some(low)) => f64::midpoint(*high, *low),
        _ => 0.0,
    }
}

/// Events of a stream.
struct Clock {
    events: Vec<CUevent>,
    elapsed: Elapsed,
    stream: Arc<CudaStream>,
}

/// cuEventElapsedTime in the form that all drivers have.
type Elapsed = unsafe extern "C" fn(*mut f32, CUevent, CUevent) -> CUresult;

impl Clock {
    fn new(stream: &Arc<CudaStream>, count: usize) -> Result<Self, CudaError> {
        let mut clock = Self {
            events: Vec::with_capacity(count),
            elapsed: elapsed()?,
            stream: Arc::clone(stream),
        };
        let bind = stream.context().bind_to_thread();
        bind.map_err(CudaError::driver("cuCtxSetCurrent"))?;
        for _ in 0..count {
            let event = result::event::create(CUevent_flags::CU_EVENT_DEFAULT);
            clock
                .events
                .push(event.map_err(CudaError::driver("cuEventCreate"))?);
        }
        Ok(clock)
    }

    /// Puts an event on the stream.
    fn record(&self, number: usize) -> Result<(), CudaError> {
        // SAFETY: the event was made by `new` and lives as long as the clock.
        let recorded =
            unsafe { result::event::record(self.events[number], self.stream.cu_stream()) };
        recorded.map_err(CudaError::driver("cuEventRecord"))
    }

    /// Seconds from one event to another, both of which have happened.
    fn seconds(&self, from: usize, to: usize) -> Result<f64, CudaError> {
        let mut milliseconds = 0.0;
        // SAFETY: both events live and were recorded on one stream, and the function writes one float.
        let status =
            unsafe { (self.elapsed)(&raw mut milliseconds, self.events[from], self.events[to]) };
        match status {
            CUresult::CUDA_SUCCESS => Ok(f64::from(milliseconds) / 1e3),
            code => Err(CudaError::driver("cuEventElapsedTime")(DriverError(code))),
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        for &event in &self.events {
            // SAFETY: made by `new`, destroyed once. A driver that fails here has failed before, and nobody is left to be told.
            let _ = unsafe { result::event::destroy(event) };
        }
    }
}

fn elapsed() -> Result<Elapsed, CudaError> {
    let names = [
        "cuEventCreate",
        "cuEventRecord",
        "cuEventDestroy_v2",
        "cuEventElapsedTime",
        "cuMemcpyDtoDAsync_v2",
    ];
    driver::ready()?;
    for name in names {
        // SAFETY: `ready` has opened the library; the symbol is looked up and not called.
        let found = unsafe { sys::culib().get::<Elapsed>(name.as_bytes()).is_ok() };
        if !found {
            let what = format!("libcuda has no {name}");
            return Err(CudaError::DriverBroken { what });
        }
    }
    // SAFETY: the symbol was found above, and this is its type in every version of the driver's interface.
    let symbol = unsafe { sys::culib().get::<Elapsed>(b"cuEventElapsedTime") };
    let lacks = |_| CudaError::DriverBroken {
        what: "libcuda has no cuEventElapsedTime".to_owned(),
    };
    symbol.map(|symbol| *symbol).map_err(lacks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
