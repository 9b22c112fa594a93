//! `elucid import`: from trained weights to a model file.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use elucid_core::arch::resnet::StrideOn;
use elucid_core::graph::Activation;

use crate::architecture::{self, Network, Wanted};
use crate::checkpoint::Checkpoint;
use crate::import::{Options, import};
use crate::{atomic, preprocess};

use super::say::say;

#[derive(Args)]
pub struct Arguments {
    /// Weights: a safetensors file, or a PyTorch state dict (.pth, .pt)
    weights: PathBuf,
    /// Where the model goes
    #[arg(short, long, value_name = "M.elucid")]
    output: PathBuf,
    /// Architecture; names and shapes tell if left out (a 7x7 stem is followed by a max pool, a 3x3 stem isn't)
    #[arg(long, default_value = "auto", long_help = arch_help())]
    arch: String,
    /// Class names, one per line, in index order
    #[arg(long, value_name = "names.txt")]
    classes: Option<PathBuf>,
    /// Store convolution and linear weights as f16: half the size, maps differ by about 0.1 %
    #[arg(long)]
    f16: bool,
    /// Where bottleneck blocks have their stride: 3x3 as in torchvision, 1x1 (the first) as in Keras
    #[arg(long, value_enum, default_value_t = Stride::Spatial)]
    stride_on: Stride,
    /// Attention heads of a transformer; 64 channels each if left out
    #[arg(long, value_name = "N")]
    heads: Option<u16>,
    /// Attention heads of the adapter; 4, or 6 for a width of 240
    #[arg(long, value_name = "N")]
    adapter_heads: Option<u16>,
    /// Layers of the encoder that the adapter reads, 0 being the input of its first block; 0,3,6,9 for 12 blocks
    #[arg(long, value_name = "LAYER,..", value_delimiter = ',')]
    lattice: Option<Vec<u16>>,
    /// Activation in a transformer's blocks; quick-gelu (OpenAI's) for CLIP, gelu for others. CLIPs that open_clip trained
    /// have gelu unless their name says quickgelu
    #[arg(long, value_enum)]
    activation: Option<Mlp>,
    /// Resize position embeddings as DINO does, for images of another size than it was trained with
    #[arg(long)]
    dino_positions: bool,
    /// eps of the BatchNorms
    #[arg(long, default_value_t = 1e-5, value_name = "EPS")]
    bn_eps: f64,
    /// How a picture becomes an input: imagenet, clip, vit, caffe-bgr, unit, cifar, or a .toml file; by default imagenet for
    /// a large stem, cifar for a 3x3 stem
    #[arg(long, value_name = "NAME|FILE.toml")]
    preprocess: Option<String>,
}

fn arch_help() -> String {
    format!(
        "Architecture; names and shapes tell if left out. One of: {}",
        architecture::NAMES
    )
}

/// Where the stride is.
#[derive(Clone, Copy, ValueEnum)]
enum Stride {
    #[value(name = "3x3")]
    Spatial,
    #[value(name = "1x1")]
    First,
}

/// The activation in a transformer's blocks.
#[derive(Clone, Copy, ValueEnum)]
enum Mlp {
    Gelu,
    QuickGelu,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if !(arguments.bn_eps >= 0.0 && arguments.bn_eps < 1.0) {
        bail!(
            "--bn-eps {} is not a small positive number; PyTorch's default is 1e-5",
            arguments.bn_eps
        );
    }
    let checkpoint = Checkpoint::open(&arguments.weights)?;
    let wanted = Wanted {
        name: arguments.arch.clone(),
        stride_on: match arguments.stride_on {
            Stride::Spatial => StrideOn::Spatial,
            Stride::First => StrideOn::First,
        },
        heads: arguments.heads,
        adapter_heads: arguments.adapter_heads,
        lattice: arguments.lattice.clone(),
        act: arguments.activation.map(|act| match act {
            Mlp::Gelu => Activation::Gelu,
            Mlp::QuickGelu => Activation::QuickGelu,
        }),
        dino: arguments.dino_positions,
    };
    let name = arguments.weights.display();
    let net = architecture::infer(&checkpoint, &wanted).with_context(|| name.to_string())?;
    let classes = match &arguments.classes {
        None => Vec::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text =
                text.with_context(|| format!("cannot read the class names {}", path.display()))?;
            let names: Vec<String> = text
                .trim_end()
                .lines()
                .map(|l| l.trim().to_owned())
                .collect();
            if let Some(at) = names.iter().position(String::is_empty) {
                bail!(
                    "{}: line {} is empty; give one name per line",
                    path.display(),
                    at + 1
                );
            }
            names
        }
    };
    let preprocess = preprocess::find(arguments.preprocess.as_deref(), &net)?;
    let options = Options {
        bn_eps: arguments.bn_eps,
        half: arguments.f16,
        preprocess,
        classes,
    };
    let bytes = import(&checkpoint, &net, &options).with_context(|| name.to_string())?;
    atomic::write(&arguments.output, |file| Ok(file.write_all(&bytes)?))?;
    say!("{}: {}", arguments.output.display(), net.describe());
    say!(
        "{} tensors, {} bytes",
        checkpoint.tensors.len(),
        bytes.len()
    );
    for (key, value) in &checkpoint.metadata {
        say!("the weights say of themselves: {key} = {value}");
    }
    Ok(())
}
