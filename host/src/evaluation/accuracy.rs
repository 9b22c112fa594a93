//! How often the network is right.

use anyhow::Result;
use elucid_core::op::head::probability;

use super::{Case, Judge, Verdict};
use crate::classifier::Classifier;
use crate::method::{Attribution, Spec};
use crate::run::record::Outcome;

/// Top-1 and top-5; methods don't matter.
pub struct Accuracy;

impl Judge for Accuracy {
    fn judge(
        &mut self,
        _: &mut Classifier<'_>,
        case: &Case,
        _: (&Spec, &mut dyn Attribution),
    ) -> Result<Verdict> {
        let mut outcome = Outcome::default();
        if let Some(label) = case.label.map(|label| label as usize) {
            let own = case.logits[label];
            // Of equal logits the first is the likelier, as for predictions.
            let before = |(i, &logit): (usize, &f32)| logit > own || logit == own && i < label;
            let rank = case
                .logits
                .iter()
                .enumerate()
                .filter(|&l| before(l))
                .count();
            outcome.set("top1", f64::from(u8::from(rank == 0)));
            outcome.set("top5", f64::from(u8::from(rank < 5)));
            outcome.set("probability", f64::from(probability(&case.logits, label)));
        }
        let map = Vec::new();
        Ok(Verdict { outcome, map })
    }
}
