//! The methods that LRP is compared with, against pytorch-grad-cam, captum and the official code on the golden networks.

use elucid_core::{Model, Shape};
use elucid_host::classifier::Classifier;
use elucid_host::engine::Threads;
use elucid_host::method::{Channels, Derivative, Flow, Masks, Rise, Spec, Subject};
use elucid_tests::golden::{self, Golden};
use elucid_tests::subject::Image;
use elucid_tests::tensors::{Tensor, Tensors, worst};

/// Largest difference of a map, relative to its largest value.
const MAP: f64 = 1e-4;

/// Channels last, from the order of frameworks.
fn last(tensor: &Tensor) -> Vec<f64> {
    let [.., c, h, w] = tensor.shape[..] else {
        panic!("a tensor of shape {:?}", tensor.shape)
    };
    (0..c * h * w)
        .map(|i| tensor.data[i % c * h * w + i / c])
        .collect()
}

/// An image of another size than the golden one, so that the last block has several pixels, with what it gives.
fn larger(golden: &Golden) -> (Image, Tensors) {
    let figures = Tensors::load(golden::path(golden.name).join("cam.safetensors"));
    let input = figures.get("input");
    let image = Image {
        shape: Shape::new(input.shape[2] as u32, input.shape[3] as u32, 3),
        values: last(input).iter().map(|&v| v as f32).collect(),
    };
    (image, figures)
}

fn top(logits: &[f64]) -> u32 {
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    best.unwrap() as u32
}

/// The map of a method by name.
fn map(model: &Model<'_>, image: &Image, class: u32, name: &str, batch: usize) -> Vec<f32> {
    let threads = Threads::new(1).unwrap();
    let mut network = Classifier::new(model, image.shape, &threads);
    let subject = Subject {
        image: &image.values,
        id: "a.png",
        class,
        seed: 1,
    };
    let mut method = name.parse::<Spec>().unwrap().make(batch);
    method.map(&mut network, &subject).unwrap()
}

#[test]
fn class_activation_maps_are_the_libraries() {
    for golden in Golden::all().filter(|golden| golden.name.ends_with("random")) {
        let model = golden.model.parse().unwrap();
        let (image, figures) = larger(&golden);
        let class = top(&figures.get("logits").data);
        for (name, figure) in [
            ("gradcam", "gradcam"),
            ("scorecam", "scorecam_official"),
            ("scorecam:softmax", "scorecam_pgc"),
        ] {
            for batch in [1, 7] {
                let got = map(&model, &image, class, name, batch);
                let error = worst(&got, &figures.get(figure).data);
                println!("{}, {name}: {:.1e}", golden.name, error.error);
                assert!(error.error <= MAP, "{}, {name}: {error}", golden.name);
            }
        }
        // A class that isn't the predicted one has another map.
        let other = map(&model, &image, (class + 1) % 10, "gradcam", 1);
        assert!(worst(&other, &figures.get("gradcam").data).error > 0.1);
    }
}

#[test]
fn integrated_gradients_are_captums_and_complete() {
    for golden in Golden::all().filter(|golden| golden.name.ends_with("random")) {
        let model = golden.model.parse().unwrap();
        let (image, figures) = larger(&golden);
        let class = top(&figures.get("logits").data);
        let threads = Threads::new(2).unwrap();
        let mut network = Classifier::new(&model, image.shape, &threads);
        let subject = Subject {
            image: &image.values,
            id: "a.png",
            class,
            seed: 1,
        };
        let method = Derivative {
            flow: Flow::Integrated { steps: 50 },
            channels: Channels::Sum,
            batch: 9,
        };
        let got = method.attribution(&mut network, &subject).unwrap();
        let want = last(figures.get("ig"));
        let error = worst(&got, &want);
        println!("{}, ig: {:.1e}", golden.name, error.error);
        assert!(error.error <= MAP, "{}: {error}", golden.name);
        let summed = map(&model, &image, class, "ig", 4);
        let pixels: Vec<f64> = want.chunks(3).map(|pixel| pixel.iter().sum()).collect();
        assert!(worst(&summed, &pixels).error <= MAP);
        // They sum to what the logit gains over the empty image.
        let logits = |network: &mut Classifier<'_>, image: &[f32]| {
            f64::from(network.logits(image).unwrap()[class as usize])
        };
        let gain = logits(&mut network, &image.values)
            - logits(&mut network, &vec![0.0; image.values.len()]);
        let dense = Derivative {
            flow: Flow::Integrated { steps: 300 },
            ..method
        };
        let sum: f64 = dense
            .attribution(&mut network, &subject)
            .unwrap()
            .iter()
            .map(|&v| f64::from(v))
            .sum();
        assert!(
            (sum - gain).abs() < 0.05 * gain.abs().max(0.1),
            "{sum}, {gain}"
        );
    }
}

