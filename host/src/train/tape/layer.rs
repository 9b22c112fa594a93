//! Layers that have parameters, and dropout.

use anyhow::{Result, anyhow, bail};
use candle_core::{Device, Tensor};
use elucid_core::builder::Role;
use elucid_core::graph::{Activation, Conv, Linear, NONE, Norm, Positions, TensorId};
use elucid_core::shape::Shape;

use super::{Mode, Runner, extent, spaced};
use crate::train::op::{self, Statistics, Windows};

/// Part of the batch's statistics in the running ones after a step.
const MOMENTUM: f64 = 0.1;

impl Runner<'_> {
    /// Name and role of a tensor that the graph refers to.
    fn spec(&self, id: TensorId) -> Result<(&str, Role)> {
        let spec = self.tape.blueprint.tensors.get(usize::from(id));
        let spec = spec.ok_or_else(|| anyhow!("it refers to a tensor that isn't there"))?;
        Ok((spec.name.as_str(), spec.role))
    }

    /// A parameter whose name the graph has.
    fn tensor(&self, id: TensorId) -> Result<Tensor> {
        self.parameters.tensor(self.spec(id)?.0)
    }

    /// A vector of factors or summands, or `missing` for all `c` channels.
    fn vector(&self, id: TensorId, c: u32, missing: f32) -> Result<Tensor> {
        if id == NONE || self.parameters.get(self.spec(id)?.0).is_none() {
            return constant(missing, c);
        }
        self.tensor(id)
    }

    /// The rows of a table that are meant, `[rows, channels]`.
    pub(super) fn table(&self, id: TensorId) -> Result<Tensor> {
        let dims = self.tape.blueprint.tensors[usize::from(id)].dims;
        let (_, role) = self.spec(id)?;
        let Role::Table { from } = role else {
            bail!("it refers to a tensor that is no table");
        };
        let rows = self.tensor(id)?.reshape(((), dims[1] as usize))?;
        Ok(rows.narrow(0, from as usize, dims[0] as usize)?)
    }

    /// A convolution, or fully connected layer of rows, with what follows.
    pub(super) fn convolution(
        &mut self,
        name: &str,
        c: &Conv,
        (x, shape): (&Tensor, Shape),
    ) -> Result<Tensor> {
        let normed = c.scale != NONE;
        let bias = if normed {
            let bias = format!("{name}.bias");
            let there = self.parameters.get(&bias).is_some();
            there.then(|| self.parameters.tensor(&bias)).transpose()?
        } else if c.shift == NONE {
            None
        } else {
            Some(self.tensor(c.shift)?)
        };
        let act = if normed { Activation::Identity } else { c.act };
        let y = if c.taps() > 1 {
            let windows = Windows {
                grid: extent(shape),
                kernel: [usize::from(c.kh), usize::from(c.kw)],
                stride: usize::from(c.stride),
                pad: usize::from(c.pad),
            };
            let y = op::convolution(x, &self.tensor(c.weight)?, windows)?;
            match bias {
                None if act == Activation::Identity => y,
                None => op::epilogue(&y, &constant(0.0, c.co)?, act)?,
                Some(bias) => op::epilogue(&y, &bias, act)?,
            }
        } else if c.stride > 1 {
            let x = op::subsample(x, spaced(shape, c.stride))?;
            self.dense(c.weight, &x, (bias, c.co), act)?
        } else if c.pad > 0 {
            bail!("padding around single pixels isn't supported")
        } else {
            self.dense(c.weight, x, (bias, c.co), act)?
        };
        if normed {
            return self.batch_norm(c.scale, &y, c.act);
        }
        Ok(y)
    }

    /// A fully connected layer of rows, with its low-rank changes.
    fn dense(
        &self,
        weight: TensorId,
        x: &Tensor,
        (bias, co): (Option<Tensor>, u32),
        act: Activation,
    ) -> Result<Tensor> {
        let changes = self.parameters.changes(self.spec(weight)?.0);
        let w = self.tensor(weight)?;
        if changes.is_empty() {
            return Ok(op::dense(x, &w, bias.as_ref(), act)?);
        }
        let mut sum = op::dense(x, &w, None, Activation::Identity)?;
        for change in changes {
            let (a, b) = (&change.a, &change.b);
            let (a, b) = (self.parameters.tensor(a)?, self.parameters.tensor(b)?);
            let inner = op::dense(x, &a, None, Activation::Identity)?;
            let inner = (inner * f64::from(change.factor))?;
            let y = op::dense(&inner, &b, None, Activation::Identity)?;
            let after = (co as usize).saturating_sub(change.from + change.rows);
            sum = sum.add(&y.pad_with_zeros(2, change.from, after)?)?;
        }
        let bias = bias.map_or_else(|| constant(0.0, co), Ok)?;
        Ok(op::epilogue(&sum, &bias, act)?)
    }

    pub(super) fn linear(&self, l: &Linear, x: &Tensor) -> Result<Tensor> {
        let bias = match l.bias {
            NONE => None,
            id => Some(self.tensor(id)?),
        };
        let (_, role) = self.spec(l.weight)?;
        if role == Role::TurnedWeight {
            let w = self.tensor(l.weight)?.t()?.contiguous()?;
            return Ok(op::dense(x, &w, bias.as_ref(), Activation::Identity)?);
        }
        self.dense(l.weight, x, (bias, l.co), Activation::Identity)
    }

    pub(super) fn norm(&self, n: &Norm, x: &Tensor) -> Result<Tensor> {
        let weight = self.vector(n.weight, n.c, 1.0)?;
        let bias = self.vector(n.bias, n.c, 0.0)?;
        Ok(op::layer_norm(x, &weight, &bias, n.eps)?)
    }

    /// BatchNorm and activation; `scale` is the tensor that has the name of the norm.
    pub(super) fn batch_norm(
        &mut self,
        scale: TensorId,
        x: &Tensor,
        act: Activation,
    ) -> Result<Tensor> {
        let (prefix, _) = self.spec(scale)?;
        let part = |part: &str| self.parameters.tensor(&format!("{prefix}.{part}"));
        let (weight, bias) = (part("weight")?, part("bias")?);
        let c = weight.elem_count();
        let running = [part("running_mean")?, part("running_var")?];
        let batch = matches!(self.pass.mode, Mode::Train { .. });
        let statistics = if batch {
            let rows = x.elem_count() / c.max(1);
            if rows < 2 {
                bail!(
                    "statistics of a batch need more than one value a channel; use larger batches"
                );
            }
            let statistics = Statistics::new(c, x)?;
            let unbiased = rows as f64 / (rows as f64 - 1.0);
            let moves = [(&statistics.mean, 1.0), (&statistics.variance, unbiased)];
            for ((part, old), (new, factor)) in ["running_mean", "running_var"]
                .iter()
                .zip(&running)
                .zip(moves)
            {
                let moved: Vec<f32> = (op::values(old)?.iter().zip(new))
                    .map(|(&old, &new)| {
                        let (old, new) = (f64::from(old), f64::from(new) * factor);
                        (old + MOMENTUM * (new - old)) as f32
                    })
                    .collect();
                let name = format!("{prefix}.{part}");
                let entry = self.parameters.get(&name);
                let entry = entry.ok_or_else(|| anyhow!("{name} is missing"))?;
                entry.var.set(&op::tensor(moved, old.shape())?)?;
            }
            statistics
        } else {
            let [mean, variance] = running;
            Statistics {
                mean: op::values(&mean)?.to_vec(),
                variance: op::values(&variance)?.to_vec(),
            }
        };
        let (eps, how) = (self.tape.eps, (statistics, batch));
        Ok(op::batch_norm(x, [&weight, &bias], how, eps, act)?)
    }

    /// Positions for a grid, `[1, rows, channels]`.
    pub(super) fn positions(&mut self, p: &Positions, grid: [usize; 2]) -> Result<Tensor> {
        let key = (p.grid, p.tokens, grid);
        if let Some(found) = self.positions.get(&key) {
            return Ok(found.clone());
        }
        let mut table = self.table(p.grid)?;
        if let Some(matrix) = op::bicubic(p, grid)? {
            table = matrix.matmul(&table)?;
        }
        if p.count > 0 {
            table = match p.tokens {
                NONE => table.pad_with_zeros(0, p.count as usize, 0)?,
                tokens => Tensor::cat(&[&self.table(tokens)?, &table], 0)?,
            };
        }
        let table = table.unsqueeze(0)?;
        self.positions.insert(key, table.clone());
        Ok(table)
    }

    /// A node's value with the dropout that acts on it.
    pub(super) fn dropped(&mut self, name: &str, value: Tensor) -> Result<Tensor> {
        let Mode::Train { random, dropouts } = &mut self.pass.mode else {
            return Ok(value);
        };
        let dropout = dropouts.iter().find(|d| d.node == name);
        let Some(share) = dropout.map(|d| d.share).filter(|&share| share > 0.0) else {
            return Ok(value);
        };
        let scale = if share < 1.0 {
            1.0 / (1.0 - share)
        } else {
            0.0
        };
        let kept: Vec<f32> = (0..value.elem_count())
            .map(|_| if random.share() < share { 0.0 } else { scale })
            .collect();
        let kept = op::tensor(kept, value.shape())?;
        Ok(value.mul(&kept)?)
    }
}

/// `c` times `value`.
pub(super) fn constant(value: f32, c: u32) -> Result<Tensor> {
    Ok(Tensor::full(value, c as usize, &Device::Cpu)?.contiguous()?)
}
