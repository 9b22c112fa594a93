//! Folders of runs: killed, interrupted, shared out, merged, and gone on with only by who began them.

#[allow(dead_code)] // Every test file uses a part of it.
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use program::Place;
use program::runs::{PICTURES, RUN, place, records, results};

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
fn what_a_kill_leaves_at_the_very_start_is_in_nobodys_way() {
    let place = place();
    place.folder("run");
    place.write("run/.elucid-a1b2c3.part", b"{ half of a conf");
    place.write("run/images.jsonl", b"");
    let line = "eval iou --model m.elucid --data photos --method random -o run";
    place.accept(line);
    assert!(!place.path("run/.elucid-a1b2c3.part").exists());
    // A record too many, as of two processes at once.
    let mut journal = place.read("run/images.jsonl");
    let last = journal
        .split_inclusive(|&b| b == b'\n')
        .next_back()
        .unwrap()
        .to_vec();
    journal.extend(last);
    place.write("run/images.jsonl", journal);
    place.refuse(1, line, &["line 10", "position 8"]);
}

#[test]
fn a_merge_does_not_write_over_its_shards() {
    let place = place();
    place.accept("eval iou --model m.elucid --data photos --method random -o run");
    place.refuse(1, "eval merge run -o run", &["one of the runs"]);
    place.write("file", b"");
    place.refuse(
        1,
        "eval iou --model m.elucid --data photos -o file",
        &["is a file"],
    );
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
    // A part of the array again, as after a failure: finished parts stay as they are.
    let again = [
        ("SLURM_ARRAY_TASK_ID", "2"),
        ("SLURM_ARRAY_TASK_COUNT", "1"),
        ("PARTS", "3"),
    ];
    script(&place, &["bash", &slurm], &[&common[..3], &again].concat());
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
