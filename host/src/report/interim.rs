//! What can be said of a run that isn't finished: means of the pictures so far, with intervals by the normal approximation
//! (mean ± 1.96 standard errors), which need no second look at the pictures. Comparisons wait for the end of the run.

use std::collections::BTreeMap;

use crate::method::is_control;
use crate::run::config::Config;
use crate::run::record::Record;
use crate::run::summary::{Estimate, MethodSummary, Summary};

/// A mean and the spread about it, of numbers that come one by one (Welford 1962).
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: usize,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let off = value - self.mean;
        self.mean += off / self.count as f64;
        self.squares += off * (value - self.mean);
    }

    fn estimate(self) -> Estimate {
        let n = self.count as f64;
        let error = match self.count {
            0 | 1 => 0.0,
            _ => (self.squares / (n - 1.0) / n).sqrt(),
        };
        Estimate {
            mean: self.mean,
            low: self.mean - 1.96 * error,
            high: self.mean + 1.96 * error,
            images: self.count,
        }
    }
}

/// The outcome of a run so far.
#[derive(Debug)]
pub struct Interim {
    summary: Summary,
    scores: Vec<BTreeMap<String, Moments>>,
    curves: Vec<BTreeMap<String, Vec<Moments>>>,
    correct: Moments,
}

impl Interim {
    /// Before the first picture.
    #[must_use]
    pub fn new(config: &Config) -> Interim {
        let settings = &config.settings;
        let method = |name: &String| MethodSummary {
            name: name.clone(),
            control: is_control(name),
            scores: BTreeMap::new(),
            curves: BTreeMap::new(),
        };
        let methods: Vec<MethodSummary> = settings.methods.iter().map(method).collect();
        Interim {
            scores: vec![BTreeMap::new(); methods.len()],
            curves: vec![BTreeMap::new(); methods.len()],
            correct: Moments::default(),
            summary: Summary {
                measure: settings.measure,
                images: 0,
                skipped: 0,
                correct: None,
                methods,
                comparisons: Vec::new(),
            },
        }
    }

    /// Takes a picture.
    pub fn add(&mut self, record: &Record) {
        if record.skipped.is_some() {
            self.summary.skipped += 1;
            return;
        }
        self.summary.images += 1;
        if let (Some(label), Some(predicted)) = (record.label, record.predicted) {
            self.correct.add(f64::from(u8::from(label == predicted)));
        }
        for (i, method) in self.summary.methods.iter().enumerate() {
            let Some(outcome) = record.methods.get(&method.name) else {
                continue;
            };
            for (name, &value) in &outcome.scores {
                self.scores[i].entry(name.clone()).or_default().add(value);
            }
            for (name, values) in &outcome.curves {
                let curve = self.curves[i].entry(name.clone()).or_default();
                curve.resize(curve.len().max(values.len()), Moments::default());
                for (moments, &value) in curve.iter_mut().zip(values) {
                    moments.add(value);
                }
            }
        }
    }

    /// What it comes to.
    #[must_use]
    pub fn summary(mut self) -> Summary {
        for (i, method) in self.summary.methods.iter_mut().enumerate() {
            let scores = self.scores[i].iter();
            method.scores = scores.map(|(n, m)| (n.clone(), m.estimate())).collect();
            let curves = self.curves[i].iter();
            let points = |all: &Vec<Moments>| all.iter().map(|m| m.estimate()).collect();
            method.curves = curves.map(|(n, all)| (n.clone(), points(all))).collect();
        }
        self.summary.correct = (self.correct.count > 0).then(|| self.correct.estimate());
        self.summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_mean_and_standard_error() {
        let mut moments = Moments::default();
        for value in [1.0, 2.0, 3.0, 4.0] {
            moments.add(value);
        }
        let estimate = moments.estimate();
        assert_eq!((estimate.mean, estimate.images), (2.5, 4));
        // Variance 5/3, standard error sqrt(5/12).
        assert!((estimate.high - 2.5 - 1.96 * (5.0f64 / 12.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn controls_are_known_by_name() {
        assert!(is_control("random") && is_control("random:q7") && is_control("edge"));
        assert!(!is_control("lrp") && !is_control("sobel"));
    }
}
