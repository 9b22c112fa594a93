//! Insertion, deletion and ID score: how fast the probability rises as the most relevant pixels appear, and falls as they
//! disappear (Petsiuk et al., RISE, BMVC 2018, in the form of the ECCV 2024 paper's code).

use anyhow::{Result, bail};

use super::perturbation::{Direction, Perturbation};
use super::ranking::Ranking;

/// The two curves of one map.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// Probability at each point while pixels appear.
    pub insertion: Vec<f64>,
    /// The same while they disappear.
    pub deletion: Vec<f64>,
}

impl Curves {
    /// Area under the insertion curve: high is good.
    #[must_use]
    pub fn insertion_score(&self) -> f64 {
        area(&self.insertion)
    }

    /// Area under the deletion curve: low is good.
    #[must_use]
    pub fn deletion_score(&self) -> f64 {
        area(&self.deletion)
    }

    /// Insertion minus deletion.
    #[must_use]
    pub fn id_score(&self) -> f64 {
        self.insertion_score() - self.deletion_score()
    }
}

/// Area under a curve of evenly spaced points over 0..1, by trapezoids. One point is a constant, none is 0.
///
/// Points are evenly spaced by definition, as in the original, also where the last step is shorter than the others. That
/// shifts the scores of all maps alike; a step that divides the number of blocks avoids it.
#[must_use]
pub fn area(curve: &[f64]) -> f64 {
    match curve {
        [] => 0.0,
        [only] => *only,
        [first, .., last] => {
            let sum: f64 = curve.iter().sum();
            (sum - first / 2.0 - last / 2.0) / (curve.len() - 1) as f64
        }
    }
}

/// Memory for the images of a batch, reused from map to map.
#[derive(Clone, Debug)]
pub struct Batch {
    images: usize,
    values: Vec<f32>,
    outputs: Vec<f64>,
}

