//! Emits the steps: forwards once, then backwards block by block.

use crate::error::{Buffer, Error};
use crate::graph::{NONE, Node, NodeId, Op};
use crate::model::Model;
use crate::op::{attention, conv, linear, map};
use crate::plan::checkpoint::{Kept, input_shape, reads_image, share};
use crate::plan::{Act, Content, End, Options, Region, Slot, Step, Value};
use crate::rule::{Composite, Rule, Rules, Share};
use crate::shape::Shape;

/// What was emitted.
pub struct Marks {
    pub values: usize,
    pub steps: usize,
    pub forward: usize,
    pub image: u16,
    pub zero: u16,
    pub logits: u16,
    pub heat: u16,
    pub end_activation: u16,
    pub end_relevance: u16,
}

pub(super) struct Scheduler<'s, 'm> {
    pub(super) model: &'s Model<'m>,
    pub(super) options: &'s Options,
    pub(super) slots: &'s mut [Slot],
    values: &'s mut [Value],
    steps: &'s mut [Step],
    value_count: usize,
    step_count: usize,
    kept: Kept,
    /// Value of the maps, or [`NONE`] before there are any.
    heat: u16,
}

/// Fills `values` and `steps`. Until the arena is placed, a region's `start` is the index of its value.
pub fn emit(
    model: &Model<'_>,
    options: &Options,
    slots: &mut [Slot],
    values: &mut [Value],
    steps: &mut [Step],
) -> Result<Marks, Error> {
    let mut s = Scheduler {
        model,
        options,
        slots,
        values,
        steps,
        value_count: 0,
        step_count: 0,
        kept: Kept::new(model, options.memory),
        heat: NONE,
    };
    let last = model.node_count() - 1;
    let zero = s.zero()?;
    let image = s.value(Content::Activation, 0, s.batch(0)?)?;
    s.slots[0].value = image;
    for id in 1..=last {
        if !s.slots[usize::from(id)].fused {
            s.forward(id, Act::Forward, true)?;
            if s.kept.keeps(&model.node(id), &s.slots[usize::from(id)]) {
                s.pack(id)?;
            }
        }
    }
    let logits = s.slots[usize::from(last)].value;
    s.outlives(logits);
    let (mut end_activation, mut end_relevance) = (NONE, NONE);
    if let End::Node(end) = options.end {
        end_activation = s.slot(end).value;
        s.outlives(end_activation);
    }
    let forward = s.step_count;
    if options.composite == Some(Composite::Attention) {
        s.enlarge(last)?;
    } else if options.composite.is_some() {
        s.put_by();
        s.backward(last)?;
        end_relevance = s.end()?;
    }
    Ok(Marks {
        values: s.value_count,
        steps: s.step_count,
        forward,
        image,
        zero,
        logits,
        heat: s.heat,
        end_activation,
        end_relevance,
    })
}

impl Scheduler<'_, '_> {
    pub(super) fn slot(&mut self, id: NodeId) -> &mut Slot {
        &mut self.slots[usize::from(id)]
    }

    /// Elements of a node's output for all images.
    fn batch(&self, id: NodeId) -> Result<usize, Error> {
        self.times(
            self.slots[usize::from(id)].shape.elements(),
            self.options.images,
        )
    }

    fn times(&self, elements: usize, count: usize) -> Result<usize, Error> {
        elements.checked_mul(count).ok_or(Error::Capacity {
            buffer: Buffer::Arena,
            need: u64::MAX,
            have: u64::from(u32::MAX),
        })
    }

    /// The region of a node's activation, for now its value; taken out of half precision first where it is put by.
    pub(super) fn activation(&mut self, id: NodeId) -> Result<Region, Error> {
        let slot = *self.slot(id);
        if slot.value == NONE && slot.packed != NONE {
            let mut step = self.step(Act::Unpack, id);
            let value = self.value(Content::Activation, id, self.batch(id)?)?;
            (step.ins[0], step.out) = (self.region(slot.packed), self.region(value));
            self.slot(id).value = value;
            self.push(step)?;
        }
        Ok(self.region(self.slots[usize::from(id)].value))
    }

    /// Copies an activation into half precision, if it is to be put by.
    fn pack(&mut self, id: NodeId) -> Result<(), Error> {
        if !self.slot(id).half {
            return Ok(());
        }
        let mut step = self.step(Act::Pack, id);
        let packed = self.value(Content::Packed, id, self.batch(id)?.div_ceil(2))?;
        step.ins[0] = self.activation(id)?;
        step.out = self.region(packed);
        self.slot(id).packed = packed;
        self.push(step)
    }

