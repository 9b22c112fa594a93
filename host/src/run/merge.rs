//! The shards of a run put together: the same as the run in one piece.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use super::config::{Config, Settings};
use super::folder::Folder;
use super::record::Record;
use crate::dataset::Shard;

/// Merges the runs in `shards` into a new run in `to`. Returns its folder with its settings; records and previews are there,
/// the summary isn't yet.
///
/// # Errors
/// If the shards aren't all shards of one run, if one isn't finished, or if `to` can't be written.
pub fn merge(shards: &[Folder], to: &Path) -> Result<(Folder, Settings)> {
    let Some(first) = shards.first() else {
        bail!("no run to merge; give the folders of all shards");
    };
    let mut whole = first.config()?;
    let count = whole
        .settings
        .shard
        .parse::<Shard>()
        .map_err(|e| anyhow!("{e}"))?
        .count();
    whole.settings.shard = Shard::WHOLE.to_string();
    let mut found: Vec<Option<&Folder>> = vec![None; count];
    for folder in shards {
        let shown = folder.path().display();
        let Config { mut settings, .. } = folder.config()?;
        let shard = settings
            .shard
            .parse::<Shard>()
            .map_err(|e| anyhow!("{shown}: {e}"))?;
        settings.shard.clone_from(&whole.settings.shard);
        if shard.count() != count || settings != whole.settings {
            bail!(
                "{shown} belongs to another run than {}: their settings differ",
                first.path().display()
            );
        }
        if folder.summary()?.is_none() {
            bail!("{shown} isn't finished; run its command again until it is");
        }
        if let Some(twice) = found[shard.index()].replace(folder) {
            bail!(
                "{shown} and {} are the same shard {shard}",
                twice.path().display()
            );
        }
    }
    let missing: Vec<String> = (0..count)
        .filter(|&index| found[index].is_none())
        .filter_map(|index| Some(Shard::new(index, count)?.to_string()))
        .collect();
    if !missing.is_empty() {
        bail!(
            "shard {} is missing; give the folders of all shards",
            missing.join(", ")
        );
    }
    let (folder, mut journal, done) = Folder::begin(to, &whole)?;
    // Positions are dealt out in turn, so each shard's records are in order: one of each at a time.
    let mut streams = Vec::new();
    for shard in found.iter().flatten() {
        streams.push(shard.records()?);
    }
    let mut next: Vec<Option<Record>> = Vec::new();
    for stream in &mut streams {
        next.push(stream.next().transpose()?);
    }
    let mut position = 0;
    while let Some(record) = next[position % count].take() {
        if record.position != position {
            bail!("a shard lacks the picture at position {position}; run its command again");
        }
        if position >= done {
            journal.add(&record)?;
        }
        next[position % count] = streams[position % count].next().transpose()?;
        position += 1;
    }
    if next.iter().any(Option::is_some) {
        bail!("a shard lacks the picture at position {position}; run its command again");
    }
    for shard in found.iter().flatten() {
        copy(&shard.previews(), &folder.previews())?;
    }
    Ok((folder, whole.settings))
}

/// Copies the files of a folder that may not exist.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    let matter = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(matter)?;
    for entry in fs::read_dir(from).with_context(matter)? {
        let entry = entry.with_context(matter)?;
        fs::copy(entry.path(), to.join(entry.file_name())).with_context(matter)?;
    }
    Ok(())
}