impl Batch {
    /// Of at most so many images (at least one).
    #[must_use]
    pub fn new(images: usize) -> Self {
        Self {
            images: images.max(1),
            values: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Has `draw` make each of `count` images of `length` values and `forward` say what the network makes of them, at most a
    /// batch at a time; `take` gets the output of each image, in order.
    ///
    /// # Errors
    /// Those of `forward`.
    pub(super) fn run(
        &mut self,
        count: usize,
        length: usize,
        mut draw: impl FnMut(usize, &mut [f32]),
        mut forward: impl FnMut(&[f32], &mut [f64]) -> Result<()>,
        mut take: impl FnMut(usize, f64),
    ) -> Result<()> {
        let most = self.images.min(count);
        self.values.resize(most * length, 0.0);
        self.outputs.resize(most, 0.0);
        for start in (0..count).step_by(self.images) {
            let images = self.images.min(count - start);
            let values = &mut self.values[..images * length];
            for (i, image) in values.chunks_exact_mut(length).enumerate() {
                draw(start + i, image);
            }
            let outputs = &mut self.outputs[..images];
            outputs.fill(f64::NAN);
            forward(values, outputs)?;
            for (i, &output) in outputs.iter().enumerate() {
                take(start + i, output);
            }
        }
        Ok(())
    }
}

/// What the network says of the two images that every curve of an image shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ends {
    /// With everything removed.
    pub empty: f64,
    /// With everything shown.
    pub whole: f64,
}

impl Ends {
    /// Asks `forward`, as [`score`] does.
    ///
    /// # Errors
    /// Those of `forward`.
    pub fn of(
        perturbation: &Perturbation,
        batch: &mut Batch,
        forward: impl FnMut(&[f32], &mut [f64]) -> Result<()>,
    ) -> Result<Self> {
        let mut ends = [0.0; 2];
        batch.run(
            2,
            perturbation.values(),
            |i, image| perturbation.mix(image, |_| i > 0),
            forward,
            |i, probability| ends[i] = sound(probability),
        )?;
        let [empty, whole] = ends;
        Ok(Self { empty, whole })
    }
}

/// NaN counts as 0, as in the original.
fn sound(probability: f64) -> f64 {
    if probability.is_nan() {
        0.0
    } else {
        probability
    }
}

/// Walks along both curves of a ranking. `forward` gets up to a batch of normalised images `[images, h, w, 3]` and writes
/// the probability of the class in question of each; NaN counts as 0, as in the original. Images that equal the
/// one before, and the `ends` if they are known, are not asked for again: a network gives the same image the same
/// probability.
///
/// # Errors
/// Those of `forward`, or if image and ranking differ in size.
pub fn score(
    ranking: &Ranking,
    perturbation: &Perturbation,
    ends: Option<Ends>,
    batch: &mut Batch,
    forward: impl FnMut(&[f32], &mut [f64]) -> Result<()>,
) -> Result<Curves> {
    let [h, w] = ranking.size();
    if h * w * 3 != perturbation.values() {
        bail!(
            "a map of {h} x {w} pixels cannot score an image of {} values",
            perturbation.values()
        );
    }
    let points = ranking.points() as usize;
    let mut curves = Curves {
        insertion: vec![f64::NAN; points],
        deletion: vec![f64::NAN; points],
    };
    // The deletion curve follows on the insertion curve, so that only one batch of a map isn't full.
    let directions = [Direction::Insertion, Direction::Deletion].into_iter();
    let changes = ranking.changes();
    let mut asked: Vec<(Direction, u32)> = directions
        .flat_map(|direction| changes.iter().map(move |&point| (direction, point)))
        .collect();
    let mut set = |(direction, point): (Direction, u32), probability: f64| {
        let curve = match direction {
            Direction::Insertion => &mut curves.insertion,
            Direction::Deletion => &mut curves.deletion,
        };
        curve[point as usize] = sound(probability);
    };
    if let Some(Ends { empty, whole }) = ends {
        let (least, most) = ranking
            .first()
            .iter()
            .fold((u32::MAX, 0), |(least, most), &first| {
                (least.min(first), most.max(first))
            });
        asked.retain(|&(direction, point)| {
            let end = match (direction, point < least, point >= most) {
                (Direction::Insertion, true, _) | (Direction::Deletion, _, true) => empty,
                (Direction::Insertion, _, true) | (Direction::Deletion, true, _) => whole,
                (_, false, false) => return true,
            };
            set((direction, point), end);
            false
        });
    }
    batch.run(
        asked.len(),
        perturbation.values(),
        |i, image| perturbation.point(ranking, asked[i].0, asked[i].1, image),
        forward,
        |i, probability| set(asked[i], probability),
    )?;
    // Points between two changes show what the one before did.
    for curve in [&mut curves.insertion, &mut curves.deletion] {
        for point in 1..points {
            if curve[point].is_nan() {
                curve[point] = curve[point - 1];
            }
        }
    }
    Ok(curves)
}

#[cfg(test)]
mod tests {
    use elucid_core::heat::quantize;

    use super::super::perturbation::{Baseline, Normalisation};
    use super::super::ranking::{Scorer, Walk};
    use super::super::stub;
    use super::*;
    use crate::synthetic::Random;

    const SIDE: usize = 224;
    /// What every map gets under [`Scorer::Strict`], as the stub doesn't care which pixels it sees. It isn't 0 because the
    /// last of the steps is shorter.
    const STRICT: f64 = 0.006_220_04;
    const WHITE: Normalisation = Normalisation {
        mean: [0.5; 3],
        std: [0.25; 3],
    };

    /// Curves of the stub model on a white image, and the number of images it saw.
    fn score_stub(map: &[f32], scorer: Scorer, images: usize) -> (Curves, usize) {
        let size = [SIDE; 2];
        let ranking = Ranking::new(map, size, size, Walk::new(scorer)).unwrap();
        let white = vec![2.0; SIDE * SIDE * 3];
        let perturbation = Perturbation::new(&white, size, WHITE, Baseline::Black, scorer).unwrap();
        let mut seen = 0;
        let curves = score(
            &ranking,
            &perturbation,
            None,
            &mut Batch::new(images),
            |batch, out| {
                assert!(out.len() <= images && batch.len() == out.len() * white.len());
                seen += out.len();
                for (image, out) in batch.chunks(white.len()).zip(out) {
                    let visible = image
                        .as_chunks::<3>()
                        .0
                        .iter()
                        .filter(|p| p[0] > 0.0)
                        .count();
                    *out = stub(visible as f64 / (SIDE * SIDE) as f64);
                }
                Ok(())
            },
        );
        (curves.unwrap(), seen)
    }

