//! The page of training runs: how each learnt, what its map looked like on the way, and what a comparison of variants came to.
//!
//! [`source`] reads folders of `elucid train`, of adapters, of ResNets and of comparisons; [`curves`] draws loss, accuracy and IoU over
//! the epochs; [`album`] shows the map of the same pictures epoch by epoch; [`comparison`] makes the tables of variants and
//! methods; [`facts`] says in words what a run was; [`page`] puts all into `training.html`.

pub mod album;
pub mod comparison;
pub mod curves;
pub mod facts;
pub mod page;
pub mod source;

use std::path::PathBuf;

use anyhow::Result;

use super::{Options, Report};
use source::{Comparison, Run, is_comparison};

/// Makes the report of runs and comparisons in these folders.
///
/// # Errors
/// One line: a file of a run that can't be read or is damaged, or a run of which no epoch is done.
pub fn make(folders: &[PathBuf], options: &Options) -> Result<Report> {
    let (mut runs, mut comparisons) = (Vec::new(), Vec::new());
    for folder in folders {
        match is_comparison(folder) {
            true => comparisons.push(Comparison::open(folder)?),
            false => runs.push(Run::open(folder)?),
        }
    }
    let albums = album::make(&comparisons, &runs, options.rows)?;
    let mut remarks = albums.remarks.clone();
    for comparison in &comparisons {
        remarks.extend(comparison.missing.iter().map(|name| {
            format!(
                "{}: the run's folder {name} isn't there, the page shows its numbers but not its curves",
                comparison.folder.display()
            )
        }));
    }
    for run in runs.iter().filter(|run| !run.finished()) {
        remarks.push(format!(
            "{} isn't finished: the page says so and shows {} of {} epochs",
            run.folder.display(),
            run.progress.epochs.len(),
            run.config.epochs
        ));
    }
    let pictures = albums.pictures;
    let html = page::render(&comparisons, &runs, albums, options.title.as_deref())?;
    Ok(Report {
        html,
        pictures,
        remarks,
    })
}
