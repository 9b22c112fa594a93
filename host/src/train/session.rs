//! The loop over epochs: Alternating Epoch Architect for adapters (paper, section on AEA; the reference's `my_train.py`), and
//! plain training for ResNets.
//!
//! Epochs come in pairs. In the first the attention is off: the feature isn't masked, the perception branch alone learns,
//! and the adapter and the attention branch stay as they are, their moments and running statistics included. In the second
//! all learn together, and the held-out pictures are judged.
//!
//! Everything random follows from the seed, the epoch and the step, so a run that was killed begins its epoch again and ends
//! with the same weights.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::Tensor as Array;
use elucid_core::arch::ala::{DROPOUTS, Dropout};
use elucid_core::graph::NodeId;

use super::config::Config;
use super::examples::{Example, Examples};
use super::feed::{Feed, View};
use super::op::{cross_entropy, values};
use super::optimizer::{AdamW, Settings};
use super::parameters::{Group, Parameters};
use super::state::{Epoch, Folder, Judged, Progress, State};
use super::tape::{Mode, Pass, Tape};
use crate::checkpoint::{Checkpoint, Tensor};
use crate::dataset::Mask;
use crate::metric::overlap::{self, iou_mean};
use crate::metric::resize::bilinear;
use crate::synthetic::Random;

/// Who is told how it goes.
pub trait Watch {
    /// A step is done.
    fn step(&mut self, epoch: u32, step: usize, steps: usize, loss: f64);
    /// An epoch is done.
    fn epoch(&mut self, epoch: &Epoch, best: bool);
    /// Work before training: `done` of `all` pictures.
    fn prepare(&mut self, done: usize, all: usize);
    /// Maps of some held-out pictures, `[rows, columns]` each.
    ///
    /// # Errors
    /// If they can't be kept.
    fn maps(&mut self, epoch: u32, maps: &[(&Example, Vec<f32>)], grid: [usize; 2]) -> Result<()>;
}

/// Which nodes a network is trained at.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The logits that are always learnt from.
    pub perception: NodeId,
    /// Those of the attention branch, and the map, where there is an adapter.
    pub attention: Option<(NodeId, NodeId)>,
    /// The logits that classify.
    pub sum: NodeId,
}

/// A run.
pub struct Session<'s> {
    /// What it's made of.
    pub config: &'s Config,
    /// What is learnt from.
    pub examples: &'s Examples,
    /// The network.
    pub tape: &'s Tape,
    /// Where its logits are.
    pub ends: Ends,
    /// Its numbers.
    pub parameters: Parameters,
    /// The optimizer.
    pub optimizer: AdamW,
    /// Where batches come from.
    pub feed: Feed<'s>,
    /// Where it's kept.
    pub folder: &'s Folder,
    /// How far it is.
    pub progress: Progress,
    masks: Vec<Option<Mask>>,
}

/// What the seed is mixed with for each use of random numbers.
#[derive(Clone, Copy)]
enum Use {
    Order,
    Dropout,
    Views,
}

/// Sums of an epoch's steps.
#[derive(Default)]
struct Sums {
    steps: usize,
    loss: f64,
    perception: f64,
    attention: f64,
    right: usize,
    seen: usize,
}

/// Held-out pictures whose maps are shown.
const SHOWN: usize = 6;
/// The file of the best epoch's weights.
const BEST: &str = "best.safetensors";

/// The settings of the optimizer.
#[must_use]
pub fn settings(config: &Config) -> Settings {
    Settings {
        decay: config.weight_decay,
        clip: Some(config.clip).filter(|&clip| clip > 0.0),
        momentum: (config.optimizer == "sgd").then_some(0.9),
        ..Settings::default()
    }
}

