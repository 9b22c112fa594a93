//! From a graph to a flat schedule over one arena.
//!
//! [`Plan::new`] walks the model once forwards and once backwards and emits [`Step`]s: forward, recompute, seed, split,
//! relevance, collect, weigh and gate for derivatives, and pack and unpack for what is put by in half precision. Every tensor of every step is a [`Value`] with a birth and a death; the arena places values so
//! that those alive together don't overlap. Backends execute the steps and know nothing of order or lifetimes; only this
//! module knows in which order relevance flows.

mod arena;
mod checkpoint;
mod derivative;
mod options;
mod schedule;

use crate::error::{Buffer, Error};
use crate::graph::{Activation, NONE, NodeId, Op};
use crate::model::Model;
use crate::rule::Composite;
use crate::shape::Shape;

pub use options::{End, Memory, Options};

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Act {
    /// A node's output from its inputs.
    Forward,
    /// The same again, on the way back.
    Recompute,
    /// The explained class gets its relevance.
    Seed,
    /// The relevance of a sum is split between its branches.
    Split,
    /// The relevance of a node's input from that of its output.
    Relevance,
    /// The relevance of the image is summed over its channels.
    Collect,
    /// The relevance of a node's output is multiplied by that output.
    Weigh,
    /// The relevance of a node's output goes through its ReLU and BatchNorm, or what stands for them in a
    /// [`crate::rule::Chain`].
    Gate,
    /// The adapter's map becomes one of the image's size.
    Enlarge,
    /// An activation is put by in half precision.
    Pack,
    /// The same activation is taken out again.
    Unpack,
}

/// A piece of the arena, in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Region {
    /// First element.
    pub start: u32,
    /// Elements.
    pub len: u32,
}

impl Region {
    /// No region.
    pub const EMPTY: Region = Region { start: 0, len: 0 };

    /// As a range of indices; an empty one is `0..0`.
    #[must_use]
    pub const fn range(self) -> core::ops::Range<usize> {
        let start = if self.len == 0 {
            0
        } else {
            self.start as usize
        };
        start..start + self.len as usize
    }
}

/// One step of a schedule.
///
/// | act | `ins` | `out` |
/// |---|---|---|
/// | forward, recompute | inputs; for a convolution that ends a block, the skip branch second | output |
/// | seed | logits | relevance of the logits |
/// | split | residual branch, skip branch (empty unless split in proportion), relevance (keeps the residual share) | relevance of the skip branch |
/// | split of a derivative | nothing, nothing, relevance (stays) | relevance of the other branch |
/// | relevance | input activation, relevance of the output | relevance of the input |
/// | relevance of a convolution of the image by rules | nothing, relevance of the output | heat `[h, w]` |
/// | relevance in a derivative | input activation (of max pools only), relevance of the output | relevance of the input |
/// | collect | relevance of the image | heat `[h, w]` |
/// | enlarge | the adapter's map | heat `[h, w]` |
/// | weigh, gate | output activation, if it is read | relevance of the output, changed in place |
/// | pack, unpack | the activation in single, in half precision | the same in half, in single precision |
///
/// A batch lies image by image, and the maps of one image lie target by target: map `image * targets + target` of every
/// relevance. `shapes` are those of one image, `scratch` serves one map after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Step {
    /// What is done.
    pub act: Act,
    /// The node it is done for.
    pub node: NodeId,
    /// The addition that this convolution's forward pass does on the way, or [`NONE`].
    pub fused: NodeId,
    /// Whether `out` is added to instead of written.
    pub accumulate: bool,
    /// Shapes of the node's first input and of its output.
    pub shapes: [Shape; 2],
    /// What is read.
    pub ins: [Region; 3],
    /// What is written.
    pub out: Region,
    /// Working memory.
    pub scratch: Region,
}

impl Step {
    /// Fills lent slices.
    pub const EMPTY: Step = Step {
        act: Act::Forward,
        node: NONE,
        fused: NONE,
        accumulate: false,
        shapes: [Shape::new(0, 0, 0); 2],
        ins: [Region::EMPTY; 3],
        out: Region::EMPTY,
        scratch: Region::EMPTY,
    };

    /// What ends a convolution's forward pass: whether the skip branch is added, and the activation, its `own` unless an addition
    /// is fused into it.
    #[must_use]
    pub fn end(&self, model: &Model<'_>, own: Activation) -> (bool, Activation) {
        match model.node(self.fused).op {
            Op::Add { relu: true, .. } if self.fused != NONE => (true, Activation::Relu),
            Op::Add { .. } if self.fused != NONE => (true, Activation::Identity),
            _ => (false, own),
        }
    }
}

