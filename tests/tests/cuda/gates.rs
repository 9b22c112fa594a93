//! Gates that need no device: launches of an explanation, memory on the device, and prices against what steps say.

use elucid::cost::{self, Cost};
use elucid::lower::{Layout, Lowering};
use elucid_core::Shape;
use elucid_core::arch::ala::Ala;
use elucid_core::arch::resnet::Resnet;
use elucid_core::arch::vit::{CLIP, Vit};
use elucid_core::graph::{Activation, Op};
use elucid_core::plan::{Act, Memory, Options, Plan};
use elucid_core::rule::{Composite, Init, Split};
use elucid_host::aligned::Aligned;
use elucid_host::architecture::Network;
use elucid_host::engine::PlanMemory;
use elucid_tests::forge::hollow;

/// Most launches of an explanation of ResNet-50.
const LAUNCHES: usize = 260;

/// Most bytes on the device beside weights and arena: sums over weights, one for each tap and output channel, are most of them.
const REST: u64 = 1 << 20;

const EXACT: Composite = Composite::exact(Split::Ratio);

/// Calls `f` with a plan of a network without its weights.
fn planned(
    net: &dyn Network,
    options: &Options,
    mut f: impl FnMut(&elucid_core::Model<'_>, &Plan<'_>),
) {
    let bytes = Aligned::copy_of(&hollow(net));
    let model = elucid_core::Model::parse(bytes.bytes()).expect("a model");
    let mut memory = PlanMemory::new(&model);
    f(&model, &memory.plan(&model, options).expect("a plan"));
}

fn resnet(depth: u32) -> Resnet {
    Resnet::imagenet(depth, 64, 1000).expect("published")
}

/// ViT-B/16 of CLIP with the adapter of ImageNet-S.
fn adapter() -> Ala {
    let encoder = Vit {
        names: CLIP,
        prefix: "",
        patch: 16,
        width: 768,
        depth: 12,
        heads: 12,
        mlp: 3072,
        grid: [14, 14],
        act: Activation::QuickGelu,
        eps: 1e-5,
        patch_bias: false,
        input_bias: true,
        larger: false,
        outputs: 512,
    };
    Ala::published(encoder, 240, 919)
}

#[test]
fn an_explanation_is_few_launches() {
    for (memory, name) in Memory::ALL {
        let options = Options {
            memory,
            ..Options::new(Shape::new(224, 224, 3), Some(EXACT))
        };
        planned(&resnet(50), &options, |model, plan| {
            let layout = Layout::new(model, plan);
            for tensor_cores in [false, true] {
                let lowering = Lowering::new(model, &layout, plan.options(), 0x1000)
                    .with_tensor_cores(tensor_cores);
                let count = |act: Option<Act>| -> usize {
                    let steps = plan.steps().iter();
                    let steps = steps.filter(|s| act.is_none_or(|act| s.act == act));
                    steps
                        .map(|s| {
                            lowering
                                .launches(s, Init::Probability)
                                .expect("launches")
                                .len()
                        })
                        .sum()
                };
                let all = count(None);
                println!(
                    "ResNet-50, {name}: {all} launches, {} of them computed again",
                    count(Some(Act::Recompute))
                );
                if memory != Memory::Stage {
                    assert!(all <= LAUNCHES, "{name}: {all} launches");
                }
            }
        });
    }
}

#[test]
fn a_device_holds_weights_arena_and_little_else() {
    let check = |name: &str, net: &dyn Network, options: &Options| {
        planned(net, options, |model, plan| {
            let layout = Layout::new(model, plan);
            let rest = layout.bytes() - layout.weight_bytes() - 4 * plan.arena() as u64;
            println!(
                "{name}, {:?}: {} bytes, weights {}, arena {}, rest {rest}",
                options.memory,
                layout.bytes(),
                layout.weight_bytes(),
                4 * plan.arena()
            );
            assert!(
                rest <= REST,
                "{name}: {rest} bytes beside weights and arena"
            );
            // The weights themselves are hardly more than in the file.
            let stored = model.sizes().1;
            assert!(layout.weight_bytes() <= stored + 256 * u64::from(model.tensor_count()));
        });
    };
    for (memory, _) in Memory::ALL {
        for (depth, composite) in [
            (18, EXACT),
            (50, EXACT),
            (152, EXACT),
            (50, Composite::paper(Split::Ratio)),
        ] {
            let options = Options {
                memory,
                ..Options::new(Shape::new(224, 224, 3), Some(composite))
            };
            check(&format!("ResNet-{depth}"), &resnet(depth), &options);
        }
    }
    let options = Options::new(Shape::new(384, 384, 3), Some(Composite::Attention));
    check("ViT-B/16 with the adapter", &adapter(), &options);
}

/// What steps say of their work, and launches of theirs: the same mathematics, counted twice.
#[test]
fn prices_are_what_steps_say() {
    for memory in [Memory::Keep, Memory::Block] {
        let options = Options {
            memory,
            ..Options::new(Shape::new(224, 224, 3), Some(EXACT))
        };
        planned(&resnet(50), &options, |model, plan| {
            let layout = Layout::new(model, plan);
            let lowering = Lowering::new(model, &layout, plan.options(), 0x1000);
            let mut whole = Cost::default();
            for step in plan.steps() {
                let launches = lowering
                    .launches(step, Init::Probability)
                    .expect("launches");
                let cost = cost::total(&launches).expect("priced");
                whole += cost;
                let op = model.node(step.node).op;
                let once = op.flops(step.shapes[0], step.shapes[1]);
                let products = match (step.act, op) {
                    (Act::Forward | Act::Recompute, Op::Conv(_) | Op::Linear(_)) => once,
                    (Act::Relevance, Op::Linear(_)) => 2 * once,
                    (Act::Relevance, Op::Conv(c)) if c.ci > 3 => 2 * once,
                    _ => continue,
                };
                // Denominators, divisions, factors and summands are a few for each element.
                let elements = (step.shapes[0].elements() + step.shapes[1].elements()) as u64;
                let more = cost.f32_flops - products;
                assert!(
                    more <= 3 * elements,
                    "{}: {more}",
                    model.node_name(step.node)
                );
                assert!(cost.f32_issued >= cost.f32_flops);
                // Everything that a step reads and writes comes from memory and goes there, as often as a launch touches it.
                let moved = 4 * u64::from(step.out.len);
                assert!(cost.written >= moved, "{}", model.node_name(step.node));
                assert!(cost.requested >= cost.bytes() / 2);
            }
            println!("{memory:?}: {whole:?}");
            assert!(whole.requested > whole.bytes());
        });
    }
}