impl<'s> Session<'s> {
    /// A run from its beginning, or from where its folder says it is.
    ///
    /// # Errors
    /// If a mask is broken, or the folder's state is of another network.
    pub fn new(
        (config, examples): (&'s Config, &'s Examples),
        (tape, ends): (&'s Tape, Ends),
        parameters: Parameters,
        feed: Feed<'s>,
        folder: &'s Folder,
    ) -> Result<Self> {
        let mut session = Self {
            config,
            examples,
            tape,
            ends,
            optimizer: AdamW::new(settings(config)),
            parameters,
            feed,
            folder,
            progress: Progress::default(),
            masks: Vec::new(),
        };
        if let Some(state) = folder.state()? {
            session.parameters.restore(&state.weights)?;
            let moments = &state.moments.tensors;
            session.optimizer = AdamW::from_tensors(settings(config), moments)?;
            session.progress = state.progress;
        }
        if ends.attention.is_some() {
            let how = config.preprocess()?;
            let load = |example: &Example| Ok(example.load(&how)?.1);
            session.masks = (examples.validation.iter().map(load)).collect::<Result<_>>()?;
        }
        Ok(session)
    }

    /// Trains to the end and leaves the parameters at those of the best epoch.
    ///
    /// # Errors
    /// If the loss or the gradient isn't finite (what was kept stays), a picture is broken, or the disk is full.
    pub fn run(&mut self, watch: &mut dyn Watch) -> Result<()> {
        while !self.progress.finished(self.config) {
            let number = self.progress.epochs.len() as u32;
            let start = Instant::now();
            let attends = self.ends.attention.is_none() || self.config.attends(number);
            let sums = self.learn(number, attends, watch)?;
            let validation = match attends {
                true => Some(self.judge(number, watch)?),
                false => None,
            };
            let steps = sums.steps.max(1) as f64;
            let epoch = Epoch {
                epoch: number,
                attends,
                rate: self.config.rate(number),
                loss: sums.loss / steps,
                perception_loss: sums.perception / steps,
                attention_loss: (attends && self.ends.attention.is_some())
                    .then_some(sums.attention / steps),
                accuracy: sums.right as f64 / sums.seen.max(1) as f64,
                seconds: start.elapsed().as_secs_f64(),
                validation,
            };
            let mut state = self.state()?;
            self.sound(number, &state.weights)?;
            let best = self.progress.push(epoch.clone());
            state.progress = self.progress.clone();
            if best {
                self.folder
                    .write(BEST, &super::state::bytes(&state.weights)?)?;
            }
            self.folder.keep(&state)?;
            watch.epoch(&epoch, best);
        }
        if self.progress.best_epoch.is_some() {
            let best = self.folder.path(BEST);
            self.parameters.restore(&Checkpoint::open(&best)?)?;
        }
        Ok(())
    }

    /// Nothing is kept that isn't finite: what was kept before stays.
    fn sound(&self, epoch: u32, weights: &Checkpoint) -> Result<()> {
        let broken = |(_, tensor): &(&String, &Tensor)| tensor.data.iter().any(|v| !v.is_finite());
        if let Some((name, _)) = weights.tensors.iter().find(broken) {
            bail!(
                "epoch {epoch}: {name} isn't finite any more; the run up to the epoch before is kept in {}: use a lower lr than {}, or other weights",
                self.folder.path("").display(),
                self.config.lr
            );
        }
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let moments = Checkpoint {
            tensors: self.optimizer.to_tensors(),
            ..Checkpoint::default()
        };
        Ok(State {
            weights: self.parameters.to_checkpoint()?,
            moments,
            progress: self.progress.clone(),
        })
    }

    /// Random numbers for one use in one step.
    fn random(&self, what: Use, epoch: u32, step: usize) -> u64 {
        let place = u64::from(epoch) << 32 | step as u64;
        let mixed = (place * 3 + what as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ mixed >> 31).wrapping_add(self.config.seed.wrapping_mul(0xD134_2543_DE82_EF95))
    }

    /// One epoch of learning.
    fn learn(&mut self, epoch: u32, attends: bool, watch: &mut dyn Watch) -> Result<Sums> {
        let examples = self.examples;
        let mut order: Vec<&Example> = examples.train.iter().collect();
        let count = order.len();
        Random::new(self.random(Use::Order, epoch, 0)).shuffle(&mut order, count);
        let steps = count.div_ceil(self.config.batch);
        let mut sums = Sums::default();
        for (step, batch) in order.chunks(self.config.batch).enumerate() {
            // Statistics of a batch need two.
            if batch.len() < 2 {
                continue;
            }
            let loss = self
                .step((epoch, step), attends, batch, &mut sums)
                .with_context(|| {
                    format!(
                        "epoch {epoch}, step {step}: the run up to the last whole epoch is kept in {}",
                        self.folder.path("").display()
                    )
                })?;
            watch.step(epoch, step + 1, steps, loss);
        }
        Ok(sums)
    }

    fn step(
        &mut self,
        (epoch, step): (u32, usize),
        attends: bool,
        batch: &[&Example],
        sums: &mut Sums,
    ) -> Result<f64> {
        let seed = self.random(Use::Views, epoch, step);
        let view = match (self.config.augment, self.config.views.as_str()) {
            (false, _) => View::Plain,
            (true, "resized-crop") => View::Resized(seed),
            (true, _) => View::Random(seed),
        };
        let given = self.feed.batch(batch, view)?;
        let labels: Vec<u32> = batch.iter().map(|e| e.label).collect();
        let mut random = Random::new(self.random(Use::Dropout, epoch, step));
        let dropouts = DROPOUTS.map(|d| match d.node {
            "reduced" => Dropout {
                share: self.config.map_dropout,
                ..d
            },
            _ => d,
        });
        let pass = Pass {
            image: self.config.preprocess()?.crop,
            attention: attends,
            mode: Mode::Train {
                random: &mut random,
                dropouts: &dropouts,
            },
        };
        let mut wanted = vec![self.ends.perception];
        let attention = self.ends.attention.filter(|_| attends);
        wanted.extend(attention.map(|(logits, _)| logits));
        let logits = self.tape.run(&self.parameters, &given, &wanted, pass)?;
        let perception = cross_entropy(&logits[0], &labels)?;
        let (mut loss, own) = (
            perception.clone(),
            f64::from(perception.to_scalar::<f32>()?),
        );
        if let Some(logits) = logits.get(1) {
            let attention = cross_entropy(logits, &labels)?;
            sums.attention += f64::from(attention.to_scalar::<f32>()?);
            loss = (loss + (attention * self.config.attention_weight)?)?;
        }
        let total = f64::from(loss.to_scalar::<f32>()?);
        if !total.is_finite() {
            bail!(
                "the loss became {total}; use a lower lr than {}",
                self.config.lr
            );
        }
        let store = loss.backward()?;
        let gradients = self.parameters.gradients(&store);
        let skipped: &[Group] = match attends {
            true => &[],
            false => &[Group::Adapter, Group::AttentionBranch],
        };
        let rate = self.config.rate(epoch);
        (self.optimizer).step(&self.parameters, &gradients, rate, skipped)?;
        sums.steps += 1;
        sums.loss += total;
        sums.perception += own;
        sums.seen += labels.len();
        sums.right += right(&logits[0], &labels)?;
        Ok(total)
    }

    /// What the held-out pictures say.
    fn judge(&mut self, epoch: u32, watch: &mut dyn Watch) -> Result<Judged> {
        let size = self.config.preprocess()?.crop;
        let examples = self.examples;
        let (mut loss, mut correct, mut ious, mut shown) = (0.0, 0, Vec::new(), Vec::new());
        let mut grid = [0; 2];
        for (chunk, first) in examples
            .validation
            .chunks(self.config.batch)
            .zip((0..).step_by(self.config.batch))
        {
            let batch: Vec<&Example> = chunk.iter().collect();
            let given = self.feed.batch(&batch, View::Plain)?;
            let labels: Vec<u32> = chunk.iter().map(|e| e.label).collect();
            let mut wanted = vec![self.ends.sum];
            wanted.extend(self.ends.attention.map(|(_, map)| map));
            let pass = Pass::eval(size);
            let out = self.tape.run(&self.parameters, &given, &wanted, pass)?;
            let mean = f64::from(cross_entropy(&out[0], &labels)?.to_scalar::<f32>()?);
            loss += mean * labels.len() as f64;
            correct += right(&out[0], &labels)?;
            let (Some(maps), Some((_, node))) = (out.get(1), self.ends.attention) else {
                continue;
            };
            let shape = self.tape.shapes(size)?[usize::from(node)];
            grid = [shape.h as usize, shape.w as usize];
            let maps = maps.contiguous()?;
            let maps = values(&maps)?;
            for (at, map) in maps.chunks_exact(grid[0] * grid[1]).enumerate() {
                if let Some(Some(mask)) = self.masks.get(first + at) {
                    let large = bilinear(map, grid, size.map(|side| side as usize));
                    ious.push(iou_mean(
                        &large,
                        overlap::Mask::new(&mask.object, &mask.ignored)?,
                    ));
                }
                if first + at < SHOWN {
                    shown.push((&examples.validation[first + at], map.to_vec()));
                }
            }
        }
        if !loss.is_finite() {
            bail!(
                "epoch {epoch}: the validation loss became {loss}; the run up to the epoch before is kept in {}: use a lower lr than {}, or other weights",
                self.folder.path("").display(),
                self.config.lr
            );
        }
        watch.maps(epoch, &shown, grid)?;
        let count = examples.validation.len();
        Ok(Judged {
            loss: loss / count as f64,
            accuracy: correct as f64 / count as f64,
            iou: (!ious.is_empty()).then(|| ious.iter().sum::<f64>() / ious.len() as f64),
            pictures: count,
        })
    }
}

/// How many images have their label's logit as the largest.
fn right(logits: &Array, labels: &[u32]) -> Result<usize> {
    let logits = logits.contiguous()?;
    let values = values(&logits)?;
    let classes = values.len() / labels.len();
    let rows = values.chunks_exact(classes).zip(labels);
    Ok(rows
        .filter(|(row, label)| largest(row) == **label as usize)
        .count())
}

/// The first of the largest logits.
pub(super) fn largest(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}
