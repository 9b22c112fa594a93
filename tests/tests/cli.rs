//! Good runs of the program: what it prints and writes is what the command line's contract says.

#[allow(dead_code)] // Every test file uses a part of it.
mod program;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use elucid_tests::golden::Golden;
use elucid_tests::reference::Split;
use elucid_tests::tensors::worst;
use program::{CLASSES, Place, explain, number};

#[test]
fn help_and_version() {
    let place = Place::new();
    for command in ["--help", "--version", "explain --help", "help import"] {
        assert!(place.accept(command).contains("elucid"), "{command}");
    }
}

#[test]
fn the_first_command_makes_a_picture() {
    let place = Place::new();
    let before = place.files();
    let text = place.accept("explain");
    let after = place.files();
    let mut new = after.keys().filter(|k| !before.contains_key(*k));
    let (Some(path), None) = (new.next(), new.next()) else {
        panic!("one picture and nothing else is to be made: {text}")
    };
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(
        name.ends_with(".explained.png") && text.contains(name),
        "{name}: {text}"
    );
    let picture = place.picture(name);
    assert!(picture.width() > 300 && picture.height() > 100);
    // It conserves, and names the class.
    let report = place.accept_object("explain --no-picture");
    assert!(number(&report, "conservation_error") <= 1e-5, "{report}");
    let class = report["class_name"].as_str().unwrap();
    assert!(text.contains(class), "{class}: {text}");
}

#[test]
fn json_holds_the_contract() {
    let place = Place::new();
    let rules = [
        ("exact", "ratio"),
        ("paper", "half"),
        ("exact", "projection-half"),
        ("paper", "projection-ratio"),
    ];
    for (preset, split) in rules {
        let arguments = format!("--preset {preset} --split {split} --map a.npy --threads 2");
        let report = explain(&place, &arguments);
        let number = |key| number(&report, key);
        for key in [
            "probability",
            "relevance_in",
            "forward_ms",
            "explain_ms",
            "arena_bytes",
        ] {
            assert!(number(key) > 0.0, "{key} in {report}");
        }
        for key in [
            "class_index",
            "target_index",
            "relevance_sum",
            "conservation_error",
        ] {
            assert!(number(key) >= 0.0, "{key} in {report}");
        }
        assert_eq!(
            (&report["image"], &report["backend"]),
            (&"a.png".into(), &"cpu".into())
        );
        assert_eq!(
            (&report["preset"], &report["split"]),
            (&preset.into(), &split.into())
        );
        assert_eq!(
            report["class_name"],
            CLASSES[number("class_index") as usize]
        );
        assert_eq!(report["class_index"], report["target_index"]);
        let start = number("relevance_in");
        assert!((start - number("probability")).abs() < 1e-7, "{report}");
        assert!(number("explain_ms") >= number("forward_ms"));

        let (shape, map) = place.map("a.npy");
        assert_eq!(shape, [32, 32]);
        let sum: f64 = map.iter().map(|&v| f64::from(v)).sum();
        let (said, error) = (number("relevance_sum"), number("conservation_error"));
        assert!((sum - said).abs() <= 1e-9 * said, "{sum} is not {said}");
        assert!(
            (error - (sum - start).abs() / start).abs() < 1e-9,
            "{report}"
        );
        let sink = |key: &str| report["sinks"][key].as_f64().unwrap();
        let found = sum + sink("eps") + sink("dead");
        assert!((found - start).abs() <= 1e-5 * start, "{report}");
        assert!(preset == "paper" || error <= 1e-5, "{report}");
    }
}

#[test]
fn pictures_of_any_size_work() {
    let place = Place::new();
    place.photo("tiny.png", 1, 1);
    place.photo("wide.png", 20_000, 10);
    place.photo("high.jpg", 3, 20_000);
    place.photo("b.webp", 33, 21);
    place.array("one.npy", &[3, 1, 1], |i| i as f32 - 1.0);
    place.array("odd.npy", &[1, 3, 37, 21], |i| (i as f32).sin());
    for (name, size) in [
        ("tiny.png", [32, 32]),
        ("wide.png", [32, 32]),
        ("high.jpg", [32, 32]),
        ("b.webp", [32, 32]),
        ("one.npy", [1, 1]),
        ("odd.npy", [37, 21]),
    ] {
        let report = place.accept_object(&format!(
            "explain --model m.elucid {name} -o out.png --map o.npy"
        ));
        assert_eq!(report["image"], name);
        assert!(number(&report, "conservation_error") <= 1e-5, "{report}");
        place.picture("out.png");
        assert_eq!(place.map("o.npy").0, size, "{name}");
    }
}