/// What a value holds, for the arena map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Content {
    /// The output of a node.
    Activation,
    /// The same in half precision, two in the place of one.
    Packed,
    /// Relevance of a node's output.
    Relevance,
    /// Working memory of a step.
    Scratch,
    /// Zeros that stand in for padding.
    Zero,
    /// The finished map.
    Heat,
}

/// A tensor of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Value {
    /// What it holds.
    pub content: Content,
    /// The node it belongs to.
    pub node: NodeId,
    /// First step that writes it.
    pub birth: u32,
    /// Last step that touches it; [`u32::MAX`] if it outlives the schedule.
    pub death: u32,
    /// Where it lies.
    pub region: Region,
    /// While it is placed: how often it stuck out, and where it lies in the best placement so far.
    urgency: u32,
    best: u32,
}

impl Value {
    /// Fills lent slices.
    pub const EMPTY: Value = Value {
        content: Content::Scratch,
        node: NONE,
        birth: 0,
        death: 0,
        region: Region::EMPTY,
        urgency: 0,
        best: 0,
    };

    /// The first element behind it, with the gap that alignment leaves. In 64 bits: no sum of sizes overflows.
    fn end(&self) -> u64 {
        (u64::from(self.region.start) + u64::from(self.region.len)).next_multiple_of(arena::ALIGN)
    }

    /// Whether both are alive at some step.
    #[must_use]
    pub const fn meets(&self, other: &Value) -> bool {
        self.birth <= other.death && other.birth <= self.death
    }
}

/// What the planner remembers of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    shape: Shape,
    /// Value of the activation, or [`NONE`].
    value: u16,
    /// Value of the relevance, or [`NONE`].
    relevance: u16,
    /// Nodes that read this one.
    uses: u16,
    /// Whether the backward pass reads the activation.
    needed: bool,
    /// Whether a later block reads it.
    crosses: bool,
    /// Whether a later stage reads it.
    crosses_stage: bool,
    /// Whether it is put by in half precision.
    half: bool,
    /// Value of the activation in half precision, or [`NONE`].
    packed: u16,
    /// Whether its forward pass happens inside the addition that follows.
    fused: bool,
    /// Whether relevance that passes here gets to the end.
    toward: bool,
    /// Whether its relevance is multiplied by its activation.
    weighed: bool,
}

impl Slot {
    /// Fills lent slices.
    pub const EMPTY: Slot = Slot {
        shape: Shape::new(0, 0, 0),
        value: NONE,
        relevance: NONE,
        uses: 0,
        needed: false,
        crosses: false,
        crosses_stage: false,
        half: false,
        packed: NONE,
        fused: false,
        toward: false,
        weighed: false,
    };
}

/// Buffers that a plan is made in; [`Workspace::capacity`] says how large.
#[derive(Debug)]
pub struct Workspace<'w> {
    /// One per node.
    pub slots: &'w mut [Slot],
    /// Tensors of the schedule.
    pub values: &'w mut [Value],
    /// Steps of the schedule.
    pub steps: &'w mut [Step],
}

impl Workspace<'_> {
    /// Slots, values and steps that suffice for any plan of a model with this many nodes.
    #[must_use]
    pub const fn capacity(nodes: u16) -> (usize, usize, usize) {
        let n = nodes as usize;
        (n, 13 * n + 8, 9 * n + 8)
    }
}

/// A schedule with its places in the arena.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'w> {
    steps: &'w [Step],
    values: &'w [Value],
    forward: usize,
    arena: usize,
    lower_bound: usize,
    options: Options,
    image: Region,
    zero: Region,
    logits: Region,
    heat: Region,
    end_shape: Shape,
    end_activation: Region,
    end_relevance: Region,
}

