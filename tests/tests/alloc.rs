//! The core allocates nothing: a counting allocator around a session whose engine is planned already.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use elucid_core::audit::Ledger;
use elucid_core::heat::quantize;
use elucid_core::plan::Memory;
use elucid_core::rule::{Init, Target};
use elucid_host::engine::{Engine, Method, Threads, ledger_entries};
use elucid_tests::subject::Run;
use elucid_tests::suite::network;

/// The system's allocator, counting the calls of each thread.
struct Counting;

thread_local! {
    // A constant without a destructor: reading it allocates nothing itself.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    CALLS.set(CALLS.get() + 1);
}

// SAFETY: every call is handed on to the system's allocator as it came; counting touches nothing but a thread-local cell.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` wants.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` wants; `memory` came from it.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's promises are those that `System` wants; `memory` came from it.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator while `f` runs.
fn calls(f: impl FnOnce()) -> u64 {
    let before = CALLS.get();
    f();
    CALLS.get() - before
}

#[test]
fn the_allocator_counts() {
    assert_eq!(calls(|| drop(std::hint::black_box(vec![1u8; 100]))), 2);
    assert_eq!(calls(|| ()), 0);
}

#[test]
fn explaining_allocates_nothing() {
    for name in [
        "basic, 8 wide",
        "bottleneck, stride on the first 1x1",
        "cifar, option A",
        "f16, basic",
    ] {
        let drawn = network(name).draw();
        let model = drawn.model.parse().unwrap();
        let threads = Threads::new(1).unwrap();
        for run in Run::all() {
            for memory in Memory::ALL.map(|(memory, _)| memory) {
                let mut engine = Engine::new(&model, &threads);
                let method = Method {
                    memory,
                    half: memory != Memory::Block,
                    ..Method::new(Some(run.composite()))
                };
                let mut explainer = engine.open(drawn.image.shape, method).unwrap();
                let mut entries = ledger_entries(explainer.plan());
                let mut map = vec![0.0; drawn.image.shape.pixels()];
                let mut logits = vec![0.0; model.classes() as usize];
                let image = &drawn.image.values;
                let found = calls(|| {
                    explainer
                        .explain(image, Target::Predicted, Init::Probability, None)
                        .unwrap();
                    let mut ledger = Ledger::new(&mut entries);
                    explainer.forward(image).unwrap();
                    explainer.logits(&mut logits).unwrap();
                    explainer
                        .relevance(Target::Class(0), Init::One, Some(&mut ledger))
                        .unwrap();
                    explainer.heat(&mut map).unwrap();
                    quantize(&mut map, 8);
                    // Neither do errors.
                    explainer
                        .explain(image, Target::Class(10_000), Init::One, None)
                        .unwrap_err();
                    explainer.forward(&image[1..]).unwrap_err();
                    assert!(ledger.account(0).balances() && ledger.account(0).worst().is_some());
                });
                assert_eq!(found, 0, "{name}, {run:?}, {memory:?}");
            }
        }
    }
}

#[test]
fn parsing_and_planning_allocate_nothing() {
    use elucid_core::Model;
    use elucid_core::cpu::Cpu;
    use elucid_core::par::Serial;
    use elucid_core::plan::{Options, Plan, Slot, Step, Value, Workspace};
    use elucid_host::aligned::Aligned;

    let net = elucid_core::arch::resnet::Resnet::imagenet(50, 16, 10).unwrap();
    let bytes = Aligned::copy_of(&elucid_tests::forge::hollow(&net));
    let model = Model::parse(bytes.bytes()).unwrap();
    let (slots, values, steps) = Workspace::capacity(model.node_count());
    let mut slots = vec![Slot::EMPTY; slots];
    let mut values = vec![Value::EMPTY; values];
    let mut steps = vec![Step::EMPTY; steps];
    let mut arena = vec![0.0; 4 << 20];
    let run = Run::all().last().unwrap();
    let found = calls(|| {
        let model = Model::parse(bytes.bytes()).unwrap();
        let options = Options::new(elucid_core::Shape::new(64, 64, 3), Some(run.composite()));
        let workspace = Workspace {
            slots: &mut slots,
            values: &mut values,
            steps: &mut steps,
        };
        let plan = Plan::new(&model, &options, workspace).unwrap();
        Cpu::new(&model, &plan, &mut arena, &Serial).unwrap();
    });
    assert_eq!(found, 0);
}
