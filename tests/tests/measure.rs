//! Memory modes, kernels, batches, plans and benches on the command line.

#[allow(dead_code)] // Every test file uses a part of it.
mod program;

use std::collections::BTreeSet;

use elucid_core::simd::Isa;
use program::{CLASSES, Place, explain, number};

#[test]
fn threads_and_memory_modes_write_the_same_map() {
    let place = Place::new();
    let mut maps = BTreeSet::new();
    for threads in [1, 2, 0] {
        for memory in ["keep", "block", "stage"] {
            explain(
                &place,
                &format!("--map m.npy --threads {threads} --memory {memory}"),
            );
            maps.insert(place.read("m.npy"));
        }
    }
    assert_eq!(maps.len(), 1);
    // Half-precision checkpoints are close, and say what they are.
    let half = explain(&place, "--map h.npy --memory block --checkpoints f16");
    assert!(number(&half, "conservation_error") <= 1e-5, "{half}");
    let ((shape, whole), (_, half)) = (place.map("m.npy"), place.map("h.npy"));
    let sum = |v: &[f32]| v.iter().map(|v| v.abs()).sum::<f32>();
    let off: Vec<f32> = whole.iter().zip(&half).map(|(a, b)| a - b).collect();
    assert!(sum(&off) <= 1e-2 * sum(&whole), "{shape:?}");
    let keep = |more: &str| {
        number(
            &explain(&place, &format!("--memory keep {more}")),
            "arena_bytes",
        )
    };
    assert!(keep("--checkpoints f16") < keep(""));
}

#[test]
fn kernels_by_name() {
    let place = Place::new();
    explain(&place, "--map best.npy");
    explain(&place, "--map portable.npy --kernels portable");
    let ((_, best), (_, portable)) = (place.map("best.npy"), place.map("portable.npy"));
    let most = best.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (a, b) in best.iter().zip(&portable) {
        assert!((a - b).abs() <= 2e-5 * most, "{a} {b}");
    }
    for kernels in Isa::available().map(Isa::name) {
        let bench = place.accept_object(&format!(
            "bench --model m.elucid --runs 1 --kernels {kernels}"
        ));
        assert_eq!(bench["kernels"], kernels);
    }
    // One rounding or two: the maps differ in bits where the best kernels fuse.
    let fuses = Isa::detect() != Isa::Portable;
    assert_eq!(best != portable, fuses);
    place.refuse(
        2,
        "explain --model m.elucid a.png --kernels mmx",
        &["--kernels", "this machine has", "portable"],
    );
}

