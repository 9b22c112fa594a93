//! Insertion and deletion.

use anyhow::{Result, anyhow};
use elucid_core::model::Preprocess;

use super::{Case, Judge, Verdict};
use crate::classifier::Classifier;
use crate::method::{Attribution, Spec};
use crate::metric::curve::{Batch, Ends, score};
use crate::metric::perturbation::{Baseline, Normalisation, Perturbation};
use crate::metric::ranking::{Ranking, Walk};
use crate::run::record::Outcome;

/// How a network's input was normalised: its zero is black.
#[must_use]
pub fn normalisation(how: &Preprocess) -> Normalisation {
    Normalisation {
        mean: how.mean,
        std: how.std,
    }
}

/// Insertion, deletion and ID score of every map.
pub struct Insdel {
    walk: Walk,
    baseline: Baseline,
    batch: Batch,
    /// The picture at hand, and the ends of its curves.
    picture: Option<(Perturbation, Ends)>,
}

impl Insdel {
    /// With so many images forwarded at once.
    #[must_use]
    pub fn new(walk: Walk, baseline: Baseline, images: usize) -> Self {
        Self {
            walk,
            baseline,
            batch: Batch::new(images),
            picture: None,
        }
    }
}

impl Judge for Insdel {
    fn begin(&mut self, network: &mut Classifier<'_>, case: &Case) -> Result<()> {
        let perturbation = Perturbation::new(
            &case.prepared.image,
            case.size(),
            normalisation(&network.model().preprocess()),
            self.baseline,
            self.walk.scorer,
        )?;
        let class = case.scored.target;
        let ends = Ends::of(&perturbation, &mut self.batch, |images, out| {
            network.probabilities(images, class, out)
        })?;
        self.picture = Some((perturbation, ends));
        Ok(())
    }

    fn judge(
        &mut self,
        network: &mut Classifier<'_>,
        case: &Case,
        (_, method): (&Spec, &mut dyn Attribution),
    ) -> Result<Verdict> {
        let map = method.map(network, &case.subject())?;
        let walk = Walk {
            seed: case.seed,
            ..self.walk
        };
        let ranking = Ranking::new(&map, case.size(), case.size(), walk)?;
        let picture = self.picture.as_ref();
        let (perturbation, ends) = picture.ok_or_else(|| anyhow!("no picture was begun"))?;
        let class = case.scored.target;
        let curves = score(
            &ranking,
            perturbation,
            Some(*ends),
            &mut self.batch,
            |images, out| network.probabilities(images, class, out),
        )?;
        let mut outcome = Outcome::default();
        outcome.set("insertion", curves.insertion_score());
        outcome.set("deletion", curves.deletion_score());
        outcome.set("id", curves.id_score());
        outcome.set("tie_fraction", ranking.tie_fraction());
        outcome
            .curves
            .insert("insertion".to_owned(), curves.insertion);
        outcome
            .curves
            .insert("deletion".to_owned(), curves.deletion);
        Ok(Verdict { outcome, map })
    }
}
