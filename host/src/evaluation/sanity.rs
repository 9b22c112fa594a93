//! Model randomisation (Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018): a map that stays as it is when the
//! network forgets what it learned doesn't explain the network.

use anyhow::{Result, anyhow};
use elucid_core::Model;
use elucid_core::graph::{Conv, PANEL};
use elucid_core::model::seal;
use elucid_core::view::Weights;

use super::{Case, Judge, Verdict};
use crate::classifier::Classifier;
use crate::engine::Threads;
use crate::method::{Attribution, Spec};
use crate::metric::statistics::spearman;
use crate::model_file::ModelBytes;
use crate::run::record::Outcome;
use crate::synthetic::Random;

/// A network that forgot everything from the classifier down to some depth.
pub struct Randomised {
    /// The last part that forgot: `classifier`, `stage 4`, .., `stem`.
    pub depth: String,
    /// The network.
    pub bytes: ModelBytes,
}

impl Randomised {
    /// One network for each part, from the classifier down to the stem, each with the parts before it: cascading
    /// randomisation. The weights of a layer are shuffled, so that their distribution stays what it was; BatchNorm's numbers
    /// stay.
    ///
    /// # Errors
    /// If `bytes` don't hold `model`.
    pub fn cascade(bytes: &[u8], model: &Model<'_>, seed: u64) -> Result<Vec<Randomised>> {
        let mut changed = bytes.to_vec();
        let mut random = Random::new(seed);
        let stages = model.node(model.node_count() - 1).stage;
        let mut cascade = Vec::new();
        for stage in (0..=stages).rev() {
            for id in (1..model.node_count()).rev() {
                let node = model.node(id);
                if node.stage != stage {
                    continue;
                }
                let Some(layer) = node.op.layer() else {
                    continue;
                };
                shuffle(bytes, model, &layer, &mut random, &mut changed)?;
            }
            seal(&mut changed);
            let depth = match stage {
                0 => "stem".to_owned(),
                _ if stage == stages => "classifier".to_owned(),
                _ => format!("stage {stage}"),
            };
            let bytes = ModelBytes::from_bytes(&changed, "the randomised model");
            cascade.push(Randomised { depth, bytes });
        }
        Ok(cascade)
    }
}

/// Shuffles the weights of a layer in `changed`; panels keep their padding.
fn shuffle(
    bytes: &[u8],
    model: &Model<'_>,
    layer: &Conv,
    random: &mut Random,
    changed: &mut [u8],
) -> Result<()> {
    let (start, unit) = match model.weights(layer.weight) {
        Some(Weights::F32(w)) => (w.as_ptr() as usize, size_of::<f32>()),
        Some(Weights::F16(w)) => (w.as_ptr() as usize, size_of::<u16>()),
        None => return Err(anyhow!("a layer has no weights")),
    };
    let rows = layer.taps() * layer.ci as usize;
    let co = layer.co as usize;
    let used = (0..layer.stored()).filter(|i| i / (rows * PANEL) * PANEL + i % PANEL < co);
    let used: Vec<usize> = used.collect();
    let mut order: Vec<u32> = (0..u32::try_from(used.len())?).collect();
    let count = order.len();
    random.shuffle(&mut order, count);
    let old = start.checked_sub(bytes.as_ptr() as usize);
    let old = old.and_then(|at| bytes.get(at..at + layer.stored() * unit).zip(Some(at)));
    let (old, at) = old.ok_or_else(|| anyhow!("the weights lie outside of the model's bytes"))?;
    let new = &mut changed[at..at + old.len()];
    for (&to, &from) in used.iter().zip(&order) {
        let from = used[from as usize];
        new[to * unit..][..unit].copy_from_slice(&old[from * unit..][..unit]);
    }
    Ok(())
}

/// Rank correlation of each map with those of networks that know less and less.
pub struct Sanity<'r> {
    networks: &'r [Model<'r>],
    threads: &'r Threads,
}

impl<'r> Sanity<'r> {
    /// With the networks of [`Randomised::cascade`].
    #[must_use]
    pub fn new(networks: &'r [Model<'r>], threads: &'r Threads) -> Self {
        Self { networks, threads }
    }
}

impl Judge for Sanity<'_> {
    fn judge(
        &mut self,
        network: &mut Classifier<'_>,
        case: &Case,
        (_, method): (&Spec, &mut dyn Attribution),
    ) -> Result<Verdict> {
        let map = method.map(network, &case.subject())?;
        let mut curve = Vec::with_capacity(self.networks.len());
        for model in self.networks {
            let mut ignorant =
                Classifier::new(model, network.shape(), self.threads).at(network.place());
            let other = method.map(&mut ignorant, &case.subject())?;
            curve.push(spearman(&map, &other));
        }
        let mut outcome = Outcome::default();
        // A constant map has no ranks to compare.
        if let Some(curve) = curve.into_iter().collect::<Option<Vec<f64>>>()
            && let [first, .., last] = curve[..]
        {
            outcome.set("similarity_last", first);
            outcome.set("similarity", last);
            outcome.curves.insert("similarity".to_owned(), curve);
        }
        Ok(Verdict { outcome, map })
    }
}
