//! The `.elucid` model file, parsed in place.
//!
//! ```text
//! header   64 bytes   magic, version, byte-order mark, CRC-32, counts, offsets
//! meta     64 bytes   preprocessing, so that a model file alone explains a photo correctly
//! nodes    64 each    the graph
//! tensors  64 each    type, dimensions, offset and length of every blob
//! classes   8 each    offset and length of every class name
//! strings             UTF-8
//! blobs               weights, each at a multiple of 64
//! ```
//!
//! Little-endian throughout. [`Model::parse`] checks every record before anything is used, so the accessors cannot
//! fail; any bytes give a model or a typed error, never a panic. Weights are cast in place after an alignment check.

#[cfg(any(test, target_os = "none"))]
mod crc;
mod record;

use bytemuck::try_cast_slice;
use byteorder::{ByteOrder, LittleEndian};

pub use record::{
    BLOB_ALIGN, Blob, ChannelOrder, Dtype, Filter, Fit, Header, MAGIC, Meta, NodeRecord,
    Preprocess, RECORD, TextRef, VERSION,
};

use crate::error::{Error, Section};
use crate::graph::{Linear, NONE, Node, NodeId, Norm, Op, TensorId};
use crate::shape::Shape;
use crate::view::Weights;

/// A model over borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    bytes: &'a [u8],
    header: Header,
    meta: Meta,
}

