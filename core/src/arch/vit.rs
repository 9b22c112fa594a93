//! Vision transformers: CLIP's image encoder, and those of timm (ViT, DeiT, DINO) and torchvision.
//!
//! [`Vit`] describes one by numbers, [`Names`] how its checkpoint calls its tensors. Patches are embedded by a convolution
//! whose windows lie side by side; class token and position embeddings follow; every block is
//! `x += attention(norm(x)); x += mlp(norm(x))`. The head reads the class token.

use crate::builder::{Builder, Name, Role};
use crate::error::Error;
use crate::graph::{
    Activation, Attention, Conv, Linear, NONE, NodeId, Norm, Op, Part, Positions, Skip, Tokens,
};

/// How a checkpoint calls its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Patch embedding.
    pub patch: &'static str,
    /// Class token; empty where there is none.
    pub class: &'static str,
    /// Position embeddings, those of the class token first.
    pub positions: &'static str,
    /// Norm before the blocks; empty where there is none.
    pub before: &'static str,
    /// Blocks, before their number.
    pub block: &'static str,
    /// In a block: first norm, attention's input weights and biases, its output, second norm, MLP in and out.
    pub parts: [&'static str; 7],
    /// Norm after the blocks.
    pub after: &'static str,
    /// Classifier, or the projection to the embedding.
    pub head: &'static str,
    /// Whether the head is a matrix `[width, out]` multiplied from the left, without a bias.
    pub projects: bool,
}

/// OpenAI's CLIP and open_clip.
pub const CLIP: Names = Names {
    patch: "conv1",
    class: "class_embedding",
    positions: "positional_embedding",
    before: "ln_pre",
    block: "transformer.resblocks.",
    parts: [
        "ln_1",
        "attn.in_proj_weight",
        "attn.in_proj_bias",
        "attn.out_proj",
        "ln_2",
        "mlp.c_fc",
        "mlp.c_proj",
    ],
    after: "ln_post",
    head: "proj",
    projects: true,
};

/// timm's ViT and DeiT, and DINO.
pub const TIMM: Names = Names {
    patch: "patch_embed.proj",
    class: "cls_token",
    positions: "pos_embed",
    before: "",
    block: "blocks.",
    parts: [
        "norm1",
        "attn.qkv.weight",
        "attn.qkv.bias",
        "attn.proj",
        "norm2",
        "mlp.fc1",
        "mlp.fc2",
    ],
    after: "norm",
    head: "head",
    projects: false,
};

/// torchvision's ViT.
pub const TORCHVISION: Names = Names {
    patch: "conv_proj",
    class: "class_token",
    positions: "encoder.pos_embedding",
    before: "",
    block: "encoder.layers.encoder_layer_",
    parts: [
        "ln_1",
        "self_attention.in_proj_weight",
        "self_attention.in_proj_bias",
        "self_attention.out_proj",
        "ln_2",
        "mlp.0",
        "mlp.3",
    ],
    after: "encoder.ln",
    head: "heads.head",
    projects: false,
};

/// A vision transformer by numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vit {
    /// Names of its tensors.
    pub names: Names,
    /// What comes before all of them.
    pub prefix: &'static str,
    /// Patch size, pixels.
    pub patch: u16,
    /// Channels of a token.
    pub width: u32,
    /// Blocks.
    pub depth: u32,
    /// Attention heads.
    pub heads: u16,
    /// Channels inside the MLP.
    pub mlp: u32,
    /// Rows and columns of the position embeddings.
    pub grid: [u16; 2],
    /// The MLP's activation.
    pub act: Activation,
    /// Added to the variance in norms.
    pub eps: f32,
    /// Whether the patch embedding has a bias.
    pub patch_bias: bool,
    /// Whether attention's input has a bias.
    pub input_bias: bool,
    /// Whether positions are resized as DINO does ([`Positions::larger`]).
    pub larger: bool,
    /// Outputs of the head; 0 for a network whose class token, after the last norm, is its output.
    pub outputs: u32,
}

impl Vit {
    /// Upper bounds of nodes and tensors that [`Vit::build`] pushes.
    #[must_use]
    pub fn capacity(&self) -> (usize, usize) {
        let depth = self.depth as usize;
        (16 + depth * 10, 16 + depth * 14)
    }

