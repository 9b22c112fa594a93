//! `elucid eval`: what a run writes, that it survives being killed, and what it refuses.

#[allow(dead_code)] // Every test file uses a part of it.
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use program::Place;
use serde_json::Value;

/// Pictures of the data set.
const PICTURES: usize = 9;
/// A run with most that can be random.
const RUN: &str = "eval insdel --model m.elucid --data photos --step 100 --method lrp --method gradcam \
                   --method lrp:paper:q4 --method smoothgrad:3 --method edge";

/// A folder with classes, masks and a list of labels.
fn place() -> Place {
    let place = Place::new();
    for folder in ["photos", "photos/images", "photos/masks"] {
        place.folder(folder);
    }
    let mut labels = String::from("file,label\n");
    for i in 0..PICTURES {
        let name = format!("picture{i}");
        place.photo(&format!("photos/images/{name}.png"), 40 + i as u32, 36);
        let mask = image::GrayImage::from_fn(40 + i as u32, 36, |x, y| {
            let inside = (10..30).contains(&x) && (8 + i as u32..28).contains(&y);
            image::Luma([if inside { 255 } else { 0 }])
        });
        mask.save(place.path(&format!("photos/masks/{name}.png")))
            .unwrap();
        labels.push_str(&format!(
            "{name}.png,{}
",
            i % 5
        ));
    }
    place.write("photos/labels.csv", labels);
    place
}

/// What two runs must have in common.
fn results(place: &Place, run: &str) -> [Vec<u8>; 3] {
    ["images.jsonl", "summary.json", "curves.csv"].map(|file| place.read(&format!("{run}/{file}")))
}

