//! ResNets on the same loop.

use elucid_host::train::state::Folder;

use super::mistakes::says;
use super::place;

#[test]
fn a_resnet_learns_on_the_same_loop() {
    let place = place();
    let own = "arch = \"cifar-resnet8\"\nimage = 32\nnorm = \"imagenet\"\nvalidation = 0.25\nepochs = 6\nbatch = 4\nlr = 0.01\n\
               optimizer = \"sgd\"\npower = 0.0\nclip = 0.0\naea = false\nviews = \"resized-crop\"\npatience = 6\n\
               [[data]]\ndir = \"data\"\nformat = \"folder\"\n";
    place.write("run.toml", own);
    let run = place.run(&[
        "train",
        "resnet",
        "--config",
        "run.toml",
        "--threads",
        "1",
        "-o",
        "run",
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let state = Folder::at(&place.path("run")).state().unwrap().unwrap();
    let epochs = &state.progress.epochs;
    assert!(epochs.last().unwrap().loss < epochs[0].loss, "{epochs:?}");
    // What was trained is a network like others: it can be explained and be trained on.
    let run = place.run(&[
        "explain",
        "data/red/00.png",
        "--model",
        "run/model.elucid",
        "-o",
        "m.png",
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let on = own.replace(
        "arch = \"cifar-resnet8\"",
        "weights = \"run/model.safetensors\"",
    );
    place.write("on.toml", on.replace("epochs = 6", "epochs = 1"));
    let run = place.run(&["train", "resnet", "--config", "on.toml", "-o", "on"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    place.write("none.toml", own.replace("cifar-resnet8", "alexnet"));
    says(
        &place.run(&["train", "resnet", "--config", "none.toml", "-o", "none"]),
        "resnet18",
    );
}
