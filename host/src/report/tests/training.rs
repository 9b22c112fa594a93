//! Pages of training runs and comparisons: what they hold, that they are whole and of themselves, and what they say of runs that
//! aren't finished, damaged or gone.

use std::path::Path;
use std::slice::from_ref;

use super::{check_nesting, one, options, page, refusal, trained};
use crate::report::{Options, make};
use crate::run::measure::Measure;
use crate::train::state::Epoch;

fn of_itself(html: &str, root: &Path) {
    check_nesting(html);
    for foreign in [
        "http:", "https:", "<script", "src=\"/", "url(", "@import", "onload",
    ] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert!(html.contains("Content-Security-Policy"));
    assert!(!html.contains(root.to_str().unwrap()));
    assert!(!html.contains("birds & <b>"), "names are escaped");
    assert!(html.len() < 3_000_000, "{}", html.len());
    assert!(html.matches("<img ").count() == html.matches(" alt=\"").count());
    let mut ids: Vec<&str> = (html.split(" id=\"").skip(1))
        .map(|part| part.split('"').next().unwrap())
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn a_run_has_curves_and_its_maps_over_time() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run <1>");
    trained::run(&folder, trained::EPOCHS, (true, true), 42);
    let report = page(from_ref(&folder));
    let html = &report.html;
    of_itself(html, root.path());
    assert!(report.remarks.is_empty(), "{:?}", report.remarks);
    for part in [
        "Training an adapter for vit &lt;tiny&gt; on birds &amp; &lt;b&gt;co<",
        "20 of 20",
        "rank 16, alpha 16, on out, fc, proj",
        "The best is epoch 13: validation loss 1.000",
        "held-out pictures classified rightly, mean IoU of the map 0.4",
        "class=\"line c1 again1\"",
        "attention branch",
        "a&lt;b&gt;&amp;&quot;c&quot;&lt;script&gt;",
        "002.Gr\u{fc}n",
        "epoch 13 <b>best</b>",
        "epoch 19<",
        "elucid train ala --config run.toml -o &#x27;run &lt;1&gt;&#x27;",
        "attention-weight = 0.0666",
    ] {
        assert!(html.contains(part), "{part}");
    }
    // A photo and six epochs of each picture.
    assert_eq!(html.matches("<img ").count(), trained::PICTURES * 7);
    assert_eq!(report.pictures, trained::PICTURES);
    assert_eq!(html.matches("<svg class=\"chart\"").count(), 3);
    assert!(!html.contains("Not finished"));
    let again = page(from_ref(&folder));
    assert_eq!(html, &again.html, "the same runs give the same bytes");

    let few = make(
        &[folder],
        &Options {
            rows: 1,
            title: Some("A <title>".to_owned()),
        },
    )
    .unwrap();
    assert!(few.html.contains("<h1>A &lt;title&gt;</h1>") && few.pictures == 1);
}

#[test]
fn an_unfinished_run_is_shown_as_far_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    trained::run(&folder, 4, (true, false), 1);
    let report = page(from_ref(&folder));
    check_nesting(&report.html);
    assert!(
        report
            .html
            .contains("Not finished: 4 of 20 epochs are done.")
    );
    assert!(report.html.contains("off: the encoder stays as it is"));
    assert!(report.remarks[0].contains("isn't finished"));
    // An epoch without attention only: nothing is judged, nothing is shown of it.
    let folder = root.path().join("first");
    trained::run(&folder, 1, (true, false), 1);
    let report = page(from_ref(&folder));
    check_nesting(&report.html);
    assert!(report.html.contains("No epoch is judged yet"));
    assert_eq!(report.pictures, 0);
    std::fs::write(folder.join("epochs.jsonl"), "").unwrap();
    assert!(refusal(from_ref(&folder)).contains("no epoch is done yet"));
    std::fs::remove_file(folder.join("epochs.jsonl")).unwrap();
    assert!(refusal(&[folder]).contains("no epoch is done yet"));
}

