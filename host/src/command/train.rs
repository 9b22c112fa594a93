//! `elucid train`: networks that explain themselves.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use image::ImageFormat;
use indicatif::{ProgressBar, ProgressStyle};

use super::say::say;
use crate::engine::Threads;
use crate::picture::{ColorMap, Figure, render};
use crate::preprocess::UNIT;
use crate::train::config::Config;
use crate::train::examples::Example;
use crate::train::session::Watch;
use crate::train::state::{Epoch, MAPS, PICTURES, Progress};
use crate::train::{ablation, adapter, classifier};
use crate::{atomic, metric::resize::bilinear};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Train an Attention Lattice Adapter for a frozen vision transformer
    #[command(after_help = EXAMPLE)]
    Ala(Run),
    /// Train a ResNet, from weights or from scratch, on the same loop
    #[command(after_help = RESNET)]
    Resnet(Run),
    /// Train it with and without AEA and LoRA, by several seeds, and compare the maps with other methods'
    #[command(after_help = EXAMPLE)]
    Ablation(Run),
}

const RESNET: &str = "\
A run's file, here the recipe of the LRP paper's classifiers for CUB-200-2011:

  weights = \"resnet50.safetensors\"  # torchvision's; its classifier is replaced. Or, from scratch: arch = \"resnet50\"
  image = 224
  norm = \"imagenet\"
  optimizer = \"sgd\"                 # momentum 0.9
  lr = 1e-3
  power = 0.0                         # the learning rate stays
  clip = 0.0                          # never
  weight-decay = 1e-4
  batch = 32
  epochs = 300
  patience = 6
  aea = false
  views = \"resized-crop\"

  [[data]]
  dir = \"CUB_200_2011\"
  format = \"cub\"";

const EXAMPLE: &str = "\
A run's file, here with everything that has to be said and some that may be:

  weights = \"ViT-B-16.safetensors\"   # CLIP's image encoder, timm's ViT or DeiT, DINO
  epochs = 120
  aea = true                           # false: attention on in every epoch
  lora = { rank = 16, alpha = 16 }     # false: the encoder stays as it is
  augment = true                       # false: features of the encoder are computed once and kept

  [adapter]
  width = 64
  lattice = [0, 3, 6, 9]

  [[data]]
  dir = \"CUB_200_2011\"
  format = \"cub\"
  test = \"test\"

  [ablation]                           # of `elucid train ablation`
  seeds = [1, 2, 3]

All keys with their defaults are in host/README.md.";

#[derive(Args)]
struct Run {
    /// The run's file; `elucid train ala --help` ends with an example
    #[arg(long, value_name = "run.toml")]
    config: PathBuf,
    /// Folder of the run: weights of every epoch's end, curves, maps, and in the end model.elucid and model.safetensors
    #[arg(short, long, value_name = "RUN/")]
    output: PathBuf,
    /// Go on with the run in the folder
    #[arg(long)]
    resume: bool,
    /// Threads; 0 for all of the machine's
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Training runs on the CPU
    #[arg(long, hide = true, value_parser = only_cpu)]
    backend: Option<String>,
}

fn only_cpu(backend: &str) -> Result<String, String> {
    match backend {
        "cpu" => Ok(backend.to_owned()),
        _ => Err("training runs on the CPU alone; leave --backend out".to_owned()),
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Ala(run) => ala(run),
        What::Resnet(run) => resnet(run),
        What::Ablation(run) => ablation(run),
    }
}

fn ala(run: &Run) -> Result<()> {
    let config = Config::open(&run.config)?;
    let threads = Threads::new(run.threads)?;
    all_threads(run.threads);
    let mut display = Display::new(config.epochs, Some(&run.output));
    let trained = adapter::train(
        &config,
        &run.output,
        (run.resume, None),
        &threads,
        &mut display,
    );
    display.bar.finish_and_clear();
    finished(&trained?.progress, &run.output);
    Ok(())
}

fn resnet(run: &Run) -> Result<()> {
    let config = Config::open(&run.config)?;
    all_threads(run.threads);
    let mut display = Display::new(config.epochs, None);
    let trained = classifier::train(&config, &run.output, run.resume, &mut display);
    display.bar.finish_and_clear();
    finished(&trained?.progress, &run.output);
    Ok(())
}

