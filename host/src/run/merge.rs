//! The shards of a run put together: the same as the run in one piece.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use super::config::Settings;
use super::folder::{Folder, difference};
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
    whole.command = in_one_piece(&whole.command);
    let same = |shard: &Folder| shard.path().canonicalize().ok() == to.canonicalize().ok();
    if to.exists() && shards.iter().any(same) {
        bail!(
            "-o {} is one of the runs to merge; give another folder",
            to.display()
        );
    }
    let mut found: Vec<Option<&Folder>> = vec![None; count];
    for folder in shards {
        let shown = folder.path().display();
        let mut config = folder.config()?;
        let shard = config.settings.shard.parse::<Shard>();
        let shard = shard.map_err(|e| anyhow!("{shown}: {e}"))?;
        config.settings.shard.clone_from(&whole.settings.shard);
        let other = difference(&config, &whole)?;
        let count_differs = || format!("number of shards ({}, not {count})", shard.count());
        if let Some(setting) = other.or((shard.count() != count).then(count_differs)) {
            bail!(
                "{shown} belongs to another run than {}: it has another {setting}",
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
    let (folder, mut journal, done) = Folder::begin(to, &whole, 0..)?;
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

/// A shard's command as that of the whole run, which goes to `RUN`.
fn in_one_piece(command: &[String]) -> Vec<String> {
    let mut words = command.iter();
    let mut whole = Vec::new();
    while let Some(word) = words.next() {
        match word
            .split_once('=')
            .map_or(word.as_str(), |(option, _)| option)
        {
            "--shard" if word.contains('=') => {}
            "--shard" => drop(words.next()),
            "-o" | "--output" => {
                whole.extend(["-o", "RUN"].map(str::to_owned));
                if !word.contains('=') {
                    words.next();
                }
            }
            _ => whole.push(word.clone()),
        }
    }
    whole
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_a_shard_becomes_that_of_the_run() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for shard in ["--shard 2/4 -o part-2", "--shard=2/4 --output=part-2"] {
            let command = words(&format!("elucid eval iou --data birds {shard} --seed 7"));
            assert_eq!(
                in_one_piece(&command),
                words("elucid eval iou --data birds -o RUN --seed 7")
            );
        }
    }
}