    /// From here on, activations that were packed are only there in half precision.
    fn put_by(&mut self) {
        for slot in self.slots.iter_mut().filter(|s| s.packed != NONE) {
            slot.value = NONE;
        }
    }

    fn value(&mut self, content: Content, node: NodeId, elements: usize) -> Result<u16, Error> {
        let (id, have) = (self.value_count, self.values.len() as u64);
        let full = Error::Capacity {
            buffer: Buffer::Values,
            need: id as u64 + 1,
            have,
        };
        let place = self
            .values
            .get_mut(id)
            .filter(|_| id < usize::from(NONE))
            .ok_or(full)?;
        let now = self.step_count as u32;
        let len = u32::try_from(elements).map_err(|_| Error::Capacity {
            buffer: Buffer::Arena,
            need: elements as u64,
            have: u64::from(u32::MAX),
        })?;
        *place = Value {
            content,
            node,
            birth: now,
            death: now,
            region: Region { start: 0, len },
            ..Value::EMPTY
        };
        self.value_count += 1;
        Ok(id as u16)
    }

    /// Working memory of the next step, or [`NONE`] if it needs none.
    pub(super) fn scratch(&mut self, node: NodeId, elements: usize) -> Result<u16, Error> {
        match elements {
            0 => Ok(NONE),
            _ => self.value(Content::Scratch, node, elements),
        }
    }

    fn outlives(&mut self, value: u16) {
        self.values[usize::from(value)].death = u32::MAX;
    }

    /// A region that stands for a value until the arena is placed.
    pub(super) fn region(&self, value: u16) -> Region {
        match self.values.get(usize::from(value)) {
            Some(v) if value != NONE && v.region.len > 0 => Region {
                start: u32::from(value),
                len: v.region.len,
            },
            _ => Region::EMPTY,
        }
    }

    pub(super) fn push(&mut self, step: Step) -> Result<(), Error> {
        let (now, have) = (self.step_count, self.steps.len() as u64);
        *self.steps.get_mut(now).ok_or(Error::Capacity {
            buffer: Buffer::Steps,
            need: now as u64 + 1,
            have,
        })? = step;
        self.step_count += 1;
        for region in step.ins.into_iter().chain([step.out, step.scratch]) {
            if region != Region::EMPTY {
                let value = &mut self.values[region.start as usize];
                value.death = value.death.max(now as u32);
            }
        }
        Ok(())
    }

    /// Zeros for the widest layer, for as long as the schedule lives.
    fn zero(&mut self) -> Result<u16, Error> {
        let zeros = |op: Op| op.layer().map_or(0, |c| conv::zeros(&c));
        let most = (0..self.model.node_count())
            .map(|id| zeros(self.model.node(id).op))
            .max()
            .unwrap_or(0);
        let value = self.value(Content::Zero, NONE, most.max(1))?;
        self.outlives(value);
        Ok(value)
    }

    pub(super) fn step(&self, act: Act, node: NodeId) -> Step {
        let mut shapes = [
            input_shape(self.model, self.slots, node),
            self.slots[usize::from(node)].shape,
        ];
        if matches!(self.model.node(node).op, Op::Conv(c) if c.pointwise()) {
            shapes = shapes.map(Shape::flat);
        }
        Step {
            act,
            node,
            shapes,
            ..Step::EMPTY
        }
    }

    /// The forward pass of a node; with `fuse`, an addition together with the convolution that was fused into it.
    fn forward(&mut self, id: NodeId, act: Act, fuse: bool) -> Result<(), Error> {
        let inputs = self.model.node(id).inputs;
        let fused = fuse && inputs[1] != NONE && self.slot(inputs[0]).fused;
        let mut step = if fused {
            self.step(act, inputs[0])
        } else {
            self.step(act, id)
        };
        let op = self.model.node(step.node).op;
        let sources = if fused {
            [self.model.node(inputs[0]).inputs[0], inputs[1]]
        } else {
            inputs
        };
        step.fused = if fused { id } else { NONE };
        let scratch = match op {
            Op::Conv(c) => conv::forward_scratch(&c, step.shapes[0]),
            Op::Linear(l) => linear::forward_scratch(&l),
            Op::Attention(a) => {
                let threads = self.options.threads.max(1);
                attention::forward_scratch(&a, step.shapes[0].pixels(), threads)
            }
            Op::MatMul => {
                let [queries, masks] = step.shapes;
                map::matmul_scratch(queries, masks.with_channels(queries.c))
            }
            Op::Input
            | Op::Add { .. }
            | Op::MaxPool(_)
            | Op::AvgPool
            | Op::Subsample(_)
            | Op::Tokens(_)
            | Op::Positions(_)
            | Op::Norm(_)
            | Op::Slice(_)
            | Op::Fuse
            | Op::MinMax
            | Op::MulMap
            | Op::Affine(_) => 0,
        };
        for (region, source) in step.ins.iter_mut().zip(sources) {
            if source != NONE {
                *region = self.activation(source)?;
            }
        }
        let value = self.value(Content::Activation, id, self.batch(id)?)?;
        let scratch = self.scratch(id, scratch)?;
        (step.out, step.scratch) = (self.region(value), self.region(scratch));
        self.slot(id).value = value;
        self.push(step)
    }