impl<'a> Model<'a> {
    /// Parses a whole model file and verifies its checksum.
    ///
    /// # Errors
    /// A typed error for anything that isn't an intact model: see [`crate::error::Kind::Model`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let model = Self::parse_unverified(bytes)?;
        let computed = checksum(bytes);
        if computed != model.header.crc {
            return Err(Error::Checksum {
                stored: model.header.crc,
                computed,
            });
        }
        Ok(model)
    }

    /// Parses a model whose bytes are known to be intact (flash, or embedded in the program): everything but the
    /// checksum is verified.
    ///
    /// # Errors
    /// As [`Model::parse`].
    pub fn parse_unverified(bytes: &'a [u8]) -> Result<Self, Error> {
        let header = Header::decode(bytes)?;
        let have = bytes.len() as u64;
        if have < header.file_len {
            return Err(Error::Truncated {
                need: header.file_len,
                have,
            });
        }
        if have != header.file_len {
            return Err(Error::Record {
                section: Section::Header,
                index: 0,
            });
        }
        let sections = [
            (Section::Meta, header.meta, 1, RECORD),
            (
                Section::Nodes,
                header.nodes,
                usize::from(header.node_count),
                RECORD,
            ),
            (
                Section::Tensors,
                header.tensors,
                usize::from(header.tensor_count),
                RECORD,
            ),
            (
                Section::Classes,
                header.classes,
                header.class_count as usize,
                TextRef::SIZE,
            ),
            (
                Section::Strings,
                header.strings,
                header.strings_len as usize,
                1,
            ),
        ];
        for (section, start, count, size) in sections {
            let end = count
                .checked_mul(size)
                .and_then(|len| len.checked_add(start as usize));
            if start < RECORD as u32 || end.is_none_or(|end| end > bytes.len()) {
                return Err(Error::Record { section, index: 0 });
            }
        }
        let meta = Meta::decode(record(bytes, header.meta, 0, RECORD)).ok_or(Error::Record {
            section: Section::Meta,
            index: 0,
        })?;
        let model = Self {
            bytes,
            header,
            meta,
        };
        model.check_texts()?;
        model.check_tensors()?;
        model.check_nodes()?;
        Ok(model)
    }

    fn check_texts(&self) -> Result<(), Error> {
        let bad = |section, index| Err(Error::Record { section, index });
        if self.text(self.meta.description).is_none() {
            return bad(Section::Meta, 0);
        }
        for index in 0..self.header.class_count {
            if self.text(self.class_ref(index)).is_none() {
                return bad(Section::Classes, index);
            }
        }
        for index in 0..self.header.node_count {
            if self
                .node_record(index)
                .is_none_or(|r| self.text(r.name).is_none())
            {
                return bad(Section::Nodes, u32::from(index));
            }
        }
        Ok(())
    }

    fn check_tensors(&self) -> Result<(), Error> {
        for index in 0..self.header.tensor_count {
            let bad = Error::Record {
                section: Section::Tensors,
                index: u32::from(index),
            };
            let blob = self.blob(index).ok_or(bad)?;
            let end = blob.offset.checked_add(blob.len).ok_or(bad)?;
            let aligned =
                blob.offset % BLOB_ALIGN as u64 == 0 && blob.len % blob.dtype.size() as u64 == 0;
            if !aligned || end > self.bytes.len() as u64 || blob.offset < RECORD as u64 {
                return Err(bad);
            }
            if self.weights(index).is_none() {
                return Err(Error::Misaligned {
                    tensor: u32::from(index),
                });
            }
        }
        Ok(())
    }

    fn check_nodes(&self) -> Result<(), Error> {
        let (mut segment, mut stage) = (0, 0);
        for id in 0..self.header.node_count {
            let bad = Error::Record {
                section: Section::Nodes,
                index: u32::from(id),
            };
            let node = self.node_record(id).ok_or(bad)?.node;
            let arity = node.op.arity();
            let inputs_exist = node
                .inputs
                .iter()
                .enumerate()
                .all(|(i, &n)| if i < arity { n < id } else { n == NONE });
            let ordered = node.segment >= segment && node.stage >= stage;
            if !node.plausible() || !inputs_exist || !ordered || (id == 0) != (node.op == Op::Input)
            {
                return Err(bad);
            }
            let tensors_fit = match node.op {
                Op::Conv(c) => {
                    self.weights_len(c.weight) == Some(c.stored())
                        && self.optional_vector(c.scale, c.co)
                        && self.optional_vector(c.shift, c.co)
                }
                Op::Linear(l) => {
                    self.weights_len(l.weight) == Some(l.as_conv().stored())
                        && self.optional_vector(l.bias, l.co)
                }
                Op::Tokens(t) => self.vector_fits(t.weight, u64::from(t.count) * u64::from(t.c)),
                Op::Positions(p) => {
                    self.vector_fits(p.grid, p.table() as u64)
                        && (p.tokens == NONE
                            || self.vector_fits(p.tokens, u64::from(p.count) * u64::from(p.c)))
                }
                Op::Norm(n) => {
                    self.optional_vector(n.weight, n.c) && self.optional_vector(n.bias, n.c)
                }
                Op::Affine(f) => {
                    self.vector_fits(f.scale, u64::from(f.c))
                        && self.vector_fits(f.shift, u64::from(f.c))
                }
                Op::Input
                | Op::Add { .. }
                | Op::MaxPool(_)
                | Op::AvgPool
                | Op::Subsample(_)
                | Op::Attention(_)
                | Op::Slice(_)
                | Op::Fuse
                | Op::MatMul
                | Op::MinMax
                | Op::MulMap => true,
            };
            if !tensors_fit {
                return Err(bad);
            }
            (segment, stage) = (node.segment, node.stage);
        }
        let head = self.header.node_count.checked_sub(1);
        let Some(co) = head.and_then(|head| self.classes_of(head)) else {
            return Err(Error::Record {
                section: Section::Nodes,
                index: u32::from(self.header.node_count),
            });
        };
        if self.header.class_count != 0 && self.header.class_count != co {
            return Err(Error::Record {
                section: Section::Classes,
                index: self.header.class_count,
            });
        }
        Ok(())
    }

    /// Number of classes if this node gives logits: a fully connected layer, or the sum of two. A transformer without a head gives
    /// its class token after the last norm; each channel counts as a class.
    fn classes_of(&self, id: NodeId) -> Option<u32> {
        let of = |id: NodeId| match self.node(id).op {
            Op::Linear(Linear { co, .. }) => Some(co),
            Op::Norm(Norm { c, .. }) => Some(c),
            _ => None,
        };
        let node = self.node(id);
        match node.op {
            Op::Add { relu: false, .. } => {
                let [a, b] = node.inputs.map(of);
                (a == b).then_some(a)?
            }
            _ => of(id),
        }
    }

    fn weights_len(&self, id: TensorId) -> Option<usize> {
        (id < self.header.tensor_count)
            .then(|| self.weights(id))?
            .map(|w| w.len())
    }

    fn optional_vector(&self, id: TensorId, len: u32) -> bool {
        id == NONE || self.vector_fits(id, u64::from(len))
    }

    fn vector_fits(&self, id: TensorId, len: u64) -> bool {
        id < self.header.tensor_count
            && matches!(self.weights(id), Some(Weights::F32(v)) if v.len() as u64 == len)
    }

    fn text(&self, r: TextRef) -> Option<&'a str> {
        let start = (self.header.strings as usize).checked_add(r.offset as usize)?;
        let end = start.checked_add(r.len as usize)?;
        let limit = self.header.strings as usize + self.header.strings_len as usize;
        (end <= limit).then_some(())?;
        core::str::from_utf8(self.bytes.get(start..end)?).ok()
    }

    fn class_ref(&self, index: u32) -> TextRef {
        TextRef::decode(record(
            self.bytes,
            self.header.classes,
            index as usize,
            TextRef::SIZE,
        ))
    }

    fn node_record(&self, id: NodeId) -> Option<NodeRecord> {
        NodeRecord::decode(record(
            self.bytes,
            self.header.nodes,
            usize::from(id),
            RECORD,
        ))
    }

    fn blob(&self, id: TensorId) -> Option<Blob> {
        Blob::decode(record(
            self.bytes,
            self.header.tensors,
            usize::from(id),
            RECORD,
        ))
    }

    /// Number of nodes.
    #[must_use]
    pub fn node_count(&self) -> u16 {
        self.header.node_count
    }

    /// Number of tensors.
    #[must_use]
    pub fn tensor_count(&self) -> u16 {
        self.header.tensor_count
    }

    /// The node `id`; the input node for an `id` that doesn't exist.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Node {
        let none = Node {
            op: Op::Input,
            inputs: [NONE; 2],
            segment: 0,
            stage: 0,
        };
        if id >= self.header.node_count {
            return none;
        }
        self.node_record(id).map_or(none, |r| r.node)
    }

    /// The name of node `id`, empty for an `id` that doesn't exist.
    #[must_use]
    pub fn node_name(&self, id: NodeId) -> &'a str {
        if id >= self.header.node_count {
            return "";
        }
        self.node_record(id)
            .and_then(|r| self.text(r.name))
            .unwrap_or_default()
    }

    /// Whether relevance can flow from the logits to the image.
    #[must_use]
    pub fn explainable(&self) -> bool {
        (0..self.header.node_count).all(|id| self.node(id).op.explainable())
    }

    /// The node of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NodeId> {
        (0..self.header.node_count).find(|&id| self.node_name(id) == name)
    }

    /// The blob of tensor `id`, without a copy.
    #[must_use]
    pub fn weights(&self, id: TensorId) -> Option<Weights<'a>> {
        if id >= self.header.tensor_count {
            return None;
        }
        let blob = self.blob(id)?;
        let start = usize::try_from(blob.offset).ok()?;
        let bytes = self
            .bytes
            .get(start..start.checked_add(usize::try_from(blob.len).ok()?)?)?;
        match blob.dtype {
            Dtype::F32 => try_cast_slice(bytes).ok().map(Weights::F32),
            Dtype::F16 => try_cast_slice(bytes).ok().map(Weights::F16),
        }
    }

    /// The per-channel vector `id`, or `None` for [`NONE`].
    #[must_use]
    pub fn vector(&self, id: TensorId) -> Option<&'a [f32]> {
        match self.weights(id) {
            Some(Weights::F32(v)) => Some(v),
            Some(Weights::F16(_)) | None => None,
        }
    }

    /// How a picture becomes an input.
    #[must_use]
    pub fn preprocess(&self) -> Preprocess {
        self.meta.preprocess
    }

    /// What the importer said of the model, one line.
    #[must_use]
    pub fn description(&self) -> &'a str {
        self.text(self.meta.description).unwrap_or_default()
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> u32 {
        let head = self.header.node_count.checked_sub(1);
        head.and_then(|head| self.classes_of(head)).unwrap_or(0)
    }

    /// The name of class `index`; `None` where the file has no names or no such class.
    #[must_use]
    pub fn class_name(&self, index: u32) -> Option<&'a str> {
        (index < self.header.class_count).then(|| self.text(self.class_ref(index)))?
    }

    /// The image size that the preprocessing makes.
    #[must_use]
    pub fn input_shape(&self) -> Shape {
        let [h, w] = self.meta.preprocess.crop;
        Shape::new(h, w, 3)
    }

    /// Bytes of the file and bytes of weights in it.
    #[must_use]
    pub fn sizes(&self) -> (u64, u64) {
        let weights = (0..self.header.tensor_count)
            .filter_map(|id| self.blob(id))
            .map(|b| b.len)
            .sum();
        (self.header.file_len, weights)
    }

    /// The first tensor that holds NaN or infinity, if any. Reads all weights.
    #[must_use]
    pub fn first_not_finite(&self) -> Option<TensorId> {
        // An exponent of all ones; no early exit inside a tensor, so that the loop is vectorised.
        (0..self.header.tensor_count).find(|&id| match self.weights(id) {
            Some(Weights::F32(w)) => w.iter().fold(false, |bad, v| bad | !v.is_finite()),
            Some(Weights::F16(w)) => w
                .iter()
                .fold(false, |bad, v| bad | (v.to_bits() & 0x7C00 == 0x7C00)),
            None => false,
        })
    }

    /// The CRC-32 in the header.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.header.crc
    }
}

