//! The C API: what `include/elucid.h` declares. That header is its documentation; here is how it is kept.
//!
//! An explainer lives in the caller's memory: a [`Elucid`] block, the schedule, the ledger, and the arena behind them. While
//! it is planned, the planner's own memory lies where the arena will be. Nothing is global, and nothing is allocated, but for
//! [`elucid_measure`] without working memory in a build with `std`.
//!
//! What can be checked is: null, alignment, sizes, overlap, order, a closed or moved explainer, two calls at once. What the caller must
//! vouch for is in each SAFETY paragraph: that memory is as long as it was said to be, and that nobody else touches it.

mod buffer;
mod machine;
mod memory;
mod opened;
mod status;
mod types;

use core::ffi::{c_char, c_void};
use core::ptr;

use crate::model::Model;
use crate::op::head::{self, Seed};
use crate::overlay::{self, Canvas, Scene};
use crate::rule::{Init, Target};

use buffer::{Checked, Extent, Image, impossible};
pub use machine::{Device, Worker};
use opened::Opened;
pub use opened::{Elucid, Maker};
pub use status::Status;
pub use types::{
    Account, AccountStep, Answer, Broadcast, CudaInfo, Frame, Info, Options, Picture, Pool, Work,
    choice, format,
};

/// The explained class is the predicted one; ranks go on downwards from here.
pub const PREDICTED: i32 = -1;

/// Major, minor and patch version, a byte each from the third up.
const VERSION: u32 = {
    const fn number(text: &str) -> u32 {
        let (digits, mut value, mut i) = (text.as_bytes(), 0, 0);
        while i < digits.len() {
            value = 10 * value + (digits[i] - b'0') as u32;
            i += 1;
        }
        value
    }
    number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
        | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
        | number(env!("CARGO_PKG_VERSION_PATCH"))
};

/// `elucid_version`
#[unsafe(no_mangle)]
pub extern "C" fn elucid_version() -> u32 {
    VERSION
}

/// `elucid_strerror`
#[unsafe(no_mangle)]
pub extern "C" fn elucid_strerror(status: i32) -> *const c_char {
    let known = Status::ALL.iter().find(|&&s| s as i32 == status);
    known.map_or(c"no such status", |s| s.text()).as_ptr()
}

/// The model's bytes as a slice.
///
/// # Safety
/// `model` points to `bytes` bytes that nobody writes to while `'m` lasts.
unsafe fn bytes_of<'m>(model: *const c_void, bytes: usize) -> Result<(Extent, &'m [u8]), Status> {
    let extent = Extent::of(model, bytes, 1)?;
    // SAFETY: not null, no longer than a slice may be, and there by the caller's promise.
    let bytes = unsafe { core::slice::from_raw_parts(model.cast::<u8>(), bytes) };
    Ok((extent, bytes))
}

/// The options, or the defaults for a null pointer.
///
/// # Safety
/// `options` is null or points to options.
unsafe fn options_of(options: *const Options) -> Result<Options, Status> {
    Extent::maybe(options)?;
    // SAFETY: checked for null and alignment; the caller's promise.
    Ok(unsafe { options.as_ref() }.copied().unwrap_or_default())
}

/// `elucid_measure`
///
/// # Safety
/// Pointers are null or valid for what `elucid.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_measure(
    model: *const c_void,
    model_bytes: usize,
    options: *const Options,
    work: *mut c_void,
    work_bytes: usize,
    info: *mut Info,
) -> i32 {
    // SAFETY: the caller's promise.
    let measure = || unsafe {
        let (model_extent, bytes) = bytes_of(model, model_bytes)?;
        let options = options_of(options)?;
        let out = Extent::one(info)?;
        out.apart(&[model_extent])?;
        let model = Model::parse(bytes)?;
        let found = if work.is_null() {
            memory::with_heap(&model, |work, bytes| {
                memory::measure(&model, &options, work, bytes)
            })?
        } else {
            let extent = Extent::of(work, work_bytes, 1)?;
            extent.apart(&[model_extent, out])?;
            memory::measure(&model, &options, work.cast(), work_bytes)?
        };
        info.write(found);
        Ok(())
    };
    Status::code(measure())
}

