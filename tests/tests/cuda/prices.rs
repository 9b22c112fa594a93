//! What launches are said to move against what the kernels do: the checked emulator counts every byte that threads load and store.

use std::collections::BTreeMap;

use elucid::cost::{self, Cost};
use elucid::lower::{Layout, Lowering};
use elucid_core::backend::Backend;
use elucid_core::op::head::Seed;
use elucid_core::plan::{Act, Memory, Options};
use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_emulator::Emulator;
use elucid_host::engine::PlanMemory;
use elucid_host::synthetic::Random;
use elucid_tests::emulated::Emulated;
use elucid_tests::suite::{Case, NETWORKS};

/// Bytes of a kernel: loaded and stored by the emulator's count, and its price.
#[derive(Default)]
struct Found {
    loaded: u64,
    stored: u64,
    price: Cost,
}

/// Kernels that write some bytes twice, or leave what depends on the data: those that spread relevance of dead cells.
const DEPENDS: [&str; 2] = ["elucid_back", "elucid_linear_back"];

#[test]
fn prices_are_what_the_kernels_move() {
    let emulator = Emulator::checked();
    let mut kernels: BTreeMap<String, Found> = BTreeMap::new();
    let some = [
        "basic, several panels",
        "bottleneck, 4 wide",
        "basic, odd widths, a projection without stride",
    ];
    for (name, case) in NETWORKS.iter().filter(|(name, _)| some.contains(name)) {
        for (composite, memory, half) in [
            (Composite::exact(Split::Ratio), Memory::Keep, false),
            (Composite::exact(Split::Ratio), Memory::Keep, true),
            (Composite::paper(Split::Half), Memory::Block, true),
            (Composite::epsilon_plus(true), Memory::Keep, false),
        ] {
            let drawn = Case { half, ..case(name) }.draw();
            let model = drawn.model.parse().expect("a model");
            let options = Options {
                memory,
                ..Options::new(drawn.image.shape, Some(composite))
            };
            let mut planned = PlanMemory::new(&model);
            let plan = planned.plan(&model, &options).expect("a plan");
            let layout = Layout::new(&model, &plan);
            let mut device = Emulated::new(emulator, &model, &plan, &layout, true);
            let prices =
                Lowering::new(&model, &layout, plan.options(), 1 << 12).with_tensor_cores(true);
            let mut random = Random::new(3);
            let image: Vec<f32> = (0..plan.image().len).map(|_| 2.0 * random.draw()).collect();
            device.put(plan.image(), &image).expect("an image");
            emulator.clear_report();
            for step in plan.steps() {
                if step.act == Act::Seed {
                    let mut seeds = [Seed::default()];
                    device
                        .seed(step, &[Target::Predicted], Init::One, &mut seeds)
                        .expect("a seed");
                } else {
                    device.step(step, &mut []).expect("a step");
                }
                for launch in prices.launches(step, Init::One).expect("launches") {
                    let found = kernels.entry(launch.kernel.entry.to_owned()).or_default();
                    found.price += cost::cost(&launch).expect("priced");
                }
            }
            for site in emulator.report().iter().filter(|s| !s.shared) {
                let found = kernels.entry(site.kernel.clone()).or_default();
                *(if site.store {
                    &mut found.stored
                } else {
                    &mut found.loaded
                }) += site.bytes;
            }
        }
    }
    assert!(kernels.len() > 15, "{} kernels", kernels.len());
    for (name, found) in &kernels {
        let (price, loaded, stored) = (found.price, found.loaded, found.stored);
        let requested = price.requested - price.written;
        let ratio = loaded as f64 / requested.max(1) as f64;
        println!(
            "{name}: stored {stored}, price {}; loaded {loaded}, price {requested}, {ratio:.3}",
            price.written
        );
        if DEPENDS.iter().any(|one| name.starts_with(one)) {
            assert!(stored >= price.written, "{name}");
        } else {
            assert_eq!(stored, price.written, "{name}");
        }
        // Lanes of a warp that load the same bytes request them once: loaded may be more, never less. Some kernels have all
        // lanes look up the same logit or quotient.
        assert!(loaded >= requested, "{name}: {loaded} of {requested}");
        let same = ["elucid_seed", "elucid_linear_back"];
        let same = same.iter().any(|one| name.starts_with(one));
        assert!(same || ratio < 2.0, "{name}: {ratio}");
        assert!(
            price.read <= requested,
            "{name}: at least {} of {requested}",
            price.read
        );
    }
}