    /// The value that takes relevance of `node`'s output, and whether it holds some already.
    pub(super) fn target(&mut self, node: NodeId) -> Result<(Region, bool), Error> {
        let Slot {
            relevance, shape, ..
        } = *self.slot(node);
        if relevance != NONE {
            return Ok((self.region(relevance), true));
        }
        let elements = self.times(shape.elements(), self.options.maps())?;
        let value = self.value(Content::Relevance, node, elements)?;
        self.slot(node).relevance = value;
        Ok((self.region(value), false))
    }

    /// The maps, and whether they hold some relevance already.
    fn map(&mut self) -> Result<(Region, bool), Error> {
        let known = self.heat != NONE;
        if !known {
            let elements = self.times(self.slots[0].shape.pixels(), self.options.maps())?;
            self.heat = self.value(Content::Heat, 0, elements)?;
            self.outlives(self.heat);
        }
        Ok((self.region(self.heat), known))
    }

    fn backward(&mut self, last: NodeId) -> Result<(), Error> {
        let mut seed = self.step(Act::Seed, last);
        seed.ins[0] = self.activation(last)?;
        (seed.out, _) = self.target(last)?;
        self.push(seed)?;
        let (mut segment, mut stage) = (u16::MAX, u8::MAX);
        for id in (self.options.end.node() + 1..=last).rev() {
            let node = self.model.node(id);
            if node.stage != stage {
                stage = node.stage;
                if stage < self.kept.stage && self.reached(|n| n.stage == stage) {
                    self.restore(stage, node.segment)?;
                }
            }
            if node.segment != segment {
                segment = node.segment;
                if segment < self.kept.segment && self.reached(|n| n.segment == segment) {
                    self.recompute(segment)?;
                }
            }
            let slot = *self.slot(id);
            if slot.relevance != NONE && slot.toward {
                match self.options.composite {
                    Some(Composite::Chain(chain)) => self.derivative(id, chain)?,
                    Some(Composite::Rules(rules)) => self.relevance(id, rules)?,
                    Some(Composite::Attention) | None => {}
                }
            }
        }
        Ok(())
    }

    /// The adapter's map instead of relevance: that is what the last minimum and maximum were taken for.
    fn enlarge(&mut self, last: NodeId) -> Result<(), Error> {
        let mut nodes = (0..=last).rev();
        let map = nodes.find(|&id| self.model.node(id).op == Op::MinMax);
        let (Some(map), End::Map) = (map, self.options.end) else {
            return Err(Error::Unsupported {
                node: u32::from(last),
            });
        };
        let mut seed = self.step(Act::Seed, last);
        seed.ins[0] = self.activation(last)?;
        (seed.out, _) = self.target(last)?;
        self.push(seed)?;
        let mut step = self.step(Act::Enlarge, map);
        step.shapes = [step.shapes[1], self.slots[0].shape.with_channels(1)];
        step.ins[0] = self.activation(map)?;
        (step.out, _) = self.map()?;
        self.push(step)
    }

    /// The last steps; the value of the relevance at the end, if that is a node.
    fn end(&mut self) -> Result<u16, Error> {
        let (end, summed) = match self.options.end {
            End::Map => (0, true),
            End::Node(end) => (end, false),
        };
        let relevance = self.slot(end).relevance;
        if relevance != NONE {
            self.weigh(end)?;
        }
        if !summed && relevance != NONE {
            self.outlives(relevance);
            return Ok(relevance);
        }
        if relevance != NONE {
            let mut collect = self.step(Act::Collect, 0);
            collect.ins[0] = self.region(relevance);
            (collect.out, collect.accumulate) = self.map()?;
            self.push(collect)?;
        }
        if self.heat == NONE {
            return Err(Error::Unsupported {
                node: u32::from(end),
            });
        }
        Ok(NONE)
    }

