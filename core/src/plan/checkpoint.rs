//! What is kept on the way forward and what is computed again on the way back.

use crate::error::Error;
use crate::graph::{NONE, NodeId, Op};
use crate::model::Model;
use crate::plan::{Memory, Options, Slot};
use crate::rule::Share;
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
        (Op::Add { skip, .. }, Some(composite)) => Some(composite.split.share(*skip)),
        _ => None,
    }
}

/// Blocks from this one on keep their activations.
pub fn keep_from(model: &Model<'_>, memory: Memory) -> u16 {
    let last = model.node(model.node_count().saturating_sub(1)).segment;
    match memory {
        Memory::Keep => 0,
        // Relevance reaches the head and the last block right after the forward pass: nothing would be saved.
        Memory::Block => last.saturating_sub(1),
    }
}

/// Whether the image itself is the input of this node: its relevance rule sees ones, so no activation is read.
pub fn reads_image(model: &Model<'_>, input: NodeId) -> bool {
    input != NONE && model.node(input).op == Op::Input
}

/// Marks what the backward pass reads, what later blocks read, and which convolutions end in an addition.
pub fn mark(model: &Model<'_>, options: &Options, slots: &mut [Slot]) {
    for id in (0..slots.len()).rev() {
        let node = model.node(id as NodeId);
        // A value that is read on the way back may have to be computed again, from its inputs.
        let again = slots[id].needed;
        let reads = match node.op {
            Op::Conv(_) | Op::Linear(_) => !reads_image(model, node.inputs[0]),
            Op::MaxPool(_) | Op::AvgPool => true,
            Op::Add { .. } => share(options, &node.op) == Some(Share::Ratio),
            Op::Input | Op::Subsample(_) => false,
        };
        for input in node.inputs.into_iter().filter(|&i| i != NONE) {
            let slot = &mut slots[usize::from(input)];
            slot.uses += 1;
            slot.needed |= options.composite.is_some() && (reads || again);
            slot.crosses |= model.node(input).segment < node.segment;
        }
    }
    let keep_from = keep_from(model, options.memory);
    for id in 0..slots.len() {
        let node = model.node(id as NodeId);
        let (Op::Add { .. }, [residual, skip]) = (node.op, node.inputs) else {
            continue;
        };
        let branch = model.node(residual);
        // One step reads the branch's input and the skip branch: they must be two values.
        let plain = matches!(branch.op, Op::Conv(c) if !c.relu)
            && branch.segment == node.segment
            && skip != residual
            && skip != branch.inputs[0];
        let slot = &mut slots[usize::from(residual)];
        // Its value is not kept, or not wanted on the way back.
        let passing = node.segment < keep_from || !slot.needed;
        slot.fused = plain && passing && slot.uses == 1;
    }
}

/// The shape of a node's first input, its own for the image.
pub fn input_shape(model: &Model<'_>, slots: &[Slot], id: NodeId) -> Shape {
    let input = model.node(id).inputs[0];
    slots[usize::from(if input == NONE { id } else { input })].shape
}
