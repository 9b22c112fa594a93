//! The two ends of an explanation: the relevance a class starts with, and the map it ends as.

use crate::error::Error;
use crate::math;
use crate::rule::{Init, Target};

/// What the network said, and what is explained of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Seed {
    /// The predicted class: the first of the largest logits.
    pub predicted: u32,
    /// The explained class.
    pub target: u32,
    /// Softmax probability of the explained class.
    pub probability: f32,
    /// Logit of the explained class.
    pub logit: f32,
    /// The relevance the explained class starts with.
    pub relevance: f32,
}

/// Chooses the class and its relevance from the logits.
///
/// # Errors
/// [`Error::NotFinite`] for logits with NaN or infinity, [`Error::Target`] for a class that doesn't exist.
pub fn seed(logits: &[f32], wanted: Target, init: Init) -> Result<Seed, Error> {
    if logits.is_empty() || !logits.iter().all(|l| l.is_finite()) {
        return Err(Error::NotFinite);
    }
    let predicted = ranked(logits, 0).unwrap_or(0);
    let target = match wanted {
        Target::Predicted => predicted,
        Target::Class(index) => index as usize,
        Target::Rank(rank) => ranked(logits, rank as usize).unwrap_or(logits.len()),
    };
    let logit = *logits.get(target).ok_or(Error::Target {
        index: match wanted {
            Target::Class(index) | Target::Rank(index) => index,
            Target::Predicted => 0,
        },
        classes: logits.len() as u32,
    })?;
    let probability = probability(logits, target);
    let relevance = match init {
        Init::Probability => probability,
        Init::Logit => logit,
        Init::One => 1.0,
    };
    Ok(Seed {
        predicted: predicted as u32,
        target: target as u32,
        probability,
        logit,
        relevance,
    })
}

/// The class with `rank` others before it, where larger logits come first and equal ones in order.
fn ranked(logits: &[f32], rank: usize) -> Option<usize> {
    let before = |i: usize, j: usize| logits[j] > logits[i] || logits[j] == logits[i] && j < i;
    let mut next: Option<usize> = None;
    for _ in 0..=rank {
        // The first of those that come after the last one found.
        let mut best = None;
        for i in (0..logits.len()).filter(|&i| next.is_none_or(|last| before(i, last))) {
            if best.is_none_or(|best| before(best, i)) {
                best = Some(i);
            }
        }
        next = Some(best?);
    }
    next
}

/// Softmax probability of class `index`, 0 for a class that doesn't exist.
#[must_use]
pub fn probability(logits: &[f32], index: usize) -> f32 {
    let Some(&logit) = logits.get(index) else {
        return 0.0;
    };
    let most = logits
        .iter()
        .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    let total: f64 = logits.iter().map(|&l| math::exp(f64::from(l - most))).sum();
    (math::exp(f64::from(logit - most)) / total) as f32
}

/// `heat[p] = sum_c r[p, c]`, `[h, w, c] -> [h, w]`, written or, with `accumulate`, added.
pub fn collect(r: &[f32], channels: usize, accumulate: bool, heat: &mut [f32]) {
    for (heat, pixel) in heat.iter_mut().zip(r.chunks_exact(channels)) {
        let sum: f32 = pixel.iter().sum();
        *heat = if accumulate { *heat + sum } else { sum };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_what_the_paper_says() {
        let logits = [1.0, 3.0, 3.0, -2.0];
        let seed_of = |target, init| seed(&logits, target, init).unwrap();
        let first = seed_of(Target::Predicted, Init::Probability);
        assert_eq!((first.predicted, first.target), (1, 1));
        assert!((first.relevance - 0.466_837).abs() < 1e-5);
        assert_eq!(seed_of(Target::Class(3), Init::Logit).relevance, -2.0);
        assert_eq!(seed_of(Target::Class(0), Init::One).relevance, 1.0);
        let ranks = [0, 1, 2, 3].map(|rank| seed_of(Target::Rank(rank), Init::One).target);
        assert_eq!(ranks, [1, 2, 0, 3]);
        assert_eq!(
            seed(&logits, Target::Rank(4), Init::One),
            Err(Error::Target {
                index: 4,
                classes: 4
            })
        );
        assert_eq!(
            seed(&logits, Target::Class(4), Init::One),
            Err(Error::Target {
                index: 4,
                classes: 4
            })
        );
        assert_eq!(
            seed(&[0.0, f32::NAN], Target::Predicted, Init::One),
            Err(Error::NotFinite)
        );
    }
}