#[test]
fn several_classes_in_one_call() {
    let place = Place::new();
    let command = "explain --model m.elucid a.png -o out.png --map maps.npy";
    let all = place.accept_json(&format!("{command} --target top3"));
    let names: Vec<String> = all
        .iter()
        .map(|r| r["target_name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 3);
    let probabilities: Vec<f64> = all
        .iter()
        .map(|r| number(r, "target_probability"))
        .collect();
    assert!(
        probabilities.is_sorted_by(|a, b| a >= b),
        "{probabilities:?}"
    );
    for (number, (report, name)) in (1..).zip(all.iter().zip(&names)) {
        assert_eq!(report["picture"], format!("out.{number}.png"));
        assert_eq!(report["map"], format!("maps.{number}.npy"));
        place.picture(&format!("out.{number}.png"));
        // The same bits as alone.
        explain(&place, &format!("--map one.npy --target {name}"));
        assert_eq!(
            place.read("one.npy"),
            place.read(&format!("maps.{number}.npy"))
        );
    }
    // Named one by one, in the order given.
    let two = place.accept_json(&format!("{command} --target {} --target pred", CLASSES[0]));
    assert_eq!(two[0]["target_name"], CLASSES[0]);
    assert_eq!(two[1]["target_index"], two[1]["class_index"]);
    // Beside the photo, the number stands before the ending.
    place.accept("explain --model m.elucid a.png --target top2");
    place.picture("a.1.explained.png");
    place.picture("a.2.explained.png");
    // A device is no place for several files.
    #[cfg(unix)]
    place.refuse(
        1,
        "explain --model m.elucid a.png --target top2 -o /dev/null",
        &["/dev/null", "several classes"],
    );
    for (target, wanted) in [("top0", "top1 to top5"), ("top6", "top1 to top5")] {
        let command = format!("explain --model m.elucid a.png --target {target}");
        place.refuse(1, &command, &["--target", wanted]);
    }
}

#[test]
fn plans_predict_for_devices() {
    let place = Place::new();
    let plan = place.accept_object("plan --model m.elucid --device orin-nano");
    assert_eq!(
        (&plan["device"], &plan["prediction"]),
        (&"orin-nano".into(), &true.into())
    );
    let steps = plan["steps"].as_array().unwrap();
    let sum: f64 = steps.iter().map(|s| number(s, "ms")).sum();
    let (forward, explain) = (number(&plan, "forward_ms"), number(&plan, "explain_ms"));
    assert!(0.0 < forward && forward < explain, "{plan}");
    assert!(
        (sum - explain).abs() < 1e-6 * explain,
        "{sum} is not {explain}"
    );
    assert!(steps.iter().all(|s| s["bound"].is_string()), "{plan}");
    let forward = place.accept_object("plan --model m.elucid --device nano --share 1 --forward");
    assert!(forward["explain_ms"].is_null() && number(&forward, "forward_ms") > 0.0);
    let text = place.accept("plan --model m.elucid --device thor");
    for word in [
        "PREDICTION",
        "nothing was measured",
        "layer1.0.conv1",
        "source",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let list = place.accept("plan --device list");
    for name in ["orin-nano", "orin-nano-super", "tx2", "thor"] {
        assert!(list.contains(name), "{name} in {list}");
    }
    place.refuse(
        2,
        "plan --device abacus",
        &["abacus", "orin-nano", "xavier-nx"],
    );
    place.refuse(2, "plan --device nano --share 2", &["--share", "2"]);
    place.refuse(2, "plan --share 0.4", &["--device"]);
}

#[test]
fn rates_are_shares_of_the_peak() {
    let place = Place::new();
    let bench = place.accept_object("bench --model m.elucid --runs 1 --layers");
    let layers = bench["layers"].as_array().unwrap();
    assert!(layers.len() > 20 && number(&bench, "peak_gflops") > 0.1);
    for layer in layers {
        let want = number(layer, "gflops") / number(&bench, "peak_gflops");
        let found = number(layer, "share_of_peak");
        assert!((found - want).abs() < 1e-9, "{layer}");
        assert!(layer.get("torch_ms").is_none(), "{layer}");
    }
    let text = place.accept("bench --model m.elucid --runs 1 --layers");
    assert!(
        text.contains("% peak") && text.contains("peak of this core"),
        "{text}"
    );
}

#[test]
fn a_comparison_needs_an_interpreter() {
    let place = Place::new();
    let against = "bench --model m.elucid --runs 1 --against";
    place.refuse(
        1,
        &format!("{against} no-such-python"),
        &["no-such-python", "Python"],
    );
    if cfg!(unix) {
        // It says nothing and is gone.
        place.refuse(1, &format!("{against} true"), &["true", "Python 3"]);
    }
}

#[test]
fn batches_are_planned_and_measured() {
    let place = Place::new();
    let plan = |more: &str| place.accept_object(&format!("plan --model m.elucid {more}"));
    let (one, many) = (plan(""), plan("--images 3 --targets 2"));
    for key in ["arena_bytes", "flops", "forward_flops"] {
        assert!(number(&many, key) > number(&one, key), "{key}");
    }
    assert_eq!(
        number(&many, "forward_flops"),
        3.0 * number(&one, "forward_flops")
    );
    // What two classes share is computed once.
    assert!(number(&many, "flops") < 6.0 * number(&one, "flops"));
    let text = place.accept("plan --model m.elucid --images 3 --targets 2");
    assert!(
        text.contains("3 images of 32 x 32, 2 classes each"),
        "{text}"
    );
    let bench = place.accept_object("bench --model m.elucid --runs 1 --images 3 --targets 2");
    assert_eq!(
        (&bench["images"], &bench["targets"]),
        (&3.into(), &2.into())
    );
    let rate = |more: &str| {
        let plan = plan(&format!("--device orin-nano {more}"));
        number(&plan, "explanations_per_second") * number(&plan, "explain_ms") / 1e3
    };
    assert!((rate("") - 1.0).abs() < 1e-9 && (rate("--images 3 --targets 2") - 6.0).abs() < 1e-9);
    place.refuse(
        1,
        "bench --model m.elucid --targets 6",
        &["--targets 6", "5 classes"],
    );
    place.refuse(2, "bench --model m.elucid --images 0", &["--images"]);
    place.refuse(
        1,
        "plan --model m.elucid --size 4096 --images 65535",
        &["arena", "fewer images"],
    );
}
