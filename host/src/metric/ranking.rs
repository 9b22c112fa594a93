//! In which order a map reveals pixels, as one number per pixel: the first point of the curve that shows it. Deletion is
//! the complement. A curve of 101 images so costs one map of memory.

use anyhow::{Result, bail};

use super::resize::bilinear;
use crate::synthetic::Random;

/// How ties between pixels are dealt with, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scorer {
    /// As `metrics/patch_insdel.py` of the ECCV 2024 paper's code: point `i` shows whatever is at least as relevant as
    /// the block of rank `min(step * (i + 1), n - 1)`. All that is tied appears at once, so that a constant map gets the
    /// best score there is. Blocks at the border are padded with zeros; the first point shows `step + 1` blocks.
    ///
    /// Where the patch doesn't divide the map, the original looks thresholds up at wrong places or fails; here
    /// they are the ranked values, and the number of points is still that of the whole blocks.
    Paper,
    /// The same ranks, but exactly so many blocks, with ties in an order that a seed decides, and a point more at the
    /// start: the empty image. Nothing is padded.
    Strict,
}

/// How a curve is walked along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// What becomes of ties.
    pub scorer: Scorer,
    /// Side of the square blocks that appear as one, in pixels; they rank by their maximum.
    pub patch: usize,
    /// Blocks from point to point.
    pub step: usize,
    /// Decides the order of ties ([`Scorer::Strict`]).
    pub seed: u64,
}

impl Walk {
    /// Single pixels, 500 at a time: what the paper used at 224 x 224.
    #[must_use]
    pub const fn new(scorer: Scorer) -> Self {
        Self {
            scorer,
            patch: 1,
            step: 500,
            seed: 0,
        }
    }
}

/// The order in which a map reveals an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    size: [usize; 2],
    first: Vec<u32>,
    points: u32,
    ties: f64,
}

impl Ranking {
    /// The point of a pixel that no point reveals ([`Scorer::Paper`] where the patch doesn't divide the map).
    pub const NEVER: u32 = u32::MAX;

    /// Ranks the pixels of an image `size` = `[h, w]` by `map`, which is `from` = `[h, w]` and is resized where that is
    /// another size ([`bilinear`]).
    ///
    /// # Errors
    /// For NaN in the map, and for a patch or step of 0 or a patch larger than the image.
    pub fn new(map: &[f32], from: [usize; 2], size: [usize; 2], walk: Walk) -> Result<Self> {
        let [h, w] = size;
        let Walk { patch, step, .. } = walk;
        if map.is_empty() || map.len() != from[0] * from[1] {
            bail!(
                "a map of {} values is not {} x {}",
                map.len(),
                from[0],
                from[1]
            );
        }
        if patch == 0 || step == 0 || patch > h || patch > w {
            bail!(
                "patches of {patch} pixels and steps of {step} don't fit an image of {h} x {w} pixels"
            );
        }
        if h * w >= Self::NEVER as usize {
            bail!("an image of {h} x {w} pixels is too large");
        }
        let resized;
        let map = if from == size {
            map
        } else {
            resized = bilinear(map, from, size);
            &resized
        };
        if map.iter().any(|v| v.is_nan()) {
            bail!("the map holds NaN, so its pixels have no order");
        }
        let grid = [h.div_ceil(patch), w.div_ceil(patch)];
        let padding = match walk.scorer {
            Scorer::Paper => 0.0,
            Scorer::Strict => f32::NEG_INFINITY,
        };
        let blocks = block_maxima(map, size, patch, padding);
        let (points, order) = match walk.scorer {
            Scorer::Paper => {
                let whole = (h / patch) * (w / patch);
                let points = whole.div_ceil(step);
                (points, thresholds(&blocks, points, step))
            }
            Scorer::Strict => {
                let points = blocks.len().div_ceil(step);
                (points + 1, exact_ranks(&blocks, points, step, walk.seed))
            }
        };
        let row = lookup(walk.scorer, h, grid[0], patch);
        let column = lookup(walk.scorer, w, grid[1], patch);
        let pixels = row.iter().flat_map(|&y| {
            let line = &order[y * grid[1]..][..grid[1]];
            column.iter().map(move |&x| line[x])
        });
        Ok(Self {
            size,
            first: pixels.collect(),
            points: points as u32,
            ties: tie_fraction(&blocks),
        })
    }

    /// `[h, w]`
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// The first point that reveals each pixel, `[h, w]`: point `i` shows, or removes, where this is at most `i`.
    #[must_use]
    pub fn first(&self) -> &[u32] {
        &self.first
    }

    /// Points of the curve.
    #[must_use]
    pub fn points(&self) -> u32 {
        self.points
    }

    /// Blocks in the largest group of equal values, as a share of all: how much ties may decide.
    #[must_use]
    pub fn tie_fraction(&self) -> f64 {
        self.ties
    }

