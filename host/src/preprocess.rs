//! How a picture becomes an input: the presets of `--preprocess`, and TOML files of one's own.

use std::path::Path;

use anyhow::{Context, Result, bail};
use elucid_core::model::{ChannelOrder, Filter, Fit, Preprocess};
use serde::Deserialize;

use crate::architecture::Network;

/// Names that `--preprocess` takes besides a file.
pub const NAMES: &str = "imagenet, clip, vit, caffe-bgr, unit, cifar";

const BYTE: f32 = 1.0 / 255.0;

/// 256, 224 and the constants of ImageNet.
pub const IMAGENET: Preprocess = Preprocess {
    fit: Fit::ShortSide,
    resize: 256,
    crop: [224, 224],
    filter: Filter::Bilinear,
    order: ChannelOrder::Rgb,
    scale: BYTE,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
};

/// CLIP's.
pub const CLIP: Preprocess = Preprocess {
    resize: 224,
    filter: Filter::Bicubic,
    mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
    std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    ..IMAGENET
};

/// Blue first, ImageNet's means, 0 to 255.
pub const CAFFE_BGR: Preprocess = Preprocess {
    filter: Filter::Bicubic,
    order: ChannelOrder::Bgr,
    scale: 1.0,
    mean: [103.939, 116.779, 123.68],
    std: [1.0; 3],
    ..IMAGENET
};

/// 0 to 1.
pub const UNIT: Preprocess = Preprocess {
    mean: [0.0; 3],
    std: [1.0; 3],
    ..IMAGENET
};

/// timm's for ViTs trained on ImageNet-21k: half and half, bicubic.
pub const VIT: Preprocess = Preprocess {
    resize: 248,
    filter: Filter::Bicubic,
    mean: [0.5; 3],
    std: [0.5; 3],
    ..IMAGENET
};

/// 32 x 32 with the constants of ImageNet, as the widespread CIFAR ResNets were trained.
pub const CIFAR: Preprocess = Preprocess {
    resize: 32,
    crop: [32, 32],
    ..IMAGENET
};

/// A preset for images of another size: the part that the crop leaves off stays the same.
#[must_use]
pub fn of_size(base: Preprocess, crop: [u32; 2]) -> Preprocess {
    let least = crop[0].min(crop[1]);
    Preprocess {
        resize: (least * base.resize).div_ceil(base.crop[0]),
        crop,
        ..base
    }
}

/// The preset or file `name`; without one, what networks like `net` are trained with.
///
/// # Errors
/// One line if the file can't be read or holds something impossible.
pub fn find(name: Option<&str>, net: &dyn Network) -> Result<Preprocess> {
    let Some(name) = name else {
        return Ok(net.preprocess());
    };
    Ok(match name {
        "imagenet" => IMAGENET,
        "clip" => CLIP,
        "vit" => VIT,
        "caffe-bgr" => CAFFE_BGR,
        "unit" => UNIT,
        "cifar" => CIFAR,
        file if Path::new(file).extension().is_some_and(|e| e == "toml") => read(Path::new(file))?,
        other => bail!("--preprocess {other} is not known; choose {NAMES}, or name a .toml file"),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FitName {
    ShortSide,
    Squash,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FilterName {
    Bilinear,
    Bicubic,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OrderName {
    Rgb,
    Bgr,
}

/// A preprocessing file; what it leaves out is as for ImageNet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    fit: Option<FitName>,
    resize: Option<u32>,
    crop: Option<[u32; 2]>,
    filter: Option<FilterName>,
    order: Option<OrderName>,
    scale: Option<f32>,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
}

fn read(path: &Path) -> Result<Preprocess> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> Result<Preprocess> {
    let file: File = toml::from_str(text).map_err(|e| {
        // The first line of the message says what; where stands in the rest.
        let line = e
            .span()
            .map_or(1, |s| 1 + text[..s.start].matches('\n').count());
        anyhow::anyhow!(
            "line {line}: {}",
            e.message().lines().next().unwrap_or_default()
        )
    })?;
    let found = Preprocess {
        fit: file.fit.map_or(IMAGENET.fit, |f| match f {
            FitName::ShortSide => Fit::ShortSide,
            FitName::Squash => Fit::Squash,
        }),
        resize: file.resize.unwrap_or(IMAGENET.resize),
        crop: file.crop.unwrap_or(IMAGENET.crop),
        filter: file.filter.map_or(IMAGENET.filter, |f| match f {
            FilterName::Bilinear => Filter::Bilinear,
            FilterName::Bicubic => Filter::Bicubic,
        }),
        order: file.order.map_or(IMAGENET.order, |o| match o {
            OrderName::Rgb => ChannelOrder::Rgb,
            OrderName::Bgr => ChannelOrder::Bgr,
        }),
        scale: file.scale.unwrap_or(IMAGENET.scale),
        mean: file.mean.unwrap_or(IMAGENET.mean),
        std: file.std.unwrap_or(IMAGENET.std),
    };
    if found.std.iter().any(|&s| s.is_nan() || s <= 0.0) {
        bail!("std must be positive");
    }
    for (name, size) in [
        ("resize", found.resize),
        ("crop", found.crop[0]),
        ("crop", found.crop[1]),
    ] {
        if !(1..=8192).contains(&size) {
            bail!("{name} must be 1 to 8192 pixels, not {size}");
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_override_the_defaults_and_unknown_keys_are_named() {
        let found = parse("crop = [128, 128]\nresize = 128\norder = \"bgr\"").unwrap();
        assert_eq!(
            (found.crop, found.order, found.std),
            ([128, 128], ChannelOrder::Bgr, IMAGENET.std)
        );
        let error = parse("crop = [1, 1]\ncolour = 3").unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains("colour"),
            "{error}"
        );
        assert!(parse("std = [0.0, 1.0, 1.0]").is_err());
    }
}
