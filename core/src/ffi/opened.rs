//! An explainer in the caller's memory: opened, used by one call at a time, closed.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::audit::{Entry, Ledger};
use crate::cpu::Cpu;
use crate::explain::Explainer;
use crate::frame;
use crate::model::{Model, Preprocess};
use crate::op::head::Seed;
use crate::par;
use crate::plan::{Plan, Step};
use crate::rule::{Init, Target};
use crate::shape::Shape;
use crate::simd::Isa;

use super::buffer::Extent;
use super::machine::{Device, Machine};
use super::memory::{self, Rest};
use super::{Account, AccountStep, Options, Pool, Status};

/// What an open explainer bears, mixed with its own address so that a moved one is none.
const FREE: usize = 0x31C1_0E1D;
/// What it bears during a call.
const BUSY: usize = 0x31C1_B059;
/// What it bears before it is open, and once it is closed.
const CLOSED: usize = 0;

/// An explainer, opaque to C.
#[repr(C, align(64))]
pub struct Elucid {
    /// [`FREE`], [`BUSY`] or [`CLOSED`].
    mark: AtomicUsize,
    model_extent: Extent,
    memory: Extent,
    /// What the opened refers to: only replaced while there is none.
    model: MaybeUninit<Model<'static>>,
    pool: MaybeUninit<Callback>,
    plan: MaybeUninit<Plan<'static>>,
    arena: (*mut f32, usize),
    entries: (*mut Entry, usize),
    options: Options,
    opened: MaybeUninit<Opened>,
}

/// The part of an explainer that calls change.
pub(super) struct Opened {
    pub(super) explainer: Explainer<'static, Machine>,
    pub(super) how: Preprocess,
    init: Init,
    ledger: Option<Ledger<'static>>,
    /// Whether the ledger is that of the last explanation.
    audited: bool,
}

/// Threads of the caller.
struct Callback(Pool);

// SAFETY: the context is only handed back to the caller's own function, which `elucid.h` asks to be callable from the thread that calls
// elucid; nothing here looks into it.
unsafe impl Sync for Callback {}

impl Callback {
    const NONE: Callback = Callback(Pool {
        context: ptr::null_mut(),
        broadcast: None,
        threads: 1,
        reserved: 0,
    });
}

impl par::Pool for Callback {
    fn threads(&self) -> usize {
        self.0.threads as usize
    }

    fn broadcast(&self, f: &(dyn Fn() + Sync)) {
        /// # Safety
        /// `data` points to the closure of a broadcast that hasn't returned.
        unsafe extern "C" fn work(data: *mut c_void) {
            // SAFETY: the caller's promise; the closure is `Sync`.
            let f = unsafe { *data.cast::<&(dyn Fn() + Sync)>() };
            f();
        }
        let Some(broadcast) = self.0.broadcast else {
            return f();
        };
        let data = (&raw const f).cast_mut().cast();
        // SAFETY: `elucid.h` asks that all calls of `work` have returned when this does; until then `f` lives.
        unsafe { broadcast(self.0.context, Some(work), data) }
    }
}

