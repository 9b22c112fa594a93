//! Which network a checkpoint holds: its names and shapes tell.

mod ala;
mod resnet;
mod vit;

use anyhow::{Result, anyhow, bail};
use elucid_core::Error;
use elucid_core::arch::ala::Ala;
use elucid_core::arch::resnet::{Resnet, StrideOn};
use elucid_core::arch::vit::Vit;
use elucid_core::builder::Builder;
use elucid_core::graph::Activation;
use elucid_core::model::Preprocess;

use crate::checkpoint::Checkpoint;

pub use ala::{OWN, Said};

/// Names that `--arch` takes, for help and errors.
pub const NAMES: &str = "auto, resnet18, resnet34, resnet50, resnet101, resnet152, cifar-resnet, clip, vit, ala; \
                         append +pool or -pool to a ResNet to say whether a max pool follows the stem";

/// A network by numbers, as the importer sees it.
pub trait Network {
    /// Upper bounds of nodes and tensors.
    fn capacity(&self) -> (usize, usize);
    /// Pushes its nodes.
    ///
    /// # Errors
    /// For impossible numbers.
    fn build(&self, builder: &mut Builder<'_>) -> Result<(), Error>;
    /// One line about it.
    fn describe(&self) -> String;
    /// Number of classes.
    fn classes(&self) -> u32;
    /// What pictures such networks are trained with.
    fn preprocess(&self) -> Preprocess;
    /// Whether a tensor of a checkpoint is left where it is: it belongs to a part that elucid doesn't run.
    fn leaves(&self, _tensor: &str) -> bool {
        false
    }
    /// Whether this BatchNorm is the last one of a residual branch.
    fn ends_block(&self, _norm: &str) -> bool {
        false
    }
}

/// A network that was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Net {
    /// A residual network.
    Resnet(Resnet),
    /// A vision transformer.
    Vit(Vit),
    /// An encoder with its adapter.
    Ala(Ala),
}

impl Net {
    fn inner(&self) -> &dyn Network {
        match self {
            Net::Resnet(net) => net,
            Net::Vit(net) => net,
            Net::Ala(net) => net,
        }
    }
}

impl Network for Net {
    fn capacity(&self) -> (usize, usize) {
        self.inner().capacity()
    }

    fn build(&self, builder: &mut Builder<'_>) -> Result<(), Error> {
        self.inner().build(builder)
    }

    fn describe(&self) -> String {
        self.inner().describe()
    }

    fn classes(&self) -> u32 {
        self.inner().classes()
    }

    fn preprocess(&self) -> Preprocess {
        self.inner().preprocess()
    }

    fn leaves(&self, tensor: &str) -> bool {
        self.inner().leaves(tensor)
    }

    fn ends_block(&self, norm: &str) -> bool {
        self.inner().ends_block(norm)
    }
}

/// What the user says about the network; what is left out follows from names and shapes.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Name of the architecture, see [`NAMES`].
    pub name: String,
    /// Where bottlenecks have their stride.
    pub stride_on: StrideOn,
    /// Attention heads; 64 channels each if left out.
    pub heads: Option<u16>,
    /// The adapter's attention heads; 4, or 6 for a width of 240.
    pub adapter_heads: Option<u16>,
    /// Layers that the adapter reads; evenly spread ones.
    pub lattice: Option<Vec<u16>>,
    /// The activation of a transformer's MLPs; QuickGELU for CLIP's names, GELU for others.
    pub act: Option<Activation>,
    /// Whether positions are resized as DINO does.
    pub dino: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            name: "auto".to_owned(),
            stride_on: StrideOn::Spatial,
            heads: None,
            adapter_heads: None,
            lattice: None,
            act: None,
            dino: false,
        }
    }
}

/// The network in a checkpoint.
///
/// # Errors
/// One line if the names are no network's that is known, or contradict `wanted`.
pub fn infer(checkpoint: &Checkpoint, wanted: &Wanted) -> Result<Net> {
    let found = match wanted.name.as_str() {
        "auto" if ala::is_one(checkpoint) => Net::Ala(ala::infer(checkpoint, wanted)?),
        "auto" if vit::prefix(checkpoint).is_some() => Net::Vit(vit::infer(checkpoint, wanted)?),
        "ala" => Net::Ala(ala::infer(checkpoint, wanted)?),
        "clip" | "vit" => Net::Vit(vit::infer(checkpoint, wanted)?),
        _ => Net::Resnet(resnet::infer(checkpoint, wanted)?),
    };
    if let (Net::Resnet(_), Some(_)) = (&found, wanted.heads) {
        bail!("--heads is for transformers, but the file holds a ResNet; leave it out");
    }
    if let (Net::Resnet(_) | Net::Vit(_), Some(_)) = (&found, &wanted.lattice) {
        bail!("--lattice is for adapters, but the file holds none; leave it out");
    }
    Ok(found)
}

/// The vision transformer in a checkpoint that an adapter is to be trained for.
///
/// # Errors
/// One line if there is none.
pub fn encoder(checkpoint: &Checkpoint, wanted: &Wanted) -> Result<Vit> {
    vit::infer(checkpoint, wanted)
}

/// The dimension `index` of a tensor that must be there.
fn size(checkpoint: &Checkpoint, name: &str, index: usize) -> Result<u32> {
    let shape = checkpoint
        .shape(name)
        .ok_or_else(|| anyhow!("{name} is missing"))?;
    let size = shape
        .get(index)
        .ok_or_else(|| anyhow!("{name} is {shape:?}, which has too few dimensions"))?;
    Ok(u32::try_from(*size)?)
}

/// Rows and columns of a square grid of this many cells.
fn square(name: &str, cells: u32) -> Result<[u16; 2]> {
    let side = cells.isqrt();
    if side == 0 || side * side != cells {
        bail!("{name} has positions for {cells} cells, which are no square grid");
    }
    Ok([u16::try_from(side)?; 2])
}

/// The first numbers that no tensor has any more: blocks `0..count`.
fn blocks(checkpoint: &Checkpoint, name: impl Fn(u32) -> String) -> u32 {
    let there = |&block: &u32| checkpoint.shape(&name(block)).is_some();
    (0..).take_while(there).count() as u32
}
