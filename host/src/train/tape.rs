//! A network's node list, run on tensors that remember how they came about.
//!
//! [`Tape::run`] begins with given values of some nodes (an image, or features that were kept) and works out those that
//! the wanted ones need. Values are `[images, rows, channels]`: the rows of an activation are its tokens, then its grid
//! row by row. What no trained parameter has a part in is worked out without a graph, and freed when nothing reads it
//! any more.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use candle_core::{Device, Tensor};
use elucid_core::arch::ala::Dropout;
use elucid_core::builder::Role;
use elucid_core::graph::{
    Activation, Conv, Linear, NONE, NodeId, Norm, Op, Part, Positions, TensorId,
};
use elucid_core::shape::Shape;

use super::op::{self, Statistics, Windows};
use super::parameters::Parameters;
use crate::architecture::Network;
use crate::import::Blueprint;
use crate::synthetic::Random;

/// Part of the batch's statistics in the running ones after a step.
const MOMENTUM: f64 = 0.1;

/// How BatchNorms and dropouts act.
#[derive(Debug)]
pub enum Mode<'m> {
    /// Running statistics, nothing dropped.
    Eval,
    /// The batch's statistics, which also move the running ones (momentum 0.1, unbiased variance); values dropped.
    Train {
        /// Decides what is dropped: one number for each value, in the order of the nodes, but none for shares of 0.
        random: &'m mut Random,
        /// Where values are dropped, and the shares; those that stay are scaled by `1 / (1 - share)`.
        dropouts: &'m [Dropout],
    },
}

/// One way through the network.
#[derive(Debug)]
pub struct Pass<'p> {
    /// Rows and columns of the image, pixels.
    pub image: [u32; 2],
    /// Whether features are masked; without, the map counts as 1 everywhere, and what makes it isn't run.
    pub attention: bool,
    /// What BatchNorms and dropouts do.
    pub mode: Mode<'p>,
}

impl Pass<'_> {
    /// A pass in evaluation mode, with attention.
    #[must_use]
    pub const fn eval(image: [u32; 2]) -> Self {
        Self {
            image,
            attention: true,
            mode: Mode::Eval,
        }
    }
}

/// A network that can be run with gradients.
pub struct Tape {
    blueprint: Blueprint,
    /// eps of every BatchNorm.
    eps: f64,
}

/// Shape of an activation beside its tensor.
fn extent(shape: Shape) -> [usize; 2] {
    [shape.h as usize, shape.w as usize]
}

impl Tape {
    /// The tape of a network whose BatchNorms add `eps` to their variances.
    ///
    /// # Errors
    /// For impossible numbers.
    pub fn new(net: &dyn Network, eps: f64) -> Result<Self> {
        let blueprint = Blueprint::new(net)?;
        Ok(Self { blueprint, eps })
    }

    /// The graph.
    #[must_use]
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// The node with this name: `image`, `h3`, `attention_map`, `logits_perception_branch` ..
    ///
    /// # Errors
    /// If there is none.
    pub fn node(&self, name: &str) -> Result<NodeId> {
        let nodes = &self.blueprint.nodes;
        let at = nodes.iter().position(|n| n.name.as_str() == name);
        at.map(|at| at as NodeId)
            .ok_or_else(|| anyhow!("the network has no node {name}"))
    }

    /// The last node: the logits.
    #[must_use]
    pub fn last(&self) -> NodeId {
        (self.blueprint.nodes.len() - 1) as NodeId
    }

