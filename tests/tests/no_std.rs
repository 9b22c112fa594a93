//! Proof that the core needs neither std nor an allocator: a `#![no_std]` static library is built for this machine, its
//! symbols are looked through, and a C program that links it explains images on a painted stack.

#[path = "../proof/harness.rs"]
mod harness;

use elucid_core::arch::resnet::{Block, Resnet, Shortcut, Stage};
use elucid_core::cpu::Cpu;
use elucid_core::error::Kind;
use elucid_core::explain::Explainer;
use elucid_core::par::Serial;
use elucid_core::plan::{Options, Plan, Slot, Step, Value, Workspace};
use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_core::{Model, Shape};
use elucid_host::aligned::Aligned;
use elucid_host::synthetic::Random;
use harness::{Proof, STACK, hosted, model};

/// The same explanation in this process, with std and this CPU's vector instructions.
fn here(bytes: &[u8], image: &[f32], (height, width): (u32, u32)) -> (u32, Vec<f32>) {
    let bytes = Aligned::copy_of(bytes);
    let model = Model::parse(bytes.bytes()).unwrap();
    let (slots, values, steps) = Workspace::capacity(model.node_count());
    let options = Options::new(
        Shape::new(height, width, 3),
        Some(Composite::exact(Split::Ratio)),
    );
    let mut slots = vec![Slot::EMPTY; slots];
    let mut values = vec![Value::EMPTY; values];
    let mut steps = vec![Step::EMPTY; steps];
    let workspace = Workspace {
        slots: &mut slots,
        values: &mut values,
        steps: &mut steps,
    };
    let plan = Plan::new(&model, &options, workspace).unwrap();
    let mut arena = vec![0.0; plan.arena()];
    let cpu = Cpu::new(&model, &plan, &mut arena, &Serial).unwrap();
    let mut explainer = Explainer::new(plan, cpu);
    let seed = explainer
        .explain(image, Target::Predicted, Init::Probability, None)
        .unwrap();
    let mut map = vec![0.0; image.len() / 3];
    explainer.heat(&mut map).unwrap();
    (seed.predicted, map)
}

#[test]
fn a_board_without_std_explains_as_this_process_does() {
    let proof = Proof::build("no_std", "");
    proof.assert_bare();
    let basic = Resnet::imagenet(18, 4, 5).unwrap();
    let bottleneck = Resnet {
        block: Block::Bottleneck,
        stages: Resnet::imagenet(50, 4, 5).unwrap().stages.map(|s| {
            let blocks = s.blocks.min(2);
            Stage { blocks, ..s }
        }),
        ..basic
    };
    let padded = Resnet {
        shortcut: Shortcut::Pad,
        ..Resnet::cifar(2, 8, 7)
    };
    for (net, half, size) in [
        (basic, false, (33, 29)),
        (bottleneck, true, (40, 40)),
        (padded, true, (20, 24)),
    ] {
        let bytes = model(&net, half);
        let mut random = Random::new(3);
        let image: Vec<f32> = (0..3 * size.0 * size.1).map(|_| random.draw()).collect();
        let (class, want) = here(&bytes, &image, size);
        let got = proof.explain(&bytes, &image, size);
        assert_eq!(got.class, class as i32);
        let most = want.iter().fold(0f32, |most, v| most.max(v.abs()));
        let (at, off) = got
            .map
            .iter()
            .zip(&want)
            .map(|(g, w)| (g - w).abs() / most)
            .enumerate()
            .fold((0, 0f32), |a, b| if b.1 > a.1 { b } else { a });
        println!(
            "model of {} bytes, {size:?}: class {class}, off by {off:.1e} of the maximum, {} bytes of stack",
            bytes.len(),
            got.stack
        );
        assert_eq!(got.map.len(), want.len());
        assert!(
            most > 0.0 && off <= 1e-5,
            "{at}: {} {}",
            got.map[at],
            want[at]
        );
        assert!(got.stack <= STACK, "{} bytes of stack", got.stack);
        assert!(got.log.is_empty());

        let mut damaged = bytes;
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        let got = proof.explain(&damaged, &image, size);
        assert_eq!(got.class, -1 - Kind::Model as i32);
    }
}

#[test]
fn names_of_std_and_alloc_are_known() {
    for name in [
        "__rust_alloc",
        "_RNvCs691rhTbG0Ee_7___rustc14___rust_dealloc",
        "__rg_oom",
        "_ZN3std2io5stdio6_print17h0123456789abcdefE",
        "_ZN5alloc7raw_vec17capacity_overflow17h0123456789abcdefE",
        "_ZN4core3ptr42drop_in_place$LT$alloc..string..String$GT$17h0123456789abcdefE",
        "_RNvNtNtCs1a2b3c_3std2io5stdio6__print",
        "_RNvNtC5alloc7raw_vec17capacity_overflow",
    ] {
        assert!(hosted(name), "{name}");
    }
    for name in [
        "memcpy",
        "elucid_proof",
        "_ZN4core9panicking5panic17h0123456789abcdefE",
        "_ZN4core5alloc6layout6Layout17h0123456789abcdefE",
        "_RNvNtNtCs1a2b3c_4core5alloc6layout6Layout",
        "_RNvNtNtCs6IbZLaMqzNS_17compiler_builtins3int3mul16___rust_i128_mulo",
    ] {
        assert!(!hosted(name), "{name}");
    }
}
