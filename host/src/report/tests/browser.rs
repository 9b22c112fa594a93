//! The page in a real browser. `ELUCID_BROWSER` names a Chromium or Chrome; otherwise one on the path is taken, and without any
//! the test says that it was skipped. `ELUCID_SCREENSHOTS` names a folder in which the runs,
//! the pages and what they look like stay.

use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{fixture, page, trained};

/// Tells the page around what doesn't fit: the width of the document, and whatever sticks out of it.
const PROBE: &str = "<script>addEventListener('load', () => { const room = document.documentElement.clientWidth; \
const out = [...document.body.querySelectorAll('*')].filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > room + 1) \
.map(e => e.tagName + '.' + e.getAttribute('class')); \
parent.postMessage('probe ' + document.documentElement.scrollWidth + ' ' + room + ' ' + out.slice(0, 5).join(','), '*'); });</script>";

fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("ELUCID_BROWSER") {
        return Some(named.into());
    }
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let names = [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ];
    let mut paths = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    paths.find(|path| path.is_file())
}

struct Browser {
    program: PathBuf,
    folder: PathBuf,
}

impl Browser {
    /// Opens a page; gives standard output and the console's lines.
    fn open(&self, page: &Path, arguments: &[&str]) -> (String, Vec<String>) {
        let mut command = Command::new(&self.program);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--enable-logging=stderr",
        ]);
        command.arg(format!(
            "--user-data-dir={}",
            self.folder.join("profile").display()
        ));
        command
            .args(arguments)
            .arg(format!("file://{}", page.display()));
        let output = command.output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{log}");
        let console = log
            .lines()
            .filter(|line| line.contains("CONSOLE"))
            .map(str::to_owned);
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            console.collect(),
        )
    }
}

/// Where the pages of a test and what they look like are kept: in a folder of this name, or nowhere.
fn kept(name: &str, root: &Path) -> PathBuf {
    let kept = std::env::var_os("ELUCID_SCREENSHOTS").map(PathBuf::from);
    let folder = kept.map_or_else(|| root.join("pages"), |kept| kept.join(name));
    std::fs::create_dir_all(&folder).unwrap();
    folder.canonicalize().unwrap()
}

#[test]
fn a_browser_shows_evaluations_without_complaint_at_any_width() {
    let root = tempfile::tempdir().unwrap();
    let folder = kept("evaluation", root.path());
    shows(root.path(), &folder, || page(&fixture::write(&folder)).html);
}

#[test]
fn a_browser_shows_trainings_without_complaint_at_any_width() {
    let root = tempfile::tempdir().unwrap();
    let folder = kept("training", root.path());
    shows(root.path(), &folder, || {
        let run = folder.join("a run");
        trained::run(&run, trained::EPOCHS - 3, (true, true), 7);
        page(&[trained::comparison(&folder.join("comparison")), run]).html
    });
}

/// Looks at a page on screens, on paper and on phones.
fn shows(root: &Path, folder: &Path, html: impl FnOnce() -> String) {
    let Some(program) = browser() else {
        // Past the test harness, which shows what is printed only of tests that fail.
        let _ = writeln!(
            stderr(),
            "skipped: set ELUCID_BROWSER to a Chromium, or install one"
        );
        return;
    };
    let html = html();
    let report = folder.join("report.html");
    std::fs::write(&report, &html).unwrap();
    let browser = Browser {
        program,
        folder: root.to_owned(),
    };
    for (name, size, scheme) in [("desktop", "1280,9000", 1), ("dark", "1280,9000", 0)] {
        let shot = folder.join(format!("{name}.png"));
        let (_, console) = browser.open(
            &report,
            &[
                &format!("--screenshot={}", shot.display()),
                &format!("--window-size={size}"),
                &format!("--blink-settings=preferredColorScheme={scheme}"),
            ],
        );
        assert!(console.is_empty(), "{console:?}");
        let shot = image::open(&shot).unwrap().to_luma8();
        let paper = shot.get_pixel(1, 1).0[0];
        assert!(
            if scheme == 0 { paper < 64 } else { paper > 192 },
            "{name}: the paper is {paper}"
        );
    }
    let pdf = folder.join("print.pdf");
    browser.open(
        &report,
        &[
            &format!("--print-to-pdf={}", pdf.display()),
            "--no-pdf-header-footer",
        ],
    );
    assert!(std::fs::read(&pdf).unwrap().starts_with(b"%PDF"));

    // A browser's window has a least width, so a phone's is a frame in it. The page's policy would refuse the probe.
    let policy = html
        .lines()
        .find(|line| line.contains("Content-Security-Policy"))
        .unwrap();
    let probed = html
        .replace(policy, "")
        .replace("</body>", &format!("{PROBE}</body>"));
    std::fs::write(root.join("probed.html"), probed).unwrap();
    for width in [320, 390, 768, 1280] {
        let frame = frame(root, "probed.html", width);
        let (dom, _) = browser.open(
            &frame,
            &[
                "--dump-dom",
                "--virtual-time-budget=5000",
                "--window-size=1400,2000",
            ],
        );
        let told = dom
            .split_once("<title>probe ")
            .expect("the probe answers")
            .1;
        let told = told.split("</title>").next().unwrap();
        let mut words = told.split(' ');
        let [document, room] = [(); 2].map(|()| words.next().unwrap().parse::<u32>().unwrap());
        let out = words.next().unwrap_or_default();
        assert_eq!(room, width, "the frame is as wide as the phone");
        assert!(
            document <= room && out.is_empty(),
            "at {width}: {document}, {out}"
        );
    }
    let phone = folder.join("phone.png");
    let frame = frame(folder, "report.html", 390);
    browser.open(
        &frame,
        &[
            &format!("--screenshot={}", phone.display()),
            "--window-size=500,9000",
        ],
    );
}

/// A page that shows another in a frame of this width, and takes its title from it.
fn frame(folder: &Path, page: &str, width: u32) -> PathBuf {
    let path = folder.join(format!("frame-{width}.html"));
    let text = format!(
        "<!DOCTYPE html><html><head><title></title></head><body style=\"margin:0\">\
         <script>addEventListener('message', e => document.title = e.data)</script>\
         <iframe src=\"{page}\" width=\"{width}\" height=\"9000\" style=\"border:0\"></iframe></body></html>"
    );
    std::fs::write(&path, text).unwrap();
    path
}
