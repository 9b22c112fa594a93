//! Residual networks for images: ResNet-18 to 152, their narrow, wide and small-image relatives.
//!
//! [`Resnet`] describes one by numbers; [`Resnet::build`] pushes its nodes with the tensor names of torchvision
//! (`layer1.0.conv1.weight`, `layer1.0.bn1.*`, `layer2.0.downsample.0.weight`, `fc.weight`).
//!
//! Variants: a 7x7 stem of stride 2 with a 3x3 max pool, or a 3x3 stem of stride 1 as CIFAR networks use, with or
//! without the pool; stride in the 3x3 of a bottleneck (torchvision, "v1.5") or in its first 1x1 (Keras); projection
//! shortcuts or parameter-free ones (option A: every second pixel, zero channels half before, half after).

use crate::builder::{Builder, Name, Role};
use crate::error::Error;
use crate::graph::{Activation, Conv, Linear, NONE, NodeId, Op, Pool, Skip, Subsample, TensorId};

/// Most stages a network may have.
pub const MAX_STAGES: usize = 8;

/// The two kinds of residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3, 1x1.
    Bottleneck,
}

/// Where a bottleneck that halves the resolution has its stride.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StrideOn {
    /// In the 3x3 convolution (torchvision).
    #[default]
    Spatial,
    /// In the first 1x1 convolution (Keras, the original paper).
    First,
}

/// How a block that changes the shape skips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shortcut {
    /// 1x1 convolution and BatchNorm (option B).
    #[default]
    Projection,
    /// Every second pixel, zero channels around (option A).
    Pad,
}

/// One stage of blocks of equal width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// Number of blocks.
    pub blocks: u32,
    /// Channels inside the block.
    pub mid: u32,
    /// Channels leaving the block; equal to `mid` for basic blocks.
    pub out: u32,
}

/// The name of the classifier in a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Head {
    /// `fc` (torchvision).
    #[default]
    Fc,
    /// `linear` (CIFAR networks).
    Linear,
}

/// A residual network by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resnet {
    /// Basic or bottleneck.
    pub block: Block,
    /// Stem kernel size, 7 or 3 as a rule; padding is half of it.
    pub stem_kernel: u16,
    /// Stem stride.
    pub stem_stride: u16,
    /// Stem channels.
    pub stem_width: u32,
    /// Whether a 3x3 max pool of stride 2 follows the stem.
    pub pool: bool,
    /// Stages; those with zero blocks end the list.
    pub stages: [Stage; MAX_STAGES],
    /// Where bottlenecks have their stride.
    pub stride_on: StrideOn,
    /// How blocks that change the shape skip.
    pub shortcut: Shortcut,
    /// Name of the classifier.
    pub head: Head,
    /// Number of classes.
    pub classes: u32,
}

impl Resnet {
    /// The ImageNet network of this depth (18, 34, 50, 101 or 152) with `width` stem channels (64 as published).
    #[must_use]
    pub fn imagenet(depth: u32, width: u32, classes: u32) -> Option<Self> {
        let (block, counts) = match depth {
            18 => (Block::Basic, [2, 2, 2, 2]),
            34 => (Block::Basic, [3, 4, 6, 3]),
            50 => (Block::Bottleneck, [3, 4, 6, 3]),
            101 => (Block::Bottleneck, [3, 4, 23, 3]),
            152 => (Block::Bottleneck, [3, 8, 36, 3]),
            _ => return None,
        };
        let expansion = if block == Block::Basic { 1 } else { 4 };
        let mut stages = [Stage::default(); MAX_STAGES];
        for (i, (stage, blocks)) in stages.iter_mut().zip(counts).enumerate() {
            let mid = width << i;
            *stage = Stage {
                blocks,
                mid,
                out: mid * expansion,
            };
        }
        Some(Self {
            block,
            stem_kernel: 7,
            stem_stride: 2,
            stem_width: width,
            pool: true,
            stages,
            stride_on: StrideOn::Spatial,
            shortcut: Shortcut::Projection,
            head: Head::Fc,
            classes,
        })
    }

    /// The CIFAR network of `6 n + 2` layers with `width` stem channels (16 as published), option-A shortcuts.
    #[must_use]
    pub fn cifar(n: u32, width: u32, classes: u32) -> Self {
        let mut stages = [Stage::default(); MAX_STAGES];
        for (i, stage) in stages.iter_mut().take(3).enumerate() {
            *stage = Stage {
                blocks: n,
                mid: width << i,
                out: width << i,
            };
        }
        Self {
            block: Block::Basic,
            stem_kernel: 3,
            stem_stride: 1,
            stem_width: width,
            pool: false,
            stages,
            stride_on: StrideOn::Spatial,
            shortcut: Shortcut::Pad,
            head: Head::Linear,
            classes,
        }
    }

