//! From a checkpoint to a `.elucid` model: strict about every tensor.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, bail};
use elucid_core::builder::{Builder, Named, Role, TensorSpec};
use elucid_core::graph::{Conv, NONE, Op};
use elucid_core::model::{Dtype, Preprocess};
use elucid_core::op::pack;

use crate::architecture::Network;
use crate::checkpoint::Checkpoint;
use crate::model_file::{Contents, Stored};

/// How a checkpoint is imported.
pub struct Options {
    /// eps of every BatchNorm.
    pub bn_eps: f64,
    /// Whether convolution and linear weights are stored as f16. BatchNorm and biases stay f32.
    pub half: bool,
    /// How a picture becomes an input.
    pub preprocess: Preprocess,
    /// Class names, one per class, or none.
    pub classes: Vec<String>,
}

/// A graph with the tensors it wants.
pub struct Blueprint {
    /// Nodes in order.
    pub nodes: Vec<Named>,
    /// Tensors in the order the nodes refer to them.
    pub tensors: Vec<TensorSpec>,
}

impl Blueprint {
    /// The graph of a network.
    ///
    /// # Errors
    /// For impossible numbers.
    pub fn new(net: &dyn Network) -> Result<Self> {
        let (nodes, tensors) = net.capacity();
        let mut nodes = vec![Named::EMPTY; nodes];
        let mut tensors = vec![TensorSpec::EMPTY; tensors];
        let mut builder = Builder::new(&mut nodes, &mut tensors);
        net.build(&mut builder)?;
        let (node_count, tensor_count) = (builder.nodes().len(), builder.tensors().len());
        nodes.truncate(node_count);
        tensors.truncate(tensor_count);
        Ok(Self { nodes, tensors })
    }

    /// The convolution (or linear layer as one) that each weight tensor belongs to.
    fn layer(&self, weight: usize) -> Option<Conv> {
        let mut layers = self.nodes.iter().filter_map(|n| n.node.op.layer());
        layers.find(|c| usize::from(c.weight) == weight)
    }

    /// The convolution whose BatchNorm shift this tensor is, if one comes before that BatchNorm.
    fn normalised(&self, shift: usize) -> Option<&Named> {
        self.nodes
            .iter()
            .find(|n| matches!(n.node.op, Op::Conv(c) if usize::from(c.shift) == shift && c.scale != NONE))
    }
}

/// Whether shapes are the same but for dimensions of 1 at the ends: a 1x1 convolution is a fully connected layer of each
/// row, and tokens have a dimension for the batch.
pub(crate) fn agree(found: &[usize], wanted: &[u32]) -> bool {
    let ones = |n: usize| n == 1;
    let start = found.iter().take_while(|&&n| ones(n)).count();
    let skip = wanted.iter().take_while(|&&n| ones(n as usize)).count();
    let (found, wanted) = (&found[start..], &wanted[skip..]);
    let len = found.iter().rposition(|&n| !ones(n)).map_or(0, |at| at + 1);
    let most = wanted.iter().rposition(|&n| n != 1).map_or(0, |at| at + 1);
    let (found, wanted) = (&found[..len], &wanted[..most]);
    found
        .iter()
        .map(|&n| n as u64)
        .eq(wanted.iter().map(|&n| u64::from(n)))
}

