//! Layer-wise relevance propagation with relevance splitting, every preset and split.

use anyhow::Result;
use elucid_core::plan::Memory;
use elucid_core::rule::{Composite, Init, Target};

use super::{Attribution, Subject};
use crate::classifier::Classifier;
use crate::engine::{Method, explain_error};

/// The ECCV 2024 paper's method. Relevance starts with the class's probability.
#[derive(Clone, Copy, Debug)]
pub struct Lrp {
    /// The rules.
    pub composite: Composite,
}

impl Lrp {
    /// How the engine is opened: with everything kept, as time counts here, and memory is that of one image.
    #[must_use]
    pub fn method(&self) -> Method {
        Method {
            memory: Memory::Keep,
            ..Method::new(Some(self.composite))
        }
    }
}

impl Attribution for Lrp {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let model = network.model();
        let named = |e| explain_error(model, e);
        let mut map = vec![0.0; network.shape().pixels()];
        let mut explainer = network.explainer(self.method())?;
        explainer
            .explain(
                subject.image,
                Target::Class(subject.class),
                Init::Probability,
                None,
            )
            .map_err(named)?;
        explainer.heat(&mut map).map_err(named)?;
        Ok(map)
    }
}
