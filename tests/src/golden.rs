//! The golden networks: what the official implementation computed, read from `golden/` and imported as a user would.

use std::path::PathBuf;

use elucid_core::arch::resnet::StrideOn;
use elucid_host::architecture::{self, Wanted};
use elucid_host::checkpoint::Checkpoint;
use elucid_host::import::{Options, import};
use elucid_host::model_file::ModelBytes;
use elucid_host::preprocess;

use crate::reference::Split;
use crate::subject::Image;
use crate::tensors::{Tensor, Tensors};

/// The networks, as folders of `golden/`.
pub const NETWORKS: [&str; 3] = [
    "basic_w8_32_random",
    "bottleneck_w4_32_random",
    "basic_w8_32_deadchannel",
];

/// Where a file of `golden/` lies.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/golden")).join(name)
}

/// How a file is imported where its names and shapes don't tell.
#[derive(Clone, Copy, Debug)]
pub struct Import {
    /// Position of the stride in bottlenecks.
    pub stride_on: StrideOn,
    /// eps of the batch normalisations.
    pub bn_eps: f64,
    /// `--preprocess`.
    pub preprocess: Option<&'static str>,
    /// Whether weights are rounded to f16.
    pub half: bool,
}

impl Default for Import {
    /// torchvision's.
    fn default() -> Self {
        Self {
            stride_on: StrideOn::Spatial,
            bn_eps: 1e-5,
            preprocess: None,
            half: false,
        }
    }
}

impl Import {
    /// Imports a file of weights. Panics with the importer's own words where it refuses.
    pub fn open(&self, weights: &std::path::Path) -> ModelBytes {
        let imported = (|| {
            let checkpoint = Checkpoint::open(weights)?;
            let wanted = Wanted {
                stride_on: self.stride_on,
                ..Wanted::default()
            };
            let net = architecture::infer(&checkpoint, &wanted)?;
            let options = Options {
                bn_eps: self.bn_eps,
                half: self.half,
                preprocess: preprocess::find(self.preprocess, &net)?,
                classes: Vec::new(),
            };
            import(&checkpoint, &net, &options)
        })();
        let bytes = imported.unwrap_or_else(|e| panic!("{}: {e:#}", weights.display()));
        ModelBytes::from_bytes(&bytes, &weights.display().to_string())
    }
}

/// One golden network.
pub struct Golden {
    /// Its folder.
    pub name: &'static str,
    /// Its weights, for the reference.
    pub weights: Tensors,
    /// Its weights, imported.
    pub model: ModelBytes,
    /// The image.
    pub image: Image,
    figures: Tensors,
    proposed: Tensors,
}

impl Golden {
    /// Reads one network.
    pub fn load(name: &'static str) -> Self {
        let folder = path(name);
        let figures = Tensors::load_parts(&folder, "golden");
        Self {
            name,
            weights: Tensors::load(folder.join("weights.safetensors")),
            model: Import::default().open(&folder.join("weights.safetensors")),
            image: Image::new(figures.get("input")),
            proposed: Tensors::load(folder.join("proposed.safetensors")),
            figures,
        }
    }

    /// All three.
    pub fn all() -> impl Iterator<Item = Self> {
        NETWORKS.into_iter().map(Self::load)
    }

    /// The official logits.
    pub fn logits(&self) -> &[f64] {
        &self.figures.get("logits").data
    }

    /// The official map: in f64 where the official code has an answer, else that of the code with 0/0 = 1/2, in f32.
    pub fn map(&self, split: Split) -> &Tensor {
        let variant = split.official_name();
        let map = self.figures.get(&format!("lrp.{variant}.map64"));
        if map.data.iter().any(|v| v.is_nan()) {
            return self.proposed.get(&format!("safe.{variant}.stem_avg2.map"));
        }
        map
    }
}