    /// Shapes of all nodes for an image of these rows and columns.
    ///
    /// # Errors
    /// If the image is too small or too large.
    pub fn shapes(&self, [h, w]: [u32; 2]) -> Result<Vec<Shape>> {
        let image = Shape::new(h, w, 3);
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.blueprint.nodes.len());
        for named in &self.blueprint.nodes {
            let [a, b] = named
                .node
                .inputs
                .map(|id| shapes.get(usize::from(id)).copied().unwrap_or(image));
            let shape = named.node.op.infer(a, b);
            let name = named.name;
            shapes.push(shape.ok_or_else(|| anyhow!("{name} can't take an image of {h}x{w}"))?);
        }
        Ok(shapes)
    }

    /// Values of the `wanted` nodes, each `[images, rows, channels]`, from the values of the `given` ones, which may have
    /// any shape with as many elements in this order.
    ///
    /// # Errors
    /// One line if a value is needed that neither is given nor can be worked out, or a parameter is missing or misshapen.
    pub fn run(
        &self,
        parameters: &Parameters,
        given: &[(NodeId, Tensor)],
        wanted: &[NodeId],
        pass: Pass<'_>,
    ) -> Result<Vec<Tensor>> {
        let nodes = &self.blueprint.nodes;
        let shapes = self.shapes(pass.image)?;
        let mut values: Vec<Option<Tensor>> = vec![None; nodes.len()];
        for (id, tensor) in given {
            let shape = shapes[usize::from(*id)];
            let rows = (tensor.reshape(((), shape.pixels(), shape.c as usize)))
                .with_context(|| format!("the value of {}", nodes[usize::from(*id)].name))?;
            values[usize::from(*id)] = Some(rows);
        }
        let mut readers = self.readers(&values, wanted, pass.attention);
        let mut runner = Runner {
            tape: self,
            parameters,
            shapes: &shapes,
            pass,
            positions: BTreeMap::new(),
        };
        for (id, named) in nodes.iter().enumerate() {
            if readers[id] == 0 {
                continue;
            }
            if values[id].is_none() {
                let inputs = named.node.inputs.map(|i| values.get(usize::from(i)));
                let inputs = inputs.map(|v| v.and_then(Option::as_ref));
                let value = runner.node(id, inputs);
                values[id] = Some(value.with_context(|| format!("{}", named.name))?);
                for input in self.inputs(id, runner.pass.attention) {
                    let input = usize::from(input);
                    readers[input] -= 1;
                    if readers[input] == 0 {
                        values[input] = None;
                    }
                }
            }
        }
        let value = |&id: &NodeId| {
            let value = values[usize::from(id)].clone();
            value.ok_or_else(|| anyhow!("{} has no value", nodes[usize::from(id)].name))
        };
        wanted.iter().map(value).collect()
    }

    /// The inputs that a node reads.
    fn inputs(&self, id: usize, attention: bool) -> impl Iterator<Item = NodeId> {
        let node = self.blueprint.nodes[id].node;
        let count = match node.op {
            Op::MulMap if !attention => 1,
            op => op.arity(),
        };
        node.inputs.into_iter().take(count)
    }

    /// How often each node is read, by the wanted ones and what they need; 0 for those that needn't be worked out.
    fn readers(&self, given: &[Option<Tensor>], wanted: &[NodeId], attention: bool) -> Vec<usize> {
        let mut readers = vec![0; given.len()];
        for &id in wanted {
            readers[usize::from(id)] += 1;
        }
        for id in (0..given.len()).rev() {
            if readers[id] > 0 && given[id].is_none() {
                for input in self.inputs(id, attention) {
                    readers[usize::from(input)] += 1;
                }
            }
        }
        readers
    }
}

/// What a pass knows.
struct Runner<'r> {
    tape: &'r Tape,
    parameters: &'r Parameters,
    shapes: &'r [Shape],
    pass: Pass<'r>,
    /// Positions for a grid, which are added many times: `[1, rows, channels]`.
    positions: BTreeMap<(TensorId, TensorId, [usize; 2]), Tensor>,
}