/// `elucid_open`
///
/// # Safety
/// Pointers are null or valid for what `elucid.h` says; model and memory stay until [`elucid_close`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_open(
    model: *const c_void,
    model_bytes: usize,
    options: *const Options,
    memory: *mut c_void,
    memory_bytes: usize,
    explainer: *mut *mut Elucid,
) -> i32 {
    let memory = (memory, memory_bytes);
    // SAFETY: the caller's promise.
    unsafe { open_on(None, (model, model_bytes), options, memory, explainer) }
}

/// `elucid_open`, on the device that `maker` makes if there is one.
///
/// # Safety
/// As for [`elucid_open`].
pub unsafe fn open_on(
    maker: Option<Maker<'_>>,
    (model, model_bytes): (*const c_void, usize),
    options: *const Options,
    (memory, memory_bytes): (*mut c_void, usize),
    explainer: *mut *mut Elucid,
) -> i32 {
    // SAFETY: the caller's promise.
    let open = || unsafe {
        let (model_extent, bytes) = bytes_of(model, model_bytes)?;
        let options = options_of(options)?;
        let place = Extent::one(explainer)?;
        let extent = Extent::of(memory, memory_bytes, 1)?;
        extent.apart(&[model_extent, place])?;
        place.apart(&[model_extent])?;
        let model = Model::parse(bytes)?;
        let memory = (memory.cast(), memory_bytes);
        explainer.write(opened::open(model, model_extent, &options, memory, maker)?);
        Ok(())
    };
    Status::code(open())
}

/// `elucid_set_pool`
///
/// # Safety
/// `explainer` came from [`elucid_open`]; `pool` is null or points to a pool that keeps the promises in `elucid.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_set_pool(explainer: *mut Elucid, pool: *const Pool) -> i32 {
    // SAFETY: the caller's promise.
    let set = || unsafe {
        Extent::maybe(pool)?;
        let pool = pool.as_ref().copied();
        opened::enter(explainer, |block| block.set_pool(pool))
    };
    Status::code(set())
}

/// `elucid_class_name`
///
/// # Safety
/// `explainer` came from [`elucid_open`]; `name` is null or points to `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_class_name(
    explainer: *mut Elucid,
    class: u32,
    name: *mut c_char,
    bytes: usize,
) -> i32 {
    let extent = || Extent::of(name, bytes, 1);
    // SAFETY: the caller's promise.
    let copy = || unsafe {
        opened::enter(explainer, |block| {
            extent()?.apart(&block.extents())?;
            let model = block.model();
            if class >= model.classes() {
                return Err(Status::Target);
            }
            let text = model.class_name(class).unwrap_or_default();
            if text.len() >= bytes {
                return Err(Status::TooSmall);
            }
            ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), text.len());
            name.add(text.len()).write(0);
            Ok(())
        })
    };
    Status::code(copy())
}

/// Runs the network on a frame.
///
/// # Safety
/// `frame` points to a frame whose planes are as it says.
unsafe fn forward(
    opened: &mut Opened,
    frame: *const Frame,
    own: &[Extent; 2],
    outputs: &[Extent],
) -> Result<(), Status> {
    let extent = Extent::one(frame)?;
    // SAFETY: checked for null and alignment; the caller's promise.
    let checked = unsafe { Checked::read(&*frame)? };
    for output in outputs {
        output.apart(&[extent, checked.extents[0], checked.extents[1]])?;
    }
    // The arena is written to.
    own[0].apart(&checked.extents)?;
    match checked.image {
        Image::Tensor((width, height), data) => {
            let shape = opened.shape();
            if (width, height) != (shape.w, shape.h) {
                return Err(Status::Frame);
            }
            opened.explainer.forward(data)
        }
        Image::Pixels(frame) => opened.prepare(&frame),
    }
}

