//! The training tape: its values are the official features and the core's, its gradients PyTorch's and the slopes of its
//! values; training mode, switched-off attention, low-rank changes and the optimizer do what they should.

mod slopes;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use elucid_core::arch::ala::{Ala, DROPOUTS, Dropout};
use elucid_core::graph::NodeId;
use elucid_host::architecture::{self, Net, Wanted};
use elucid_host::checkpoint::Checkpoint;
use elucid_host::synthetic::{self, Random};
use elucid_host::train::lora::{Lora, merge};
use elucid_host::train::op::{cross_entropy, values};
use elucid_host::train::optimizer::{AdamW, Settings};
use elucid_host::train::parameters::{Group, Parameters};
use elucid_host::train::tape::{Mode, Pass, Tape};
use elucid_tests::golden::path;

use elucid_tests::tensors::{Tensors, worst};

/// eps of every BatchNorm.
const EPS: f64 = 1e-5;

/// The golden adapter.
struct Case {
    net: Ala,
    checkpoint: Checkpoint,
    golden: Tensors,
    tape: Tape,
}

fn case() -> Case {
    let checkpoint = Checkpoint::open(&path("ala").join("weights.safetensors")).unwrap();
    let wanted = Wanted {
        heads: Some(3),
        adapter_heads: Some(4),
        lattice: Some(vec![0, 1, 2, 3]),
        ..Wanted::default()
    };
    let Net::Ala(net) = architecture::infer(&checkpoint, &wanted).unwrap() else {
        panic!("no adapter")
    };
    let mut golden = Tensors::load(path("ala").join("golden.safetensors"));
    golden.merge(Tensors::load(path("ala").join("training.safetensors")));
    let tape = Tape::new(&net, EPS).unwrap();
    Case {
        net,
        checkpoint,
        golden,
        tape,
    }
}

impl Case {
    fn parameters(&self) -> Parameters {
        Parameters::new(&self.checkpoint, &self.net).unwrap()
    }

    fn node(&self, name: &str) -> NodeId {
        self.tape.node(name).unwrap()
    }

    /// A golden tensor `[n, c, ..]` as `[n, rows, c]`.
    fn rows(&self, name: &str) -> Tensor {
        let t = self.golden.get(name);
        let (n, c) = (t.shape[0], t.shape[1]);
        let shape = (n, c, t.data.len() / n / c);
        let tensor = Tensor::from_vec(t.to_f32(), shape, &Device::Cpu).unwrap();
        tensor.transpose(1, 2).unwrap().contiguous().unwrap()
    }

    fn labels(&self, name: &str) -> Vec<u32> {
        let labels = &self.golden.get(name).data;
        labels.iter().map(|&l| l as u32).collect()
    }

    fn given(&self, pairs: &[(&str, &str)]) -> Vec<(NodeId, Tensor)> {
        let pair = |&(node, name): &(&str, &str)| (self.node(node), self.rows(name));
        pairs.iter().map(pair).collect()
    }

    fn logits(&self) -> [NodeId; 2] {
        ["logits_perception_branch", "logits_attention_branch"].map(|name| self.node(name))
    }

    /// The loss of the reference.
    fn loss(&self, outputs: &[Tensor], labels: &[u32]) -> Tensor {
        let first = cross_entropy(&outputs[0], labels).unwrap();
        let second = cross_entropy(&outputs[1], labels).unwrap();
        (first + (second * (1.0 / 15.0)).unwrap()).unwrap()
    }
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.contiguous().unwrap();
    values(&tensor).unwrap().to_vec()
}

fn compare(got: &Tensor, want: &[f64], tolerance: f64, what: &str) {
    let got: Vec<f64> = floats(got).iter().map(|&v| f64::from(v)).collect();
    let found = worst(&got, want);
    assert!(found.error <= tolerance, "{what}: {found}");
}

