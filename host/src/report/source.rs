//! Runs as they lie on disk, read so that a run of any length takes little memory: pictures stream by, and only what the
//! page shows of them stays.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;

use super::interim::Interim;
use super::scatter::Points;
use crate::run::config::Config;
use crate::run::measure::{Better, Measure, Score};
use crate::run::record::Record;
use crate::run::summary::{MethodSummary, Summary};
use crate::train::state::HISTORY;

/// Pictures that are named of those left out.
const NAMED: usize = 100;

/// A run.
#[derive(Debug)]
pub struct Run {
    /// Its folder, as it was named.
    pub folder: PathBuf,
    /// The folder's own name.
    pub name: String,
    /// What it was asked to do.
    pub config: Config,
    /// Its outcome, or that of the pictures so far.
    pub summary: Summary,
    /// Whether every picture is done.
    pub finished: bool,
    /// The first pictures that were left out, with the reason.
    pub skipped: Vec<(String, String)>,
    /// Pictures with a preview, by their position.
    pub previews: BTreeSet<usize>,
    /// For pictures with a preview: the first score of the first method that knows the network.
    pub ranking: Vec<(usize, f64)>,
    /// Relevance at three depths, if that is what was measured.
    pub points: Option<Points>,
}

impl Run {
    /// Reads the run in `folder`.
    ///
    /// # Errors
    /// See [`super::make`].
    pub fn open(folder: &Path) -> Result<Run> {
        check(folder)?;
        let config: Config = read(&folder.join("config.json"))?;
        let summary: Option<Summary> = match folder.join("summary.json") {
            path if path.exists() => Some(read(&path)?),
            _ => None,
        };
        let measure = config.settings.measure;
        if let Some(summary) = &summary
            && summary.measure != measure
        {
            bail!(
                "{}: summary.json is of `{}` but config.json of `{}`: files of two runs; start the evaluation again in an empty folder",
                folder.display(),
                summary.measure.name(),
                measure.name()
            );
        }
        let previews = previews(folder);
        let subject = config
            .settings
            .methods
            .iter()
            .find(|name| !is_control(summary.as_ref(), name))
            .cloned();
        let headline = measure.scores()[0].name;
        let mut interim = summary.is_none().then(|| Interim::new(&config));
        let mut points = (measure == Measure::Conservation).then(Points::default);
        let (mut skipped, mut ranking) = (Vec::new(), Vec::new());
        each(folder, summary.is_some(), |record| {
            if let Some(interim) = &mut interim {
                interim.add(&record);
            }
            if let Some(points) = &mut points {
                points.add(&record);
            }
            let score = subject
                .as_ref()
                .and_then(|name| record.methods.get(name)?.scores.get(headline));
            if let Some(&score) = score
                && previews.contains(&record.position)
            {
                ranking.push((record.position, score));
            }
            if let Some(why) = record.skipped
                && skipped.len() < NAMED
            {
                skipped.push((record.id, why));
            }
        })?;
        let finished = summary.is_some();
        let summary = match (summary, interim) {
            (Some(summary), _) => summary,
            (None, interim) => interim
                .map(Interim::summary)
                .unwrap_or_else(|| Interim::new(&config).summary()),
        };
        if !finished && summary.images + summary.skipped == 0 {
            bail!(
                "{}: no picture is done yet; go on with the run: the same `elucid eval` command",
                folder.display()
            );
        }
        Ok(Run {
            name: name(folder),
            folder: folder.to_owned(),
            config,
            summary,
            finished,
            skipped,
            previews,
            ranking,
            points,
        })
    }

    /// What it measured.
    #[must_use]
    pub fn measure(&self) -> Measure {
        self.config.settings.measure
    }

    /// The score by which methods are ordered.
    #[must_use]
    pub fn headline(&self) -> Score {
        self.measure().scores()[0]
    }

    /// The first method that knows the network: the one that the run is about.
    #[must_use]
    pub fn subject(&self) -> Option<&MethodSummary> {
        self.summary.methods.iter().find(|method| !method.control)
    }

    /// The outcome of a method.
    #[must_use]
    pub fn method(&self, name: &str) -> Option<&MethodSummary> {
        self.summary
            .methods
            .iter()
            .find(|method| method.name == name)
    }

