//! `elucid bench`: time and memory of inference and explanation, with their spread.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use elucid_core::Model;
use elucid_core::explain::Explainer;
use elucid_core::plan::Plan;
use elucid_core::rule::{Init, Target};
use elucid_core::simd::Isa;
use serde::Serialize;

use super::plan::{act, flops, node_name};
use super::say::say;
use super::{ModelChoice, Rules, mebibytes};
use crate::engine::{Engine, Threads};
use crate::synthetic::Random;
use crate::timed::Timed;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelChoice,
    #[command(flatten)]
    rules: Rules,
    /// Where to compute
    #[arg(long, default_value = "cpu", value_parser = ["cpu"])]
    backend: String,
    /// Threads; 0 for all of the machine's
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Measured runs, after two that aren't
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Print the time of every step too
    #[arg(long)]
    layers: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Median and spread of a series, in milliseconds.
#[derive(Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(mut series: Vec<f64>) -> Self {
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
    preset: &'r str,
    split: &'r str,
    backend: &'r str,
    kernels: &'r str,
    runs: u32,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let bytes = arguments.model.open()?;
    let model = bytes.parse()?;
    if arguments.model.arch.is_some() {
        forget_peak_rss();
    }
    let threads = Threads::new(arguments.threads)?;
    let shape = arguments.model.image(&model)?;
    let mut random = Random::new(1);
    let image: Vec<f32> = (0..shape.elements()).map(|_| 2.0 * random.draw()).collect();
    let mut engine = Engine::new(&model, &threads);
    let (plan, cpu) = engine.parts(shape, arguments.rules.method()?)?;
    let mut times = Vec::new();
    let mut best = vec![Duration::MAX; plan.steps().len()];
    let mut explainer = Explainer::new(plan, Timed::new(cpu, &mut times));
    let (mut forward, mut explain) = (Vec::new(), Vec::new());
    for run in 0..arguments.runs + 2 {
        let start = Instant::now();
        explainer.forward(&image)?;
        let between = start.elapsed();
        explainer.relevance(Target::Predicted, Init::Probability, None)?;
        for (best, &time) in best.iter_mut().zip(explainer.backend().times()) {
            *best = time.min(*best);
        }
        if run >= 2 {
            forward.push(between.as_secs_f64() * 1e3);
            explain.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let (forward_ms, explain_ms) = (Spread::of(forward), Spread::of(explain));
    let report = Report {
        model: model.description(),
        image: shape.to_array(),
        ratio: explain_ms.median / forward_ms.median,
        forward_ms,
        explain_ms,
        arena_bytes: explainer.plan().arena() * 4,
        weight_bytes: model.sizes().1,
        peak_rss_bytes: peak_rss(),
        threads: threads.pool().threads(),
        memory_mode: &arguments.rules.memory,
        preset: &arguments.rules.preset,
        split: &arguments.rules.split,
        backend: &arguments.backend,
        kernels: Isa::detect().name(),
        runs: arguments.runs,
    };
    if arguments.json {
        say!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    if arguments.layers {
        print_layers(&model, explainer.plan(), &best);
    }
    say!("{}", report.model);
    say!(
        "image {} x {}, {} thread(s), {} kernels, {} preset, {} split, memory mode {}, {} runs",
        shape.h,
        shape.w,
        report.threads,
        report.kernels,
        report.preset,
        report.split,
        report.memory_mode,
        report.runs
    );
    for (name, ms) in [
        ("forward", &report.forward_ms),
        ("explain", &report.explain_ms),
    ] {
        say!(
            "{name:<8} {:8.2} ms median  ({:.2} to {:.2})",
            ms.median,
            ms.min,
            ms.max
        );
    }
    say!("explain is {:.2} x forward", report.ratio);
    let rss = report
        .peak_rss_bytes
        .map_or("unknown".to_owned(), |b| mebibytes(b as usize));
    say!(
        "arena {}, weights {}, peak resident memory {rss}",
        mebibytes(report.arena_bytes),
        mebibytes(report.weight_bytes as usize)
    );
    Ok(())
}

/// The best time of every step, and its rate.
fn print_layers(model: &Model<'_>, plan: &Plan<'_>, best: &[Duration]) {
    say!(
        "{:<9} {:<22} {:>18} {:>9} {:>9}",
        "act",
        "node",
        "output",
        "ms",
        "GFLOP/s"
    );
    for (step, time) in plan.steps().iter().zip(best) {
        let [_, output] = step.shapes;
        let shape = format!("{} x {} x {}", output.h, output.w, output.c);
        let rate = flops(model, step) as f64 / time.as_secs_f64() / 1e9;
        let ms = time.as_secs_f64() * 1e3;
        say!(
            "{:<9} {:<22} {shape:>18} {ms:>9.3} {rate:>9.1}",
            act(step),
            node_name(model, step)
        );
    }
    say!("");
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