fn doubles(tensor: &Tensor) -> Vec<f64> {
    floats(tensor).iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn values_are_the_official_features() {
    let case = case();
    let given = case.given(&[("image", "image")]);
    let pairs = [
        ("h0", "clip.h0"),
        ("h1", "clip.h1"),
        ("h2", "clip.h2"),
        ("h3", "clip.h3"),
        ("query", "adapter.query"),
        ("pixels", "adapter.pixels"),
        ("mask", "mask"),
        ("reduced", "reduced"),
        ("attention_map", "attention_map"),
        ("masked_feature", "masked_feature"),
        ("logits_attention_branch", "logits_attention_branch"),
        ("logits_perception_branch", "logits_perception_branch"),
        ("logits", "logits"),
    ];
    let wanted = pairs.map(|(node, _)| case.node(node));
    let parameters = case.parameters();
    let run = |given: &[(NodeId, Tensor)], attention| {
        let pass = Pass {
            attention,
            ..Pass::eval([128, 128])
        };
        let wanted = if attention {
            &wanted[..]
        } else {
            &wanted[11..12]
        };
        case.tape.run(&parameters, given, wanted, pass).unwrap()
    };
    for (got, (node, name)) in run(&given, true).iter().zip(pairs) {
        let want = match node {
            "query" => case.golden.get(name).data.clone(),
            _ => doubles(&case.rows(name)),
        };
        compare(got, &want, 1e-5, node);
    }
    let off = &run(&given, false)[0];
    compare(
        off,
        &case.golden.get("off.logits_perception_branch").data,
        1e-5,
        "off",
    );
    // From features that were kept: the same bits.
    let kept = case.given(&[
        ("h0", "clip.h0"),
        ("h1", "clip.h1"),
        ("h2", "clip.h2"),
        ("h3", "clip.h3"),
    ]);
    assert_eq!(
        floats(&run(&kept[3..], false)[0]),
        floats(&run(&kept, false)[0])
    );
}

#[test]
fn gradients_are_pytorchs() {
    let case = case();
    let mut parameters = case.parameters();
    parameters.train(|name, p| {
        p.group != Group::Encoder || name.starts_with("clip.transformer.resblocks.2.")
    });
    let given = case.given(&[("image", "image")]);
    let pass = Pass::eval([128, 128]);
    let outputs = case
        .tape
        .run(&parameters, &given, &case.logits(), pass)
        .unwrap();
    let loss = case.loss(&outputs, &case.labels("labels"));
    compare(&loss, &case.golden.get("on.loss").data, 1e-5, "loss");
    let gradients = parameters.gradients(&loss.backward().unwrap());
    let (mut count, mut most) = (0, 0.0f64);
    for name in case.golden.names() {
        let Some(parameter) = name.strip_prefix("on.grad.") else {
            continue;
        };
        let gradient = gradients.get(parameter);
        let gradient = gradient.unwrap_or_else(|| panic!("no gradient reaches {parameter}"));
        let found = worst(&doubles(gradient), &case.golden.get(name).data);
        assert!(found.error <= 1e-4, "{parameter}: {found}");
        (count, most) = (count + 1, most.max(found.error));
    }
    // Of the adapter's blocks the file holds the first alone.
    assert_eq!((count, gradients.len()), (91, 139));
    println!("{count} gradients, {most:.1e}");
}

#[test]
fn without_attention_nothing_reaches_the_adapter() {
    let case = case();
    let mut parameters = case.parameters();
    parameters.train(|name, _| !name.starts_with("clip.transformer.resblocks.0."));
    let given = case.given(&[("image", "image")]);
    let pass = |attention| Pass {
        attention,
        ..Pass::eval([128, 128])
    };
    let logits = case.logits();
    let labels = case.labels("labels");
    let off = (case
        .tape
        .run(&parameters, &given, &logits[..1], pass(false)))
    .unwrap();
    let loss = cross_entropy(&off[0], &labels).unwrap();
    let gradients = parameters.gradients(&loss.backward().unwrap());
    let reached = |group| {
        let of = |name: &&String| Group::of(name) == group;
        gradients.keys().filter(of).count()
    };
    assert!(reached(Group::Perception) > 10 && reached(Group::Encoder) > 10);
    assert_eq!(reached(Group::Adapter) + reached(Group::AttentionBranch), 0);
    // And what training in such epochs leaves alone stays as it is, to the bit, moments included.
    let on = case
        .tape
        .run(&parameters, &given, &logits, pass(true))
        .unwrap();
    let all = parameters.gradients(&case.loss(&on, &labels).backward().unwrap());
    let mut optimizer = AdamW::new(Settings::default());
    optimizer.step(&parameters, &all, 1e-3, &[]).unwrap();
    let before = (parameters.to_checkpoint().unwrap(), optimizer.to_tensors());
    let skipped = [Group::Adapter, Group::AttentionBranch];
    // Even if gradients were there.
    optimizer.step(&parameters, &all, 1e-3, &skipped).unwrap();
    let after = (parameters.to_checkpoint().unwrap(), optimizer.to_tensors());
    for (name, tensor) in &before.0.tensors {
        let group = Group::of(name);
        let trained = parameters.get(name).is_some_and(|p| p.trained);
        let moved = after.0.tensors[name] != *tensor;
        assert_eq!(moved, trained && !skipped.contains(&group), "{name}");
    }
    for (name, tensor) in &before.1 {
        let bare = name.strip_prefix("adamw.").unwrap();
        let moved = after.1[name] != *tensor;
        assert_eq!(moved, !skipped.contains(&Group::of(bare)), "{name}");
    }
}

#[test]
fn batch_statistics_are_pytorchs() {
    let case = case();
    let parameters = case.parameters();
    let given = case.given(&[("masked_feature", "batch.feature"), ("mask", "batch.mask")]);
    let mut random = Random::new(1);
    let pass = Pass {
        image: [128, 128],
        attention: true,
        mode: Mode::Train {
            random: &mut random,
            dropouts: &[],
        },
    };
    let outputs = case
        .tape
        .run(&parameters, &given, &case.logits(), pass)
        .unwrap();
    let names = ["logits_perception_branch", "logits_attention_branch"];
    for (name, output) in names.iter().zip(&outputs) {
        let want = case.golden.get(&format!("batch.{name}"));
        compare(output, &want.data, 2e-5, name);
    }
    let loss = case.loss(&outputs, &case.labels("batch.labels"));
    compare(&loss, &case.golden.get("batch.loss").data, 1e-5, "loss");
    let gradients = parameters.gradients(&loss.backward().unwrap());
    let mut counts = [0; 2];
    for name in case.golden.names() {
        let want = &case.golden.get(name).data;
        if let Some(parameter) = name.strip_prefix("batch.grad.") {
            // What goes into a BatchNorm has no influence on what comes out if it's the same for all.
            let vain = [
                "conv1.bias",
                "conv2.bias",
                "linear1.bias",
                "linear2.bias",
                "linear3.bias",
                "fc2.bias",
            ];
            if vain.iter().any(|v| parameter.ends_with(v)) && !parameter.starts_with("att") {
                continue;
            }
            compare(&gradients[parameter], want, 1e-4, parameter);
            counts[0] += 1;
        } else if name.contains(".running_") {
            let parameter = name.strip_prefix("batch.").unwrap();
            let got = parameters.tensor(parameter).unwrap();
            compare(&got, want, 1e-6, parameter);
            counts[1] += 1;
        }
    }
    assert!(counts[0] > 20 && counts[1] == 12, "{counts:?}");
}

#[test]
fn steps_are_pytorchs() {
    let golden = case().golden;
    let tensor = |name: &str| {
        let t = golden.get(name);
        Tensor::from_vec(t.to_f32(), t.shape.as_slice(), &Device::Cpu).unwrap()
    };
    // A parameter that decays and one that doesn't.
    let mut checkpoint = synthetic::checkpoint(&slopes::Small, 1).unwrap();
    for (name, parameter) in [("adamw.w.0", "fc.weight"), ("adamw.b.0", "bn1.bias")] {
        let tensor = checkpoint.tensors.get_mut(parameter).unwrap();
        tensor.data = golden.get(name).to_f32();
    }
    let parameters = Parameters::new(&checkpoint, &slopes::Small).unwrap();
    let settings = Settings {
        decay: 0.1,
        clip: Some(0.5),
        ..Settings::default()
    };
    let mut optimizer = AdamW::new(settings);
    for step in 1..=5 {
        let gradient = |name: &str| tensor(&format!("adamw.grad.{name}.{step}"));
        let gradients = BTreeMap::from([
            ("fc.weight".to_owned(), gradient("w")),
            ("bn1.bias".to_owned(), gradient("b")),
        ]);
        let rate = 1e-2 * (1.0 - f64::from(step) / 10.0).powf(0.9);
        let norm = (optimizer.step(&parameters, &gradients, rate, &[])).unwrap();
        let want = golden.get(&format!("adamw.norm.{step}")).data[0];
        assert!((norm / want - 1.0).abs() < 1e-6, "{norm} {want}");
        for (name, parameter) in [("w", "fc.weight"), ("b", "bn1.bias")] {
            let want = &golden.get(&format!("adamw.{name}.{step}")).data;
            let got = parameters.tensor(parameter).unwrap();
            compare(&got, want, 1e-6, &format!("step {step}, {name}"));
        }
        // The state goes to a file and comes back.
        let state = optimizer.to_tensors();
        optimizer = AdamW::from_tensors(settings, &state).unwrap();
        assert_eq!(optimizer.to_tensors(), state);
    }
    let wrong = BTreeMap::from([("bn1.bias".to_owned(), tensor("adamw.grad.w.1"))]);
    assert!(optimizer.step(&parameters, &wrong, 0.1, &[]).is_err());
    let endless = (tensor("adamw.grad.b.1") * f64::INFINITY).unwrap();
    let wrong = BTreeMap::from([("bn1.bias".to_owned(), endless)]);
    assert!(optimizer.step(&parameters, &wrong, 0.1, &[]).is_err());
}

#[test]
fn changes_of_rank_zero_change_nothing_and_merged_ones_the_same() {
    let case = case();
    let images = case.given(&[("image", "image")]);
    let features = |net: &Ala, parameters: &Parameters| {
        let tape = Tape::new(net, EPS).unwrap();
        let wanted = [tape.node("h2").unwrap(), tape.node("h3").unwrap()];
        (tape.run(parameters, &images, &wanted, Pass::eval([128, 128]))).unwrap()
    };
    let plain = features(&case.net, &case.parameters());
    for (block, inner) in [
        (None, "clip.transformer.resblocks.1.add2"),
        (Some(1), "clip.ln_pre"),
    ] {
        let lora = Lora {
            block,
            rank: 4,
            query_value: true,
            ..Lora::default()
        };
        let mut parameters = case.parameters();
        let mut random = Random::new(2);
        lora.attach(&mut parameters, &case.net, &mut random)
            .unwrap();
        assert_eq!(lora.input(&case.net).unwrap(), inner);
        let trained = parameters.iter().filter(|(_, p)| p.group == Group::Lora);
        assert_eq!(trained.filter(|(_, p)| p.trained).count(), 10);
        let same = features(&case.net, &parameters);
        for (same, plain) in same.iter().zip(&plain) {
            compare(same, &doubles(plain), 1e-6, "B of zeros");
        }
        // Two steps, after which A is moved, too.
        let labels = case.labels("labels");
        let mut optimizer = AdamW::new(Settings::default());
        for _ in 0..2 {
            let pass = Pass::eval([128, 128]);
            let outputs = (case.tape.run(&parameters, &images, &case.logits(), pass)).unwrap();
            let loss = case.loss(&outputs, &labels).backward().unwrap();
            let gradients = parameters.gradients(&loss);
            assert!(
                gradients
                    .keys()
                    .filter(|n| Group::of(n) == Group::Lora)
                    .count()
                    == 10
            );
            assert!(gradients.keys().all(|n| Group::of(n) != Group::Encoder));
            optimizer.step(&parameters, &gradients, 0.05, &[]).unwrap();
        }
        let changed = features(&case.net, &parameters);
        let moved = (&changed[1] - &plain[1]).unwrap().abs().unwrap();
        let moved = moved.max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(moved > 1e-2, "{moved}");
        let merged = merge(&parameters).unwrap();
        assert!(merged.tensors.keys().all(|n| Group::of(n) != Group::Lora));
        let merged = Parameters::new(&merged, &case.net).unwrap();
        for (got, want) in features(&case.net, &merged).iter().zip(&changed) {
            compare(got, &doubles(want), 1e-5, "merged");
        }
        // What was stopped goes on.
        let stopped = parameters.to_checkpoint().unwrap();
        let mut again = Parameters::new(&stopped, &case.net).unwrap();
        lora.attach(&mut again, &case.net, &mut random).unwrap();
        assert_eq!(again.to_checkpoint().unwrap().tensors, stopped.tensors);
        let got = features(&case.net, &again);
        assert_eq!(floats(&got[1]), floats(&changed[1]));
    }
    let lora = Lora {
        block: Some(4),
        ..Lora::default()
    };
    let error = lora.block(&case.net).unwrap_err().to_string();
    assert_eq!(
        error,
        "block 4 can't be adapted; the blocks that run are 1 to 3"
    );
}

#[test]
fn passes_repeat_to_the_bit_and_dropouts_follow_their_stream() {
    let case = case();
    let given = case.given(&[("image", "image")]);
    let run = |random: &mut Random, dropouts: &[Dropout]| {
        let parameters = case.parameters();
        let pass = Pass {
            mode: Mode::Train { random, dropouts },
            ..Pass::eval([128, 128])
        };
        let names = [
            "reduced",
            "attention_map",
            "perception_branch.pooled",
            "logits",
        ];
        let wanted = names.map(|n| case.node(n));
        let outputs = case.tape.run(&parameters, &given, &wanted, pass).unwrap();
        let loss = outputs[3].sqr().unwrap().sum_all().unwrap();
        let gradients = parameters.gradients(&loss.backward().unwrap());
        let gradients: Vec<Vec<f32>> = gradients.values().map(floats).collect();
        (outputs.iter().map(floats).collect::<Vec<_>>(), gradients)
    };
    let first = run(&mut Random::new(4), &DROPOUTS);
    assert_eq!(first, run(&mut Random::new(4), &DROPOUTS));
    assert_ne!(first.0, run(&mut Random::new(5), &DROPOUTS).0);
    let zeros = first.0[0].iter().filter(|&&v| v == 0.0).count();
    assert!(
        (70..122).contains(&zeros),
        "{zeros} of 128 cells are dropped"
    );
    // A stream that goes on where it was: the second pass of two.
    let mut stream = Random::new(4);
    run(&mut stream, &DROPOUTS);
    let mut copy = stream.clone();
    assert_eq!(run(&mut stream, &DROPOUTS), run(&mut copy, &DROPOUTS));
    // Shares of zero draw nothing.
    let none = DROPOUTS.map(|d| Dropout { share: 0.0, ..d });
    let mut stream = Random::new(4);
    let without = run(&mut stream, &none);
    assert_eq!(stream.bits(), Random::new(4).bits());
    assert!(without.0[0].iter().all(|&v| v != 0.0));
    // What is kept is scaled.
    let kept = first.0[0].iter().zip(&without.0[0]);
    for (kept, plain) in kept.filter(|(kept, _)| **kept != 0.0) {
        assert!((kept / plain - 4.0).abs() < 1e-5);
    }
}

#[test]
fn what_a_pass_lacks_is_said() {
    let case = case();
    let parameters = case.parameters();
    let run = |given: &[(NodeId, Tensor)], wanted: &str, image| {
        let wanted = [case.node(wanted)];
        let result = case
            .tape
            .run(&parameters, given, &wanted, Pass::eval(image));
        format!("{:#}", result.unwrap_err())
    };
    assert_eq!(
        run(&case.given(&[("h3", "clip.h3")]), "logits", [128, 128]),
        "image: its value is needed and isn't given"
    );
    let error = run(&case.given(&[("image", "image")]), "logits", [96, 128]);
    assert!(error.starts_with("the value of image: "), "{error}");
    let error = run(&[], "logits", [8, 8]);
    assert!(error.ends_with("can't take an image of 8x8"), "{error}");
    assert!(case.tape.node("h9").is_err());
}
