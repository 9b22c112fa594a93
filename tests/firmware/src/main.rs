//! Explains a photo on a Cortex-M4F: no operating system, no allocation, everything in flash and in one static arena.
//!
//! In flash lie a trained network (`model/flowers32.elucid`), a photo of 32 x 32 pixels and the map that a naive f64 implementation
//! computed for it. The firmware plans the network into static memory, explains the photo, compares the map value by value, and prints what it found and
//! how much stack that took. With the feature `defmt` it also logs the ledger, frame by frame, into a file of the emulator's host.
#![no_std]
#![no_main]

mod board;
#[cfg(feature = "defmt")]
mod log;

use core::mem::MaybeUninit;

use elucid_core::audit::{Entry, Ledger};
use elucid_core::cpu::Cpu;
use elucid_core::explain::Explainer;
use elucid_core::frame::{self, Frame, Pixels, Plane};
use elucid_core::par::Serial;
use elucid_core::plan::{Options, Plan, Slot, Step, Value, Workspace};
use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_core::simd::Isa;
use elucid_core::{Error, Model};

use board::{Static, print};

/// Bytes in flash, aligned as weights must be.
#[repr(C, align(64))]
struct Payload<const N: usize>([u8; N]);

#[unsafe(link_section = ".payload")]
static MODEL: Payload<{ include_bytes!("../model/flowers32.elucid").len() }> =
    Payload(*include_bytes!("../model/flowers32.elucid"));
/// `SIDE` x `SIDE` pixels of red, green and blue.
#[unsafe(link_section = ".payload")]
static PHOTO: Payload<{ 3 * SIDE * SIDE }> = Payload(*include_bytes!("../model/photo.rgb"));
/// The expected map, f32.
#[unsafe(link_section = ".payload")]
static GOLDEN: Payload<{ 4 * SIDE * SIDE }> = Payload(*include_bytes!("../model/golden.f32"));

const SIDE: usize = 32;
/// Nodes of the network, and what its plan needs.
const NODES: u16 = 16;
const CAPACITY: (usize, usize, usize) = Workspace::capacity(NODES);
/// Elements of the arena: exactly what the plan says.
const ARENA: usize = 50_352;
/// Steps of the ledger.
const LEDGER: usize = 24;
/// Largest difference to the golden map, as a share of its largest value.
const TOLERANCE: f32 = 1e-5;

/// All memory of an explanation.
struct Memory {
    slots: [MaybeUninit<Slot>; CAPACITY.0],
    values: [MaybeUninit<Value>; CAPACITY.1],
    steps: [MaybeUninit<Step>; CAPACITY.2],
    entries: [MaybeUninit<Entry>; LEDGER],
    arena: [f32; ARENA],
    map: [f32; SIDE * SIDE],
}

/// Zeroed at reset, so that none of it lies in flash.
static MEMORY: Static<MaybeUninit<Memory>> = Static::new(MaybeUninit::zeroed());

/// Makes values of a lent array.
fn fill<T: Copy>(place: &mut [MaybeUninit<T>], value: T) -> &mut [T] {
    place.fill(MaybeUninit::new(value));
    // SAFETY: written just now.
    unsafe { place.assume_init_mut() }
}

/// What is to be told of an explanation.
struct Told {
    class: u32,
    probability: f32,
    start: f64,
    sum: f64,
    off: f32,
    arena: usize,
    steps: usize,
}

fn explain(memory: &mut Memory) -> Result<Told, Error> {
    let model = Model::parse(&MODEL.0)?;
    let workspace = Workspace {
        slots: fill(&mut memory.slots, Slot::EMPTY),
        values: fill(&mut memory.values, Value::EMPTY),
        steps: fill(&mut memory.steps, Step::EMPTY),
    };
    let composite = Composite::exact(Split::Ratio);
    let options = Options::new(model.input_shape(), Some(composite));
    let plan = Plan::new(&model, &options, workspace)?;
    let cpu = Cpu::new(&model, &plan, &mut memory.arena, &Serial)?;
    let mut explainer = Explainer::new(plan, cpu);

    let how = model.preprocess();
    let pixels = Plane {
        data: &PHOTO.0[..],
        stride: 3 * SIDE,
    };
    let photo = Frame::new(SIDE as u32, SIDE as u32, Pixels::Rgb8(pixels))?;
    explainer.forward_from(|input, spare| {
        frame::prepare(Isa::detect(), &photo, &how, input, spare)
    })?;
    let mut ledger = Ledger::new(fill(&mut memory.entries, Entry::EMPTY));
    let seed = explainer.relevance(Target::Predicted, Init::Probability, Some(&mut ledger))?;
    explainer.heat(&mut memory.map)?;

    let account = ledger.account(0);
    #[cfg(feature = "defmt")]
    {
        defmt::info!("explained class {=u32}: {}", seed.target, seed);
        for entry in account.entries() {
            defmt::info!("ledger {}", entry);
        }
        let lost = explainer.forward(&[]).unwrap_err();
        defmt::warn!("an empty image: {}", lost);
    }
    let (mut off, mut most) = (0f32, 0f32);
    for (got, bytes) in memory.map.iter().zip(GOLDEN.0.as_chunks::<4>().0) {
        let want = f32::from_le_bytes(*bytes);
        let difference = got - want;
        // NaN is no agreement.
        if !(difference.abs() <= off) {
            off = difference.abs();
        }
        most = most.max(want.abs());
    }
    Ok(Told {
        class: seed.target,
        probability: seed.probability,
        start: account.start(),
        sum: elucid_core::math::sum(&memory.map),
        off: off / most,
        arena: plan.arena(),
        steps: account.entries().count(),
    })
}

/// Parts in a million, for printing without floats' formatting, which is larger than the rest.
fn millionths(v: f64) -> i64 {
    (v * 1e6) as i64
}

/// Called by the reset handler; what it returns is the exit code.
pub fn main() -> u32 {
    // SAFETY: the only call, and the only use of this memory; zeros are what its arrays may hold.
    let memory = unsafe { (*MEMORY.get()).assume_init_mut() };
    let told = match explain(memory) {
        Ok(told) => told,
        Err(error) => {
            #[cfg(feature = "defmt")]
            defmt::error!("elucid: {}", error);
            print(b"error of kind ", error.kind() as i64);
            return 1;
        }
    };
    print(b"class ", told.class.into());
    print(b"probability, millionths ", millionths(told.probability.into()));
    print(b"relevance, millionths ", millionths(told.start));
    print(b"sum of the map, millionths ", millionths(told.sum));
    print(b"off by, in 1e-9 of the most ", (told.off * 1e9) as i64);
    print(b"arena, floats ", told.arena as i64);
    print(b"ledger steps ", told.steps as i64);
    print(b"stack, bytes ", board::stack_used() as i64);
    let conserved = (told.start - told.sum).abs() <= 1e-5 * told.start;
    let agrees = told.off <= TOLERANCE;
    print(b"conserves ", conserved.into());
    print(b"agrees with the golden map ", agrees.into());
    u32::from(!(conserved && agrees))
}

