//! What a run was asked to do: `config.json`. A run is only gone on with by a command that asks for the same.

use serde::{Deserialize, Serialize};

use super::measure::Measure;

/// The file `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Version of the program that began the run.
    pub elucid: String,
    /// The command that began it, as it was typed.
    pub command: Vec<String>,
    /// Everything that the numbers depend on.
    pub settings: Settings,
}

/// Everything that the numbers of a run depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// What is measured.
    pub measure: Measure,
    /// The network.
    pub model: ModelId,
    /// The pictures.
    pub data: DataId,
    /// The methods, in order; controls included.
    pub methods: Vec<String>,
    /// Which class is explained and scored: `predicted`, `label`, or `paper` (the predicted one is explained, the label's
    /// probability scored).
    pub target: String,
    /// Part of the pictures: `index/count`.
    pub shard: String,
    /// Whether broken pictures stop the run.
    pub strict_data: bool,
    /// Seed of every random number.
    pub seed: u64,
    /// What else this measure depends on, such as scorer, patch, step and baseline, in readable form.
    pub options: std::collections::BTreeMap<String, String>,
}

/// Which network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelId {
    /// The file's name, without folders.
    pub name: String,
    /// CRC-32 of its bytes.
    pub crc32: String,
    /// Number of classes.
    pub classes: u32,
    /// Height and width of its input in pixels.
    pub input: [u32; 2],
}

/// Which pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataId {
    /// The name of the data set's folder, without those above it.
    pub name: String,
    /// Its layout.
    pub format: String,
    /// The part that was read.
    pub split: String,
    /// The order of the pictures: `listed`, `shuffled 42` or `paper 42`.
    pub order: String,
    /// Pictures of the whole run, all shards together.
    pub selected: usize,
    /// CRC-32 of the ids and labels of these pictures in their order.
    pub crc32: String,
    /// What a reader should know about this copy of the data set, a line each.
    pub remarks: Vec<String>,
}
