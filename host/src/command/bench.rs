//! `elucid bench`: time and memory of inference and explanation, with their spread, alone or against others.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use elucid::CudaError;
use elucid_core::backend::Backend;
use elucid_core::explain::Explainer;
use elucid_core::op::head::Seed;
use elucid_core::rule::{Init, Target};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::against::{self, Rivals, Subject};
use super::layers::{self, Layer};
use super::plan::batch;
use super::say::say;
use super::{Batch, Kernels, ModelChoice, Rules, Where, mebibytes, tell};
use crate::engine::{Engine, Method, Threads};
use crate::peak;
use crate::place::Place;
use crate::synthetic::Random;
use crate::timed::Timed;

/// Runs that aren't measured.
const WARM_UP: u32 = 2;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelChoice,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    batch: Batch,
    #[command(flatten)]
    kernels: Kernels,
    #[command(flatten)]
    place: Where,
    /// Threads; 0 for all of the machine's
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Measured runs, after two that aren't
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Print the time of every step too, with its rate and its share of the core's peak
    #[arg(long)]
    layers: bool,
    /// Compare with ONNX Runtime and PyTorch, turn by turn: a Python that has torch, onnx, onnxruntime and numpy
    #[arg(long, value_name = "PYTHON", conflicts_with_all = ["images", "targets"])]
    against: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Median and spread of a series, in milliseconds.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Zeros for an empty series.
    pub fn of(mut series: Vec<f64>) -> Self {
        series.sort_by(f64::total_cmp);
        let at = |i: usize| series.get(i).copied().unwrap_or_default();
        let middle = series.len() / 2;
        let median = if series.len() % 2 == 1 {
            at(middle)
        } else {
            f64::midpoint(at(middle.saturating_sub(1)), at(middle))
        };
        Self {
            median,
            min: at(0),
            max: at(series.len().saturating_sub(1)),
        }
    }
}

