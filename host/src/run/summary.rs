//! What a run says in the end: `summary.json`, a pure function of the records.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::config::Settings;
use super::measure::{Better, Measure};
use super::record::Record;
use crate::metric::statistics::{RESAMPLES, bootstrap, compare, mean};

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
    /// Pairs of methods on the pictures that both have a score for: for every score that is good one way, every pair but
    /// those of two controls.
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

/// Random draws of all bootstraps of a score together with its pictures: large runs get fewer resamples.
const DRAWS: usize = 50_000_000;
/// Fewest resamples.
const FEWEST: usize = 1_000;
/// Half the width of a normal distribution's 95 % interval, in deviations.
const NORMAL: f64 = 1.959_963_984_540_054;

/// Resamples for so many pictures.
fn resamples(images: usize) -> u32 {
    let affordable = DRAWS / images.max(1);
    affordable.clamp(FEWEST, RESAMPLES as usize) as u32
}

/// The numbers of a run, by method and score, as records come in.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    images: usize,
    skipped: usize,
    correct: Vec<f64>,
    /// By method and score: picture's place among the scored ones, and value.
    scores: BTreeMap<String, BTreeMap<String, Vec<(u32, f64)>>>,
    curves: BTreeMap<String, BTreeMap<String, Vec<Moments>>>,
}

/// Sums of a point of a curve.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: usize,
    sum: f64,
    squares: f64,
}

impl Moments {
    /// The mean with the interval of a normal distribution: bootstraps of every point of every curve would take longer than
    /// small runs do.
    fn estimate(self) -> Estimate {
        let n = self.count as f64;
        let mean = self.sum / n;
        let variance = (self.squares / n - mean * mean).max(0.0);
        let half = if self.count > 1 {
            NORMAL * (variance / (n - 1.0)).sqrt()
        } else {
            0.0
        };
        Estimate {
            mean,
            low: mean - half,
            high: mean + half,
            images: self.count,
        }
    }
}

impl Tally {
    /// Takes a record.
    pub fn add(&mut self, record: &Record) {
        if record.skipped.is_some() {
            self.skipped += 1;
            return;
        }
        let place = self.images as u32;
        self.images += 1;
        if let (Some(label), Some(predicted)) = (record.label, record.predicted) {
            self.correct.push(f64::from(u8::from(label == predicted)));
        }
        for (method, outcome) in &record.methods {
            let scores = self.scores.entry(method.clone()).or_default();
            for (score, &value) in &outcome.scores {
                scores
                    .entry(score.clone())
                    .or_default()
                    .push((place, value));
            }
            let curves = self.curves.entry(method.clone()).or_default();
            for (name, curve) in &outcome.curves {
                let sums = curves.entry(name.clone()).or_default();
                sums.resize(sums.len().max(curve.len()), Moments::default());
                for (sums, &value) in sums.iter_mut().zip(curve) {
                    sums.count += 1;
                    sums.sum += value;
                    sums.squares += value * value;
                }
            }
        }
    }

    /// The outcome of a run with these settings.
    #[must_use]
    pub fn summary(&self, settings: &Settings, control: impl Fn(&str) -> bool) -> Summary {
        let seed = settings.seed;
        let methods = settings.methods.par_iter();
        let methods: Vec<(BTreeMap<String, Estimate>, _)> = methods
            .map(|name| {
                let of = |(score, values): (&String, &Vec<(u32, f64)>)| {
                    let values: Vec<f64> = values.iter().map(|(_, v)| *v).collect();
                    Some((score.clone(), estimate(&values, seed)?))
                };
                let scores = self.scores.get(name).into_iter().flatten();
                let curves = self.curves.get(name).into_iter().flatten();
                let points = |(name, sums): (&String, &Vec<Moments>)| {
                    (name.clone(), sums.iter().map(|m| m.estimate()).collect())
                };
                (
                    scores.filter_map(of).collect(),
                    curves.map(points).collect(),
                )
            })
            .collect();
        let methods = settings.methods.iter().zip(methods);
        Summary {
            measure: settings.measure,
            images: self.images,
            skipped: self.skipped,
            correct: estimate(&self.correct, seed),
            methods: methods
                .map(|(name, (scores, curves))| MethodSummary {
                    name: name.clone(),
                    control: control(name),
                    scores,
                    curves,
                })
                .collect(),
            comparisons: self.comparisons(settings, &control),
        }
    }

    fn comparisons(&self, settings: &Settings, control: &impl Fn(&str) -> bool) -> Vec<Paired> {
        let compared = settings.measure.scores().iter();
        let compared = compared.filter(|score| score.better != Better::Neither);
        let names = &settings.methods;
        let pairs = compared.flat_map(|score| {
            let first = names.iter().enumerate();
            first.flat_map(move |(i, first)| {
                names[i + 1..]
                    .iter()
                    .map(move |second| (score.name, first, second))
            })
        });
        // Nobody asks which of two controls is better.
        let pairs: Vec<_> = pairs
            .filter(|(_, first, second)| !(control(first) && control(second)))
            .collect();
        let compared = pairs.into_par_iter().filter_map(|(score, first, second)| {
            let (one, other) = self.paired(score, first, second)?;
            let found = compare(&one, &other, resamples(one.len()), settings.seed)?;
            Some(Paired {
                score: score.to_owned(),
                first: first.clone(),
                second: second.clone(),
                difference: Estimate {
                    mean: found.difference.mean,
                    low: found.difference.low,
                    high: found.difference.high,
                    images: one.len(),
                },
                p: found.p,
            })
        });
        compared.collect()
    }

    /// A score of two methods on the pictures that both have it for.
    fn paired(&self, score: &str, first: &str, second: &str) -> Option<(Vec<f64>, Vec<f64>)> {
        let values = |method: &str| self.scores.get(method)?.get(score);
        let second: BTreeMap<u32, f64> = values(second)?.iter().copied().collect();
        let first = values(first)?.iter();
        let both = first.filter_map(|(place, value)| Some((*value, *second.get(place)?)));
        Some(both.unzip())
    }
}

fn estimate(values: &[f64], seed: u64) -> Option<Estimate> {
    let interval = bootstrap(values, resamples(values.len()), seed)?;
    Some(Estimate {
        mean: mean(values),
        low: interval.low,
        high: interval.high,
        images: values.len(),
    })
}

impl Summary {
    /// The mean curves as a table: `method,curve,point,mean,low,high,images`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_curves(&self, to: &mut dyn Write) -> Result<()> {
        let mut table = csv::Writer::from_writer(to);
        table.write_record(["method", "curve", "point", "mean", "low", "high", "images"])?;
        for method in &self.methods {
            for (name, curve) in &method.curves {
                for (point, e) in curve.iter().enumerate() {
                    let numbers = [e.mean, e.low, e.high].map(|v| v.to_string());
                    let [mean, low, high] = numbers.each_ref().map(String::as_str);
                    let (point, images) = (point.to_string(), e.images.to_string());
                    let cells = [
                        &method.name,
                        name.as_str(),
                        &point,
                        mean,
                        low,
                        high,
                        &images,
                    ];
                    table.write_record(cells)?;
                }
            }
        }
        table.flush()?;
        Ok(())
    }
}
