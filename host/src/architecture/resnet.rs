//! Residual networks with torchvision's names, and CIFAR networks.

use anyhow::{Result, anyhow, bail};
use elucid_core::Error;
use elucid_core::arch::resnet::{Block, Head, MAX_STAGES, Resnet, Shortcut, Stage, StrideOn};
use elucid_core::builder::Builder;
use elucid_core::model::Preprocess;

use super::{NAMES, Network, Wanted};
use crate::checkpoint::Checkpoint;
use crate::preprocess;

/// The residual network in a checkpoint.
///
/// # Errors
/// One line if the names aren't a ResNet's or contradict `wanted`.
pub fn infer(checkpoint: &Checkpoint, wanted: &Wanted) -> Result<Resnet> {
    let (name, pool) = match wanted
        .name
        .split_at_checked(wanted.name.len().saturating_sub(5))
    {
        Some((name, "+pool")) => (name, Some(true)),
        Some((name, "-pool")) => (name, Some(false)),
        _ => (wanted.name.as_str(), None),
    };
    let found = inspect(checkpoint, pool)?;
    let net = Resnet {
        stride_on: wanted.stride_on,
        ..found
    };
    let depth = match name {
        "auto" => return Ok(net),
        "cifar-resnet" => {
            if net.stem_kernel != 3 {
                bail!(
                    "--arch cifar-resnet has a 3x3 stem, but the file's conv1.weight is {0}x{0}; leave --arch out",
                    net.stem_kernel
                );
            }
            return Ok(net);
        }
        _ => name.strip_prefix("resnet").and_then(|d| d.parse().ok()),
    };
    let known = depth.and_then(|d| Resnet::imagenet(d, net.stem_width, net.classes));
    let known =
        known.ok_or_else(|| anyhow!("--arch {name} is not known; choose one of: {NAMES}"))?;
    let blocks = |n: &Resnet| n.stages().map(|s| s.blocks).collect::<Vec<_>>();
    if known.block != net.block || blocks(&known) != blocks(&net) {
        bail!(
            "--arch {name} has {:?} blocks {:?}, but the file has {:?} blocks {:?}; leave --arch out or choose the right file",
            known.block,
            blocks(&known),
            net.block,
            blocks(&net)
        );
    }
    Ok(net)
}

fn inspect(checkpoint: &Checkpoint, pool: Option<bool>) -> Result<Resnet> {
    let shape = |name: &str| checkpoint.shape(name);
    let foreign = |what: &str| {
        let some: Vec<&str> = checkpoint
            .tensors
            .keys()
            .take(3)
            .map(String::as_str)
            .collect();
        anyhow!(
            "{what}; ResNets with torchvision's names can be imported, this file starts with {}",
            some.join(", ")
        )
    };
    let Some(&[stem_width, _, stem_kernel, _]) = shape("conv1.weight") else {
        return Err(foreign("the file has no conv1.weight with four dimensions"));
    };
    let block = match shape("layer1.0.conv3.weight") {
        Some(_) => Block::Bottleneck,
        None => Block::Basic,
    };
    let (mut stages, mut padded) = ([Stage::default(); MAX_STAGES], false);
    let mut width = stem_width;
    for (s, stage) in stages.iter_mut().enumerate() {
        let name = |b: u32, part: &str| format!("layer{}.{b}.{part}.weight", s + 1);
        let Some(&[mid, ..]) = shape(&name(0, "conv1")) else {
            break;
        };
        let last = if block == Block::Bottleneck {
            "conv3"
        } else {
            "conv2"
        };
        let Some(&[out, ..]) = shape(&name(0, last)) else {
            return Err(foreign(&format!("{} is missing", name(0, last))));
        };
        let blocks = (0..)
            .take_while(|&b| shape(&name(b, "conv1")).is_some())
            .count() as u32;
        // Nothing of a projection in the first block that needs one: its shortcut has no parameters.
        let prefix = format!("layer{}.0.downsample.", s + 1);
        let projects = checkpoint.tensors.keys().any(|k| k.starts_with(&prefix));
        padded |= (s > 0 || width != out) && !projects && width <= out;
        // The two convolutions of a basic block agree, or the import will say which doesn't.
        let mid = if block == Block::Basic { out } else { mid };
        *stage = Stage {
            blocks,
            mid: mid as u32,
            out: out as u32,
        };
        width = out;
    }
    if stages[0].blocks == 0 {
        return Err(foreign("the file has no layer1.0.conv1.weight"));
    }
    let (head, classes) = match (shape("fc.weight"), shape("linear.weight")) {
        (Some(&[classes, _]), _) => (Head::Fc, classes),
        (None, Some(&[classes, _])) => (Head::Linear, classes),
        _ => {
            return Err(foreign(
                "the file has neither fc.weight nor linear.weight with two dimensions",
            ));
        }
    };
    let large = stem_kernel > 3;
    Ok(Resnet {
        block,
        stem_kernel: u16::try_from(stem_kernel)?,
        stem_stride: if large { 2 } else { 1 },
        stem_width: u32::try_from(stem_width)?,
        pool: pool.unwrap_or(large),
        stages,
        stride_on: StrideOn::Spatial,
        shortcut: if padded {
            Shortcut::Pad
        } else {
            Shortcut::Projection
        },
        head,
        classes: u32::try_from(classes)?,
    })
}

impl Network for Resnet {
    fn capacity(&self) -> (usize, usize) {
        Resnet::capacity(self)
    }

    fn build(&self, builder: &mut Builder<'_>) -> Result<(), Error> {
        Resnet::build(self, builder)
    }

    fn classes(&self) -> u32 {
        self.classes
    }

    fn preprocess(&self) -> Preprocess {
        if self.stem_kernel > 3 {
            preprocess::IMAGENET
        } else {
            preprocess::CIFAR
        }
    }

    fn ends_block(&self, norm: &str) -> bool {
        norm.ends_with("bn3") || norm.ends_with("bn2") && self.block == Block::Basic
    }

    /// `ResNet, bottleneck blocks [3, 4, 6, 3], stem 7x7/2 of 64 channels, max pool, ...`.
    fn describe(&self) -> String {
        let blocks: Vec<u32> = self.stages().map(|s| s.blocks).collect();
        let widths: Vec<u32> = self.stages().map(|s| s.out).collect();
        let block = match self.block {
            Block::Basic => "basic",
            Block::Bottleneck => "bottleneck",
        };
        let stride = match (self.block, self.stride_on) {
            (Block::Bottleneck, StrideOn::First) => ", stride in the first 1x1",
            _ => "",
        };
        let shortcut = match self.shortcut {
            Shortcut::Projection => "projection",
            Shortcut::Pad => "parameter-free",
        };
        format!(
            "ResNet, {block} blocks {blocks:?} of widths {widths:?}, stem {k}x{k}/{} of {} channels{}{stride}, {shortcut} shortcuts, {} classes",
            self.stem_stride,
            self.stem_width,
            if self.pool { " with max pool" } else { "" },
            self.classes,
            k = self.stem_kernel,
        )
    }
}