#[derive(Serialize)]
struct Report<'r> {
    model: &'r str,
    image: [u32; 3],
    forward_ms: Spread,
    explain_ms: Spread,
    ratio: f64,
    arena_bytes: usize,
    weight_bytes: u64,
    peak_rss_bytes: Option<u64>,
    threads: usize,
    memory_mode: &'r str,
    checkpoints: &'r str,
    images: usize,
    targets: usize,
    #[serde(skip)]
    batch: String,
    preset: &'r str,
    split: &'r str,
    backend: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    kernels: &'r str,
    /// Of the CPU's cores; a GPU's isn't measured.
    peak_gflops: Option<f64>,
    runs: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Layer>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<against::Report>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let bytes = arguments.model.open()?;
    let model = bytes.parse()?;
    if arguments.model.arch.is_some() {
        forget_peak_rss();
    }
    let threads = Threads::new(arguments.threads)?;
    let place = arguments.place.open()?;
    let on_gpu = matches!(place, Place::Cuda(_));
    if on_gpu && arguments.against.is_some() {
        bail!("--against compares on the CPU; leave it or --backend cuda out");
    }
    let shape = arguments.model.image(&model)?;
    let mut random = Random::new(1);
    let method = arguments.batch.of(arguments.rules.method(&model)?);
    let classes = model.classes() as usize;
    if method.targets > classes {
        bail!(
            "--targets {}: the model has {classes} classes; give 1 to {classes}",
            method.targets
        );
    }
    let image: Vec<f32> = (0..shape.elements() * method.images)
        .map(|_| 2.0 * random.draw())
        .collect();
    let kernels = arguments.kernels.choice(&place)?;
    let mut engine = Engine::new(&model, &threads)
        .at(&place)
        .with_kernels(kernels);
    let (plan, machine) = engine.parts(shape, method)?;
    // The likeliest classes of every image.
    let targets: Vec<Target> = (0..plan.options().maps())
        .map(|map| Target::Rank((map % method.targets) as u32))
        .collect();
    let mut seeds = vec![Seed::default(); targets.len()];
    let mut times = Vec::new();
    let mut best = vec![Duration::MAX; plan.steps().len()];
    let mut explainer = Explainer::new(plan, Timed::new(machine, &mut times));
    let mut logits = vec![0.0; classes * method.images];
    let progress = Progress::new(arguments.runs);
    // A GPU does a whole list of steps in the time that one by one costs in waiting alone.
    explainer.backend().leave_whole(on_gpu);
    for _ in 0..WARM_UP {
        explain(&mut explainer, &image, &targets, &mut seeds)?;
        explainer.logits(&mut logits)?;
    }
    // No run needs more than the first, and what follows isn't only elucid's work.
    let peak_rss_bytes = peak_rss();
    let peak_now = || (!on_gpu).then(|| peak::measure(kernels, threads.pool()));
    let before = peak_now();
    // Inference as one would run it without explaining: a plan and an arena of its own.
    let mut alone = Engine::new(&model, &threads)
        .at(&place)
        .with_kernels(kernels);
    let mut inference = alone.open(
        shape,
        Method {
            composite: None,
            ..method
        },
    )?;
    for _ in 0..WARM_UP {
        inference.forward(&image)?;
    }
    let mut rivals = None;
    if let Some(interpreter) = &arguments.against {
        progress.say("starting PyTorch and ONNX Runtime");
        let subject = Subject {
            model: &model,
            threads: &threads,
            shape,
            image: &image,
            logits: &logits,
        };
        let mut started = Rivals::start(interpreter, &subject)?;
        for _ in 0..WARM_UP {
            started.forward()?;
            started.explain()?;
        }
        started.forget();
        rivals = Some(started);
    }
    progress.say("");
    let (mut forward, mut explained) = (Vec::new(), Vec::new());
    for _ in 0..arguments.runs {
        let start = Instant::now();
        inference.forward(&image)?;
        forward.push(start.elapsed().as_secs_f64() * 1e3);
        if let Some(rivals) = &mut rivals {
            rivals.forward()?;
        }
        let start = Instant::now();
        explain(&mut explainer, &image, &targets, &mut seeds)?;
        explained.push(start.elapsed().as_secs_f64() * 1e3);
        for (best, &time) in best.iter_mut().zip(explainer.backend().times()) {
            *best = time.min(*best);
        }
        if let Some(rivals) = &mut rivals {
            rivals.explain()?;
        }
        progress.advance();
    }
    if on_gpu && arguments.layers {
        explainer.backend().leave_whole(false);
        for _ in 0..WARM_UP + arguments.runs {
            explain(&mut explainer, &image, &targets, &mut seeds)?;
            for (best, &time) in best.iter_mut().zip(explainer.backend().times()) {
                *best = time.min(*best);
            }
        }
    }
    progress.end();
    // A machine that others use too has better and worse moments.
    let peak = before.zip(peak_now()).map(|(a, b)| a.max(b));
    let (forward_ms, explain_ms) = (Spread::of(forward), Spread::of(explained));
    let others = match &mut rivals {
        Some(rivals) if arguments.layers => Some(rivals.layers()?),
        _ => None,
    };
    let table = || layers::table(&model, explainer.plan(), &best, peak, others.as_ref());
    let report = Report {
        model: model.description(),
        image: shape.to_array(),
        ratio: explain_ms.median / forward_ms.median,
        arena_bytes: explainer.plan().arena() * 4,
        weight_bytes: model.sizes().1,
        peak_rss_bytes,
        threads: threads.pool().threads(),
        memory_mode: &arguments.rules.memory,
        preset: &arguments.rules.preset,
        split: &arguments.rules.split,
        backend: place.name(),
        device: place.device(),
        kernels: if on_gpu { "cuda" } else { kernels.name() },
        checkpoints: if method.half { "f16" } else { "f32" },
        images: method.images,
        targets: method.targets,
        batch: batch(explainer.plan()),
        peak_gflops: peak.map(|p| p / 1e9),
        runs: arguments.runs,
        layers: arguments.layers.then(table),
        against: rivals.map(|r| r.report(&forward_ms, &explain_ms, peak_rss_bytes)),
        forward_ms,
        explain_ms,
    };
    if arguments.json {
        say!("{}", serde_json::to_string(&report)?);
    } else {
        report.print();
    }
    tell(&place);
    Ok(())
}

