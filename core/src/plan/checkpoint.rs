//! What is kept on the way forward and what is computed again on the way back.

use crate::error::Error;
use crate::graph::{Activation, NONE, Node, NodeId, Op};
use crate::model::Model;
use crate::op::gate::Gate;
use crate::plan::{Memory, Options, Slot};
use crate::rule::{Chain, Composite, Share};
use crate::shape::Shape;

/// Shapes of all nodes for this image.
pub fn infer(model: &Model<'_>, options: &Options, slots: &mut [Slot]) -> Result<(), Error> {
    for id in 0..slots.len() {
        let node = model.node(id as NodeId);
        // A step reads two values, not one twice.
        if node.inputs[1] != NONE && node.inputs[0] == node.inputs[1] {
            return Err(Error::Unsupported { node: id as u32 });
        }
        let shape = |input: NodeId| {
            slots
                .get(usize::from(input))
                .map_or(options.image, |s| s.shape)
        };
        let (a, b) = (shape(node.inputs[0]), shape(node.inputs[1]));
        let shape = node.op.infer(a, b).ok_or(Error::Shape {
            node: id as u32,
            found: a.to_array(),
        })?;
        slots[id] = Slot {
            shape,
            ..Slot::EMPTY
        };
    }
    Ok(())
}

/// How an addition is split, if it is one and relevance is wanted.
pub fn share(options: &Options, op: &Op) -> Option<Share> {
    match (op, options.composite) {
        (_, Some(Composite::Attention)) => None,
        (Op::Add { skip, .. }, Some(composite)) => Some(composite.share(*skip)),
        _ => None,
    }
}

/// What outlives the forward pass.
#[derive(Clone, Copy)]
pub struct Kept {
    /// Blocks from this one on keep all their activations.
    pub segment: u16,
    /// Stages from this one on keep the inputs of their blocks.
    pub stage: u8,
    /// Relevance reaches the blocks from this one on right after the forward pass: nothing is saved by computing them
    /// again or by halving their precision.
    last: u16,
}

impl Kept {
    /// What a memory mode keeps.
    pub fn new(model: &Model<'_>, memory: Memory) -> Self {
        // Architectures make the head a block and a stage of its own.
        let head = model.node(model.node_count().saturating_sub(1));
        let last = head.segment.saturating_sub(1);
        let (segment, stage) = match memory {
            Memory::Keep => (0, 0),
            Memory::Block => (last, 0),
            Memory::Stage => (last, head.stage.saturating_sub(1)),
        };
        Self {
            segment,
            stage,
            last,
        }
    }

    /// Whether the way back reads the value that the way forward leaves.
    pub fn keeps(&self, node: &Node, slot: &Slot) -> bool {
        let whole = node.segment >= self.segment;
        let input = slot.crosses && node.stage >= self.stage;
        slot.needed && (whole || input || slot.crosses_stage)
    }
}

/// Whether the image itself is the input of this node. Unless rules say otherwise its convolution sees ones, so no
/// activation is read.
pub fn reads_image(model: &Model<'_>, input: NodeId) -> bool {
    input != NONE && model.node(input).op == Op::Input
}

/// Whether the way back through a node reads the activations of its inputs, and its own.
fn reads(model: &Model<'_>, options: &Options, node: &Node, slot: &Slot) -> (bool, bool) {
    match options.composite {
        None | Some(Composite::Attention) => (false, false),
        Some(Composite::Rules(rules)) => {
            let inputs = match node.op {
                Op::Conv(_) | Op::Linear(_) => {
                    rules.first.is_some() || !reads_image(model, node.inputs[0])
                }
                Op::MaxPool(_) | Op::AvgPool => true,
                Op::Add { .. } => share(options, &node.op).is_some_and(Share::reads),
                Op::Input | Op::Subsample(_) => false,
                // Relevance doesn't pass here: the schedule says so.
                Op::Tokens(_)
                | Op::Positions(_)
                | Op::Norm(_)
                | Op::Attention(_)
                | Op::Slice(_)
                | Op::Fuse
                | Op::MatMul
                | Op::MinMax
                | Op::MulMap
                | Op::Affine(_) => false,
            };
            (inputs, false)
        }
        Some(Composite::Chain(chain)) => {
            let pool = matches!(node.op, Op::MaxPool(_));
            (pool, slot.weighed || Gate::of(chain, &node.op).reads())
        }
    }
}