    /// Points whose image isn't that of the point before, the first one among them. A map with few distinct values needs
    /// few images.
    #[must_use]
    pub fn changes(&self) -> Vec<u32> {
        let mut changed = vec![false; self.points as usize];
        for &first in &self.first {
            if let Some(changed) = changed.get_mut(first as usize) {
                *changed = true;
            }
        }
        let points = (0..self.points).zip(&changed);
        points
            .filter(|&(point, &changed)| changed || point == 0)
            .map(|(point, _)| point)
            .collect()
    }
}

/// Maxima of the blocks of `patch` x `patch` pixels; those at the border also hold `padding` where they reach beyond.
fn block_maxima(map: &[f32], [h, w]: [usize; 2], patch: usize, padding: f32) -> Vec<f32> {
    let mut blocks = Vec::with_capacity(h.div_ceil(patch) * w.div_ceil(patch));
    for top in (0..h).step_by(patch) {
        for left in (0..w).step_by(patch) {
            let (bottom, right) = (top + patch, left + patch);
            let cut = bottom > h || right > w;
            let mut maximum = if cut { padding } else { f32::NEG_INFINITY };
            for y in top..bottom.min(h) {
                let line = &map[y * w + left..y * w + right.min(w)];
                maximum = line.iter().copied().fold(maximum, f32::max);
            }
            // One zero only, so that both of IEEE are tied.
            blocks.push(maximum + 0.0);
        }
    }
    blocks
}

/// [`Scorer::Paper`]: the first point whose threshold each block reaches.
fn thresholds(blocks: &[f32], points: usize, step: usize) -> Vec<u32> {
    let mut sorted = blocks.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let at = |i: usize| sorted[step.saturating_mul(i + 1).min(sorted.len() - 1)];
    let thresholds: Vec<f32> = (0..points).map(at).collect();
    let first = |&value: &f32| match thresholds.partition_point(|&t| value < t) {
        none if none == points => Ranking::NEVER,
        point => point as u32,
    };
    blocks.iter().map(first).collect()
}

/// [`Scorer::Strict`]: the first point that has room for each block; point 0 has none.
fn exact_ranks(blocks: &[f32], points: usize, step: usize, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..blocks.len() as u32).collect();
    Random::new(seed).shuffle(&mut order, blocks.len());
    order.sort_by(|&a, &b| blocks[b as usize].total_cmp(&blocks[a as usize]));
    let mut first = vec![0; blocks.len()];
    for (rank, &block) in order.iter().enumerate() {
        // Point i > 0 shows the ranks up to step * i.
        let point = rank.div_ceil(step).clamp(1, points);
        first[block as usize] = point as u32;
    }
    first
}

/// The block of each of the `side` rows, or columns.
fn lookup(scorer: Scorer, side: usize, blocks: usize, patch: usize) -> Vec<usize> {
    // OpenCV's INTER_NEAREST, rounding included.
    let scale = 1.0 / (side as f64 / blocks as f64);
    let block = |at: usize| match scorer {
        Scorer::Paper => ((at as f64 * scale) as usize).min(blocks - 1),
        Scorer::Strict => at / patch,
    };
    (0..side).map(block).collect()
}

