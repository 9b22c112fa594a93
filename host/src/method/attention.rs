//! Maps out of attention: the adapter's, and what the class token of a vision transformer looks at.

use anyhow::{Result, anyhow, bail};
use elucid_core::arch::ala::MAP;
use elucid_core::graph::{Attention, NodeId, Op};
use elucid_core::{Model, Shape};

use super::{Attribution, Subject};
use crate::classifier::Classifier;
use crate::metric::resize::bilinear;

/// The Attention Lattice Adapter's map, enlarged bilinearly. It's the same for every class.
#[derive(Clone, Copy, Debug)]
pub struct Adapter;

impl Adapter {
    /// The node of the map.
    ///
    /// # Errors
    /// One line if the model has no adapter.
    pub fn node(model: &Model<'_>) -> Result<NodeId> {
        model.find(MAP).ok_or_else(|| {
            anyhow!("the model has no attention map; `elucid train ala` makes one that has, or leave --method ala out")
        })
    }
}

impl Adapter {
    /// Both branches' logits, and the map in the image's size, of one forward pass.
    ///
    /// # Errors
    /// If the model has no adapter, or can't take the image.
    pub fn logits_and_map(
        network: &mut Classifier<'_>,
        image: &[f32],
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let (node, size) = (Self::node(network.model())?, network.size());
        let (logits, map, shape) = network.activation(image, node)?;
        if shape != Shape::new(shape.h, shape.w, 1) {
            bail!("the model's {MAP} is no map: it has {} channels", shape.c);
        }
        let from = [shape.h as usize, shape.w as usize];
        Ok((logits.to_vec(), bilinear(&map, from, size)))
    }
}

impl Attribution for Adapter {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        Ok(Self::logits_and_map(network, subject.image)?.1)
    }
}

/// What the class token of the last block attends to, mean over heads, enlarged bilinearly.
#[derive(Clone, Copy, Debug)]
pub struct RawAttention;

/// Attention rollout (Abnar and Zuidema 2020): the products of all blocks' attentions, mean over heads, each averaged with
/// the identity that stands for the skip branch; the row of the class token.
#[derive(Clone, Copy, Debug)]
pub struct Rollout;

/// The blocks of a model whose class token comes first, in order: their attentions, and the nodes these read.
fn blocks(model: &Model<'_>) -> Result<Vec<(Attention, NodeId)>> {
    let mut found = Vec::new();
    let mut width = 0;
    for id in 0..model.node_count() {
        let node = model.node(id);
        match node.op {
            // The encoder is the first to attend; an adapter's blocks are narrower or say so by their name.
            Op::Attention(a) if !model.node_name(id).starts_with("adapter.") => {
                width = a.c;
                found.push((a, node.inputs[0]));
            }
            _ => {}
        }
    }
    let token = (0..model.node_count())
        .any(|id| matches!(model.node(id).op, Op::Tokens(t) if t.count == 1 && t.c == width));
    if found.is_empty() || !token {
        bail!("the network has no class token that attends to patches; choose another method");
    }
    Ok(found)
}

/// One block's attention `[n, n]`, mean over heads, of `qkv` `[n, 3 c]`; only the class token's row if `first`.
fn weights(a: Attention, qkv: &[f32], first: bool) -> Vec<f64> {
    let (c, width) = (a.c as usize, a.width());
    let n = qkv.len() / (3 * c);
    let rows = if first { 1 } else { n };
    let mut mean = vec![0.0; rows * n];
    let scale = 1.0 / (width as f64).sqrt();
    for head in 0..usize::from(a.heads) {
        let row = |i: usize, which: usize| &qkv[(3 * i + which) * c + head * width..][..width];
        for (i, mean) in mean.chunks_exact_mut(n).enumerate() {
            let score = |j| {
                let terms = row(i, 0).iter().zip(row(j, 1));
                terms.map(|(&q, &k)| f64::from(q * k)).sum::<f64>() * scale
            };
            let scores: Vec<f64> = (0..n).map(score).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - most).exp()).sum();
            for (mean, score) in mean.iter_mut().zip(&scores) {
                *mean += (score - most).exp() / sum / f64::from(a.heads);
            }
        }
    }
    mean
}

/// The class token's weights of the patches as a map of the image's size.
fn enlarge(row: &[f64], size: [usize; 2], shape: Shape) -> Result<Vec<f32>> {
    if shape.tokens != 1 {
        bail!(
            "{} tokens come before the patches, not just a class token; choose another method",
            shape.tokens
        );
    }
    let map: Vec<f32> = row[1..].iter().map(|&v| v as f32).collect();
    Ok(bilinear(&map, [shape.h as usize, shape.w as usize], size))
}

impl Attribution for RawAttention {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let Some(&(a, node)) = blocks(network.model())?.last() else {
            bail!("the network has no attention")
        };
        let (_, qkv, shape) = network.activation(subject.image, node)?;
        enlarge(&weights(a, &qkv, true), network.size(), shape)
    }
}

impl Attribution for Rollout {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let (mut row, mut last) = (Vec::new(), Shape::default());
        // From the last block to the first only the class token's row of the product is needed.
        for (a, node) in blocks(network.model())?.into_iter().rev() {
            let (_, qkv, shape) = network.activation(subject.image, node)?;
            let mean = weights(a, &qkv, false);
            let n = shape.pixels();
            last = shape;
            if row.is_empty() {
                row = vec![0.0; n];
                row[0] = 1.0;
            }
            let mut next: Vec<f64> = row.iter().map(|v| 0.5 * v).collect();
            for (&share, attention) in row.iter().zip(mean.chunks_exact(n)) {
                for (next, a) in next.iter_mut().zip(attention) {
                    *next += 0.5 * share * a;
                }
            }
            row = next;
        }
        enlarge(&row, network.size(), last)
    }
}
