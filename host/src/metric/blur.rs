//! Gaussian blur as `scipy.ndimage.gaussian_filter` does it: cut off at four deviations, borders mirrored.

/// Blurs `[h, w, channels]` with a Gaussian of deviation `sigma` pixels. A deviation that isn't positive changes nothing.
#[must_use]
pub fn gaussian(values: &[f32], [h, w]: [usize; 2], channels: usize, sigma: f64) -> Vec<f32> {
    assert_eq!(values.len(), h * w * channels, "[{h}, {w}, {channels}]");
    if sigma.is_nan() || sigma <= 0.0 || values.is_empty() {
        return values.to_vec();
    }
    let kernel = kernel(sigma);
    let across = pass(values, (h, w, channels), &kernel);
    pass(&across, (1, h, w * channels), &kernel)
}

/// Weights of the centre and of every distance to one side; together with the other side they sum to 1.
fn kernel(sigma: f64) -> Vec<f64> {
    // No picture is that wide; a larger number would only exhaust the memory.
    const MOST: f64 = 65536.0;
    let radius = (4.0 * sigma + 0.5).min(MOST) as usize;
    let mut weights: Vec<f64> = (0..=radius)
        .map(|d| (-0.5 * (d as f64 / sigma).powi(2)).exp())
        .collect();
    let total = 2.0 * weights.iter().sum::<f64>() - weights[0];
    for weight in &mut weights {
        *weight /= total;
    }
    weights
}

/// Blurs along the middle axis of `[outer, length, inner]`.
fn pass(values: &[f32], (outer, length, inner): (usize, usize, usize), kernel: &[f64]) -> Vec<f32> {
    let mut blurred = vec![0.0; values.len()];
    let mut sums = vec![0.0; inner];
    for o in 0..outer {
        let line = &values[o * length * inner..][..length * inner];
        for i in 0..length {
            sums.fill(0.0);
            let mut add = |at: isize, weight: f64| {
                let at = mirrored(at, length) * inner;
                for (sum, &value) in sums.iter_mut().zip(&line[at..at + inner]) {
                    *sum += weight * f64::from(value);
                }
            };
            let centre = i as isize;
            add(centre, kernel[0]);
            for (distance, &weight) in kernel.iter().enumerate().skip(1) {
                add(centre - distance as isize, weight);
                add(centre + distance as isize, weight);
            }
            let to = &mut blurred[(o * length + i) * inner..][..inner];
            for (to, &sum) in to.iter_mut().zip(&sums) {
                *to = sum as f32;
            }
        }
    }
    blurred
}

/// Where position `at` lies in a line that is mirrored at its ends, the last value twice: `d c b a | a b c d | d c b a`.
fn mirrored(at: isize, length: usize) -> usize {
    let period = 2 * length;
    let at = at.rem_euclid(period as isize) as usize;
    at.min(period - 1 - at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_a_bell_and_nothing_is_lost() {
        let mut values = vec![0.0; 21 * 21];
        values[10 * 21 + 10] = 1.0;
        let blurred = gaussian(&values, [21, 21], 1, 1.0);
        // 0.3989 is the centre of the bell, its square that of two.
        assert!((blurred[10 * 21 + 10] - 0.159_154).abs() < 1e-4);
        assert!((blurred[10 * 21 + 11] / blurred[10 * 21 + 10] - (-0.5f32).exp()).abs() < 1e-4);
        assert_eq!(blurred[10 * 21 + 15], 0.0);
        let sum: f64 = blurred.iter().map(|&v| f64::from(v)).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn borders_are_mirrored_and_channels_kept_apart() {
        let values: Vec<f32> = (0..5 * 3).flat_map(|i| [i as f32, 7.0]).collect();
        let blurred = gaussian(&values, [5, 3], 2, 2.5);
        let naive = |y: isize, x: isize| {
            let bell = |d: isize| (-0.5 * (d as f64 / 2.5).powi(2)).exp();
            let total: f64 = (-10..=10).map(bell).sum();
            let mut sum = 0.0;
            for dy in -10..=10 {
                for dx in -10..=10 {
                    let (y, x) = (mirrored(y + dy, 5), mirrored(x + dx, 3));
                    sum += bell(dy) * bell(dx) * f64::from(values[(y * 3 + x) * 2]);
                }
            }
            sum / total / total
        };
        for y in 0..5 {
            for x in 0..3 {
                let at = (y * 3 + x) * 2;
                assert!((f64::from(blurred[at]) - naive(y as isize, x as isize)).abs() < 1e-5);
                assert!((blurred[at + 1] - 7.0).abs() < 1e-5);
            }
        }
        let ends: Vec<usize> = (-4..6).map(|at| mirrored(at, 2)).collect();
        assert_eq!(ends, [0, 1, 1, 0, 0, 1, 1, 0, 0, 1]);
    }

    #[test]
    fn without_a_deviation_nothing_changes() {
        for sigma in [0.0, -1.0, f64::NAN] {
            assert_eq!(gaussian(&[1.0, 2.0], [1, 2], 1, sigma), [1.0, 2.0]);
        }
    }
}