/// Whether the value that a node reads is a module's input to captum's LRP, which multiplies relevance by such values.
fn weighs(options: &Options, op: &Op) -> bool {
    let duplicated = matches!(
        options.composite,
        Some(Composite::Chain(Chain::Duplicated { .. }))
    );
    duplicated
        && match op {
            Op::Conv(_) | Op::Linear(_) | Op::MaxPool(_) | Op::AvgPool => true,
            Op::Input
            | Op::Add { .. }
            | Op::Subsample(_)
            | Op::Tokens(_)
            | Op::Positions(_)
            | Op::Norm(_)
            | Op::Attention(_)
            | Op::Slice(_)
            | Op::Fuse
            | Op::MatMul
            | Op::MinMax
            | Op::MulMap
            | Op::Affine(_) => false,
        }
}

/// Marks what the backward pass reads, what later blocks and stages read, and which convolutions end in an addition.
pub fn mark(model: &Model<'_>, options: &Options, slots: &mut [Slot]) {
    let end = usize::from(options.end.node());
    for id in 0..slots.len() {
        let inputs = model.node(id as NodeId).inputs.into_iter();
        let mut inputs = inputs.filter(|&i| i != NONE);
        slots[id].toward = id == end || inputs.any(|i| slots[usize::from(i)].toward);
    }
    let chain = matches!(options.composite, Some(Composite::Chain(_)));
    for id in (0..slots.len()).rev() {
        let node = model.node(id as NodeId);
        let passes = id > end && slots[id].toward;
        let (inputs, own) = if passes {
            reads(model, options, &node, &slots[id])
        } else {
            (false, false)
        };
        slots[id].needed |= own;
        // A value that is read on the way back may have to be computed again, from its inputs. What a block leaves to the
        // next is kept, or computed together with all the others of its stage, whatever is marked here.
        let again = slots[id].needed && !(chain && slots[id].crosses);
        for input in node.inputs.into_iter().filter(|&i| i != NONE) {
            let source = model.node(input);
            let slot = &mut slots[usize::from(input)];
            slot.uses += 1;
            slot.needed |= inputs || again;
            slot.crosses |= source.segment < node.segment;
            slot.crosses_stage |= source.stage < node.stage;
            slot.weighed |= weighs(options, &node.op);
        }
    }
    let kept = Kept::new(model, options.memory);
    for id in 0..slots.len() {
        let node = model.node(id as NodeId);
        let slot = &mut slots[id];
        slot.half = options.half
            && node.op != Op::Input
            && id != end
            && node.segment < kept.last
            && (kept.keeps(&node, slot) || slot.needed && slot.crosses);
        let (Op::Add { .. }, [residual, skip]) = (node.op, node.inputs) else {
            continue;
        };
        let branch = model.node(residual);
        // One step reads the branch's input and the skip branch: they must be two values.
        let plain = matches!(branch.op, Op::Conv(c) if c.act == Activation::Identity)
            && branch.segment == node.segment
            && skip != residual
            && usize::from(residual) != end
            && skip != branch.inputs[0];
        let slot = &mut slots[usize::from(residual)];
        // Its value is not kept, or not wanted on the way back.
        let passing = node.segment < kept.segment || !slot.needed;
        slot.fused = plain && passing && slot.uses == 1;
    }
}

/// The shape of a node's first input, its own for the image.
pub fn input_shape(model: &Model<'_>, slots: &[Slot], id: NodeId) -> Shape {
    let input = model.node(id).inputs[0];
    slots[usize::from(if input == NONE { id } else { input })].shape
}
