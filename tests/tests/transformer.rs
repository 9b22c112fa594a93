//! Vision transformers and the adapter, imported as a user would, against what the official modules, open_clip and
//! torchvision computed: every feature that the golden files hold, by every kernel, in batches, on one thread and on two.

use std::path::PathBuf;

use elucid_core::graph::{Activation, NONE, Op};
use elucid_core::op::head::Seed;
use elucid_core::plan::End;
use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_core::simd::Isa;
use elucid_core::{Model, Shape};
use elucid_host::architecture::{self, Network, Wanted};
use elucid_host::checkpoint::Checkpoint;
use elucid_host::classifier::Classifier;
use elucid_host::engine::{Engine, Method, Threads};
use elucid_host::import::{Options, import};
use elucid_host::metric::resize::bilinear;
use elucid_host::model_file::ModelBytes;
use elucid_host::preprocess;
use elucid_tests::forge::Graph;
use elucid_tests::golden::path;
use elucid_tests::tensors::{Tensor, Tensors, worst};

/// Largest difference from an official feature, relative to its largest value.
const TOLERANCE: f64 = 1e-5;

fn folder(name: &str) -> PathBuf {
    path(name)
}

fn model_as(checkpoint: &Checkpoint, wanted: &Wanted, half: bool) -> ModelBytes {
    let net = architecture::infer(checkpoint, wanted).unwrap();
    let options = Options {
        bn_eps: 1e-5,
        half,
        preprocess: preprocess::find(None, &net).unwrap(),
        classes: Vec::new(),
    };
    ModelBytes::from_bytes(
        &import(checkpoint, &net, &options).unwrap(),
        "a golden model",
    )
}

fn checkpoint(name: &str) -> Checkpoint {
    Checkpoint::open(&folder(name).join("weights.safetensors")).unwrap()
}

fn ala() -> Wanted {
    Wanted {
        heads: Some(3),
        adapter_heads: Some(4),
        ..Wanted::default()
    }
}

/// Channels last, `[n, 3, h, w] -> [n, h, w, 3]`.
fn pixels(images: &Tensor) -> (Vec<f32>, Shape) {
    let &[_, 3, h, w] = images.shape.as_slice() else {
        panic!("images of shape {:?}", images.shape)
    };
    let planes = images.data.chunks_exact(3 * h * w);
    let values = planes.flat_map(|p| (0..3 * h * w).map(|i| p[i % 3 * h * w + i / 3] as f32));
    (values.collect(), Shape::new(h as u32, w as u32, 3))
}

/// A feature `[n, rows, channels]` of a batch.
fn feature(
    model: &Model<'_>,
    (images, shape): (&[f32], Shape),
    node: &str,
    (isa, threads): (Isa, &Threads),
) -> Vec<f32> {
    let id = model.find(node).unwrap_or_else(|| panic!("no node {node}"));
    let mut engine = Engine::new(model, threads).with_kernels(isa);
    let method = Method {
        images: images.len() / shape.elements(),
        end: End::Node(id),
        ..Method::new(None)
    };
    let mut explainer = engine.open(shape, method).unwrap();
    explainer.forward(images).unwrap();
    let mut values = vec![0.0; explainer.plan().end_activation().len as usize];
    explainer.end_activation(&mut values).unwrap();
    values
}

/// `[n, c, h, w]` or `[n, c]` as `[n, h * w, c]`.
fn rows(t: &Tensor) -> Vec<f64> {
    let (n, c) = (t.shape[0], t.shape[1]);
    let cells = t.data.len() / n / c;
    let at = |i: usize| {
        let (image, rest) = (i / (cells * c), i % (cells * c));
        t.data[image * cells * c + rest % c * cells + rest / c]
    };
    (0..t.data.len()).map(at).collect()
}

fn compare(got: &[f32], want: &[f64], what: &str) {
    let got: Vec<f64> = got.iter().map(|&v| f64::from(v)).collect();
    let found = worst(&got, want);
    assert!(found.error <= TOLERANCE, "{what}: {found}");
    println!("{what}: {:.1e}", found.error);
}

#[test]
fn every_feature_of_the_adapter_is_the_official_one() {
    let golden = Tensors::load(folder("ala").join("golden.safetensors"));
    let bytes = model_as(&checkpoint("ala"), &ala(), false);
    let model = bytes.parse().unwrap();
    let (images, shape) = pixels(golden.get("image"));
    for count in [1, 2] {
        let threads = Threads::new(count).unwrap();
        for isa in Isa::available() {
            let get = |node: &str| feature(&model, (&images, shape), node, (isa, &threads));
            let what = |node: &str| format!("{node}, {}, {count} threads", isa.name());
            for (name, node) in [
                ("clip.h0", "h0"),
                ("clip.h1", "h1"),
                ("clip.h2", "h2"),
                ("clip.h3", "h3"),
                ("adapter.pixels", "pixels"),
                ("mask", "mask"),
                ("reduced", "reduced"),
                ("attention_map", "attention_map"),
                ("masked_feature", "masked_feature"),
                ("logits_attention_branch", "logits_attention_branch"),
                ("logits_perception_branch", "logits_perception_branch"),
                ("logits", "logits"),
            ] {
                compare(&get(node), &rows(golden.get(name)), &what(node));
            }
            compare(
                &get("query"),
                &golden.get("adapter.query").data,
                &what("query"),
            );
        }
    }
}

