//! What a run says in the end: `summary.json`, a pure function of the records.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::measure::Measure;

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What was measured.
    pub measure: Measure,
    /// Pictures that were scored.
    pub images: usize,
    /// Pictures that were left out because they or their masks can't be used.
    pub skipped: usize,
    /// Pictures whose class is the predicted one, of those with a class.
    pub correct: Option<Estimate>,
    /// The methods in the order of the run.
    pub methods: Vec<MethodSummary>,
    /// Pairs of methods on the pictures that both have a score for: for every score that is good one way, every pair.
    pub comparisons: Vec<Paired>,
}

/// What a method is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodSummary {
    /// As it was asked for, such as `lrp` or `lrp:paper:q8`.
    pub name: String,
    /// Whether its maps know nothing of the network: random, constant and edge maps.
    pub control: bool,
    /// Means over the pictures, by score.
    pub scores: BTreeMap<String, Estimate>,
    /// Mean curves, point by point.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub curves: BTreeMap<String, Vec<Estimate>>,
}

/// A mean with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Pictures it is the mean of.
    pub images: usize,
}

/// Two methods on the same pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// The score they are compared by.
    pub score: String,
    /// One method.
    pub first: String,
    /// The other.
    pub second: String,
    /// Mean of first minus second, with its interval.
    pub difference: Estimate,
    /// Two-sided p value of a sign-flip permutation test.
    pub p: f64,
}
