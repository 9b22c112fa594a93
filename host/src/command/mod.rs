//! The commands. Exit code 0 is success, 1 a failed run, 2 wrong usage; errors are one line on stderr.

mod against;
mod bench;
mod devices;
mod doctor;
mod eval;
mod explain;
mod explanation;
mod features;
mod import;
mod inspect;
mod layers;
mod network;
mod outputs;
mod plan;
mod prediction;
mod python;
mod report;
mod roofline;
mod say;
mod target;
mod train;

use std::fmt;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use elucid_core::arch::ala;
use elucid_core::plan::Memory;
use elucid_core::rule::{Composite, Split};
use elucid_core::simd::Isa;
use elucid_core::{Model, Shape};

use crate::engine::{Method, PRESETS};
use crate::model_file::ModelBytes;
use crate::place::Place;
use crate::synthetic;

/// Shows which pixels made a network say what it said, with a ledger that no relevance was lost.
#[derive(Parser)]
#[command(name = "elucid", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Explain photos: a picture of each with the heatmap of its predicted (or any) class
    Explain(explain::Arguments),
    /// Make a .elucid model from PyTorch or safetensors weights
    Import(import::Arguments),
    /// Show what a model file holds
    Inspect(inspect::Arguments),
    /// Write what a layer of the network gives for a photo as .npy
    Features(features::Arguments),
    /// Show the schedule, the memory map and the work of an explanation
    Plan(plan::Arguments),
    /// Train a network that explains itself: an adapter for a vision transformer
    Train(train::Arguments),
    /// Judge maps on a data set: insertion and deletion, overlap with masks, conservation, sanity checks
    Eval(eval::Arguments),
    /// Make one HTML file of the runs of an evaluation or a training: tables, curves, pictures, comparisons
    Report(report::Arguments),
    /// Measure the time and memory of inference and explanation
    Bench(bench::Arguments),
    /// Show what hardware, drivers and libraries were found
    Doctor,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return usage(&error),
    };
    let outcome = match command {
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Features(arguments) => features::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Train(arguments) => train::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Doctor => doctor::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<Reported>() {
                eprintln!("elucid: {}", line(&error));
            }
            ExitCode::FAILURE
        }
    }
}

/// A failure that was reported where it happened.
#[derive(Debug)]
struct Reported;

impl fmt::Display for Reported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reported above")
    }
}

impl std::error::Error for Reported {}

/// Help and version go to standard output as they are; wrong usage becomes one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nobody reads on: nothing to be done.
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
    }
    let text = error.render().to_string();
    let what = text.split("\n\nUsage").next().unwrap_or(&text);
    let what = what
        .split("\n\nFor more information")
        .next()
        .unwrap_or(what);
    let words: Vec<&str> = what
        .trim_start_matches("error: ")
        .split_whitespace()
        .collect();
    eprintln!("elucid: {}; try `elucid --help`", words.join(" "));
    ExitCode::from(2)
}

