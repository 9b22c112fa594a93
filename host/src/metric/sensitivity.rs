//! Sensitivity-n (Ancona et al., ICLR 2018): for sets of n pixels drawn at random, how well does their relevance tell by how
//! much the output falls when they are removed?

use anyhow::{Result, bail};

use super::curve::Batch;
use super::perturbation::Perturbation;
use super::statistics::pearson;
use crate::synthetic::Random;

/// Which sets are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Pixels of each set: the n.
    pub pixels: usize,
    /// Number of sets; the authors use 100.
    pub sets: usize,
    /// Decides which pixels.
    pub seed: u64,
}

/// The sets of a draw, one after the other.
struct Sets {
    random: Random,
    order: Vec<u32>,
    pixels: usize,
}

impl Sets {
    /// Of an image of so many pixels.
    fn new(draw: Draw, total: usize) -> Result<Self> {
        let Draw { pixels, sets, seed } = draw;
        let Some(last) = u32::try_from(total)
            .ok()
            .filter(|_| pixels > 0 && pixels < total && sets > 1)
        else {
            bail!("{sets} sets of {pixels} of {total} pixels tell nothing");
        };
        Ok(Self {
            random: Random::new(seed),
            order: (0..last).collect(),
            pixels,
        })
    }

    fn next(&mut self) -> &[u32] {
        self.random.shuffle(&mut self.order, self.pixels);
        &self.order[..self.pixels]
    }
}

/// By how much the output falls without each of the sets, in order: the same for all maps. `forward` is as for
/// [`super::curve::score`], and writes the output that the maps explain: probability or logit.
///
/// # Errors
/// Those of `forward`, or if there are fewer than two sets or no set of so many pixels.
pub fn falls(
    perturbation: &Perturbation,
    draw: Draw,
    batch: &mut Batch,
    forward: impl FnMut(&[f32], &mut [f64]) -> Result<()>,
) -> Result<Vec<f64>> {
    let total = perturbation.values() / 3;
    let mut sets = Sets::new(draw, total)?;
    let mut removed = vec![false; total];
    let mut outputs = Vec::with_capacity(draw.sets + 1);
    batch.run(
        draw.sets + 1,
        perturbation.values(),
        |i, image| {
            removed.fill(false);
            if i > 0 {
                sets.next().iter().for_each(|&p| removed[p as usize] = true);
            }
            perturbation.mix(image, |pixel| !removed[pixel]);
        },
        forward,
        |_, output| outputs.push(output),
    )?;
    let whole = outputs.remove(0);
    Ok(outputs.iter().map(|output| whole - output).collect())
}

/// Pearson's correlation between the relevance that `map` `[h, w]` gives each set and the [`falls`] of the same draw; `None`
/// where one of both doesn't vary.
///
/// # Errors
/// As for [`falls`], or if these are of another draw.
pub fn correlation(map: &[f32], draw: Draw, falls: &[f64]) -> Result<Option<f64>> {
    if falls.len() != draw.sets {
        bail!("{} falls are not of {} sets", falls.len(), draw.sets);
    }
    let mut sets = Sets::new(draw, map.len())?;
    let relevance = |_| {
        sets.next()
            .iter()
            .map(|&p| f64::from(map[p as usize]))
            .sum()
    };
    let relevances: Vec<f64> = (0..draw.sets).map(relevance).collect();
    Ok(pearson(&relevances, falls))
}

#[cfg(test)]
mod tests {
    use super::super::perturbation::{Baseline, Normalisation};
    use super::super::ranking::Scorer;
    use super::*;

    const SIZE: [usize; 2] = [12, 10];

    /// The correlation of a map for a network whose output is a weighted sum of the red values.
    fn of_linear(map: &[f32], weights: &[f32], draw: Draw, images: usize) -> Result<Option<f64>> {
        let plain = Normalisation {
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let white = [1.0; 360];
        let perturbation = Perturbation::new(&white, SIZE, plain, Baseline::Black, Scorer::Strict)?;
        let forward = |batch: &[f32], out: &mut [f64]| {
            for (image, out) in batch.chunks(360).zip(out) {
                let reds = image.iter().step_by(3).zip(weights);
                *out = reds.map(|(&v, &w)| f64::from(v) * f64::from(w)).sum();
            }
            Ok(())
        };
        let falls = falls(&perturbation, draw, &mut Batch::new(images), forward)?;
        correlation(map, draw, &falls)
    }

    fn noise(seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..120).map(|_| random.draw()).collect()
    }

    #[test]
    fn the_true_weights_correlate_and_noise_does_not() {
        let weights = noise(1);
        for pixels in [1, 10, 100, 119] {
            let draw = Draw {
                pixels,
                sets: 200,
                seed: 3,
            };
            let of = |map: &[f32], images| of_linear(map, &weights, draw, images).unwrap();
            let truth = of(&weights, 16).unwrap();
            assert!((truth - 1.0).abs() < 1e-6, "{truth}");
            assert_eq!(of(&weights, 7), Some(truth), "batches don't matter");
            let opposite: Vec<f32> = weights.iter().map(|w| -w).collect();
            assert!((of(&opposite, 16).unwrap() + 1.0).abs() < 1e-6);
            let other = of(&noise(2), 16).unwrap();
            assert!(other.abs() < 0.35, "{other}");
            assert_eq!(of(&[1.0; 120], 16), None);
        }
    }

    #[test]
    fn sets_that_tell_nothing_are_refused() {
        for (pixels, sets) in [(0, 10), (120, 10), (5, 1)] {
            let draw = Draw {
                pixels,
                sets,
                seed: 0,
            };
            assert!(of_linear(&noise(1), &noise(1), draw, 4).is_err());
        }
        let draw = Draw {
            pixels: 5,
            sets: 10,
            seed: 0,
        };
        assert!(correlation(&[0.0; 7], draw, &[0.0; 9]).is_err());
    }
}
