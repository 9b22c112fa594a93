//! A run on disk: weights, moments and history in one file that is either whole or the one before.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::config::Config;
use crate::atomic;
use crate::checkpoint::{Checkpoint, Tensor};

/// What was measured in an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counted from 0.
    pub epoch: u32,
    /// Whether the attention was on.
    pub attends: bool,
    /// Learning rate.
    pub rate: f64,
    /// Mean loss of the steps.
    pub loss: f64,
    /// Its part at the perception branch (for a ResNet, all of it).
    pub perception_loss: f64,
    /// Its part at the attention branch, before it is weighted; of epochs with attention.
    pub attention_loss: Option<f64>,
    /// Share of the pictures that the perception branch classified rightly, while it learnt from them.
    pub accuracy: f64,
    /// How long it took, judgement included.
    pub seconds: f64,
    /// What the held-out pictures said, after epochs with attention.
    pub validation: Option<Judged>,
}

/// What pictures that weren't learnt from say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Cross entropy of the sum of both branches.
    pub loss: f64,
    /// Share of pictures that the sum classifies rightly.
    pub accuracy: f64,
    /// Mean IoU of the map, at least its mean, with the masks there are.
    pub iou: Option<f64>,
    /// Pictures.
    pub pictures: usize,
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are done.
    pub epochs: Vec<Epoch>,
    /// Least validation loss so far.
    pub best: Option<f64>,
    /// The epoch it was reached in.
    pub best_epoch: Option<u32>,
    /// Judgements since then.
    pub stale: u32,
}

impl Progress {
    /// Takes the next epoch's measures; whether they are the best so far.
    pub fn push(&mut self, epoch: Epoch) -> bool {
        let judged = epoch.validation.as_ref().map(|v| v.loss);
        let better = judged.is_some_and(|loss| self.best.is_none_or(|best| loss < best));
        if better {
            (self.best, self.best_epoch, self.stale) = (judged, Some(epoch.epoch), 0);
        } else if judged.is_some() {
            self.stale += 1;
        }
        self.epochs.push(epoch);
        better
    }

    /// Whether there is nothing more to do.
    #[must_use]
    pub fn finished(&self, config: &Config) -> bool {
        self.epochs.len() >= config.epochs as usize || self.stale >= config.patience
    }
}

/// A run's folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// Everything that the next epoch follows from.
#[derive(Clone, Debug)]
pub struct State {
    /// Weights and running statistics, by their names in checkpoints.
    pub weights: Checkpoint,
    /// The optimizer's, by names of its own.
    pub moments: Checkpoint,
    /// How far the run is.
    pub progress: Progress,
}

const STATE: &str = "state.safetensors";
/// The configuration.
pub const CONFIG: &str = "config.toml";
/// The history, a line of JSON for each epoch.
pub const HISTORY: &str = "epochs.jsonl";
/// The folder of a run's pictures: attention maps of some held-out ones, `epochNNN-I.png`.
pub const MAPS: &str = "maps";
/// The file in it that says which pictures these are, by number.
pub const PICTURES: &str = "pictures.json";
/// What the optimizer's tensors are called in the file.
const MOMENTS: &str = "optimizer/";

impl Folder {
    /// The folder of a new run, or of one that goes on. The configuration is written where there is none.
    ///
    /// # Errors
    /// If it can't be written, holds a run already that nobody said to go on with, or one of another configuration.
    pub fn open(path: &Path, config: &Config, resume: bool) -> Result<Self> {
        let folder = Self(path.to_owned());
        let begun = folder.path(STATE).exists();
        if begun && !resume {
            bail!(
                "{} holds a training run already; go on with it by --resume, or choose another folder",
                path.display()
            );
        }
        std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let text = toml::to_string(config).context("cannot write the configuration")?;
        let known = std::fs::read_to_string(folder.path(CONFIG)).ok();
        match known {
            Some(known) if begun && known != text => bail!(
                "{} was begun with another configuration (its config.toml); resume with that one, or choose another folder",
                path.display()
            ),
            _ => folder.write(CONFIG, text.as_bytes())?,
        }
        Ok(folder)
    }

