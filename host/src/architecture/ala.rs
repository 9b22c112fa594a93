//! Encoders with an Attention Lattice Adapter, by the reference's names: `clip.*`, `adapter.*`, `reducer.*`,
//! `attention_branch.*`, `perception_branch.*`, `head.*`.

use anyhow::{Result, bail};
use elucid_core::Error;
use elucid_core::arch::ala::{Ala, Fusion, MAX_LATTICE};
use elucid_core::builder::Builder;
use elucid_core::graph::Activation;
use elucid_core::model::{Fit, Preprocess};

use serde::{Deserialize, Serialize};

use super::{Network, Wanted, blocks, size, square, vit};
use crate::checkpoint::Checkpoint;
use crate::preprocess;

const QUERIES: &str = "adapter.query_embed";

/// Whether there is an adapter in a checkpoint.
pub fn is_one(checkpoint: &Checkpoint) -> bool {
    checkpoint.shape(QUERIES).is_some()
}

/// The adapter in a checkpoint.
///
/// # Errors
/// One line if there is none, or one that can't be run.
pub fn infer(checkpoint: &Checkpoint, wanted: &Wanted) -> Result<Ala> {
    let said = Said::read(checkpoint);
    let gelu = |quick| match quick {
        true => Activation::QuickGelu,
        false => Activation::Gelu,
    };
    let wanted = &Wanted {
        heads: wanted.heads.or(said.heads),
        adapter_heads: wanted.adapter_heads.or(said.adapter_heads),
        lattice: wanted.lattice.clone().or(said.lattice),
        act: wanted.act.or(said.quick_gelu.map(gelu)),
        ..wanted.clone()
    };
    let encoder = vit::infer(checkpoint, wanted)?;
    let size = |name: &str, index| size(checkpoint, name, index);
    let fusions = blocks(checkpoint, |i| {
        format!("adapter.fusion_layers.layer_{i}.input_proj.1.weight")
    });
    let width = size(QUERIES, 2)?;
    let mut ala = Ala::published(encoder, width, size("head.linear4.weight", 0)?);
    let chosen = match &wanted.lattice {
        Some(lattice) => lattice.clone(),
        None => (0..fusions)
            .map(|i| (i * encoder.depth / fusions) as u16)
            .collect(),
    };
    if fusions > 0 && chosen.len() != fusions as usize {
        bail!(
            "the adapter takes in {fusions} layers, but the lattice {chosen:?} names {}; give --lattice with {fusions} numbers",
            chosen.len()
        );
    }
    if chosen.is_empty() || chosen.len() > MAX_LATTICE || !chosen.is_sorted_by(|a, b| a < b) {
        bail!("the lattice {chosen:?} isn't a growing list of 1 to {MAX_LATTICE} layers");
    }
    if let Some(&last) = chosen.last().filter(|&&l| u32::from(l) > encoder.depth) {
        bail!(
            "the lattice reads layer {last}, but the encoder has {} blocks",
            encoder.depth
        );
    }
    ala.lattice[..chosen.len()].copy_from_slice(&chosen);
    ala.layers = chosen.len();
    ala.fusion = if fusions > 0 {
        Fusion::Add
    } else {
        Fusion::None
    };
    if fusions > 0 {
        let name = "adapter.fusion_layers.layer_0.input_proj.1.weight";
        let reads = size(name, 1)?;
        if reads != encoder.width {
            bail!(
                "{name} reads {reads} channels, but the encoder has {}; this adapter was trained for another encoder",
                encoder.width
            );
        }
    }
    ala.depth = blocks(checkpoint, |i| {
        format!("adapter.vit_model.blocks.{i}.norm1.weight")
    });
    ala.heads = wanted.adapter_heads.unwrap_or(ala.heads);
    if ala.heads == 0 || !width.is_multiple_of(u32::from(ala.heads)) {
        bail!(
            "{} heads don't divide the adapter's {width} channels; give --adapter-heads N",
            ala.heads
        );
    }
    ala.queries = size(QUERIES, 1)?;
    ala.patch = u16::try_from(size("adapter.vit_model.patch_embed.proj.weight", 2)?)?;
    let table = "adapter.vit_model.pos_embed";
    ala.grid = square(table, size(table, 1)?)?;
    let mlp = |i: u32| format!("adapter.mask_decoder.query_mlp.layers.{i}.weight");
    ala.decoder = [size(&mlp(0), 0)?, size(&mlp(2), 0)?];
    for (width, layer) in ala
        .perception
        .iter_mut()
        .zip(["conv1", "conv2", "fc1", "fc2"])
    {
        *width = size(&format!("perception_branch.{layer}.weight"), 0)?;
    }
    for (i, width) in ala.head.iter_mut().enumerate() {
        *width = size(&format!("head.linear{}.weight", i + 1), 0)?;
    }
    ala.attention_branch = size("attention_branch.conv1.weight", 0)?;
    Ok(ala)
}

/// What a file that elucid trained says of itself under [`OWN`]: what names and shapes don't tell.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Said {
    /// Heads of the encoder.
    pub heads: Option<u16>,
    /// Heads of the adapter.
    pub adapter_heads: Option<u16>,
    /// Layers that it reads.
    pub lattice: Option<Vec<u16>>,
    /// Whether the encoder's activation is QuickGELU.
    pub quick_gelu: Option<bool>,
}

/// The key of [`Said`] in a file's metadata.
pub const OWN: &str = "elucid";

impl Said {
    /// Of a checkpoint; nothing if it says nothing.
    fn read(checkpoint: &Checkpoint) -> Self {
        let text = checkpoint.metadata.get(OWN);
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// Of a network.
    ///
    /// # Errors
    /// None that is to be expected.
    pub fn of(net: &Ala) -> Result<String> {
        Ok(serde_json::to_string(&Self {
            heads: Some(net.encoder.heads),
            adapter_heads: Some(net.heads),
            lattice: Some(net.lattice().to_vec()),
            quick_gelu: Some(net.encoder.act == Activation::QuickGelu),
        })?)
    }
}

impl Network for Ala {
    fn capacity(&self) -> (usize, usize) {
        Ala::capacity(self)
    }

    fn build(&self, builder: &mut Builder<'_>) -> Result<(), Error> {
        Ala::build(self, builder)
    }

    fn classes(&self) -> u32 {
        self.classes
    }

    fn describe(&self) -> String {
        let fusion = match self.fusion {
            Fusion::Add => "added",
            Fusion::None => "not read",
        };
        format!(
            "Attention Lattice Adapter, {} blocks of width {} with {} heads and {} queries, layers {:?} {fusion}, {} classes, on a {}",
            self.depth,
            self.width,
            self.heads,
            self.queries,
            self.lattice(),
            self.classes,
            self.encoder.describe(),
        )
    }

    fn preprocess(&self) -> Preprocess {
        let base = if self.encoder.names.projects {
            preprocess::CLIP
        } else {
            preprocess::IMAGENET
        };
        // The reference resizes to 384 x 384 whatever the positions were made for.
        Preprocess {
            fit: Fit::Squash,
            ..preprocess::of_size(base, [384, 384])
        }
    }

    /// Blocks of the encoder behind the lattice, its head, and the attention-bias branch, which the reference computes for
    /// nothing.
    fn leaves(&self, tensor: &str) -> bool {
        [
            "adapter.mask_decoder.attn_mlp.",
            "adapter.mask_decoder.bias_scaling.",
        ]
        .iter()
        .any(|prefix| tensor.starts_with(prefix))
            || tensor.starts_with(self.encoder.prefix)
    }
}
