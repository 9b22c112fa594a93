//! A deliberately naive f64 implementation of residual networks and of LRP with relevance splitting.
//!
//! An image `[1, 3, H, W]` and a torchvision state dict go in, a [`Trace`] comes out: logits, the relevance at the
//! input of every layer, the splitting ratio of every block, the map. Straight loops over NCHW tensors, one image, no
//! fast path, nothing shared with `elucid-core`: what the two agree on, two people would have had to get wrong alike.
//! The mathematics is that of Otsuki et al., "Layer-Wise Relevance Propagation with Conservation Property for ResNet"
//! (ECCV 2024); the tests hold it against the official implementation's figures in `golden/`.
//!
//! ```no_run
//! # use elucid_tests::{reference::{Architecture, Preset, ResNet, Rules, Split}, tensors::Tensors};
//! let (weights, golden) = (Tensors::load("weights.safetensors"), Tensors::load("golden.safetensors"));
//! let network = ResNet::new(&weights, Architecture::default());
//! let trace = network.explain(golden.get("input"), &Rules::new(Preset::Exact, Split::Ratio), None);
//! assert!((trace.map.iter().sum::<f64>() - trace.softmax[trace.target]).abs() < 1e-12);
//! ```

use std::collections::BTreeMap;

use crate::tensors::{Tensor, Tensors};

pub mod block;
pub mod layer;
#[cfg(test)]
mod tests;

use block::Block;

/// How a block's relevance is divided between its residual and its skip branch. A parameter-free subsampling shortcut
/// (option A) counts as an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// `|m| / (|m| + |s|)` in every block, the paper's proposal; 0/0 is 1/2 (`flows_skip` in the official code).
    Ratio,
    /// One half in every block (`flows_skip_simple`).
    Half,
    /// As `Ratio` in blocks with a projection, everything to the residual branch elsewhere (`latest`).
    ProjectionRatio,
    /// As `Half` in blocks with a projection, everything to the residual branch elsewhere (`simple`).
    ProjectionHalf,
}

impl Split {
    /// All four, in the order above.
    pub const ALL: [Self; 4] = [
        Self::Ratio,
        Self::Half,
        Self::ProjectionRatio,
        Self::ProjectionHalf,
    ];

    /// The name in the official code and in the golden files.
    pub fn official_name(self) -> &'static str {
        match self {
            Self::Ratio => "flows_skip",
            Self::Half => "flows_skip_simple",
            Self::ProjectionRatio => "latest",
            Self::ProjectionHalf => "simple",
        }
    }
}

/// Two settings of [`Rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The official implementation, its leaks included: eps 1e-5, 2x2 average for the max pool, dead units lose.
    Paper,
    /// Nothing is lost: no eps, the maximum takes all, dead units redistribute.
    Exact,
}

/// The layer whose relevance rule stands in for the max pool of the stem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// 2x2 average, stride 2; windows over the rim average the cells they have.
    HalfAverage,
    /// The first maximum of the pool's own window takes all.
    Winner,
    /// Average over the pool's own window 3, stride 2, padding 1, padded zeros counted.
    WindowAverage,
}

/// What becomes of the relevance of a unit whose z is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// It is lost.
    Sink,
    /// It goes to the unit's in-bounds inputs in proportion to w+ alone, or evenly where no weight is positive.
    Redistribute,
}

/// A complete set of propagation rules. [`Rules::new`] gives the presets, the fields may be changed one by one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Relevance splitting at the end of each block.
    pub split: Split,
    /// Stand-in for the max pool.
    pub pool: Pool,
    /// Treatment of dead units.
    pub dead: Dead,
    /// Added to every z.
    pub eps: f64,
}

impl Rules {
    /// The rules of `preset`, with blocks split by `split`.
    pub fn new(preset: Preset, split: Split) -> Self {
        match preset {
            Preset::Paper => Self {
                split,
                pool: Pool::HalfAverage,
                dead: Dead::Sink,
                eps: 1e-5,
            },
            Preset::Exact => Self {
                split,
                pool: Pool::Winner,
                dead: Dead::Redistribute,
                eps: 0.0,
            },
        }
    }
}

/// The layers before the first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// 7x7 convolution of stride 2, batch normalisation, ReLU.
    SevenBySeven,
    /// 3x3 convolution of stride 1, batch normalisation, ReLU (CIFAR networks).
    ThreeByThree,
}

/// The convolution of a bottleneck that carries the block's stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrideOn {
    /// The 3x3 in the middle (torchvision, "v1.5").
    ThreeByThree,
    /// The first 1x1 (Keras, the original publication).
    FirstOneByOne,
}

/// What the tensor names and shapes don't tell about a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Architecture {
    /// Layers before the first block.
    pub stem: Stem,
    /// Whether a max pool 3/2/1 follows the stem.
    pub pool: bool,
    /// Position of the stride in bottlenecks.
    pub stride_on: StrideOn,
    /// Epsilon of all batch normalisations.
    pub bn_eps: f64,
}

impl Default for Architecture {
    /// torchvision's ResNet.
    fn default() -> Self {
        Self {
            stem: Stem::SevenBySeven,
            pool: true,
            stride_on: StrideOn::ThreeByThree,
            bn_eps: 1e-5,
        }
    }
}

/// A residual classifier over a state dict with torchvision's names (`conv1.weight`, `layer1.0.bn1.running_mean`,
/// `layer2.0.downsample.0.weight`, `fc.weight` or `linear.weight`). Stages and blocks are counted from the names; a
/// block that changes the shape and has no `downsample` uses the option-A shortcut.
pub struct ResNet<'a> {
    weights: &'a Tensors,
    architecture: Architecture,
}

