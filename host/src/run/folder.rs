//! The folder of a run: begun, gone on with, read.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::config::Config;
use super::record::Record;
use super::summary::Summary;
use crate::atomic;

/// What the run was asked to do.
const CONFIG: &str = "config.json";
/// A line for every picture.
const IMAGES: &str = "images.jsonl";
/// The outcome.
const SUMMARY: &str = "summary.json";
/// Mean curves.
const CURVES: &str = "curves.csv";
/// Small pictures.
const PREVIEWS: &str = "previews";

/// A run's folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// The records of a run, open for more.
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Folder {
    /// The folder of a run that exists.
    ///
    /// # Errors
    /// If it isn't one.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join(CONFIG).is_file() {
            bail!(
                "{} is not the folder of a run: it has no {CONFIG}; give what `elucid eval -o` wrote",
                path.display()
            );
        }
        Ok(Self(path.to_owned()))
    }

    /// Begins a run in `path`, or goes on with the one that is there: the journal is then behind its last whole record.
    /// `positions` are those of the records that the run will have. Returns the records' number too.
    ///
    /// # Errors
    /// If the folder holds a run with other settings or something else, if another process writes it, or if it can't be
    /// written.
    pub fn begin(
        path: &Path,
        config: &Config,
        positions: impl Iterator<Item = usize>,
    ) -> Result<(Self, Journal, usize)> {
        let folder = Self(path.to_owned());
        let shown = path.display();
        if path.exists() && !path.is_dir() {
            bail!("-o {shown} is a file; name a folder");
        }
        folder.check(config)?;
        if !path.join(CONFIG).exists() {
            // What a kill leaves before there is a config is ours.
            let foreign = |name: &str| !name.starts_with(atomic::UNFINISHED) && name != IMAGES;
            if names(path).iter().any(|name| foreign(name)) {
                bail!("{shown} holds something else than a run; give another folder with -o");
            }
            let made = fs::create_dir_all(path);
            made.with_context(|| format!("cannot make the folder {shown}; check -o"))?;
        }
        let (journal, done) = Journal::open(&path.join(IMAGES), positions)?;
        // From here on the folder is this process's alone.
        folder.check(config)?;
        for name in names(path) {
            if name.starts_with(atomic::UNFINISHED) {
                // It's in nobody's way if it stays.
                let _ = fs::remove_file(path.join(name));
            }
        }
        if !path.join(CONFIG).exists() {
            folder.write(CONFIG, config)?;
        }
        Ok((folder, journal, done))
    }

    /// Refuses to go on with a run that was asked for something else, if there is one.
    fn check(&self, config: &Config) -> Result<()> {
        if !self.0.join(CONFIG).exists() {
            return Ok(());
        }
        let Some(setting) = difference(config, &self.config()?)? else {
            return Ok(());
        };
        bail!(
            "{} holds a run with another {setting}; give another folder with -o, or remove this one",
            self.0.display()
        )
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where small pictures lie.
    #[must_use]
    pub fn previews(&self) -> PathBuf {
        self.0.join(PREVIEWS)
    }

    /// What the run was asked to do.
    ///
    /// # Errors
    /// One line if the file is damaged.
    pub fn config(&self) -> Result<Config> {
        self.read(CONFIG)
    }

    /// The outcome, if the run has come to its end.
    ///
    /// # Errors
    /// One line if the file is damaged.
    pub fn summary(&self) -> Result<Option<Summary>> {
        if !self.0.join(SUMMARY).exists() {
            return Ok(None);
        }
        self.read(SUMMARY).map(Some)
    }

    /// The records one by one; a last line that was cut off is left out.
    ///
    /// # Errors
    /// If there are none; each record may be damaged.
    pub fn records(&self) -> Result<impl Iterator<Item = Result<Record>> + use<>> {
        let path = self.0.join(IMAGES);
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(lines(BufReader::new(file), path).map(|line| line.map(|(_, record)| record)))
    }

    /// Writes the outcome and its curves.
    ///
    /// # Errors
    /// If they can't be written.
    pub fn finish(&self, summary: &Summary) -> Result<()> {
        if summary.methods.iter().any(|m| !m.curves.is_empty()) {
            atomic::write(self.0.join(CURVES), |to| summary.write_curves(to))?;
        }
        self.write(SUMMARY, summary)
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        atomic::write(self.0.join(name), |to| {
            serde_json::to_writer_pretty(&mut *to, value)?;
            to.write_all(b"\n")?;
            Ok(())
        })
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.0.join(name);
        let shown = path.display();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
        serde_json::from_str(&text).map_err(|e| {
            anyhow!("{shown} is damaged ({e}); remove the run's folder and run it again")
        })
    }
}