/// Makes a device for a plan of a model, both of which stay as long as the device.
pub type Maker<'f> = &'f dyn Fn(&'static Model<'static>, &Plan<'static>) -> Result<Device, Status>;

/// Makes an explainer, on the CPU unless there is a `maker` of devices.
///
/// # Safety
/// `memory` points to `bytes` bytes that nobody else uses until [`close`]; the bytes of the model stay as long.
pub(super) unsafe fn open(
    model: Model<'static>,
    model_extent: Extent,
    options: &Options,
    (memory, bytes): (*mut u8, usize),
    maker: Option<Maker<'_>>,
) -> Result<*mut Elucid, Status> {
    let extent = Extent::of(memory, bytes, 1)?;
    let mut rest = Rest::new(memory, bytes);
    let block = rest.take::<Elucid>(1)?;
    let after = (rest.next, rest.left);
    // SAFETY: the caller's promise.
    let plan = unsafe { memory::plan(&model, options, &mut rest)? };
    // At some addresses less would do. What is too little at one is too little at all.
    if bytes < memory::need(&model, &plan, options)? {
        return Err(Status::TooSmall);
    }
    // From here on, only the steps of what the planner used are needed.
    let mut rest = Rest::new(after.0, after.1);
    rest.take::<Step>(plan.steps().len())?;
    let plan = plan.without_values();
    let count = memory::entries(&plan, options);
    let entries = rest.take::<Entry>(count)?;
    for i in 0..count {
        // SAFETY: inside the piece; the caller's promise.
        unsafe { entries.add(i).write(Entry::EMPTY) };
    }
    let arena = rest.take::<f32>(plan.arena())?;
    // SAFETY: inside the piece; the caller's promise. Zeros are floats, whatever was there before.
    unsafe { arena.write_bytes(0, plan.arena()) };
    let fresh = Elucid {
        mark: AtomicUsize::new(CLOSED),
        model_extent,
        memory: extent,
        model: MaybeUninit::new(model),
        pool: MaybeUninit::new(Callback::NONE),
        plan: MaybeUninit::new(plan),
        arena: (arena, plan.arena()),
        entries: (entries, count),
        options: *options,
        opened: MaybeUninit::uninit(),
    };
    // SAFETY: an aligned piece for one block; the caller's promise.
    unsafe {
        block.write(fresh);
        Block(block).start(maker)?;
        (*block).mark.store(FREE ^ block.addr(), Ordering::Release);
    }
    Ok(block)
}

/// A block that one call has to itself.
pub(super) struct Block(*mut Elucid);

/// Runs one call on an explainer, if it is open and no other call does; it bears `after` then.
///
/// That it is open and that it is taken is one exchange: no other call can close it in between. Of what is no open explainer nothing is
/// written to.
///
/// # Safety
/// `explainer` is null or came from [`open`], and its memory is still there.
unsafe fn take<R>(
    explainer: *mut Elucid,
    after: usize,
    call: impl FnOnce(&mut Block) -> Result<R, Status>,
) -> Result<R, Status> {
    if explainer.is_null() {
        return Err(Status::Null);
    }
    if !explainer.is_aligned() {
        return Err(Status::Handle);
    }
    // SAFETY: aligned, and there by the caller's promise; an atomic may be looked at by several threads.
    let mark = unsafe { &(*explainer).mark };
    let [free, busy] = [FREE, BUSY].map(|m| m ^ explainer.addr());
    match mark.compare_exchange(free, busy, Ordering::Acquire, Ordering::Relaxed) {
        Ok(_) => {}
        Err(found) if found == busy => return Err(Status::Busy),
        Err(_) => return Err(Status::Handle),
    }
    let result = call(&mut Block(explainer));
    mark.store(after, Ordering::Release);
    result
}

/// Runs one call on an explainer, if it is open and no other call does.
///
/// # Safety
/// `explainer` is null or came from [`open`], and its memory is still there.
pub(super) unsafe fn enter<R>(
    explainer: *mut Elucid,
    call: impl FnOnce(&mut Block) -> Result<R, Status>,
) -> Result<R, Status> {
    // SAFETY: the caller's promise.
    unsafe { take(explainer, FREE ^ explainer.addr(), call) }
}

/// Ends an explainer: it is none from here on.
///
/// # Safety
/// As for [`enter`].
pub(super) unsafe fn close(explainer: *mut Elucid) -> Result<(), Status> {
    // SAFETY: the caller's promise. What was opened is dropped once: the explainer is none afterwards.
    unsafe {
        take(explainer, CLOSED, |block| {
            (*block.0).opened.assume_init_drop();
            Ok(())
        })
    }
}

impl Block {
    /// The model.
    pub(super) fn model(&self) -> &Model<'static> {
        // SAFETY: the block is open, so its model was written; it is only ever read.
        unsafe { (*self.0).model.assume_init_ref() }
    }

    /// The explainer's memory and its model's.
    pub(super) fn extents(&self) -> [Extent; 2] {
        // SAFETY: the block is open.
        unsafe { [(*self.0).memory, (*self.0).model_extent] }
    }

    /// What calls change.
    pub(super) fn opened(&mut self) -> &mut Opened {
        // SAFETY: the block is open, so its opened was written, and this call has it to itself; what the opened refers to lies in
        // other fields, which are only read.
        unsafe { (*self.0).opened.assume_init_mut() }
    }

    /// Makes the opened anew, with the pool that the block holds.
    ///
    /// # Safety
    /// All other fields of the block were written, and the memory they name is there and nobody else's.
    unsafe fn start(&mut self, maker: Option<Maker<'_>>) -> Result<(), Status> {
        let block = self.0;
        // SAFETY: the caller's promise. An earlier opened, whose borrows of arena and entries these replace, is not used any more.
        unsafe {
            let model: &'static Model<'static> = &*(&raw const (*block).model).cast();
            let pool: &'static Callback = &*(&raw const (*block).pool).cast();
            let plan = (*block).plan.assume_init();
            let options = (*block).options;
            let (arena, floats) = (*block).arena;
            let arena = core::slice::from_raw_parts_mut(arena, floats);
            let (entries, count) = (*block).entries;
            let ledger =
                (count > 0).then(|| Ledger::new(core::slice::from_raw_parts_mut(entries, count)));
            let machine = match maker {
                None => Machine::Cpu(Cpu::new(model, &plan, arena, pool)?),
                Some(make) => Machine::Device(make(model, &plan)?, arena),
            };
            let own = model.preprocess();
            let shape = plan.options().image;
            let crop = [shape.h, shape.w];
            // Another input size keeps the share of the picture that is cropped.
            let resize = u64::from(own.resize) * u64::from(crop[0].min(crop[1]))
                / u64::from(own.crop[0].min(own.crop[1])).max(1);
            let opened = Opened {
                explainer: Explainer::new(plan, machine),
                how: Preprocess {
                    crop,
                    resize: u32::try_from(resize).unwrap_or(u32::MAX).max(1),
                    ..own
                },
                init: options.init()?,
                ledger,
                audited: false,
            };
            (&raw mut (*block).opened).write(MaybeUninit::new(opened));
        }
        Ok(())
    }

    /// Takes another pool; what was computed is forgotten.
    pub(super) fn set_pool(&mut self, pool: Option<Pool>) -> Result<(), Status> {
        let callback = match pool {
            None => Callback::NONE,
            Some(pool) => {
                if pool.broadcast.is_none() {
                    return Err(Status::Null);
                }
                let planned = self.opened().explainer.plan().options().threads as u64;
                if pool.reserved != 0 || pool.threads == 0 || u64::from(pool.threads) > planned {
                    return Err(Status::Options);
                }
                Callback(pool)
            }
        };
        if let Machine::Device(..) = self.opened().explainer.backend() {
            // It has no use for threads.
            self.opened().explainer.forget();
            self.opened().audited = false;
            return Ok(());
        }
        // SAFETY: this call has the block to itself; the opened that refers to the old pool, and has nothing to drop on the CPU, is
        // replaced before anybody uses it.
        unsafe {
            (&raw mut (*self.0).pool).write(MaybeUninit::new(callback));
            self.start(None)
        }
    }
}

