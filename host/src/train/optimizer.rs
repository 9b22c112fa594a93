//! AdamW (Loshchilov and Hutter 2019) as PyTorch has it, with a clip of the whole gradient's norm before it.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use candle_core::Tensor;
use rayon::prelude::*;

use super::op::{tensor, values};
use super::parameters::{Group, Parameter, Parameters};
use crate::checkpoint::Tensor as Stored;

/// What the names of the state's tensors begin with.
const PREFIX: &str = "adamw.";

/// Settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How much of the old averages stays: of gradients, and of their squares.
    pub betas: [f64; 2],
    /// Added to the root of the average square.
    pub eps: f64,
    /// Weight decay of the parameters that decay.
    pub decay: f64,
    /// Momentum of stochastic gradient descent as PyTorch's `SGD` has it, with its coupled decay, instead of AdamW.
    pub momentum: Option<f64>,
    /// The gradient's largest norm over all parameters of a step, or none.
    pub clip: Option<f64>,
}

impl Default for Settings {
    /// Betas 0.9 and 0.999, eps 1e-8, decay 1e-4, norms up to 0.01: the published adapter's.
    fn default() -> Self {
        Self {
            betas: [0.9, 0.999],
            eps: 1e-8,
            decay: 1e-4,
            momentum: None,
            clip: Some(0.01),
        }
    }
}

/// Averages of one parameter.
#[derive(Clone, Debug, Default, PartialEq)]
struct Moments {
    steps: u32,
    shape: Vec<usize>,
    mean: Vec<f32>,
    square: Vec<f32>,
}

/// The optimizer and its state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdamW {
    /// Settings.
    pub settings: Settings,
    moments: BTreeMap<String, Moments>,
}

/// One step of SGD: `v = momentum v + (gradient + decay weight)`, `weight -= rate v`; the first step takes the gradient as it is.
fn descend(
    parameter: &Parameter,
    gradient: &Tensor,
    moments: &mut Moments,
    (momentum, decay, factor, rate): (f64, f32, f32, f32),
) -> Result<()> {
    let keep = if moments.steps > 1 {
        momentum as f32
    } else {
        0.0
    };
    let gradient = values(gradient)?;
    let mut weights = values(parameter.var.as_tensor())?.to_vec();
    (weights.par_iter_mut().with_min_len(4096))
        .zip(gradient.par_iter())
        .zip(moments.mean.par_iter_mut())
        .for_each(|((weight, gradient), speed)| {
            *speed = keep * *speed + (gradient * factor + decay * *weight);
            *weight -= rate * *speed;
        });
    let dims = parameter.var.dims().to_vec();
    parameter.var.set(&tensor(weights, dims)?)?;
    Ok(())
}

