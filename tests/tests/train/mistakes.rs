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
