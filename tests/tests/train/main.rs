//! `elucid train ala` on made-up pictures: two kinds of spots, whose places the masks know, and a small encoder with random
//! weights. Epochs without attention leave the adapter as it was to the bit; a run that is killed and resumed ends with the
//! same bits; the exported model says what the trained one said; what can't work is a line before any work is lost.

mod mistakes;
#[allow(dead_code)] // Every test file uses a part of it.
#[path = "../program/mod.rs"]
mod program;
mod recipe;
mod resnet;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use elucid_core::Shape;
use elucid_core::arch::vit::{CLIP, Vit};
use elucid_core::graph::Activation;
use elucid_host::checkpoint::{Checkpoint, Tensor};
use elucid_host::classifier::Classifier;
use elucid_host::engine::Threads;
use elucid_host::model_file::ModelBytes;
use elucid_host::synthetic;
use elucid_host::train::adapter::{self, network};
use elucid_host::train::config::Config;
use elucid_host::train::examples::{Example, Examples};
use elucid_host::train::parameters::Parameters;
use elucid_host::train::session::Watch;
use elucid_host::train::state::{self, Epoch, Folder};
use image::{GrayImage, Luma, Rgb, RgbImage};
use program::Place;

/// Pictures of each class.
const COUNT: u32 = 8;

fn encoder() -> Vit {
    Vit {
        names: CLIP,
        prefix: "",
        patch: 8,
        width: 16,
        depth: 2,
        heads: 2,
        mlp: 32,
        grid: [4, 4],
        act: Activation::QuickGelu,
        eps: 1e-5,
        patch_bias: false,
        input_bias: true,
        larger: false,
        outputs: 6,
    }
}

/// A folder with `clip.safetensors`, pictures in `data/red` and `data/blue`, and their masks.
fn place() -> Place {
    let place = Place::new();
    let weights = synthetic::checkpoint(&encoder(), 5).unwrap();
    place.write("clip.safetensors", state::bytes(&weights).unwrap());
    for folder in [
        "data",
        "data/masks",
        "data/red",
        "data/blue",
        "data/masks/red",
        "data/masks/blue",
    ] {
        place.folder(folder);
    }
    for i in 0..2 * COUNT {
        let (class, color) = match i % 2 {
            0 => ("red", [220, 40, 30]),
            _ => ("blue", [30, 60, 230]),
        };
        let (left, top) = (4 + i * 7 % 18, 3 + i * 5 % 19);
        let inside =
            |x: u32, y: u32| (left..left + 14).contains(&x) && (top..top + 12).contains(&y);
        let noise = |x: u32, y: u32| ((x * 31 + y * 17 + i * 7) % 60) as u8 + 90;
        let picture = RgbImage::from_fn(40, 40, |x, y| match inside(x, y) {
            true => Rgb(color),
            false => Rgb([noise(x, y); 3]),
        });
        let mask = GrayImage::from_fn(40, 40, |x, y| Luma([255 * u8::from(inside(x, y))]));
        picture
            .save(place.path(&format!("data/{class}/{i:02}.png")))
            .unwrap();
        mask.save(place.path(&format!("data/masks/{class}/{i:02}.png")))
            .unwrap();
    }
    place
}

/// A run's file, with lines of one's own before its tables.
fn text(own: &str) -> String {
    format!(
        "weights = \"clip.safetensors\"\nheads = 2\nimage = 32\nvalidation = 0.25\nbatch = 4\nlr = 1e-3\nclip = 1.0\n{own}\n\
         [adapter]\nwidth = 8\nheads = 2\ndepth = 2\nqueries = 4\npatch = 8\ngrid = 4\nlattice = [0, 1, 2]\n\
         [[data]]\ndir = \"data\"\nformat = \"folder\"\n"
    )
}

fn config(place: &Place, own: &str) -> Config {
    place.write("run.toml", text(own));
    Config::open(&place.path("run.toml")).unwrap()
}

/// Keeps the state after every epoch.
#[derive(Default)]
struct States {
    folder: std::path::PathBuf,
    kept: Vec<Checkpoint>,
}

impl Watch for States {
    fn step(&mut self, _: u32, _: usize, _: usize, loss: f64) {
        assert!(loss.is_finite());
    }

