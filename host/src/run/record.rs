//! What a run found out about one picture: a line of `images.jsonl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One picture of a run. It holds no time and no path of the machine, so that the same run gives the same bytes anywhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The picture's place in the run's order, counted over all shards.
    pub position: usize,
    /// The picture's path in the data set.
    pub id: String,
    /// Why the picture was left out; the rest is empty then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Its class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<u32>,
    /// The class the network predicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<u32>,
    /// The class whose probability is scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<u32>,
    /// Softmax probability of that class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// What each method's map is worth, by the method's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub methods: BTreeMap<String, Outcome>,
}

/// What one map of one picture is worth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Numbers by name; what is undefined for this picture is left out.
    pub scores: BTreeMap<String, f64>,
    /// Curves by name, such as `insertion`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub curves: BTreeMap<String, Vec<f64>>,
}

impl Outcome {
    /// Takes a score; one that isn't finite is undefined and left out.
    pub fn set(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.scores.insert(name.to_owned(), value);
        }
    }
}