/// What there is in the end.
fn finished(progress: &Progress, folder: &Path) {
    if let (Some(best), Some(loss)) = (progress.best_epoch, progress.best) {
        say!("best epoch {best}, validation loss {loss:.4}");
    }
    say!("{}", folder.join("model.elucid").display());
}

fn ablation(run: &Run) -> Result<()> {
    let config = Config::open(&run.config)?;
    let threads = Threads::new(run.threads)?;
    all_threads(run.threads);
    let epochs = config.epochs;
    let table = ablation::run(&config, &run.output, &threads, |name, folder| {
        say!("{name}");
        Box::new(Display::new(epochs, Some(folder)))
    })?;
    say!("{}", table.markdown());
    say!("{}", run.output.join("table.json").display());
    Ok(())
}

/// The tape's threads are the process's.
fn all_threads(count: usize) {
    if count > 0 {
        // They can be told once; whoever was first has told the same.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .build_global();
    }
}

/// A bar on a terminal, plain lines otherwise.
pub struct Display {
    bar: ProgressBar,
    epochs: u32,
    folder: Option<PathBuf>,
}

impl Display {
    pub fn new(epochs: u32, folder: Option<&Path>) -> Self {
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new(0),
            false => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{bar:32} {pos}/{len}  {eta} left  {wide_msg}");
        Self {
            bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
            epochs,
            folder: folder.map(Path::to_owned),
        }
    }

    fn at(&self, done: usize, all: usize, message: String) {
        if self.bar.length() != Some(all as u64) || done < self.bar.position() as usize {
            self.bar.reset();
            self.bar.set_length(all as u64);
        }
        self.bar.set_position(done as u64);
        self.bar.set_message(message);
    }
}

impl Watch for Display {
    fn step(&mut self, epoch: u32, step: usize, steps: usize, loss: f64) {
        let message = format!("epoch {} of {}, loss {loss:.4}", epoch + 1, self.epochs);
        self.at(step, steps, message);
    }

    fn epoch(&mut self, epoch: &Epoch, best: bool) {
        let mut line = format!(
            "epoch {:>3}  attention {}  loss {:.4}  accuracy {:.3}",
            epoch.epoch,
            if epoch.attends { "on " } else { "off" },
            epoch.loss,
            epoch.accuracy
        );
        if let Some(v) = &epoch.validation {
            line += &format!(
                "  | validation loss {:.4}  accuracy {:.3}",
                v.loss, v.accuracy
            );
            if let Some(iou) = v.iou {
                line += &format!("  mean IoU {iou:.3}");
            }
            if best {
                line += "  best";
            }
        }
        line += &format!("  ({:.1} s)", epoch.seconds);
        self.bar.suspend(|| say!("{line}"));
    }

    fn prepare(&mut self, done: usize, all: usize) {
        self.at(done, all, "features of the encoder".to_owned());
    }

    fn maps(&mut self, epoch: u32, maps: &[(&Example, Vec<f32>)], grid: [usize; 2]) -> Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let folder = folder.join(MAPS);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        // The files are numbered; whoever shows them wants to name the pictures.
        let names: Vec<&str> = maps.iter().map(|(e, _)| e.sample.id.as_str()).collect();
        let names = serde_json::to_vec(&names)?;
        atomic::write(folder.join(PICTURES), |file| Ok(file.write_all(&names)?))?;
        for (i, (example, map)) in maps.iter().enumerate() {
            let mut how = UNIT;
            how.fit = elucid_core::model::Fit::Squash;
            let view = example.sample.photo()?.cropped(&how)?;
            let size = [view.height() as usize, view.width() as usize];
            let picture = render(&Figure {
                view: &view,
                heat: &bilinear(map, grid, size),
                heat_size: (size[0], size[1]),
                caption: &example.sample.id,
                detail: &format!("attention map after epoch {epoch}"),
                map: ColorMap::default(),
            });
            let mut png = std::io::Cursor::new(Vec::new());
            picture
                .write_to(&mut png, ImageFormat::Png)
                .context("cannot encode the picture")?;
            let path = folder.join(format!("epoch{epoch:03}-{i}.png"));
            atomic::write(path, |file| Ok(file.write_all(png.get_ref())?))?;
        }
        Ok(())
    }
}