    fn epoch(&mut self, _: &Epoch, _: bool) {
        let state = Folder::at(&self.folder).state().unwrap().unwrap();
        let mut all = state.weights;
        for (name, tensor) in state.moments.tensors {
            all.tensors.insert(format!("moments of {name}"), tensor);
        }
        self.kept.push(all);
    }

    fn prepare(&mut self, _: usize, _: usize) {}

    fn maps(
        &mut self,
        _: u32,
        maps: &[(&Example, Vec<f32>)],
        grid: [usize; 2],
    ) -> anyhow::Result<()> {
        assert_eq!(grid, [4, 4]);
        for (_, map) in maps {
            let most = map.iter().copied().fold(f32::MIN, f32::max);
            let least = map.iter().copied().fold(f32::MAX, f32::min);
            assert!(least == 0.0 && most > 1.0 - 1e-3 && most <= 1.0, "{map:?}");
        }
        Ok(())
    }
}

fn train(config: &Config, folder: &Path) -> (adapter::Trained, Vec<Checkpoint>) {
    let mut states = States {
        folder: folder.to_owned(),
        ..States::default()
    };
    let threads = Threads::new(1).unwrap();
    let trained = adapter::train(config, folder, (false, None), &threads, &mut states).unwrap();
    (trained, states.kept)
}