    /// Whether relevance has come to one of these nodes.
    fn reached(&self, of: impl Fn(&Node) -> bool) -> bool {
        let nodes = (0..self.model.node_count()).map(|id| self.model.node(id));
        let mut all = nodes.zip(self.slots.iter());
        all.any(|(node, slot)| slot.relevance != NONE && slot.toward && of(&node))
    }

    /// Whether this node's activation is a result, and so there all the time.
    fn stays(&self, id: NodeId) -> bool {
        self.options.end == End::Node(id)
    }

    /// Computes the inputs of a stage's blocks again, up to block `last`.
    fn restore(&mut self, stage: u8, last: u16) -> Result<(), Error> {
        for id in 1..self.model.node_count() {
            let (slot, node) = (*self.slot(id), self.model.node(id));
            let inside = node.stage == stage && node.segment < last;
            if inside && !slot.fused && !slot.crosses_stage && !self.stays(id) {
                self.forward(id, Act::Recompute, true)?;
                if slot.crosses {
                    self.pack(id)?;
                }
            }
        }
        self.put_by();
        Ok(())
    }

    /// Computes the inside of a block again.
    fn recompute(&mut self, segment: u16) -> Result<(), Error> {
        for id in 1..self.model.node_count() {
            let slot = *self.slot(id);
            let inside = self.model.node(id).segment == segment;
            if inside && slot.needed && !slot.crosses && !self.stays(id) {
                self.forward(id, Act::Recompute, false)?;
            }
        }
        Ok(())
    }

    /// Passes the relevance of a node's output on to its inputs.
    fn relevance(&mut self, id: NodeId, rules: Rules) -> Result<(), Error> {
        let node = self.model.node(id);
        let relevance = self.region(self.slots[usize::from(id)].relevance);
        let [source, skip] = node.inputs;
        let mut step = self.step(Act::Relevance, id);
        let [input, output] = step.shapes;
        let threads = self.options.threads.max(1);
        let image = reads_image(self.model, source) && rules.first.is_none();
        let targets = self.options.targets;
        let unsupported = Error::Unsupported {
            node: u32::from(id),
        };
        let scratch = match node.op {
            Op::Conv(c) if !c.explainable() => return Err(unsupported),
            Op::Conv(c) if image => conv::ones::scratch(&c, output, threads),
            Op::Conv(c) => match rules.of_conv(reads_image(self.model, source)) {
                Rule::ZPlus { .. } => conv::relevance_scratch(&c, input, output, threads, targets),
                Rule::Folded(_) => conv::folded::scratch(&c, input, output, threads),
            },
            Op::Linear(l) => match rules.linear {
                Rule::ZPlus { .. } => linear::relevance_scratch(&l, threads, targets),
                Rule::Folded(_) => linear::folded_scratch(&l, threads),
            },
            Op::Input | Op::Add { .. } | Op::MaxPool(_) | Op::AvgPool | Op::Subsample(_) => 0,
            Op::Tokens(_)
            | Op::Positions(_)
            | Op::Norm(_)
            | Op::Attention(_)
            | Op::Slice(_)
            | Op::Fuse
            | Op::MatMul
            | Op::MinMax
            | Op::MulMap
            | Op::Affine(_) => return Err(unsupported),
        };
        if let Some(share) = share(self.options, &node.op) {
            if self.slot(source).relevance != NONE || source == skip {
                return Err(unsupported);
            }
            self.slot(source).relevance = self.slot(id).relevance;
            if share == Share::Residual {
                return Ok(());
            }
            step.act = Act::Split;
            step.ins[2] = relevance;
            if share.reads() {
                step.ins[0] = self.activation(source)?;
                step.ins[1] = self.activation(skip)?;
            }
            (step.out, step.accumulate) = self.target(skip)?;
            return self.push(step);
        }
        step.ins[1] = relevance;
        // The first convolution sees ones instead of the image, and gives the map itself.
        (step.out, step.accumulate) = if image && matches!(node.op, Op::Conv(_)) {
            self.map()?
        } else {
            step.ins[0] = self.activation(source)?;
            self.target(source)?
        };
        let scratch = self.scratch(id, scratch)?;
        step.scratch = self.region(scratch);
        self.push(step)
    }
}
