//! Gradients, their relatives and zennit's rules: the maps of captum, pytorch-grad-cam and zennit on the golden networks,
//! differences of the f64 reference's logits on networks of every kind, and what can be read where relevance ends at a node.

use elucid_core::audit::Ledger;
use elucid_core::error::{Buffer, Error};
use elucid_core::graph::{NodeId, Op};
use elucid_core::op::head::Seed;
use elucid_core::plan::{End, Memory};
use elucid_core::rule::{CAPTUM_EPS, Composite, Init, Target};
use elucid_core::simd::Isa;
use elucid_core::{Model, Shape};
use elucid_host::checkpoint::Checkpoint;
use elucid_host::engine::{Engine, Method, PlanMemory, Threads, ledger_entries};
use elucid_host::model_file::ModelBytes;
use elucid_tests::golden::{self, Golden};
use elucid_tests::importer::import_as;
use elucid_tests::reference::{Preset, Split};
use elucid_tests::schedule::check;
use elucid_tests::subject::{Image, Run};
use elucid_tests::suite::NETWORKS;
use elucid_tests::tensors::{Tensor, Tensors, worst};

/// Largest difference from a map of captum's, relative to its largest value.
const MAP: f64 = 1e-5;
/// The same for its LRP, whose denominators come close to 0: f32 alone costs this much.
const LRP: f64 = 1e-3;

const CHAINS: [Composite; 4] = [
    Composite::gradient(),
    Composite::guided(),
    Composite::deconvolution(),
    Composite::duplicated(CAPTUM_EPS),
];

/// What one call gives.
struct Call {
    seeds: Vec<Seed>,
    relevance: Vec<f32>,
    activation: Vec<f32>,
}

fn call(
    model: &Model<'_>,
    images: &[Image],
    targets: &[Target],
    method: Method,
    (threads, init): (usize, Init),
) -> Call {
    let threads = Threads::new(threads).unwrap();
    let method = Method {
        images: images.len(),
        targets: targets.len() / images.len(),
        ..method
    };
    let mut engine = Engine::new(model, &threads);
    let mut explainer = engine.open(images[0].shape, method).unwrap();
    check(explainer.plan(), &format!("{method:?}"));
    let batch = images.iter().flat_map(|i| i.values.iter().copied());
    explainer.forward(&batch.collect::<Vec<_>>()).unwrap();
    let mut activation = vec![0.0; explainer.plan().end_activation().len as usize];
    explainer.end_activation(&mut activation).unwrap();
    let mut seeds = vec![Seed::default(); targets.len()];
    explainer.maps(targets, init, &mut seeds, None).unwrap();
    let mut relevance = vec![0.0; explainer.plan().end_relevance().len as usize];
    explainer.end_relevance(&mut relevance).unwrap();
    let mut again = vec![0.0; activation.len()];
    explainer.end_activation(&mut again).unwrap();
    assert_eq!(activation, again, "the way back leaves the activation");
    Call {
        seeds,
        relevance,
        activation,
    }
}

/// The relevance of the predicted class at a node, and that node's activation.
fn at(model: &Model<'_>, image: &Image, composite: Composite, node: NodeId) -> Call {
    let method = Method {
        end: End::Node(node),
        ..Method::new(Some(composite))
    };
    let images = std::slice::from_ref(image);
    call(model, images, &[Target::Predicted], method, (1, Init::One))
}

/// Channels last, from the order of frameworks.
fn last(nchw: &Tensor) -> Vec<f64> {
    let &[1, c, h, w] = nchw.shape.as_slice() else {
        panic!("a tensor of shape {:?}", nchw.shape)
    };
    (0..c * h * w)
        .map(|i| nchw.data[i % c * h * w + i / c])
        .collect()
}

