//! Windows that slide over a grid: cut out side by side, and put back.

use rayon::prelude::*;

/// Windows over a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Rows and columns of the grid.
    pub grid: [usize; 2],
    /// Rows and columns of a window.
    pub kernel: [usize; 2],
    /// Cells from one window to the next.
    pub stride: usize,
    /// Cells of zeros on all four sides.
    pub pad: usize,
}

impl Windows {
    /// Rows and columns of windows; 0 where none fits.
    #[must_use]
    pub fn places(&self) -> [usize; 2] {
        [0, 1].map(|i| {
            let span = (self.grid[i] + 2 * self.pad).checked_sub(self.kernel[i]);
            span.map_or(0, |span| span / self.stride.max(1) + 1)
        })
    }

    /// Cells of a window.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The cell that tap `tap` of the window at `place` lies on, along axis `axis`; none in the padding.
    fn cell(&self, axis: usize, place: usize, tap: usize) -> Option<usize> {
        let cell = (place * self.stride + tap).checked_sub(self.pad)?;
        (cell < self.grid[axis]).then_some(cell)
    }

    /// The window whose tap `tap` lies on `cell`, along axis `axis`.
    fn place(&self, axis: usize, cell: usize, tap: usize) -> Option<usize> {
        let start = (cell + self.pad).checked_sub(tap)?;
        let place = start / self.stride;
        (start.is_multiple_of(self.stride) && place < self.places()[axis]).then_some(place)
    }

    /// Images `[h, w, c]` to windows `[places][taps][c]`, zeros where there is padding.
    #[must_use]
    pub fn unfold(&self, c: usize, x: &[f32]) -> Vec<f32> {
        let ([h, w], [rows, cols]) = (self.grid, self.places());
        let line = cols * self.taps() * c;
        let mut y = vec![0.0; x.len() / (h * w * c) * rows * line];
        y.par_chunks_mut(line.max(1))
            .enumerate()
            .for_each(|(i, y)| {
                let x = &x[i / rows * h * w * c..][..h * w * c];
                for (col, y) in y.chunks_exact_mut(self.taps() * c).enumerate() {
                    for (tap, y) in y.chunks_exact_mut(c).enumerate() {
                        let (down, right) = (tap / self.kernel[1], tap % self.kernel[1]);
                        let cells = (self.cell(0, i % rows, down), self.cell(1, col, right));
                        if let (Some(row), Some(col)) = cells {
                            y.copy_from_slice(&x[(row * w + col) * c..][..c]);
                        }
                    }
                }
            });
        y
    }

    /// The transpose of [`Windows::unfold`]: every window's values are added to the cells that they came from.
    #[must_use]
    pub fn fold(&self, c: usize, y: &[f32]) -> Vec<f32> {
        let ([h, w], [rows, cols], taps) = (self.grid, self.places(), self.taps());
        let image = (rows * cols * taps * c).max(1);
        let mut x = vec![0.0; y.len() / image * h * w * c];
        x.par_chunks_mut(w * c).enumerate().for_each(|(i, x)| {
            let y = &y[i / h * image..][..image];
            for (col, x) in x.chunks_exact_mut(c).enumerate() {
                for tap in 0..taps {
                    let (down, right) = (tap / self.kernel[1], tap % self.kernel[1]);
                    let places = (self.place(0, i % h, down), self.place(1, col, right));
                    if let (Some(row), Some(col)) = places {
                        let from = &y[((row * cols + col) * taps + tap) * c..][..c];
                        x.iter_mut().zip(from).for_each(|(x, y)| *x += y);
                    }
                }
            }
        });
        x
    }

    /// For windows of stride 1, those of the opposite direction: over the grid of places, onto the grid's cells, taps in
    /// reverse.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            grid: self.places(),
            kernel: self.kernel,
            stride: 1,
            // Square kernels only: checked where it's used.
            pad: self.kernel[0] - 1 - self.pad,
        }
    }

    /// The largest of each window and channel, and where it lies: `[places][c]` values and, of cells, the first largest;
    /// windows in the padding alone are 0 and lie nowhere.
    #[must_use]
    pub fn largest(&self, c: usize, x: &[f32]) -> (Vec<f32>, Vec<u32>) {
        let ([h, w], [rows, cols]) = (self.grid, self.places());
        let count = x.len() / (h * w * c) * rows * cols * c;
        let (mut most, mut at) = (vec![0.0; count], vec![u32::MAX; count]);
        let line = (cols * c).max(1);
        most.par_chunks_mut(line)
            .zip(at.par_chunks_mut(line))
            .enumerate()
            .for_each(|(i, (most, at))| {
                let x = &x[i / rows * h * w * c..][..h * w * c];
                for (col, (most, at)) in most.chunks_mut(c).zip(at.chunks_mut(c)).enumerate() {
                    for tap in 0..self.taps() {
                        let (down, right) = (tap / self.kernel[1], tap % self.kernel[1]);
                        let cells = (self.cell(0, i % rows, down), self.cell(1, col, right));
                        let (Some(row), Some(col)) = cells else {
                            continue;
                        };
                        let cell = row * w + col;
                        let pairs = most.iter_mut().zip(at.iter_mut());
                        for ((most, at), &x) in pairs.zip(&x[cell * c..][..c]) {
                            if *at == u32::MAX || x > *most {
                                (*most, *at) = (x, cell as u32);
                            }
                        }
                    }
                }
            });
        (most, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::Random;

    #[test]
    fn folding_is_the_transpose_of_unfolding() {
        for (grid, kernel, stride, pad) in [
            ([5, 7], [3, 3], 1, 1),
            ([6, 5], [3, 3], 2, 1),
            ([8, 8], [4, 4], 4, 0),
            ([7, 9], [7, 7], 2, 3),
            ([5, 4], [1, 1], 2, 0),
        ] {
            let windows = Windows {
                grid,
                kernel,
                stride,
                pad,
            };
            let (mut random, c) = (Random::new(1), 3);
            let x: Vec<f32> = (0..2 * grid[0] * grid[1] * c)
                .map(|_| random.draw())
                .collect();
            let unfolded = windows.unfold(c, &x);
            let y: Vec<f32> = unfolded.iter().map(|_| random.draw()).collect();
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter()
                    .zip(b)
                    .map(|(&a, &b)| f64::from(a) * f64::from(b))
                    .sum()
            };
            let (one, other) = (dot(&unfolded, &y), dot(&x, &windows.fold(c, &y)));
            assert!((one - other).abs() < 1e-4, "{windows:?}: {one} {other}");
        }
    }
}
