//! A report of runs: one HTML file with everything in it, for people.
//!
//! Runs of evaluations and runs of training have pages of their own kinds. What follows is of the first; [`training`] is the
//! other, with the same style and the same rules.
//!
//! [`source`] reads the folders of runs (a run that was interrupted too, by [`interim`]); [`palette`] gives every method one
//! look on the whole page; [`verdict`] says what the comparisons allow to say. Of these are made: [`table`]s, [`curves`] and
//! the [`scatter`] of conservation (both drawn by [`chart`]), the [`gallery`] of pictures, and [`page`], which puts them into
//! the templates beside this file. [`number`] writes numbers as people read them.
//!
//! The page loads nothing, runs no script and holds no time and no path of the machine but those of the commands and
//! configurations that made the runs: the same runs give the same bytes.

pub mod chart;
pub mod curves;
pub mod gallery;
pub mod interim;
pub mod number;
pub mod outline;
pub mod page;
pub mod palette;
pub mod scatter;
pub mod section;
pub mod source;
pub mod table;
#[cfg(test)]
mod tests;
pub mod training;
pub mod verdict;

use std::path::PathBuf;

use anyhow::{Result, bail};

use palette::Palette;
use source::Run;

/// What a reader may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pictures of the cross-section; best and worst come on top. Of a training run: pictures with their maps at most.
    pub rows: usize,
    /// Heading of the page; made of the model's and the data set's names if left out.
    pub title: Option<String>,
}

/// A finished report.
#[derive(Clone, Debug)]
pub struct Report {
    /// The whole file.
    pub html: String,
    /// Different pictures that it shows.
    pub pictures: usize,
    /// What a person should know who made it: a line each.
    pub remarks: Vec<String>,
}

/// Makes the report of the runs in these folders.
///
/// # Errors
/// One line each: a folder that is missing, isn't a run or is given twice; runs of training beside runs of evaluations; a file of a run that can't be read or is damaged.
pub fn make(folders: &[PathBuf], options: &Options) -> Result<Report> {
    for (i, folder) in folders.iter().enumerate() {
        let same = |other: &PathBuf| match (folder.canonicalize(), other.canonicalize()) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        };
        if folders[..i].iter().any(same) {
            bail!("{}: given twice; name every run once", folder.display());
        }
    }
    let trained = |folder: &&PathBuf| training::source::is_training(folder);
    match (
        folders.iter().find(trained),
        folders.iter().find(|f| !trained(f)),
    ) {
        (None, None) => {
            bail!("no runs; name at least one folder that `elucid eval` or `elucid train` wrote")
        }
        (Some(_), None) => return training::make(folders, options),
        (Some(training), Some(evaluation)) => {
            let evaluation = Run::open(evaluation)?;
            bail!(
                "{} is of a training and {} of an evaluation; make a page of each kind",
                training.display(),
                evaluation.folder.display()
            )
        }
        (None, Some(_)) => {}
    }
    let runs: Vec<Run> = folders
        .iter()
        .map(|folder| Run::open(folder))
        .collect::<Result<_>>()?;
    let palette = Palette::of(&runs);
    let gallery = gallery::make(&runs, &palette, options.rows)?;
    let html = page::render(&runs, &palette, &gallery, options.title.as_deref())?;
    let mut remarks = gallery.remarks.clone();
    for run in runs.iter().filter(|run| !run.finished) {
        remarks.push(format!(
            "{} isn't finished: the page says so and shows the {} so far",
            run.folder.display(),
            number::counted(run.summary.images, "picture")
        ));
    }
    Ok(Report {
        html,
        pictures: gallery.pictures,
        remarks,
    })
}
