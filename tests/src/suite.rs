//! The conformance suite: networks of every kind that can be imported, run on a [`Subject`] and on the f64 reference.
//!
//! A [`Case`] is a network by numbers, an image size and a seed; weights and image follow from these. [`Case::check`] runs
//! both presets with all splits and compares logits, map and ledger. Adding a case adds it to every backend.

use elucid_core::arch::resnet::{Block, Head, MAX_STAGES, Resnet, Shortcut, Stage, StrideOn};
use elucid_core::rule::Target;
use elucid_host::checkpoint::Checkpoint;
use elucid_host::import::{Options, import};
use elucid_host::model_file::ModelBytes;
use elucid_host::{preprocess, synthetic};
use half::f16;

use crate::reference::{self, Architecture, Preset, ResNet, Rules, Stem, Trace};
use crate::subject::{Explanation, Image, Run, Subject};
use crate::tensors::{Tensor, Tensors, worst};

mod networks;

pub use networks::{NETWORKS, network};

/// Largest difference of a map, relative to its largest value.
pub const MAP: f64 = 2e-5;
/// Largest difference of logits, relative to the largest.
pub const LOGITS: f64 = 2e-5;
/// Largest relative difference between the map's sum and the start with [`Preset::Exact`].
pub const CONSERVATION: f64 = 1e-5;

/// A network, an image, and how the one is stored.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is for.
    pub name: &'static str,
    /// The network.
    pub net: Resnet,
    /// Height and width of the image.
    pub image: (u32, u32),
    /// eps of the batch normalisations.
    pub bn_eps: f64,
    /// Whether weights are stored in f16.
    pub half: bool,
    /// Class to explain, the predicted one if none.
    pub target: Option<u32>,
    /// What the weights and the image are drawn from.
    pub seed: u64,
    /// What is changed about the weights.
    pub edit: fn(&mut Checkpoint),
}

impl Case {
    /// A case with torchvision's eps, f32 weights and the predicted class.
    pub fn new(name: &'static str, net: Resnet, image: (u32, u32)) -> Self {
        let seed = name
            .bytes()
            .fold(7, |seed, b| seed * 31 % 1_000_003 + u64::from(b));
        Self {
            name,
            net,
            image,
            bn_eps: 1e-5,
            half: false,
            target: None,
            seed,
            edit: |_| {},
        }
    }

    /// Draws weights and image.
    pub fn draw(&self) -> Drawn {
        let mut checkpoint =
            synthetic::checkpoint(&self.net, self.seed).unwrap_or_else(|e| panic!("{e:#}"));
        (self.edit)(&mut checkpoint);
        let options = Options {
            bn_eps: self.bn_eps,
            half: self.half,
            preprocess: preprocess::find(None, &self.net).expect("the default exists"),
            classes: Vec::new(),
        };
        let bytes = import(&checkpoint, &self.net, &options)
            .unwrap_or_else(|e| panic!("{}: {e:#}", self.name));
        let mut weights = Tensors::default();
        for (name, tensor) in &checkpoint.tensors {
            // Convolutions and the head are stored in half precision, vectors never.
            let rounded = self.half && tensor.shape.len() > 1;
            let value = |v: &f32| {
                f64::from(if rounded {
                    f16::from_f32(*v).to_f32()
                } else {
                    *v
                })
            };
            let data = tensor.data.iter().map(value).collect();
            weights.insert(name, Tensor::new(&tensor.shape, data));
        }
        Drawn {
            model: ModelBytes::from_bytes(&bytes, self.name),
            image: Image::random(self.seed + 1, self.image.0, self.image.1),
            architecture: architecture(&self.net, self.bn_eps),
            weights,
        }
    }

    /// Runs a subject and the reference over both presets and all splits. Panics with the worst entry where they differ;
    /// returns the largest difference of a map.
    pub fn check(&self, subject: &dyn Subject) -> f64 {
        let drawn = self.draw();
        let model = drawn
            .model
            .parse()
            .unwrap_or_else(|e| panic!("{}: {e:#}", self.name));
        let mut largest = 0.0f64;
        for run in Run::all() {
            let target = self.target.map_or(Target::Predicted, Target::Class);
            let run = Run { target, ..run };
            let what = format!(
                "{}, {:?} {:?}, {}",
                self.name,
                run.preset,
                run.split,
                subject.name()
            );
            let got = subject.explain(&model, &drawn.image, &run);
            let got = got.unwrap_or_else(|e| panic!("{what}: {e}"));
            let want = drawn.reference(&run);
            largest = largest.max(compare(&got, &want, self.image.1, &what));
            got.check_ledger(&what);
            if run.preset == Preset::Exact {
                check_exact(&got, &what);
            }
        }
        println!(
            "{}, {}: largest difference {largest:.1e}",
            self.name,
            subject.name()
        );
        largest
    }
}

