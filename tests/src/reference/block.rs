//! One residual block: forward pass, relevance splitting between its two branches, relevance at its input.
//!
//! `out = relu(m + s)` with the residual branch `m` (two or three convolutions, its last batch normalisation
//! included) and the skip branch `s`. Of the relevance `R` at the output, the residual branch receives `rho R` and the
//! skip branch `(1 - rho) R`, element by element; what both hand down is added.

use super::layer::{batch_norm, conv2d, conv2d_relevance, extents, relu};
use super::{Dead, Rules, Split, StrideOn};
use crate::tensors::{Tensor, Tensors};

/// A basic block (`conv1`, `conv2`) or a bottleneck (`conv1` to `conv3`), told apart by their names.
pub struct Block<'a> {
    /// The network's tensors.
    pub weights: &'a Tensors,
    /// Name of the block with a final dot, `"layer1.0."`.
    pub prefix: String,
    /// Stride of the block.
    pub stride: usize,
    /// Which convolution of a bottleneck carries it.
    pub stride_on: StrideOn,
    /// Epsilon of the batch normalisations.
    pub bn_eps: f64,
}

/// What a block computed on the way forward.
pub struct Pass {
    /// The input of every convolution of the residual branch; the first is the block's own input.
    inputs: Vec<Tensor>,
    /// `m`, the residual branch before the addition.
    pub branch: Tensor,
    /// `s`, the skip branch before the addition.
    pub skip: Tensor,
    /// `relu(m + s)`.
    pub output: Tensor,
}

/// How a block's input reaches the addition.
#[derive(Clone, Copy, PartialEq)]
enum Skip {
    Identity,
    /// A 1x1 convolution and a batch normalisation.
    Projection,
    /// Option A of He et al. 2016: every `stride`-th pixel, this many zero channels before and as many after.
    Pad(usize),
}

