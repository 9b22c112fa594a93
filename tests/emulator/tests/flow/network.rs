//! A small network with every operation of residual networks, as the bytes of a model.

use elucid_core::graph::{Activation, Conv, Linear, NONE, Node, NodeId, Op, Pool, Skip, Subsample};
use elucid_core::model::{
    BLOB_ALIGN, Blob, ChannelOrder, Dtype, Filter, Fit, Header, Meta, NodeRecord, Preprocess,
    RECORD, TextRef, seal,
};
use elucid_core::op::pack;

use crate::device::Random;

/// Classes of the network.
pub const CLASSES: u32 = 10;

/// Nodes and tensors so far.
struct Parts {
    random: Random,
    nodes: Vec<Node>,
    tensors: Vec<Vec<f32>>,
}

impl Parts {
    fn push(&mut self, op: Op, inputs: [NodeId; 2], segment: u16) -> NodeId {
        self.nodes.push(Node {
            op,
            inputs,
            segment,
            stage: 0,
        });
        (self.nodes.len() - 1) as NodeId
    }

    fn tensor(&mut self, values: Vec<f32>) -> u16 {
        self.tensors.push(values);
        (self.tensors.len() - 1) as u16
    }

    /// Panels of random weights; those of the first channel are negative.
    fn panels(&mut self, c: &Conv) -> u16 {
        let fan = c.ci as usize * c.taps();
        let bound = (6.0 / fan as f32).sqrt();
        let draws = self.random.draws(c.co as usize * fan);
        let mut weights: Vec<f32> = draws.iter().map(|w| w * bound).collect();
        // The cells of the first channel have no denominator.
        weights[..fan].iter_mut().for_each(|w| *w = -w.abs());
        let mut panels = vec![0.0; c.stored()];
        pack(c, &weights, &mut panels);
        self.tensor(panels)
    }

    fn vector(&mut self, len: u32, (middle, width): (f32, f32)) -> u16 {
        let draws = self.random.draws(len as usize);
        self.tensor(draws.iter().map(|v| middle + width * v).collect())
    }

    fn conv(&mut self, from: NodeId, (ci, co): (u32, u32), stride: u16, act: Activation) -> NodeId {
        let mut c = Conv {
            ci,
            co,
            kh: 3,
            kw: 3,
            stride,
            pad: 1,
            weight: NONE,
            scale: NONE,
            shift: NONE,
            act,
        };
        c.weight = self.panels(&c);
        c.scale = self.vector(co, (1.0, 0.3));
        c.shift = self.vector(co, (0.0, 0.2));
        let segment = self.nodes.last().map_or(0, |n| n.segment);
        self.push(Op::Conv(c), [from, NONE], segment)
    }
}

/// A stem with a max pool, a block with an option-A shortcut, one with an identity, and a head.
pub fn network() -> Vec<u8> {
    let mut parts = Parts {
        random: Random::new(5),
        nodes: Vec::new(),
        tensors: Vec::new(),
    };
    let image = parts.push(Op::Input, [NONE; 2], 0);
    let stem = parts.conv(image, (3, 8), 1, Activation::Relu);
    let pool = Op::MaxPool(Pool {
        kernel: 3,
        stride: 2,
        pad: 1,
    });
    let pool = parts.push(pool, [stem, NONE], 0);
    let shortcut = Op::Subsample(Subsample {
        stride: 2,
        before: 4,
        after: 4,
    });
    let shortcut = parts.push(shortcut, [pool, NONE], 1);
    let residual = parts.conv(pool, (8, 16), 2, Activation::Relu);
    let residual = parts.conv(residual, (16, 16), 1, Activation::Identity);
    let sum = |relu| Op::Add {
        skip: Skip::Identity,
        relu,
    };
    let first = parts.push(sum(true), [residual, shortcut], 1);
    // The next block.
    parts.nodes.last_mut().expect("an addition").segment = 1;
    let inner = parts.conv(first, (16, 16), 1, Activation::Relu);
    for node in &mut parts.nodes[usize::from(inner)..] {
        node.segment = 2;
    }
    let inner = parts.conv(inner, (16, 16), 1, Activation::Identity);
    let second = parts.push(sum(true), [inner, first], 2);
    let average = parts.push(Op::AvgPool, [second, NONE], 3);
    let mut head = Linear {
        ci: 16,
        co: CLASSES,
        weight: NONE,
        bias: NONE,
    };
    head.weight = parts.panels(&head.as_conv());
    head.bias = parts.vector(CLASSES, (0.0, 0.1));
    parts.push(Op::Linear(head), [average, NONE], 3);
    file(&parts)
}

/// The bytes of a model file.
fn file(parts: &Parts) -> Vec<u8> {
    let mut header = Header {
        node_count: parts.nodes.len() as u16,
        tensor_count: parts.tensors.len() as u16,
        meta: RECORD as u32,
        nodes: 2 * RECORD as u32,
        ..Header::default()
    };
    header.tensors = header.nodes + (parts.nodes.len() * RECORD) as u32;
    header.classes = header.tensors + (parts.tensors.len() * RECORD) as u32;
    header.strings = header.classes;
    let meta = Meta {
        preprocess: Preprocess {
            fit: Fit::ShortSide,
            resize: 16,
            crop: [16, 16],
            filter: Filter::Bilinear,
            order: ChannelOrder::Rgb,
            scale: 1.0,
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        description: TextRef::default(),
    };
    let mut bytes = vec![0; header.strings as usize];
    let put = |bytes: &mut Vec<u8>, at: u32, record: &[u8]| {
        bytes[at as usize..][..record.len()].copy_from_slice(record);
    };
    put(&mut bytes, header.meta, &meta.encode());
    for (at, &node) in (header.nodes..).step_by(RECORD).zip(&parts.nodes) {
        let name = TextRef::default();
        put(&mut bytes, at, &NodeRecord { node, name }.encode());
    }
    for (at, values) in (header.tensors..).step_by(RECORD).zip(&parts.tensors) {
        bytes.resize(bytes.len().next_multiple_of(BLOB_ALIGN), 0);
        let blob = Blob {
            dtype: Dtype::F32,
            offset: bytes.len() as u64,
            len: 4 * values.len() as u64,
        };
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        put(&mut bytes, at, &blob.encode());
    }
    header.file_len = bytes.len() as u64;
    put(&mut bytes, 0, &header.encode());
    seal(&mut bytes);
    bytes
}