    /// One that is there.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// A file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        atomic::write(self.path(name), |file| Ok(file.write_all(bytes)?))
    }

    /// The state after the last whole epoch, if one was finished.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn state(&self) -> Result<Option<State>> {
        let path = self.path(STATE);
        if !path.exists() {
            return Ok(None);
        }
        let mut whole = Checkpoint::open(&path)?;
        let broken = || {
            anyhow!(
                "{} says nothing of its run; start again in another folder",
                path.display()
            )
        };
        let progress = whole.metadata.remove("progress").ok_or_else(broken)?;
        let progress = serde_json::from_str(&progress).map_err(|_| broken())?;
        let mut state = State {
            weights: Checkpoint::default(),
            moments: Checkpoint::default(),
            progress,
        };
        state.weights.metadata = whole.metadata;
        for (name, tensor) in whole.tensors {
            match name.strip_prefix(MOMENTS) {
                Some(own) => state.moments.tensors.insert(own.to_owned(), tensor),
                None => state.weights.tensors.insert(name, tensor),
            };
        }
        Ok(Some(state))
    }

    /// Keeps a state, and the history as lines of JSON for whoever wants to look.
    ///
    /// # Errors
    /// If it can't be written; the state before is still there then.
    pub fn keep(&self, state: &State) -> Result<()> {
        let mut whole = state.weights.clone();
        for (name, tensor) in &state.moments.tensors {
            whole
                .tensors
                .insert(format!("{MOMENTS}{name}"), tensor.clone());
        }
        let progress = serde_json::to_string(&state.progress)?;
        whole.metadata.insert("progress".to_owned(), progress);
        self.write(STATE, &bytes(&whole)?)?;
        let lines: Result<String, serde_json::Error> = (state.progress.epochs.iter())
            .map(|epoch| serde_json::to_string(epoch).map(|line| line + "\n"))
            .collect();
        self.write(HISTORY, lines?.as_bytes())
    }
}

/// A checkpoint as a safetensors file.
///
/// # Errors
/// If a tensor's shape doesn't fit its values.
pub fn bytes(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let views: Result<BTreeMap<&str, TensorView<'_>>> = (checkpoint.tensors.iter())
        .map(|(name, Tensor { shape, data })| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(data))?;
            Ok((name.as_str(), view))
        })
        .collect();
    let metadata: HashMap<String, String> = (checkpoint.metadata.iter())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Ok(safetensors::serialize(views?, Some(metadata))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: u32, loss: Option<f64>) -> Epoch {
        Epoch {
            epoch,
            attends: loss.is_some(),
            rate: 1e-4,
            loss: 1.0 / 3.0,
            perception_loss: 0.5,
            attention_loss: None,
            accuracy: 0.25,
            seconds: 1.5,
            validation: loss.map(|loss| Judged {
                loss,
                accuracy: 0.5,
                iou: None,
                pictures: 7,
            }),
        }
    }

    #[test]
    fn a_run_is_the_same_after_it_was_kept() {
        let place = tempfile::tempdir().unwrap();
        let text = "[[data]]\ndir = \"birds\"\nformat = \"cub\"\n";
        let config = Config::parse(text).unwrap();
        let path = place.path().join("run");
        let folder = Folder::open(&path, &config, false).unwrap();
        assert!(folder.state().unwrap().is_none());
        let tensor = Tensor {
            shape: vec![2, 1],
            data: vec![0.1, -3e-30],
        };
        let mut state = State {
            weights: Checkpoint::default(),
            moments: Checkpoint::default(),
            progress: Progress::default(),
        };
        state.weights.tensors.insert("a".to_owned(), tensor.clone());
        state.moments.tensors.insert("a".to_owned(), tensor);
        assert!(!state.progress.push(epoch(0, None)));
        assert!(state.progress.push(epoch(1, Some(0.7))));
        assert!(!state.progress.push(epoch(3, Some(0.7))));
        folder.keep(&state).unwrap();
        let again = Folder::open(&path, &config, true)
            .unwrap()
            .state()
            .unwrap()
            .unwrap();
        assert_eq!(again.weights.tensors, state.weights.tensors);
        assert_eq!(again.moments.tensors, state.moments.tensors);
        assert_eq!(again.progress, state.progress);
        assert_eq!(
            (again.progress.best_epoch, again.progress.stale),
            (Some(1), 1)
        );

        let error = Folder::open(&path, &config, false).unwrap_err().to_string();
        assert!(error.contains("--resume"), "{error}");
        let other = Config::parse(&format!("seed = 3\n{text}")).unwrap();
        let error = Folder::open(&path, &other, true).unwrap_err().to_string();
        assert!(error.contains("another configuration"), "{error}");
    }

    #[test]
    fn patience_ends_a_run() {
        let config =
            Config::parse("patience = 2\n[[data]]\ndir = \"b\"\nformat = \"cub\"\n").unwrap();
        let mut progress = Progress::default();
        progress.push(epoch(0, Some(0.5)));
        progress.push(epoch(1, Some(0.6)));
        assert!(!progress.finished(&config));
        progress.push(epoch(2, Some(f64::NAN)));
        assert!(progress.finished(&config));
    }
}
