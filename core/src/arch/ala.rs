//! The Attention Lattice Adapter: a side network that reads several layers of a frozen vision transformer and gives one
//! attention map, which masks the feature that the perception branch classifies (ICONIP 2025; section by section as the
//! reference's branch with AEA has it).
//!
//! The adapter is a small transformer over the same image's patches and some queries. After its block `i` it takes in the
//! encoder's layer `lattice[i]`; its queries and pixels are multiplied to masks, a 1x1 convolution reduces these to one,
//! and minimum and maximum of that become 0 and 1. Nodes are pushed in the order in which both networks advance
//! together, so that no layer of the encoder has to be kept.
//!
//! Nodes with names of their own: `h0`, `h3` .. (layers the lattice reads), `query`, `pixels`, `mask`, `reduced`,
//! `attention_map`, `masked_feature`, `logits_attention_branch`, `logits_perception_branch`, `logits` (their sum).

use crate::arch::vit::{Vit, dense, norm, patches, row_wise};
use crate::builder::{Builder, Name, Role};
use crate::error::Error;
use crate::graph::{
    Activation, Affine, Conv, Linear, NONE, NodeId, Op, Part, Pool, Positions, Skip, Tokens,
};

/// Name of the node that is the explanation: the map, `[h, w, 1]` of 0 to 1.
pub const MAP: &str = "attention_map";
/// Name of the node whose logits are explained and scored: the perception branch's. The network's own, which classify best,
/// are the sum of both branches'.
pub const PERCEPTION: &str = "logits_perception_branch";

/// Most layers a lattice may read.
pub const MAX_LATTICE: usize = 16;

/// How layers of the encoder enter the adapter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fusion {
    /// Norm, 1x1 convolution, resized to the adapter's grid, added (the paper's).
    #[default]
    Add,
    /// Not at all: the adapter sees the image alone. An ablation.
    None,
}

/// An encoder with its adapter, by numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ala {
    /// The encoder; only its blocks up to the lattice's last layer run.
    pub encoder: Vit,
    /// Layers of the encoder, growing: the first enters before the adapter's first block, the next after it, and so on.
    /// Layer 0 is the input of the encoder's first block. The last is the feature that is masked.
    pub lattice: [u16; MAX_LATTICE],
    /// Layers in use.
    pub layers: usize,
    /// How they enter.
    pub fusion: Fusion,
    /// Channels of the adapter's tokens.
    pub width: u32,
    /// Its attention heads.
    pub heads: u16,
    /// Its blocks.
    pub depth: u32,
    /// Its queries.
    pub queries: u32,
    /// Its patch size, pixels.
    pub patch: u16,
    /// Rows and columns of its position embeddings.
    pub grid: [u16; 2],
    /// Channels inside and after the two MLPs that make the masks, of three layers each.
    pub decoder: [u32; 2],
    /// Perception branch: channels of its two convolutions and of its two fully connected layers.
    pub perception: [u32; 4],
    /// Head: channels of its three hidden layers.
    pub head: [u32; 3],
    /// Channels inside the attention branch's classifier.
    pub attention_branch: u32,
    /// Number of classes.
    pub classes: u32,
}

/// A place where training drops values at random, and the share that is dropped (section 2.2 of the paper's code).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Name of the node whose output it acts on.
    pub node: &'static str,
    /// Share.
    pub share: f32,
}

/// The reference's: on the map before minimum and maximum are taken, before the perception branch's first fully connected
/// layer, and before the last layer of the head.
pub const DROPOUTS: [Dropout; 3] = [
    Dropout {
        node: "reduced",
        share: 0.75,
    },
    Dropout {
        node: "perception_branch.pooled",
        share: 0.25,
    },
    Dropout {
        node: "head.linear3",
        share: 0.25,
    },
];

/// eps of the adapter's norms.
const EPS: f32 = 1e-6;

fn named(text: &str) -> Name {
    Name::new(format_args!("{text}"))
}

