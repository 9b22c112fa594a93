//! The one error type of the core: small, `Copy`, numbers instead of strings.
//!
//! Whoever shows it to a person adds the file name; [`core::fmt::Display`] says what and the mend.

use core::fmt;

/// A section of a `.elucid` model file, named in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Section {
    /// The 64-byte header.
    Header,
    /// The preprocessing record.
    Meta,
    /// The node records.
    Nodes,
    /// The tensor records.
    Tensors,
    /// The class name table.
    Classes,
    /// The string bytes.
    Strings,
    /// The weights.
    Blobs,
}

/// A buffer that the caller lends, named in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Buffer {
    /// Node slots while building a graph.
    Nodes,
    /// Tensor specifications while building a graph.
    Tensors,
    /// [`crate::plan::Slot`]s of the planner.
    Slots,
    /// [`crate::plan::Value`]s of the planner.
    Values,
    /// [`crate::plan::Step`]s of the planner.
    Steps,
    /// The arena, in f32.
    Arena,
    /// The image, in f32.
    Image,
    /// An output the caller lends, in f32.
    Output,
    /// Ledger entries.
    Ledger,
    /// Targets, or room for their seeds.
    Targets,
}

/// Everything that can go wrong in the core.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The bytes end before the file does.
    Truncated {
        /// Bytes the file says it has.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// The bytes don't start with the magic of a `.elucid` file.
    NotAModel,
    /// A version of the format that this build can't read.
    Version {
        /// The version found.
        found: u32,
    },
    /// The checksum does not match: the file is damaged.
    Checksum {
        /// CRC-32 in the header.
        stored: u32,
        /// CRC-32 of the bytes.
        computed: u32,
    },
    /// A record that cannot be right.
    Record {
        /// Where.
        section: Section,
        /// Index of the record in its section.
        index: u32,
    },
    /// Bytes of weights are not aligned for their type in memory.
    Misaligned {
        /// Tensor index.
        tensor: u32,
    },
    /// A node cannot take an input of this shape.
    Shape {
        /// Node index.
        node: u32,
        /// Height, width and channels that arrived.
        found: [u32; 3],
    },
    /// A buffer lent by the caller is too small.
    Capacity {
        /// Which.
        buffer: Buffer,
        /// Elements needed.
        need: u64,
        /// Elements lent.
        have: u64,
    },
    /// A length that must be exact is not.
    Length {
        /// Which.
        buffer: Buffer,
        /// Elements needed.
        need: u64,
        /// Elements given.
        have: u64,
    },
    /// The class to explain does not exist.
    Target {
        /// Asked for.
        index: u32,
        /// Classes of the model.
        classes: u32,
    },
    /// The network's output is NaN or infinite: its weights or its input are.
    NotFinite,
    /// Two regions of one step overlap: a bug of the planner, or a schedule of another model.
    Overlap {
        /// Node index.
        node: u32,
    },
    /// The graph cannot be planned or explained as asked.
    Unsupported {
        /// Node index.
        node: u32,
    },
    /// Relevance was asked for without a forward pass before it, or of a plan for forward passes only.
    Order,
    /// A value that an architecture cannot have (zero blocks, zero classes, too many channels).
    Architecture,
}

/// Coarse kinds, for exit and status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// The model file is not one, or is damaged.
    Model,
    /// The caller's buffer is too small or of a wrong length.
    Memory,
    /// The caller asked for something that does not exist.
    Argument,
    /// The numbers are not finite.
    Numeric,
    /// A bug.
    Internal,
}

impl Error {
    /// The kind of this error.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Error::Truncated { .. }
            | Error::NotAModel
            | Error::Version { .. }
            | Error::Checksum { .. }
            | Error::Record { .. }
            | Error::Misaligned { .. } => Kind::Model,
            Error::Capacity { .. } | Error::Length { .. } => Kind::Memory,
            Error::Shape { .. }
            | Error::Target { .. }
            | Error::Unsupported { .. }
            | Error::Order
            | Error::Architecture => Kind::Argument,
            Error::NotFinite => Kind::Numeric,
            Error::Overlap { .. } => Kind::Internal,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Truncated { need, have } => {
                write!(
                    f,
                    "the file is cut off: {have} of {need} bytes are there; copy or import it again"
                )
            }
            Error::NotAModel => write!(f, "not an .elucid model; make one with `elucid import`"),
            Error::Version { found } => {
                write!(
                    f,
                    "format version {found} is not known to this build; import the weights again"
                )
            }
            Error::Checksum { stored, computed } => write!(
                f,
                "the file is damaged (checksum {computed:08x}, should be {stored:08x}); copy or import it again"
            ),
            Error::Record { section, index } => {
                write!(
                    f,
                    "the file is damaged ({section:?} record {index} is impossible); copy or import it again"
                )
            }
            Error::Misaligned { tensor } => {
                write!(
                    f,
                    "the model's bytes are not aligned in memory (tensor {tensor}); load them at a multiple of 64"
                )
            }
            Error::Shape {
                node,
                found: [h, w, c],
            } => {
                write!(
                    f,
                    "node {node} cannot take an input of {h} x {w} x {c}; give an image of another size"
                )
            }
            Error::Capacity { buffer, need, have } => {
                write!(
                    f,
                    "{buffer:?}: {need} elements are needed, {have} were lent"
                )
            }
            Error::Length { buffer, need, have } => {
                write!(f, "{buffer:?}: {need} elements are needed, {have} given")
            }
            Error::Target { index, classes } => {
                write!(
                    f,
                    "class {index} does not exist; the model has classes 0 to {}",
                    classes.saturating_sub(1)
                )
            }
            Error::NotFinite => {
                write!(
                    f,
                    "the network's output is not finite; its weights or the image hold NaN or inf"
                )
            }
            Error::Overlap { node } => {
                write!(
                    f,
                    "regions overlap at node {node}; the schedule belongs to another model"
                )
            }
            Error::Unsupported { node } => write!(f, "node {node} cannot be explained this way"),
            Error::Order => write!(
                f,
                "run the network on an image before asking for its relevance"
            ),
            Error::Architecture => write!(
                f,
                "no such network: a count of blocks, channels or classes is out of range"
            ),
        }
    }
}

impl core::error::Error for Error {}