/// The largest group of equal values as a share of all; 0 for none.
#[must_use]
pub fn tie_fraction(values: &[f32]) -> f64 {
    let mut sorted: Vec<f32> = values.iter().map(|v| v + 0.0).collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let groups = sorted.chunk_by(|a, b| a == b);
    let largest = groups.map(<[f32]>::len).max().unwrap_or(0);
    largest as f64 / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(scorer: Scorer, patch: usize, step: usize) -> Walk {
        Walk {
            patch,
            step,
            ..Walk::new(scorer)
        }
    }

    fn random(seed: u64, count: usize, levels: f32) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..count)
            .map(|_| (random.draw() * levels).round())
            .collect()
    }

    /// The text of the specification, image by image.
    fn paper_masks(map: &[f32], side: usize, patch: usize, step: usize) -> Vec<Vec<bool>> {
        let grid = side / patch;
        let n = grid * grid;
        let block = |y: usize, x: usize| {
            let inside = (0..patch * patch)
                .map(|i| map[(y * patch + i / patch) * side + x * patch + i % patch]);
            inside.fold(f32::MIN, f32::max)
        };
        let values: Vec<f32> = (0..n).map(|i| block(i / grid, i % grid)).collect();
        let mut sorted = values.clone();
        sorted.sort_by(|a, b| b.partial_cmp(a).unwrap());
        let mask = |i: usize| {
            let threshold = sorted[(step * (i + 1)).min(n - 1)];
            let pixel = |p: usize| values[p / side / patch * grid + p % side / patch] >= threshold;
            (0..side * side).map(pixel).collect()
        };
        (0..n.div_ceil(step)).map(mask).collect()
    }

    #[test]
    fn paper_thresholds_are_the_masks_of_the_specification() {
        for (seed, levels) in [(1, 1e6), (2, 3.0), (3, 0.4)] {
            for (patch, step) in [(1, 7), (1, 50), (2, 10), (4, 3), (8, 1), (8, 100)] {
                let map = random(seed, 32 * 32, levels);
                let ranking =
                    Ranking::new(&map, [32; 2], [32; 2], walk(Scorer::Paper, patch, step)).unwrap();
                let masks = paper_masks(&map, 32, patch, step);
                assert_eq!(ranking.points() as usize, masks.len());
                for (point, mask) in masks.iter().enumerate() {
                    let shown = ranking.first().iter().map(|&f| f <= point as u32);
                    assert!(shown.eq(mask.iter().copied()), "{patch} {step} {point}");
                }
            }
        }
    }

    #[test]
    fn strict_reveals_exactly_the_ranks() {
        for levels in [1e6, 2.0, 0.1] {
            let map = random(4, 13 * 9, levels);
            let ranking =
                Ranking::new(&map, [13, 9], [13, 9], walk(Scorer::Strict, 1, 10)).unwrap();
            assert_eq!(ranking.points(), 13);
            for point in 0..13 {
                let shown: Vec<bool> = ranking.first().iter().map(|&f| f <= point).collect();
                let count = shown.iter().filter(|&&s| s).count();
                let want = if point == 0 {
                    0
                } else {
                    (10 * point as usize).min(116) + 1
                };
                assert_eq!(count, want, "point {point}");
                let split = |side: bool| {
                    let of = map.iter().zip(&shown).filter(move |&(_, &s)| s == side);
                    of.map(|(&v, _)| v)
                };
                let least = split(true).fold(f32::INFINITY, f32::min);
                let most = split(false).fold(f32::NEG_INFINITY, f32::max);
                assert!(least >= most, "point {point}: {least} before {most}");
            }
        }
    }

    #[test]
    fn ties_follow_the_seed_and_are_counted() {
        let map = [0.0, -0.0, 1.0, 0.0];
        let rank = |seed| {
            let walk = Walk {
                seed,
                ..walk(Scorer::Strict, 1, 1)
            };
            Ranking::new(&map, [2, 2], [2, 2], walk).unwrap()
        };
        assert_eq!(rank(1), rank(1));
        assert!((2..20).any(|seed| rank(seed).first() != rank(1).first()));
        assert_eq!(rank(1).tie_fraction(), 0.75);
        assert_eq!(rank(1).first()[2], 1);
        assert_eq!(tie_fraction(&[]), 0.0);
    }

    #[test]
    fn a_constant_map_is_one_image_for_paper_and_all_for_strict() {
        let of = |scorer| Ranking::new(&[3.0; 64], [8; 2], [8; 2], walk(scorer, 1, 8)).unwrap();
        let paper = of(Scorer::Paper);
        assert_eq!(
            (paper.points(), paper.changes(), paper.tie_fraction()),
            (8, vec![0], 1.0)
        );
        assert_eq!(of(Scorer::Strict).changes().len(), 9);
    }

    #[test]
    fn patches_that_do_not_divide_are_padded_by_paper_alone() {
        // Blocks of 2: the last row and column are halves.
        let map = vec![-1.0, -1.0, -2.0, -1.0, -1.0, -2.0, -3.0, -3.0, -4.0];
        let paper = Ranking::new(&map, [3; 2], [3; 2], walk(Scorer::Paper, 2, 1)).unwrap();
        // One whole block, so one point, at the second rank of four: the three padded ones are tied at 0.
        assert_eq!(paper.points(), 1);
        assert_eq!(paper.first()[0], Ranking::NEVER);
        assert_eq!(paper.first()[8], 0);
        let strict = Ranking::new(&map, [3; 2], [3; 2], walk(Scorer::Strict, 2, 1)).unwrap();
        assert_eq!(strict.points(), 5);
        assert_eq!(strict.first(), [1, 1, 1, 1, 1, 1, 2, 2, 3]);
    }

    #[test]
    fn impossible_maps_and_walks_are_refused() {
        let bad = |map: &[f32], walk| Ranking::new(map, [2; 2], [2; 2], walk).unwrap_err();
        let paper = |patch, step| walk(Scorer::Paper, patch, step);
        assert!(
            bad(&[0.0, f32::NAN, 0.0, 0.0], paper(1, 1))
                .to_string()
                .contains("NaN")
        );
        for walk in [paper(0, 1), paper(1, 0), paper(3, 1)] {
            assert!(bad(&[0.0; 4], walk).to_string().contains("fit"));
        }
        assert!(bad(&[0.0; 3], paper(1, 1)).to_string().contains("2 x 2"));
    }

    #[test]
    fn maps_of_another_size_are_resized() {
        let rank = |map: &[f32], from| Ranking::new(map, from, [1, 4], walk(Scorer::Strict, 1, 1));
        let resized = rank(&[0.0, 1.0], [1, 2]).unwrap();
        assert_eq!(resized, rank(&[0.0, 0.25, 0.75, 1.0], [1, 4]).unwrap());
        assert_eq!((resized.size(), resized.first()[3]), ([1, 4], 1));
        assert!(rank(&[], [0, 2]).is_err());
    }
}