impl Block<'_> {
    /// Runs the block on `a`.
    pub fn forward(&self, a: &Tensor) -> Pass {
        let mut inputs = vec![a.clone()];
        let mut branch = a.clone();
        for n in 1..=self.depth() {
            branch = self.norm(
                &self.conv(&branch, &format!("conv{n}"), self.conv_stride(n)),
                &format!("bn{n}"),
            );
            if n < self.depth() {
                branch = relu(&branch);
                inputs.push(branch.clone());
            }
        }
        let skip = match self.skip(a) {
            Skip::Identity => a.clone(),
            Skip::Projection => {
                self.norm(&self.conv(a, "downsample.0", self.stride), "downsample.1")
            }
            Skip::Pad(before) => {
                let mut padded = Tensor::full(&branch.shape, 0.0);
                for (from, to) in self.subsample(a, &branch, before) {
                    padded.data[to] = a.data[from];
                }
                padded
            }
        };
        let mut output = branch.clone();
        for (out, s) in output.data.iter_mut().zip(&skip.data) {
            *out = (*out + s).max(0.0);
        }
        Pass {
            inputs,
            branch,
            skip,
            output,
        }
    }

    /// The share of the residual branch, element by element, at the block's output.
    pub fn ratio(&self, pass: &Pass, rules: &Rules) -> Tensor {
        let skip = self.skip(&pass.inputs[0]);
        let [_, channels, height, width] = extents(&pass.branch);
        let mut rho = pass.branch.clone();
        for i in 0..rho.data.len() {
            let (m, s) = (pass.branch.data[i].abs(), pass.skip.data[i].abs());
            let by_size = if m + s == 0.0 { 0.5 } else { m / (m + s) };
            rho.data[i] = match (rules.split, skip) {
                (Split::Ratio, _) | (Split::ProjectionRatio, Skip::Projection) => by_size,
                (Split::Half, _) | (Split::ProjectionHalf, Skip::Projection) => 0.5,
                (Split::ProjectionRatio | Split::ProjectionHalf, Skip::Identity | Skip::Pad(_)) => {
                    1.0
                }
            };
            // A channel that option A invented has no input on the skip side that could take a share.
            if let (Skip::Pad(before), Dead::Redistribute) = (skip, rules.dead) {
                let channel = i / (height * width);
                if channel < before || channel >= channels - before {
                    rho.data[i] = 1.0;
                }
            }
        }
        rho
    }

    /// Relevance `r` at the block's output to relevance at its input.
    pub fn relevance(&self, pass: &Pass, r: &Tensor, rules: &Rules) -> Tensor {
        let rho = self.ratio(pass, rules);
        let a = &pass.inputs[0];
        let mut through_branch = r.clone();
        let mut through_skip = r.clone();
        for i in 0..r.data.len() {
            through_branch.data[i] = rho.data[i] * r.data[i];
            through_skip.data[i] = (1.0 - rho.data[i]) * r.data[i];
        }
        for n in (1..=self.depth()).rev() {
            let w = self.tensor(&format!("conv{n}.weight"));
            through_branch = conv2d_relevance(
                &pass.inputs[n - 1],
                w,
                self.conv_stride(n),
                &through_branch,
                rules,
            );
        }
        let through_skip = match self.skip(a) {
            Skip::Identity => through_skip,
            Skip::Projection => conv2d_relevance(
                a,
                self.tensor("downsample.0.weight"),
                self.stride,
                &through_skip,
                rules,
            ),
            Skip::Pad(before) => {
                let mut r_in = Tensor::full(&a.shape, 0.0);
                for (to, from) in self.subsample(a, r, before) {
                    r_in.data[to] += through_skip.data[from];
                }
                r_in
            }
        };
        let mut r_in = through_branch;
        for (sum, part) in r_in.data.iter_mut().zip(&through_skip.data) {
            *sum += part;
        }
        r_in
    }

    /// Number of convolutions of the residual branch.
    fn depth(&self) -> usize {
        if self
            .weights
            .contains(&format!("{}conv3.weight", self.prefix))
        {
            3
        } else {
            2
        }
    }

    /// Stride of the n-th convolution (from 1) of the residual branch.
    fn conv_stride(&self, n: usize) -> usize {
        let carrier = if self.depth() == 3 && self.stride_on == StrideOn::ThreeByThree {
            2
        } else {
            1
        };
        if n == carrier { self.stride } else { 1 }
    }

    fn skip(&self, a: &Tensor) -> Skip {
        if self
            .weights
            .contains(&format!("{}downsample.0.weight", self.prefix))
        {
            return Skip::Projection;
        }
        let added = self.tensor(&format!("conv{}.weight", self.depth())).shape[0] - a.shape[1];
        if added == 0 && self.stride == 1 {
            return Skip::Identity;
        }
        assert!(
            added.is_multiple_of(2),
            "{}: option A cannot halve {added} channels",
            self.prefix
        );
        Skip::Pad(added / 2)
    }

    /// Pairs of flat indices (into the input, into the output) that an option-A shortcut connects.
    fn subsample(&self, a: &Tensor, out: &Tensor, before: usize) -> Vec<(usize, usize)> {
        let [_, channels, height, width] = extents(a);
        let [_, _, out_h, out_w] = extents(out);
        let mut pairs = Vec::new();
        for c in 0..channels {
            for y in 0..out_h {
                for x in 0..out_w {
                    let from = (c * height + y * self.stride) * width + x * self.stride;
                    pairs.push((from, ((c + before) * out_h + y) * out_w + x));
                }
            }
        }
        pairs
    }

    fn conv(&self, a: &Tensor, name: &str, stride: usize) -> Tensor {
        let bias = format!("{}{name}.bias", self.prefix);
        let bias = self
            .weights
            .contains(&bias)
            .then(|| self.weights.get(&bias));
        conv2d(a, self.tensor(&format!("{name}.weight")), bias, stride)
    }

    fn norm(&self, a: &Tensor, name: &str) -> Tensor {
        let part = |part: &str| self.tensor(&format!("{name}.{part}"));
        batch_norm(
            a,
            part("weight"),
            part("bias"),
            part("running_mean"),
            part("running_var"),
            self.bn_eps,
        )
    }

    fn tensor(&self, name: &str) -> &Tensor {
        self.weights.get(&format!("{}{name}", self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Preset;
    use super::*;
    use crate::tensors::worst;

    /// Figures printed with six digits.
    const PRINTED: f64 = 1e-6;

    /// Adds a batch normalisation of one channel.
    fn insert_norm(weights: &mut Tensors, name: &str, gamma: f64, beta: f64, mean: f64, var: f64) {
        for (part, value) in [
            ("weight", gamma),
            ("bias", beta),
            ("running_mean", mean),
            ("running_var", var),
        ] {
            weights.insert(&format!("{name}.{part}"), Tensor::new(&[1], vec![value]));
        }
    }

    #[test]
    fn basic_block_of_one_channel() {
        let mut weights = Tensors::default();
        let conv1 = vec![0.0, -1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0];
        let conv2 = vec![0.0, 0.0, 0.0, 0.0, 1.0, 0.5, 0.0, 0.0, 0.0];
        weights.insert("conv1.weight", Tensor::new(&[1, 1, 3, 3], conv1));
        weights.insert("conv2.weight", Tensor::new(&[1, 1, 3, 3], conv2));
        insert_norm(&mut weights, "bn1", 1.0, 0.25, 0.5, 1.0);
        insert_norm(&mut weights, "bn2", 0.5, -0.75, 1.0, 4.0);
        let a = Tensor::new(&[1, 1, 2, 2], vec![1.0, 2.0, 3.0, 0.5]);
        let r = Tensor::new(&[1, 1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]);

        let check = |weights: &Tensors, skip: [f64; 4], cases: [(Split, [f64; 4], f64); 4]| {
            let stride_on = StrideOn::ThreeByThree;
            let block = Block {
                weights,
                prefix: String::new(),
                stride: 1,
                stride_on,
                bn_eps: 0.0,
            };
            let pass = block.forward(&a);
            assert_eq!(pass.branch.data, [-0.09375, -0.0625, 0.1875, -1.0]);
            assert_eq!(pass.skip.data, skip);
            for (split, want, sum) in cases {
                let r_in = block.relevance(&pass, &r, &Rules::new(Preset::Paper, split));
                let found = worst(&r_in.data, &want);
                assert!(found.error < PRINTED, "{split:?}: {found}");
                assert!(
                    (r_in.sum() / sum - 1.0).abs() < PRINTED,
                    "{split:?}: sum {}",
                    r_in.sum()
                );
            }
        };

        let residual = [0.482755, 2.517228, 2.999989, 0.0];
        let cases = [
            (Split::ProjectionHalf, residual, 5.999972),
            (Split::ProjectionRatio, residual, 5.999972),
            (Split::Half, [0.741377, 2.258614, 2.999994, 2.0], 7.999986),
            (Split::Ratio, [0.955665, 2.044334, 3.0, 1.333333], 7.333332),
        ];
        check(&weights, [1.0, 2.0, 3.0, 0.5], cases);

        weights.insert("downsample.0.weight", Tensor::new(&[1, 1, 1, 1], vec![1.5]));
        insert_norm(&mut weights, "downsample.1", 2.0, 0.5, 1.0, 1.0);
        let (half, ratio) = (
            [0.741374, 2.258611, 2.999991, 1.999973],
            [0.969567, 2.030419, 2.999993, 0.0],
        );
        let cases = [
            (Split::ProjectionHalf, half, 7.999949),
            (Split::Half, half, 7.999949),
            (Split::ProjectionRatio, ratio, 5.99998),
            (Split::Ratio, ratio, 5.99998),
        ];
        check(&weights, [1.5, 4.5, 7.5, 0.0], cases);
    }
}
