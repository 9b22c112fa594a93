//! Sensitivity-n.

use anyhow::{Result, anyhow};

use super::insdel::normalisation;
use super::{Case, Judge, Verdict};
use crate::classifier::Classifier;
use crate::method::{Attribution, Spec};
use crate::metric::curve::Batch;
use crate::metric::perturbation::{Baseline, Perturbation};
use crate::metric::ranking::{Scorer, tie_fraction};
use crate::metric::sensitivity::{Draw, correlation, falls};
use crate::metric::statistics::mean;
use crate::run::record::Outcome;

/// Correlation between relevance and the fall of the probability, for several n.
pub struct Sensitivity {
    pixels: Vec<usize>,
    sets: usize,
    baseline: Baseline,
    batch: Batch,
    /// What the sets of each n do to the picture at hand: the same for all maps.
    falls: Vec<(Draw, Vec<f64>)>,
}

impl Sensitivity {
    /// For these n, with so many sets of each, and so many images forwarded at once.
    #[must_use]
    pub fn new(pixels: Vec<usize>, sets: usize, baseline: Baseline, images: usize) -> Self {
        Self {
            pixels,
            sets,
            baseline,
            batch: Batch::new(images),
            falls: Vec::new(),
        }
    }
}

impl Judge for Sensitivity {
    fn begin(&mut self, network: &mut Classifier<'_>, case: &Case) -> Result<()> {
        let perturbation = Perturbation::new(
            &case.prepared.image,
            case.size(),
            normalisation(&network.model().preprocess()),
            self.baseline,
            Scorer::Strict,
        )?;
        let class = case.scored.target;
        self.falls.clear();
        for &pixels in &self.pixels {
            let draw = Draw {
                pixels,
                sets: self.sets,
                seed: case.seed ^ pixels as u64,
            };
            let falls = falls(&perturbation, draw, &mut self.batch, |images, out| {
                network.probabilities(images, class, out)
            })?;
            self.falls.push((draw, falls));
        }
        Ok(())
    }

    fn judge(
        &mut self,
        network: &mut Classifier<'_>,
        case: &Case,
        (_, method): (&Spec, &mut dyn Attribution),
    ) -> Result<Verdict> {
        let map = method.map(network, &case.subject())?;
        let of = |(draw, falls): &(Draw, Vec<f64>)| correlation(&map, *draw, falls);
        let found: Result<Option<Vec<f64>>> = self.falls.iter().map(of).collect();
        let mut outcome = Outcome::default();
        // A constant map correlates with nothing.
        if let Some(curve) = found? {
            if curve.is_empty() {
                return Err(anyhow!("no picture was begun"));
            }
            outcome.set("sensitivity", mean(&curve));
            outcome.curves.insert("correlation".to_owned(), curve);
        }
        outcome.set("tie_fraction", tie_fraction(&map));
        Ok(Verdict { outcome, map })
    }
}