#[test]
fn quantized_maps_have_few_values() {
    let place = Place::new();
    explain(&place, "--map whole.npy");
    let (_, whole) = place.map("whole.npy");
    let distinct = |map: &[f32]| {
        map.iter()
            .map(|v| v.to_bits())
            .collect::<BTreeSet<_>>()
            .len()
    };
    let most = |map: &[f32]| map.iter().copied().fold(f32::MIN, f32::max);
    assert!(distinct(&whole) > 100);
    for levels in [2, 8, 30] {
        explain(&place, &format!("--map few.npy --quantize {levels}"));
        let (_, few) = place.map("few.npy");
        assert!(
            (2..=levels).contains(&distinct(&few)),
            "{} values of {levels}",
            distinct(&few)
        );
        assert_eq!(most(&few), most(&whole));
        let step = most(&whole) / (levels - 1) as f32;
        assert!(
            few.iter()
                .zip(&whole)
                .all(|(f, w)| f <= w && w - f <= step * 1.001)
        );
    }
}

#[test]
fn folders_and_several_pictures() {
    let place = Place::new();
    place.folder("in");
    place.folder("out");
    place.photo("in/one.png", 50, 40);
    place.photo("in/two.jpg", 30, 64);
    place.write("in/notes.txt", "no picture");
    let reports = place.accept_json("explain --model m.elucid in -o out --map out/");
    let names: Vec<&str> = reports
        .iter()
        .map(|r| r["image"].as_str().unwrap())
        .collect();
    let want = ["one.png", "two.jpg"].map(|n| Path::new("in").join(n).display().to_string());
    assert_eq!(names, want);
    for stem in ["one", "two"] {
        place.picture(&format!("out/{stem}.explained.png"));
        let (shape, map) = place.map(&format!("out/{stem}.npy"));
        assert_eq!((shape, map.len()), (vec![32, 32], 1024));
    }
    assert_eq!(fs::read_dir(place.path("out")).unwrap().count(), 4);
    // Each is what it is alone.
    place.accept("explain --model m.elucid in/two.jpg --no-picture --map alone.npy");
    assert_eq!(place.map("alone.npy"), place.map("out/two.npy"));
    // Pictures that were explained already aren't explained again.
    place.write("in/one.explained.png", place.read("out/one.explained.png"));
    assert_eq!(
        place
            .accept_json("explain --model m.elucid in -o out")
            .len(),
        2
    );
}

#[test]
fn one_bad_picture_stops_no_other() {
    let place = Place::new();
    place.folder("out");
    place.write("bad.jpg", "no picture");
    place.photo("b.png", 20, 20);
    let command = "explain --model m.elucid a.png bad.jpg b.png -o out --json";
    let outcome = place.run(&command.split(' ').collect::<Vec<_>>());
    assert_eq!(outcome.code, Some(1));
    assert_eq!(outcome.stdout.lines().count(), 2);
    let said = outcome.stderr;
    assert!(said.lines().all(|l| l.starts_with("elucid: ")), "{said}");
    assert!(
        said.contains("bad.jpg") && said.contains("1 of 3"),
        "{said}"
    );
    let written = fs::read_dir(place.path("out")).unwrap();
    let written: BTreeSet<_> = written.map(|e| e.unwrap().file_name()).collect();
    let want = ["a.explained.png", "b.explained.png"].map(Into::into);
    assert_eq!(written, BTreeSet::from(want));
}

#[test]
fn targets_by_name_and_by_index() {
    let place = Place::new();
    let explain = |target: &str| explain(&place, &format!("--target {target}"));
    let predicted = explain("pred");
    let mut total = 0.0;
    for (index, name) in CLASSES.iter().enumerate() {
        let by_name = explain(name);
        total += number(&by_name, "relevance_in");
        for report in [
            &by_name,
            &explain(&index.to_string()),
            &explain(&name.to_uppercase()),
        ] {
            assert_eq!(report["target_index"], index);
            assert_eq!(report["target_name"], *name);
            for key in ["class_index", "class_name", "probability"] {
                assert_eq!(report[key], predicted[key], "{key}");
            }
            assert_eq!(report["relevance_in"], by_name["relevance_in"]);
            assert!(number(report, "conservation_error") <= 1e-5, "{report}");
        }
    }
    assert!((total - 1.0).abs() < 1e-5, "probabilities sum to {total}");
}

