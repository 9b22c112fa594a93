//! The caller's memory: what an explainer needs of it, and how it is dealt out.
//!
//! ```text
//! block    Elucid: mark, model, pool, opened     never moves: parts of it refer to others
//! steps    the schedule
//! entries  the ledger, if one was asked for
//! arena    everything else
//! ```
//!
//! While an explainer is planned, the planner's own memory lies behind the block.

use crate::audit::Entry;
use crate::frame;
use crate::model::Model;
use crate::overlay;
use crate::plan::{Plan, Slot, Step, Value, Workspace};

use super::{Elucid, Info, Options, Status};

/// Pieces of the memory start at multiples of this.
const ALIGN: usize = 64;

/// Memory that is dealt out piece by piece.
pub(super) struct Rest {
    pub(super) next: *mut u8,
    pub(super) left: usize,
}

impl Rest {
    pub(super) fn new(memory: *mut u8, bytes: usize) -> Self {
        Self {
            next: memory,
            left: bytes,
        }
    }

    /// Room for `count` values, aligned.
    pub(super) fn take<T>(&mut self, count: usize) -> Result<*mut T, Status> {
        let gap = self.next.align_offset(ALIGN);
        let bytes = count.checked_mul(size_of::<T>()).ok_or(Status::TooLarge)?;
        let all = gap.checked_add(bytes).ok_or(Status::TooLarge)?;
        self.left = self.left.checked_sub(all).ok_or(Status::TooSmall)?;
        let place = self.next.wrapping_add(gap);
        self.next = place.wrapping_add(bytes);
        Ok(place.cast())
    }

    /// A slice of copies of `value`.
    ///
    /// # Safety
    /// The memory is there to write to and nobody else uses it while `'s` lasts.
    unsafe fn slice<'s, T: Copy>(&mut self, count: usize, value: T) -> Result<&'s mut [T], Status> {
        let place = self.take::<T>(count)?;
        for i in 0..count {
            // SAFETY: inside the piece; the caller's promise.
            unsafe { place.add(i).write(value) };
        }
        // SAFETY: written just now; the caller's promise.
        Ok(unsafe { core::slice::from_raw_parts_mut(place, count) })
    }
}

/// Bytes of pieces, each with the gap before it.
fn total(pieces: &[(usize, usize)]) -> Result<usize, Status> {
    let mut bytes = 0usize;
    for &(count, size) in pieces {
        let piece = count.checked_mul(size).ok_or(Status::TooLarge)?;
        bytes = bytes
            .checked_add(piece)
            .and_then(|b| b.checked_next_multiple_of(ALIGN))
            .ok_or(Status::TooLarge)?;
    }
    Ok(bytes)
}

/// Bytes of working memory that planning takes, wherever it starts.
fn work_bytes(model: &Model<'_>) -> Result<usize, Status> {
    let (slots, values, steps) = Workspace::capacity(model.node_count());
    let pieces = [
        (steps, size_of::<Step>()),
        (values, size_of::<Value>()),
        (slots, size_of::<Slot>()),
    ];
    Ok(total(&pieces)? + ALIGN)
}

/// Plans in some memory: the steps first, since they stay.
///
/// # Safety
/// The memory is there to write to and nobody else uses it while `'p` lasts.
pub(super) unsafe fn plan<'p>(
    model: &Model<'_>,
    options: &Options,
    rest: &mut Rest,
) -> Result<Plan<'p>, Status> {
    let (slots, values, steps) = Workspace::capacity(model.node_count());
    // SAFETY: the caller's promise; the pieces don't overlap.
    let workspace = unsafe {
        Workspace {
            steps: rest.slice(steps, Step::EMPTY)?,
            values: rest.slice(values, Value::EMPTY)?,
            slots: rest.slice(slots, Slot::EMPTY)?,
        }
    };
    Ok(Plan::new(model, &options.plan(model)?, workspace)?)
}

/// Bytes that an explainer needs, wherever its memory starts.
pub(super) fn need(model: &Model<'_>, plan: &Plan<'_>, options: &Options) -> Result<usize, Status> {
    let block = total(&[(1, size_of::<Elucid>())])?;
    let kept = total(&[
        (1, size_of::<Elucid>()),
        (plan.steps().len(), size_of::<Step>()),
        (entries(plan, options), size_of::<Entry>()),
        (plan.arena(), size_of::<f32>()),
    ])?;
    let planning = block
        .checked_add(work_bytes(model)?)
        .ok_or(Status::TooLarge)?;
    kept.max(planning)
        .checked_add(ALIGN)
        .ok_or(Status::TooLarge)
}

/// Entries of the ledger.
pub(super) fn entries(plan: &Plan<'_>, options: &Options) -> usize {
    if options.audit == 1 {
        plan.relevance_steps().len()
    } else {
        0
    }
}

/// What an explainer needs, planned in working memory.
///
/// # Safety
/// `work` points to `bytes` bytes that nobody else uses during the call.
pub(super) unsafe fn measure(
    model: &Model<'_>,
    options: &Options,
    work: *mut u8,
    bytes: usize,
) -> Result<Info, Status> {
    // SAFETY: the caller's promise.
    let plan = unsafe { plan(model, options, &mut Rest::new(work, bytes))? };
    let shape = plan.options().image;
    let spare = |region| plan.spare(region).len();
    let drawing = overlay::scratch((shape.w, shape.h), 0);
    let line = frame::scratch(shape.w);
    let floats = spare(plan.image())
        .saturating_sub(line)
        .min(spare(plan.heat()).saturating_sub(drawing));
    let widest = (floats / frame::scratch(1)).min(frame::MAX_SIDE as usize);
    Ok(Info {
        memory_bytes: need(model, &plan, options)?,
        work_bytes: work_bytes(model)?,
        width: shape.w,
        height: shape.h,
        classes: model.classes(),
        steps: plan.relevance_steps().len() as u32 - 1,
        max_frame_width: widest as u32,
        reserved: [0; 3],
    })
}

/// Calls `f` with working memory for planning from the heap.
#[cfg(feature = "std")]
pub(super) fn with_heap<R>(
    model: &Model<'_>,
    f: impl FnOnce(*mut u8, usize) -> Result<R, Status>,
) -> Result<R, Status> {
    extern crate std;
    let bytes = work_bytes(model)?;
    let mut work = std::vec::Vec::<u8>::new();
    work.try_reserve_exact(bytes)
        .map_err(|_| Status::TooLarge)?;
    f(work.as_mut_ptr(), bytes)
}

/// There is no heap: working memory must be lent.
#[cfg(not(feature = "std"))]
pub(super) fn with_heap<R>(
    _: &Model<'_>,
    _: impl FnOnce(*mut u8, usize) -> Result<R, Status>,
) -> Result<R, Status> {
    Err(Status::TooSmall)
}
