//! Reports of small runs: what the page holds, what it says of runs that are incomplete or damaged, and how a browser shows it.

mod browser;
mod fixture;
mod trained;
mod training;

use std::path::{Path, PathBuf};
use std::slice::from_ref;

use super::{Options, Report, make};
use crate::run::measure::Measure;

fn options() -> Options {
    Options {
        rows: 8,
        title: None,
    }
}

fn page(folders: &[PathBuf]) -> Report {
    make(folders, &options()).unwrap()
}

/// The error of a report that can't be made: one line.
fn refusal(folders: &[PathBuf]) -> String {
    let line = format!("{:#}", make(folders, &options()).unwrap_err());
    assert!(!line.contains('\n'), "{line}");
    line
}

fn one(root: &Path, measure: Measure) -> PathBuf {
    let folder = root.join(measure.name());
    fixture::run(&folder, measure, &[]);
    folder
}

/// Checks that elements that must be closed are closed in the right order.
fn check_nesting(html: &str) {
    const VOID: [&str; 4] = ["meta", "link", "img", "!DOCTYPE"];
    let mut open: Vec<&str> = Vec::new();
    let body = html.split_once("<style>").map_or(html, |(head, rest)| {
        assert!(head.contains("<head>"));
        rest.split_once("</style>").unwrap().1
    });
    for tag in body
        .split('<')
        .skip(1)
        .map(|part| part.split_once('>').unwrap().0)
    {
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/', '\n'])
            .next()
            .unwrap();
        if tag.starts_with('/') {
            if name == "head" || name == "html" {
                continue;
            }
            assert_eq!(open.pop(), Some(name), "</{name}> closes something else");
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_page_is_whole_and_of_itself() {
    let root = tempfile::tempdir().unwrap();
    let runs = fixture::write(root.path());
    let report = page(&runs);
    let html = &report.html;
    check_nesting(html);
    for (measure, name) in Measure::ALL {
        assert!(html.contains(&format!("<section id=\"{name}\"")), "{name}");
        for score in measure.scores() {
            assert!(
                html.contains(&super::number::escaped(score.title)),
                "{}",
                score.title
            );
        }
    }
    for id in ["short", "pictures", "skipped", "reproduce"] {
        assert!(html.contains(&format!("<section id=\"{id}\"")), "{id}");
        assert!(html.contains(&format!("href=\"#{id}\"")), "{id}");
    }
    for part in [
        "scorer strict",
        "scorer paper",
        "pseudo-masks",
        "class=\"badge\">control<",
        "is not distinguishable from",
        "crc32 5f3759df",
    ] {
        assert!(html.contains(part), "{part}");
    }
    // What a shell needs quotes for has them, escaped as HTML.
    assert!(html.contains("&#x27;&#x2f;models&#x2f;my resnet50.elucid&#x27;"));
    assert!(html.matches("<img ").count() >= 16 * 7);
    assert!(html.matches("<img ").count() == html.matches(" alt=\"").count());
    assert_eq!(report.pictures, report.pictures.clamp(8, 16));
    assert!(html.len() < 10_000_000, "{}", html.len());
    // Nothing is loaded, nothing runs, no path of this machine.
    for foreign in [
        "http:",
        "https:",
        "<script",
        "src=\"/",
        "url(",
        "@import",
        "javascript:",
        "onload",
    ] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert!(!html.contains(root.path().to_str().unwrap()));
    assert!(
        html.contains("a&lt;b&gt;&amp;&quot;c&quot;&lt;script&gt;"),
        "hostile names are escaped"
    );
    assert!(html.contains("grün_ß_鳥"));
    assert!(html.contains("its mask is empty &lt;mask&gt;"));
    assert_eq!(html, &page(&runs).html, "the same runs give the same bytes");
}

#[test]
fn ids_are_unique() {
    let root = tempfile::tempdir().unwrap();
    let html = page(&fixture::write(root.path())).html;
    let mut ids: Vec<&str> = html
        .split(" id=\"")
        .skip(1)
        .map(|part| part.split('"').next().unwrap())
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn an_unfinished_run_is_reported_and_marked() {
    let root = tempfile::tempdir().unwrap();
    let folder = one(root.path(), Measure::Insdel);
    std::fs::remove_file(folder.join("summary.json")).unwrap();
    let path = folder.join("images.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> = text.split_inclusive('\n').take(25).collect();
    // The last line is cut in the middle, as by a power cut.
    let half = kept.concat() + &text.lines().nth(25).unwrap()[..40];
    std::fs::write(&path, half).unwrap();
    let report = page(from_ref(&folder));
    assert!(
        report
            .html
            .contains("Not finished: these are the first 25 of 40 pictures.")
    );
    assert!(report.remarks[0].contains("isn't finished"));
    check_nesting(&report.html);
    std::fs::write(&path, "").unwrap();
    assert!(refusal(&[folder]).contains("no picture is done yet; go on with the run"));
}

#[test]
fn a_run_without_previews_has_a_report() {
    let root = tempfile::tempdir().unwrap();
    let folder = one(root.path(), Measure::Iou);
    let report = page(&[folder]);
    assert_eq!(report.pictures, 0);
    assert!(!report.html.contains("id=\"pictures\""));
}

#[test]
fn missing_and_broken_maps_leave_a_gap_and_a_remark() {
    let root = tempfile::tempdir().unwrap();
    let folder = one(root.path(), Measure::Pointing);
    fixture::previews(&folder);
    for i in 0..fixture::IMAGES {
        let _ = std::fs::remove_file(folder.join(format!("previews/{i:06}.rise.png")));
        let _ = std::fs::write(
            folder.join(format!("previews/{i:06}.gradcam.png")),
            "no picture",
        );
    }
    let report = page(&[folder]);
    assert!(report.html.contains("no preview"));
    assert!(
        report.remarks[0].contains("gradcam.png: left out, it can't be decoded"),
        "{:?}",
        report.remarks
    );
    check_nesting(&report.html);
}

#[test]
fn what_isnt_a_run_is_refused_in_one_line() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (
        one(root.path(), Measure::Iou),
        one(root.path(), Measure::Pointing),
    );
    let whole = refusal(&[root.path().to_owned()]);
    assert!(
        whole.contains("not a run") && whole.contains("it holds 2 runs: name them"),
        "{whole}"
    );
    let missing = refusal(&[root.path().join("nowhere")]);
    assert!(
        missing.contains(
            "there is no such folder; name one that `elucid eval` or `elucid train` wrote"
        ),
        "{missing}"
    );
    assert!(refusal(&[a.join("config.json")]).contains("a file; name the folder of the run"));
    assert!(refusal(&[a.clone(), root.path().join("./iou")]).contains("given twice"));

    let lines = std::fs::read_to_string(a.join("images.jsonl")).unwrap();
    std::fs::write(
        a.join("images.jsonl"),
        lines.replacen("{\"position\":7", "{\"position\":seven", 1),
    )
    .unwrap();
    let broken = refusal(from_ref(&a));
    assert!(
        broken.contains("images.jsonl: line 8 is damaged ("),
        "{broken}"
    );
    std::fs::copy(a.join("summary.json"), b.join("summary.json")).unwrap();
    assert!(refusal(from_ref(&b)).contains("files of two runs"));
    std::fs::write(b.join("config.json"), "{}").unwrap();
    assert!(refusal(&[b]).contains("config.json: not as `elucid eval` writes it (missing field"));
}

#[test]
fn many_pictures_are_made_smaller() {
    let root = tempfile::tempdir().unwrap();
    let folder = one(root.path(), Measure::Insdel);
    fixture::previews(&folder);
    let few = make(
        from_ref(&folder),
        &Options {
            rows: 0,
            title: Some("A <title>".to_owned()),
        },
    )
    .unwrap();
    assert!(few.html.contains("<title>A &lt;title&gt;</title>") && few.pictures == 8);
    let all = make(
        &[folder],
        &Options {
            rows: 200,
            title: None,
        },
    )
    .unwrap();
    assert_eq!(all.pictures, fixture::IMAGES - 2);
    assert!(all.html.len() < 10_000_000);
}