/// A case with its weights.
pub struct Drawn {
    /// Imported.
    pub model: ModelBytes,
    /// The image.
    pub image: Image,
    /// The weights as the reference takes them, rounded as the model's.
    pub weights: Tensors,
    /// The network as the reference takes it.
    pub architecture: Architecture,
}

impl Drawn {
    /// The reference's explanation.
    pub fn reference(&self, run: &Run) -> Trace {
        self.reference_of(&self.image.to_nchw(), run)
    }

    /// The same for another image, `[1, 3, H, W]`.
    pub fn reference_of(&self, image: &Tensor, run: &Run) -> Trace {
        let target = match run.target {
            Target::Predicted => None,
            Target::Class(index) => Some(index as usize),
            Target::Rank(_) => unreachable!("no case asks for a rank"),
        };
        let rules = Rules::new(run.preset, run.split);
        ResNet::new(&self.weights, self.architecture).explain(image, &rules, target)
    }
}

/// Panics unless logits and maps agree; returns the difference of the maps.
pub fn compare(got: &Explanation, want: &Trace, width: u32, what: &str) -> f64 {
    let logits = worst(&got.logits, &want.logits);
    assert!(logits.error <= LOGITS, "{what}: logits: {logits}");
    assert_eq!(
        got.seed.target as usize, want.target,
        "{what}: explained class"
    );
    let map = worst(&got.map, &want.map);
    let at = (map.index / width as usize, map.index % width as usize);
    assert!(
        map.error <= MAP,
        "{what}: map, row and column {at:?}: {map}"
    );
    map.error
}

/// Panics unless relevance is conserved and nowhere negative.
pub fn check_exact(got: &Explanation, what: &str) {
    let error = got.conservation_error();
    assert!(
        error <= CONSERVATION,
        "{what}: {} of {} arrived, {error:.1e}",
        got.sum(),
        got.seed.relevance
    );
    let least = got.map.iter().copied().fold(f32::INFINITY, f32::min);
    assert!(least >= 0.0, "{what}: relevance {least:e}");
}

/// A network in the reference's words.
pub fn architecture(net: &Resnet, bn_eps: f64) -> Architecture {
    let stem = match (net.stem_kernel, net.stem_stride) {
        (7, 2) => Stem::SevenBySeven,
        (3, 1) => Stem::ThreeByThree,
        other => panic!("the reference has no stem of kernel and stride {other:?}"),
    };
    let stride_on = match net.stride_on {
        StrideOn::Spatial => reference::StrideOn::ThreeByThree,
        StrideOn::First => reference::StrideOn::FirstOneByOne,
    };
    Architecture {
        stem,
        pool: net.pool,
        stride_on,
        bn_eps,
    }
}

/// A network of basic blocks with torchvision's stem: stem channels, then blocks and channels of each stage.
pub fn basic(stem: u32, stages: &[(u32, u32)], classes: u32) -> Resnet {
    let stages: Vec<_> = stages
        .iter()
        .map(|&(blocks, width)| (blocks, width, width))
        .collect();
    residual(Block::Basic, stem, &stages, classes)
}

/// A network of bottlenecks with torchvision's stem: stem channels, then blocks, inner and outer channels of each stage.
pub fn bottleneck(stem: u32, stages: &[(u32, u32, u32)], classes: u32) -> Resnet {
    residual(Block::Bottleneck, stem, stages, classes)
}

fn residual(block: Block, stem_width: u32, numbers: &[(u32, u32, u32)], classes: u32) -> Resnet {
    let mut stages = [Stage::default(); MAX_STAGES];
    for (stage, &(blocks, mid, out)) in stages.iter_mut().zip(numbers) {
        *stage = Stage { blocks, mid, out };
    }
    Resnet {
        block,
        stem_kernel: 7,
        stem_stride: 2,
        stem_width,
        pool: true,
        stages,
        stride_on: StrideOn::Spatial,
        shortcut: Shortcut::Projection,
        head: Head::Fc,
        classes,
    }
}

/// The same network with a 3x3 stem of stride 1 and no max pool.
pub fn small(net: Resnet) -> Resnet {
    Resnet {
        stem_kernel: 3,
        stem_stride: 1,
        pool: false,
        ..net
    }
}