    fn checked(&self) -> Result<(), Error> {
        let channels = 1..=16_384;
        let possible = channels.contains(&self.width)
            && channels.contains(&self.mlp)
            && self.heads > 0
            && self.width.is_multiple_of(u32::from(self.heads))
            && (1..=256).contains(&self.depth)
            && (1..=64).contains(&self.patch)
            && self.grid.iter().all(|g| (1..=1024).contains(g))
            && self.outputs <= 65_536;
        possible.then_some(()).ok_or(Error::Architecture)
    }

    fn name(&self, part: &str) -> Name {
        Name::new(format_args!("{}{part}", self.prefix))
    }

    fn in_block(&self, block: u32, part: &str) -> Name {
        Name::new(format_args!(
            "{}{}{block}.{part}",
            self.prefix, self.names.block
        ))
    }

    /// Pushes the whole network.
    ///
    /// # Errors
    /// [`Error::Architecture`] for impossible numbers, [`Error::Capacity`] when the lent slices are too small.
    pub fn build(&self, b: &mut Builder<'_>) -> Result<(), Error> {
        self.checked()?;
        let image = b.push(Name::new(format_args!("image")), Op::Input, [NONE; 2])?;
        let mut x = self.stem(b, image)?;
        for block in 0..self.depth {
            x = self.block(b, x, block)?;
        }
        b.next_segment();
        b.next_stage();
        let class = Op::Slice(Part::Tokens);
        x = b.push(self.name("class_token"), class, [x, NONE])?;
        x = norm(b, self.name(self.names.after), x, self.width, self.eps)?;
        if self.outputs == 0 {
            return Ok(());
        }
        let (head, dims) = (self.names.head, [self.outputs, self.width, 1, 1]);
        let (weight, bias) = if self.names.projects {
            (b.tensor(self.name(head), Role::TurnedWeight, dims)?, NONE)
        } else {
            let part = |part: &str| Name::new(format_args!("{}{head}.{part}", self.prefix));
            (
                b.tensor(part("weight"), Role::LinearWeight, dims)?,
                b.tensor(part("bias"), Role::Bias, [self.outputs, 1, 1, 1])?,
            )
        };
        let linear = Linear {
            ci: self.width,
            co: self.outputs,
            weight,
            bias,
        };
        b.push(self.name(head), Op::Linear(linear), [x, NONE])?;
        Ok(())
    }

    /// Patch embedding, class token, positions and the first norm: `[h, w, 3] -> [1 + h' * w', width]`.
    pub(super) fn stem(&self, b: &mut Builder<'_>, image: NodeId) -> Result<NodeId, Error> {
        self.checked()?;
        let mut x = patches(
            b,
            self.name(self.names.patch),
            image,
            (self.patch, self.width),
            self.patch_bias,
        )?;
        let mut positions = Positions {
            c: self.width,
            count: 0,
            rows: self.grid[0],
            cols: self.grid[1],
            tokens: NONE,
            grid: NONE,
            larger: self.larger,
        };
        let cells = u32::from(self.grid[0]) * u32::from(self.grid[1]);
        let table = self.name(self.names.positions);
        if !self.names.class.is_empty() {
            let (name, dims) = (self.name(self.names.class), [1, self.width, 1, 1]);
            let tokens = Tokens {
                count: 1,
                c: self.width,
                weight: b.tensor(name, Role::Table { from: 0 }, dims)?,
            };
            x = b.push(name, Op::Tokens(tokens), [x, NONE])?;
            positions.count = 1;
            positions.tokens = b.tensor(table, Role::Table { from: 0 }, dims)?;
        }
        let (from, dims) = (positions.count, [cells, self.width, 1, 1]);
        positions.grid = b.tensor(table, Role::Table { from }, dims)?;
        x = b.push(table, Op::Positions(positions), [x, NONE])?;
        if !self.names.before.is_empty() {
            x = norm(b, self.name(self.names.before), x, self.width, self.eps)?;
        }
        Ok(x)
    }

