//! `elucid inspect`: what a model file holds.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use elucid_core::Model;
use elucid_core::graph::NONE;
use elucid_core::model::{ChannelOrder, Filter, Fit};
use elucid_core::view::Weights;

use crate::engine::PlanMemory;
use crate::model_file::ModelBytes;
use elucid_core::plan::Options;

use super::say::say;

#[derive(Args)]
pub struct Arguments {
    /// Model file; the bundled flower model if left out
    #[arg(conflicts_with = "named")]
    model: Option<PathBuf>,
    /// The same as MODEL
    #[arg(long = "model", value_name = "M.elucid", id = "named")]
    named: Option<PathBuf>,
    /// List every class
    #[arg(long)]
    classes: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let bytes = ModelBytes::open(arguments.model.as_deref().or(arguments.named.as_deref()))?;
    let model = bytes.parse()?;
    let (file, weights) = model.sizes();
    say!("{}", model.description());
    say!(
        "file {file} bytes, weights {weights} bytes, checksum {:08x}",
        model.crc()
    );
    say!("input    {}", preprocessing(&model));
    let names: Vec<&str> = (0..model.classes())
        .map_while(|i| model.class_name(i))
        .collect();
    match names.as_slice() {
        [] => say!("classes  {}, without names", model.classes()),
        names if arguments.classes => names
            .iter()
            .enumerate()
            .for_each(|(i, n)| say!("class {i:5}  {n}")),
        [first, .., last] => say!("classes  {}: {first} ... {last}", names.len()),
        [only] => say!("classes  1: {only}"),
    }
    list_nodes(&model)
}

fn preprocessing(model: &Model<'_>) -> String {
    let p = model.preprocess();
    let filter = match p.filter {
        Filter::Bilinear => "bilinear",
        Filter::Bicubic => "bicubic",
    };
    let [h, w] = p.crop;
    let fit = match p.fit {
        Fit::ShortSide => format!("short side to {} ({filter}), centre {h} x {w}", p.resize),
        Fit::Squash => format!("squashed to {h} x {w} ({filter})"),
    };
    let order = match p.order {
        ChannelOrder::Rgb => "RGB",
        ChannelOrder::Bgr => "BGR",
    };
    format!(
        "{fit}, {order}, (byte * {} - {:?}) / {:?}",
        p.scale, p.mean, p.std
    )
}

fn list_nodes(model: &Model<'_>) -> Result<()> {
    let mut memory = PlanMemory::new(model);
    let options = Options::new(model.input_shape(), None);
    let plan = memory.plan(model, &options)?;
    say!(
        "\n{:>4}  {:<24} {:<10} {:<10} {:>14} {:>16}",
        "node",
        "name",
        "operation",
        "inputs",
        "weights",
        "output"
    );
    for id in 0..model.node_count() {
        let node = model.node(id);
        let inputs: Vec<String> = node
            .inputs
            .iter()
            .filter(|&&i| i != NONE)
            .map(u16::to_string)
            .collect();
        let layer = node.op.layer();
        let weights = layer.map_or_else(String::new, |c| describe_weights(model, c.weight));
        // A convolution that ends in an addition has the addition's output.
        let step = plan.steps().iter().find(|s| s.node == id || s.fused == id);
        let shape = step.map_or(model.input_shape(), |s| s.shapes[1]);
        let shape = match shape.tokens {
            0 => format!("{} x {} x {}", shape.h, shape.w, shape.c),
            n => format!("({n} + {} x {}) x {}", shape.h, shape.w, shape.c),
        };
        let (name, kind) = (model.node_name(id), node.op.kind());
        say!(
            "{id:>4}  {name:<24} {kind:<10} {:<10} {weights:>14} {shape:>16}",
            inputs.join(", ")
        );
    }
    Ok(())
}

fn describe_weights(model: &Model<'_>, id: u16) -> String {
    match model.weights(id) {
        Some(Weights::F32(w)) => format!("{} f32", w.len()),
        Some(Weights::F16(w)) => format!("{} f16", w.len()),
        None => String::new(),
    }
}
