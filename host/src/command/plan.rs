//! `elucid plan`: the schedule, the memory map and the work of an explanation, and a prediction for a device.

use anyhow::Result;
use clap::Args;
use elucid_core::Model;
use elucid_core::graph::{NONE, Op};
use elucid_core::plan::{Act, Content, Options, Plan, Region, Step, Value};
use elucid_core::rule::Composite;

use super::devices;
use super::prediction::OnDevice;
use super::say::say;
use super::{Batch, ModelChoice, Rules, mebibytes};
use crate::engine::PlanMemory;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelChoice,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    batch: Batch,
    /// Threads that will work on it: each needs room of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Plan inference alone
    #[arg(long)]
    forward: bool,
    #[command(flatten)]
    on: OnDevice,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

/// Columns of the arena map.
const COLUMNS: usize = 64;

pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.on.lists() {
        devices::list(arguments.json);
        return Ok(());
    }
    let bytes = arguments.model.open()?;
    let model = bytes.parse()?;
    let method = arguments.rules.method(&model)?;
    let composite = method.composite.filter(|_| !arguments.forward);
    let image = arguments.model.image(&model)?;
    let options = Options {
        composite,
        threads: arguments.threads.into(),
        ..arguments.batch.of(method).options(image)
    };
    let mut memory = PlanMemory::new(&model);
    let plan = memory.plan(&model, &options)?;
    if arguments.on.predicts() {
        arguments.on.print(&model, &plan, arguments.json)?;
    } else if arguments.json {
        say!("{}", json(&model, &plan));
    } else {
        print(&model, &plan);
    }
    Ok(())
}

/// Floating-point operations of a step: relevance of a weighted layer is two products, of which the maps of one image
/// share the first; the convolution of the image has its input channels summed before. A derivative is one product.
pub(super) fn flops(model: &Model<'_>, plan: &Plan<'_>, step: &Step) -> u64 {
    let op = model.node(step.node).op;
    let once = op.flops(step.shapes[0], step.shapes[1]);
    let options = plan.options();
    let (images, maps) = (options.images as u64, options.maps() as u64);
    let shared = match options.composite {
        Some(Composite::Chain(_) | Composite::Attention) => 0,
        Some(Composite::Rules(_)) | None => images,
    };
    match (step.act, op) {
        (Act::Relevance, Op::Conv(c)) if shared > 0 && step.ins[0] == Region::EMPTY => {
            once / u64::from(c.ci) * maps
        }
        (Act::Relevance, Op::Conv(_) | Op::Linear(_)) => once * (shared + maps),
        (Act::Forward | Act::Recompute, _) => once * images,
        (Act::Relevance | Act::Split | Act::Collect, _) => once * maps,
        (Act::Weigh | Act::Gate, _) => step.shapes[1].elements() as u64 * maps,
        // Four cells of the map for every pixel.
        (Act::Enlarge, _) => 8 * step.shapes[1].elements() as u64 * maps,
        (Act::Seed | Act::Pack | Act::Unpack, _) => 0,
    }
}

/// What one call works on, in words.
pub(super) fn batch(plan: &Plan<'_>) -> String {
    let Options {
        image,
        images,
        targets,
        ..
    } = *plan.options();
    let images = match images {
        1 => "image".to_owned(),
        n => format!("{n} images of"),
    };
    let targets = match targets {
        1 => String::new(),
        n => format!(", {n} classes each"),
    };
    format!("{images} {} x {}{targets}", image.h, image.w)
}

fn total(model: &Model<'_>, plan: &Plan<'_>, steps: &[Step]) -> u64 {
    steps.iter().map(|s| flops(model, plan, s)).sum()
}

pub(super) const fn act(step: &Step) -> &'static str {
    match step.act {
        Act::Forward => "forward",
        Act::Recompute => "recompute",
        Act::Seed => "seed",
        Act::Split => "split",
        Act::Relevance => "relevance",
        Act::Collect => "collect",
        Act::Weigh => "weigh",
        Act::Gate => "gate",
        Act::Enlarge => "enlarge",
        Act::Pack => "pack",
        Act::Unpack => "unpack",
    }
}

