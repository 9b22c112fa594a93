//! Building a graph into slices that the caller lends.
//!
//! An architecture pushes nodes in topological order and names the tensors it wants; whoever imports weights reads the
//! [`TensorSpec`]s and delivers them in that order.

use core::fmt::{self, Write};

use crate::error::{Buffer, Error};
use crate::graph::{NONE, Node, NodeId, Op, TensorId};

/// A dotted name of at most 79 bytes, `layer3.22.downsample.0.weight` style.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    len: u8,
    bytes: [u8; 79],
}

impl Name {
    /// The empty name.
    pub const EMPTY: Name = Name {
        len: 0,
        bytes: [0; 79],
    };

    /// The formatted name, cut at 79 bytes.
    #[must_use]
    pub fn new(args: fmt::Arguments<'_>) -> Self {
        let mut name = Self::EMPTY;
        // A name that is too long is cut; `write_str` never fails.
        let _ = name.write_fmt(args);
        name
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl Write for Name {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            let (start, size) = (usize::from(self.len), c.len_utf8());
            if start + size > self.bytes.len() {
                break;
            }
            c.encode_utf8(&mut self.bytes[start..start + size]);
            self.len += size as u8;
        }
        Ok(())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What a tensor is for, and so where an importer finds it in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `[co, ci, kh, kw]` in checkpoints, stored as panels.
    ConvWeight,
    /// `[co, ci]` in checkpoints, stored as panels.
    LinearWeight,
    /// `gamma / sqrt(var + eps)` of the BatchNorm with this prefix, `[co]`.
    NormScale,
    /// `beta - mean * scale` of the BatchNorm with this prefix, `[co]`.
    NormShift,
    /// A bias vector `[co]`.
    Bias,
    /// `[ci, co]` in checkpoints, stored as panels: what a matrix that is multiplied from the left is for PyTorch.
    TurnedWeight,
    /// `[co, ci]` values as they are: rows from this one on of a table of tokens or positions.
    Table {
        /// The first row.
        from: u32,
    },
    /// Factors `[co]` of a normalisation over channels; ones where the checkpoint has none.
    Factors,
    /// Summands `[co]` of the same; zeros where the checkpoint has none.
    Summands,
}

/// A tensor that a graph wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the checkpoint; for the two norm roles the prefix of the BatchNorm.
    pub name: Name,
    /// What it is for.
    pub role: Role,
    /// `[co, ci, kh, kw]`; trailing ones for fewer dimensions.
    pub dims: [u32; 4],
}

impl TensorSpec {
    /// Fills lent slices before a build.
    pub const EMPTY: TensorSpec = TensorSpec {
        name: Name::EMPTY,
        role: Role::Bias,
        dims: [0; 4],
    };
}

/// A node with its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Named {
    /// The node.
    pub node: Node,
    /// Its name, `layer1.0.conv1`.
    pub name: Name,
}

impl Named {
    /// Fills lent slices before a build.
    pub const EMPTY: Named = Named {
        node: Node {
            op: Op::Input,
            inputs: [NONE; 2],
            segment: 0,
            stage: 0,
        },
        name: Name::EMPTY,
    };
}

/// Collects nodes and tensor specifications in lent slices.
#[derive(Debug)]
pub struct Builder<'b> {
    nodes: &'b mut [Named],
    tensors: &'b mut [TensorSpec],
    node_count: usize,
    tensor_count: usize,
    segment: u16,
    stage: u8,
}

impl<'b> Builder<'b> {
    /// An empty graph over lent slices.
    pub fn new(nodes: &'b mut [Named], tensors: &'b mut [TensorSpec]) -> Self {
        Self {
            nodes,
            tensors,
            node_count: 0,
            tensor_count: 0,
            segment: 0,
            stage: 0,
        }
    }

    /// Nodes pushed so far.
    #[must_use]
    pub fn nodes(&self) -> &[Named] {
        &self.nodes[..self.node_count]
    }

    /// Tensors wanted so far.
    #[must_use]
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors[..self.tensor_count]
    }

    /// Starts the next block.
    pub fn next_segment(&mut self) {
        self.segment += 1;
    }

    /// Starts the next stage.
    pub fn next_stage(&mut self) {
        self.stage += 1;
    }

    /// Adds a node.
    ///
    /// # Errors
    /// [`Error::Capacity`] when the lent slice is full.
    pub fn push(&mut self, name: Name, op: Op, inputs: [NodeId; 2]) -> Result<NodeId, Error> {
        let (have, id) = (self.nodes.len() as u64, self.node_count);
        let slot = self
            .nodes
            .get_mut(id)
            .filter(|_| id < usize::from(NONE))
            .ok_or(Error::Capacity {
                buffer: Buffer::Nodes,
                need: id as u64 + 1,
                have,
            })?;
        *slot = Named {
            node: Node {
                op,
                inputs,
                segment: self.segment,
                stage: self.stage,
            },
            name,
        };
        self.node_count += 1;
        Ok(id as NodeId)
    }

    /// Asks for a tensor.
    ///
    /// # Errors
    /// [`Error::Capacity`] when the lent slice is full.
    pub fn tensor(&mut self, name: Name, role: Role, dims: [u32; 4]) -> Result<TensorId, Error> {
        let (have, id) = (self.tensors.len() as u64, self.tensor_count);
        let slot = self
            .tensors
            .get_mut(id)
            .filter(|_| id < usize::from(NONE))
            .ok_or(Error::Capacity {
                buffer: Buffer::Tensors,
                need: id as u64 + 1,
                have,
            })?;
        *slot = TensorSpec { name, role, dims };
        self.tensor_count += 1;
        Ok(id as TensorId)
    }
}