    fn distinct() -> Vec<f32> {
        let mut map: Vec<f32> = (0..SIDE * SIDE).map(|i| i as f32).collect();
        Random::new(1).shuffle(&mut map, SIDE * SIDE);
        map
    }

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 5e-8, "{got} is not {want}");
    }

    #[test]
    fn paper_gives_the_specifications_vector() {
        let (curves, seen) = score_stub(&distinct(), Scorer::Paper, 16);
        assert_eq!((curves.insertion.len(), seen), (101, 202));
        near(curves.insertion[0], 0.019_452_77);
        near(curves.insertion[100], 0.982_013_76);
        near(curves.insertion_score(), 0.507_953_9);
        near(curves.deletion_score(), 0.492_046_1);
    }

    #[test]
    fn strict_starts_from_nothing_and_ends_with_all() {
        let (curves, seen) = score_stub(&distinct(), Scorer::Strict, 64);
        assert_eq!((curves.insertion.len(), seen), (102, 204));
        near(curves.insertion[0], stub(0.0));
        near(curves.insertion[1], 0.019_452_77);
        near(curves.deletion[0], stub(1.0));
        near(curves.deletion[101], stub(0.0));
        near(curves.id_score(), STRICT);
    }

    #[test]
    fn a_constant_map_wins_under_paper_alone() {
        let constant = vec![1.0; SIDE * SIDE];
        let (paper, seen) = score_stub(&constant, Scorer::Paper, 8);
        assert_eq!(seen, 2);
        near(paper.insertion_score(), stub(1.0));
        near(paper.deletion_score(), stub(0.0));
        let (strict, _) = score_stub(&constant, Scorer::Strict, 8);
        near(strict.id_score(), STRICT);
    }

    #[test]
    fn quantized_noise_rises_under_paper_alone() {
        // Heavy-tailed: 78 % of it in the lowest of 8 levels.
        let mut random = Random::new(5);
        let noise: Vec<f32> = (0..SIDE * SIDE).map(|_| random.draw().powi(8)).collect();
        let (raw, _) = score_stub(&noise, Scorer::Paper, 32);
        assert!((raw.id_score() - 0.016).abs() < 1e-3, "{}", raw.id_score());
        // The specification's figures.
        for (levels, insertion, deletion) in [
            (8, 0.793, 0.207),
            (4, 0.874, 0.126),
            (3, 0.911, 0.089),
            (2, 0.982, 0.018),
        ] {
            let mut quantized = noise.clone();
            quantize(&mut quantized, levels);
            let (paper, seen) = score_stub(&quantized, Scorer::Paper, 32);
            assert!(seen <= 2 * levels as usize, "{seen} images");
            let scores = [paper.insertion_score(), paper.deletion_score()];
            assert!((scores[0] - insertion).abs() < 2e-3, "{levels}: {scores:?}");
            assert!((scores[1] - deletion).abs() < 2e-3, "{levels}: {scores:?}");
            let (strict, _) = score_stub(&quantized, Scorer::Strict, 32);
            near(strict.id_score(), STRICT);
        }
    }

    #[test]
    fn areas_are_trapezoids() {
        near(area(&[0.1, 0.4, 0.9]), 0.45);
        assert_eq!((area(&[0.7]), area(&[])), (0.7, 0.0));
    }

    #[test]
    fn what_a_network_cannot_say_counts_as_nothing_and_errors_pass() {
        let walk = Walk {
            step: 1,
            ..Walk::new(Scorer::Strict)
        };
        let ranking = Ranking::new(&[1.0, 0.0], [1, 2], [1, 2], walk).unwrap();
        let perturb = |size: [usize; 2]| {
            let image = vec![1.0; size[0] * size[1] * 3];
            Perturbation::new(&image, size, WHITE, Baseline::Black, Scorer::Strict).unwrap()
        };
        let mut batch = Batch::new(0);
        // Nothing is written, so all is NaN.
        let curves = score(&ranking, &perturb([1, 2]), None, &mut batch, |_, _| Ok(())).unwrap();
        assert_eq!(curves.insertion, [0.0; 3]);
        assert!(
            score(&ranking, &perturb([1, 2]), None, &mut batch, |_, _| bail!(
                "no"
            ))
            .is_err()
        );
        assert!(score(&ranking, &perturb([2, 2]), None, &mut batch, |_, _| Ok(())).is_err());
    }
}
