//! What can't work is a line, before any work is lost.

use elucid_host::synthetic;
use elucid_host::train::state;
use image::GrayImage;

use super::program::Outcome;
use super::{encoder, place, text};

/// One line that says this.
pub fn says(run: &Outcome, what: &str) {
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert!(
        lines.len() == 1 && lines[0].contains(what),
        "{what}: {}",
        run.stderr
    );
}

#[test]
fn what_cannot_work_is_said_before_any_work() {
    let place = place();
    let attempt = |own: &str| {
        place.write("run.toml", text(own));
        place.run(&["train", "ala", "--config", "run.toml", "-o", "run"])
    };
    says(&attempt("epoch = 2"), "line 8");
    says(&attempt("epochs = 3"), "pairs");
    let with = |from: &str, to: &str| {
        place.write("run.toml", text("epochs = 2").replace(from, to));
        place.run(&["train", "ala", "--config", "run.toml", "-o", "run"])
    };
    says(&with("heads = 2\nimage", "heads = 3\nimage"), "--heads 3");
    says(&with("[0, 1, 2]", "[0, 1, 5]"), "layer 5");
    says(&with("width = 8\n", "width = 9\n"), "adapter.heads 2");
    says(&with("dir = \"data\"", "dir = \"nowhere\""), "nowhere");
    says(&with("clip.safetensors", "a.png"), "a.png");
    says(&with("patch = 8\n", "patch = 4\n"), "make it 8");
    says(&with("epochs = 2", "lora = { rnak = 2 }"), "rnak");
    says(&with("batch = 4", "batch = 1"), "batch");
    says(&with("[0, 1, 2]", "[0]"), "lora = false");
    says(&with("depth = 2", "depth = 4000000000"), "adapter.depth");
    // A tensor that nobody reads means another network than the one that would be trained for.
    let mut odd = synthetic::checkpoint(&encoder(), 5).unwrap();
    let norm = odd.tensors["ln_pre.weight"].clone();
    odd.tensors.insert("norm_pre.weight".to_owned(), norm);
    place.write("odd.safetensors", state::bytes(&odd).unwrap());
    says(
        &with("clip.safetensors", "odd.safetensors"),
        "norm_pre.weight",
    );
    // A mask of another shape, found before the first step.
    let odd = GrayImage::new(40, 20);
    let mask = place.path("data/masks/red/00.png");
    let good = std::fs::read(&mask).unwrap();
    odd.save(&mask).unwrap();
    says(&attempt("epochs = 2"), "the mask has 40 x 20 pixels");
    std::fs::write(&mask, good).unwrap();
    // A class with a single picture.
    place.folder("data/green");
    place.photo("data/green/x.png", 40, 40);
    says(&attempt("epochs = 2"), "class green has 1 pictures");
    std::fs::remove_dir_all(place.path("data/green")).unwrap();
    assert!(!place.path("run").exists());
    // A loss that isn't finite any more: the run stops and says what is kept.
    let mut weights = synthetic::checkpoint(&encoder(), 5).unwrap();
    let name = "transformer.resblocks.1.mlp.c_proj.bias";
    weights.tensors.get_mut(name).unwrap().data.fill(3e38);
    place.write("clip.safetensors", state::bytes(&weights).unwrap());
    let run = attempt("epochs = 2\nlora = false");
    says(&run, "is kept in");
    says(
        &attempt("epochs = 2\naugment = false\nlora = false"),
        "half precision",
    );
    // Or a network whose weights aren't: nothing of that is kept.
    let mut weights = synthetic::checkpoint(&encoder(), 5).unwrap();
    weights.tensors.get_mut(name).unwrap().data.fill(1e25);
    place.write("clip.safetensors", state::bytes(&weights).unwrap());
    let run = attempt("epochs = 2\nlora = false");
    says(&run, "is kept in");
    assert!(!place.path("run/best.safetensors").exists());
}

#[test]
fn a_comparison_is_gone_on_with_as_it_was_begun() {
    let place = place();
    for folder in [
        "judge",
        "judge/red",
        "judge/blue",
        "judge/masks",
        "judge/masks/red",
    ] {
        place.folder(folder);
    }
    for (from, to) in [
        ("red/00", "red/a"),
        ("blue/01", "blue/a"),
        ("masks/red/00", "masks/red/a"),
    ] {
        let path = |name: &str, folder: &str| place.path(&format!("{folder}/{name}.png"));
        std::fs::copy(path(from, "data"), path(to, "judge")).unwrap();
    }
    let own = text("epochs = 2\naugment = false")
        + "test = \"../judge\"\n[ablation]\nseeds = [1, 2]\naea = [true]\nmethods = [\"ala\", \"centre\"]\n";
    place.write("run.toml", &own);
    let compare = || place.run(&["train", "ablation", "--config", "run.toml", "-o", "runs"]);
    let run = compare();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let table = place.read("runs/table.json");
    assert!(String::from_utf8_lossy(&table).contains("\"masks\": 1"));
    let again = compare();
    assert_eq!(
        (again.code, place.read("runs/table.json")),
        (Some(0), table)
    );
    place.write("run.toml", own.replace("lr = 1e-3", "lr = 1e-2"));
    says(&compare(), "another configuration");
    // Nothing to judge by is said before hours of training.
    place.write("none.toml", own.replace("../judge", "../judge/masks"));
    says(
        &place.run(&["train", "ablation", "--config", "none.toml", "-o", "none"]),
        "masks",
    );
}

#[test]
fn a_full_disk_is_a_line_and_leaves_what_was_there() {
    let place = place();
    place.write("run.toml", text("epochs = 2\naugment = false"));
    // A file where the run's folder should be is what a test can do about a disk that takes nothing.
    place.write("run", "");
    let run = place.run(&["train", "ala", "--config", "run.toml", "-o", "run"]);
    says(&run, "run");
    assert_eq!(place.read("run"), b"");
}
