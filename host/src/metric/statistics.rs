//! What a handful of images says about a method: intervals, comparisons on the same images, correlations.

use crate::synthetic::Random;

/// Resamples of a bootstrap and flips of a test unless someone wants others.
pub const RESAMPLES: u32 = 10_000;

/// A mean with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean of the images at hand.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A comparison of two methods on the same images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Mean of the differences, first minus second, with its interval.
    pub difference: Interval,
    /// How probable a difference as far from 0 would be if the methods were alike.
    pub p: f64,
}

/// The mean; NaN of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean with the percentile interval of `resamples` bootstrap samples (Efron 1979): 2.5 % of their means lie below, as many
/// above. `None` without values, with one that isn't finite, or without resamples.
#[must_use]
pub fn bootstrap(values: &[f64], resamples: u32, seed: u64) -> Option<Interval> {
    let count = u32::try_from(values.len()).ok()?;
    if count == 0 || resamples == 0 || values.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let mut random = Random::new(seed);
    let mut resample = |_| {
        let sum: f64 = (0..count)
            .map(|_| values[random.below(count) as usize])
            .sum();
        sum / f64::from(count)
    };
    let mut means: Vec<f64> = (0..resamples).map(&mut resample).collect();
    means.sort_unstable_by(f64::total_cmp);
    Some(Interval {
        mean: mean(values),
        low: quantile(&means, 0.025),
        high: quantile(&means, 0.975),
    })
}

/// The value below which this share of the sorted values lies, interpolated as NumPy does.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let low = at as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

/// Compares two methods by their values for the same images: [`bootstrap`] of the differences, and the two-sided p value of
/// a sign-flip permutation test of their mean with `resamples` random flips, which counts the real outcome among them
/// (so p is never 0); where none of them comes as far, the normal limit of the test tells how much smaller p is. `None` if the lengths differ, or as for [`bootstrap`].
#[must_use]
pub fn compare(first: &[f64], second: &[f64], resamples: u32, seed: u64) -> Option<Comparison> {
    if first.len() != second.len() {
        return None;
    }
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let difference = bootstrap(&differences, resamples, seed)?;
    // Flips that give the same sum but for rounding are as far from 0.
    let size: f64 = differences.iter().map(|d| d.abs()).sum();
    let real = differences.iter().sum::<f64>().abs() - 1e-12 * size;
    let mut random = Random::new(seed.wrapping_add(1));
    let mut as_far = 0u32;
    for _ in 0..resamples {
        let mut sum = 0.0;
        for chunk in differences.chunks(32) {
            let bits = random.bits();
            for (i, &d) in chunk.iter().enumerate() {
                sum += if bits >> i & 1 == 0 { d } else { -d };
            }
        }
        as_far += u32::from(sum.abs() >= real);
    }
    let counted = (f64::from(as_far) + 1.0) / (f64::from(resamples) + 1.0);
    // Where no flip came as far, the flips' normal limit says how rare one is: sums of flips have this deviation.
    let deviation = differences.iter().map(|d| d * d).sum::<f64>().sqrt();
    let p = if as_far == 0 && deviation > 0.0 {
        counted.min(libm::erfc(real / deviation / std::f64::consts::SQRT_2))
    } else {
        counted
    };
    Some(Comparison { difference, p })
}

/// Pearson's correlation. `None` if the lengths differ or one of both doesn't vary.
#[must_use]
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() {
        return None;
    }
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    let scale = aa.sqrt() * bb.sqrt();
    (scale > 0.0 && scale.is_finite()).then(|| (ab / scale).clamp(-1.0, 1.0))
}

/// Spearman's rank correlation of two maps, ties at the mean of their ranks: what the sanity check by randomised weights looks
/// at (Adebayo et al., NeurIPS 2018). `None` if the lengths differ, one doesn't vary or holds NaN.
#[must_use]
pub fn spearman(a: &[f32], b: &[f32]) -> Option<f64> {
    if a.iter().chain(b).any(|v| v.is_nan()) {
        return None;
    }
    pearson(&ranks(a), &ranks(b))
}