/// Record `index` of a section whose bounds were checked; an empty slice if they weren't.
fn record(bytes: &[u8], start: u32, index: usize, size: usize) -> &[u8] {
    let start = start as usize + index * size;
    bytes.get(start..start + size).unwrap_or_default()
}

/// The CRC-32 (IEEE) of a model file, its own four bytes left out.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    #[cfg(target_os = "none")]
    use crc::Hasher;
    #[cfg(not(target_os = "none"))]
    use crc32fast::Hasher;
    let mut hasher = Hasher::new();
    let (before, after) = (bytes.get(..Header::CRC_AT), bytes.get(Header::CRC_AT + 4..));
    hasher.update(before.unwrap_or_default());
    hasher.update(after.unwrap_or_default());
    hasher.finalize()
}

/// Writes the checksum into a finished model file.
pub fn seal(bytes: &mut [u8]) {
    let crc = checksum(bytes);
    if let Some(place) = bytes.get_mut(Header::CRC_AT..Header::CRC_AT + 4) {
        LittleEndian::write_u32(place, crc);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_foreign_bytes_are_typed_errors() {
        for have in 0..=MAGIC.len() {
            let cut = Model::parse(&MAGIC[..have]).unwrap_err();
            let (need, have) = (RECORD as u64, have as u64);
            assert_eq!(cut, Error::Truncated { need, have });
        }
        assert_eq!(Model::parse(b"x").unwrap_err(), Error::NotAModel);
        assert_eq!(
            Model::parse(b"PK\x03\x04 not a model at all").unwrap_err(),
            Error::NotAModel
        );
        let mut bytes = [0u8; 64];
        bytes[..8].copy_from_slice(&MAGIC);
        assert_eq!(
            Model::parse(&bytes).unwrap_err(),
            Error::Version { found: 0 }
        );
        assert!(matches!(
            Model::parse(&bytes[..20]).unwrap_err(),
            Error::Truncated { need: 64, have: 20 }
        ));
    }
}
