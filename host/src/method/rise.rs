//! RISE (Petsiuk et al., BMVC 2018): the mean of random masks, weighted by the class's probability behind them.

use anyhow::Result;

use super::{Attribution, Subject};
use crate::classifier::Classifier;
use crate::metric::resize::bilinear;
use crate::synthetic::Random;

/// Random masks: coarse grids of cells that are shown or not, enlarged smoothly and shifted at random.
#[derive(Clone, Debug, PartialEq)]
pub struct Masks {
    /// Cells of a grid in both directions.
    pub grid: usize,
    /// The grids, `[masks, grid, grid]`.
    pub cells: Vec<bool>,
    /// How far each is shifted, in pixels down and right.
    pub shifts: Vec<[usize; 2]>,
}

impl Masks {
    /// Draws `count` masks for images of `size` = `[h, w]`; a cell is shown with probability `share`.
    #[must_use]
    pub fn draw(count: usize, grid: usize, share: f32, size: [usize; 2], seed: u64) -> Self {
        let mut random = Random::new(seed);
        let cells = (0..count * grid * grid)
            .map(|_| random.share() < share)
            .collect();
        let extent = cell_size(size, grid).map(|cell| cell as u32);
        let shifts = (0..count)
            .map(|_| extent.map(|cell| random.below(cell) as usize))
            .collect();
        Self {
            grid,
            cells,
            shifts,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shifts.len()
    }

    /// Mask number `at` for images of `size`: the grid enlarged by one cell more than the image on each side, bilinearly,
    /// and the image's part of it cut out at the mask's shift.
    #[must_use]
    pub fn mask(&self, at: usize, size: [usize; 2]) -> Vec<f32> {
        let cells = &self.cells[at * self.grid * self.grid..][..self.grid * self.grid];
        let cells: Vec<f32> = cells
            .iter()
            .map(|&shown| f32::from(u8::from(shown)))
            .collect();
        let large = cell_size(size, self.grid).map(|cell| (self.grid + 1) * cell);
        let enlarged = bilinear(&cells, [self.grid; 2], large);
        let [down, right] = self.shifts[at];
        let rows = enlarged.chunks_exact(large[1]).skip(down).take(size[0]);
        rows.flat_map(|row| row[right..right + size[1]].iter().copied())
            .collect()
    }
}

/// Pixels of a cell.
fn cell_size(size: [usize; 2], grid: usize) -> [usize; 2] {
    size.map(|side| side.div_ceil(grid))
}

/// RISE with its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Rise {
    /// Masks an image.
    pub masks: usize,
    /// Cells of a mask in both directions.
    pub grid: usize,
    /// The share of cells that is shown. The ECCV 2024 paper's code is told 0.3 but shows 61.7 % of them, as it compares
    /// normally distributed numbers with it; so does this.
    pub share: f32,
    /// Images of a batch.
    pub batch: usize,
}

impl Rise {
    /// The map for given masks, scaled to 0..1.
    ///
    /// # Errors
    /// Those of the network.
    pub fn map_of(
        &self,
        masks: &Masks,
        network: &mut Classifier<'_>,
        subject: &Subject<'_>,
    ) -> Result<Vec<f32>> {
        let size = network.size();
        let pixels = size[0] * size[1];
        let mut sums = vec![0.0f64; pixels];
        let mut probabilities = Vec::new();
        let (mut shown, mut images) = (Vec::new(), Vec::new());
        for first in (0..masks.count()).step_by(self.batch.max(1)) {
            let batch = first..(first + self.batch.max(1)).min(masks.count());
            shown.clear();
            images.clear();
            for at in batch.clone() {
                let mask = masks.mask(at, size);
                let (image, _) = subject.image.as_chunks::<3>();
                images.extend(image.iter().zip(&mask).flat_map(|(p, &m)| p.map(|v| v * m)));
                shown.extend(mask);
            }
            probabilities.resize(batch.len(), 0.0);
            network.probabilities(&images, subject.class, &mut probabilities)?;
            for (mask, p) in shown.chunks_exact(pixels).zip(&probabilities) {
                for (sum, &m) in sums.iter_mut().zip(mask) {
                    *sum += p * f64::from(m);
                }
            }
        }
        let low = sums.iter().copied().fold(f64::INFINITY, f64::min);
        let high = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let spread = if high > low { high - low } else { 1.0 };
        let level = |sum: &f64| ((sum - low) / spread) as f32;
        Ok(sums.iter().map(level).collect())
    }
}

impl Attribution for Rise {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let masks = Masks::draw(
            self.masks,
            self.grid,
            self.share,
            network.size(),
            subject.seed,
        );
        self.map_of(&masks, network, subject)
    }
}