/// The rank of each value from the lowest, from 0; tied ones share the mean.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| (values[a] + 0.0).total_cmp(&(values[b] + 0.0)));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        for &i in tied {
            ranks[i] = before as f64 + (tied.len() - 1) as f64 / 2.0;
        }
        before += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of twelve uniform numbers: close to normal with deviation 1.
    fn normal(seed: u64, count: usize) -> Vec<f64> {
        let mut random = Random::new(seed);
        let mut draw = || (0..12).map(|_| f64::from(random.draw()) / 2.0).sum::<f64>();
        (0..count).map(|_| draw()).collect()
    }

    #[test]
    fn intervals_are_as_wide_as_theory_says_and_repeat() {
        let values = normal(1, 400);
        let interval = bootstrap(&values, RESAMPLES, 7).unwrap();
        let center = mean(&values);
        let deviation = (values.iter().map(|v| (v - center).powi(2)).sum::<f64>() / 400.0).sqrt();
        let half = 1.96 * deviation / 20.0;
        assert_eq!(interval.mean, center);
        assert!((interval.low - (center - half)).abs() < 0.05 * half);
        assert!((interval.high - (center + half)).abs() < 0.05 * half);
        assert_eq!(bootstrap(&values, RESAMPLES, 7), Some(interval));
        assert_ne!(bootstrap(&values, RESAMPLES, 8), Some(interval));
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        let holds = |seed: &u64| {
            let interval = bootstrap(&normal(*seed, 60), 500, *seed).unwrap();
            interval.low <= 0.0 && 0.0 <= interval.high
        };
        let held = (100..500).filter(holds).count();
        assert!((365..=395).contains(&held), "{held} of 400");
    }

    #[test]
    fn what_cannot_be_resampled_has_no_interval() {
        assert_eq!(bootstrap(&[], 10, 0), None);
        assert_eq!(bootstrap(&[1.0, f64::NAN], 10, 0), None);
        assert_eq!(bootstrap(&[1.0], 0, 0), None);
        let one = bootstrap(&[2.0], 10, 0).unwrap();
        assert_eq!((one.mean, one.low, one.high), (2.0, 2.0, 2.0));
        assert_eq!(quantile(&[0.0, 1.0, 2.0, 3.0], 0.5), 1.5);
        assert_eq!(compare(&[1.0], &[1.0, 2.0], 10, 0), None);
    }

    #[test]
    fn comparisons_find_what_pairs_show() {
        // Images differ by 1, methods by a tenth of that, and by nothing but noise.
        let images = normal(2, 100);
        let add = |seed, shift: f64| -> Vec<f64> {
            let noise = normal(seed, 100);
            images
                .iter()
                .zip(noise)
                .map(|(v, n)| v + 0.1 * n + shift)
                .collect()
        };
        let better = compare(&add(3, 0.1), &add(4, 0.0), 2000, 5).unwrap();
        assert!(
            better.difference.low > 0.0 && better.p < 1.0 / 2001.0 && better.p > 1e-30,
            "{better:?}"
        );
        let alike = compare(&add(3, 0.0), &add(6, 0.0), 2000, 5).unwrap();
        assert!(
            alike.difference.low < 0.0 && alike.difference.high > 0.0,
            "{alike:?}"
        );
        assert!(alike.p > 0.05, "{alike:?}");
        let same = compare(&images, &images, 100, 5).unwrap();
        assert_eq!((same.difference.mean, same.p), (0.0, 1.0));
    }

    #[test]
    fn p_is_the_share_of_all_flips() {
        // Of the 16 flips, 4 sums are at least 8 from 0: 10, 8 and their opposites.
        let p = compare(&[1.0, 2.0, 3.0, 2.0], &[0.0, 0.0, 0.0, 0.0], 40_000, 1)
            .unwrap()
            .p;
        assert!((p - 2.0 / 16.0).abs() < 0.01, "{p}");
        let p = compare(&[1.0, 2.0, 3.0, -4.0], &[0.0; 4], 40_000, 1)
            .unwrap()
            .p;
        let naive = (0..16u32)
            .filter(|flips| {
                let sign = |i: u32| if flips >> i & 1 == 0 { 1.0 } else { -1.0f64 };
                (sign(0) + 2.0 * sign(1) + 3.0 * sign(2) - 4.0 * sign(3)).abs() >= 2.0
            })
            .count();
        assert!((p - naive as f64 / 16.0).abs() < 0.01, "{p}, {naive}");
    }

    #[test]
    fn correlations_are_the_textbooks() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0];
        let r = pearson(&x, &[2.0, 4.0, 6.0, 8.0, 10.0]).unwrap();
        assert!((r - 1.0).abs() < 1e-12, "{r}");
        let r = pearson(&x, &[1.0, 3.0, 2.0, 5.0, 4.0]).unwrap();
        assert!((r - 0.8).abs() < 1e-12, "{r}");
        assert_eq!(pearson(&x, &[1.0; 5]), None);
        assert_eq!(pearson(&x, &[1.0; 4]), None);
        // Monotone, though far from a line.
        let r = spearman(&[1.0, 2.0, 3.0], &[1.0, 10.0, 1000.0]).unwrap();
        assert!((r - 1.0).abs() < 1e-12, "{r}");
        let r = spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, -1.0]).unwrap();
        assert!((r + 1.0).abs() < 1e-12, "{r}");
        // Ranks 0.5, 0.5, 2, 3 and 0, 1, 2, 3.
        let r = spearman(&[1.0, 1.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((r - 4.5 / (4.5f64 * 5.0).sqrt()).abs() < 1e-12, "{r}");
        assert_eq!(spearman(&[f32::NAN, 1.0], &[1.0, 2.0]), None);
        assert_eq!(ranks(&[0.0, -0.0, -1.0]), [1.5, 1.5, 0.0]);
    }
}