    /// The stages in use.
    pub fn stages(&self) -> impl Iterator<Item = Stage> + '_ {
        self.stages.iter().copied().take_while(|s| s.blocks > 0)
    }

    /// Upper bounds of nodes and tensors that [`Resnet::build`] pushes.
    #[must_use]
    pub fn capacity(&self) -> (usize, usize) {
        let blocks: usize = self.stages().map(|s| s.blocks as usize).sum();
        (8 + blocks * 5, 8 + blocks * 12)
    }

    fn checked(&self) -> Result<(), Error> {
        let channels = 1..=16_384;
        let mut stages = self.stages().peekable();
        let possible = stages.peek().is_some()
            && stages.all(|s| {
                s.blocks <= 256
                    && channels.contains(&s.mid)
                    && channels.contains(&s.out)
                    && (self.block == Block::Bottleneck || s.mid == s.out)
            })
            && channels.contains(&self.stem_width)
            && (1..=65_536).contains(&self.classes)
            && (1..=11).contains(&self.stem_kernel)
            && (1..=16).contains(&self.stem_stride);
        possible.then_some(()).ok_or(Error::Architecture)
    }

    /// Pushes the network.
    ///
    /// # Errors
    /// [`Error::Architecture`] for impossible numbers, [`Error::Capacity`] when the lent slices are too small.
    pub fn build(&self, b: &mut Builder<'_>) -> Result<(), Error> {
        self.checked()?;
        let image = b.push(Name::new(format_args!("image")), Op::Input, [NONE; 2])?;
        let stem = Convolution {
            ci: 3,
            co: self.stem_width,
            kernel: self.stem_kernel,
            stride: self.stem_stride,
        };
        let (name, norm) = (
            Name::new(format_args!("conv1")),
            Name::new(format_args!("bn1")),
        );
        let mut x = stem.push(b, name, norm, image, true)?;
        if self.pool {
            let pool = Op::MaxPool(Pool {
                kernel: 3,
                stride: 2,
                pad: 1,
            });
            x = b.push(Name::new(format_args!("maxpool")), pool, [x, NONE])?;
        }
        let mut width = self.stem_width;
        for (s, stage) in self.stages().enumerate() {
            b.next_stage();
            for block in 0..stage.blocks {
                b.next_segment();
                let stride = if s > 0 && block == 0 { 2 } else { 1 };
                x = self.push_block(b, x, width, stage, stride, (s + 1, block))?;
                width = stage.out;
            }
        }
        b.next_stage();
        b.next_segment();
        x = b.push(Name::new(format_args!("avgpool")), Op::AvgPool, [x, NONE])?;
        let head = match self.head {
            Head::Fc => "fc",
            Head::Linear => "linear",
        };
        let dims = [self.classes, width, 1, 1];
        let weight = b.tensor(
            Name::new(format_args!("{head}.weight")),
            Role::LinearWeight,
            dims,
        )?;
        let bias = b.tensor(
            Name::new(format_args!("{head}.bias")),
            Role::Bias,
            [self.classes, 1, 1, 1],
        )?;
        let linear = Linear {
            ci: width,
            co: self.classes,
            weight,
            bias,
        };
        b.push(
            Name::new(format_args!("{head}")),
            Op::Linear(linear),
            [x, NONE],
        )?;
        Ok(())
    }

    fn push_block(
        &self,
        b: &mut Builder<'_>,
        x: NodeId,
        ci: u32,
        stage: Stage,
        stride: u16,
        (layer, index): (usize, u32),
    ) -> Result<NodeId, Error> {
        let name = |part: &str| Name::new(format_args!("layer{layer}.{index}.{part}"));
        let (kernels, strides): (&[u16], [u16; 3]) = match (self.block, self.stride_on) {
            (Block::Basic, _) => (&[3, 3], [stride, 1, 1]),
            (Block::Bottleneck, StrideOn::Spatial) => (&[1, 3, 1], [1, stride, 1]),
            (Block::Bottleneck, StrideOn::First) => (&[1, 3, 1], [stride, 1, 1]),
        };
        let (mut branch, mut width) = (x, ci);
        for (i, &kernel) in kernels.iter().enumerate() {
            let last = i + 1 == kernels.len();
            let co = if last { stage.out } else { stage.mid };
            let conv = Convolution {
                ci: width,
                co,
                kernel,
                stride: strides[i],
            };
            let (conv_name, norm_name) = (["conv1", "conv2", "conv3"][i], ["bn1", "bn2", "bn3"][i]);
            branch = conv.push(b, name(conv_name), name(norm_name), branch, !last)?;
            width = co;
        }
        let (skip, kind) = if stride == 1 && ci == stage.out {
            (x, Skip::Identity)
        } else {
            match self.shortcut {
                Shortcut::Projection => {
                    let conv = Convolution {
                        ci,
                        co: stage.out,
                        kernel: 1,
                        stride,
                    };
                    (
                        conv.push(b, name("downsample.0"), name("downsample.1"), x, false)?,
                        Skip::Projection,
                    )
                }
                Shortcut::Pad => {
                    let more = stage.out.checked_sub(ci).ok_or(Error::Architecture)?;
                    let (before, after) = ((more / 2) as u16, more.div_ceil(2) as u16);
                    let op = Op::Subsample(Subsample {
                        stride,
                        before,
                        after,
                    });
                    (b.push(name("shortcut"), op, [x, NONE])?, Skip::Identity)
                }
            }
        };
        b.push(
            name("add"),
            Op::Add {
                skip: kind,
                relu: true,
            },
            [branch, skip],
        )
    }
}

