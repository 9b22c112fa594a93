//! `elucid eval`: what a run writes, what it counts and what it refuses.

#[allow(dead_code)] // Every test file uses a part of it.
mod program;

use std::fs;

use program::Place;
use program::runs::{PICTURES, RUN, place, records, summary};
use serde_json::Value;

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
    // Every pair of seven methods but three of controls, for ID, insertion and deletion.
    assert_eq!(summary["comparisons"].as_array().unwrap().len(), 3 * 18);
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
fn wrong_wishes_are_refused_before_anything_is_written() {
    let place = place();
    place.folder("bare");
    place.photo("bare/a.png", 40, 30);
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
        assert_eq!(
            report["relevance_in"].is_null(),
            !method.starts_with("lrp") || method == "lrp-eps"
        );
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
    for wrong in [
        "--method gradcam --preset paper",
        "--method gradcam --audit",
        "--method lrp:half --split half",
    ] {
        place.refuse(
            1,
            &format!("explain --model m.elucid a.png --no-picture {wrong}"),
            &["leave"],
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