impl Runner<'_> {
    /// The value of a node.
    fn node(&mut self, id: usize, [a, b]: [Option<&Tensor>; 2]) -> Result<Tensor> {
        let named = &self.tape.blueprint.nodes[id];
        let node = &named.node;
        let shape = |input: usize| self.shapes[usize::from(node.inputs[input])];
        let missing = || anyhow!("its value is needed and isn't given");
        let first = || a.ok_or_else(missing);
        let both = || a.zip(b).ok_or_else(missing);
        let name = named.name.as_str();
        let value = match node.op {
            Op::Input => return Err(missing()),
            Op::Conv(c) => self.convolution(name, &c, (first()?, shape(0)))?,
            Op::Linear(l) => self.linear(&l, first()?)?,
            Op::Add { relu, .. } => {
                let (a, b) = both()?;
                let sum = a.add(b)?;
                if relu {
                    let zeros = constant(0.0, self.shapes[id].c)?;
                    op::epilogue(&sum, &zeros, Activation::Relu)?
                } else {
                    sum
                }
            }
            Op::MaxPool(p) => {
                let windows = Windows {
                    grid: extent(shape(0)),
                    kernel: [usize::from(p.kernel); 2],
                    stride: usize::from(p.stride),
                    pad: usize::from(p.pad),
                };
                op::max_pool(first()?, windows)?
            }
            Op::AvgPool => op::average(first()?)?,
            Op::Subsample(s) => {
                let cells = spaced(shape(0), s.stride);
                op::subsample(first()?, cells)?.pad_with_zeros(
                    2,
                    usize::from(s.before),
                    usize::from(s.after),
                )?
            }
            Op::Tokens(t) => {
                let x = first()?;
                let tokens = self.table(t.weight)?.unsqueeze(0)?;
                let (images, _, c) = x.dims3()?;
                let tokens = tokens.broadcast_as((images, t.count as usize, c))?;
                Tensor::cat(&[&tokens.contiguous()?, x], 1)?
            }
            Op::Positions(p) => {
                let positions = self.positions(&p, extent(self.shapes[id]))?;
                first()?.broadcast_add(&positions)?
            }
            Op::Norm(n) => self.norm(&n, first()?)?,
            Op::Attention(a) => op::attention(first()?, a)?,
            Op::Slice(part) => {
                let x = first()?;
                let tokens = shape(0).tokens as usize;
                match part {
                    Part::Tokens => x.narrow(1, 0, tokens)?,
                    Part::Grid => x.narrow(1, tokens, shape(0).pixels() - tokens)?,
                }
            }
            Op::Fuse => {
                let (map, x) = both()?;
                let resized = match op::bilinear(extent(shape(0)), extent(shape(1)))? {
                    Some(matrix) => matrix.broadcast_matmul(map)?,
                    None => map.clone(),
                };
                let tokens = shape(1).tokens as usize;
                x.add(&resized.pad_with_zeros(1, tokens, 0)?)?
            }
            Op::MatMul => {
                let (queries, pixels) = both()?;
                pixels.matmul(&queries.transpose(1, 2)?)?
            }
            Op::MinMax => op::min_max(first()?)?,
            Op::MulMap if !self.pass.attention => first()?.clone(),
            Op::MulMap => {
                let (x, map) = both()?;
                op::multiply(x, map)?
            }
            Op::Affine(f) => self.batch_norm(f.scale, first()?, Activation::Identity)?,
        };
        self.dropped(name, value)
    }

    /// Name and role of a tensor that the graph refers to.
    fn spec(&self, id: TensorId) -> Result<(&str, Role)> {
        let spec = self.tape.blueprint.tensors.get(usize::from(id));
        let spec = spec.ok_or_else(|| anyhow!("it refers to a tensor that isn't there"))?;
        Ok((spec.name.as_str(), spec.role))
    }

    /// A parameter whose name the graph has.
    fn tensor(&self, id: TensorId) -> Result<Tensor> {
        self.parameters.tensor(self.spec(id)?.0)
    }

    /// A vector of factors or summands, or `missing` for all `c` channels.
    fn vector(&self, id: TensorId, c: u32, missing: f32) -> Result<Tensor> {
        if id == NONE || self.parameters.get(self.spec(id)?.0).is_none() {
            return constant(missing, c);
        }
        self.tensor(id)
    }

    /// The rows of a table that are meant, `[rows, channels]`.
    fn table(&self, id: TensorId) -> Result<Tensor> {
        let dims = self.tape.blueprint.tensors[usize::from(id)].dims;
        let (_, role) = self.spec(id)?;
        let Role::Table { from } = role else {
            bail!("it refers to a tensor that is no table");
        };
        let rows = self.tensor(id)?.reshape(((), dims[1] as usize))?;
        Ok(rows.narrow(0, from as usize, dims[0] as usize)?)
    }

    /// A convolution, or fully connected layer of rows, with what follows.
    fn convolution(
        &mut self,
        name: &str,
        c: &Conv,
        (x, shape): (&Tensor, Shape),
    ) -> Result<Tensor> {
        let normed = c.scale != NONE;
        let bias = if normed {
            let bias = format!("{name}.bias");
            let there = self.parameters.get(&bias).is_some();
            there.then(|| self.parameters.tensor(&bias)).transpose()?
        } else if c.shift == NONE {
            None
        } else {
            Some(self.tensor(c.shift)?)
        };
        let act = if normed { Activation::Identity } else { c.act };
        let y = if c.taps() > 1 {
            let windows = Windows {
                grid: extent(shape),
                kernel: [usize::from(c.kh), usize::from(c.kw)],
                stride: usize::from(c.stride),
                pad: usize::from(c.pad),
            };
            let y = op::convolution(x, &self.tensor(c.weight)?, windows)?;
            match bias {
                None if act == Activation::Identity => y,
                None => op::epilogue(&y, &constant(0.0, c.co)?, act)?,
                Some(bias) => op::epilogue(&y, &bias, act)?,
            }
        } else if c.stride > 1 {
            let x = op::subsample(x, spaced(shape, c.stride))?;
            self.dense(c.weight, &x, (bias, c.co), act)?
        } else if c.pad > 0 {
            bail!("padding around single pixels isn't supported")
        } else {
            self.dense(c.weight, x, (bias, c.co), act)?
        };
        if normed {
            return self.batch_norm(c.scale, &y, c.act);
        }
        Ok(y)
    }

    /// A fully connected layer of rows, with its low-rank changes.
    fn dense(
        &self,
        weight: TensorId,
        x: &Tensor,
        (bias, co): (Option<Tensor>, u32),
        act: Activation,
    ) -> Result<Tensor> {
        let changes = self.parameters.changes(self.spec(weight)?.0);
        let w = self.tensor(weight)?;
        if changes.is_empty() {
            return Ok(op::dense(x, &w, bias.as_ref(), act)?);
        }
        let mut sum = op::dense(x, &w, None, Activation::Identity)?;
        for change in changes {
            let (a, b) = (&change.a, &change.b);
            let (a, b) = (self.parameters.tensor(a)?, self.parameters.tensor(b)?);
            let inner = op::dense(x, &a, None, Activation::Identity)?;
            let inner = (inner * f64::from(change.factor))?;
            let y = op::dense(&inner, &b, None, Activation::Identity)?;
            let after = (co as usize).saturating_sub(change.from + change.rows);
            sum = sum.add(&y.pad_with_zeros(2, change.from, after)?)?;
        }
        let bias = bias.map_or_else(|| constant(0.0, co), Ok)?;
        Ok(op::epilogue(&sum, &bias, act)?)
    }

    fn linear(&self, l: &Linear, x: &Tensor) -> Result<Tensor> {
        let bias = match l.bias {
            NONE => None,
            id => Some(self.tensor(id)?),
        };
        let (_, role) = self.spec(l.weight)?;
        if role == Role::TurnedWeight {
            let w = self.tensor(l.weight)?.t()?.contiguous()?;
            return Ok(op::dense(x, &w, bias.as_ref(), Activation::Identity)?);
        }
        self.dense(l.weight, x, (bias, l.co), Activation::Identity)
    }

    fn norm(&self, n: &Norm, x: &Tensor) -> Result<Tensor> {
        let weight = self.vector(n.weight, n.c, 1.0)?;
        let bias = self.vector(n.bias, n.c, 0.0)?;
        Ok(op::layer_norm(x, &weight, &bias, n.eps)?)
    }

    /// BatchNorm and activation; `scale` is the tensor that has the name of the norm.
    fn batch_norm(&mut self, scale: TensorId, x: &Tensor, act: Activation) -> Result<Tensor> {
        let (prefix, _) = self.spec(scale)?;
        let part = |part: &str| self.parameters.tensor(&format!("{prefix}.{part}"));
        let (weight, bias) = (part("weight")?, part("bias")?);
        let c = weight.elem_count();
        let running = [part("running_mean")?, part("running_var")?];
        let batch = matches!(self.pass.mode, Mode::Train { .. });
        let statistics = if batch {
            let rows = x.elem_count() / c.max(1);
            if rows < 2 {
                bail!(
                    "statistics of a batch need more than one value a channel; use larger batches"
                );
            }
            let statistics = Statistics::new(c, x)?;
            let unbiased = rows as f64 / (rows as f64 - 1.0);
            let moves = [(&statistics.mean, 1.0), (&statistics.variance, unbiased)];
            for ((part, old), (new, factor)) in ["running_mean", "running_var"]
                .iter()
                .zip(&running)
                .zip(moves)
            {
                let moved: Vec<f32> = (op::values(old)?.iter().zip(new))
                    .map(|(&old, &new)| {
                        let (old, new) = (f64::from(old), f64::from(new) * factor);
                        (old + MOMENTUM * (new - old)) as f32
                    })
                    .collect();
                let name = format!("{prefix}.{part}");
                let entry = self.parameters.get(&name);
                let entry = entry.ok_or_else(|| anyhow!("{name} is missing"))?;
                entry.var.set(&op::tensor(moved, old.shape())?)?;
            }
            statistics
        } else {
            let [mean, variance] = running;
            Statistics {
                mean: op::values(&mean)?.to_vec(),
                variance: op::values(&variance)?.to_vec(),
            }
        };
        let (eps, how) = (self.tape.eps, (statistics, batch));
        Ok(op::batch_norm(x, [&weight, &bias], how, eps, act)?)
    }

    /// Positions for a grid, `[1, rows, channels]`.
    fn positions(&mut self, p: &Positions, grid: [usize; 2]) -> Result<Tensor> {
        let key = (p.grid, p.tokens, grid);
        if let Some(found) = self.positions.get(&key) {
            return Ok(found.clone());
        }
        let mut table = self.table(p.grid)?;
        if let Some(matrix) = op::bicubic(p, grid)? {
            table = matrix.matmul(&table)?;
        }
        if p.count > 0 {
            table = match p.tokens {
                NONE => table.pad_with_zeros(0, p.count as usize, 0)?,
                tokens => Tensor::cat(&[&self.table(tokens)?, &table], 0)?,
            };
        }
        let table = table.unsqueeze(0)?;
        self.positions.insert(key, table.clone());
        Ok(table)
    }

    /// A node's value with the dropout that acts on it.
    fn dropped(&mut self, name: &str, value: Tensor) -> Result<Tensor> {
        let Mode::Train { random, dropouts } = &mut self.pass.mode else {
            return Ok(value);
        };
        let dropout = dropouts.iter().find(|d| d.node == name);
        let Some(share) = dropout.map(|d| d.share).filter(|&share| share > 0.0) else {
            return Ok(value);
        };
        let scale = if share < 1.0 {
            1.0 / (1.0 - share)
        } else {
            0.0
        };
        let kept: Vec<f32> = (0..value.elem_count())
            .map(|_| if random.share() < share { 0.0 } else { scale })
            .collect();
        let kept = op::tensor(kept, value.shape())?;
        Ok(value.mul(&kept)?)
    }
}

/// `c` times `value`.
fn constant(value: f32, c: u32) -> Result<Tensor> {
    Ok(Tensor::full(value, c as usize, &Device::Cpu)?.contiguous()?)
}

/// Every `stride`-th cell of a grid.
fn spaced(shape: Shape, stride: u16) -> Windows {
    Windows {
        grid: extent(shape),
        kernel: [1; 2],
        stride: usize::from(stride),
        pad: 0,
    }
}