#[test]
fn initial_relevance_and_the_ledger() {
    let place = Place::new();
    assert_eq!(explain(&place, "--init one")["relevance_in"], 1.0);
    let logit = explain(&place, "--init logit");
    assert_ne!(logit["relevance_in"], explain(&place, "")["relevance_in"]);
    let audit = explain(&place, "--audit --preset paper");
    let lines = audit["audit"].as_array().unwrap();
    assert!(lines.len() > 10);
    assert!(audit["worst_step"]["node"].is_string(), "{audit}");
    for line in lines {
        let rest = ["relevance_out", "eps", "dead"]
            .iter()
            .fold(number(line, "relevance_in"), |rest, key| {
                rest - number(line, key)
            });
        assert!((rest - number(line, "unexplained")).abs() < 1e-12, "{line}");
        assert!(rest.abs() < 1e-5, "{line}");
    }
    let text = place.accept("explain --model m.elucid a.png --no-picture --audit");
    assert!(
        text.contains("worst step") && text.contains("conv1"),
        "{text}"
    );
}

#[test]
fn a_model_made_by_import_explains() {
    let place = Place::new();
    place.golden("bottleneck_w4_32_random/weights.safetensors");
    let names: String = (0..10).map(|i| format!("name {i}\r\n")).collect();
    place.write("names.txt", names);
    let text = place
        .accept("import weights.safetensors --classes names.txt --preprocess cifar -o new.elucid");
    assert!(
        text.contains("bottleneck") && text.contains("new.elucid"),
        "{text}"
    );
    let report = place.accept_object("explain --model new.elucid a.png");
    let class = report["class_name"].as_str().unwrap();
    assert!(class.starts_with("name "), "{report}");
    place.picture("a.explained.png");
    // A name with a space is one argument.
    let arguments = [
        "explain",
        "--model",
        "new.elucid",
        "a.png",
        "--target",
        class,
    ];
    assert_eq!(place.run(&arguments).code, Some(0));

    let text = place.accept("inspect new.elucid");
    for word in [
        "bottleneck",
        "32",
        "layer1.0.conv3",
        "name 0",
        "name 9",
        "checksum",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let text = place.accept("inspect new.elucid --classes");
    assert!(
        (0..10).all(|i| text.contains(&format!("name {i}"))),
        "{text}"
    );
}

#[test]
fn golden_maps_come_out_of_the_program() {
    let place = Place::new();
    for golden in Golden::all() {
        place.golden(&format!("{}/weights.safetensors", golden.name));
        place.accept("import weights.safetensors -o g.elucid");
        let (h, w) = (golden.image.shape.h.into(), golden.image.shape.w.into());
        let image = golden.image.to_nchw().data;
        place.array("g.npy", &[1, 3, h, w], |i| image[i] as f32);
        let names = ["ratio", "half", "projection-ratio", "projection-half"];
        for (split, name) in Split::ALL.into_iter().zip(names) {
            let rules = format!("--preset paper --split {name}");
            place.accept(&format!(
                "explain g.npy --model g.elucid {rules} --map map.npy --no-picture"
            ));
            let found = worst(&place.map("map.npy").1, &golden.map(split).data);
            assert!(found.error <= 1e-5, "{} {name}: {found}", golden.name);
        }
    }
}

#[test]
fn plan_bench_and_doctor_report() {
    let place = Place::new();
    let text = place.accept("plan --model m.elucid");
    for word in ["arena", "layer1.0.conv1", "GFLOP"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let plan = place.accept_object("plan --model m.elucid");
    let steps = plan["steps"].as_array().unwrap();
    assert!(steps.len() > 20);
    assert!(
        steps
            .iter()
            .all(|s| s["act"].is_string() && s["flops"].is_u64()),
        "{plan}"
    );
    assert!(number(&plan, "arena_bytes") >= number(&plan, "lower_bound_bytes"));

    let bench = place.accept_object("bench --model m.elucid --runs 1");
    for key in ["forward_ms", "explain_ms"] {
        let [min, median, max] = ["min", "median", "max"].map(|part| number(&bench[key], part));
        assert!(0.0 < min && min <= median && median <= max, "{bench}");
    }
    for key in ["ratio", "arena_bytes", "peak_rss_bytes", "threads"] {
        assert!(number(&bench, key) > 0.0, "{key} in {bench}");
    }
    assert_eq!(bench["memory_mode"], "block");
    assert_eq!(bench["arena_bytes"], plan["arena_bytes"], "one thread each");
    let text = place.accept("bench --model m.elucid --runs 2");
    assert!(
        text.contains("median") && text.contains("x forward"),
        "{text}"
    );

    let text = place.accept("doctor");
    assert!(text.contains("kernels") && text.contains("cuda"), "{text}");
}
