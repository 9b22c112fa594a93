//! `elucid report`: one HTML file of the runs of an evaluation, or of a training.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::say::say;
use crate::atomic;
use crate::report::number::{bytes, counted};
use crate::report::{Options, make};

/// Makes one HTML file of runs: what every method is worth with 95 % intervals, curves, pictures, and which methods can be
/// told apart.
///
/// The file needs nothing else: no network, no script, no fonts. Runs of several measures, scorers, networks or data sets
/// become sections of one page. A run that isn't finished is reported as far as it is, and marked.
///
/// Folders of `elucid train` make a page of their own: curves of loss, accuracy and mean IoU, the attention map of the same
/// pictures epoch by epoch, and of a comparison the table of variants and methods with what can be told apart.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  elucid report runs/insdel runs/iou runs/conservation -o report.html\n  elucid report trained/cub trained/comparison -o training.html"
)]
pub struct Arguments {
    /// Folders that `elucid eval ... -o RUN/` or `elucid train ... -o RUN/` wrote
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where the page goes; an older one is replaced
    #[arg(short, long, value_name = "report.html", default_value = "report.html")]
    output: PathBuf,
    /// Pictures of the cross-section, spread evenly over the run; the best and worst four come on top. Of a training run:
    /// the most pictures that are shown with their maps
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=200))]
    rows: u32,
    /// Heading of the page; names of networks and data sets if left out
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

/// Files of runs.
const OWN: [&str; 9] = [
    "config.json",
    "images.jsonl",
    "summary.json",
    "config.toml",
    "epochs.jsonl",
    "state.safetensors",
    "model.elucid",
    "table.json",
    "table.md",
];

pub fn run(arguments: &Arguments) -> Result<()> {
    let output = &arguments.output;
    // A page written over a run's own file would destroy what it was made of.
    if let Some(folder) = output.parent()
        && output
            .file_name()
            .is_some_and(|name| OWN.iter().any(|own| name == *own))
        && arguments
            .runs
            .iter()
            .any(|run| run.canonicalize().ok() == folder.canonicalize().ok())
    {
        bail!(
            "-o {}: a file of the run; give the page a name of its own, for example report.html",
            output.display()
        );
    }
    let report = make(
        &arguments.runs,
        &Options {
            rows: arguments.rows as usize,
            title: arguments.title.clone(),
        },
    )?;
    atomic::write(output, |out| Ok(out.write_all(report.html.as_bytes())?))?;
    for remark in &report.remarks {
        eprintln!("elucid: {remark}");
    }
    say!(
        "{}: {}, {}, {}",
        output.display(),
        counted(arguments.runs.len(), "run"),
        match report.pictures {
            0 => "no pictures (the runs keep none)".to_owned(),
            n => counted(n, "picture"),
        },
        bytes(report.html.len())
    );
    Ok(())
}
