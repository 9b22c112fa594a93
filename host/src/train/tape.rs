//! A network's node list, run on tensors that remember how they came about.
//!
//! [`Tape::run`] begins with given values of some nodes (an image, or features that were kept) and works out those that
//! the wanted ones need. Values are `[images, rows, channels]`: the rows of an activation are its tokens, then its grid
//! row by row. What no trained parameter has a part in is worked out without a graph, and freed when nothing reads it
//! any more.

mod layer;

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use candle_core::Tensor;
use elucid_core::arch::ala::Dropout;
use elucid_core::graph::{Activation, NodeId, Op, Part, TensorId};
use elucid_core::shape::Shape;

use super::op::{self, Windows};
use super::parameters::Parameters;
use crate::architecture::Network;
use crate::import::Blueprint;
use crate::synthetic::Random;

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
                    let zeros = layer::constant(0.0, self.shapes[id].c)?;
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