#[test]
fn one_image_or_several_and_any_number_of_threads_give_the_same_bits() {
    let golden = Tensors::load(folder("ala").join("golden.safetensors"));
    let bytes = model_as(&checkpoint("ala"), &ala(), true);
    let model = bytes.parse().unwrap();
    let (images, shape) = pixels(golden.get("image"));
    for isa in Isa::available() {
        let together = {
            let threads = Threads::new(1).unwrap();
            feature(&model, (&images, shape), "logits", (isa, &threads))
        };
        let threads = Threads::new(3).unwrap();
        let alone: Vec<f32> = images
            .chunks_exact(shape.elements())
            .flat_map(|image| feature(&model, (image, shape), "logits", (isa, &threads)))
            .collect();
        assert_eq!(together, alone, "{}", isa.name());
    }
}

#[test]
fn clips_image_encoder_is_open_clips() {
    let golden = Tensors::load(folder("clip").join("golden.safetensors"));
    let wanted = Wanted {
        heads: Some(3),
        ..Wanted::default()
    };
    let bytes = model_as(&checkpoint("clip"), &wanted, false);
    let model = bytes.parse().unwrap();
    let (images, shape) = pixels(golden.get("input"));
    let threads = Threads::new(1).unwrap();
    let get = |node: &str| feature(&model, (&images, shape), node, (Isa::detect(), &threads));
    compare(&get("conv1"), &rows(golden.get("conv1")), "conv1");
    compare(&get("ln_pre"), &golden.get("ln_pre").data, "ln_pre");
    for block in 0..4 {
        // [tokens, batch, width]
        let t = golden.get(&format!("block{block}.out_LND"));
        let &[tokens, batch, width] = t.shape.as_slice() else {
            panic!("{:?}", t.shape)
        };
        let at = |i: usize| {
            let (image, token) = (i / (tokens * width), i / width % tokens);
            t.data[(token * batch + image) * width + i % width]
        };
        let want: Vec<f64> = (0..t.data.len()).map(at).collect();
        let node = format!("transformer.resblocks.{block}.add2");
        compare(&get(&node), &want, &node);
    }
    compare(&get("proj"), &golden.get("embedding").data, "embedding");
    // The activation makes a difference, so it isn't left to chance.
    let other = Wanted {
        act: Some(Activation::Gelu),
        ..wanted
    };
    let bytes = model_as(&checkpoint("clip"), &other, false);
    let gelu = feature(
        &bytes.parse().unwrap(),
        (&images, shape),
        "proj",
        (Isa::detect(), &threads),
    );
    assert!(
        gelu.iter()
            .zip(get("proj"))
            .any(|(a, b)| (a - b).abs() > 1e-4)
    );
}

#[test]
fn prefixes_and_the_text_half_of_clip_are_no_obstacle() {
    let plain = checkpoint("clip");
    let mut whole = Checkpoint::default();
    for (name, tensor) in &plain.tensors {
        whole
            .tensors
            .insert(format!("visual.{name}"), tensor.clone());
    }
    let text = plain.tensors["ln_pre.weight"].clone();
    whole
        .tensors
        .insert("ln_final.weight".to_owned(), text.clone());
    whole
        .tensors
        .insert("transformer.resblocks.0.ln_1.weight".to_owned(), text);
    let wanted = Wanted {
        heads: Some(3),
        ..Wanted::default()
    };
    let (a, b) = (
        model_as(&plain, &wanted, false),
        model_as(&whole, &wanted, false),
    );
    let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
    for id in 0..a.tensor_count() {
        let values = |m: &Model<'_>| format!("{:?}", m.weights(id));
        assert_eq!(values(&a), values(&b));
    }
}

#[test]
fn torchvisions_transformer_has_its_logits() {
    let golden = Tensors::load(folder("vit").join("golden.safetensors"));
    let wanted = Wanted {
        heads: Some(4),
        ..Wanted::default()
    };
    let bytes = model_as(&checkpoint("vit"), &wanted, false);
    let model = bytes.parse().unwrap();
    let (images, shape) = pixels(golden.get("vit.input"));
    let threads = Threads::new(1).unwrap();
    let got = feature(
        &model,
        (&images, shape),
        "heads.head",
        (Isa::detect(), &threads),
    );
    compare(&got, &golden.get("vit.logits").data, "logits");
}