#[test]
fn golden_attributions() {
    let gradient: fn(f32, f32) -> f32 = |r, _| r;
    for golden in Golden::all() {
        let model = golden.model.parse().unwrap();
        let official = Tensors::load(golden::path(golden.name).join("attributions.safetensors"));
        for (name, composite, init, finish, tolerance) in [
            ("gradient", CHAINS[0], Init::One, gradient, MAP),
            ("saliency", CHAINS[0], Init::One, |r, _| r.abs(), MAP),
            ("input_x_gradient", CHAINS[0], Init::One, |r, x| r * x, MAP),
            ("gbp", CHAINS[1], Init::One, gradient, MAP),
            ("deconv", CHAINS[2], Init::One, gradient, MAP),
            ("captum_lrp", CHAINS[3], Init::Logit, gradient, LRP),
        ] {
            let want = last(official.get(&format!("attr.{name}")));
            for (memory, _) in Memory::ALL {
                let method = Method {
                    memory,
                    end: End::Node(0),
                    ..Method::new(Some(composite))
                };
                let images = std::slice::from_ref(&golden.image);
                let got = call(&model, images, &[Target::Predicted], method, (1, init));
                let pixels = got.relevance.iter().zip(&golden.image.values);
                let map: Vec<f32> = pixels.map(|(&r, &x)| finish(r, x)).collect();
                let error = worst(&map, &want);
                println!("{}, {name}, {memory:?}: {:.1e}", golden.name, error.error);
                assert!(error.error <= tolerance, "{}, {name}: {error}", golden.name);
            }
        }
    }
}

/// The network as zennit 0.5.1 runs it: folding leaves the eps of every batch normalisation behind, whose variance is 1.
fn zennits(golden: &Golden) -> ModelBytes {
    let mut checkpoint = Checkpoint::open(&golden::path(golden.name).join("weights.safetensors"));
    let checkpoint = checkpoint.as_mut().unwrap();
    for (name, tensor) in &mut checkpoint.tensors {
        let norm = name.contains("bn") || name.contains("downsample.1");
        if norm && (name.ends_with("weight") || name.ends_with("bias")) {
            tensor.data.iter_mut().for_each(|v| *v /= 1.00001f32.sqrt());
        }
    }
    ModelBytes::from_bytes(&import_as(checkpoint, "auto", &[]).unwrap(), golden.name)
}

