//! The importer: what doesn't fit a residual network, or the network that was asked for, is refused in one line that names
//! it; what fits is stored as it is.

use elucid_core::arch::resnet::Resnet;
use elucid_core::model::Dtype;
use elucid_host::architecture::{self, Net, Wanted};
use elucid_host::checkpoint::Checkpoint;
use elucid_host::import::{Options, import};
use elucid_host::{preprocess, synthetic};
use elucid_tests::golden::path;
use elucid_tests::importer::{import_as, line, open};
use elucid_tests::suite::{basic, bottleneck, small};

/// What the importer says of a checkpoint that was changed.
fn refusal(net: &Resnet, change: impl Fn(&mut Checkpoint)) -> String {
    let mut checkpoint = synthetic::checkpoint(net, 8).unwrap();
    import_as(&checkpoint, "auto", &[]).unwrap();
    change(&mut checkpoint);
    import_as(&checkpoint, "auto", &[]).unwrap_err()
}

fn rename(checkpoint: &mut Checkpoint, from: &str, to: &str) {
    let tensor = checkpoint.tensors.remove(from).unwrap();
    checkpoint.tensors.insert(to.to_owned(), tensor);
}

#[test]
fn missing_tensors_are_named() {
    let nets = [
        basic(4, &[(2, 4), (1, 6)], 5),
        bottleneck(4, &[(1, 4, 10), (1, 5, 12)], 5),
    ];
    for net in nets {
        let names: Vec<String> = synthetic::checkpoint(&net, 8)
            .unwrap()
            .tensors
            .into_keys()
            .collect();
        for name in names {
            let error = refusal(&net, |c| drop(c.tensors.remove(&name)));
            // Without the first convolution a block can't even be recognised, nor a network without its ends.
            let named = error.contains(&name);
            let block = name.rsplit_once(".conv").map(|(block, _)| block);
            assert!(
                named || block.is_some_and(|b| error.contains(b)),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn extra_tensors_are_named() {
    for extra in [
        "layer1.0.se.weight",
        "layer9.0.conv1.weight",
        "fc2.weight",
        "head.bias",
        "conv2.weight",
    ] {
        let error = refusal(&basic(4, &[(1, 4)], 5), |c| {
            let tensor = c.tensors["fc.bias"].clone();
            c.tensors.insert(extra.to_owned(), tensor);
        });
        assert!(error.contains(extra), "{extra}: {error}");
    }
    // Many wrong tensors are still one line.
    let error = refusal(&basic(4, &[(1, 4)], 5), |c| {
        for i in 0..30 {
            let tensor = c.tensors["fc.bias"].clone();
            c.tensors.insert(format!("other{i:02}.bias"), tensor);
        }
    });
    assert!(
        error.contains("other00.bias") && error.contains("and 26 more"),
        "{error}"
    );
}

#[test]
fn misshapen_tensors_are_named() {
    let net = basic(4, &[(1, 4), (1, 6)], 5);
    let names: Vec<String> = synthetic::checkpoint(&net, 8)
        .unwrap()
        .tensors
        .into_keys()
        .collect();
    for name in &names {
        // One more channel in front, or one axis too many.
        let error = refusal(&net, |c| {
            let tensor = c.tensors.get_mut(name).unwrap();
            tensor.shape.push(1);
        });
        assert!(error.contains(name.as_str()), "{name}: {error}");
        let error = refusal(&net, |c| {
            let tensor = c.tensors.get_mut(name).unwrap();
            let row = tensor.data.len() / tensor.shape[0];
            tensor.data.extend(vec![0.0; row]);
            tensor.shape[0] += 1;
        });
        // A wider stem or block is believed, and its neighbours don't fit.
        assert!(
            error.contains(" should be ") || error.contains(name.as_str()),
            "{name}: {error}"
        );
    }
    let error = refusal(&net, |c| {
        c.tensors.get_mut("layer1.0.conv2.weight").unwrap().shape = vec![4, 4, 9, 1];
    });
    assert!(
        error.contains("layer1.0.conv2.weight is [4, 4, 9, 1] but should be [4, 4, 3, 3]"),
        "{error}"
    );
}

#[test]
fn impossible_variances_are_named() {
    let error = refusal(&basic(4, &[(1, 4)], 5), |c| {
        c.tensors.get_mut("layer1.0.bn2.running_var").unwrap().data[3] = -0.5;
    });
    assert!(
        error.contains("layer1.0.bn2.running_var") && error.contains("at 3"),
        "{error}"
    );
}

#[test]
fn weights_too_large_for_halves_are_named() {
    let net = basic(4, &[(1, 4)], 5);
    let mut checkpoint = synthetic::checkpoint(&net, 8).unwrap();
    checkpoint
        .tensors
        .get_mut("layer1.0.conv1.weight")
        .unwrap()
        .data[0] = 1e6;
    let options = |half| Options {
        bn_eps: 1e-5,
        half,
        preprocess: preprocess::find(None, &net).unwrap(),
        classes: Vec::new(),
    };
    assert!(import(&checkpoint, &net, &options(false)).is_ok());
    let error = line(&import(&checkpoint, &net, &options(true)).unwrap_err());
    assert!(
        error.contains("layer1.0.conv1.weight") && error.contains("--f16"),
        "{error}"
    );
}

#[test]
fn class_lists_must_fit() {
    let checkpoint = synthetic::checkpoint(&basic(4, &[(1, 4)], 3), 9).unwrap();
    assert!(import_as(&checkpoint, "auto", &["a", "b", "c"]).is_ok());
    for classes in [&["a", "b"][..], &["a", "b", "c", "d"]] {
        let error = import_as(&checkpoint, "auto", classes).unwrap_err();
        assert!(
            error.contains(&format!("{} names", classes.len())) && error.contains("3 classes"),
            "{error}"
        );
    }
}

#[test]
fn the_wrong_arch_is_refused() {
    let resnet18 = synthetic::checkpoint(&Resnet::imagenet(18, 4, 3).unwrap(), 1).unwrap();
    let cifar = synthetic::checkpoint(&Resnet::cifar(1, 4, 3), 1).unwrap();
    for (checkpoint, arch) in [
        (&resnet18, "auto"),
        (&resnet18, "resnet18"),
        (&resnet18, "resnet18-pool"),
        (&cifar, "cifar-resnet"),
        (&cifar, "auto+pool"),
    ] {
        import_as(checkpoint, arch, &[]).unwrap_or_else(|e| panic!("{arch}: {e}"));
    }
    for (checkpoint, arch, words) in [
        (&resnet18, "resnet34", "[3, 4, 6, 3]"),
        (&resnet18, "resnet50", "Bottleneck"),
        (&resnet18, "cifar-resnet", "7x7"),
        (&cifar, "resnet18", "[2, 2, 2, 2]"),
        (&resnet18, "vgg16", "not known"),
        (&resnet18, "resnet", "not known"),
        (&resnet18, "resnet18-pol", "not known"),
        (&resnet18, "", "not known"),
    ] {
        let error = import_as(checkpoint, arch, &[]).unwrap_err();
        assert!(
            error.contains(words) && error.contains("--arch"),
            "{arch}: {error}"
        );
    }
}

#[test]
fn networks_of_other_kinds_are_refused() {
    let mut checkpoint = synthetic::checkpoint(&basic(4, &[(1, 4)], 3), 1).unwrap();
    rename(&mut checkpoint, "conv1.weight", "features.0.weight");
    let error = import_as(&checkpoint, "auto", &[]).unwrap_err();
    assert!(
        error.contains("conv1.weight") && error.contains("torchvision"),
        "{error}"
    );
    let mut checkpoint = synthetic::checkpoint(&basic(4, &[(1, 4)], 3), 1).unwrap();
    rename(&mut checkpoint, "fc.weight", "classifier.weight");
    let error = import_as(&checkpoint, "auto", &[]).unwrap_err();
    assert!(error.contains("fc.weight"), "{error}");
}

#[test]
fn networks_are_recognised_by_names_and_shapes() {
    let nets = [
        Resnet::imagenet(18, 4, 3).unwrap(),
        Resnet::imagenet(50, 2, 7).unwrap(),
        Resnet::cifar(3, 4, 10),
        small(bottleneck(5, &[(2, 3, 9), (1, 4, 11)], 6)),
        basic(6, &[(1, 10), (2, 12), (1, 16)], 2),
    ];
    for net in nets {
        let checkpoint = synthetic::checkpoint(&net, 3).unwrap();
        let wanted = Wanted::default();
        assert_eq!(
            architecture::infer(&checkpoint, &wanted).unwrap(),
            Net::Resnet(net)
        );
    }
}

#[test]
fn models_hold_what_was_imported() {
    use elucid_host::model_file::ModelBytes;
    let checkpoint = open(&path("pth/twin.safetensors")).unwrap();
    for (half, kind) in [(false, Dtype::F32), (true, Dtype::F16)] {
        let wanted = Wanted::default();
        let net = architecture::infer(&checkpoint, &wanted).unwrap();
        let options = Options {
            bn_eps: 1e-5,
            half,
            preprocess: preprocess::find(Some("clip"), &net).unwrap(),
            classes: ["Ähre", "b", "c d"].map(str::to_owned).to_vec(),
        };
        let bytes = ModelBytes::from_bytes(&import(&checkpoint, &net, &options).unwrap(), "it");
        let model = bytes.parse().unwrap();
        assert_eq!(model.classes(), 3);
        assert_eq!(
            [0, 1, 2, 3].map(|i| model.class_name(i)),
            [Some("Ähre"), Some("b"), Some("c d"), None]
        );
        assert_eq!(model.preprocess(), options.preprocess);
        assert!(
            model.description().contains("basic blocks [1, 1]"),
            "{}",
            model.description()
        );
        let weights = model.weights(0).unwrap();
        let halves = matches!(weights, elucid_core::view::Weights::F16(_));
        assert_eq!(halves, kind == Dtype::F16);
        // Folding is nobody's business: scale and shift are gamma / sqrt(var + eps) and beta - mean * scale.
        let part = |name: &str| f64::from(checkpoint.tensors[&format!("bn1.{name}")].data[1]);
        let scale = part("weight") / (part("running_var") + 1e-5).sqrt();
        let shift = part("bias") - part("running_mean") * scale;
        assert_eq!(model.vector(1).unwrap()[1], scale as f32);
        assert_eq!(model.vector(2).unwrap()[1], shift as f32);
    }
}
