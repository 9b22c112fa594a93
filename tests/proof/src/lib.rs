//! What a firmware does with elucid: no std, no alloc, all memory static.
//!
//! [`elucid_proof`] parses a model where it lies, plans it into static buffers and explains an image over a static arena.
//! `main.c` plays the board: it brings the bytes, measures the stack and takes panics.
#![no_std]

#[cfg(feature = "defmt")]
mod log;

use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};

use elucid_core::cpu::Cpu;
use elucid_core::explain::Explainer;
use elucid_core::par::Serial;
use elucid_core::plan::{Memory, Options, Plan, Slot, Step, Value, Workspace};
use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_core::{Error, Model, Shape};

/// Nodes of the largest model.
const NODES: u16 = 64;
const CAPACITY: (usize, usize, usize) = Workspace::capacity(NODES);
/// Elements of the arena.
const ARENA: usize = 64 * 1024;

/// Memory for whoever set [`TAKEN`].
struct Static<T>(UnsafeCell<T>);

// SAFETY: the memory is only touched between a swap of `TAKEN` that found it clear and the store that clears it.
unsafe impl<T: Send> Sync for Static<T> {}

static TAKEN: AtomicBool = AtomicBool::new(false);
static SLOTS: Static<[Slot; CAPACITY.0]> = Static(UnsafeCell::new([Slot::EMPTY; CAPACITY.0]));
static VALUES: Static<[Value; CAPACITY.1]> = Static(UnsafeCell::new([Value::EMPTY; CAPACITY.1]));
static STEPS: Static<[Step; CAPACITY.2]> = Static(UnsafeCell::new([Step::EMPTY; CAPACITY.2]));
static FLOATS: Static<[f32; ARENA]> = Static(UnsafeCell::new([0.0; ARENA]));

/// Returned while another call uses the memory.
const BUSY: i32 = -100;

/// Writes the map `[height, width]` of a normalised image `[height, width, 3]` and returns the predicted class, [`BUSY`],
/// or -1 less the kind of the error.
///
/// # Safety
/// `model` points to `bytes` bytes, `image` to `3 * height * width` floats, and `map`, which overlaps neither, to
/// `height * width`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_proof(
    model: *const u8,
    bytes: usize,
    image: *const f32,
    height: u32,
    width: u32,
    map: *mut f32,
) -> i32 {
    let pixels = height as usize * width as usize;
    // SAFETY: the caller's promise.
    let (model, image, map) = unsafe {
        (
            slice::from_raw_parts(model, bytes),
            slice::from_raw_parts(image, 3 * pixels),
            slice::from_raw_parts_mut(map, pixels),
        )
    };
    if TAKEN.swap(true, Ordering::Acquire) {
        return BUSY;
    }
    // SAFETY: the flag was clear and is set now, so nobody else has these until it is cleared.
    let (workspace, arena) = unsafe {
        let workspace = Workspace {
            slots: &mut *SLOTS.0.get(),
            values: &mut *VALUES.0.get(),
            steps: &mut *STEPS.0.get(),
        };
        (workspace, &mut *FLOATS.0.get())
    };
    let result = explain(
        model,
        (image, Shape::new(height, width, 3)),
        workspace,
        arena,
        map,
    );
    TAKEN.store(false, Ordering::Release);
    match result {
        Ok(class) => class as i32,
        Err(error) => {
            #[cfg(feature = "defmt")]
            defmt::error!("elucid: {}", error);
            -1 - error.kind() as i32
        }
    }
}

fn explain(
    model: &[u8],
    (image, shape): (&[f32], Shape),
    workspace: Workspace<'_>,
    arena: &mut [f32],
    map: &mut [f32],
) -> Result<u32, Error> {
    let model = Model::parse(model)?;
    let options = Options::new(shape, Some(Composite::exact(Split::Ratio)));
    let plan = Plan::new(&model, &options, workspace)?;
    let backend = Cpu::new(&model, &plan, arena, &Serial)?;
    let mut explainer = Explainer::new(plan, backend);
    let seed = explainer.explain(image, Target::Predicted, Init::Probability, None)?;
    explainer.heat(map)?;
    Ok(seed.predicted)
}

unsafe extern "C" {
    /// The board's: does not return.
    safe fn board_panic() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    board_panic()
}
