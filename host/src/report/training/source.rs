//! Runs of training as they lie on disk. Weights aren't read: what the page shows is in the history, the configuration, the
//! pictures of maps and the table of a comparison.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::super::source::name;
use crate::train::ablation::{self, Table};
use crate::train::config::Config;
use crate::train::state::{CONFIG, Epoch, HISTORY, MAPS, PICTURES, Progress};

/// The file that makes a folder one of a comparison.
const TABLE: &str = "table.json";

/// A training run.
#[derive(Debug)]
pub struct Run {
    /// Its folder, as it was named.
    pub folder: PathBuf,
    /// The folder's own name.
    pub name: String,
    /// The configuration as it is written there.
    pub text: String,
    /// What it was asked to do.
    pub config: Config,
    /// Epochs that are done, and the best of them.
    pub progress: Progress,
    /// Epoch and number of the pictures that there are.
    pub maps: BTreeSet<(u32, usize)>,
    /// What these pictures are, by number; empty if the run doesn't say.
    pub pictures: Vec<String>,
}

/// Variants by several seeds.
#[derive(Debug)]
pub struct Comparison {
    /// Its folder, as it was named.
    pub folder: PathBuf,
    /// The folder's own name.
    pub name: String,
    /// What it came to.
    pub table: Table,
    /// The runs of each variant, by seed; `None` where the folder is gone.
    pub runs: Vec<Vec<Option<Run>>>,
    /// Names of the folders that are gone.
    pub missing: Vec<String>,
}

/// Whether a folder is of a training run or of a comparison of them, and not of an evaluation.
#[must_use]
pub fn is_training(folder: &Path) -> bool {
    let begun = || folder.join(CONFIG).exists() && !folder.join("config.json").exists();
    is_comparison(folder) || folder.join(HISTORY).exists() || begun()
}

/// Whether a folder is of a finished comparison.
#[must_use]
pub fn is_comparison(folder: &Path) -> bool {
    folder.join(TABLE).exists()
}

impl Run {
    /// Reads the run in `folder`.
    ///
    /// # Errors
    /// See [`super::make`].
    pub fn open(folder: &Path) -> Result<Run> {
        let path = folder.join(CONFIG);
        let text = read(&path)?;
        let config = Config::parse(&text).with_context(|| path.display().to_string())?;
        let progress = history(&folder.join(HISTORY))?;
        let Some(last) = progress.epochs.last() else {
            bail!(
                "{}: no epoch is done yet; wait for the first, or go on with the run (--resume)",
                folder.display()
            );
        };
        // The maps of an epoch are there before its line is.
        let maps = maps(folder).filter(|(epoch, _)| *epoch <= last.epoch);
        Ok(Run {
            maps: maps.collect(),
            pictures: pictures(folder),
            folder: folder.to_owned(),
            name: name(folder),
            text,
            config,
            progress,
        })
    }

    /// Whether there is no epoch to come.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.progress.finished(&self.config)
    }

    /// Whether it is of an adapter; else of a ResNet, which has no attention that could be off or have a loss of its own.
    #[must_use]
    pub fn adapts(&self) -> bool {
        let mut epochs = self.progress.epochs.iter();
        epochs.any(|e| !e.attends || e.attention_loss.is_some())
    }

    /// Whether its attention is off in every other epoch.
    #[must_use]
    pub fn alternates(&self) -> bool {
        self.config.aea && self.adapts()
    }

    /// The best epoch so far.
    #[must_use]
    pub fn best(&self) -> Option<&Epoch> {
        let best = self.progress.best_epoch?;
        self.progress.epochs.iter().find(|e| e.epoch == best)
    }

    /// Where the picture of a map lies.
    #[must_use]
    pub fn map(&self, epoch: u32, number: usize) -> PathBuf {
        (self.folder.join(MAPS)).join(format!("epoch{epoch:03}-{number}.png"))
    }

    /// What a picture is.
    #[must_use]
    pub fn picture(&self, number: usize) -> String {
        let said = self.pictures.get(number).cloned();
        said.unwrap_or_else(|| format!("Held-out picture {}", number + 1))
    }
}

impl Comparison {
    /// Reads the comparison in `folder`, and the runs in it.
    ///
    /// # Errors
    /// See [`super::make`].
    pub fn open(folder: &Path) -> Result<Comparison> {
        let path = folder.join(TABLE);
        let table: Table = serde_json::from_str(&read(&path)?).map_err(|error| {
            anyhow!(
                "{}: not as `elucid train ablation` writes it ({error}); run the same command again with --resume, it writes the table anew",
                path.display()
            )
        })?;
        let (mut runs, mut missing) = (Vec::new(), Vec::new());
        for variant in &table.variants {
            let mut seeds = Vec::new();
            for &seed in &table.seeds {
                let own = ablation::folder((variant.aea, variant.lora), seed);
                let path = folder.join(&own);
                seeds.push(match path.join(HISTORY).exists() {
                    true => Some(Run::open(&path)?),
                    false => {
                        missing.push(own);
                        None
                    }
                });
            }
            runs.push(seeds);
        }
        Ok(Comparison {
            name: name(folder),
            folder: folder.to_owned(),
            table,
            runs,
            missing,
        })
    }

    /// Any of its runs: they differ by the variant and the seed only.
    #[must_use]
    pub fn example(&self) -> Option<&Run> {
        self.runs.iter().flatten().flatten().next()
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The epochs that are done.
fn history(path: &Path) -> Result<Progress> {
    let mut progress = Progress::default();
    if !path.exists() {
        return Ok(progress);
    }
    for (number, line) in (1..).zip(read(path)?.lines()) {
        let epoch: Epoch = serde_json::from_str(line).map_err(|error| {
            anyhow!(
                "{}: line {number} is damaged ({error}); a run that goes on (--resume) writes the file anew after its next epoch",
                path.display()
            )
        })?;
        // The page's axes take them in order.
        if progress
            .epochs
            .last()
            .is_some_and(|last| last.epoch >= epoch.epoch)
        {
            bail!(
                "{}: line {number} is of epoch {}, which came before already; is this a mixture of two runs?",
                path.display(),
                epoch.epoch
            );
        }
        progress.push(epoch);
    }
    Ok(progress)
}

/// Epoch and number of every picture of a map.
fn maps(folder: &Path) -> impl Iterator<Item = (u32, usize)> {
    let entries = std::fs::read_dir(folder.join(MAPS)).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| {
        let (epoch, number) = name
            .strip_prefix("epoch")?
            .strip_suffix(".png")?
            .split_once('-')?;
        Some((epoch.parse().ok()?, number.parse().ok()?))
    })
}

/// What the pictures are; nothing if the run doesn't say, or not as it should: the page is worth having without.
fn pictures(folder: &Path) -> Vec<String> {
    let text = std::fs::read(folder.join(MAPS).join(PICTURES)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}
