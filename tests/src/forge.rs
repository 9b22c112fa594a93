//! Model files made by hand: graphs that no importer would write, and published networks without their weights.

use elucid_core::arch::resnet::Resnet;
use elucid_core::builder::{Name, Named, Role};
use elucid_core::graph::{Activation, Conv, Linear, NONE, Node, NodeId, Op, PANEL, TensorId};
use elucid_core::model::{
    BLOB_ALIGN, Blob, Dtype, Header, Meta, NodeRecord, Preprocess, RECORD, TextRef, seal,
};
use elucid_host::architecture::Network;
use elucid_host::import::Blueprint;
use elucid_host::model_file::{Contents, Stored};
use elucid_host::preprocess;
use elucid_host::synthetic::Random;

/// Some preprocessing, for models that never see a photo.
fn some_preprocess() -> Preprocess {
    let net = Resnet::imagenet(18, 64, 10).expect("ResNet-18 exists");
    preprocess::find(None, &net).expect("the default exists")
}

/// A graph node by node, with random weights.
pub struct Graph {
    nodes: Vec<Named>,
    tensors: Vec<Stored>,
    random: Random,
    segment: u16,
    stage: u8,
}

impl Graph {
    /// A graph with nothing but the image, node 0.
    pub fn new(seed: u64) -> Self {
        let mut graph = Self {
            nodes: Vec::new(),
            tensors: Vec::new(),
            random: Random::new(seed),
            segment: 0,
            stage: 0,
        };
        graph.push(Op::Input, [NONE; 2]);
        graph
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
    pub fn push(&mut self, op: Op, inputs: [NodeId; 2]) -> NodeId {
        let id = self.nodes.len() as NodeId;
        let node = Node {
            op,
            inputs,
            segment: self.segment,
            stage: self.stage,
        };
        let name = Name::new(format_args!("node{id}"));
        self.nodes.push(Named { node, name });
        id
    }

    /// Adds a square convolution with "same" padding, channels in and out, kernel and stride; with a ReLU.
    pub fn conv(&mut self, input: NodeId, channels: (u32, u32), size: (u16, u16)) -> NodeId {
        self.convolution(input, channels, size, true)
    }

    /// The same without the ReLU.
    pub fn bare_conv(&mut self, input: NodeId, channels: (u32, u32), size: (u16, u16)) -> NodeId {
        self.convolution(input, channels, size, false)
    }

    fn convolution(
        &mut self,
        input: NodeId,
        (ci, co): (u32, u32),
        (kernel, stride): (u16, u16),
        relu: bool,
    ) -> NodeId {
        let mut conv = Conv {
            ci,
            co,
            kh: kernel,
            kw: kernel,
            stride,
            pad: kernel / 2,
            weight: 0,
            scale: NONE,
            shift: NONE,
            act: if relu {
                Activation::Relu
            } else {
                Activation::Identity
            },
        };
        conv.weight = self.tensor(conv.stored());
        self.push(Op::Conv(conv), [input, NONE])
    }

    /// Adds a fully connected layer.
    pub fn linear(&mut self, input: NodeId, ci: u32, co: u32) -> NodeId {
        let mut linear = Linear {
            ci,
            co,
            weight: 0,
            bias: NONE,
        };
        linear.weight = self.tensor(linear.as_conv().stored());
        self.push(Op::Linear(linear), [input, NONE])
    }

    /// Adds a random tensor.
    fn tensor(&mut self, len: usize) -> TensorId {
        let id = self.tensors.len() as TensorId;
        self.tensors.push(Stored {
            data: (0..len).map(|_| self.random.draw()).collect(),
            dtype: Dtype::F32,
        });
        id
    }

    /// The model file.
    pub fn bytes(&self) -> Vec<u8> {
        let contents = Contents {
            nodes: &self.nodes,
            tensors: &self.tensors,
            classes: &[],
            preprocess: some_preprocess(),
            description: "made by hand",
        };
        contents.assemble().expect("a small graph fits into a file")
    }
}

/// The model file of a network whose weights are all 0 and share the same bytes: a ResNet-152 in 5 MB, good enough to be
/// planned.
pub fn hollow(net: &dyn Network) -> Vec<u8> {
    let blueprint = Blueprint::new(net).expect("the network is possible");
    let blob = |role: Role, [co, ci, kh, kw]: [u32; 4]| match role {
        Role::ConvWeight | Role::LinearWeight | Role::TurnedWeight => {
            let panels = (co as usize).div_ceil(PANEL) * PANEL;
            (Dtype::F16, panels * (ci * kh * kw) as usize)
        }
        Role::Table { .. } => (Dtype::F32, (co * ci) as usize),
        Role::NormScale | Role::NormShift | Role::Bias | Role::Factors | Role::Summands => {
            (Dtype::F32, co as usize)
        }
    };
    let blobs: Vec<(Dtype, usize)> = blueprint
        .tensors
        .iter()
        .map(|t| blob(t.role, t.dims))
        .collect();
    let size = |&(dtype, len): &(Dtype, usize)| dtype.size() * len;
    let largest = blobs.iter().map(size).max().unwrap_or(0);

    let (nodes, tensors) = (blueprint.nodes.len(), blobs.len());
    let strings = 2 * RECORD + (nodes + tensors) * RECORD;
    let start = strings.next_multiple_of(BLOB_ALIGN);
    let header = Header {
        node_count: nodes as u16,
        tensor_count: tensors as u16,
        meta: RECORD as u32,
        nodes: 2 * RECORD as u32,
        tensors: ((2 + nodes) * RECORD) as u32,
        classes: strings as u32,
        strings: strings as u32,
        file_len: (start + largest) as u64,
        ..Header::default()
    };
    let meta = Meta {
        preprocess: some_preprocess(),
        description: TextRef::default(),
    };
    let mut bytes: Vec<u8> = [header.encode(), meta.encode()].concat();
    for named in &blueprint.nodes {
        let record = NodeRecord {
            node: named.node,
            name: TextRef::default(),
        };
        bytes.extend(record.encode());
    }
    for found in &blobs {
        let record = Blob {
            dtype: found.0,
            offset: start as u64,
            len: size(found) as u64,
        };
        bytes.extend(record.encode());
    }
    bytes.resize(start + largest, 0);
    seal(&mut bytes);
    bytes
}
