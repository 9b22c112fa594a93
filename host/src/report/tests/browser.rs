//! The page in a real browser. `ELUCID_BROWSER` names a Chromium or Chrome; otherwise one on the path is taken, and without any
//! the test says that it was skipped. `ELUCID_SCREENSHOTS` names a folder in which the page and what it looks like stay.

use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{fixture, page};

/// Tells in the page's title what doesn't fit: the width of the document, and whatever sticks out of it.
const PROBE: &str = "<script>addEventListener('load', () => { const room = document.documentElement.clientWidth; \
const out = [...document.body.querySelectorAll('*')].filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > room + 1) \
.map(e => e.tagName + '.' + e.getAttribute('class')); \
document.title = 'probe ' + document.documentElement.scrollWidth + ' ' + room + ' ' + out.slice(0, 5).join(','); });</script>";

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

#[test]
fn a_browser_shows_it_without_complaint_at_any_width() {
    let Some(program) = browser() else {
        // Past the test harness, which shows what is printed only of tests that fail.
        let _ = writeln!(
            stderr(),
            "skipped: set ELUCID_BROWSER to a Chromium, or install one"
        );
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("ELUCID_SCREENSHOTS").map(PathBuf::from);
    let folder = kept
        .unwrap_or_else(|| root.path().to_owned())
        .canonicalize()
        .unwrap();
    let html = page(&fixture::write(root.path())).html;
    let report = folder.join("report.html");
    std::fs::write(&report, &html).unwrap();
    let browser = Browser {
        program,
        folder: root.path().to_owned(),
    };
    for (name, size, scheme) in [
        ("desktop", "1280,9000", 1),
        ("dark", "1280,9000", 0),
        ("phone", "390,9000", 1),
    ] {
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

    // A frame of a phone's width, since windows of a browser have a least width. The page's policy would refuse the probe.
    let policy = html
        .lines()
        .find(|line| line.contains("Content-Security-Policy"))
        .unwrap();
    let probed = html
        .replace(policy, "")
        .replace("</body>", &format!("{PROBE}</body>"));
    let copy = root.path().join("probed.html");
    std::fs::write(&copy, probed).unwrap();
    for width in [320, 390, 768, 1280] {
        let (dom, _) = browser.open(
            &copy,
            &["--dump-dom", &format!("--window-size={width},2000")],
        );
        let told = dom
            .split_once("<title>probe ")
            .unwrap()
            .1
            .split("</title>")
            .next()
            .unwrap();
        let mut words = told.split(' ');
        let [document, room] = [(); 2].map(|()| words.next().unwrap().parse::<u32>().unwrap());
        let out = words.next().unwrap_or_default();
        assert!(
            document <= room && out.is_empty(),
            "at {width}: {document} of {room}, {out}"
        );
        let _ = writeln!(stderr(), "{width}: {told}");
    }
}
