//! `elucid report` as a program: where the page goes, what is said, and how it refuses.

#[allow(dead_code)] // Every test file uses a part of it.
mod program;

use program::{Outcome, Place};

const CONFIG: &str = r#"{"elucid": "0.1.0", "command": ["elucid", "eval", "pointing"], "settings": {"measure": "pointing",
"model": {"name": "m.elucid", "crc32": "01234567", "classes": 5, "input": [32, 32]},
"data": {"name": "flowers", "format": "folder", "split": "all", "order": "listed", "selected": 2, "crc32": "89abcdef", "remarks": []},
"methods": ["lrp", "random"], "target": "predicted", "shard": "0/1", "strict_data": false, "seed": 1, "options": {}}}"#;
const IMAGES: &str = r#"{"position": 0, "id": "rose/a.jpg", "methods": {"lrp": {"scores": {"pointing": 1.0}}, "random": {"scores": {"pointing": 0.0}}}}
{"position": 1, "id": "rose/b.jpg", "methods": {"lrp": {"scores": {"pointing": 1.0}}, "random": {"scores": {"pointing": 1.0}}}}
"#;
const SUMMARY: &str = r#"{"measure": "pointing", "images": 2, "skipped": 0, "correct": null, "methods": [
{"name": "lrp", "control": false, "scores": {"pointing": {"mean": 1.0, "low": 1.0, "high": 1.0, "images": 2}}},
{"name": "random", "control": true, "scores": {"pointing": {"mean": 0.5, "low": 0.0, "high": 1.0, "images": 2}}}],
"comparisons": [{"score": "pointing", "first": "lrp", "second": "random", "p": 1.0,
"difference": {"mean": 0.5, "low": 0.0, "high": 1.0, "images": 2}}]}"#;

fn place() -> Place {
    let place = Place::new();
    place.folder("run");
    place.write("run/config.json", CONFIG);
    place.write("run/images.jsonl", IMAGES);
    place.write("run/summary.json", SUMMARY);
    place
}

#[test]
fn a_page_is_made_and_replaced_and_is_always_the_same() {
    let place = place();
    let said = place.accept("report run");
    assert!(
        said.starts_with("report.html: 1 run, no pictures (the runs keep none), "),
        "{said}"
    );
    let first = place.read("report.html");
    let html = String::from_utf8(first.clone()).unwrap();
    assert!(
        html.contains("lrp is not distinguishable from the control random."),
        "{html}"
    );
    place.accept("report run/ -o report.html --rows 3");
    assert_eq!(place.read("report.html"), first);
    let help = place.accept("report --help");
    for word in ["RUN", "--output", "--rows", "--title", "Example"] {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn a_run_that_was_killed_has_a_page_and_a_remark() {
    let place = place();
    std::fs::remove_file(place.path("run/summary.json")).unwrap();
    place.write("run/images.jsonl", &IMAGES[..IMAGES.len() - 30]);
    let Outcome {
        code,
        stdout,
        stderr,
    } = place.run(&["report", "run"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("report.html: 1 run"), "{stdout}");
    assert_eq!(
        stderr,
        "elucid: run isn't finished: the page says so and shows the 1 picture so far\n"
    );
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let place = place();
    place.refuse(2, "report", &["RUN"]);
    place.refuse(2, "report run --rows many", &["--rows"]);
    place.refuse(1, "report nowhere", &["nowhere: there is no such folder"]);
    place.refuse(1, "report m.elucid", &["m.elucid: a file; name the folder"]);
    place.refuse(1, "report run run/", &["run/: given twice"]);
    place.refuse(1, "report .", &["not a run", "did you mean ./run?"]);
    place.refuse(1, "report run -o no/such/r.html", &["no/such", "mkdir -p"]);
    place.refuse(
        1,
        "report run -o run/images.jsonl",
        &["a file of the run; give the page a name of its own"],
    );
    place.write("run/images.jsonl", IMAGES.replacen('{', "", 1));
    place.refuse(
        1,
        "report run",
        &[
            "images.jsonl: line 1 is damaged",
            "go on with the same `elucid eval` command",
        ],
    );
}
