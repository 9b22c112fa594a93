//! Class activation maps: sums of the last block's channels, weighted by what they mean for the class.

use anyhow::{Result, anyhow};
use elucid_core::Model;
use elucid_core::graph::{NodeId, Op};
use elucid_core::op::head::{Seed, probability};
use elucid_core::plan::{End, Memory};
use elucid_core::rule::{Composite, Init, Target};

use super::{Attribution, Subject};
use crate::classifier::Classifier;
use crate::engine::{Method, explain_error};
use crate::metric::resize::{bilinear, bilinear_corners};

/// Grad-CAM (Selvaraju et al., 2017) at the output of the last block, as pytorch-grad-cam computes it: weights are the means of
/// the logit's gradient, what is negative is cut off, the map is scaled to 0..1 and then enlarged.
#[derive(Clone, Copy, Debug)]
pub struct GradCam;

/// Score-CAM (Wang et al., 2020) at the output of the last block: what the network makes of the image behind each channel.
#[derive(Clone, Copy, Debug)]
pub struct ScoreCam {
    /// Whose computation it follows.
    pub variant: ScoreVariant,
    /// Images of a batch.
    pub batch: usize,
}

/// Whose Score-CAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreVariant {
    /// The code that comes with the ECCV 2024 paper's: weights are probabilities, channels that are constant are left out, and
    /// enlarged channels are added up.
    Official,
    /// pytorch-grad-cam: weights are a softmax over the channels' logits, and the sum is enlarged.
    Softmax,
}

/// What the network sees at the end of its last block.
struct Features {
    /// `[h, w]`
    size: [usize; 2],
    channels: usize,
    /// `[h, w, channels]`
    activation: Vec<f32>,
    /// The same of the logit's gradient, if it was asked for.
    gradient: Vec<f32>,
}

impl Features {
    /// Of the subject's image.
    fn of(network: &mut Classifier<'_>, subject: &Subject<'_>, gradient: bool) -> Result<Self> {
        let model = network.model();
        let named = |e| explain_error(model, e);
        let node = last_block(model)?;
        let method = Method {
            end: End::Node(node),
            memory: Memory::Keep,
            ..Method::new(gradient.then(Composite::gradient))
        };
        let mut explainer = network.explainer(method)?;
        explainer.forward(subject.image).map_err(named)?;
        let mut features = Self {
            size: [0; 2],
            channels: 0,
            activation: vec![0.0; explainer.plan().end_activation().len as usize],
            gradient: Vec::new(),
        };
        explainer
            .end_activation(&mut features.activation)
            .map_err(named)?;
        if gradient {
            let target = Target::Class(subject.class);
            let mut seeds = [Seed::default()];
            explainer
                .maps(&[target], Init::One, &mut seeds, None)
                .map_err(named)?;
            features.gradient = vec![0.0; explainer.plan().end_relevance().len as usize];
            explainer
                .end_relevance(&mut features.gradient)
                .map_err(named)?;
        }
        let shape = explainer.plan().end_shape();
        features.size = [shape.h as usize, shape.w as usize];
        features.channels = shape.c as usize;
        Ok(features)
    }

    /// One channel, `[h, w]`.
    fn channel<'f>(&self, of: &'f [f32], channel: usize) -> impl Iterator<Item = f32> + use<'f> {
        of.iter().skip(channel).step_by(self.channels).copied()
    }

    /// The sum of all channels, each times its weight.
    fn weighted(&self, weights: &[f64]) -> Vec<f32> {
        let pixels = self.activation.chunks_exact(self.channels);
        let sum = |pixel: &[f32]| {
            let terms = pixel.iter().zip(weights);
            terms.map(|(&a, &w)| w * f64::from(a)).sum::<f64>() as f32
        };
        pixels.map(sum).collect()
    }
}

/// The convolution of the perception branch whose activations the adapter's paper takes.
const PERCEPTION: &str = "perception_branch.conv2";

/// The node that the global average pool reads; of a network with an adapter the perception branch's last convolution.
fn last_block(model: &Model<'_>) -> Result<NodeId> {
    if let Some(node) = model.find(PERCEPTION) {
        return Ok(node);
    }
    let nodes = (0..model.node_count()).map(|id| model.node(id));
    let pool = nodes
        .into_iter()
        .find(|node| matches!(node.op, Op::AvgPool));
    let pool = pool.ok_or_else(|| {
        anyhow!("the network has no global average pool, so no class activation map")
    })?;
    Ok(pool.inputs[0])
}

