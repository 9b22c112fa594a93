//! The fixed-size records of a model file: one place for where each number lies, for reading and for writing.

use byteorder::{ByteOrder, LittleEndian as Le};

use crate::error::Error;
use crate::graph::{
    Activation, Affine, Attention, Conv, Linear, Node, Norm, Op, Part, Pool, Positions, Skip,
    Subsample, Tokens,
};

/// First bytes of every model file.
pub const MAGIC: [u8; 8] = *b"ELUCID\r\n";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Size of the header and of node, tensor and meta records.
pub const RECORD: usize = 64;
/// Blobs start at multiples of this.
pub const BLOB_ALIGN: usize = 64;

const BYTE_ORDER: u32 = 0x0102_0304;

/// The header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// CRC-32 of the file without these four bytes.
    pub crc: u32,
    /// Number of nodes.
    pub node_count: u16,
    /// Number of tensors.
    pub tensor_count: u16,
    /// Number of class names, or 0.
    pub class_count: u32,
    /// Where the meta record starts.
    pub meta: u32,
    /// Where the nodes start.
    pub nodes: u32,
    /// Where the tensors start.
    pub tensors: u32,
    /// Where the class table starts.
    pub classes: u32,
    /// Where the strings start.
    pub strings: u32,
    /// Bytes of strings.
    pub strings_len: u32,
    /// Bytes of the whole file.
    pub file_len: u64,
}

impl Header {
    /// Where the checksum lies.
    pub const CRC_AT: usize = 16;

    /// Reads the header of a file.
    ///
    /// # Errors
    /// [`Error::NotAModel`], [`Error::Truncated`] or [`Error::Version`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        // What ends within the mark, or is empty, may well have been a model.
        let mark = &bytes[..bytes.len().min(MAGIC.len())];
        if !MAGIC.starts_with(mark) {
            return Err(Error::NotAModel);
        }
        let have = bytes.len() as u64;
        let b = bytes.get(..RECORD).ok_or(Error::Truncated {
            need: RECORD as u64,
            have,
        })?;
        let version = Le::read_u32(&b[8..]);
        if version != VERSION {
            return Err(Error::Version { found: version });
        }
        if Le::read_u32(&b[12..]) != BYTE_ORDER {
            return Err(Error::NotAModel);
        }
        Ok(Self {
            crc: Le::read_u32(&b[Self::CRC_AT..]),
            node_count: Le::read_u16(&b[20..]),
            tensor_count: Le::read_u16(&b[22..]),
            class_count: Le::read_u32(&b[24..]),
            meta: Le::read_u32(&b[28..]),
            nodes: Le::read_u32(&b[32..]),
            tensors: Le::read_u32(&b[36..]),
            classes: Le::read_u32(&b[40..]),
            strings: Le::read_u32(&b[44..]),
            strings_len: Le::read_u32(&b[48..]),
            file_len: Le::read_u64(&b[52..]),
        })
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD] {
        let mut b = [0; RECORD];
        b[..8].copy_from_slice(&MAGIC);
        Le::write_u32(&mut b[8..], VERSION);
        Le::write_u32(&mut b[12..], BYTE_ORDER);
        Le::write_u32(&mut b[Self::CRC_AT..], self.crc);
        Le::write_u16(&mut b[20..], self.node_count);
        Le::write_u16(&mut b[22..], self.tensor_count);
        let words = [
            self.class_count,
            self.meta,
            self.nodes,
            self.tensors,
            self.classes,
            self.strings,
            self.strings_len,
        ];
        Le::write_u32_into(&words, &mut b[24..52]);
        Le::write_u64(&mut b[52..], self.file_len);
        b
    }
}

/// Where a string lies, relative to the string section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextRef {
    /// First byte.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
}

impl TextRef {
    /// Bytes of one reference.
    pub const SIZE: usize = 8;

    /// Reads a reference; an empty one from too few bytes.
    #[must_use]
    pub fn decode(b: &[u8]) -> Self {
        if b.len() < Self::SIZE {
            return Self::default();
        }
        Self {
            offset: Le::read_u32(b),
            len: Le::read_u32(&b[4..]),
        }
    }

    /// Writes the reference to the first 8 bytes of `b`.
    pub fn encode(self, b: &mut [u8]) {
        Le::write_u32(b, self.offset);
        Le::write_u32(&mut b[4..], self.len);
    }
}

/// How a photo is fitted to the network's input size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Short side to `resize`, aspect ratio kept, then the centre is cropped.
    ShortSide,
    /// Straight to the crop size, aspect ratio not kept.
    Squash,
}

/// The resampling filter, antialiased as Pillow's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Triangle.
    Bilinear,
    /// Cubic with a = -0.5.
    Bicubic,
}