impl<'w> Plan<'w> {
    /// Plans a model.
    ///
    /// # Errors
    /// [`Error::Shape`] if the image doesn't fit the network, [`Error::Capacity`] if a buffer is too small,
    /// [`Error::Unsupported`] for a graph in which relevance can't flow, or an end that doesn't exist or that relevance
    /// doesn't reach.
    pub fn new(
        model: &Model<'_>,
        options: &Options,
        workspace: Workspace<'w>,
    ) -> Result<Self, Error> {
        let Workspace {
            slots,
            values,
            steps,
        } = workspace;
        for (count, buffer) in [
            (options.images, Buffer::Image),
            (options.targets, Buffer::Targets),
        ] {
            if count == 0 {
                let (need, have) = (1, 0);
                return Err(Error::Length { buffer, need, have });
            }
        }
        let nodes = usize::from(model.node_count());
        let have = slots.len() as u64;
        let slots = slots.get_mut(..nodes).ok_or(Error::Capacity {
            buffer: Buffer::Slots,
            need: nodes as u64,
            have,
        })?;
        let end = options.end.node();
        let at_image = options.end == End::Node(0);
        let summed = match options.composite {
            Some(Composite::Rules(rules)) => rules.first.is_none(),
            Some(Composite::Chain(_) | Composite::Attention) | None => false,
        };
        if usize::from(end) >= nodes || at_image && summed {
            let node = u32::from(end);
            return Err(Error::Unsupported { node });
        }
        checkpoint::infer(model, options, slots)?;
        checkpoint::mark(model, options, slots);
        let end_shape = slots[usize::from(end)].shape;
        let marks = schedule::emit(model, options, slots, values, steps)?;
        let values = &mut values[..marks.values];
        let steps = &mut steps[..marks.steps];
        let lower_bound = arena::lower_bound(values, steps.len())?;
        let arena = arena::place(values, lower_bound)?;
        for step in steps.iter_mut() {
            for region in step
                .ins
                .iter_mut()
                .chain([&mut step.out, &mut step.scratch])
            {
                if *region != Region::EMPTY {
                    *region = values[region.start as usize].region;
                }
            }
        }
        let of = |id: u16| {
            values
                .get(usize::from(id))
                .map_or(Region::EMPTY, |v| v.region)
        };
        debug!("planned {} steps over {} f32", steps.len(), arena);
        Ok(Self {
            forward: marks.forward,
            arena,
            lower_bound,
            options: *options,
            image: of(marks.image),
            zero: of(marks.zero),
            logits: of(marks.logits),
            heat: of(marks.heat),
            end_shape,
            end_activation: of(marks.end_activation),
            end_relevance: of(marks.end_relevance),
            steps,
            values,
        })
    }

    /// All steps in order.
    #[must_use]
    pub fn steps(&self) -> &'w [Step] {
        self.steps
    }

    /// The steps that compute the logits.
    #[must_use]
    pub fn forward_steps(&self) -> &'w [Step] {
        &self.steps[..self.forward]
    }

    /// The steps after the logits.
    #[must_use]
    pub fn relevance_steps(&self) -> &'w [Step] {
        &self.steps[self.forward..]
    }

    /// All tensors of the schedule.
    #[must_use]
    pub fn values(&self) -> &'w [Value] {
        self.values
    }

    /// Elements of the arena, in f32.
    #[must_use]
    pub fn arena(&self) -> usize {
        self.arena
    }

    /// Most elements alive at one step: no arena can be smaller.
    #[must_use]
    pub fn lower_bound(&self) -> usize {
        self.lower_bound
    }

    /// What the plan was made for.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Where the images go, `[images, h, w, 3]`.
    #[must_use]
    pub fn image(&self) -> Region {
        self.image
    }

    /// Zeros that stand in for padding.
    #[must_use]
    pub fn zero(&self) -> Region {
        self.zero
    }

    /// Where the logits are after the forward pass, `[images, classes]`.
    #[must_use]
    pub fn logits(&self) -> Region {
        self.logits
    }

    /// Where the maps are in the end, `[images, targets, h, w]`; empty for a forward plan and for one that ends at a node.
    #[must_use]
    pub fn heat(&self) -> Region {
        self.heat
    }

    /// Shape of one image's output of the node where relevance ends; the image's own for [`End::Map`].
    #[must_use]
    pub fn end_shape(&self) -> Shape {
        self.end_shape
    }

    /// Where the activation of the node at [`End::Node`] is after the forward pass, `[images, h, w, c]`; empty for
    /// [`End::Map`].
    #[must_use]
    pub fn end_activation(&self) -> Region {
        self.end_activation
    }

    /// Where the relevance of the node at [`End::Node`] is in the end, `[images, targets, h, w, c]`; empty for
    /// [`End::Map`] and for a forward plan.
    #[must_use]
    pub fn end_relevance(&self) -> Region {
        self.end_relevance
    }

    /// The longest piece of the arena that holds nothing between two calls: neither `region` nor results nor the zeros.
    #[must_use]
    pub fn spare(&self, region: Region) -> core::ops::Range<usize> {
        let results = [self.logits, self.end_activation, self.end_relevance];
        let [a, b, c] = results.map(Region::range);
        let taken = [region.range(), self.zero.range(), a, b, c];
        let ends = taken.iter().map(|t| t.end).chain([0]);
        let pieces = ends.filter_map(|start| {
            let next = taken.iter().filter(|t| !t.is_empty() && t.end > start);
            let end = next.map(|t| t.start).min().unwrap_or(self.arena);
            (end > start).then_some(start..end)
        });
        pieces.max_by_key(|p| p.len()).unwrap_or(0..0)
    }

    /// The same plan without its list of tensors, whose memory may then serve otherwise.
    #[must_use]
    pub fn without_values(self) -> Self {
        Self {
            values: &[],
            ..self
        }
    }
}