fn records(place: &Place, run: &str) -> Vec<Value> {
    let text = String::from_utf8(place.read(&format!("{run}/images.jsonl"))).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn summary(place: &Place, run: &str) -> Value {
    serde_json::from_slice(&place.read(&format!("{run}/summary.json"))).unwrap()
}

fn start(place: &Place, line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_elucid-under-test"))
        .args(line.split_whitespace())
        .current_dir(place.path("."))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_run_ends_with_the_same_bytes() {
    let place = place();
    place.accept(&format!("{RUN} -o whole"));
    let whole = results(&place, "whole");
    let line = format!("{RUN} -o killed");
    let mut kills = 0;
    let began = Instant::now();
    loop {
        let before = fs::metadata(place.path("killed/images.jsonl")).map_or(0, |file| file.len());
        let mut run = start(&place, &line);
        // Killed as soon as it has got somewhere; SIGKILL leaves it no time for anything.
        let finished = loop {
            if let Some(status) = run.try_wait().unwrap() {
                assert!(status.success());
                break true;
            }
            let now = fs::metadata(place.path("killed/images.jsonl")).map_or(0, |file| file.len());
            if now > before {
                run.kill().unwrap();
                run.wait().unwrap();
                break false;
            }
            assert!(
                began.elapsed() < Duration::from_secs(300),
                "the run gets nowhere"
            );
            sleep(Duration::from_millis(1));
        };
        if finished {
            break;
        }
        kills += 1;
        // A write that was cut off.
        let path = place.path("killed/images.jsonl");
        let mut bytes = fs::read(&path).unwrap();
        if kills % 2 == 0 {
            bytes.extend(b"{\"position\":99,\"id\":\"cut o");
            fs::write(&path, bytes).unwrap();
        }
    }
    assert!(kills >= 2, "{kills} kills");
    assert_eq!(
        whole.map(|b| b.len()),
        results(&place, "killed").map(|b| b.len())
    );
    assert!(results(&place, "whole") == results(&place, "killed"));
    // A finished run is left as it is.
    place.accept(&line);
    assert!(results(&place, "whole") == results(&place, "killed"));
}

#[test]
fn shards_threads_and_batches_do_not_matter() {
    let place = place();
    place.accept(&format!("{RUN} -o whole"));
    let whole = results(&place, "whole");
    for index in 0..4 {
        place.accept(&format!(
            "{RUN} --shard {index}/4 -o shard{index} --threads 2 --batch 3"
        ));
    }
    place.accept("eval merge shard2 shard0 shard3 shard1 -o merged");
    assert!(whole == results(&place, "merged"));
    let previews = |run: &str| -> BTreeMap<_, _> {
        let files = place.files().into_iter();
        let root = place.path(run).join("previews");
        files
            .filter_map(|(path, bytes)| Some((path.strip_prefix(&root).ok()?.to_owned(), bytes)))
            .collect()
    };
    assert_eq!(previews("whole").len(), PICTURES * (2 + 7));
    assert!(previews("whole") == previews("merged"));
    for (runs, wanted) in [
        ("shard0 shard1 shard3", "2/4 is missing"),
        ("shard0 shard1 shard2 shard2", "same shard"),
        ("shard0 whole", "another run"),
        ("photos", "not the folder of a run"),
    ] {
        place.refuse(1, &format!("eval merge {runs} -o bad"), &[wanted]);
    }
}

#[test]
fn records_hold_neither_times_nor_paths() {
    let place = place();
    place.accept(&format!("{RUN} -o run"));
    let records = records(&place, "run");
    assert_eq!(records.len(), PICTURES);
    for (position, record) in records.iter().enumerate() {
        assert_eq!(record["position"], position);
        let id = record["id"].as_str().unwrap();
        assert!(id.ends_with(".png") && !id.starts_with('/'), "{id}");
        let methods = record["methods"].as_object().unwrap();
        assert_eq!(
            methods.len(),
            7,
            "five that were asked for and two controls"
        );
        for (name, outcome) in methods {
            let score = |key: &str| outcome["scores"][key].as_f64().unwrap();
            assert!(
                (score("insertion") - score("deletion") - score("id")).abs() < 1e-12,
                "{name}"
            );
            let curves =
                ["insertion", "deletion"].map(|c| outcome["curves"][c].as_array().unwrap());
            // 1024 pixels, 100 at a time, and the empty image.
            assert!(curves.iter().all(|curve| curve.len() == 12), "{name}");
            assert_eq!(
                curves[0][0], curves[1][11],
                "{name}: nothing shown is all removed"
            );
            assert_eq!(
                curves[0][11], record["probability"],
                "{name}: all shown is the image"
            );
        }
        assert_eq!(methods["constant"]["scores"]["tie_fraction"], 1.0);
    }
    let folder = place
        .path(".")
        .canonicalize()
        .unwrap()
        .display()
        .to_string();
    for file in ["images.jsonl", "summary.json", "curves.csv"] {
        let text = String::from_utf8(place.read(&format!("run/{file}"))).unwrap();
        assert!(
            !text.contains(&folder) && !text.contains("_ms") && !text.contains("seconds"),
            "{file}"
        );
    }
    let summary = summary(&place, "run");
    let method = |name: &str| {
        let methods = summary["methods"].as_array().unwrap().iter();
        methods.clone().find(|m| m["name"] == name).unwrap().clone()
    };
    let ids: Vec<f64> = records
        .iter()
        .map(|r| r["methods"]["lrp"]["scores"]["id"].as_f64().unwrap())
        .collect();
    let estimate = &method("lrp")["scores"]["id"];
    let number = |key: &str| estimate[key].as_f64().unwrap();
    let mean = ids.iter().sum::<f64>() / PICTURES as f64;
    assert!((number("mean") - mean).abs() < 1e-12);
    assert!(number("low") <= mean && mean <= number("high") && number("low") < number("high"));
    assert_eq!(
        (
            method("edge")["control"].clone(),
            method("lrp")["control"].clone()
        ),
        (true.into(), false.into())
    );
    // Every pair of seven methods for ID, insertion and deletion.
    assert_eq!(summary["comparisons"].as_array().unwrap().len(), 3 * 21);
}

#[test]
fn every_measure_gives_its_scores() {
    let place = place();
    for (measure, methods, scores) in [
        ("insdel --scorer paper --step 100", 4, 4),
        ("insdel --baseline blur:2 --patch 3 --step 10", 4, 4),
        ("insdel --baseline mean --step 200 --quantize 8", 4, 4),
        ("iou", 4, 5),
        ("pointing", 4, 6),
        ("conservation", 3, 7),
        ("accuracy", 1, 3),
        ("sanity", 4, 2),
        ("sensitivity --sets 12 --percent 10,50", 4, 2),
    ] {
        let run = measure.replace([' ', ':', ',', '-'], "");
        let line = format!("eval {measure} --model m.elucid --data photos --limit 4 -o {run}");
        let summary = place.accept_object(&line);
        assert_eq!(
            (&summary["images"], &summary["skipped"]),
            (&4.into(), &0.into()),
            "{line}"
        );
        let found = summary["methods"].as_array().unwrap();
        assert_eq!(found.len(), methods, "{line}");
        let most = found
            .iter()
            .map(|m| m["scores"].as_object().unwrap().len())
            .max();
        assert_eq!(most, Some(scores), "{line}");
        let text = place.accept(&line);
        assert!(
            text.contains("95 % intervals") && text.contains("elucid report"),
            "{text}"
        );
    }
    let number = |run: &str, method: usize, score: &str| {
        summary(&place, run)["methods"][method]["scores"][score]["mean"]
            .as_f64()
            .unwrap()
    };
    // The order of methods: lrp, gradcam, random, constant; or lrp, lrp:paper, lrp:paper:half.
    assert!(number("conservation", 0, "error") < 1e-5);
    assert!(number("conservation", 1, "error") > number("conservation", 0, "error"));
    // With the paper's scorer a constant map shows everything at once.
    let insertion = number("insdelscorerpaperstep100", 3, "insertion");
    let records = records(&place, "insdelscorerpaperstep100");
    let shown: f64 = records
        .iter()
        .map(|r| r["probability"].as_f64().unwrap())
        .sum();
    assert!((insertion - shown / 4.0).abs() < 1e-6, "{insertion}");
    assert!(number("sanity", 0, "similarity") < 0.999);
}

#[test]
fn broken_pictures_are_counted_or_fatal() {
    let place = place();
    place.write("photos/images/picture3.png", b"not a picture");
    place.write("photos/masks/picture5.png", b"not a mask");
    let line = "eval iou --model m.elucid --data photos --method random";
    let outcome = place.run(
        &format!("{line} -o run")
            .split_whitespace()
            .collect::<Vec<_>>(),
    );
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(
        outcome.stderr.matches("left out").count(),
        2,
        "{}",
        outcome.stderr
    );
    let summary = summary(&place, "run");
    assert_eq!(
        (&summary["images"], &summary["skipped"]),
        (&7.into(), &2.into())
    );
    let skipped: Vec<Value> = records(&place, "run")
        .into_iter()
        .filter(|r| !r["skipped"].is_null())
        .collect();
    let reasons: Vec<&str> = skipped
        .iter()
        .map(|r| r["skipped"].as_str().unwrap())
        .collect();
    assert_eq!(reasons.len(), 2);
    assert!(
        reasons.contains(&"the picture cannot be read")
            && reasons.contains(&"the mask cannot be used")
    );
    let strict = place.run(
        &format!("{line} --strict-data -o strict")
            .split_whitespace()
            .collect::<Vec<_>>(),
    );
    assert_eq!(strict.code, Some(1));
    assert!(strict.stderr.contains("--strict-data"), "{}", strict.stderr);
    assert!(!place.path("strict/summary.json").exists());
    // Where masks don't matter, only the picture does.
    let outcome = place.run(
        &"eval insdel --step 512 --model m.elucid --data photos --method random -o other"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    assert_eq!(
        outcome.stderr.matches("left out").count(),
        1,
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_run_is_only_gone_on_with_by_the_same_command() {
    let place = place();
    let line = "eval insdel --model m.elucid --data photos --step 300 --method random --limit 3";
    place.accept(&format!("{line} -o run"));
    for (more, wanted) in [
        (
            "--scorer paper",
            "data.order (\"shuffled 42\", not \"paper 42\")",
        ),
        ("--seed 7", "data.crc32"),
        ("--patch 2", "options.patch"),
        ("--method edge", "methods"),
        ("--strict-data", "strict_data"),
        ("--shard 1/2", "shard"),
    ] {
        place.refuse(1, &format!("{line} {more} -o run"), &["run", wanted]);
    }
    place.refuse(
        1,
        &format!("{line} -o photos"),
        &["photos", "something else"],
    );
}

#[test]
fn wrong_wishes_are_refused_before_anything_is_written() {
    let place = place();
    let data = "--model m.elucid --data photos -o run";
    for (code, line, wanted) in [
        (
            2,
            format!("eval insdel {data} --method lpr"),
            "no method lpr",
        ),
        (
            2,
            format!("eval insdel {data} --method lrp:whole"),
            "no option whole",
        ),
        (2, format!("eval insdel {data} --scorer fair"), "fair"),
        (2, format!("eval insdel {data} --baseline grey"), "grey"),
        (2, format!("eval insdel {data} --shard 4/4"), "4/4"),
        (2, format!("eval sensitivity {data} --percent 0"), "percent"),
        (
            1,
            format!("eval insdel {data} --method lrp --method lrp"),
            "twice",
        ),
        (
            1,
            format!("eval conservation {data} --method gradcam"),
            "ledger",
        ),
        (1, format!("eval accuracy {data} --method lrp"), "--method"),
        (
            1,
            "eval iou --model m.elucid --data nowhere -o run".to_owned(),
            "nowhere",
        ),
        (1, format!("eval iou {data} --format cub"), "images.txt"),
        (
            1,
            "eval iou --model none.elucid --data photos -o run".to_owned(),
            "none.elucid",
        ),
    ] {
        place.refuse(code, &line, &[wanted]);
    }
}

#[test]
fn maps_of_other_programs_are_judged_like_our_own() {
    let place = place();
    place.folder("theirs");
    for i in 0..PICTURES {
        let command = format!(
            "explain --model m.elucid photos/images/picture{i}.png --no-picture --map theirs/picture{i}.npy"
        );
        place.accept(&command);
    }
    // Half the size, two channels: enlarged and summed.
    place.folder("other");
    for i in 0..PICTURES {
        place.array(&format!("other/picture{i}.npy"), &[2, 16, 16], |at| {
            (at % 37) as f32
        });
    }
    let line = "eval insdel --step 100 --model m.elucid --data photos --method lrp --maps theirs=theirs --maps other=other --maps other:first=other";
    place.accept(&format!("{line} -o run"));
    for record in records(&place, "run") {
        assert_eq!(record["methods"]["lrp"], record["methods"]["theirs"]);
        assert_ne!(record["methods"]["lrp"], record["methods"]["other"]);
        assert_ne!(record["methods"]["other:first"], record["methods"]["other"]);
    }
    fs::remove_file(place.path("other/picture4.npy")).unwrap();
    let outcome = place.run(&format!("{line} -o cut").split(' ').collect::<Vec<_>>());
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains("picture4.npy") && outcome.stderr.contains("other"),
        "{}",
        outcome.stderr
    );
    place.refuse(2, &format!("{line} --maps lrp=theirs -o bad"), &["already"]);
}

#[test]
fn an_interrupt_leaves_a_run_to_go_on_with() {
    let place = place();
    let line =
        "eval insdel --step 5 --model m.elucid --data photos --method lrp --threads 1 -o run";
    let mut run = Command::new(env!("CARGO_BIN_EXE_elucid-under-test"))
        .args(line.split_whitespace())
        .current_dir(place.path("."))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let size = || fs::metadata(place.path("run/images.jsonl")).map_or(0, |file| file.len());
    while size() == 0 {
        assert!(
            run.try_wait().unwrap().is_none(),
            "the run was over at once"
        );
        sleep(Duration::from_millis(1));
    }
    let interrupted = Command::new("kill")
        .args(["-INT", &run.id().to_string()])
        .status();
    assert!(interrupted.unwrap().success());
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the same command goes on"), "{said}");
    assert!(!place.path("run/summary.json").exists() && records(&place, "run").len() < PICTURES);
    let outcome = place.run(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(outcome.code, Some(0));
    assert!(
        outcome.stderr.contains("going on with run"),
        "{}",
        outcome.stderr
    );
    assert_eq!(records(&place, "run").len(), PICTURES);
}

#[test]
fn explain_takes_every_method() {
    let place = Place::new();
    let line = "explain --model m.elucid a.png --no-picture --map a.npy --method";
    let mut maps = Vec::new();
    for method in [
        "lrp",
        "lrp:paper",
        "gradcam",
        "scorecam",
        "rise:30",
        "ig:9",
        "gbp",
        "inputxgrad",
        "edge",
        "lrp-eps",
    ] {
        let report = place.accept_object(&format!("{line} {method}"));
        assert_eq!(report["method"], method);
        assert_eq!(report["relevance_in"].is_null(), method != "lrp");
        let (shape, map) = place.map("a.npy");
        assert_eq!(shape, [32, 32]);
        maps.push(map);
    }
    for (i, map) in maps.iter().enumerate() {
        assert!(
            maps[..i].iter().all(|other| other != map),
            "two methods give one map"
        );
    }
    let text = place.accept("explain --model m.elucid a.png --method gradcam -o cam.png");
    assert!(text.contains("gradcam"), "{text}");
    assert!(place.picture("cam.png").width() > 300);
    for preset in ["epsilon-plus", "alpha2-beta1-flat", "epsilon-gamma-box"] {
        let outcome = place.run(
            &format!(
                "explain --model m.elucid a.png --no-picture --preset {preset} --init one --json"
            )
            .split_whitespace()
            .collect::<Vec<_>>(),
        );
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    }
}

/// Runs a script of `host/recipes` with `elucid` on its path and these variables.
fn script(place: &Place, arguments: &[&str], variables: &[(&str, &str)]) {
    let bin = place.path("bin");
    if !bin.exists() {
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_elucid-under-test"), bin.join("elucid"))
            .unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = Command::new(arguments[0])
        .args(&arguments[1..])
        .current_dir(place.path("."))
        .env("PATH", path)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn recipes_for_schedulers_give_the_whole_run() {
    let place = place();
    let methods = "--method lrp --method gradcam";
    place.accept(&format!(
        "eval insdel --model m.elucid --data photos {methods} -o whole"
    ));
    let whole = results(&place, "whole");
    let recipes = concat!(env!("CARGO_MANIFEST_DIR"), "/../host/recipes");
    let slurm = format!("{recipes}/slurm.sh");
    let common = [
        ("RUN", "slurm"),
        ("MODEL", "m.elucid"),
        ("DATA", "photos"),
        ("SLURM_ARRAY_TASK_COUNT", "3"),
    ];
    for task in ["0", "1", "2"] {
        script(
            &place,
            &["bash", &slurm],
            &[&common[..], &[("SLURM_ARRAY_TASK_ID", task)]].concat(),
        );
    }
    script(&place, &["bash", &slurm], &common[..1]);
    for (whole, merged) in whole.iter().zip(results(&place, "slurm/whole")) {
        assert_eq!(
            String::from_utf8_lossy(whole),
            String::from_utf8_lossy(&merged)
        );
    }
    // The pod's command as the Job has it: the block of text under `args`.
    let job = fs::read_to_string(format!("{recipes}/kubernetes.yaml")).unwrap();
    let after = job.split("- |\n").nth(1).unwrap();
    let depth = after.len() - after.trim_start().len();
    let lines = after
        .lines()
        .take_while(|line| line.starts_with(&" ".repeat(depth)));
    let command: Vec<&str> = lines.map(|line| &line[depth..]).collect();
    let command = command.join("\n");
    place.folder("root");
    fs::copy(place.path("m.elucid"), place.path("root/model.elucid")).unwrap();
    fs::rename(place.path("photos"), place.path("root/data")).unwrap();
    for index in ["0", "1"] {
        let variables = [
            ("ROOT", "root"),
            ("FORMAT", "folder"),
            ("PARTS", "2"),
            ("JOB_COMPLETION_INDEX", index),
        ];
        script(&place, &["/bin/sh", "-ceu", &command], &variables);
    }
    place.accept("eval merge root/insdel/part-0 root/insdel/part-1 -o merged");
    let [images, ..] = results(&place, "merged");
    assert!(whole[0] == images);
}
