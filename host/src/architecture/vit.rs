//! Vision transformers: CLIP's image encoder (OpenAI, open_clip), timm's ViT, DeiT and DINO, torchvision's.

use anyhow::{Result, anyhow, bail};
use elucid_core::Error;
use elucid_core::arch::vit::{CLIP, Names, TIMM, TORCHVISION, Vit};
use elucid_core::builder::Builder;
use elucid_core::graph::Activation;
use elucid_core::model::Preprocess;

use super::{Network, Wanted, blocks, size, square};
use crate::checkpoint::Checkpoint;
use crate::preprocess;

/// What may come before all names: the image half of CLIP, or the encoder of an adapter.
const PREFIXES: [&str; 3] = ["", "visual.", "clip."];

/// The names that a checkpoint has, and what comes before them.
pub fn prefix(checkpoint: &Checkpoint) -> Option<(&'static str, Names)> {
    PREFIXES.into_iter().find_map(|prefix| {
        let found = [CLIP, TIMM, TORCHVISION].into_iter().find(|names| {
            let has = |part: &str| checkpoint.shape(&format!("{prefix}{part}")).is_some();
            has(names.positions) && has(&format!("{}.weight", names.patch))
        });
        found.map(|names| (prefix, names))
    })
}

/// The transformer in a checkpoint.
///
/// # Errors
/// One line if there is none, or one that can't be run.
pub fn infer(checkpoint: &Checkpoint, wanted: &Wanted) -> Result<Vit> {
    let (prefix, mut names) = prefix(checkpoint).ok_or_else(|| {
        anyhow!("no vision transformer is known that has these names; CLIP's, timm's and torchvision's can be imported")
    })?;
    let name = |part: &str| format!("{prefix}{part}");
    let has = |part: &str| checkpoint.shape(&name(part)).is_some();
    if !has(names.class) {
        names.class = "";
    }
    if has("dist_token") {
        bail!("distilled DeiT has a second class token, which isn't supported; use the plain DeiT");
    }
    let patch = name(&format!("{}.weight", names.patch));
    let width = size(checkpoint, &patch, 0)?;
    let pixels = size(checkpoint, &patch, 2)?;
    let in_block = |block: u32, part: &str| name(&format!("{}{block}.{part}", names.block));
    let [norm1, weight, bias, _, _, up, _] = names.parts;
    let depth = blocks(checkpoint, |block| {
        in_block(block, &format!("{norm1}.weight"))
    });
    if depth == 0 {
        bail!("{} is missing", in_block(0, &format!("{norm1}.weight")));
    }
    if checkpoint.shape(&in_block(0, "ls1.gamma")).is_some() {
        bail!("blocks with LayerScale (DINOv2) aren't supported; use DINO, CLIP, ViT or DeiT");
    }
    if checkpoint.shape(&in_block(0, weight)).is_none() {
        bail!("{} is missing", in_block(0, weight));
    }
    let table = name(names.positions);
    let shape = checkpoint.shape(&table).unwrap_or_default();
    let rows = shape.iter().rev().nth(1).copied().unwrap_or(0);
    let cells = u32::try_from(rows)?.saturating_sub(u32::from(!names.class.is_empty()));
    let clip = names.projects;
    let head = if clip {
        name(names.head)
    } else {
        name(&format!("{}.weight", names.head))
    };
    let outputs = match checkpoint.shape(&head) {
        Some(_) => size(checkpoint, &head, usize::from(clip))?,
        None => 0,
    };
    let heads = match wanted.heads {
        Some(heads) => heads,
        None if width.is_multiple_of(64) => u16::try_from(width / 64)?,
        None => bail!(
            "the file doesn't say how many attention heads there are, and {width} channels aren't a multiple of 64; give --heads N"
        ),
    };
    if heads == 0 || !width.is_multiple_of(u32::from(heads)) {
        bail!("--heads {heads} doesn't divide the {width} channels of a token");
    }
    let usual = if clip {
        Activation::QuickGelu
    } else {
        Activation::Gelu
    };
    Ok(Vit {
        names,
        prefix,
        patch: u16::try_from(pixels)?,
        width,
        depth,
        heads,
        mlp: size(checkpoint, &in_block(0, &format!("{up}.weight")), 0)?,
        grid: square(&table, cells)?,
        act: wanted.act.unwrap_or(usual),
        eps: if clip { 1e-5 } else { 1e-6 },
        patch_bias: has(&format!("{}.bias", names.patch)),
        input_bias: checkpoint.shape(&in_block(0, bias)).is_some(),
        larger: wanted.dino,
        outputs,
    })
}

impl Network for Vit {
    fn capacity(&self) -> (usize, usize) {
        Vit::capacity(self)
    }

    fn build(&self, builder: &mut Builder<'_>) -> Result<(), Error> {
        Vit::build(self, builder)
    }

    fn classes(&self) -> u32 {
        match self.outputs {
            0 => self.width,
            outputs => outputs,
        }
    }

    fn describe(&self) -> String {
        let act = match self.act {
            Activation::QuickGelu => "QuickGELU",
            Activation::Gelu => "GELU",
            Activation::Relu => "ReLU",
            Activation::Identity => "no activation",
        };
        let outputs = match (self.outputs, self.names.projects) {
            (0, _) => "no head".to_owned(),
            (n, true) => format!("an embedding of {n}"),
            (n, false) => format!("{n} classes"),
        };
        format!(
            "vision transformer, {} blocks of width {} with {} heads and {act}, patches of {p}x{p}, positions for {}x{}, {outputs}",
            self.depth,
            self.width,
            self.heads,
            self.grid[0],
            self.grid[1],
            p = self.patch,
        )
    }

    fn preprocess(&self) -> Preprocess {
        let base = if self.names.projects {
            preprocess::CLIP
        } else {
            preprocess::IMAGENET
        };
        let size = self
            .grid
            .map(|cells| u32::from(cells) * u32::from(self.patch));
        preprocess::of_size(base, size)
    }

    /// CLIP's text half and its logit scale are no part of the image's way.
    fn leaves(&self, tensor: &str) -> bool {
        self.prefix == "visual." && !tensor.starts_with(self.prefix)
    }
}
