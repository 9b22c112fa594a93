//! Layer-wise relevance propagation with relevance splitting, every preset and split.

use anyhow::Result;
use elucid_core::Model;
use elucid_core::plan::Memory;
use elucid_core::rule::{Init, Split, Target};

use super::{Attribution, Subject};
use crate::classifier::Classifier;
use crate::engine::{Method, PRESETS, explain_error};

/// The ECCV 2024 paper's method. Relevance starts with the class's probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lrp {
    /// The rules' place in [`PRESETS`].
    pub preset: usize,
    /// How relevance is split.
    pub split: Split,
}

impl Lrp {
    /// The split's name; zennit's composites have one of their own.
    #[must_use]
    pub fn split_name(&self) -> &'static str {
        let mut names = Split::ALL.iter();
        match PRESETS[self.preset].0 {
            "exact" | "paper" => names
                .find(|(split, _)| *split == self.split)
                .map_or("", |s| s.1),
            _ => "signed",
        }
    }

    /// How the engine is opened for a model: with everything kept, as time counts here, and memory is that of one image.
    #[must_use]
    pub fn method(&self, model: &Model<'_>) -> Method {
        let (_, preset) = PRESETS[self.preset];
        Method {
            memory: Memory::Keep,
            ..Method::new(Some(preset(self.split, &model.preprocess())))
        }
    }
}

impl Attribution for Lrp {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let model = network.model();
        let named = |e| explain_error(model, e);
        let mut map = vec![0.0; network.shape().pixels()];
        let mut explainer = network.explainer(self.method(model))?;
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