/// Takes tensors out of a checkpoint and remembers what is wrong with them.
struct Reader<'c> {
    checkpoint: &'c Checkpoint,
    used: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Reader<'_> {
    fn take(&mut self, name: String, shape: &[u32]) -> Option<&[f32]> {
        let tensor = self.checkpoint.tensors.get(&name);
        let problem = match tensor {
            None => format!("{name} is missing"),
            Some(t) if !agree(&t.shape, shape) => {
                format!("{name} is {:?} but should be {shape:?}", t.shape)
            }
            Some(_) => String::new(),
        };
        self.used.insert(name);
        if !problem.is_empty() {
            self.wrong.push(problem);
            return None;
        }
        tensor.map(|t| t.data.as_slice())
    }

    /// Scale and shift of a BatchNorm, worked out in f64.
    fn norm(&mut self, prefix: &str, channels: u32, eps: f64) -> Option<(Vec<f64>, Vec<f64>)> {
        let mut part = |name: &str| {
            let values = self.take(format!("{prefix}.{name}"), &[channels])?;
            Some(values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>())
        };
        let (gamma, beta) = (part("weight"), part("bias"));
        let (mean, var) = (part("running_mean")?, part("running_var")?);
        let (gamma, beta) = (gamma?, beta?);
        if let Some(at) = var.iter().position(|&v| v + eps <= 0.0) {
            self.wrong.push(format!(
                "{prefix}.running_var + eps is not positive at {at}"
            ));
            return None;
        }
        let range = f64::from(f32::MAX);
        let scale: Vec<f64> = gamma
            .iter()
            .zip(&var)
            .map(|(g, v)| g / (v + eps).sqrt())
            .collect();
        let shift: Vec<f64> = beta
            .iter()
            .zip(&mean)
            .zip(&scale)
            .map(|((b, m), s)| b - m * s)
            .collect();
        if scale.iter().chain(&shift).any(|v: &f64| v.abs() > range) {
            self.wrong
                .push(format!("{prefix} scales beyond the range of f32"));
            return None;
        }
        Some((scale, shift))
    }

    /// Rows from one on of a table of tokens or positions.
    fn table(&mut self, name: &str, (from, rows): (u32, u32), width: u32) -> Option<Stored> {
        self.used.insert(name.to_owned());
        let Some(tensor) = self.checkpoint.tensors.get(name) else {
            self.wrong.push(format!("{name} is missing"));
            return None;
        };
        let at = |row: u32| row as usize * width as usize;
        let wide = tensor.shape.last() == Some(&(width as usize));
        let data = tensor.data.get(at(from)..at(from + rows));
        let Some(data) = data.filter(|_| wide) else {
            self.wrong.push(format!(
                "{name} is {:?} but should be [{}, {width}]",
                tensor.shape,
                from + rows
            ));
            return None;
        };
        let (data, dtype) = (data.to_vec(), Dtype::F32);
        Some(Stored { data, dtype })
    }

    fn stored(&mut self, blueprint: &Blueprint, index: usize, options: &Options) -> Option<Stored> {
        let TensorSpec { name, role, dims } = blueprint.tensors[index];
        let floats = |v: Vec<f64>| Stored {
            data: v.into_iter().map(|v| v as f32).collect(),
            dtype: Dtype::F32,
        };
        match role {
            Role::ConvWeight | Role::LinearWeight | Role::TurnedWeight => {
                let layer = blueprint.layer(index)?;
                let turned = role == Role::TurnedWeight;
                let [co, ci, ..] = dims;
                let wanted = if turned { [ci, co, 1, 1] } else { dims };
                let weights = self.take(name.as_str().to_owned(), &wanted)?;
                let mut data = vec![0.0; layer.stored()];
                if turned {
                    let (co, ci) = (co as usize, ci as usize);
                    let weights: Vec<f32> = (0..co * ci)
                        .map(|at| weights[at % ci * co + at / ci])
                        .collect();
                    pack(&layer, &weights, &mut data);
                } else {
                    pack(&layer, weights, &mut data);
                }
                let dtype = if options.half { Dtype::F16 } else { Dtype::F32 };
                if let (true, Some(v)) = (options.half, data.iter().find(|v| v.abs() > 65_504.0)) {
                    self.wrong.push(format!(
                        "{name} holds {v}, too large for f16; import without --f16"
                    ));
                }
                Some(Stored { data, dtype })
            }
            Role::NormScale => self
                .norm(name.as_str(), dims[0], options.bn_eps)
                .map(|(scale, _)| floats(scale)),
            Role::NormShift => {
                // Problems were noted with the scale.
                let noted = self.wrong.len();
                let norm = self.norm(name.as_str(), dims[0], options.bn_eps);
                self.wrong.truncate(noted);
                let (scale, mut shift) = norm?;
                // A bias of the convolution goes through the BatchNorm; LRP leaves it out of z either way.
                let layer = blueprint.normalised(index);
                let bias = layer.map(|layer| format!("{}.bias", layer.name));
                if let Some(bias) = bias.filter(|b| self.checkpoint.tensors.contains_key(b)) {
                    let bias = self.take(bias, &dims[..1])?;
                    shift
                        .iter_mut()
                        .zip(&scale)
                        .zip(bias)
                        .for_each(|((t, s), &b)| *t += s * f64::from(b));
                }
                Some(floats(shift))
            }
            Role::Table { from } => self.table(name.as_str(), (from, dims[0]), dims[1]),
            Role::Factors | Role::Summands => {
                let missing = if role == Role::Factors { 1.0 } else { 0.0 };
                let there = self.checkpoint.tensors.contains_key(name.as_str());
                let data = if there {
                    self.take(name.as_str().to_owned(), &dims[..1])?.to_vec()
                } else {
                    vec![missing; dims[0] as usize]
                };
                let dtype = Dtype::F32;
                Some(Stored { data, dtype })
            }
            Role::Bias => {
                let data = self.take(name.as_str().to_owned(), &dims[..1])?.to_vec();
                Some(Stored {
                    data,
                    dtype: Dtype::F32,
                })
            }
        }
    }
}

/// The bytes of the model file.
///
/// # Errors
/// One line that lists tensors that are missing, misshapen or left over, or class names that don't fit.
pub fn import(checkpoint: &Checkpoint, net: &dyn Network, options: &Options) -> Result<Vec<u8>> {
    if !options.classes.is_empty() && options.classes.len() != net.classes() as usize {
        bail!(
            "the class list has {} names but the network has {} classes; give one name per line",
            options.classes.len(),
            net.classes()
        );
    }
    let blueprint = Blueprint::new(net)?;
    let mut reader = Reader {
        checkpoint,
        used: BTreeSet::new(),
        wrong: Vec::new(),
    };
    let tensors: Vec<Option<Stored>> = (0..blueprint.tensors.len())
        .map(|i| reader.stored(&blueprint, i, options))
        .collect();
    let extra = checkpoint
        .tensors
        .keys()
        .filter(|k| !reader.used.contains(*k) && !net.leaves(k));
    let mut wrong = reader.wrong;
    wrong.extend(extra.map(|name| format!("{name} is not part of the network")));
    if !wrong.is_empty() {
        const SHOWN: usize = 4;
        let more = wrong.len().saturating_sub(SHOWN);
        wrong.truncate(SHOWN);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        bail!(
            "the weights don't fit a {}: {}{more}",
            net.describe(),
            wrong.join("; ")
        );
    }
    let tensors: Option<Vec<Stored>> = tensors.into_iter().collect();
    let tensors = tensors.ok_or_else(|| anyhow!("a tensor belongs to no layer"))?;
    let contents = Contents {
        nodes: &blueprint.nodes,
        tensors: &tensors,
        classes: &options.classes,
        preprocess: options.preprocess,
        description: &net.describe(),
    };
    contents.assemble()
}