    /// The score's best mean comes first.
    #[must_use]
    pub fn better(&self, score: Score, a: f64, b: f64) -> bool {
        match score.better {
            Better::Lower => a < b,
            Better::Higher | Better::Neither => a > b,
        }
    }

    /// The lines of these pictures.
    ///
    /// # Errors
    /// See [`super::make`].
    pub fn records(&self, wanted: &BTreeSet<usize>) -> Result<BTreeMap<usize, Record>> {
        let mut found = BTreeMap::new();
        each(&self.folder, self.finished, |record| {
            if wanted.contains(&record.position) {
                found.insert(record.position, record);
            }
        })?;
        Ok(found)
    }

    /// Whether its maps and another's are of the same network, pictures and classes.
    #[must_use]
    pub fn shares_maps_with(&self, other: &Run) -> bool {
        let (a, b) = (&self.config.settings, &other.config.settings);
        (&a.model.crc32, &a.data.crc32, &a.target) == (&b.model.crc32, &b.data.crc32, &b.target)
    }
}

/// Whether a method's maps know nothing of the network. A run without a summary says so by the method's name only.
fn is_control(summary: Option<&Summary>, name: &str) -> bool {
    match summary {
        Some(summary) => summary.methods.iter().any(|m| m.name == name && m.control),
        None => crate::method::is_control(name),
    }
}

/// The last part of a folder's name, also of `.`.
pub(super) fn name(folder: &Path) -> String {
    let own = folder.file_name().map(OsStr::to_owned);
    let own = own.or_else(|| Some(folder.canonicalize().ok()?.file_name()?.to_owned()));
    own.map_or_else(
        || "run".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Says what is wrong with a folder that isn't a run, and where runs may be.
fn check(folder: &Path) -> Result<()> {
    let shown = folder.display();
    match std::fs::metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(
                "{shown}: there is no such folder; name one that `elucid eval` or `elucid train` wrote"
            )
        }
        Err(error) => bail!("{shown}: {error}"),
        Ok(found) if !found.is_dir() => {
            bail!("{shown}: a file; name the folder of the run that it belongs to")
        }
        Ok(_) => {}
    }
    if folder.join("config.json").exists() {
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {shown}"))?;
    let mut inside: Vec<String> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.join("config.json").exists() || path.join(HISTORY).exists())
        .map(|path| path.display().to_string())
        .collect();
    inside.sort();
    let mend = match inside.as_slice() {
        [] => "name one that `elucid eval` or `elucid train` wrote".to_owned(),
        [one] => format!("did you mean {one}?"),
        [one, .., last] => format!("it holds {} runs: name them, {one} to {last}", inside.len()),
    };
    Err(anyhow!(
        "{shown}: not a run, there is no config.json or epochs.jsonl in it; {mend}"
    ))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    serde_json::from_reader(BufReader::new(file)).map_err(|error| {
        anyhow!("{shown}: not as `elucid eval` writes it ({error}); run the same `elucid eval` command again, in an empty folder")
    })
}

/// Goes through the pictures of a run. The last line of an unfinished run may be half written.
fn each(folder: &Path, finished: bool, mut visit: impl FnMut(Record)) -> Result<()> {
    let path = folder.join("images.jsonl");
    let shown = path.display();
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !finished => return Ok(()),
        opened => opened.with_context(|| format!("cannot read {shown}"))?,
    };
    let mut lines = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = lines.read_until(b'\n', &mut line);
        if read.with_context(|| format!("cannot read {shown}"))? == 0 {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(record) => visit(record),
            Err(_) if !finished && line.last() != Some(&b'\n') => break,
            Err(error) => bail!(
                "{shown}: line {number} is damaged ({error}); remove summary.json and the lines from there on, and go on with the same `elucid eval` command"
            ),
        }
    }
    Ok(())
}

/// Positions of the previews; none if there is no such folder.
fn previews(folder: &Path) -> BTreeSet<usize> {
    let entries = std::fs::read_dir(folder.join("previews"))
        .into_iter()
        .flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter_map(|name| name.strip_suffix(".jpg")?.parse().ok())
        .collect()
}
