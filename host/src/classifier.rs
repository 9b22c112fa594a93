//! A network that is asked what it sees, any number of images at a time, and explained.

use anyhow::Result;
use elucid_core::arch::ala::PERCEPTION;
use elucid_core::explain::Explainer;
use elucid_core::graph::NodeId;
use elucid_core::op::head::probability;
use elucid_core::plan::End;
use elucid_core::simd::Isa;
use elucid_core::{Model, Shape};

use crate::engine::{Engine, Method, Threads, explain_error};
use crate::place::{Machine, Place};

/// A model with memory for both.
pub struct Classifier<'m> {
    model: &'m Model<'m>,
    inference: Engine<'m>,
    explanation: Engine<'m>,
    shape: Shape,
    logits: Vec<f32>,
}

impl<'m> Classifier<'m> {
    /// A classifier for images of this shape; the model's own is [`Model::input_shape`].
    #[must_use]
    pub fn new(model: &'m Model<'m>, shape: Shape, threads: &'m Threads) -> Self {
        Self {
            model,
            inference: Engine::new(model, threads),
            explanation: Engine::new(model, threads),
            shape,
            logits: Vec::new(),
        }
    }

    /// The same with other kernels than this machine's best.
    #[must_use]
    pub fn with_kernels(self, kernels: Isa) -> Self {
        Self {
            inference: self.inference.with_kernels(kernels),
            explanation: self.explanation.with_kernels(kernels),
            ..self
        }
    }

    /// The same elsewhere.
    #[must_use]
    pub fn at(self, place: &Place) -> Self {
        Self {
            inference: self.inference.at(place),
            explanation: self.explanation.at(place),
            ..self
        }
    }

    /// Where it computes.
    #[must_use]
    pub fn place(&self) -> &Place {
        self.inference.place()
    }

    /// Bytes of both arenas.
    #[must_use]
    pub fn arena_bytes(&self) -> usize {
        self.inference.arena_bytes() + self.explanation.arena_bytes()
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &'m Model<'m> {
        self.model
    }

    /// Shape of an image.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// `[h, w]` of an image.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        [self.shape.h as usize, self.shape.w as usize]
    }

    /// Logits `[n, classes]` of normalised images `[n, h, w, 3]`, which are computed as one batch.
    ///
    /// # Errors
    /// If the images don't fit the network or aren't finite.
    pub fn logits(&mut self, images: &[f32]) -> Result<&[f32]> {
        let named = |e| explain_error(self.model, e);
        let mut explainer = pass(
            &mut self.inference,
            (self.model, self.shape),
            images,
            End::Map,
        )?;
        let count = explainer.plan().options().images;
        self.logits
            .resize(count * self.model.classes() as usize, 0.0);
        explainer.logits(&mut self.logits).map_err(named)?;
        Ok(&self.logits)
    }

    /// Logits of one image, and the output of a node, channels last, with its shape.
    ///
    /// # Errors
    /// Those of [`Classifier::logits`], or if there is no such node.
    pub fn activation(&mut self, image: &[f32], node: NodeId) -> Result<(&[f32], Vec<f32>, Shape)> {
        let named = |e| explain_error(self.model, e);
        let parts = (self.model, self.shape);
        let mut explainer = pass(&mut self.inference, parts, image, End::Node(node))?;
        let plan = explainer.plan();
        let (shape, len) = (plan.end_shape(), plan.end_activation().len);
        self.logits.resize(self.model.classes() as usize, 0.0);
        explainer.logits(&mut self.logits).map_err(named)?;
        let mut values = vec![0.0; len as usize];
        explainer.end_activation(&mut values).map_err(named)?;
        Ok((&self.logits, values, shape))
    }

    /// The logits that maps are judged by, `[n, classes]`: those of the perception branch, where there is an adapter.
    fn scores(&mut self, images: &[f32]) -> Result<&[f32]> {
        let Some(branch) = self.model.find(PERCEPTION) else {
            return self.logits(images);
        };
        let named = |e| explain_error(self.model, e);
        let parts = (self.model, self.shape);
        let mut explainer = pass(&mut self.inference, parts, images, End::Node(branch))?;
        let scores = explainer.plan().end_activation().len as usize;
        self.logits.resize(scores, 0.0);
        explainer.end_activation(&mut self.logits).map_err(named)?;
        Ok(&self.logits)
    }

    /// Softmax probabilities of one class for images `[n, h, w, 3]`, written to `[n]`.
    ///
    /// # Errors
    /// Those of [`Classifier::logits`].
    pub fn probabilities(&mut self, images: &[f32], class: u32, to: &mut [f64]) -> Result<()> {
        let classes = self.model.classes() as usize;
        let logits = self.scores(images)?;
        for (to, logits) in to.iter_mut().zip(logits.chunks_exact(classes)) {
            *to = f64::from(probability(logits, class as usize));
        }
        Ok(())
    }

    /// An explainer for images of the same shape.
    ///
    /// # Errors
    /// If they don't fit the network.
    pub fn explainer(&mut self, method: Method) -> Result<Explainer<'_, Machine<'_>>> {
        self.explanation.open(self.shape, method)
    }
}

/// A forward pass over a batch of images, which keeps what the node at the end gives.
fn pass<'e>(
    engine: &'e mut Engine<'_>,
    (model, shape): (&Model<'_>, Shape),
    images: &[f32],
    end: End,
) -> Result<Explainer<'e, Machine<'e>>> {
    let method = Method {
        images: images.len() / shape.elements(),
        end,
        ..Method::new(None)
    };
    let mut explainer = engine.open(shape, method)?;
    explainer
        .forward(images)
        .map_err(|e| explain_error(model, e))?;
    Ok(explainer)
}