/// An error with its causes on one line.
fn line(error: &anyhow::Error) -> String {
    format!("{error:#}")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// How relevance is propagated.
#[derive(Args)]
struct Rules {
    /// Rules: `exact` loses no relevance, `paper` reproduces the reference implementation with its leaks, the others are
    /// zennit's composites (start them with --init one or logit to compare)
    #[arg(long, default_value = "exact", value_parser = PRESETS.map(|(name, _)| name))]
    preset: String,
    /// How relevance is split where a skip branch meets a residual branch (exact and paper)
    #[arg(long, default_value = "ratio", value_parser = Split::ALL.map(|(_, name)| name))]
    split: String,
    /// What is kept for the way back: every activation (fastest), the inputs of blocks, or of stages (smallest)
    #[arg(long, default_value = "block", value_parser = Memory::ALL.map(|(_, name)| name))]
    memory: String,
    /// Precision of what is kept: f16 takes half the memory and rounds activations to 11 bits
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    checkpoints: Precision,
}

/// The value with this name; clap has checked that it exists.
fn named<T: Copy>(all: &[(T, &'static str)], name: &str) -> Result<T> {
    let found = all.iter().find(|(_, n)| *n == name);
    found
        .map(|(value, _)| *value)
        .ok_or_else(|| anyhow!("{name} is not a known choice"))
}

impl Rules {
    fn composite(&self, model: &Model<'_>) -> Result<Composite> {
        let split = named(&Split::ALL, &self.split)?;
        let preset = PRESETS.map(|(name, preset)| (preset, name));
        Ok(named(&preset, &self.preset)?(split, &model.preprocess()))
    }

    /// What the rules ask for. Relevance can't flow through a transformer: there it's the adapter's map, if there is one, and
    /// otherwise a forward pass is all.
    fn method(&self, model: &Model<'_>) -> Result<Method> {
        let composite = self.composite(model)?;
        Ok(Method {
            composite: match model.find(ala::MAP) {
                _ if model.explainable() => Some(composite),
                Some(_) => Some(Composite::Attention),
                None => None,
            },
            memory: named(&Memory::ALL, &self.memory)?,
            half: self.checkpoints == Precision::F16,
            ..Method::new(None)
        })
    }
}

/// How much one call does.
#[derive(Args)]
struct Batch {
    /// Images of a batch
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    images: u16,
    /// Classes explained of each image in one call: what they share is computed once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    targets: u16,
}

impl Batch {
    fn of(&self, method: Method) -> Method {
        Method {
            images: self.images.into(),
            targets: self.targets.into(),
            ..method
        }
    }
}

/// Where it is computed.
#[derive(Args)]
struct Where {
    /// Where to compute: on the CPU, or on an NVIDIA GPU (`elucid doctor` shows what there is)
    #[arg(long, default_value = Place::NAMES[0], value_parser = Place::NAMES)]
    backend: String,
    /// Number of the GPU, as `elucid doctor` counts them; 0 if left out
    #[arg(long, value_name = "N")]
    device: Option<usize>,
}

impl Where {
    /// Opens the GPU, if it is one.
    fn open(&self) -> Result<Place> {
        match (self.backend.as_str(), self.device) {
            ("cuda", device) => Place::gpu(device.unwrap_or(0)),
            (_, None) => Ok(Place::Cpu),
            (_, Some(_)) => bail!("--device is for GPUs; add --backend cuda, or leave it out"),
        }
    }
}

/// Says what a GPU's driver noticed on the way.
fn tell(place: &Place) {
    for note in place.take_notes() {
        eprintln!("elucid: note: {note}");
    }
}

/// Which of the machine's instruction sets computes.
#[derive(Args)]
struct Kernels {
    /// Instruction set of the kernels; the best of this machine if left out
    #[arg(long, value_name = "SET", value_parser = known_kernels)]
    kernels: Option<Isa>,
}

impl Kernels {
    fn choice(&self, place: &Place) -> Result<Isa> {
        match (self.kernels, place) {
            (Some(_), Place::Cuda(_)) => {
                bail!("--kernels chooses among the CPU's; leave it out with --backend cuda")
            }
            (chosen, _) => Ok(chosen.unwrap_or_else(Isa::detect)),
        }
    }
}

fn known_kernels(name: &str) -> Result<Isa, String> {
    let mut all = Isa::available();
    all.find(|isa| isa.name() == name).ok_or_else(|| {
        let names: Vec<&str> = Isa::available().map(Isa::name).collect();
        format!("this machine has {}", names.join(", "))
    })
}

/// A model from a file, or one with random weights for measuring.
#[derive(Args)]
struct ModelChoice {
    /// Model file; the bundled flower model if left out
    #[arg(value_name = "MODEL", conflicts_with_all = ["arch", "named"])]
    model: Option<std::path::PathBuf>,
    /// The same as MODEL
    #[arg(long = "model", value_name = "M.elucid", id = "named")]
    named: Option<std::path::PathBuf>,
    /// Instead of a file: this network with random weights
    #[arg(long, value_enum, conflicts_with = "named")]
    arch: Option<Published>,
    /// Precision of the random weights
    #[arg(long, value_enum, default_value_t = Precision::F16, requires = "arch")]
    weights: Precision,
    /// Size of the image in pixels, `224` or `HEIGHTxWIDTH`; the model's own if left out
    #[arg(long, value_name = "SIZE")]
    size: Option<String>,
}

/// Published depths.
#[derive(Clone, Copy, ValueEnum)]
enum Published {
    Resnet18,
    Resnet34,
    Resnet50,
    Resnet101,
    Resnet152,
}

/// Precision of weights.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Precision {
    F16,
    F32,
}

impl ModelChoice {
    fn open(&self) -> Result<ModelBytes> {
        let Some(arch) = self.arch else {
            return ModelBytes::open(self.model.as_deref().or(self.named.as_deref()));
        };
        let depth = match arch {
            Published::Resnet18 => 18,
            Published::Resnet34 => 34,
            Published::Resnet50 => 50,
            Published::Resnet101 => 101,
            Published::Resnet152 => 152,
        };
        let bytes = synthetic::imagenet(depth, self.weights == Precision::F16)?;
        Ok(ModelBytes::from_bytes(&bytes, "the random model"))
    }

    fn image(&self, model: &Model<'_>) -> Result<Shape> {
        let Some(size) = &self.size else {
            return Ok(model.input_shape());
        };
        let (h, w) = size.split_once('x').unwrap_or((size, size));
        match (h.parse(), w.parse()) {
            (Ok(h @ 1..=16_384), Ok(w @ 1..=16_384)) => Ok(Shape::new(h, w, 3)),
            _ => {
                bail!("--size {size} is not a size; write 224 or 224x320, 1 to 16384 pixels a side")
            }
        }
    }
}

/// Bytes for people.
fn mebibytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
