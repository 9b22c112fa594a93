//! What tensors a network wants of a checkpoint, and what those begin with that are trained from nothing.

use std::collections::BTreeMap;

use elucid_core::builder::Role;
use elucid_core::graph::{NONE, Op};

use crate::checkpoint::Tensor;
use crate::import::Blueprint;
use crate::synthetic::Random;

/// Deviation of the adapter's linear layers, positions and queries.
const DEVIATION: f64 = 0.02;

/// A tensor of a checkpoint that a network reads.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its dimensions; for tables, rows and channels.
    pub dims: Vec<u32>,
    /// Whether a network can do without.
    pub optional: bool,
    /// Whether it belongs to a norm.
    pub norm: bool,
    /// Whether it holds running statistics.
    pub running: bool,
    /// Whether it stays as it is for good.
    pub fixed: bool,
    /// Inputs of an output of its layer, where it's a weight or a bias.
    inputs: u32,
}

/// The tensors that a graph reads, each once, in the order of the graph.
pub fn wanted(blueprint: &Blueprint) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut add = |wanted: Wanted| match places.get(&wanted.name) {
        // Of a table that begins with other rows, all.
        Some(&at) => all[at].dims[0] = all[at].dims[0].max(wanted.dims[0]),
        None => {
            places.insert(wanted.name.clone(), all.len());
            all.push(wanted);
        }
    };
    let fan_in: BTreeMap<usize, u32> = (blueprint.nodes.iter())
        .filter_map(|n| n.node.op.layer())
        .map(|c| (usize::from(c.shift), c.ci * c.taps() as u32))
        .collect();
    for (i, spec) in blueprint.tensors.iter().enumerate() {
        let (name, dims) = (spec.name.as_str(), &spec.dims);
        let inputs = fan_in.get(&i).copied().unwrap_or(0);
        let wanted = |name: String, dims: &[u32]| Wanted {
            // The reference makes the norms of the fusions without telling its optimizer.
            fixed: name.contains(".input_proj.0."),
            name,
            role: spec.role,
            dims: dims.to_vec(),
            optional: false,
            norm: false,
            running: false,
            inputs,
        };
        match spec.role {
            Role::ConvWeight | Role::LinearWeight => add(Wanted {
                inputs: dims[1..].iter().product(),
                ..wanted(name.to_owned(), dims)
            }),
            Role::TurnedWeight => add(Wanted {
                inputs: dims[1],
                ..wanted(name.to_owned(), &[dims[1], dims[0]])
            }),
            Role::Bias => add(wanted(name.to_owned(), &dims[..1])),
            Role::Table { from } => add(wanted(name.to_owned(), &[from + dims[0], dims[1]])),
            Role::Factors | Role::Summands => add(Wanted {
                optional: true,
                norm: true,
                ..wanted(name.to_owned(), &dims[..1])
            }),
            Role::NormScale => {
                for part in ["weight", "bias", "running_mean", "running_var"] {
                    add(Wanted {
                        norm: true,
                        running: part.starts_with("running"),
                        ..wanted(format!("{name}.{part}"), &dims[..1])
                    });
                }
            }
            Role::NormShift => {
                // The bias of the convolution before it, which isn't in the graph.
                let layer = blueprint.nodes.iter().find(
                    |n| matches!(n.node.op, Op::Conv(c) if usize::from(c.shift) == i && c.scale != NONE),
                );
                if let Some(layer) = layer {
                    add(Wanted {
                        role: Role::Bias,
                        optional: true,
                        ..wanted(format!("{}.bias", layer.name), &dims[..1])
                    });
                }
            }
        }
    }
    all
}

impl Wanted {
    /// What it begins with, none for one that fresh networks don't have. As the reference: linear layers and positions of
    /// the adapter's transformer and its queries normal with deviation 0.02 (that the former are cut at 100 deviations is
    /// left out), its biases 0; fusions by Kaiming's uniform with a = 1, biases 0; all others as PyTorch's layers.
    pub fn draw(&self, random: &mut Random) -> Option<Tensor> {
        let name = self.name.as_str();
        let elements: usize = self.dims.iter().map(|&d| d as usize).product();
        let linear = name.starts_with("adapter.vit_model.blocks.");
        let fusion = name.contains(".input_proj.1.");
        let mut shape: Vec<usize> = self.dims.iter().map(|&d| d as usize).collect();
        let mut uniform = |bound: f32| (0..elements).map(|_| random.draw() * bound).collect();
        let usual = 1.0 / (self.inputs.max(1) as f32).sqrt();
        let data: Vec<f32> = match self.role {
            Role::Table { .. } => {
                shape.insert(0, 1);
                normal(random, elements)
            }
            Role::Factors => vec![1.0; elements],
            Role::Summands => vec![0.0; elements],
            Role::NormScale | Role::NormShift => {
                let one = name.ends_with(".weight") || name.ends_with(".running_var");
                vec![if one { 1.0 } else { 0.0 }; elements]
            }
            Role::Bias if self.optional => {
                let there = ["perception_branch.", "head."];
                there.iter().find(|p| name.starts_with(**p))?;
                uniform(usual)
            }
            Role::Bias if linear || fusion => vec![0.0; elements],
            Role::ConvWeight if linear => normal(random, elements),
            Role::ConvWeight if fusion => uniform(usual * 3.0f32.sqrt()),
            Role::Bias | Role::ConvWeight | Role::LinearWeight | Role::TurnedWeight => {
                uniform(usual)
            }
        };
        let weight = matches!(self.role, Role::ConvWeight | Role::LinearWeight);
        if weight && shape[2..] == [1, 1] && !convolves(name) {
            shape.truncate(2);
        }
        Some(Tensor { shape, data })
    }
}

/// Whether a 1x1 layer is a convolution in checkpoints, rather than a linear layer.
fn convolves(name: &str) -> bool {
    let layer = name.strip_suffix(".weight").unwrap_or(name);
    let last = layer.rsplit('.').next().unwrap_or(layer);
    last.starts_with("conv")
        || ["pix_mlp", "input_proj", "downsample"]
            .iter()
            .any(|part| layer.contains(part))
}

/// Numbers of mean 0 and deviation [`DEVIATION`] (Box and Muller).
fn normal(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count)
        .map(|_| {
            let radius = (-2.0 * (1.0 - f64::from(random.share())).ln()).sqrt();
            let angle = std::f64::consts::TAU * f64::from(random.share());
            (DEVIATION * radius * angle.cos()) as f32
        })
        .collect()
}