impl Opened {
    /// The network's input.
    pub(super) fn shape(&self) -> Shape {
        self.explainer.plan().options().image
    }

    /// The instruction set in use.
    pub(super) fn isa(&self) -> Isa {
        self.explainer.backend().isa()
    }

    /// Runs the network on a frame.
    pub(super) fn prepare(&mut self, frame: &frame::Frame<'_>) -> Result<(), Status> {
        let (how, isa) = (self.how, self.isa());
        self.audited = false;
        self.explainer
            .forward_from(|input, spare| frame::prepare(isa, frame, &how, input, spare))
    }

    /// Explains what the network said.
    pub(super) fn relevance(&mut self, target: Target) -> Result<Seed, Status> {
        self.audited = false;
        let seed = self
            .explainer
            .relevance(target, self.init, self.ledger.as_mut())?;
        self.audited = self.ledger.is_some();
        Ok(seed)
    }

    /// The ledger of the last explanation.
    pub(super) fn account(
        &mut self,
    ) -> Result<(Account, impl Iterator<Item = AccountStep>), Status> {
        let (map, _) = self.explainer.map()?;
        let sum = crate::math::sum(map);
        let Some(ledger) = self.ledger.as_ref().filter(|_| self.audited) else {
            return Err(Status::Options);
        };
        let account = ledger.account(0);
        let sinks = account.sinks();
        let unexplained = account.entries().map(|e| e.unexplained().abs());
        let total = Account {
            start: account.start(),
            map: sum,
            eps: sinks.eps,
            dead: sinks.dead,
            redistributed: sinks.redistributed,
            unexplained: unexplained.fold(0.0, f64::max),
            steps: account.entries().count() as u32,
            balances: u32::from(account.balances()),
        };
        let steps = account.entries().map(|entry| AccountStep {
            into: entry.tally.into,
            out: entry.tally.out,
            eps: entry.tally.sinks.eps,
            dead: entry.tally.sinks.dead,
            redistributed: entry.tally.sinks.redistributed,
            node: entry.node.into(),
            act: entry.act as u32,
        });
        Ok((total, steps))
    }
}
