//! `elucid explain`: a picture of every photo with the relevance of its class.

mod job;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use elucid_core::arch::ala;
use elucid_core::rule::{Init, Split};
use indicatif::{ProgressBar, ProgressStyle};

use self::job::Job;
use super::outputs::{EXPLAINED, Output, inputs, numbered, paths, refuse_overwriting};
use super::target::find_targets;
use super::{Kernels, Reported, Rules, Where, named, tell};
use crate::engine::{Method, PRESETS, Threads};
use crate::method::{HELP, Lrp, Spec};
use crate::model_file::ModelBytes;
use crate::picture::ColorMap;

#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// Photos (JPEG, PNG, WebP), folders of them, or .npy files with f32 [3, H, W] that are normalised already;
    /// the bundled photo if left out
    images: Vec<PathBuf>,
    /// Model file; the bundled flower model if left out
    #[arg(long, value_name = "M.elucid")]
    model: Option<PathBuf>,
    /// Where the picture goes: a .png file, or a folder for several; NAME.explained.png here if left out
    #[arg(short, long, value_name = "out.png|DIR/")]
    output: Option<PathBuf>,
    /// Also write the map itself: f32 [H, W] as .npy, or a folder for several
    #[arg(long, value_name = "out.npy|DIR/")]
    map: Option<PathBuf>,
    /// Make no picture
    #[arg(long, conflicts_with = "output")]
    no_picture: bool,
    /// Method: lrp with the rules below, ala for the map of a model's adapter, or another one to compare with (see the end
    /// of this help); lrp if left out, and ala for a model that has an adapter
    #[arg(long, value_name = "METHOD")]
    method: Option<Spec>,
    /// Class to explain: `pred` for the predicted one, a class name, an index, or `top5` for the five likeliest. Several
    /// share most of the work: their files are numbered
    #[arg(long, default_value = "pred", value_name = "pred|CLASS|INDEX|topN")]
    target: Vec<String>,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    kernels: Kernels,
    /// Relevance that the class starts with
    #[arg(long, default_value = "probability", value_parser = Init::ALL.map(|(_, name)| name))]
    init: String,
    /// Heat Quantization: round the finished map down to this many levels (the paper uses 8)
    #[arg(long, value_name = "LEVELS", value_parser = clap::value_parser!(u32).range(2..=65_536))]
    quantize: Option<u32>,
    /// Colours of the map
    #[arg(long, default_value = "inferno", value_parser = ColorMap::NAMES)]
    colors: String,
    #[command(flatten)]
    place: Where,
    /// Threads; 0 for all of the machine's
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print the conservation ledger: relevance in, out and lost at every step
    #[arg(long)]
    audit: bool,
    /// Print one JSON object per picture
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// The rules of the method, if it is LRP: those in its name, or those of the options.
    fn rules_of_method(&self, method: &Spec) -> Result<Option<Lrp>> {
        let rules = &self.rules;
        let chosen = rules.preset != PRESETS[0].0 || rules.split != Split::ALL[0].1;
        let name = method.name();
        match method.lrp().filter(|_| !method.quantizes()) {
            Some(_) if name == "lrp" => Ok(Some(Lrp {
                preset: PRESETS
                    .iter()
                    .position(|(name, _)| *name == rules.preset)
                    .unwrap_or(0),
                split: named(&Split::ALL, &rules.split)?,
            })),
            Some(_) if chosen => {
                bail!("--method {name} says the rules already; leave --preset and --split out")
            }
            Some(lrp) => Ok(Some(lrp)),
            None if chosen || self.audit || self.init != Init::ALL[0].1 => {
                bail!(
                    "--preset, --split, --init and --audit are for --method lrp; leave them out with {name}"
                )
            }
            None => Ok(None),
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let bytes = ModelBytes::open(arguments.model.as_deref())?;
    let model = bytes.parse()?;
    let mut targets = Vec::new();
    for wanted in &arguments.target {
        targets.extend(find_targets(&model, wanted)?);
    }
    let init = named(&Init::ALL, &arguments.init)?;
    let usual = if model.find(ala::MAP).is_some() {
        "ala"
    } else {
        "lrp"
    };
    let spec = match &arguments.method {
        Some(spec) => spec.clone(),
        None => usual.parse().map_err(|e| anyhow!("{e}"))?,
    };
    let rules = arguments.rules_of_method(&spec)?;
    let mut method = Method {
        targets: targets.len(),
        ..arguments.rules.method(&model)?
    };
    if let Some(lrp) = rules {
        method.composite = lrp.method(&model).composite;
    }
    let colors = ColorMap::from_str(&arguments.colors).map_err(|e| anyhow!("{e}"))?;
    let inputs = inputs(&arguments.images)?;
    let mut outputs = vec![vec![Output::default(); targets.len()]; inputs.len()];
    // One path for each picture, numbered where it has several classes.
    let mut place = |chosen: Option<&Path>, ending, option, field: fn(&mut Output, PathBuf)| {
        for (outputs, path) in outputs
            .iter_mut()
            .zip(paths(&inputs, chosen, ending, option)?)
        {
            let several = outputs.len() > 1;
            for (of, output) in (1..).zip(outputs) {
                let path = if several {
                    numbered(&path, of, ending)?
                } else {
                    path.clone()
                };
                field(output, path);
            }
        }
        anyhow::Ok(())
    };
    if !arguments.no_picture {
        let chosen = arguments.output.as_deref();
        place(chosen, EXPLAINED, "-o", |o, path| o.picture = Some(path))?;
    }
    if let Some(map) = &arguments.map {
        place(Some(map), MAP, "--map", |o, path| o.map = Some(path))?;
    }
    let written = outputs.iter().flatten();
    refuse_overwriting(
        &inputs,
        written.flat_map(|o| o.picture.iter().chain(&o.map)),
    )?;
    let threads = Threads::new(arguments.threads)?;
    let place = arguments.place.open()?;
    let job = Job {
        arguments,
        kernels: arguments.kernels.choice(&place)?,
        place: &place,
        spec: &spec,
        model: &model,
        targets,
        init,
        method,
        rules,
        colors,
    };
    let count = inputs.len();
    let bar = progress(count);
    let jobs = inputs.into_iter().zip(outputs);
    let failed = job.explain_all(&threads, jobs, &bar);
    bar.finish_and_clear();
    tell(&place);
    match failed {
        0 => Ok(()),
        // Its line was printed where it happened.
        1 if count == 1 => Err(Reported.into()),
        n => bail!("{n} of {count} pictures could not be explained"),
    }
}

/// A bar for several pictures; it hides itself where nobody looks.
fn progress(count: usize) -> ProgressBar {
    if count < 2 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:32} {pos}/{len}  {per_sec}  {eta} left  {wide_msg}");
    ProgressBar::new(count as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// What maps end in.
const MAP: &str = ".npy";
