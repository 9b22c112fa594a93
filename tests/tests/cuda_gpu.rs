//! The CUDA backend on a real GPU, through the driver: skipped unless `ELUCID_GPU=1`. `tests/gpu.sh` runs it; with the mock
//! driver of the emulator in `LD_LIBRARY_PATH` it runs anywhere, slowly.

use std::sync::Arc;

use elucid::{CudaError, Device};
use elucid_core::audit::Ledger;
use elucid_core::op::head::Seed;
use elucid_core::plan::Memory;
use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_core::{Model, Shape};
use elucid_host::architecture::{self, Wanted};
use elucid_host::checkpoint::Checkpoint;
use elucid_host::engine::{Engine, Method, Threads, ledger_entries};
use elucid_host::import::{self, import};
use elucid_host::model_file::ModelBytes;
use elucid_host::place::Place;
use elucid_host::preprocess;
use elucid_tests::golden::path;
use elucid_tests::subject::Image;
use elucid_tests::suite::NETWORKS;

/// Largest difference from the CPU, relative to the largest value.
const TOLERANCE: f32 = 1e-4;

/// The GPU, or a note that there is to be none.
fn gpu(what: &str) -> Option<Arc<Device>> {
    if std::env::var_os("ELUCID_GPU").is_none_or(|v| v != "1") {
        println!("{what}: SKIPPED, set ELUCID_GPU=1 on a machine with an NVIDIA GPU");
        return None;
    }
    let device = Device::open(0).unwrap_or_else(|e| panic!("ELUCID_GPU=1, but {e}"));
    println!("{what}: {}", device.describe());
    Some(device)
}

/// Seeds, logits and maps of one call.
#[derive(PartialEq)]
struct Found {
    seeds: Vec<Seed>,
    logits: Vec<f32>,
    maps: Vec<f32>,
}

/// What an engine says of some images; and whether the ledger of each map balances, if it is kept.
fn explain(
    engine: &mut Engine<'_>,
    model: &Model<'_>,
    shape: Shape,
    (method, images): (Method, &[f32]),
    audited: bool,
    what: &str,
) -> (Found, Vec<bool>) {
    let classes = model.classes();
    let maps = method.images * method.targets;
    let targets: Vec<Target> = (0..maps as u32)
        .map(|i| Target::Rank(i % method.targets as u32 % classes))
        .collect();
    let mut found = Found {
        seeds: vec![Seed::default(); maps],
        logits: vec![0.0; method.images * classes as usize],
        maps: vec![0.0; maps * shape.pixels()],
    };
    let explainer = engine.open(shape, method);
    let mut explainer = explainer.unwrap_or_else(|e| panic!("{what}: {e:#}"));
    let mut entries = ledger_entries(explainer.plan());
    let mut ledger = Ledger::new(&mut entries);
    let failed = |e: CudaError| -> ! { panic!("{what}: {e}") };
    let with = audited.then_some(&mut ledger);
    explainer.forward(images).unwrap_or_else(|e| failed(e));
    explainer
        .maps(&targets, Init::Probability, &mut found.seeds, with)
        .unwrap_or_else(|e| failed(e));
    explainer
        .logits(&mut found.logits)
        .unwrap_or_else(|e| failed(e));
    explainer
        .heat(&mut found.maps)
        .unwrap_or_else(|e| failed(e));
    let audited = (0..maps).filter(|_| audited);
    let balances = audited.map(|map| ledger.account(map).balances()).collect();
    (found, balances)
}

