//! What a schedule is made for.

use crate::graph::NodeId;
use crate::rule::Composite;
use crate::shape::Shape;

/// What is kept for the way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Memory {
    /// Every activation: fastest.
    Keep,
    /// The inputs of blocks; the inside of a block is computed again when relevance reaches it.
    #[default]
    Block,
    /// The inputs of stages; when relevance reaches a stage, the inputs of its blocks are computed again, and then block by
    /// block their insides: least memory, at the price of almost two more forward passes than [`Memory::Keep`].
    Stage,
}

impl Memory {
    /// All modes with their names on the command line.
    pub const ALL: [(Memory, &'static str); 3] = [
        (Memory::Keep, "keep"),
        (Memory::Block, "block"),
        (Memory::Stage, "stage"),
    ];
}

/// Where relevance ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum End {
    /// At the image, summed over its channels: a map `[h, w]`.
    #[default]
    Map,
    /// At the output of this node, element by element; its activation can be read as well. Node 0 is the image, where rules
    /// can't end whose first convolution sees ones.
    Node(NodeId),
}

impl End {
    /// The node.
    #[must_use]
    pub const fn node(self) -> NodeId {
        match self {
            End::Map => 0,
            End::Node(node) => node,
        }
    }
}

/// What a schedule is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Size of one image.
    pub image: Shape,
    /// Images of a batch.
    pub images: usize,
    /// Classes explained of each image in one call.
    pub targets: usize,
    /// Rules; `None` plans a forward pass only.
    pub composite: Option<Composite>,
    /// Where relevance ends. A plan for a forward pass only keeps the activation of that node.
    pub end: End,
    /// What is kept for the way back.
    pub memory: Memory,
    /// Whether what is kept lies in half precision: half the memory, and a map that differs by the rounding of 11 bits.
    pub half: bool,
    /// Threads that will work on it.
    pub threads: usize,
}

impl Options {
    /// One class of one image on one thread, block checkpoints in single precision.
    #[must_use]
    pub const fn new(image: Shape, composite: Option<Composite>) -> Self {
        Self {
            image,
            images: 1,
            targets: 1,
            composite,
            end: End::Map,
            memory: Memory::Block,
            half: false,
            threads: 1,
        }
    }

    /// Maps of one call: images times targets.
    #[must_use]
    pub const fn maps(&self) -> usize {
        self.images.saturating_mul(self.targets)
    }
}