/// The order of colour channels that the network was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// How a picture becomes an input: `value = (byte * scale - mean) / std` per channel in the network's order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocess {
    /// How the photo is fitted.
    pub fit: Fit,
    /// Short side before the crop, pixels (for [`Fit::ShortSide`]).
    pub resize: u32,
    /// Height and width of the network's input, pixels.
    pub crop: [u32; 2],
    /// Resampling filter.
    pub filter: Filter,
    /// Channel order.
    pub order: ChannelOrder,
    /// Factor on bytes, 1/255 or 1.
    pub scale: f32,
    /// Mean per channel after the factor.
    pub mean: [f32; 3],
    /// Standard deviation per channel after the factor.
    pub std: [f32; 3],
}

/// The meta record: preprocessing and a description.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meta {
    /// Preprocessing.
    pub preprocess: Preprocess,
    /// One line of text.
    pub description: TextRef,
}

impl Meta {
    /// Reads the record; `None` for impossible values.
    #[must_use]
    pub fn decode(b: &[u8]) -> Option<Self> {
        let b = b.get(..RECORD)?;
        let mut floats = [0f32; 7];
        Le::read_f32_into(&b[16..44], &mut floats);
        let [scale, m0, m1, m2, s0, s1, s2] = floats;
        let preprocess = Preprocess {
            resize: Le::read_u32(b),
            crop: [Le::read_u32(&b[4..]), Le::read_u32(&b[8..])],
            filter: [Filter::Bilinear, Filter::Bicubic]
                .get(usize::from(b[12]))
                .copied()?,
            order: [ChannelOrder::Rgb, ChannelOrder::Bgr]
                .get(usize::from(b[13]))
                .copied()?,
            fit: [Fit::ShortSide, Fit::Squash]
                .get(usize::from(b[14]))
                .copied()?,
            scale,
            mean: [m0, m1, m2],
            std: [s0, s1, s2],
        };
        let sizes = [preprocess.resize, preprocess.crop[0], preprocess.crop[1]];
        let possible = sizes.iter().all(|s| (1..=16_384).contains(s))
            && floats.iter().all(|v| v.is_finite())
            && preprocess.std.iter().all(|&s| s > 0.0);
        possible.then_some(Self {
            preprocess,
            description: TextRef::decode(&b[44..52]),
        })
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD] {
        let (mut b, p) = ([0; RECORD], &self.preprocess);
        Le::write_u32_into(&[p.resize, p.crop[0], p.crop[1]], &mut b[..12]);
        b[12] = p.filter as u8;
        b[13] = p.order as u8;
        b[14] = p.fit as u8;
        let ([m0, m1, m2], [s0, s1, s2]) = (p.mean, p.std);
        Le::write_f32_into(&[p.scale, m0, m1, m2, s0, s1, s2], &mut b[16..44]);
        self.description.encode(&mut b[44..52]);
        b
    }
}

/// Precision of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
}

impl Dtype {
    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 => 2,
        }
    }
}

/// A tensor record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Precision.
    pub dtype: Dtype,
    /// First byte in the file, a multiple of [`BLOB_ALIGN`].
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

impl Blob {
    /// Reads the record; `None` for an unknown type.
    #[must_use]
    pub fn decode(b: &[u8]) -> Option<Self> {
        let b = b.get(..RECORD)?;
        let dtype = [Dtype::F32, Dtype::F16].get(usize::from(b[0])).copied()?;
        Some(Self {
            dtype,
            offset: Le::read_u64(&b[8..]),
            len: Le::read_u64(&b[16..]),
        })
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD] {
        let mut b = [0; RECORD];
        b[0] = self.dtype as u8;
        Le::write_u64(&mut b[8..], self.offset);
        Le::write_u64(&mut b[16..], self.len);
        b
    }
}

/// A node record: the node and its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeRecord {
    /// The node.
    pub node: Node,
    /// Its name.
    pub name: TextRef,
}

const RELU: u8 = 1;
const PROJECTION: u8 = 2;
const GELU: u8 = 4;
const QUICK_GELU: u8 = 8;

/// The flag of an activation.
const fn flag(act: Activation) -> u8 {
    match act {
        Activation::Identity => 0,
        Activation::Relu => RELU,
        Activation::Gelu => GELU,
        Activation::QuickGelu => QUICK_GELU,
    }
}