#[test]
fn timms_and_dinos_transformers_have_their_features() {
    let golden = Tensors::load(folder("timm").join("golden.safetensors"));
    let threads = Threads::new(1).unwrap();
    for (case, dino) in [("own", false), ("other", false), ("dino", true)] {
        let wanted = Wanted {
            heads: Some(4),
            dino,
            ..Wanted::default()
        };
        let bytes = model_as(&checkpoint("timm"), &wanted, false);
        let model = bytes.parse().unwrap();
        let (images, shape) = pixels(golden.get(&format!("{case}.input")));
        for (name, node) in [
            ("block0", "blocks.0.add2"),
            ("block1", "blocks.1.add2"),
            ("norm", "norm"),
            ("logits", "head"),
        ] {
            let want = &golden.get(&format!("{case}.{name}")).data;
            let how = (Isa::detect(), &threads);
            let got = feature(&model, (&images, shape), node, how);
            compare(&got, want, &format!("{case}, {node}"));
        }
    }
    // DINO's own files have no head: the class token is the answer.
    let mut bare = checkpoint("timm");
    bare.tensors.retain(|name, _| !name.starts_with("head."));
    let wanted = Wanted {
        heads: Some(4),
        ..Wanted::default()
    };
    let bytes = model_as(&bare, &wanted, false);
    let model = bytes.parse().unwrap();
    assert_eq!(model.classes(), 32);
    let (images, shape) = pixels(golden.get("own.input"));
    let mut network = Classifier::new(&model, shape, &threads);
    let got = network.logits(&images).unwrap();
    compare(got, &golden.get("own.norm").data, "class token");
}

#[test]
fn what_does_not_fit_is_refused_in_a_line() {
    let refused = |checkpoint: &Checkpoint, wanted: &Wanted| {
        let found = architecture::infer(checkpoint, wanted).and_then(|net| {
            let options = Options {
                bn_eps: 1e-5,
                half: false,
                preprocess: net.preprocess(),
                classes: Vec::new(),
            };
            import(checkpoint, &net, &options)
        });
        let error = format!("{:#}", found.unwrap_err());
        assert!(!error.contains('\n'), "{error}");
        error
    };
    let good = checkpoint("ala");
    let error = refused(&good, &Wanted::default());
    assert!(error.contains("--heads"), "{error}");
    let heads = |heads| Wanted {
        heads: Some(heads),
        ..ala()
    };
    assert!(refused(&good, &heads(5)).contains("--heads 5"));
    let lattice = |layers: &[u16]| Wanted {
        lattice: Some(layers.to_vec()),
        ..ala()
    };
    assert!(refused(&good, &lattice(&[0, 1, 2])).contains("--lattice"));
    assert!(refused(&good, &lattice(&[0, 2, 1, 3])).contains("growing"));
    assert!(refused(&good, &lattice(&[0, 1, 2, 9])).contains("layer 9"));
    let odd = Wanted {
        adapter_heads: Some(5),
        ..ala()
    };
    assert!(refused(&good, &odd).contains("--adapter-heads"));
    let mut foreign = good.clone();
    let name = "adapter.fusion_layers.layer_0.input_proj.1.weight";
    let tensor = foreign.tensors.get_mut(name).unwrap();
    tensor.shape[1] = 24;
    tensor.data.truncate(24 * 24);
    assert!(refused(&foreign, &ala()).contains("another encoder"));
    let mut cut = good.clone();
    cut.tensors.remove("reducer.conv.bias");
    assert!(refused(&cut, &ala()).contains("reducer.conv.bias is missing"));
    let mut table = good;
    let tensor = table.tensors.get_mut("clip.positional_embedding").unwrap();
    tensor.shape[0] = 36;
    tensor.data.truncate(36 * 48);
    assert!(refused(&table, &ala()).contains("square"));
}

#[test]
fn relevance_and_gradients_stop_where_there_is_no_rule() {
    let bytes = model_as(&checkpoint("ala"), &ala(), false);
    let model = bytes.parse().unwrap();
    assert!(!model.explainable());
    let threads = Threads::new(1).unwrap();
    let shape = Shape::new(128, 128, 3);
    for composite in [Composite::exact(Split::Ratio), Composite::gradient()] {
        let mut engine = Engine::new(&model, &threads);
        let Err(error) = engine.open(shape, Method::new(Some(composite))).map(drop) else {
            panic!("relevance passed a transformer")
        };
        let error = format!("{error:#}");
        assert!(error.contains("--method ala"), "{error}");
    }
    // Where it ends before the first of them, it flows: that is how Grad-CAM looks at the perception branch.
    let end = model.find("perception_branch.conv2").unwrap();
    let method = Method {
        end: End::Node(end),
        ..Method::new(Some(Composite::gradient()))
    };
    Engine::new(&model, &threads)
        .open(shape, method)
        .map(drop)
        .unwrap();
}

