//! From steps to launches.
//!
//! Pure: [`Lowering`] turns the steps of a plan into kernels, grids and arguments over addresses that it is given, and touches
//! no device. So the launches of a plan can be counted, priced and executed by something else than a GPU.

mod conv;
pub mod flow;
pub mod launch;
pub mod layout;
pub mod ledger;
mod relevance;
pub mod seed;
pub mod token;

use elucid_core::graph::{Node, Op, TensorId};
use elucid_core::plan::{Act, Options, Region, Step};
use elucid_core::rule::{Composite, Init, Split};
use elucid_core::{Error, Model};
use elucid_kernels::params::Address;

pub use launch::{Argument, Launch};
pub use layout::Layout;

/// Everything that a step becomes launches by.
#[derive(Clone, Copy)]
pub struct Lowering<'a> {
    model: &'a Model<'a>,
    layout: &'a Layout,
    options: Options,
    composite: Composite,
    /// Address of the memory that the layout is of.
    base: Address,
    /// Whether forward passes and denominators may take tensor cores.
    tensor_cores: bool,
}

/// One map of a step with relevance.
#[derive(Clone, Copy, Debug)]
struct Map {
    /// Its input activation, or that of the residual branch; 0 if there is none.
    a: Address,
    /// Its relevance of the output.
    r: Address,
    /// Its relevance of the input.
    out: Address,
    /// Whether `out` is added to.
    accumulate: bool,
}

impl<'a> Lowering<'a> {
    /// Launches for a plan with these options, over memory at `base` laid out by `layout`.
    #[must_use]
    pub fn new(model: &'a Model<'a>, layout: &'a Layout, options: &Options, base: Address) -> Self {
        Self {
            model,
            layout,
            options: *options,
            composite: options.composite.unwrap_or(Composite::exact(Split::Ratio)),
            base,
            tensor_cores: false,
        }
    }

    /// The same with forward passes and denominators on tensor cores where weights are stored in halves, or without.
    #[must_use]
    pub fn with_tensor_cores(self, tensor_cores: bool) -> Self {
        Self {
            tensor_cores,
            ..self
        }
    }

    fn unsupported(&self, step: &Step) -> Error {
        Error::Unsupported {
            node: u32::from(step.node),
        }
    }

    /// Address of a region of the arena, 0 for an empty one.
    fn at(&self, region: Region) -> Address {
        match region.len {
            0 => 0,
            _ => self.base + self.layout.arena() + 4 * u64::from(region.start),
        }
    }

    /// Address of one of `count` equal parts of a region, 0 for an empty one.
    fn part(&self, region: Region, index: usize, count: usize) -> Address {
        match region.len {
            0 => 0,
            len => self.at(region) + 4 * (index * (len as usize / count)) as u64,
        }
    }

    /// Address of a tensor of the model, 0 for [`NONE`].
    fn tensor(&self, id: TensorId) -> Address {
        self.layout
            .tensor(id)
            .map_or(0, |offset| self.base + offset)
    }

    /// What is done once before the first step: sums over weights that some rules need.
    #[must_use]
    pub fn prepare(&self) -> Vec<Launch> {
        conv::prepare(self)
    }

    /// A step other than a seed. With `audit`, what it did with relevance is written to [`Layout::ledger`] as well.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what no plan holds.
    pub fn step(&self, step: &Step, audit: bool) -> Result<Vec<Launch>, Error> {
        let mut to = Vec::new();
        match step.act {
            Act::Forward | Act::Recompute => {
                self.forward(&self.model.node(step.node), step, &mut to)?;
            }
            Act::Relevance | Act::Split | Act::Collect | Act::Weigh | Act::Gate => {
                relevance::step(self, step, audit, &mut to)?;
            }
            Act::Enlarge => token::enlarge(self, step, &mut to),
            Act::Pack => {
                let count = step.ins[0].len as usize;
                flow::pack(&mut to, count, self.at(step.ins[0]), self.at(step.out));
            }
            Act::Unpack => {
                let count = step.out.len as usize;
                flow::unpack(&mut to, count, self.at(step.ins[0]), self.at(step.out));
            }
            Act::Seed => return Err(self.unsupported(step)),
        }
        Ok(to)
    }

    /// Any step of an explanation, not audited.
    ///
    /// # Errors
    /// Those of [`Lowering::step`].
    pub fn launches(&self, step: &Step, init: Init) -> Result<Vec<Launch>, Error> {
        match step.act {
            Act::Seed => Ok(self.seed(step, init)),
            _ => self.step(step, false),
        }
    }

    /// The seed of every map: reads the requests and writes the results of [`Layout`].
    #[must_use]
    pub fn seed(&self, step: &Step, init: Init) -> Vec<Launch> {
        let mut to = Vec::new();
        let classes = step.shapes[1].elements();
        flow::seed(
            &mut to,
            (self.at(step.ins[0]), self.at(step.out)),
            (classes, self.options.images, self.options.targets),
            init,
            (
                self.base + self.layout.requests(),
                self.base + self.layout.results(),
            ),
        );
        to
    }

    /// Heat Quantization of `maps` maps that lie side by side in a region, each by itself.
    #[must_use]
    pub fn quantize(&self, region: Region, maps: usize, levels: u32) -> Vec<Launch> {
        let mut to = Vec::new();
        let pixels = region.len as usize / maps.max(1);
        let work = self.base + self.layout.partials();
        for index in 0..maps {
            let map = self.part(region, index, maps);
            flow::quantize(&mut to, map, pixels, levels, work);
        }
        to
    }

    fn forward(&self, node: &Node, step: &Step, to: &mut Vec<Launch>) -> Result<(), Error> {
        let images = self.options.images;
        let (x, y) = (self.at(step.ins[0]), self.at(step.out));
        match node.op {
            Op::Conv(c) => conv::forward(self, &c, step, to),
            Op::Linear(l) => conv::linear(self, &l, step, to),
            Op::Add { relu, .. } => {
                let branches = (x, self.at(step.ins[1]));
                flow::add(to, branches, relu, step.out.len as usize, y);
            }
            Op::MaxPool(p) => flow::max_forward(to, &p, step.shapes, images, x, y),
            Op::AvgPool => flow::average_forward(to, step.shapes[0], images, x, y),
            Op::Subsample(s) => flow::subsample_forward(to, &s, step.shapes, images, x, y),
            Op::Tokens(_)
            | Op::Positions(_)
            | Op::Norm(_)
            | Op::Attention(_)
            | Op::Slice(_)
            | Op::Fuse
            | Op::MatMul
            | Op::MinMax
            | Op::MulMap
            | Op::Affine(_) => token::forward(self, node, step, to)?,
            Op::Input => {}
        }
        Ok(())
    }
}