#[test]
fn golden_composites_of_zennit() {
    const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
    let pixel = |v: f32| [0, 1, 2].map(|i| (v - MEAN[i]) / DEVIATION[i]);
    let gamma_box = |bias| Composite::epsilon_gamma_box(pixel(0.0), pixel(1.0), bias);
    type Preset<'p> = &'p dyn Fn(bool) -> Composite;
    // What f32 costs zennit itself, by far the most where alpha and beta cancel.
    let presets: [(&str, Preset<'_>, f64); 5] = [
        ("EpsilonPlus", &Composite::epsilon_plus, 5e-5),
        ("EpsilonPlusFlat", &Composite::epsilon_plus_flat, 5e-5),
        ("EpsilonAlpha2Beta1", &Composite::alpha2_beta1, 1e-4),
        (
            "EpsilonAlpha2Beta1Flat",
            &Composite::alpha2_beta1_flat,
            1e-4,
        ),
        ("EpsilonGammaBox", &gamma_box, 5e-5),
    ];
    for golden in Golden::all() {
        let bytes = zennits(&golden);
        let model = bytes.parse().unwrap();
        let official = Tensors::load(golden::path(golden.name).join("attributions.safetensors"));
        let mut compared = 0;
        for (name, preset, tolerance) in presets {
            for (bias, word) in [(true, "bias"), (false, "nobias")] {
                let tensor = format!("zennit.{name}.{word}.R");
                if !official.contains(&tensor) {
                    continue;
                }
                let want = last(official.get(&tensor));
                for (memory, _) in Memory::ALL {
                    let method = Method {
                        memory,
                        end: End::Node(0),
                        ..Method::new(Some(preset(bias)))
                    };
                    let images = std::slice::from_ref(&golden.image);
                    let how = (2, Init::One);
                    let got = call(&model, images, &[Target::Predicted], method, how);
                    let error = worst(&got.relevance, &want);
                    println!("{}, {tensor}, {memory:?}: {:.1e}", golden.name, error.error);
                    assert!(
                        error.error <= tolerance,
                        "{}, {tensor}: {error}",
                        golden.name
                    );
                }
                compared += 1;
            }
        }
        // The box without biases is left out: f32 and f64 differ by 5e-3 there.
        assert_eq!(compared, 9, "{}", golden.name);
    }
}

/// The node of that name.
fn named(model: &Model<'_>, name: &str) -> NodeId {
    let mut nodes = 0..model.node_count();
    let node = nodes.find(|&id| model.node_name(id) == name);
    node.unwrap_or_else(|| panic!("no node {name}"))
}

/// The output of the last block.
fn last_block(model: &Model<'_>) -> NodeId {
    let nodes = (0..model.node_count()).rev();
    let mut adds = nodes.filter(|&id| matches!(model.node(id).op, Op::Add { .. }));
    adds.next().unwrap()
}

#[test]
fn golden_gradcam() {
    for golden in Golden::all() {
        let model = golden.model.parse().unwrap();
        let official = Tensors::load(golden::path(golden.name).join("attributions.safetensors"));
        let got = at(&model, &golden.image, CHAINS[0], last_block(&model));
        // One pixel: the mean gradient of a channel is the gradient.
        let products = got.relevance.iter().zip(&got.activation);
        let cam: f32 = products.map(|(r, a)| r * a).sum();
        let error = worst(&[cam], &official.get("attr.layer_gradcam_captum").data);
        assert!(error.error <= MAP, "{}: {error}", golden.name);
        // Stretched to the range from 0 to 1, a constant is 0.
        assert!(official.get("attr.gradcam").data.iter().all(|&v| v == 0.0));
    }
}

#[test]
fn gradients_are_differences_of_logits() {
    // Steps so small that next to no ReLU changes its mind; those that do are few of many directions.
    const STEP: f64 = 1e-6;
    const DIRECTIONS: u64 = 8;
    for (name, case) in NETWORKS {
        let drawn = case(name).draw();
        let model = drawn.model.parse().unwrap();
        let got = at(&model, &drawn.image, CHAINS[0], 0);
        let run = Run::new(Preset::Paper, Split::Half);
        let mut right = 0;
        for direction in 0..DIRECTIONS {
            let (h, w) = (drawn.image.shape.h, drawn.image.shape.w);
            let along = Image::random(100 + direction, h, w);
            let logit = |sign: f64| {
                let mut moved = drawn.image.to_nchw();
                for (v, d) in moved.data.iter_mut().zip(along.to_nchw().data) {
                    *v += sign * STEP * d;
                }
                drawn.reference_of(&moved, &run).logits[got.seeds[0].target as usize]
            };
            let want = (logit(1.0) - logit(-1.0)) / (2.0 * STEP);
            let pairs = got.relevance.iter().zip(&along.values);
            let terms = pairs.map(|(&g, &d)| f64::from(g) * f64::from(d));
            let size = terms.clone().map(f64::abs).sum::<f64>();
            let found: f64 = terms.sum();
            right += u64::from((found - want).abs() <= 1e-4 * size);
        }
        println!("{name}: {right} of {DIRECTIONS} directions");
        assert!(right >= DIRECTIONS - 1, "{name}: {right} of {DIRECTIONS}");
        assert!(got.relevance.iter().any(|&r| r != 0.0), "{name}");
    }
}

#[test]
fn every_mode_batch_and_number_of_threads_gives_the_same_bits() {
    let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for (name, case) in NETWORKS {
        let case = case(name);
        let drawn = case.draw();
        let model = drawn.model.parse().unwrap();
        let images = [1, 2].map(|seed| Image::random(seed, case.image.0, case.image.1));
        let other = 1 % model.classes();
        let targets = [
            Target::Predicted,
            Target::Rank(other),
            Target::Class(other),
            Target::Class(0),
        ];
        let zennits = [
            Composite::alpha2_beta1_flat(true),
            Composite::epsilon_plus(false),
        ];
        for composite in CHAINS.into_iter().chain(zennits) {
            let middle = model.node_count() / 2;
            for end in [0, middle, last_block(&model)] {
                let method = Method {
                    memory: Memory::Keep,
                    end: End::Node(end),
                    ..Method::new(Some(composite))
                };
                let one = |image: usize, target: usize| {
                    let images = std::slice::from_ref(&images[image]);
                    call(&model, images, &[targets[target]], method, (1, Init::Logit))
                };
                let want = [one(0, 0), one(0, 1), one(1, 2), one(1, 3)];
                for (memory, threads) in [(0, 1), (1, 1), (1, 3), (2, 1), (2, 2)] {
                    let memory = Memory::ALL[memory].0;
                    let method = Method { memory, ..method };
                    let got = call(&model, &images, &targets, method, (threads, Init::Logit));
                    let what = format!("{name}, {method:?}, {threads} threads");
                    let maps = got.relevance.chunks(want[0].relevance.len());
                    for ((map, want), seed) in maps.zip(&want).zip(&got.seeds) {
                        assert_eq!(*seed, want.seeds[0], "{what}");
                        assert_eq!(bits(map), bits(&want.relevance), "{what}");
                    }
                    let activations = got.activation.chunks(want[0].activation.len());
                    for (got, want) in activations.zip([&want[0], &want[2]]) {
                        assert_eq!(bits(got), bits(&want.activation), "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn ends_at_every_block_hold_what_the_reference_has_there() {
    for (name, case) in NETWORKS {
        let drawn = case(name).draw();
        let model = drawn.model.parse().unwrap();
        for run in [
            Run::new(Preset::Exact, Split::Ratio),
            Run::new(Preset::Paper, Split::ProjectionRatio),
        ] {
            let want = drawn.reference(&run);
            // The stem, the pool if there is one, the blocks; relevance of an output is that of the next one's input.
            let mut cuts = vec![("relu".to_owned(), named(&model, "conv1"))];
            let pool = want.output.contains_key("maxpool");
            cuts.extend(pool.then(|| ("maxpool".to_owned(), named(&model, "maxpool"))));
            for block in want.ratio.keys() {
                cuts.push((block.clone(), named(&model, &format!("{block}.add"))));
            }
            cuts.push(("avgpool".to_owned(), named(&model, "avgpool")));
            for (i, (layer, node)) in cuts.iter().enumerate() {
                let next = cuts.get(i + 1).map_or("fc", |(next, _)| next);
                for (memory, _) in Memory::ALL {
                    let method = Method {
                        memory,
                        end: End::Node(*node),
                        ..Method::new(Some(run.composite()))
                    };
                    let how = (1, Init::Probability);
                    let images = std::slice::from_ref(&drawn.image);
                    let targets = [run.target];
                    let got = call(&model, images, &targets, method, how);
                    let what = format!("{name}, {run:?}, {layer}, {memory:?}");
                    let output = last(&want.output[layer]);
                    let activation = worst(&got.activation, &output);
                    assert!(activation.error <= 2e-5, "{what}: {activation}");
                    let mut relevance = want.relevance[next].clone();
                    if next == "fc" {
                        relevance.shape.extend([1, 1]);
                    }
                    let relevance = worst(&got.relevance, &last(&relevance));
                    assert!(relevance.error <= 5e-5, "{what}: {relevance}");
                    // A plan for a forward pass keeps the same.
                    let threads = Threads::new(1).unwrap();
                    let mut engine = Engine::new(&model, &threads);
                    let method = Method {
                        composite: None,
                        ..method
                    };
                    let mut explainer = engine.open(drawn.image.shape, method).unwrap();
                    check(explainer.plan(), &what);
                    explainer.forward(&drawn.image.values).unwrap();
                    let mut activation = vec![0.0; output.len()];
                    explainer.end_activation(&mut activation).unwrap();
                    assert_eq!(activation, got.activation, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_map_is_the_gradient_of_the_image_summed_and_its_ledger_is_honest() {
    for golden in Golden::all() {
        let model = golden.model.parse().unwrap();
        let threads = Threads::new(1).unwrap();
        for composite in CHAINS {
            let whole = at(&model, &golden.image, composite, 0).relevance;
            for kernels in Isa::available() {
                let mut engine = Engine::new(&model, &threads).with_kernels(kernels);
                let method = Method {
                    half: true,
                    ..Method::new(Some(composite))
                };
                let mut explainer = engine.open(golden.image.shape, method).unwrap();
                let mut entries = ledger_entries(explainer.plan());
                let mut ledger = Ledger::new(&mut entries);
                let image = &golden.image.values;
                let target = Target::Predicted;
                let seed = explainer.explain(image, target, Init::One, Some(&mut ledger));
                assert_eq!(seed.unwrap().relevance, 1.0);
                let mut map = vec![0.0; golden.image.shape.pixels()];
                explainer.heat(&mut map).unwrap();
                let sums = whole
                    .chunks(3)
                    .map(|rgb| rgb.iter().map(|&r| f64::from(r)).sum());
                let error = worst(&map, &sums.collect::<Vec<f64>>());
                // Half-precision checkpoints: masks stay, denominators close to 0 don't.
                let limit = if composite == CHAINS[3] {
                    f64::MAX
                } else {
                    1e-3
                };
                assert!(
                    error.error <= limit,
                    "{}, {composite:?}: {error}",
                    golden.name
                );
                assert!(!ledger.account(0).balances());
                let mut cells = vec![0.0; image.len()];
                assert_eq!(
                    explainer.end_relevance(&mut cells),
                    Err(Error::Order.into())
                );
                assert_eq!(
                    explainer.end_activation(&mut cells),
                    Err(Error::Order.into())
                );
            }
        }
    }
}

#[test]
fn wrong_ends_are_typed_errors() {
    let golden = Golden::load("basic_w8_32_random");
    let model = golden.model.parse().unwrap();
    let mut memory = PlanMemory::new(&model);
    let mut plan = |composite: Option<Composite>, node| {
        let method = Method {
            end: End::Node(node),
            ..Method::new(composite)
        };
        let plan = memory.plan(&model, &method.options(Shape::new(32, 32, 3)));
        plan.is_ok()
    };
    let rules = Some(Run::new(Preset::Exact, Split::Ratio).composite());
    let nodes = model.node_count();
    for (composite, node, fine) in [
        (Some(CHAINS[0]), 0, true),
        (Some(CHAINS[0]), nodes - 1, true),
        (Some(CHAINS[0]), nodes, false),
        (Some(CHAINS[0]), u16::MAX, false),
        (rules, 0, false),
        (rules, 1, true),
        (rules, nodes - 1, true),
        (None, 0, true),
        (None, nodes, false),
    ] {
        assert_eq!(plan(composite, node), fine, "{composite:?} at {node}");
    }
    let threads = Threads::new(1).unwrap();
    let mut engine = Engine::new(&model, &threads);
    let method = Method {
        end: End::Node(0),
        ..Method::new(Some(CHAINS[0]))
    };
    let mut explainer = engine.open(golden.image.shape, method).unwrap();
    let mut cells = vec![0.0; golden.image.values.len()];
    assert_eq!(
        explainer.end_activation(&mut cells),
        Err(Error::Order.into())
    );
    explainer.forward(&golden.image.values).unwrap();
    explainer.end_activation(&mut cells).unwrap();
    assert_eq!(cells, golden.image.values);
    assert_eq!(
        explainer.end_relevance(&mut cells),
        Err(Error::Order.into())
    );
    let seed = explainer.relevance(Target::Predicted, Init::One, None);
    seed.unwrap();
    assert_eq!(explainer.heat(&mut cells[1..]), Err(Error::Order.into()));
    let short = explainer.end_relevance(&mut cells[1..]);
    let buffer = Buffer::Output;
    let (need, have) = (3072, 3071);
    assert_eq!(short, Err(Error::Length { buffer, need, have }.into()));
}