impl Ala {
    /// The published adapter for an encoder: four layers evenly spread over three quarters of it, `width` 64 with 4 heads
    /// (CUB) or 240 with 6 (ImageNet-S).
    #[must_use]
    pub fn published(encoder: Vit, width: u32, classes: u32) -> Self {
        let mut lattice = [0; MAX_LATTICE];
        for (i, layer) in lattice.iter_mut().take(4).enumerate() {
            *layer = (i as u32 * encoder.depth / 4) as u16;
        }
        Self {
            encoder,
            lattice,
            layers: 4,
            fusion: Fusion::Add,
            width,
            heads: if width == 240 { 6 } else { 4 },
            depth: 8,
            queries: 100,
            patch: 16,
            grid: [40, 40],
            decoder: [256, 256],
            perception: [256, 128, 256, 200],
            head: [256, 1024, 256],
            attention_branch: 32,
            classes,
        }
    }

    /// The lattice's layers.
    #[must_use]
    pub fn lattice(&self) -> &[u16] {
        &self.lattice[..self.layers.min(MAX_LATTICE)]
    }

    /// Blocks of the encoder that run: up to the layer that is masked.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.lattice().last().map_or(0, |&last| u32::from(last))
    }

    /// The architecture of the adapter's own transformer.
    fn adapter(&self) -> Vit {
        Vit {
            prefix: "adapter.vit_model.",
            names: crate::arch::vit::TIMM,
            patch: self.patch,
            width: self.width,
            depth: self.depth,
            heads: self.heads,
            mlp: 4 * self.width,
            grid: self.grid,
            act: Activation::Gelu,
            eps: EPS,
            patch_bias: true,
            input_bias: true,
            larger: false,
            outputs: 0,
        }
    }

    /// Upper bounds of nodes and tensors that [`Ala::build`] pushes.
    #[must_use]
    pub fn capacity(&self) -> (usize, usize) {
        let (nodes, tensors) = self.encoder.capacity();
        let depth = self.depth as usize;
        (
            nodes + 64 + depth * 16,
            tensors + 96 + depth * 20 + self.layers * 4,
        )
    }

    fn checked(&self) -> Result<(), Error> {
        let channels = 1..=16_384;
        let lattice = self.lattice();
        let sizes = (self.decoder.iter())
            .chain(&self.perception)
            .chain(&self.head)
            .chain([&self.attention_branch, &self.width, &self.queries]);
        let possible = !lattice.is_empty()
            && self.layers <= MAX_LATTICE
            && lattice.windows(2).all(|pair| pair[0] < pair[1])
            && self.blocks() <= self.encoder.depth
            && lattice.len() as u32 <= self.depth + 1
            && (1..=64).contains(&self.depth)
            && (1..=64).contains(&self.patch)
            && self.heads > 0
            && self.width.is_multiple_of(u32::from(self.heads))
            && self.grid.iter().all(|g| (1..=1024).contains(g))
            && sizes.into_iter().all(|size| channels.contains(size))
            && (1..=65_536).contains(&self.classes);
        possible.then_some(()).ok_or(Error::Architecture)
    }

    /// Pushes both networks.
    ///
    /// # Errors
    /// [`Error::Architecture`] for impossible numbers, [`Error::Capacity`] when the lent slices are too small.
    pub fn build(&self, b: &mut Builder<'_>) -> Result<(), Error> {
        self.checked()?;
        let image = b.push(named("image"), Op::Input, [NONE; 2])?;
        let mut tokens = self.encoder.stem(b, image)?;
        b.next_stage();
        b.next_segment();
        let (mut x, positions) = self.queries(b, image)?;
        x = b.push(named("adapter.embedded"), positions, [x, NONE])?;
        let (adapter, mut ran, mut feature) = (self.adapter(), 0, NONE);
        for step in 0..=self.depth {
            if step > 0 {
                x = adapter.block(b, x, step - 1)?;
            }
            if let Some(&layer) = self.lattice().get(step as usize) {
                while ran < u32::from(layer) {
                    tokens = self.encoder.block(b, tokens, ran)?;
                    ran += 1;
                }
                let name = Name::new(format_args!("h{layer}"));
                feature = b.push(name, Op::Slice(Part::Grid), [tokens, NONE])?;
                x = self.fuse(b, (step, feature), x)?;
            }
            if step > 0 && step < self.depth {
                let name = Name::new(format_args!("adapter.positions{step}"));
                x = b.push(name, positions, [x, NONE])?;
            }
        }
        b.next_stage();
        b.next_segment();
        let mask = self.masks(b, x)?;
        let map = reduce(b, mask, self.queries)?;
        b.next_segment();
        let masked = b.push(named("masked_feature"), Op::MulMap, [feature, map])?;
        b.next_stage();
        b.next_segment();
        let attention = self.attention_branch(b, mask)?;
        let perception = self.perception_branch(b, masked)?;
        let sum = Op::Add {
            skip: Skip::Identity,
            relu: false,
        };
        b.push(named("logits"), sum, [perception, attention])?;
        Ok(())
    }

    /// Patches with the queries before them, and the positions that are added again and again.
    fn queries(&self, b: &mut Builder<'_>, image: NodeId) -> Result<(NodeId, Op), Error> {
        let (c, count) = (self.width, self.queries);
        let patch = named("adapter.vit_model.patch_embed.proj");
        let x = patches(b, patch, image, (self.patch, c), true)?;
        let (table, dims) = (Role::Table { from: 0 }, [count, c, 1, 1]);
        let cells = u32::from(self.grid[0]) * u32::from(self.grid[1]);
        let tokens = Tokens {
            count,
            c,
            weight: b.tensor(named("adapter.query_embed"), table, dims)?,
        };
        let positions = Positions {
            c,
            count,
            rows: self.grid[0],
            cols: self.grid[1],
            tokens: b.tensor(named("adapter.query_pos_embed"), table, dims)?,
            grid: b.tensor(
                named("adapter.vit_model.pos_embed"),
                table,
                [cells, c, 1, 1],
            )?,
            larger: false,
        };
        let x = b.push(named("adapter.tokens"), Op::Tokens(tokens), [x, NONE])?;
        Ok((x, Op::Positions(positions)))
    }

    /// Takes a layer of the encoder in.
    fn fuse(
        &self,
        b: &mut Builder<'_>,
        (layer, feature): (u32, NodeId),
        x: NodeId,
    ) -> Result<NodeId, Error> {
        if self.fusion == Fusion::None {
            return Ok(x);
        }
        let part = |part: u32| {
            Name::new(format_args!(
                "adapter.fusion_layers.layer_{layer}.input_proj.{part}"
            ))
        };
        let (ci, co) = (self.encoder.width, self.width);
        let normed = norm(b, part(0), feature, ci, EPS)?;
        let map = dense(b, part(1), normed, (ci, co), Activation::Identity)?;
        let name = Name::new(format_args!("adapter.fusion{layer}"));
        b.push(name, Op::Fuse, [map, x])
    }

    /// Queries and pixels, three layers each, and their products: `[h, w, queries]`.
    fn masks(&self, b: &mut Builder<'_>, x: NodeId) -> Result<NodeId, Error> {
        let [hidden, out] = self.decoder;
        let mut ends = [NONE; 2];
        let parts = [
            ("query", Part::Tokens, "query_mlp"),
            ("pixels", Part::Grid, "pix_mlp"),
        ];
        for (end, (name, part, mlp)) in ends.iter_mut().zip(parts) {
            let mut y = b.push(named(name), Op::Slice(part), [x, NONE])?;
            let mut ci = self.width;
            for (i, co) in [hidden, hidden, out].into_iter().enumerate() {
                let name = Name::new(format_args!("adapter.mask_decoder.{mlp}.layers.{i}"));
                let act = if i < 2 {
                    Activation::Relu
                } else {
                    Activation::Identity
                };
                y = dense(b, name, y, (ci, co), act)?;
                ci = co;
            }
            *end = y;
        }
        b.push(named("mask"), Op::MatMul, ends)
    }

    /// Classifies the masks: BatchNorm, two 1x1 convolutions, mean. The last two change places, both being linear.
    fn attention_branch(&self, b: &mut Builder<'_>, mask: NodeId) -> Result<NodeId, Error> {
        let (q, hidden, classes) = (self.queries, self.attention_branch, self.classes);
        let bn = named("attention_branch.bn");
        let affine = Affine {
            c: q,
            scale: b.tensor(bn, Role::NormScale, [q, 1, 1, 1])?,
            shift: b.tensor(bn, Role::NormShift, [q, 1, 1, 1])?,
        };
        let x = b.push(bn, Op::Affine(affine), [mask, NONE])?;
        let conv1 = named("attention_branch.conv1");
        let x = dense(b, conv1, x, (q, hidden), Activation::Relu)?;
        let x = b.push(named("attention_branch.pooled"), Op::AvgPool, [x, NONE])?;
        let linear = linear(b, "attention_branch.conv2", hidden, classes)?;
        b.push(named("logits_attention_branch"), linear, [x, NONE])
    }

    /// Classifies the masked feature.
    fn perception_branch(&self, b: &mut Builder<'_>, feature: NodeId) -> Result<NodeId, Error> {
        let [conv1, conv2, fc1, fc2] = self.perception;
        let (mut x, mut ci) = (feature, self.encoder.width);
        for (i, co) in [conv1, conv2].into_iter().enumerate() {
            let part = |part: &str| Name::new(format_args!("perception_branch.{part}{}", i + 1));
            x = normed(b, (part("conv"), part("bn")), x, (ci, co), 3)?;
            let pool = Pool {
                kernel: 2,
                stride: 2,
                pad: 0,
            };
            x = b.push(part("pool"), Op::MaxPool(pool), [x, NONE])?;
            ci = co;
        }
        x = b.push(named("perception_branch.pooled"), Op::AvgPool, [x, NONE])?;
        x = dense(
            b,
            named("perception_branch.fc1"),
            x,
            (ci, fc1),
            Activation::Relu,
        )?;
        x = dense(
            b,
            named("perception_branch.fc2"),
            x,
            (fc1, fc2),
            Activation::Identity,
        )?;
        ci = fc2;
        for (i, co) in self.head.into_iter().enumerate() {
            let part = |part: &str| Name::new(format_args!("head.{part}{}", i + 1));
            x = normed(b, (part("linear"), part("bn")), x, (ci, co), 1)?;
            ci = co;
        }
        let linear = linear(b, "head.linear4", ci, self.classes)?;
        b.push(named(PERCEPTION), linear, [x, NONE])
    }
}