fn json(model: &Model<'_>, plan: &Plan<'_>) -> serde_json::Value {
    let steps = plan.steps().iter().map(|s| {
        serde_json::json!({
            "act": act(s), "node": model.node_name(s.node), "flops": flops(model, plan, s),
            "output": s.shapes[1].to_array(), "out_offset": s.out.start, "out_len": s.out.len,
            "scratch_len": s.scratch.len,
        })
    });
    serde_json::json!({
        "arena_bytes": plan.arena() * 4, "lower_bound_bytes": plan.lower_bound() * 4,
        "weight_bytes": model.sizes().1,
        "forward_flops": total(model, plan, plan.forward_steps()), "flops": total(model, plan, plan.steps()),
        "steps": steps.collect::<Vec<_>>(),
    })
}

fn print(model: &Model<'_>, plan: &Plan<'_>) {
    say!("{}", model.description());
    let (arena, bound) = (plan.arena() * 4, plan.lower_bound() * 4);
    let least = if arena == bound {
        "the least that is alive at once: no placement of this schedule can be smaller".to_owned()
    } else {
        format!("no placement of this schedule can be below {bound}")
    };
    say!(
        "{}: arena {} ({arena} bytes; {least}), weights {}",
        batch(plan),
        mebibytes(arena),
        mebibytes(model.sizes().1 as usize)
    );
    let (forward, all) = (
        total(model, plan, plan.forward_steps()),
        total(model, plan, plan.steps()),
    );
    say!(
        "work: forward {:.2} GFLOP, all {:.2} GFLOP ({:.2} x forward)\n",
        forward as f64 / 1e9,
        all as f64 / 1e9,
        all as f64 / forward as f64
    );
    say!(
        "The arena over time: one line a step, one column {} of it.",
        mebibytes(arena / COLUMNS)
    );
    say!(
        "a activation, p the same in half precision, r relevance, w working memory, o zeros, h heat, . free\n"
    );
    say!(
        "{:>4}  {:<9} {:<22} {:>8} {:>9}  map",
        "step",
        "act",
        "node",
        "MFLOP",
        "alive"
    );
    for (i, step) in plan.steps().iter().enumerate() {
        let alive: Vec<&Value> = plan
            .values()
            .iter()
            .filter(|v| v.birth as usize <= i && i <= v.death as usize)
            .collect();
        let bytes = alive.iter().map(|v| v.region.len as usize * 4).sum();
        say!(
            "{i:>4}  {:<9} {:<22} {:>8.1} {:>9}  {}",
            act(step),
            node_name(model, step),
            flops(model, plan, step) as f64 / 1e6,
            mebibytes(bytes),
            map(&alive, plan.arena())
        );
    }
}

pub(super) fn node_name(model: &Model<'_>, step: &Step) -> String {
    let fused = if step.fused == NONE { "" } else { " + add" };
    format!("{}{fused}", model.node_name(step.node))
}

/// One line of the map: who holds most of each column.
fn map(alive: &[&Value], arena: usize) -> String {
    let mut cells = [('.', 0usize); COLUMNS];
    for value in alive {
        let letter = match value.content {
            Content::Activation => 'a',
            Content::Packed => 'p',
            Content::Relevance => 'r',
            Content::Scratch => 'w',
            Content::Zero => 'o',
            Content::Heat => 'h',
        };
        let range = value.region.range();
        for (column, cell) in cells.iter_mut().enumerate() {
            let (start, end) = (column * arena / COLUMNS, (column + 1) * arena / COLUMNS);
            let held = range.end.min(end).saturating_sub(range.start.max(start));
            if held > cell.1 {
                *cell = (letter, held);
            }
        }
    }
    cells.iter().map(|(letter, _)| letter).collect()
}