/// A square convolution with "same" padding and BatchNorm, before it has tensors.
struct Convolution {
    ci: u32,
    co: u32,
    kernel: u16,
    stride: u16,
}

impl Convolution {
    fn push(
        &self,
        b: &mut Builder<'_>,
        name: Name,
        norm: Name,
        x: NodeId,
        relu: bool,
    ) -> Result<NodeId, Error> {
        let kernel = u32::from(self.kernel);
        let dims = [self.co, self.ci, kernel, kernel];
        let weight = b.tensor(
            Name::new(format_args!("{name}.weight")),
            Role::ConvWeight,
            dims,
        )?;
        let scale: TensorId = b.tensor(norm, Role::NormScale, [self.co, 1, 1, 1])?;
        let shift: TensorId = b.tensor(norm, Role::NormShift, [self.co, 1, 1, 1])?;
        let conv = Conv {
            ci: self.ci,
            co: self.co,
            kh: self.kernel,
            kw: self.kernel,
            stride: self.stride,
            pad: self.kernel / 2,
            weight,
            scale,
            shift,
            act: if relu {
                Activation::Relu
            } else {
                Activation::Identity
            },
        };
        b.push(name, Op::Conv(conv), [x, NONE])
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::builder::{Named, TensorSpec};
    use crate::shape::Shape;

    fn output(net: &Resnet, image: Shape) -> (usize, usize, Shape) {
        let (mut nodes, mut tensors) = (
            std::vec![Named::EMPTY; 300],
            std::vec![TensorSpec::EMPTY; 700],
        );
        let mut b = Builder::new(&mut nodes, &mut tensors);
        net.build(&mut b).unwrap();
        let (most_nodes, most_tensors) = net.capacity();
        assert!(b.nodes().len() <= most_nodes && b.tensors().len() <= most_tensors);
        let mut shapes = [Shape::default(); 300];
        for (i, named) in b.nodes().iter().enumerate() {
            let shape = |id: NodeId| {
                if id == NONE {
                    image
                } else {
                    shapes[usize::from(id)]
                }
            };
            let [p, q] = named.node.inputs;
            shapes[i] = named.node.op.infer(shape(p), shape(q)).unwrap();
        }
        (
            b.nodes().len(),
            b.tensors().len(),
            shapes[b.nodes().len() - 1],
        )
    }

    #[test]
    fn published_networks_have_their_shape() {
        let image = Shape::new(224, 224, 3);
        for (depth, convs, blocks) in [
            (18, 20, 8),
            (34, 36, 16),
            (50, 53, 16),
            (101, 104, 33),
            (152, 155, 50),
        ] {
            let net = Resnet::imagenet(depth, 64, 1000).unwrap();
            let (nodes, tensors, shape) = output(&net, image);
            assert_eq!(
                (nodes, tensors),
                (convs + blocks + 4, convs * 3 + 2),
                "ResNet-{depth}"
            );
            assert_eq!(shape, Shape::features(1000));
        }
        assert_eq!(
            output(&Resnet::cifar(3, 16, 10), Shape::new(32, 32, 3)).2,
            Shape::features(10)
        );
        assert!(Resnet::imagenet(20, 64, 10).is_none());
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let mut net = Resnet::imagenet(18, 64, 0).unwrap();
        let (mut nodes, mut tensors) = ([Named::EMPTY; 3], [TensorSpec::EMPTY; 3]);
        assert_eq!(
            net.build(&mut Builder::new(&mut nodes, &mut tensors)),
            Err(Error::Architecture)
        );
        net.classes = 5;
        let error = net
            .build(&mut Builder::new(&mut nodes, &mut tensors))
            .unwrap_err();
        assert!(matches!(error, Error::Capacity { .. }));
    }
}
