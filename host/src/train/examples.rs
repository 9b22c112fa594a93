//! What is learnt from: pictures of one or several data sets, checked as a whole before any work is done.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use elucid_core::model::Preprocess;
use image::ImageReader;

use super::config::{Config, Source};
use crate::dataset::{Dataset, Mask, Options, Sample, Selection};
use crate::synthetic::Random;

/// A picture with its class in the network that is trained.
#[derive(Clone, Debug)]
pub struct Example {
    /// The picture.
    pub sample: Sample,
    /// Its class.
    pub label: u32,
}

/// Pictures to learn from, to choose an epoch by, and to judge the result by.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// To learn from.
    pub train: Vec<Example>,
    /// Held out of those.
    pub validation: Vec<Example>,
    /// To judge the finished network by.
    pub test: Vec<Example>,
}

impl Examples {
    /// Opens the data sets of a run, holds out the validation pictures and looks at every file's head, so that a
    /// missing picture or a mask of another shape is found before training rather than during.
    ///
    /// # Errors
    /// One line: a data set that can't be read, a class without pictures, or the picture or mask that doesn't fit.
    pub fn open(config: &Config) -> Result<Self> {
        let mut found = Self::default();
        let mut learnt = Vec::new();
        for source in &config.data {
            let split = source.split.as_deref().or(match source.format.as_str() {
                "folder" => None,
                _ => Some("train"),
            });
            learnt.extend(found.read(source, split)?);
            if let Some(test) = &source.test {
                // Plain folders have no parts: the pictures to judge by lie in a folder beside.
                let beside = Source {
                    dir: source.dir.join(test),
                    ..source.clone()
                };
                let test = match source.format.as_str() {
                    "folder" => found.read(&beside, None)?,
                    _ => found.read(source, Some(test))?,
                };
                found.test.extend(test);
            }
        }
        let real = |e: &Example| {
            e.sample
                .image
                .canonicalize()
                .unwrap_or(e.sample.image.clone())
        };
        let known: HashSet<PathBuf> = learnt.iter().map(real).collect();
        if let Some(twice) = found
            .test
            .iter()
            .map(real)
            .find(|path| known.contains(path))
        {
            bail!(
                "{} is learnt from and judged by; name parts of the data that don't overlap",
                twice.display()
            );
        }
        found.hold_out(learnt, config)?;
        let all = [&found.train, &found.validation, &found.test];
        for example in all.into_iter().flatten() {
            check(&example.sample)?;
        }
        Ok(found)
    }

    /// The pictures of a part of a data set, with classes that are known already by their names.
    fn read(&mut self, source: &Source, split: Option<&str>) -> Result<Vec<Example>> {
        let options = Options {
            split: split
                .map(|split| split.parse().map_err(|e: String| anyhow!("data: {e}")))
                .transpose()?,
            masks: source.masks.clone(),
            ..Options::default()
        };
        let data = Dataset::open(source.format()?, &source.dir, &options)?;
        let taken = source.classes.unwrap_or(usize::MAX);
        let labels: Vec<u32> = (data.class_names().into_iter().take(taken))
            .map(|name| self.class(name))
            .collect();
        let positions = data.select(&Selection::default())?;
        let samples = positions.into_iter().map(|at| data.sample(at));
        let example = |sample: Sample| {
            let label = *labels.get(sample.label? as usize)?;
            Some(Example { sample, label })
        };
        Ok(samples.filter_map(example).collect())
    }

    fn class(&mut self, name: &str) -> u32 {
        let known = self.classes.iter().position(|class| class == name);
        let at = known.unwrap_or_else(|| {
            self.classes.push(name.to_owned());
            self.classes.len() - 1
        });
        at as u32
    }

    /// Holds out the same share of every class, at least one picture where there are two.
    fn hold_out(&mut self, learnt: Vec<Example>, config: &Config) -> Result<()> {
        let mut of_class = vec![Vec::new(); self.classes.len()];
        for example in learnt {
            of_class[example.label as usize].push(example);
        }
        let mut random = Random::new(config.seed);
        for (class, mut examples) in of_class.into_iter().enumerate() {
            let count = examples.len();
            if count < 2 {
                bail!(
                    "class {} has {count} pictures to learn from; give it 2 or more, or leave it out",
                    self.classes[class]
                );
            }
            random.shuffle(&mut examples, count);
            let held = ((count as f64 * config.validation).round() as usize).clamp(1, count - 1);
            self.validation.extend(examples.drain(..held));
            self.train.extend(examples);
        }
        Ok(())
    }
}

/// Looks at the sizes of a picture and of its mask.
fn check(sample: &Sample) -> Result<()> {
    let (width, height) = size(&sample.image)?;
    let Some(mask) = &sample.mask else {
        return Ok(());
    };
    let (across, down) = size(&mask.path)?;
    let stretch = f64::from(across) * f64::from(height) / (f64::from(down) * f64::from(width));
    if !(0.98..=1.02).contains(&stretch) {
        bail!(
            "{}: the mask has {across} x {down} pixels, but its picture {width} x {height}; they must have the same shape",
            mask.path.display()
        );
    }
    Ok(())
}

fn size(path: &Path) -> Result<(u32, u32)> {
    let read = || {
        ImageReader::open(path)?
            .with_guessed_format()?
            .into_dimensions()
    };
    read().map_err(anyhow::Error::from).with_context(|| {
        format!(
            "{} can't be read; mend it or take it out of the data set",
            path.display()
        )
    })
}

impl Example {
    /// The network's input `[h, w, 3]` without anything random, and the mask there if there is one that shows something.
    ///
    /// # Errors
    /// If the picture or the mask is broken.
    pub fn load(&self, how: &Preprocess) -> Result<(Vec<f32>, Option<Mask>)> {
        let photo = self.sample.photo()?;
        let mask = self.sample.input_mask(photo.rgb.dimensions(), how)?;
        let image = photo.input(how)?;
        Ok((image, mask.filter(|mask| mask.area() > 0)))
    }
}
