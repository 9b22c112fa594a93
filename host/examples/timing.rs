//! Times every launch of an explanation on an NVIDIA GPU, and sets it against what the device reaches at best.
//!
//! `cargo run --release -p elucid-host --example timing -- --help`; `tests/gpu.sh` runs it with everything else. Weights are
//! random, which the time doesn't depend on.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use clap::Parser;
use elucid::Device;
use elucid::cost::{self, Cost};
use elucid::timing::{Ceilings, Timed, Timing, ceilings};
use elucid_core::Shape;
use elucid_core::arch::resnet::Resnet;
use elucid_core::plan::{Memory, Options};
use elucid_core::rule::{Composite, Split};
use elucid_host::engine::{PlanMemory, explain_error};
use elucid_host::import;
use elucid_host::model_file::ModelBytes;
use elucid_host::preprocess;
use elucid_host::synthetic::{self, Random};

#[derive(Parser)]
#[command(about = "Times every launch of an explanation on an NVIDIA GPU")]
struct Arguments {
    /// Depth of the ResNet: 18, 34, 50, 101 or 152
    #[arg(long, default_value_t = 50)]
    depth: u32,
    /// Channels of its narrowest blocks: 64 in published ones
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    width: u32,
    /// Rows and columns of the image
    #[arg(long, default_value_t = 224, value_parser = clap::value_parser!(u32).range(32..=1024))]
    size: u32,
    /// What is kept for the way back
    #[arg(long, default_value = "keep", value_parser = Memory::ALL.map(|(_, name)| name))]
    memory: String,
    /// Number of the GPU
    #[arg(long, default_value_t = 0)]
    device: usize,
    /// Measured rounds; medians are printed
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Weights in f32
    #[arg(long)]
    f32: bool,
    /// Forward products without tensor cores
    #[arg(long)]
    no_tensor_cores: bool,
    /// A line for every launch
    #[arg(long)]
    all: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = Device::open(arguments.device)?;
    let facts = device.facts();
    let emulated = facts.name.contains("Emulated");
    println!("{}", device.describe());
    if emulated {
        println!("THIS DEVICE IS EMULATED on a CPU: the numbers below mean nothing");
    }
    let best = ceilings(&device, emulated)?;
    show_ceilings(&best);

    let bytes = ModelBytes::from_bytes(&random_model(&arguments)?, "the random model");
    let model = bytes.parse()?;
    let shape = Shape::new(arguments.size, arguments.size, 3);
    let modes = Memory::ALL;
    let mode = modes.iter().find(|(_, name)| *name == arguments.memory);
    let (memory, _) = mode.ok_or_else(|| anyhow!("no memory mode {}", arguments.memory))?;
    let options = Options {
        memory: *memory,
        ..Options::new(shape, Some(Composite::exact(Split::Ratio)))
    };
    let mut planned = PlanMemory::new(&model);
    let plan = planned.plan(&model, &options)?;
    let mut random = Random::new(1);
    let image: Vec<f32> = (0..plan.image().len).map(|_| 2.0 * random.draw()).collect();
    let tensor = facts.arch() >= 80 && !arguments.f32 && !arguments.no_tensor_cores;
    let timing = Timing::new(&device, &model, &plan, &image, tensor);
    let timing = timing.map_err(|e| explain_error(&model, e))?;

    println!(
        "\nResNet-{}, {} wide, at {} x {}, exact, ratio, memory {}, {} weights, {}; {:.1} MB of memory",
        arguments.depth,
        arguments.width,
        arguments.size,
        arguments.size,
        arguments.memory,
        if arguments.f32 { "f32" } else { "f16" },
        if tensor {
            "forward products on tensor cores"
        } else {
            "no tensor cores"
        },
        timing.bytes() as f64 / 1e6
    );
    let rounds = arguments.rounds;
    for (what, forward) in [("forward", true), ("explain", false)] {
        let plain = timing.whole(forward, false, rounds)?;
        let graph = match device.graphs() {
            true => format!("{:.3} ms", 1e3 * timing.whole(forward, true, rounds)?),
            false => "no graphs".to_owned(),
        };
        println!(
            "{what}: {:.3} ms launch by launch, {graph} as a graph",
            1e3 * plain
        );
    }
    let timed = timing.rounds(rounds)?;
    if arguments.all {
        println!();
        head("launch");
        for one in &timed {
            line(one.launch.kernel.entry, 1, one.seconds, &one.cost, &best);
        }
    }
    show_families(&timed, &best);
    Ok(())
}

fn random_model(arguments: &Arguments) -> Result<Vec<u8>> {
    let net = Resnet::imagenet(arguments.depth, arguments.width, 1000);
    let net = net.ok_or_else(|| anyhow!("there is no ResNet-{}", arguments.depth))?;
    let options = import::Options {
        bn_eps: 1e-5,
        half: !arguments.f32,
        preprocess: preprocess::find(None, &net)?,
        classes: Vec::new(),
    };
    let checkpoint = synthetic::checkpoint(&net, arguments.depth.into())?;
    import::import(&checkpoint, &net, &options)
}

fn show_ceilings(best: &Ceilings) {
    println!(
        "at best, measured: {:.1} GB/s (the driver's copy of 64 MB, read and written), {:.0} GFLOP/s f32 (conv.cu, 1x1, 512 to 512 channels, 16384 pixels){}",
        best.bytes_per_second / 1e9,
        best.f32_flops / 1e9,
        best.tensor_flops.map_or(String::new(), |f| format!(
            ", {:.0} GFLOP/s on tensor cores (conv_tensor.cu, the same; both of its products)",
            f / 1e9
        ))
    );
}

fn show_families(timed: &[Timed], best: &Ceilings) {
    let mut families: BTreeMap<&str, (usize, f64, Cost)> = BTreeMap::new();
    for one in timed {
        let family = cost::family(one.launch.kernel);
        let (launches, seconds, cost) = families.entry(family).or_default();
        *launches += 1;
        *seconds += one.seconds;
        *cost += one.cost;
    }
    let mut families: Vec<_> = families.into_iter().collect();
    families.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    println!();
    head("kernels");
    for (name, (launches, seconds, cost)) in &families {
        line(name, *launches, *seconds, cost, best);
    }
    let seconds: f64 = timed.iter().map(|one| one.seconds).sum();
    let cost: Cost = timed.iter().map(|one| one.cost).sum();
    line("all", timed.len(), seconds, &cost, best);
}

fn head(what: &str) {
    println!(
        "{what:<24} {:>8} {:>10} {:>9} {:>7} {:>8} {:>7}  GFLOP/s issued, GB/s from and to memory at least, shares of what was measured at best",
        "launches", "ms", "GFLOP/s", "share", "GB/s", "share"
    );
}

/// One line: rates, and shares of the best. Operations on tensor cores count with their own best.
fn line(what: &str, launches: usize, seconds: f64, cost: &Cost, best: &Ceilings) {
    let tensor = best
        .tensor_flops
        .map_or(0.0, |peak| cost.tensor_issued as f64 / peak);
    let arithmetic = (cost.f32_issued as f64 / best.f32_flops).max(tensor) / seconds;
    let rate = (cost.f32_issued + cost.tensor_issued) as f64 / seconds;
    let bytes = cost.bytes() as f64 / seconds;
    println!(
        "{what:<24} {launches:>8} {:>10.4} {:>9.1} {:>5.1} % {:>8.2} {:>5.1} %",
        1e3 * seconds,
        rate / 1e9,
        100.0 * arithmetic,
        bytes / 1e9,
        100.0 * bytes / best.bytes_per_second
    );
}