/// An explanation; an adapter's map comes with the forward pass.
fn explain<B: Backend<Error = CudaError>>(
    explainer: &mut Explainer<'_, B>,
    image: &[f32],
    targets: &[Target],
    seeds: &mut [Seed],
) -> Result<(), CudaError> {
    if explainer.plan().relevance_steps().is_empty() {
        return explainer.forward(image);
    }
    explainer.explain_maps(image, targets, Init::Probability, seeds)
}

impl Report<'_> {
    fn print(&self) {
        if let Some(table) = &self.layers {
            layers::print(table, self.against.is_some());
        }
        say!("{}", self.model);
        let by = match &self.device {
            Some(device) => device.clone(),
            None => format!("{} thread(s), {} kernels", self.threads, self.kernels),
        };
        say!(
            "{}, {by}, {} preset, {} split, memory mode {}, {} checkpoints, {} runs",
            self.batch,
            self.preset,
            self.split,
            self.memory_mode,
            self.checkpoints,
            self.runs
        );
        let whose = match self.threads {
            1 => "this core".to_owned(),
            n => format!("{n} threads"),
        };
        if let Some(peak) = self.peak_gflops {
            say!("peak of {whose} {peak:.1} GFLOP/s");
        }
        let width = if self.against.is_some() { 22 } else { 8 };
        let row = |(name, ms): (&str, &Spread)| {
            say!(
                "{name:<width$} {:8.2} ms median  ({:.2} to {:.2})",
                ms.median,
                ms.min,
                ms.max
            );
        };
        row(("forward", &self.forward_ms));
        self.against.iter().flat_map(|a| a.forwards()).for_each(row);
        row(("explain", &self.explain_ms));
        self.against.iter().map(|a| a.explanation()).for_each(row);
        say!("explain is {:.2} x forward", self.ratio);
        let rss = self
            .peak_rss_bytes
            .map_or("unknown".to_owned(), |b| mebibytes(b as usize));
        say!(
            "arena {}, weights {}, peak resident memory {rss}",
            mebibytes(self.arena_bytes),
            mebibytes(self.weight_bytes as usize)
        );
        if let Some(against) = &self.against {
            against.print();
        }
    }
}

/// A progress bar that is shown once the run takes longer than two seconds.
struct Progress {
    bar: ProgressBar,
    start: Instant,
}

impl Progress {
    fn new(runs: u32) -> Self {
        let style = ProgressStyle::with_template("{bar:32} {pos}/{len}  {eta} left  {wide_msg}");
        let bar = ProgressBar::with_draw_target(Some(runs.into()), ProgressDrawTarget::hidden());
        Self {
            bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
            start: Instant::now(),
        }
    }

    fn say(&self, message: &'static str) {
        self.bar.set_message(message);
        if !message.is_empty() {
            // It is known to take longer.
            self.show();
        }
    }

    fn show(&self) {
        if self.bar.is_hidden() && std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.tick();
        }
    }

    fn advance(&self) {
        if self.start.elapsed() > Duration::from_secs(2) {
            self.show();
        }
        self.bar.inc(1);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// Lets [`peak_rss`] start anew: making random weights takes more memory than running them.
fn forget_peak_rss() {
    // Where the system doesn't know this, the figure is merely too large.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory this process ever had resident, where the system tells.
fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_of_odd_even_and_empty_series() {
        let spread = |median, min, max| Spread { median, min, max };
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), spread(2.0, 1.0, 3.0));
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]), spread(2.5, 1.0, 4.0));
        assert_eq!(Spread::of(vec![7.0]), spread(7.0, 7.0, 7.0));
        assert_eq!(Spread::of(Vec::new()), spread(0.0, 0.0, 0.0));
    }
}