impl AdamW {
    /// One that made no step yet.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            moments: BTreeMap::new(),
        }
    }

    /// Makes one step with learning rate `rate` and gives the norm that the gradient had before it was clipped.
    /// Parameters without a gradient and those of `skipped` groups stay as they are, and so do their averages; their
    /// gradients don't count for the norm.
    ///
    /// # Errors
    /// One line if a gradient belongs to no trained parameter, has another shape, or the norm isn't finite; then nothing is
    /// changed.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &BTreeMap<String, Tensor>,
        rate: f64,
        skipped: &[Group],
    ) -> Result<f64> {
        let mut used = Vec::new();
        let mut square = 0.0;
        for (name, gradient) in gradients {
            let parameter = parameters.get(name).filter(|p| p.trained);
            let parameter = parameter.ok_or_else(|| anyhow!("{name} isn't trained"))?;
            if skipped.contains(&parameter.group) {
                continue;
            }
            if gradient.dims() != parameter.var.dims() {
                bail!("the gradient of {name} has shape {:?}", gradient.dims());
            }
            let gradient = gradient.contiguous()?;
            square += (values(&gradient)?.iter())
                .map(|&g| f64::from(g) * f64::from(g))
                .sum::<f64>();
            used.push((name, parameter, gradient));
        }
        let norm = square.sqrt();
        if !norm.is_finite() {
            bail!("the gradient isn't finite; use a lower learning rate");
        }
        let factor = match self.settings.clip {
            // PyTorch's `clip_grad_norm_`.
            Some(most) => (most / (norm + 1e-6)).min(1.0) as f32,
            None => 1.0,
        };
        let Settings {
            betas, eps, decay, ..
        } = self.settings;
        for (name, parameter, gradient) in used {
            let count = gradient.elem_count();
            let moments = self.moments.entry(name.clone()).or_default();
            if moments.mean.len() != count {
                moments.steps = 0;
                moments.shape = gradient.dims().to_vec();
                moments.mean = vec![0.0; count];
                moments.square = vec![0.0; count];
            }
            moments.steps += 1;
            if let Some(momentum) = self.settings.momentum {
                let decay = if parameter.decays { decay } else { 0.0 };
                let how = (momentum, decay as f32, factor, rate as f32);
                descend(parameter, &gradient, moments, how)?;
                continue;
            }
            let steps = f64::from(moments.steps);
            let [first, second] = betas.map(|beta| 1.0 - beta.powf(steps));
            let (size, root) = ((rate / first) as f32, second.sqrt() as f32);
            let keep = match parameter.decays {
                true => (1.0 - rate * decay) as f32,
                false => 1.0,
            };
            let [new, new_square] = betas.map(|beta| (1.0 - beta) as f32);
            let (old_square, eps) = (betas[1] as f32, eps as f32);
            let gradient = values(&gradient)?;
            let mut weights = values(parameter.var.as_tensor())?.to_vec();
            let averages = (moments.mean.par_iter_mut()).zip(moments.square.par_iter_mut());
            weights
                .par_iter_mut()
                .with_min_len(4096)
                .zip(gradient.par_iter())
                .zip(averages)
                .for_each(|((weight, gradient), (mean, square))| {
                    let gradient = gradient * factor;
                    *mean += new * (gradient - *mean);
                    *square = *square * old_square + new_square * gradient * gradient;
                    let step = size * *mean / (square.sqrt() / root + eps);
                    *weight = *weight * keep - step;
                });
            let dims = parameter.var.dims().to_vec();
            parameter.var.set(&tensor(weights, dims)?)?;
        }
        Ok(norm)
    }

    /// The whole state as tensors: `adamw.<parameter>.mean`, `.square`, both of the parameter's shape, and `.steps` `[1]`.
    #[must_use]
    pub fn to_tensors(&self) -> BTreeMap<String, Stored> {
        let mut tensors = BTreeMap::new();
        for (name, moments) in &self.moments {
            let mut add = |part: &str, shape: &[usize], data: Vec<f32>| {
                let shape = shape.to_vec();
                tensors.insert(format!("{PREFIX}{name}.{part}"), Stored { shape, data });
            };
            add("mean", &moments.shape, moments.mean.clone());
            add("square", &moments.shape, moments.square.clone());
            // Exact up to 2^24 steps.
            add("steps", &[1], vec![moments.steps as f32]);
        }
        tensors
    }

    /// The state that [`AdamW::to_tensors`] gave, among other tensors.
    ///
    /// # Errors
    /// One line if a part is missing or doesn't fit the others.
    pub fn from_tensors(settings: Settings, tensors: &BTreeMap<String, Stored>) -> Result<Self> {
        let mut moments = BTreeMap::new();
        for (key, mean) in tensors {
            let name = (key.strip_prefix(PREFIX)).and_then(|key| key.strip_suffix(".mean"));
            let Some(name) = name else { continue };
            let part = |part: &str| {
                let tensor = tensors.get(&format!("{PREFIX}{name}.{part}"));
                tensor.ok_or_else(|| anyhow!("the optimizer's state lacks {part} of {name}"))
            };
            let (square, steps) = (part("square")?, part("steps")?);
            let whole = |&&s: &&f32| s >= 0.0 && s.fract() == 0.0 && s <= 16_777_216.0;
            let (1, Some(&count)) = (steps.data.len(), steps.data.first().filter(whole)) else {
                bail!("the optimizer's steps of {name} are no number");
            };
            if square.shape != mean.shape {
                bail!("the optimizer's state of {name} has two shapes");
            }
            let state = Moments {
                steps: count as u32,
                shape: mean.shape.clone(),
                mean: mean.data.clone(),
                square: square.data.clone(),
            };
            moments.insert(name.to_owned(), state);
        }
        Ok(Self { settings, moments })
    }
}