impl NodeRecord {
    /// Reads the record; `None` for an unknown operation.
    #[must_use]
    pub fn decode(b: &[u8]) -> Option<Self> {
        let b = b.get(..RECORD)?;
        let relu = b[1] & RELU != 0;
        let act = match b[1] & (RELU | GELU | QUICK_GELU) {
            0 => Activation::Identity,
            RELU => Activation::Relu,
            GELU => Activation::Gelu,
            QUICK_GELU => Activation::QuickGelu,
            _ => return None,
        };
        let skip = if b[1] & PROJECTION != 0 {
            Skip::Projection
        } else {
            Skip::Identity
        };
        let mut tensors = [0u16; 3];
        Le::read_u16_into(&b[8..14], &mut tensors);
        let [weight, scale, shift] = tensors;
        let (ci, co) = (Le::read_u32(&b[16..]), Le::read_u32(&b[20..]));
        let mut small = [0u16; 4];
        Le::read_u16_into(&b[24..32], &mut small);
        let [kh, kw, stride, pad] = small;
        let op = match b[0] {
            0 => Op::Input,
            1 => Op::Conv(Conv {
                ci,
                co,
                kh,
                kw,
                stride,
                pad,
                weight,
                scale,
                shift,
                act,
            }),
            2 => Op::Linear(Linear {
                ci,
                co,
                weight,
                bias: shift,
            }),
            3 => Op::Add { skip, relu },
            4 => Op::MaxPool(Pool {
                kernel: kh,
                stride,
                pad,
            }),
            5 => Op::AvgPool,
            6 => Op::Subsample(Subsample {
                stride,
                before: kh,
                after: kw,
            }),
            7 => Op::Tokens(Tokens {
                count: co,
                c: ci,
                weight,
            }),
            8 => Op::Positions(Positions {
                c: ci,
                count: co,
                rows: kh,
                cols: kw,
                tokens: scale,
                grid: weight,
                larger: stride != 0,
            }),
            9 => Op::Norm(Norm {
                c: ci,
                eps: Le::read_f32(&b[32..]),
                weight: scale,
                bias: shift,
            }),
            10 => Op::Attention(Attention { c: co, heads: kh }),
            11 => Op::Slice(if kh == 0 { Part::Tokens } else { Part::Grid }),
            12 => Op::Fuse,
            13 => Op::MatMul,
            14 => Op::MinMax,
            15 => Op::MulMap,
            16 => Op::Affine(Affine {
                c: ci,
                scale,
                shift,
            }),
            _ => return None,
        };
        let node = Node {
            op,
            inputs: [Le::read_u16(&b[4..]), Le::read_u16(&b[6..])],
            segment: Le::read_u16(&b[2..]),
            stage: b[14],
        };
        Some(Self {
            node,
            name: TextRef::decode(&b[40..48]),
        })
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD] {
        let (mut b, node) = ([0; RECORD], &self.node);
        Le::write_u16_into(
            &[node.segment, node.inputs[0], node.inputs[1]],
            &mut b[2..8],
        );
        b[14] = node.stage;
        match node.op {
            Op::Input => b[0] = 0,
            Op::Conv(c) => {
                b[0] = 1;
                b[1] = flag(c.act);
                Le::write_u16_into(&[c.weight, c.scale, c.shift], &mut b[8..14]);
                Le::write_u32_into(&[c.ci, c.co], &mut b[16..24]);
                Le::write_u16_into(&[c.kh, c.kw, c.stride, c.pad], &mut b[24..32]);
            }
            Op::Linear(l) => {
                b[0] = 2;
                Le::write_u16_into(&[l.weight, 0, l.bias], &mut b[8..14]);
                Le::write_u32_into(&[l.ci, l.co], &mut b[16..24]);
            }
            Op::Add { skip, relu } => {
                b[0] = 3;
                b[1] = u8::from(relu) * RELU + u8::from(skip == Skip::Projection) * PROJECTION;
            }
            Op::MaxPool(p) => {
                b[0] = 4;
                Le::write_u16_into(&[p.kernel, 0, p.stride, p.pad], &mut b[24..32]);
            }
            Op::AvgPool => b[0] = 5,
            Op::Subsample(s) => {
                b[0] = 6;
                Le::write_u16_into(&[s.before, s.after, s.stride, 0], &mut b[24..32]);
            }
            Op::Tokens(t) => {
                b[0] = 7;
                Le::write_u16(&mut b[8..], t.weight);
                Le::write_u32_into(&[t.c, t.count], &mut b[16..24]);
            }
            Op::Positions(p) => {
                b[0] = 8;
                Le::write_u16_into(&[p.grid, p.tokens], &mut b[8..12]);
                Le::write_u32_into(&[p.c, p.count], &mut b[16..24]);
                Le::write_u16_into(&[p.rows, p.cols, u16::from(p.larger), 0], &mut b[24..32]);
            }
            Op::Norm(n) => {
                b[0] = 9;
                Le::write_u16_into(&[0, n.weight, n.bias], &mut b[8..14]);
                Le::write_u32(&mut b[16..], n.c);
                Le::write_f32(&mut b[32..], n.eps);
            }
            Op::Attention(a) => {
                b[0] = 10;
                Le::write_u32_into(&[0, a.c], &mut b[16..24]);
                Le::write_u16(&mut b[24..], a.heads);
            }
            Op::Slice(part) => {
                b[0] = 11;
                Le::write_u16(&mut b[24..], u16::from(part == Part::Grid));
            }
            Op::Fuse => b[0] = 12,
            Op::MatMul => b[0] = 13,
            Op::MinMax => b[0] = 14,
            Op::MulMap => b[0] = 15,
            Op::Affine(f) => {
                b[0] = 16;
                Le::write_u16_into(&[0, f.scale, f.shift], &mut b[8..14]);
                Le::write_u32(&mut b[16..], f.c);
            }
        }
        self.name.encode(&mut b[40..48]);
        b
    }
}
