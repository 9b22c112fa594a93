//! What a run was asked to do and how far it came, in words.

use std::path::Path;

use super::source::Run;
use crate::report::number::{count, counted, figure, percent};
use crate::train::config::{Config, Source};

/// A name and what is to be said of it.
pub type Fact = (&'static str, String);

/// The encoder, by its file.
#[must_use]
pub fn network(config: &Config) -> String {
    let weights = config.weights.as_deref().map(file);
    weights.unwrap_or_else(|| "a network from scratch".to_owned())
}

/// What is learnt from.
#[must_use]
pub fn data(config: &Config) -> String {
    let sets: Vec<String> = config.data.iter().map(set).collect();
    sets.join("; ")
}

fn set(source: &Source) -> String {
    let mut text = format!("{} ({}", file(&source.dir), source.format);
    if let Some(split) = &source.split {
        text += &format!(", split {split}");
    }
    if let Some(classes) = source.classes {
        text += &format!(", the first {} classes", count(classes));
    }
    text + ")"
}

/// Names of the data sets only.
#[must_use]
pub fn sets(config: &Config) -> Vec<String> {
    config.data.iter().map(|source| file(&source.dir)).collect()
}

/// The last part of a path: what lies before it is of the machine.
fn file(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Epochs that are done, and why there are no more.
#[must_use]
pub fn epochs(run: &Run) -> String {
    let (done, all) = (run.progress.epochs.len(), run.config.epochs);
    let mut text = format!("{done} of {all}");
    if done < all as usize && run.finished() {
        text += &format!(
            ", ended early: {} in a row without a better one",
            counted(run.progress.stale as usize, "judgement")
        );
    }
    text
}

/// Whether the attention alternates.
#[must_use]
pub fn aea(config: &Config) -> &'static str {
    match config.aea {
        true => "on: the attention is off in every other epoch, the first included",
        false => "off: the attention is on in every epoch",
    }
}

/// How the encoder is adapted.
#[must_use]
pub fn lora(config: &Config) -> String {
    match config.lora.chosen() {
        Some(lora) => format!(
            "rank {}, alpha {}, on {}{}",
            lora.rank,
            lora.alpha,
            lora.projections.join(", "),
            match lora.block {
                Some(block) => format!(" of block {block}"),
                None => String::new(),
            }
        ),
        None => "off: the encoder stays as it is".to_owned(),
    }
}

/// The best epoch and what it has.
#[must_use]
pub fn best(run: &Run) -> String {
    let found = run.best().and_then(|e| Some((e, e.validation.as_ref()?)));
    let Some((epoch, judged)) = found else {
        return "none is judged yet".to_owned();
    };
    let mut text = format!(
        "epoch {}: validation loss {}, {} of {} held-out pictures classified rightly",
        epoch.epoch,
        figure(judged.loss),
        percent(judged.accuracy),
        count(judged.pictures)
    );
    if let Some(iou) = judged.iou {
        text += &format!(", mean IoU of the map {}", figure(iou));
    }
    text
}

/// All that is said of a run.
#[must_use]
pub fn of(run: &Run) -> Vec<Fact> {
    let config = &run.config;
    let adapter = &config.adapter;
    let layers = match &adapter.lattice {
        _ if adapter.fusion == "none" => "reads no layer of the encoder".to_owned(),
        Some(layers) => {
            let layers: Vec<String> = layers.iter().map(u16::to_string).collect();
            format!("reads layers {}", layers.join(", "))
        }
        None => "reads layers spread evenly over the encoder".to_owned(),
    };
    let seconds: f64 = run.progress.epochs.iter().map(|e| e.seconds).sum();
    let cut = match config.clip > 0.0 {
        true => format!("gradients cut to norm {}", config.clip),
        false => "gradients never cut".to_owned(),
    };
    let mut facts = vec![("Network", network(config))];
    if run.adapts() {
        facts.push((
            "Adapter",
            format!(
                "{}, {} wide, {}, {}; {layers}",
                counted(adapter.depth as usize, "block"),
                adapter.width,
                counted(usize::from(adapter.heads), "head"),
                match adapter.queries {
                    1 => "1 query".to_owned(),
                    n => format!("{n} queries"),
                }
            ),
        ));
        facts.push(("AEA", aea(config).to_owned()));
        facts.push(("LoRA", lora(config)));
    }
    facts.extend([
        (
            "Data",
            format!(
                "{}; {} of the pictures held out",
                data(config),
                percent(config.validation)
            ),
        ),
        (
            "Input",
            format!(
                "{0} × {0} pixels, normalised as {1}, {2}",
                config.image,
                config.norm,
                match config.augment {
                    true => "random views",
                    false => "no random views",
                }
            ),
        ),
        ("Epochs", epochs(run)),
        (
            "Steps",
            format!(
                "{}, learning rate {} falling by power {}, weight decay {}, {cut}",
                counted(config.batch, "picture") + " each",
                config.lr,
                config.power,
                config.weight_decay
            ),
        ),
        ("Seed", config.seed.to_string()),
        ("Best", best(run)),
        ("Time", time(seconds)),
    ]);
    facts
}

/// `7 min 12 s`.
fn time(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("{seconds:.1} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_at_a_glance() {
        assert_eq!(time(9.26), "9.3 s");
        assert_eq!(time(431.9), "7 min 12 s");
        assert_eq!(time(7260.0), "2 h 1 min");
    }
}