/// Reduces the masks to one map, and that to 0..1.
fn reduce(b: &mut Builder<'_>, mask: NodeId, queries: u32) -> Result<NodeId, Error> {
    let name = named("reducer.conv");
    let part = |part: &str| Name::new(format_args!("{name}.{part}"));
    let conv = Conv {
        weight: b.tensor(part("weight"), Role::ConvWeight, [1, queries, 1, 1])?,
        shift: b.tensor(part("bias"), Role::Bias, [1, 1, 1, 1])?,
        ..row_wise(queries, 1)
    };
    let x = b.push(named("reduced"), Op::Conv(conv), [mask, NONE])?;
    b.push(named(MAP), Op::MinMax, [x, NONE])
}

/// A square convolution with a bias, BatchNorm and ReLU.
fn normed(
    b: &mut Builder<'_>,
    (name, bn): (Name, Name),
    x: NodeId,
    (ci, co): (u32, u32),
    kernel: u16,
) -> Result<NodeId, Error> {
    let (size, weight) = (u32::from(kernel), Name::new(format_args!("{name}.weight")));
    let conv = Conv {
        kh: kernel,
        kw: kernel,
        pad: kernel / 2,
        weight: b.tensor(weight, Role::ConvWeight, [co, ci, size, size])?,
        scale: b.tensor(bn, Role::NormScale, [co, 1, 1, 1])?,
        shift: b.tensor(bn, Role::NormShift, [co, 1, 1, 1])?,
        act: Activation::Relu,
        ..row_wise(ci, co)
    };
    b.push(name, Op::Conv(conv), [x, NONE])
}

fn linear(b: &mut Builder<'_>, name: &str, ci: u32, co: u32) -> Result<Op, Error> {
    let part = |part: &str| Name::new(format_args!("{name}.{part}"));
    Ok(Op::Linear(Linear {
        ci,
        co,
        weight: b.tensor(part("weight"), Role::LinearWeight, [co, ci, 1, 1])?,
        bias: b.tensor(part("bias"), Role::Bias, [co, 1, 1, 1])?,
    }))
}