/// Scales to 0..1; `least` is added to the largest value. A map that is 0 stays so.
fn scale(map: &mut [f32], least: f32) {
    let low = map.iter().copied().fold(f32::INFINITY, f32::min);
    map.iter_mut().for_each(|v| *v -= low);
    let high = map.iter().copied().fold(0.0, f32::max) + least;
    if high > 0.0 {
        map.iter_mut().for_each(|v| *v /= high);
    }
}

/// What pytorch-grad-cam does to a weighted sum.
fn finish(mut cam: Vec<f32>, from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    const LEAST: f32 = 1e-7;
    cam.iter_mut().for_each(|v| *v = v.max(0.0));
    scale(&mut cam, LEAST);
    let mut map = bilinear(&cam, from, to);
    scale(&mut map, LEAST);
    map
}

impl Attribution for GradCam {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let features = Features::of(network, subject, true)?;
        let pixels = (features.size[0] * features.size[1]) as f64;
        let weight = |channel| {
            let gradient = features.channel(&features.gradient, channel);
            gradient.map(f64::from).sum::<f64>() / pixels
        };
        let weights: Vec<f64> = (0..features.channels).map(weight).collect();
        let cam = features.weighted(&weights);
        Ok(finish(cam, features.size, network.size()))
    }
}

/// How a channel becomes a mask.
type Enlarge = fn(&[f32], [usize; 2], [usize; 2]) -> Vec<f32>;

impl ScoreCam {
    /// What the network says of the image behind each of these channels, in order.
    fn scores(
        &self,
        network: &mut Classifier<'_>,
        subject: &Subject<'_>,
        features: &Features,
        channels: &[usize],
    ) -> Result<Vec<f64>> {
        let (size, class) = (network.size(), subject.class as usize);
        let classes = network.model().classes() as usize;
        let (enlarge, least): (Enlarge, f32) = match self.variant {
            ScoreVariant::Official => (bilinear, 0.0),
            ScoreVariant::Softmax => (bilinear_corners, 1e-8),
        };
        let mut images = Vec::new();
        let mut scores = Vec::with_capacity(channels.len());
        for channels in channels.chunks(self.batch.max(1)) {
            images.clear();
            for &channel in channels {
                let coarse: Vec<f32> = features.channel(&features.activation, channel).collect();
                let mut mask = enlarge(&coarse, features.size, size);
                scale(&mut mask, least);
                let pixels = subject.image.as_chunks::<3>().0.iter().zip(&mask);
                images.extend(pixels.flat_map(|(pixel, &m)| pixel.map(|v| v * m)));
            }
            let logits = network.logits(&images)?.chunks_exact(classes);
            scores.extend(logits.map(|logits| match self.variant {
                ScoreVariant::Official => f64::from(probability(logits, class)),
                ScoreVariant::Softmax => f64::from(logits[class]),
            }));
        }
        Ok(scores)
    }
}

impl Attribution for ScoreCam {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let features = Features::of(network, subject, false)?;
        let size = network.size();
        let varies = |&channel: &usize| {
            let mut values = features.channel(&features.activation, channel);
            let first = values.next();
            values.any(|v| Some(v) != first)
        };
        let channels: Vec<usize> = match self.variant {
            ScoreVariant::Official => (0..features.channels).filter(varies).collect(),
            ScoreVariant::Softmax => (0..features.channels).collect(),
        };
        let scores = self.scores(network, subject, &features, &channels)?;
        let mut weights = vec![0.0; features.channels];
        match self.variant {
            ScoreVariant::Official => {
                for (&channel, score) in channels.iter().zip(scores) {
                    weights[channel] = score;
                }
                // Enlarging is linear: the sum of the channels is enlarged once.
                let mut map = bilinear(&features.weighted(&weights), features.size, size);
                map.iter_mut().for_each(|v| *v = v.max(0.0));
                scale(&mut map, 0.0);
                Ok(map)
            }
            ScoreVariant::Softmax => {
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let grown: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
                let whole: f64 = grown.iter().sum();
                for (&channel, grown) in channels.iter().zip(grown) {
                    weights[channel] = grown / whole;
                }
                Ok(finish(features.weighted(&weights), features.size, size))
            }
        }
    }
}
