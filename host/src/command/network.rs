//! A model as another framework reads it: a description in JSON, then weights as raw floats.
//!
//! The description lists the nodes of the graph with the numbers of their operations; the weights follow in the order of
//! the nodes, little-endian f32, convolutions as `[co, ci, kh, kw]`, each followed by its scale and shift if it has them,
//! linear layers as `[co, ci]`, each followed by its bias. f16 weights are widened, which is exact.

use std::io::{self, Write};

use anyhow::{Result, bail};
use elucid_core::graph::{Activation, Conv, NONE, Op, PANEL, TensorId};
use elucid_core::view::{Weight, Weights};
use elucid_core::{Model, Shape};
use serde::Serialize;

/// The description of a model for images of one size.
#[derive(Serialize)]
pub struct Network {
    image: [u32; 2],
    threads: usize,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    inputs: Vec<u16>,
    segment: u16,
    #[serde(flatten)]
    op: Layer,
}

#[derive(Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Layer {
    Input,
    Conv {
        ci: u32,
        co: u32,
        kernel: [u16; 2],
        stride: u16,
        pad: u16,
        scale: bool,
        shift: bool,
        relu: bool,
    },
    Linear {
        ci: u32,
        co: u32,
        bias: bool,
    },
    Add {
        relu: bool,
    },
    MaxPool {
        kernel: u16,
        stride: u16,
        pad: u16,
    },
    AvgPool,
    Subsample {
        stride: u16,
        before: u16,
        after: u16,
    },
}

impl TryFrom<Op> for Layer {
    type Error = anyhow::Error;

    fn try_from(op: Op) -> Result<Self> {
        Ok(match op {
            Op::Input => Layer::Input,
            Op::Conv(c) => Layer::Conv {
                ci: c.ci,
                co: c.co,
                kernel: [c.kh, c.kw],
                stride: c.stride,
                pad: c.pad,
                scale: c.scale != NONE,
                shift: c.shift != NONE,
                relu: c.act == Activation::Relu,
            },
            Op::Linear(l) => Layer::Linear {
                ci: l.ci,
                co: l.co,
                bias: l.bias != NONE,
            },
            Op::Add { relu, .. } => Layer::Add { relu },
            Op::MaxPool(p) => Layer::MaxPool {
                kernel: p.kernel,
                stride: p.stride,
                pad: p.pad,
            },
            Op::AvgPool => Layer::AvgPool,
            Op::Subsample(s) => Layer::Subsample {
                stride: s.stride,
                before: s.before,
                after: s.after,
            },
            Op::Tokens(_)
            | Op::Positions(_)
            | Op::Norm(_)
            | Op::Attention(_)
            | Op::Slice(_)
            | Op::Fuse
            | Op::MatMul
            | Op::MinMax
            | Op::MulMap
            | Op::Affine(_) => bail!("transformers can't be compared yet; leave --against out"),
        })
    }
}

impl Network {
    /// Describes `model`.
    ///
    /// # Errors
    /// For a transformer: the other programs are told about convolutional networks only.
    pub fn new(model: &Model<'_>, image: Shape, threads: usize) -> Result<Self> {
        let node = |id| {
            let node = model.node(id);
            Ok(Node {
                inputs: node.inputs[..node.op.arity()].to_vec(),
                segment: node.segment,
                op: node.op.try_into()?,
            })
        };
        Ok(Self {
            image: [image.h, image.w],
            threads,
            nodes: (0..model.node_count()).map(node).collect::<Result<_>>()?,
        })
    }

    /// Writes the description on a line, then the weights of `model`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, model: &Model<'_>, mut to: impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut to, self)?;
        to.write_all(b"\n")?;
        let vector = |to: &mut dyn Write, id| floats(to, model.vector(id).unwrap_or_default());
        for id in 0..model.node_count() {
            if let Some(c) = model.node(id).op.layer() {
                floats(&mut to, &weights(model, &c, c.weight))?;
                vector(&mut to, c.scale)?;
                vector(&mut to, c.shift)?;
            }
        }
        to.flush()
    }
}

/// Writes raw floats.
///
/// # Errors
/// Those of the writer.
pub fn floats(mut to: impl Write, values: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(4 << 12);
    for values in values.chunks(1 << 12) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        to.write_all(&bytes)?;
    }
    Ok(())
}

fn weights(model: &Model<'_>, c: &Conv, id: TensorId) -> Vec<f32> {
    match model.weights(id) {
        Some(Weights::F32(w)) => unpack(c, w),
        Some(Weights::F16(w)) => unpack(c, w),
        None => Vec::new(),
    }
}

/// Panels as `[co, ci, kh, kw]`: the inverse of [`elucid_core::op::pack`].
fn unpack<W: Weight>(c: &Conv, panels: &[W]) -> Vec<f32> {
    let (ci, taps) = (c.ci as usize, c.taps());
    let mut weights = Vec::with_capacity(c.co as usize * ci * taps);
    for o in 0..c.co as usize {
        let panel = o / PANEL * taps * ci;
        for i in 0..ci {
            weights.extend((0..taps).map(|tap| {
                let row = panel + tap * ci + i;
                panels[row * PANEL + o % PANEL].widen()
            }));
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_file::ModelBytes;

    #[test]
    fn panels_unpack_to_what_was_packed() {
        let conv = Conv {
            ci: 5,
            co: 19,
            kh: 3,
            kw: 2,
            stride: 1,
            pad: 0,
            weight: 0,
            scale: NONE,
            shift: NONE,
            act: Activation::Identity,
        };
        let weights: Vec<f32> = (0..19 * 5 * 6).map(|i| i as f32).collect();
        let mut panels = vec![0.0; conv.stored()];
        elucid_core::op::pack(&conv, &weights, &mut panels);
        assert_eq!(unpack(&conv, &panels), weights);
    }

    #[test]
    fn a_description_is_one_line_and_all_weights_follow() {
        let bytes = ModelBytes::open(None).unwrap();
        let model = bytes.parse().unwrap();
        let network = Network::new(&model, Shape::new(64, 96, 3), 2).unwrap();
        let mut written = Vec::new();
        network.write(&model, &mut written).unwrap();
        let end = written.iter().position(|&b| b == b'\n').unwrap();
        let described: serde_json::Value = serde_json::from_slice(&written[..end]).unwrap();
        assert_eq!(described["image"], serde_json::json!([64, 96]));
        let nodes = described["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), usize::from(model.node_count()));
        assert_eq!(nodes[0]["op"], "input");
        let number = |node: &serde_json::Value, key: &str| node[key].as_u64().unwrap();
        let floats: u64 = nodes
            .iter()
            .map(|node| match node["op"].as_str().unwrap() {
                "conv" => {
                    let taps =
                        node["kernel"][0].as_u64().unwrap() * node["kernel"][1].as_u64().unwrap();
                    let vectors = [&node["scale"], &node["shift"]].map(|v| u64::from(v == true));
                    number(node, "co") * (number(node, "ci") * taps + vectors.iter().sum::<u64>())
                }
                "linear" => {
                    number(node, "co") * (number(node, "ci") + u64::from(node["bias"] == true))
                }
                _ => 0,
            })
            .sum();
        assert_eq!((written.len() - end - 1) as u64, 4 * floats);
    }
}