/// Tensors that differ in a bit, or aren't in both.
fn changed<'c>(a: &'c Checkpoint, b: &'c Checkpoint) -> Vec<&'c str> {
    let bits = |t: &Tensor| t.data.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let names = a.tensors.keys().chain(b.tensors.keys());
    let mut found: Vec<&str> = names
        .filter(|name| match (a.tensors.get(*name), b.tensors.get(*name)) {
            (Some(a), Some(b)) => bits(a) != bits(b),
            _ => true,
        })
        .map(String::as_str)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether a tensor belongs to what is switched off in every other epoch.
fn attends(name: &str) -> bool {
    ["adapter.", "reducer.", "attention_branch."]
        .iter()
        .any(|part| name.contains(part))
}

#[test]
fn epochs_without_attention_leave_the_adapter_to_the_bit() {
    let place = place();
    let config = config(&place, "epochs = 4\naugment = false");
    let (_, states) = train(&config, &place.path("run"));
    let checkpoint = Checkpoint::open(&place.path("clip.safetensors")).unwrap();
    let net = network(&config, &checkpoint, 2).unwrap();
    let fresh = Parameters::fresh(&checkpoint, &net, config.seed).unwrap();
    let fresh = fresh.to_checkpoint().unwrap();
    let [off, on, off_again, on_again] = &states[..] else {
        panic!("{} epochs", states.len())
    };
    // Off: the perception branch, its statistics and LoRA learn; nothing of the adapter, moments included.
    let first: Vec<&str> = changed(&fresh, off)
        .into_iter()
        .filter(|n| !n.contains("lora"))
        .collect();
    assert!(
        first
            .iter()
            .any(|n| n.starts_with("perception_branch.bn1.running_mean"))
    );
    assert!(first.iter().any(|n| n.starts_with("head.linear4.weight")));
    assert!(!first.iter().any(|n| attends(n)), "{first:?}");
    assert!(!first.iter().any(|n| n.starts_with("clip.")), "{first:?}");
    // On: the adapter learns, too, all of it but what is fixed.
    let second = changed(off, on);
    for part in [
        "adapter.query_embed",
        "adapter.vit_model.pos_embed",
        "adapter.vit_model.blocks.1.attn.qkv.weight",
        "adapter.fusion_layers.layer_0.input_proj.1.weight",
        "adapter.mask_decoder.pix_mlp.layers.0.weight",
        "reducer.conv.weight",
        "attention_branch.bn.running_var",
        "attention_branch.conv2.bias",
    ] {
        assert!(second.contains(&part), "{part} of {second:?}");
    }
    assert!(second.iter().any(|n| n.ends_with("lora_B")));
    assert!(!second.contains(&"adapter.fusion_layers.layer_0.input_proj.0.weight"));
    assert!(
        !second
            .iter()
            .any(|n| n.starts_with("clip.") && !n.contains("lora")),
        "{second:?}"
    );
    let third = changed(on, off_again);
    assert!(
        !third.is_empty() && !third.iter().any(|n| attends(n)),
        "{third:?}"
    );
    assert!(changed(off_again, on_again).iter().any(|n| attends(n)));
}

#[test]
fn every_epoch_attends_without_aea_and_the_encoder_stays_without_lora() {
    let place = place();
    let config = config(
        &place,
        "epochs = 2\naugment = false\naea = false\nlora = false",
    );
    let (trained, states) = train(&config, &place.path("run"));
    assert!(
        trained
            .progress
            .epochs
            .iter()
            .all(|e| e.attends && e.validation.is_some())
    );
    assert!(
        changed(&states[0], &states[1])
            .iter()
            .any(|n| n.starts_with("adapter."))
    );
    let exported = Checkpoint::open(&place.path("run/model.safetensors")).unwrap();
    let given = Checkpoint::open(&place.path("clip.safetensors")).unwrap();
    for (name, tensor) in exported
        .tensors
        .iter()
        .filter(|(n, _)| n.starts_with("clip."))
    {
        assert_eq!(
            tensor.data,
            given.tensors[&name["clip.".len()..]].data,
            "{name}"
        );
    }
    assert!(!exported.tensors.keys().any(|n| n.contains("lora")));
}

#[test]
fn the_exported_model_says_what_the_trained_one_said() {
    let place = place();
    // With random views nothing is kept in half precision, so both see the same features.
    let config = config(
        &place,
        "epochs = 4\nlora = { rank = 2, projections = [\"out\", \"fc\", \"proj\", \"q\", \"v\"] }",
    );
    let (trained, _) = train(&config, &place.path("run"));
    let examples = Examples::open(&config).unwrap();
    let bytes = ModelBytes::from_bytes(&trained.model, "trained");
    let model = bytes.parse().unwrap();
    assert_eq!(
        [model.class_name(0), model.class_name(1)],
        [Some("blue"), Some("red")]
    );
    let how = model.preprocess();
    assert_eq!(how, config.preprocess().unwrap());
    let threads = Threads::new(1).unwrap();
    let mut network = Classifier::new(&model, Shape::new(32, 32, 3), &threads);
    let mut loss = 0.0;
    for example in &examples.validation {
        let (image, mask) = example.load(&how).unwrap();
        assert!(mask.is_some());
        let logits = network.logits(&image).unwrap();
        let most = logits.iter().copied().fold(f32::MIN, f32::max);
        let sum: f32 = logits.iter().map(|l| (l - most).exp()).sum();
        loss += f64::from(sum.ln() + most - logits[example.label as usize]);
    }
    loss /= examples.validation.len() as f64;
    let best = trained.progress.best.unwrap();
    assert!((loss - best).abs() < 1e-4 * best.max(1.0), "{loss} {best}");
    // The file knows by itself what its shapes don't tell.
    let run = place.run(&["import", "run/model.safetensors", "-o", "again.elucid"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let again = ModelBytes::open(Some(&place.path("again.elucid"))).unwrap();
    let again = again.parse().unwrap();
    let mut other = Classifier::new(&again, Shape::new(32, 32, 3), &threads);
    let (image, _) = examples.validation[0].load(&how).unwrap();
    assert_eq!(
        network.logits(&image).unwrap(),
        other.logits(&image).unwrap()
    );
    // Maps of the model, and of methods that look at it.
    for method in ["ala", "gradcam", "attention", "rollout", "centre"] {
        let run = place.run(&[
            "explain",
            "data/red/00.png",
            "--model",
            "run/model.elucid",
            "--method",
            method,
            "-o",
            "m.png",
        ]);
        assert_eq!(run.code, Some(0), "{method}: {}", run.stderr);
    }
    let run = place.run(&[
        "eval",
        "iou",
        "--model",
        "run/model.elucid",
        "--data",
        "data",
        "--format",
        "folder",
        "--method",
        "ala",
        "--method",
        "gradcam",
        "-o",
        "iou",
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let run = place.run(&[
        "eval",
        "insdel",
        "--model",
        "run/model.elucid",
        "--data",
        "data",
        "--format",
        "folder",
        "--method",
        "ala",
        "--step",
        "256",
        "-o",
        "insdel",
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn a_killed_run_ends_with_the_same_bits() {
    let place = place();
    place.write("run.toml", text("epochs = 6\naugment = true"));
    let start = |folder: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_elucid-under-test"));
        command.args([
            "train",
            "ala",
            "--config",
            "run.toml",
            "--threads",
            "1",
            "-o",
            folder,
        ]);
        command
            .args(more)
            .current_dir(place.path(""))
            .stdout(Stdio::null());
        command.spawn().unwrap()
    };
    assert!(start("whole", &[]).wait().unwrap().success());
    let mut begun = start("killed", &[]);
    let lines = || {
        std::fs::read_to_string(place.path("killed/epochs.jsonl")).map_or(0, |t| t.lines().count())
    };
    let patience = Instant::now();
    while lines() < 2 {
        assert!(
            patience.elapsed() < Duration::from_secs(300),
            "no epoch ends"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    begun.kill().unwrap();
    begun.wait().unwrap();
    let after = lines();
    let refused = place.run(&["train", "ala", "--config", "run.toml", "-o", "killed"]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("--resume"),
        "{}",
        refused.stderr
    );
    assert!(start("killed", &["--resume"]).wait().unwrap().success());
    println!("killed after {after} of 6 epochs");
    for file in ["model.safetensors", "model.elucid"] {
        let (a, b) = (
            place.read(&format!("whole/{file}")),
            place.read(&format!("killed/{file}")),
        );
        assert!(a == b, "{file} differs");
    }
    let state = |folder: &str| Folder::at(&place.path(folder)).state().unwrap().unwrap();
    let (a, b) = (state("whole"), state("killed"));
    assert!(
        changed(&a.weights, &b.weights).is_empty() && changed(&a.moments, &b.moments).is_empty()
    );
}

#[test]
fn data_sets_are_mixed_by_the_names_of_their_classes() {
    let place = place();
    for folder in ["more", "more/red", "more/green", "judge", "judge/green"] {
        place.folder(folder);
    }
    for name in ["a", "b", "c"] {
        place.photo(&format!("judge/green/{name}.png"), 44, 40);
    }
    for name in ["red/a", "red/b", "green/a", "green/b", "green/c"] {
        place.photo(&format!("more/{name}.png"), 44, 40);
    }
    let own =
        text("epochs = 2") + "[[data]]\ndir = \"more\"\nformat = \"folder\"\ntest = \"../judge\"\n";
    place.write("run.toml", own);
    let config = Config::open(&place.path("run.toml")).unwrap();
    let examples = Examples::open(&config).unwrap();
    assert_eq!(examples.classes, ["blue", "red", "green"]);
    let of = |class| {
        let learnt = examples.train.iter().chain(&examples.validation);
        learnt.filter(|e| e.label == class).count()
    };
    assert_eq!([of(0), of(1), of(2)], [8, 10, 3]);
    // Every class has pictures held out, the same ones for the same seed.
    for class in 0..3 {
        assert!(examples.validation.iter().any(|e| e.label == class));
    }
    assert_eq!(examples.test.len(), 3);
    // Nobody is judged by what it learnt.
    let mut same = config.clone();
    same.data[1].test = Some("../more".to_owned());
    let error = Examples::open(&same).unwrap_err().to_string();
    assert!(error.contains("judged by"), "{error}");
    let again = Examples::open(&config).unwrap();
    let ids = |e: &Examples| {
        e.validation
            .iter()
            .map(|e| e.sample.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&examples), ids(&again));
}

#[test]
fn sixteen_pictures_are_learnt_by_heart() {
    let place = place();
    let config = config(
        &place,
        "epochs = 60\naugment = false\npatience = 60\nmap-dropout = 0.0",
    );
    let (trained, _) = train(&config, &place.path("run"));
    let last = trained.progress.epochs.last().unwrap();
    assert!(last.attends && last.accuracy > 0.99, "{last:?}");
    let best = trained.progress.best.unwrap();
    assert!(best < 0.2, "{best}");
}
