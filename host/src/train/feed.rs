//! Batches: what the frozen part of a network makes of pictures, kept or computed anew for every random view.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use candle_core::Tensor;
use elucid_core::graph::NodeId;
use elucid_core::model::Preprocess;
use rayon::prelude::*;

use super::augment;
use super::cache::Cache;
use super::examples::Example;
use super::frozen::Frozen;
use super::op;
use super::tape::Tape;
use crate::synthetic::Random;

/// Where the values come from that a pass begins with.
pub struct Feed<'f> {
    frozen: Option<Frozen<'f>>,
    how: Preprocess,
    batch: usize,
    /// The image, then the nodes of the frozen part.
    nodes: Vec<NodeId>,
    lens: Vec<usize>,
    cache: Option<(Cache, BTreeMap<PathBuf, usize>)>,
}

/// What is fed: whose views are random, and what decides them.
#[derive(Clone, Copy, Debug)]
pub enum View {
    /// As it is.
    Plain,
    /// A random crop of a larger picture ([`augment::view`]).
    Random(u64),
    /// A random part of any size ([`augment::resized`]).
    Resized(u64),
}

impl<'f> Feed<'f> {
    /// Batches of at most `batch` pictures, which begin with the image and what `frozen` gives for the nodes of these
    /// names.
    ///
    /// # Errors
    /// If a node doesn't exist.
    pub fn new(
        tape: &Tape,
        frozen: Option<Frozen<'f>>,
        names: &[String],
        (how, batch): (Preprocess, usize),
    ) -> Result<Self> {
        let shapes = tape.shapes(how.crop)?;
        let mut nodes = vec![0];
        for name in names {
            nodes.push(tape.node(name)?);
        }
        let lens = nodes.iter().map(|&n| shapes[usize::from(n)].elements());
        Ok(Self {
            frozen,
            how,
            batch,
            lens: lens.collect(),
            nodes,
            cache: None,
        })
    }

    /// Keeps what the plain views of these pictures give in a file. `model` is the checksum of what computes it; `told` hears of
    /// every batch.
    ///
    /// # Errors
    /// If a picture is broken or the file can't be written.
    pub fn keep(
        &mut self,
        (path, model): (&Path, u32),
        examples: &[&Example],
        mut told: impl FnMut(usize),
    ) -> Result<()> {
        // In the order of their paths, which is that of every run.
        let mut sorted = examples.to_vec();
        sorted.sort_by(|a, b| a.sample.image.cmp(&b.sample.image));
        let len = self.lens.iter().sum();
        let lens = self.lens.clone();
        let paths = sorted
            .iter()
            .map(|e| e.sample.image.as_os_str().as_encoded_bytes());
        let pictures = crc32fast::hash(&paths.collect::<Vec<_>>().join(&b'\n'));
        let key = format!(
            "model {model:08x}, layers {:?}, pictures {} {pictures:08x}, {:?}\n",
            self.nodes,
            sorted.len(),
            self.how
        );
        let cache = Cache::open((path, &key), (sorted.len(), len), |put| {
            for (i, chunk) in sorted.chunks(self.batch).enumerate() {
                let values = self.compute(chunk, View::Plain)?;
                let mut record = Vec::with_capacity(len);
                for at in 0..chunk.len() {
                    record.clear();
                    for (values, &len) in values.iter().zip(&lens) {
                        record.extend_from_slice(&values[at * len..(at + 1) * len]);
                    }
                    put(&record)?;
                }
                told((i * self.batch + chunk.len()).min(sorted.len()));
            }
            Ok(())
        })?;
        let ids = sorted.iter().map(|e| e.sample.image.clone());
        self.cache = Some((cache, ids.zip(0..).collect()));
        Ok(())
    }

    /// The values that a pass over these pictures begins with.
    ///
    /// # Errors
    /// If a picture is broken.
    pub fn batch(&mut self, examples: &[&Example], view: View) -> Result<Vec<(NodeId, Tensor)>> {
        let values = match (&self.cache, view) {
            (Some((cache, ids)), View::Plain) => {
                let mut values: Vec<Vec<f32>> = vec![Vec::new(); self.lens.len()];
                let mut record = vec![0.0; self.lens.iter().sum()];
                for example in examples {
                    // Two data sets may call different pictures the same.
                    let path = &example.sample.image;
                    let at = ids.get(path);
                    let at = at.ok_or_else(|| anyhow!("{} wasn't kept", path.display()))?;
                    cache.read(*at, &mut record)?;
                    let mut rest = record.as_slice();
                    for (values, &len) in values.iter_mut().zip(&self.lens) {
                        let (own, others) = rest.split_at(len);
                        values.extend_from_slice(own);
                        rest = others;
                    }
                }
                values
            }
            _ => self.compute(examples, view)?,
        };
        let count = examples.len();
        let tensor = |(&node, values): (&NodeId, Vec<f32>)| {
            let len = values.len() / count;
            Ok((
                node,
                op::tensor(values, candle_core::Shape::from((count, len)))?,
            ))
        };
        self.nodes.iter().zip(values).map(tensor).collect()
    }

    /// Image and frozen nodes of at most a batch of pictures, each `[pictures, ..]`.
    fn compute(&mut self, examples: &[&Example], view: View) -> Result<Vec<Vec<f32>>> {
        let how = self.how;
        let load = |example: &&Example| match view {
            View::Plain => Ok(example.sample.photo()?.input(&how)?),
            View::Random(seed) | View::Resized(seed) => {
                // Another stream for every picture, whatever the order they are decoded in.
                let name = example.sample.id.bytes();
                let own = name.fold(seed, |h, b| h.wrapping_mul(0x100_0000_01B3) ^ u64::from(b));
                let (photo, mut random) = (example.sample.photo()?, Random::new(own));
                match view {
                    View::Resized(_) => augment::resized(&photo, &how, &mut random),
                    _ => augment::view(&photo, &how, &mut random),
                }
            }
        };
        let images: Result<Vec<Vec<f32>>> = examples.par_iter().map(load).collect();
        let mut images = images?.concat();
        let Some(frozen) = &mut self.frozen else {
            return Ok(vec![images]);
        };
        let each = images.len() / examples.len();
        // The plan is for whole batches; what stands in for missing pictures is forgotten again.
        let last = images[images.len() - each..].to_vec();
        for _ in examples.len()..self.batch {
            images.extend_from_slice(&last);
        }
        let outputs = frozen.run(&images)?;
        images.truncate(each * examples.len());
        let values = outputs.into_iter().map(|mut values| {
            values.truncate(values.len() / self.batch * examples.len());
            values
        });
        Ok(std::iter::once(images).chain(values).collect())
    }
}