    /// Block `block`, counted from 0.
    pub(super) fn block(
        &self,
        b: &mut Builder<'_>,
        x: NodeId,
        block: u32,
    ) -> Result<NodeId, Error> {
        b.next_segment();
        let name = |part: &str| self.in_block(block, part);
        let [norm1, weight, bias, out, norm2, up, down] = self.names.parts;
        let (c, hidden) = (self.width, self.mlp);
        let normed = norm(b, name(norm1), x, c, self.eps)?;
        let input = Conv {
            weight: b.tensor(name(weight), Role::ConvWeight, [3 * c, c, 1, 1])?,
            shift: match self.input_bias {
                true => b.tensor(name(bias), Role::Bias, [3 * c, 1, 1, 1])?,
                false => NONE,
            },
            ..row_wise(c, 3 * c)
        };
        let qkv = b.push(name("qkv"), Op::Conv(input), [normed, NONE])?;
        let heads = Attention {
            c,
            heads: self.heads,
        };
        let attended = b.push(name("attention"), Op::Attention(heads), [qkv, NONE])?;
        let identity = Activation::Identity;
        let branch = dense(b, name(out), attended, (c, c), identity)?;
        let x = add(b, name("add1"), branch, x)?;
        let normed = norm(b, name(norm2), x, c, self.eps)?;
        let branch = dense(b, name(up), normed, (c, hidden), self.act)?;
        let branch = dense(b, name(down), branch, (hidden, c), identity)?;
        add(b, name("add2"), branch, x)
    }
}

/// Windows of `size` pixels side by side, each to `width` channels.
pub(super) fn patches(
    b: &mut Builder<'_>,
    name: Name,
    image: NodeId,
    (size, width): (u16, u32),
    bias: bool,
) -> Result<NodeId, Error> {
    let (pixels, part) = (u32::from(size), |part: &str| {
        Name::new(format_args!("{name}.{part}"))
    });
    let conv = Conv {
        ci: 3,
        co: width,
        kh: size,
        kw: size,
        stride: size,
        weight: b.tensor(part("weight"), Role::ConvWeight, [width, 3, pixels, pixels])?,
        shift: match bias {
            true => b.tensor(part("bias"), Role::Bias, [width, 1, 1, 1])?,
            false => NONE,
        },
        ..row_wise(3, width)
    };
    b.push(name, Op::Conv(conv), [image, NONE])
}

/// A fully connected layer for each row, before it has tensors.
pub(super) const fn row_wise(ci: u32, co: u32) -> Conv {
    Conv {
        ci,
        co,
        kh: 1,
        kw: 1,
        stride: 1,
        pad: 0,
        weight: NONE,
        scale: NONE,
        shift: NONE,
        act: Activation::Identity,
    }
}

/// A fully connected layer with bias for each row.
pub(super) fn dense(
    b: &mut Builder<'_>,
    name: Name,
    x: NodeId,
    (ci, co): (u32, u32),
    act: Activation,
) -> Result<NodeId, Error> {
    let part = |part: &str| Name::new(format_args!("{name}.{part}"));
    let conv = Conv {
        weight: b.tensor(part("weight"), Role::ConvWeight, [co, ci, 1, 1])?,
        shift: b.tensor(part("bias"), Role::Bias, [co, 1, 1, 1])?,
        act,
        ..row_wise(ci, co)
    };
    b.push(name, Op::Conv(conv), [x, NONE])
}

/// A norm over channels.
pub(super) fn norm(
    b: &mut Builder<'_>,
    name: Name,
    x: NodeId,
    c: u32,
    eps: f32,
) -> Result<NodeId, Error> {
    let part = |part: &str| Name::new(format_args!("{name}.{part}"));
    let norm = Norm {
        c,
        eps,
        weight: b.tensor(part("weight"), Role::Factors, [c, 1, 1, 1])?,
        bias: b.tensor(part("bias"), Role::Summands, [c, 1, 1, 1])?,
    };
    b.push(name, Op::Norm(norm), [x, NONE])
}

fn add(b: &mut Builder<'_>, name: Name, branch: NodeId, skip: NodeId) -> Result<NodeId, Error> {
    let op = Op::Add {
        skip: Skip::Identity,
        relu: false,
    };
    b.push(name, op, [branch, skip])
}
