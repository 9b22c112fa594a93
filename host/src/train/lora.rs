//! Low-rank changes of the encoder's weights: `W + (alpha / rank) B A` with `W` frozen (Hu et al. 2021).

use std::ops::Range;

use anyhow::{Result, anyhow, bail};
use elucid_core::arch::ala::Ala;

use super::parameters::{Change, Group, Parameters};
use crate::checkpoint::{Checkpoint, Tensor};
use crate::synthetic::Random;

/// Which weights of a block of the encoder are changed, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lora {
    /// The block, counted from 1; none for the one that gives the lattice's last layer.
    pub block: Option<u32>,
    /// Rows of A.
    pub rank: usize,
    /// The products are scaled by `alpha / rank`.
    pub alpha: f32,
    /// The output projection of the attention.
    pub output: bool,
    /// The first layer of the MLP.
    pub up: bool,
    /// Its second layer.
    pub down: bool,
    /// The query and the value part of the attention's input projection.
    pub query_value: bool,
}

impl Default for Lora {
    /// Rank and alpha 16; output projection and MLP.
    fn default() -> Self {
        Self {
            block: None,
            rank: 16,
            alpha: 16.0,
            output: true,
            up: true,
            down: true,
            query_value: false,
        }
    }
}

impl Lora {
    /// The block that is changed, counted from 1.
    ///
    /// # Errors
    /// If that block doesn't run.
    pub fn block(&self, net: &Ala) -> Result<u32> {
        let block = self.block.unwrap_or(net.blocks());
        if block == 0 || block > net.blocks() {
            bail!(
                "block {block} can't be adapted; the blocks that run are 1 to {}",
                net.blocks()
            );
        }
        Ok(block)
    }

    /// Name of the node that the block reads: up to there nothing changes in training.
    ///
    /// # Errors
    /// If the block doesn't run.
    pub fn input(&self, net: &Ala) -> Result<String> {
        let encoder = &net.encoder;
        let (prefix, names) = (encoder.prefix, &encoder.names);
        Ok(match self.block(net)? {
            1 if names.before.is_empty() => format!("{prefix}{}", names.positions),
            1 => format!("{prefix}{}", names.before),
            block => format!("{prefix}{}{}.add2", names.block, block - 2),
        })
    }

    /// Adds the changes to the parameters: A uniform as PyTorch's linear layers, B zeros, so that nothing changes yet; or
    /// both as the checkpoint has them, where training goes on.
    ///
    /// # Errors
    /// One line if the block doesn't run or the rank is impossible.
    pub fn attach(
        &self,
        parameters: &mut Parameters,
        net: &Ala,
        random: &mut Random,
    ) -> Result<()> {
        let c = net.encoder.width as usize;
        if self.rank == 0 || self.rank > c {
            bail!("a rank of {} is impossible for {c} channels", self.rank);
        }
        let names = &net.encoder.names;
        let block = self.block(net)? - 1;
        let [_, input, _, output, _, up, down] = names.parts;
        let name = |part: &str| format!("{}{}{block}.{part}", net.encoder.prefix, names.block);
        for (wanted, layer) in [(self.output, output), (self.up, up), (self.down, down)] {
            if wanted {
                let (base, weight) = (name(layer), name(&format!("{layer}.weight")));
                self.add(parameters, (&weight, &base, None), random)?;
            }
        }
        if self.query_value {
            let weight = name(input);
            for (part, rows) in [("q", 0..c), ("v", 2 * c..3 * c)] {
                let base = format!("{weight}.{part}");
                self.add(parameters, (&weight, &base, Some(rows)), random)?;
            }
        }
        Ok(())
    }

    fn add(
        &self,
        parameters: &mut Parameters,
        (weight, base, rows): (&str, &str, Option<Range<usize>>),
        random: &mut Random,
    ) -> Result<()> {
        let var = parameters.get(weight).map(|p| p.var.dims().to_vec());
        let dims = var.ok_or_else(|| anyhow!("{weight} is missing"))?;
        let (co, ci) = (dims[0], dims[1..].iter().product::<usize>());
        let rows = rows.unwrap_or(0..co);
        let bound = 1.0 / (ci as f32).sqrt();
        let (a, b) = (format!("{base}.lora_A"), format!("{base}.lora_B"));
        let drawn = (0..self.rank * ci).map(|_| random.draw() * bound).collect();
        let both = [
            (&a, [self.rank, ci], drawn),
            (
                &b,
                [rows.len(), self.rank],
                vec![0.0; rows.len() * self.rank],
            ),
        ];
        for (name, shape, data) in both {
            let new = Tensor {
                shape: shape.to_vec(),
                data,
            };
            let tensor = parameters.rest.remove(name).unwrap_or(new);
            if tensor.shape != shape {
                bail!("{name} is {:?} but should be {shape:?}", tensor.shape);
            }
            parameters.insert(name, &tensor, (Group::Lora, true, true))?;
        }
        let change = Change {
            a,
            b,
            from: rows.start,
            rows: rows.len(),
            factor: self.alpha / self.rank as f32,
        };
        parameters.change(weight, change);
        Ok(())
    }
}

/// The checkpoint of the network with all changes in its weights, and without the changes' own tensors.
///
/// # Errors
/// If a tensor can't be read.
pub fn merge(parameters: &Parameters) -> Result<Checkpoint> {
    let mut checkpoint = parameters.to_checkpoint()?;
    for (weight, changes) in parameters.all_changes() {
        for change in changes {
            let mut take = |name: &String| {
                let tensor = checkpoint.tensors.remove(name);
                tensor.ok_or_else(|| anyhow!("{name} is missing"))
            };
            let (a, b) = (take(&change.a)?, take(&change.b)?);
            let (rank, ci) = (a.shape[0], a.shape[1]);
            let stored = checkpoint.tensors.get_mut(weight);
            let stored = stored.ok_or_else(|| anyhow!("{weight} is missing"))?;
            let rows = &mut stored.data[change.from * ci..(change.from + change.rows) * ci];
            for (row, b) in rows.chunks_exact_mut(ci).zip(b.data.chunks_exact(rank)) {
                for (i, w) in row.iter_mut().enumerate() {
                    let products = b.iter().enumerate();
                    let sum: f64 = products
                        .map(|(k, &b)| f64::from(b) * f64::from(a.data[k * ci + i]))
                        .sum();
                    *w = (f64::from(*w) + f64::from(change.factor) * sum) as f32;
                }
            }
        }
    }
    Ok(checkpoint)
}