/// The same call on both: agreement, ledgers that balance alike, and the same bits again and as a graph. Returns the largest
/// difference of a map.
fn check(
    device: &Arc<Device>,
    model: &Model<'_>,
    shape: Shape,
    call: (Method, &[f32]),
    what: &str,
) -> f32 {
    let threads = Threads::new(1).expect("one thread");
    let audits = call.0.composite != Some(Composite::Attention);
    let mut cpu = Engine::new(model, &threads);
    let (want, balances) = explain(&mut cpu, model, shape, call, audits, what);
    let mut engine = Engine::new(model, &threads).at(&Place::Cuda(Arc::clone(device)));
    let (got, _) = explain(&mut engine, model, shape, call, false, what);
    // Making a graph, playing it, and once more audited, step by step.
    for round in 1..4 {
        let audited = round == 3 && audits;
        let (again, accounts) = explain(&mut engine, model, shape, call, audited, what);
        assert!(got == again, "{what}: round {round} differs from the first");
        assert!(!audited || accounts == balances, "{what}: {accounts:?}");
    }
    for (got, want) in got.seeds.iter().zip(&want.seeds) {
        assert_eq!(
            (got.predicted, got.target),
            (want.predicted, want.target),
            "{what}"
        );
    }
    difference(&got.logits, &want.logits, &format!("{what}: logits"));
    let pixels = shape.pixels();
    let maps = got.maps.chunks(pixels).zip(want.maps.chunks(pixels));
    maps.map(|(got, want)| difference(got, want, what))
        .fold(0.0, f32::max)
}

fn difference(got: &[f32], want: &[f32], what: &str) -> f32 {
    let most = want.iter().fold(1e-30f32, |most, v| most.max(v.abs()));
    let mut largest = 0.0f32;
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let off = (got - want).abs() / most;
        assert!(
            off <= TOLERANCE,
            "{what}: {i}: {got} instead of {want}, largest {most}"
        );
        largest = largest.max(off);
    }
    largest
}

fn method(composite: Composite, memory: Memory, images: usize, targets: usize) -> Method {
    Method {
        memory,
        images,
        targets,
        ..Method::new(Some(composite))
    }
}

#[test]
fn the_suites_networks_are_explained_as_on_the_cpu() {
    let Some(device) = gpu("conformance") else {
        return;
    };
    let composites = [
        Composite::exact(Split::Ratio),
        Composite::paper(Split::Half),
        Composite::epsilon_plus(true),
    ];
    let (mut largest, mut count) = (0.0f32, 0);
    for (number, (name, case)) in NETWORKS.iter().enumerate() {
        let drawn = case(name).draw();
        let model = drawn
            .model
            .parse()
            .unwrap_or_else(|e| panic!("{name}: {e:#}"));
        let shape = drawn.image.shape;
        let mut images = drawn.image.values.clone();
        images.extend(Image::random(number as u64, shape.h, shape.w).values);
        for (memory, mode) in Memory::ALL {
            // Every network in every memory mode; rules, batches, targets and halves by turns.
            let turn = number + memory as usize;
            let (batch, targets) = [(1, 1), (2, 1), (1, 3), (2, 2)][turn % 4];
            let composite = composites[turn % composites.len()];
            let method = Method {
                half: turn % 5 == 4,
                ..method(composite, memory, batch, targets)
            };
            let what = format!(
                "{name}, {mode}, {batch} images, {targets} targets, half {}",
                method.half
            );
            let images = &images[..batch * shape.elements()];
            largest = largest.max(check(&device, &model, shape, (method, images), &what));
            count += 1;
        }
    }
    println!(
        "{count} explanations of {} networks, largest difference {largest:.1e}",
        NETWORKS.len()
    );
}

#[test]
fn the_adapter_is_explained_as_on_the_cpu() {
    let Some(device) = gpu("adapter") else {
        return;
    };
    let checkpoint = Checkpoint::open(&path("ala").join("weights.safetensors")).expect("golden");
    let wanted = Wanted {
        heads: Some(3),
        adapter_heads: Some(4),
        ..Wanted::default()
    };
    let net = architecture::infer(&checkpoint, &wanted).expect("an adapter");
    let options = import::Options {
        bn_eps: 1e-5,
        half: false,
        preprocess: preprocess::find(None, &net).expect("the default exists"),
        classes: Vec::new(),
    };
    let bytes = import(&checkpoint, &net, &options).expect("imported");
    let bytes = ModelBytes::from_bytes(&bytes, "a golden model");
    let model = bytes.parse().expect("a model");
    for (side, images) in [(128, 1), (128, 2)] {
        let image = Image::random(3, side * images as u32, side);
        let shape = Shape::new(side, side, 3);
        let method = method(Composite::Attention, Memory::Block, images, 2);
        let what = format!("ViT with an adapter, {images} images");
        let largest = check(&device, &model, shape, (method, &image.values), &what);
        println!("{what}: largest difference {largest:.1e}");
    }
}