#[test]
fn rise_is_the_official_one_for_the_same_masks() {
    let golden = Golden::load("basic_w8_32_deadchannel");
    let figures = Tensors::load(golden::path(golden.name).join("rise.safetensors"));
    let model = golden.model.parse().unwrap();
    let threads = Threads::new(1).unwrap();
    let mut network = Classifier::new(&model, golden.image.shape, &threads);
    let grids = figures.get("rise.grids");
    let shifts = figures.get("rise.shifts");
    let masks = Masks {
        grid: grids.shape[1],
        cells: grids.data.iter().map(|&v| v > 0.5).collect(),
        shifts: shifts
            .data
            .chunks(2)
            .map(|s| [s[0] as usize, s[1] as usize])
            .collect(),
    };
    let first = worst(&masks.mask(0, [32, 32]), &figures.get("rise.mask0").data);
    assert!(first.error < 1e-6, "{first}");
    let subject = Subject {
        image: &golden.image.values,
        id: "a.png",
        class: top(golden.logits()),
        seed: 0,
    };
    for batch in [1, 10] {
        let rise = Rise {
            masks: masks.count(),
            grid: masks.grid,
            share: 0.3,
            batch,
        };
        let got = rise.map_of(&masks, &mut network, &subject).unwrap();
        let error = worst(&got, &figures.get("rise.saliency_top1").data);
        println!("rise: {:.1e}", error.error);
        assert!(error.error <= 1e-3, "{error}");
    }
}

#[test]
fn random_masks_show_the_share_they_are_told() {
    let masks = Masks::draw(2000, 7, 0.3, [40, 30], 5);
    let shown =
        masks.cells.iter().filter(|&&shown| shown).count() as f64 / masks.cells.len() as f64;
    assert!((shown - 0.3).abs() < 0.01, "{shown}");
    assert!(
        masks
            .shifts
            .iter()
            .all(|&[down, right]| down < 6 && right < 5)
    );
    let most = |axis: usize| masks.shifts.iter().map(|shift| shift[axis]).max();
    assert_eq!((most(0), most(1)), (Some(5), Some(4)));
    assert_eq!(masks.mask(1999, [40, 30]).len(), 1200);
    assert_eq!(masks, Masks::draw(2000, 7, 0.3, [40, 30], 5));
    assert_ne!(masks, Masks::draw(2000, 7, 0.3, [40, 30], 6));
}

#[test]
fn every_method_gives_a_finite_map_that_repeats() {
    let golden = Golden::load("bottleneck_w4_32_random");
    let model = golden.model.parse().unwrap();
    let names = "lrp lrp:paper lrp:half lrp:paper:projection-half gradcam scorecam scorecam:softmax rise:20 ig:5 gradient \
                 gradient:abs inputxgrad:first gbp deconv smoothgrad:6 lrp-eps random constant edge lrp:q8 gradcam:q4";
    for name in names.split_whitespace() {
        let once = map(&model, &golden.image, 3, name, 4);
        assert_eq!(once.len(), 32 * 32, "{name}");
        assert!(once.iter().all(|v| v.is_finite()), "{name}");
        assert_eq!(once, map(&model, &golden.image, 3, name, 4), "{name}");
        let constant = once.iter().all(|&v| v == once[0]);
        // On an image of this size the last block has one pixel, so class activation maps say nothing.
        let flat = name == "constant" || name.contains("cam");
        assert_eq!(constant, flat, "{name}");
    }
}