/// Everything one explanation computed.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Class scores before the softmax.
    pub logits: Vec<f64>,
    /// Class probabilities.
    pub softmax: Vec<f64>,
    /// The class explained; its probability is the relevance that enters.
    pub target: usize,
    /// Relevance of every pixel, summed over colours: H x W values.
    pub map: Vec<f64>,
    /// Relevance at the INPUT of `conv1`, `maxpool`, `layerL.i`, `avgpool` and `fc`.
    pub relevance: BTreeMap<String, Tensor>,
    /// Share of the residual branch at the OUTPUT of every block `layerL.i`.
    pub ratio: BTreeMap<String, Tensor>,
    /// Activation at the OUTPUT of `relu` (the stem's), `maxpool`, `layerL.i` and `avgpool`.
    pub output: BTreeMap<String, Tensor>,
}

impl<'a> ResNet<'a> {
    /// A network over `weights`.
    pub fn new(weights: &'a Tensors, architecture: Architecture) -> Self {
        Self {
            weights,
            architecture,
        }
    }

    /// Classifies `image` (`[1, 3, H, W]`, normalised) and propagates the probability of `target`, or of the most
    /// probable class, back to its pixels.
    pub fn explain(&self, image: &Tensor, rules: &Rules, target: Option<usize>) -> Trace {
        let Architecture {
            stem, pool, bn_eps, ..
        } = self.architecture;
        let mut output = BTreeMap::new();
        let mut relevance = BTreeMap::new();
        let mut ratio = BTreeMap::new();

        // Forward.
        let conv1 = self.weights.get("conv1.weight");
        let (kernel, stride) = if stem == Stem::SevenBySeven {
            (7, 2)
        } else {
            (3, 1)
        };
        assert_eq!(
            conv1.shape[2], kernel,
            "the stem's kernel and the architecture disagree"
        );
        let x = layer::conv2d(image, conv1, self.optional("conv1.bias"), stride);
        let part = |part: &str| self.weights.get(&format!("bn1.{part}"));
        let x = layer::batch_norm(
            &x,
            part("weight"),
            part("bias"),
            part("running_mean"),
            part("running_var"),
            bn_eps,
        );
        let stem_output = layer::relu(&x);
        let mut x = stem_output.clone();
        output.insert("relu".to_owned(), x.clone());
        if pool {
            x = layer::max_pool(&x);
            output.insert("maxpool".to_owned(), x.clone());
        }
        let mut passes = Vec::new();
        for (name, block) in self.blocks() {
            let pass = block.forward(&x);
            x = pass.output.clone();
            output.insert(name.clone(), x.clone());
            passes.push((name, block, pass));
        }
        let mean = layer::global_average_pool(&x);
        output.insert("avgpool".to_owned(), mean.clone());
        let features = Tensor::new(&[1, mean.data.len()], mean.data);
        let head = if self.weights.contains("fc.weight") {
            "fc"
        } else {
            "linear"
        };
        let head_weight = self.weights.get(&format!("{head}.weight"));
        let logits = layer::linear(
            &features,
            head_weight,
            self.optional(&format!("{head}.bias")),
        )
        .data;
        let softmax = layer::softmax(&logits);

        // Backward.
        let target = target.unwrap_or_else(|| first_largest(&softmax));
        let mut r = Tensor::full(&[1, logits.len()], 0.0);
        r.data[target] = softmax[target];
        let mut r = layer::linear_relevance(&features, head_weight, &r, rules);
        relevance.insert("fc".to_owned(), r.clone());
        r = layer::global_average_pool_relevance(&x, &r, rules);
        relevance.insert("avgpool".to_owned(), r.clone());
        for (name, block, pass) in passes.iter().rev() {
            ratio.insert(name.clone(), block.ratio(pass, rules));
            r = block.relevance(pass, &r, rules);
            relevance.insert(name.clone(), r.clone());
        }
        if pool {
            r = layer::max_pool_relevance(&stem_output, &r, rules);
            relevance.insert("maxpool".to_owned(), r.clone());
        }
        // The first layer sees ones instead of the image, so that the map is never multiplied by pixel values.
        r = layer::conv2d_relevance(&Tensor::full(&image.shape, 1.0), conv1, stride, &r, rules);
        relevance.insert("conv1".to_owned(), r.clone());

        let pixels = image.shape[2] * image.shape[3];
        let mut map = vec![0.0; pixels];
        for (i, v) in r.data.iter().enumerate() {
            map[i % pixels] += v;
        }
        Trace {
            logits,
            softmax,
            target,
            map,
            relevance,
            ratio,
            output,
        }
    }

    /// The blocks in forward order with their names, `layer1.0` first. The first block of every stage but the first
    /// has stride 2.
    fn blocks(&self) -> Vec<(String, Block<'a>)> {
        let mut blocks = Vec::new();
        for stage in 1.. {
            for index in 0.. {
                let name = format!("layer{stage}.{index}");
                if !self.weights.contains(&format!("{name}.conv1.weight")) {
                    if index == 0 {
                        return blocks;
                    }
                    break;
                }
                let block = Block {
                    weights: self.weights,
                    prefix: format!("{name}."),
                    stride: if stage > 1 && index == 0 { 2 } else { 1 },
                    stride_on: self.architecture.stride_on,
                    bn_eps: self.architecture.bn_eps,
                };
                blocks.push((name, block));
            }
        }
        blocks
    }

    fn optional(&self, name: &str) -> Option<&Tensor> {
        self.weights.contains(name).then(|| self.weights.get(name))
    }
}

/// Index of the largest value; of the first of them where several are equal.
fn first_largest(values: &[f64]) -> usize {
    let mut best = 0;
    for (i, &v) in values.iter().enumerate() {
        if v > values[best] {
            best = i;
        }
    }
    best
}