#[test]
fn a_resnet_has_no_attention_to_speak_of() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    trained::run(&folder, 5, (false, false), 1);
    let path = folder.join("epochs.jsonl");
    let mut lines = String::new();
    for line in std::fs::read_to_string(&path).unwrap().lines() {
        let mut epoch: Epoch = serde_json::from_str(line).unwrap();
        epoch.attention_loss = None;
        if let Some(judged) = &mut epoch.validation {
            judged.iou = None;
        }
        lines += &(serde_json::to_string(&epoch).unwrap() + "\n");
    }
    std::fs::write(path, lines).unwrap();
    std::fs::remove_dir_all(folder.join("maps")).unwrap();
    let html = page(&[folder]).html;
    check_nesting(&html);
    assert!(html.contains("Training vit &lt;tiny&gt; on birds"));
    assert!(html.contains("elucid train resnet --config run.toml -o run"));
    assert_eq!(html.matches("<svg class=\"chart\"").count(), 2);
    for other in ["LoRA", "<dt>AEA", "branch", "Mean IoU", "<img "] {
        assert!(!html.contains(other), "{other}");
    }
}

#[test]
fn what_is_damaged_is_named_with_its_line() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    trained::run(&folder, 6, (true, true), 1);
    let path = folder.join("epochs.jsonl");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.replacen("\"epoch\":3", "\"epoch\":three", 1)).unwrap();
    let said = refusal(from_ref(&folder));
    assert!(said.contains("epochs.jsonl: line 4 is damaged ("), "{said}");
    std::fs::write(&path, whole.replacen("\"epoch\":3", "\"epoch\":1", 1)).unwrap();
    let said = refusal(from_ref(&folder));
    assert!(said.contains("line 4 is of epoch 1"), "{said}");
    std::fs::write(&path, &whole).unwrap();
    std::fs::write(folder.join("maps/epoch005-1.png"), "no picture").unwrap();
    let report = page(from_ref(&folder));
    assert!(report.html.contains("no map"));
    let remark = &report.remarks[0];
    assert!(remark.contains("epoch005-1.png: left out"), "{remark}");
    std::fs::write(folder.join("config.toml"), "epoch = 3\n").unwrap();
    let said = refusal(from_ref(&folder));
    assert!(said.contains("config.toml: line 1: "), "{said}");
    let table = root.path().join("comparison");
    std::fs::create_dir(&table).unwrap();
    std::fs::write(table.join("table.json"), "{}").unwrap();
    let said = refusal(&[table]);
    assert!(
        said.contains("table.json: not as `elucid train ablation`"),
        "{said}"
    );
}

#[test]
fn a_comparison_has_its_table_and_its_runs() {
    let root = tempfile::tempdir().unwrap();
    let comparison = trained::comparison(&root.path().join("comparison"));
    let run = root.path().join("run");
    trained::run(&run, 8, (true, true), 3);
    let other = root.path().join("other");
    trained::run(&other, trained::EPOCHS, (false, false), 3);
    let folders = [run, comparison.clone(), other];
    let report = page(&folders);
    let html = &report.html;
    of_itself(html, root.path());
    assert_eq!(html, &page(&folders).html);
    for part in [
        "no AEA, no LoRA",
        "<span class=\"mean best\">0.410</span><span class=\"interval\">0.397 to 0.423</span>",
        "centre&nbsp;↑ <span class=\"badge\">control</span>",
        "ala has mean IoU 0.410 (0.397 to 0.423); ahead of gradcam, centre (control) and random (control); \
         not distinguishable from rollout. Accuracy 0.770",
        "ala is better",
        "seed 2",
        "AEA, LoRA: mean IoU",
        "elucid train ablation --config run.toml -o comparison",
        "methods = [&quot;ala&quot;",
        "not finished",
    ] {
        assert!(html.contains(part), "{part}");
    }
    // Two for each variant, three for each run.
    assert_eq!(html.matches("<svg class=\"chart\"").count(), 2 * 4 + 2 * 3);
    // What isn't there is left out; the numbers are.
    std::fs::remove_dir_all(comparison.join("aea-lora-seed2")).unwrap();
    let report = page(from_ref(&comparison));
    assert!(report.remarks[0].contains("aea-lora-seed2 isn't there"));
    assert!(report.html.contains("0.397 to 0.423"));
    std::fs::remove_file(comparison.join("table.json")).unwrap();
    let said = refusal(&[comparison]);
    assert!(said.contains("it holds 7 runs: name them"), "{said}");
}

#[test]
fn kinds_have_pages_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    trained::run(&folder, 2, (true, true), 1);
    let said = refusal(&[folder.clone(), one(root.path(), Measure::Iou)]);
    assert!(said.contains("make a page of each kind"), "{said}");
    let said = refusal(&[folder, root.path().join("nowhere")]);
    assert!(said.contains("there is no such folder"), "{said}");
    assert!(make(&[], &options()).is_err());
}