/// `elucid_classify`
///
/// # Safety
/// `explainer` came from [`elucid_open`]; the other pointers are null or valid for what `elucid.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_classify(
    explainer: *mut Elucid,
    frame: *const Frame,
    answer: *mut Answer,
    logits: *mut f32,
    logit_count: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    let classify = || unsafe {
        opened::enter(explainer, |block| {
            let own = block.extents();
            let out = Extent::one(answer)?;
            let logit_bytes = logit_count.saturating_mul(size_of::<f32>());
            let all = if logits.is_null() {
                Extent::EMPTY
            } else {
                Extent::of(logits, logit_bytes, align_of::<f32>())?
            };
            out.apart(&own)?;
            all.apart(&[own[0], own[1], out])?;
            let classes = block.model().classes() as usize;
            if !logits.is_null() && logit_count < classes {
                return Err(Status::TooSmall);
            }
            let opened = block.opened();
            forward(opened, frame, &own, &[out, all])?;
            let found = opened.explainer.scores()?;
            let seed = head::seed(found, Target::Predicted, Init::Logit)?;
            if !logits.is_null() {
                ptr::copy_nonoverlapping(found.as_ptr(), logits, found.len().min(classes));
            }
            answer.write(Answer {
                relevance: 0.0,
                ..said(&seed, seed.probability)
            });
            Ok(())
        })
    };
    Status::code(classify())
}

/// What a seed says, for C.
fn said(seed: &Seed, predicted_probability: f32) -> Answer {
    Answer {
        predicted: seed.predicted,
        target: seed.target,
        predicted_probability,
        probability: seed.probability,
        logit: seed.logit,
        relevance: seed.relevance,
    }
}

/// The class that a number names.
fn wanted(target: i32, classes: u32) -> Result<Target, Status> {
    let (index, wanted) = match target {
        PREDICTED => return Ok(Target::Predicted),
        class @ 0.. => (class.cast_unsigned(), Target::Class(class.cast_unsigned())),
        rank => {
            let rank = rank.abs_diff(PREDICTED);
            (rank, Target::Rank(rank))
        }
    };
    if index < classes {
        Ok(wanted)
    } else {
        Err(Status::Target)
    }
}

/// `elucid_explain`
///
/// # Safety
/// `explainer` came from [`elucid_open`]; the other pointers are null or valid for what `elucid.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_explain(
    explainer: *mut Elucid,
    frame: *const Frame,
    target: i32,
    answer: *mut Answer,
) -> i32 {
    // SAFETY: the caller's promise.
    let explain = || unsafe {
        opened::enter(explainer, |block| {
            let own = block.extents();
            let out = Extent::one(answer)?;
            out.apart(&own)?;
            let target = wanted(target, block.model().classes())?;
            let opened = block.opened();
            if !frame.is_null() {
                forward(opened, frame, &own, &[out])?;
            } else if !opened.explainer.is_ready() {
                return Err(Status::Order);
            }
            let seed = opened.relevance(target)?;
            let scores = opened.explainer.scores()?;
            let probability = head::probability(scores, seed.predicted as usize);
            answer.write(said(&seed, probability));
            Ok(())
        })
    };
    Status::code(explain())
}