/// The first setting in which two runs differ, and how. What is only said about the data isn't one.
///
/// # Errors
/// None that can happen.
pub fn difference(one: &Config, other: &Config) -> Result<Option<String>> {
    let comparable = |config: &Config| {
        let mut settings = config.settings.clone();
        settings.data.remarks.clear();
        serde_json::to_value(&settings)
    };
    let versions = [one, other].map(|config| Value::from(config.elucid.as_str()));
    let version = unlike("version", &versions[0], &versions[1]);
    Ok(version.or(unlike("", &comparable(one)?, &comparable(other)?)))
}

/// Names of the files in a folder; none if it can't be read.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The first place where two values differ: its path, and what is there.
fn unlike(path: &str, one: &Value, other: &Value) -> Option<String> {
    if one == other {
        return None;
    }
    let (Value::Object(one), Value::Object(other)) = (one, other) else {
        return Some(format!("{path} ({other}, not {one})"));
    };
    let names = one.keys().chain(other.keys());
    names
        .filter_map(|name| {
            let of = |values: &Map<String, Value>| values.get(name).cloned().unwrap_or_default();
            let dot = if path.is_empty() { "" } else { "." };
            unlike(&format!("{path}{dot}{name}"), &of(one), &of(other))
        })
        .next()
}

impl Journal {
    /// Opens the file for this process alone, checks the positions of its records and cuts off what a kill left half
    /// written.
    fn open(path: &Path, mut positions: impl Iterator<Item = usize>) -> Result<(Self, usize)> {
        let shown = path.display();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .with_context(|| format!("cannot write {shown}"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "{shown} is being written by another process; wait for it, or give another folder with -o"
                )
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(_)) => {}
        }
        let (mut done, mut length) = (0, 0);
        for line in lines(BufReader::new(&file), path.to_owned()) {
            let (end, record) = line?;
            if positions.next() != Some(record.position) {
                bail!(
                    "{shown}, line {}: a record of position {} doesn't belong here; remove summary.json and the lines from \
                     there on, and run the same command",
                    done + 1,
                    record.position
                );
            }
            (done, length) = (done + 1, end);
        }
        let mut journal = Self {
            file,
            path: path.to_owned(),
        };
        let cut = journal
            .file
            .set_len(length)
            .and_then(|()| journal.file.seek(std::io::SeekFrom::End(0)));
        cut.with_context(|| format!("cannot write {shown}"))?;
        Ok((journal, done))
    }

    /// Adds a record, in one write: a kill leaves it whole, cut off or not there.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn add(&mut self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let written = self.file.write_all(&line);
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The whole lines of a journal, each with the place behind it.
fn lines(mut from: impl BufRead, path: PathBuf) -> impl Iterator<Item = Result<(u64, Record)>> {
    let (mut end, mut number) = (0, 0);
    let mut line = Vec::new();
    std::iter::from_fn(move || {
        line.clear();
        number += 1;
        let shown = path.display();
        match from.read_until(b'\n', &mut line) {
            Ok(0) => None,
            // Cut off.
            Ok(_) if !line.ends_with(b"\n") => None,
            Ok(length) => {
                end += length as u64;
                let record = serde_json::from_slice(&line).map_err(|e| {
                    anyhow!("{shown}, line {number} is damaged ({e}); remove summary.json and the lines from there on, and run the same command")
                });
                Some(record.map(|record| (end, record)))
            }
            Err(e) => Some(Err(anyhow!("cannot read {shown}: {e}"))),
        }
    })
}