#[test]
fn the_adapters_map_is_a_map_like_others() {
    let golden = Tensors::load(folder("ala").join("golden.safetensors"));
    let bytes = model_as(&checkpoint("ala"), &ala(), false);
    let model = bytes.parse().unwrap();
    let (images, shape) = pixels(golden.get("image"));
    let threads = Threads::new(2).unwrap();
    let method = Method {
        images: 2,
        targets: 2,
        ..Method::new(Some(Composite::Attention))
    };
    let mut engine = Engine::new(&model, &threads);
    let mut explainer = engine.open(shape, method).unwrap();
    let mut seeds = [Seed::default(); 4];
    let targets = [Target::Predicted, Target::Class(3)].repeat(2);
    explainer.forward(&images).unwrap();
    explainer
        .maps(&targets, Init::Probability, &mut seeds, None)
        .unwrap();
    assert_eq!([seeds[1].target, seeds[3].target], [3, 3]);
    let mut maps = vec![0.0; 4 * shape.pixels()];
    explainer.heat(&mut maps).unwrap();
    let coarse = golden.get("attention_map").to_f32();
    for (map, coarse) in maps.chunks(2 * shape.pixels()).zip(coarse.chunks(64)) {
        let large = bilinear(coarse, [8, 8], [128, 128]);
        let want: Vec<f64> = large.iter().map(|&v| f64::from(v)).collect();
        let (first, second) = map.split_at(shape.pixels());
        compare(first, &want, "map");
        assert_eq!(first, second);
    }
    // A network without an adapter has none.
    let wanted = Wanted {
        heads: Some(3),
        ..Wanted::default()
    };
    let bytes = model_as(&checkpoint("clip"), &wanted, false);
    let model = bytes.parse().unwrap();
    let mut engine = Engine::new(&model, &threads);
    assert!(engine.open(Shape::new(96, 96, 3), method).is_err());
}

#[test]
fn images_that_are_no_whole_number_of_patches_lose_their_rim() {
    let bytes = model_as(&checkpoint("ala"), &ala(), false);
    let model = bytes.parse().unwrap();
    let threads = Threads::new(1).unwrap();
    let shape = Shape::new(71, 100, 3);
    let image = vec![0.5; shape.elements()];
    let map = feature(
        &model,
        (&image, shape),
        "attention_map",
        (Isa::detect(), &threads),
    );
    assert_eq!(map.len(), 4 * 6);
    assert!(map.iter().all(|v| (0.0..=1.0).contains(v)));
    // Too small for one patch.
    let shape = Shape::new(8, 100, 3);
    let mut engine = Engine::new(&model, &threads);
    assert!(engine.open(shape, Method::new(None)).is_err());
}

#[test]
fn graphs_that_nobody_would_write_run_or_are_refused() {
    // Three channels of an image as queries: a product of few channels, with fewer queries than channels.
    let mut graph = Graph::new(3);
    let mean = graph.push(Op::AvgPool, [0, NONE]);
    let product = graph.push(Op::MatMul, [mean, 0]);
    let pooled = graph.push(Op::AvgPool, [product, NONE]);
    graph.linear(pooled, 1, 2);
    let bytes = ModelBytes::from_bytes(&graph.bytes(), "made by hand");
    let model = bytes.parse().unwrap();
    let shape = Shape::new(32, 32, 3);
    let image: Vec<f32> = (0..shape.elements()).map(|i| (i % 7) as f32).collect();
    let threads = Threads::new(1).unwrap();
    let id = product;
    let method = Method {
        end: End::Node(id),
        ..Method::new(None)
    };
    let mut engine = Engine::new(&model, &threads);
    let mut explainer = engine.open(shape, method).unwrap();
    explainer.forward(&image).unwrap();
    let mut got = vec![0.0; shape.pixels()];
    explainer.end_activation(&mut got).unwrap();
    let means: Vec<f32> = (0..3)
        .map(|c| image.iter().skip(c).step_by(3).sum::<f32>() / 1024.0)
        .collect();
    for (got, pixel) in got.iter().zip(image.chunks(3)) {
        let want: f32 = pixel.iter().zip(&means).map(|(a, b)| a * b).sum();
        assert!((got - want).abs() < 1e-3, "{got} {want}");
    }
    // Without minimum and maximum there is no map.
    let method = Method::new(Some(Composite::Attention));
    assert!(Engine::new(&model, &threads).open(shape, method).is_err());
}