/// `elucid_heat`
///
/// # Safety
/// `explainer` came from [`elucid_open`]; the other pointers are null or valid for what `elucid.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_heat(
    explainer: *mut Elucid,
    frame: *const Frame,
    picture: *const Picture,
) -> i32 {
    // SAFETY: the caller's promise.
    let heat = || unsafe {
        opened::enter(explainer, |block| {
            let own = block.extents();
            let struct_extent = Extent::one(picture)?;
            let picture = *picture;
            let (out, stride) = picture.check()?;
            out.apart(&[own[0], own[1], struct_extent])?;
            let under = if frame.is_null() {
                None
            } else {
                let extent = Extent::one(frame)?;
                let checked = Checked::read(&*frame)?;
                out.apart(&[extent, checked.extents[0], checked.extents[1]])?;
                own[0].apart(&checked.extents)?;
                match checked.image {
                    Image::Pixels(frame) => Some(frame),
                    Image::Tensor(..) => return Err(Status::Frame),
                }
            };
            let opened = block.opened();
            let how = opened.how;
            let scene = Scene {
                size: (picture.width, picture.height),
                frame: under.as_ref().map(|frame| {
                    let size = (frame.width(), frame.height());
                    (frame, crate::frame::Geometry::of(size, &how))
                }),
            };
            let shape = opened.shape();
            let isa = opened.isa();
            let (map, spare) = opened.explainer.map()?;
            // SAFETY: checked for null, alignment and length; the caller's promise. Nothing else refers to it: it meets neither
            // the explainer's memory nor the frame.
            let bytes =
                || core::slice::from_raw_parts_mut(picture.data.cast::<u8>(), picture.bytes);
            let canvas = match picture.format {
                format::HEAT_F32 => {
                    let floats = picture.bytes / size_of::<f32>();
                    let data = core::slice::from_raw_parts_mut(picture.data.cast::<f32>(), floats);
                    Canvas::F32(data, stride)
                }
                format::HEAT_U8 => Canvas::Gray8(bytes(), stride),
                _ => Canvas::Rgba8(bytes(), stride),
            };
            overlay::draw(isa, map, (shape.w, shape.h), scene, canvas, spare).map_err(impossible)
        })
    };
    Status::code(heat())
}

/// `elucid_audit`
///
/// # Safety
/// `explainer` came from [`elucid_open`]; the other pointers are null or valid for what `elucid.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_audit(
    explainer: *mut Elucid,
    account: *mut Account,
    steps: *mut AccountStep,
    capacity: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    let audit = || unsafe {
        opened::enter(explainer, |block| {
            let own = block.extents();
            let out = Extent::one(account)?;
            out.apart(&own)?;
            let list = if steps.is_null() {
                Extent::EMPTY
            } else {
                let bytes = capacity.saturating_mul(size_of::<AccountStep>());
                Extent::of(steps, bytes, align_of::<AccountStep>())?
            };
            list.apart(&[own[0], own[1], out])?;
            let opened = block.opened();
            let (total, entries) = opened.account()?;
            if !steps.is_null() {
                if capacity < total.steps as usize {
                    return Err(Status::TooSmall);
                }
                for (i, entry) in entries.enumerate() {
                    steps.add(i).write(entry);
                }
            }
            account.write(total);
            Ok(())
        })
    };
    Status::code(audit())
}

/// `elucid_close`
///
/// # Safety
/// `explainer` is null or came from [`elucid_open`], and its memory is still there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_close(explainer: *mut Elucid) -> i32 {
    // SAFETY: the caller's promise.
    Status::code(unsafe { opened::close(explainer) })
}

/// `elucid_cuda_probe` where there is no operating system, and so no driver.
///
/// # Safety
/// None is needed: nothing is touched.
#[cfg(feature = "bare")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_cuda_probe(_: u32, info: *mut CudaInfo) -> i32 {
    Status::code(Extent::one(info).and(Err(Status::NoDriver)))
}

/// `elucid_cuda_open` where there is no operating system, and so no driver.
///
/// # Safety
/// None is needed: nothing is touched.
#[cfg(feature = "bare")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elucid_cuda_open(
    _: u32,
    _: *const c_void,
    _: usize,
    _: *const Options,
    _: *mut c_void,
    _: usize,
    explainer: *mut *mut Elucid,
) -> i32 {
    Status::code(Extent::one(explainer).and(Err(Status::NoDriver)))
}

#[cfg(feature = "bare")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // A bug of elucid, on a board with nobody to tell: stand still, and let the watchdog do its work.
    loop {
        core::hint::spin_loop();
    }
}
