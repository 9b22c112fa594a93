//! How windows lie over an input: what padding and strides leave of all pairs of cells and taps.

use elucid_kernels::params::ConvShape;

/// Windows of one direction.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Cells of the input.
    pub size: u32,
    /// Windows.
    pub count: u32,
    /// Taps of a window.
    pub kernel: u32,
    /// From one window to the next.
    pub stride: u32,
    /// Padding before the first cell.
    pub pad: u32,
}

impl Line {
    /// Cells of each window that lie in the input.
    fn inside(self) -> impl Iterator<Item = u64> {
        (0..u64::from(self.count)).map(move |o| {
            let [size, kernel, stride, pad] =
                [self.size, self.kernel, self.stride, self.pad].map(u64::from);
            let start = o * stride;
            let end = (start + kernel).min(pad + size);
            end.saturating_sub(start.max(pad))
        })
    }

    /// Pairs of a window and a cell in it.
    pub fn pairs(self) -> u64 {
        self.inside().sum()
    }

    /// The same, once for each cell of the window.
    pub fn squares(self) -> u64 {
        self.inside().map(|n| n * n).sum()
    }

    /// Windows that lie in the input as a whole.
    pub fn whole(self) -> u64 {
        let kernel = u64::from(self.kernel);
        self.inside().filter(|&n| n == kernel).count() as u64
    }

    /// Cells that lie in some window.
    pub fn reached(self) -> u64 {
        if self.kernel >= self.stride {
            let end = u64::from(self.count.saturating_sub(1)) * u64::from(self.stride)
                + u64::from(self.kernel);
            let last = end.saturating_sub(u64::from(self.pad));
            return last.min(u64::from(self.size));
        }
        self.pairs()
    }
}

/// Rows and columns of a convolution.
pub fn lines(s: &ConvShape) -> [Line; 2] {
    [(s.h, s.oh, s.kh), (s.w, s.ow, s.kw)].map(|(size, count, kernel)| Line {
        size,
        count,
        kernel,
        stride: s.stride,
        pad: s.pad,
    })
}

/// A count in both directions.
pub fn both(lines: [Line; 2], count: impl Fn(Line) -> u64) -> u64 {
    lines.into_iter().map(count).product()
}

/// The cells of a residue class of the stride, in one direction, and the taps that reach it.
pub fn class(line: Line, remainder: u32) -> (u64, u64) {
    let stride = line.stride.max(1);
    let cells = (line.size + stride - 1).saturating_sub(remainder) / stride;
    let first = (remainder + line.pad) % stride;
    let taps = (line.kernel + stride - 1).saturating_sub(first) / stride;
    (cells.into(), taps.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All windows of a few cells, counted one by one.
    #[test]
    fn counts_are_those_of_loops() {
        let mut tried = 0;
        for (kernel, stride, pad) in [
            (1, 1, 0),
            (3, 1, 1),
            (3, 2, 1),
            (1, 2, 0),
            (7, 2, 3),
            (2, 2, 0),
        ] {
            for size in 1..20u32 {
                if size + 2 * pad < kernel {
                    continue;
                }
                let count = (size + 2 * pad - kernel) / stride + 1;
                let line = Line {
                    size,
                    count,
                    kernel,
                    stride,
                    pad,
                };
                let (mut pairs, mut squares, mut whole) = (0, 0, 0);
                let mut reached = vec![false; size as usize];
                let mut by_class = vec![0u64; stride as usize];
                for o in 0..count {
                    let cells = (0..kernel)
                        .map(|k| i64::from(o * stride + k) - i64::from(pad))
                        .filter(|i| (0..i64::from(size)).contains(i));
                    let cells: Vec<usize> = cells.map(|i| i as usize).collect();
                    let n = cells.len() as u64;
                    pairs += n;
                    squares += n * n;
                    whole += u64::from(n == u64::from(kernel));
                    cells.iter().for_each(|&i| reached[i] = true);
                }
                for i in 0..size {
                    by_class[(i % stride) as usize] += 1;
                }
                assert_eq!(line.pairs(), pairs, "{line:?}");
                assert_eq!(line.squares(), squares, "{line:?}");
                assert_eq!(line.whole(), whole, "{line:?}");
                let reached = reached.iter().filter(|&&r| r).count() as u64;
                assert_eq!(line.reached(), reached, "{line:?}");
                let mut taps = 0;
                for (remainder, &cells) in by_class.iter().enumerate() {
                    let (found, reach) = class(line, remainder as u32);
                    assert_eq!(found, cells, "{line:?}");
                    taps += reach;
                }
                assert_eq!(taps, u64::from(kernel), "{line:?}: each tap is one class's");
                tried += 1;
            }
        }
        assert!(tried > 80);
    }
}
