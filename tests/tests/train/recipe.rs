//! The recipe for birds: the lists it writes, the file it makes, and what it then runs.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use elucid_host::train::config::Config;

use super::place;

#[test]
fn birds_are_judged_by_masks_that_are_good_enough() {
    let place = place();
    for folder in ["cub", "cub/images", "cub/segmentations", "bin"] {
        place.folder(folder);
    }
    // Pictures 1 and 2 are learnt from, 3 and 4 are for judging; of these one has a good mask.
    place.write(
        "cub/images.txt",
        "1 a/1.jpg\n2 a/2.jpg\n3 a/3.jpg\n4 a/4.jpg\n",
    );
    place.write("cub/image_class_labels.txt", "1 1\n2 1\n3 1\n4 1\n");
    place.write("cub/train_test_split.txt", "1 1\n2 1\n3 0\n4 0\n");
    place.write(
        "cub/bounding_boxes.txt",
        "1 0 0 1 1\n2 0 0 1 1\n3 0 0 1 1\n4 0 0 1 1\n",
    );
    place.write("cub/classes.txt", "1 001.A\n");
    place.write(
        "cub/pseudo_mask_quality.txt",
        "1 0.2\n2 0.9\n3 0.849\n4 0.85\n",
    );
    place.write("bin/elucid", "#!/bin/sh\necho elucid \"$@\"\n");
    fs::set_permissions(place.path("bin/elucid"), Permissions::from_mode(0o755)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/recipes/birds.sh");
    let path = format!(
        "{}:{}",
        place.path("bin").display(),
        env::var("PATH").unwrap()
    );
    let run = |arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.arg(&script).args(arguments).env("PATH", &path);
        command.current_dir(place.path("")).output().unwrap()
    };
    for _ in 0..2 {
        let output = run(&["cub", "clip.safetensors", "out"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "elucid train ablation --config out/run.toml -o out/runs\nelucid report out/runs -o out/report.html\n"
        );
    }
    let lines =
        |name: &str| String::from_utf8(place.read(&format!("out/data/{name}.txt"))).unwrap();
    assert_eq!(lines("images"), "1 a/1.jpg\n2 a/2.jpg\n4 a/4.jpg\n");
    assert_eq!(lines("train_test_split"), "1 1\n2 1\n4 0\n");
    assert!(place.path("out/data/segmentations").is_dir());
    let config = Config::open(&place.path("out/run.toml")).unwrap();
    assert_eq!(config.ablation.unwrap().seeds, [1, 2, 3]);
    assert_eq!(config.data[0].dir, place.path("out/data"));
    // Wrong usage is said.
    assert_eq!(run(&["cub"]).status.code(), Some(2));
    assert_eq!(run(&["cub", "none", "out"]).status.code(), Some(1));
}
