//! How well a map covers the object, given the object's mask or box, and how sparse it is.
//!
//! Whatever a data set marks as ignored counts neither for nor against a map.

use std::ops::Range;

use anyhow::{Result, bail};

use super::blur::gaussian;

/// Where the object of an image lies, `[h, w]`.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    object: &'a [bool],
    ignored: &'a [bool],
}

impl<'a> Mask<'a> {
    /// Of the pixels of the object and of those to ignore; an empty slice ignores none.
    ///
    /// # Errors
    /// If they differ in length, or no pixel of the object is left.
    pub fn new(object: &'a [bool], ignored: &'a [bool]) -> Result<Self> {
        if !ignored.is_empty() && ignored.len() != object.len() {
            bail!(
                "a mask of {} pixels ignores some of {}",
                object.len(),
                ignored.len()
            );
        }
        let mask = Self { object, ignored };
        if !(0..object.len()).any(|i| object[i] && mask.counts(i)) {
            bail!("the mask holds no pixel of the object");
        }
        Ok(mask)
    }

    /// Whether pixel `i` isn't ignored.
    fn counts(&self, i: usize) -> bool {
        !self.ignored.get(i).copied().unwrap_or(false)
    }

    /// Whether pixel `i` is the object's.
    fn holds(&self, i: usize) -> bool {
        self.object[i] && self.counts(i)
    }

    /// Intersection over union with the pixels that `found` says yes to.
    #[must_use]
    pub fn iou(&self, found: impl Fn(usize) -> bool) -> f64 {
        let (mut both, mut either) = (0u64, 0u64);
        for i in (0..self.object.len()).filter(|&i| self.counts(i)) {
            let found = found(i);
            both += u64::from(found && self.object[i]);
            either += u64::from(found || self.object[i]);
        }
        both as f64 / either as f64
    }

    /// Panics unless the map has the mask's size.
    fn check(&self, map: &[f32]) {
        assert_eq!(map.len(), self.object.len(), "pixels of map and mask");
    }
}

/// IoU of what is at least the map's mean: how the papers' final comparison scores all methods.
#[must_use]
pub fn iou_mean(map: &[f32], mask: Mask<'_>) -> f64 {
    mask.check(map);
    let (mean, _) = moments(map);
    mask.iou(|i| f64::from(map[i]) >= mean)
}

/// IoU of what exceeds mean and deviation of the map after a blur of one pixel, as during the adapter's training, there with
/// the threshold of the first image of a batch, here with each image's own. `size` is `[h, w]`.
#[must_use]
pub fn iou_deviation(map: &[f32], size: [usize; 2], mask: Mask<'_>) -> f64 {
    mask.check(map);
    let (mean, deviation) = moments(map);
    let blurred = gaussian(map, size, 1, 1.0);
    mask.iou(|i| f64::from(blurred[i]) > mean + deviation)
}

/// IoU of what exceeds 127 in a picture of the map with 256 levels between minimum and maximum, truncated, as the adapter's
/// `compute_miou.py` reads it. A constant map is 0 throughout.
#[must_use]
pub fn iou_byte(map: &[f32], mask: Mask<'_>) -> f64 {
    mask.check(map);
    let (low, high) = range(map);
    mask.iou(|i| ((f64::from(map[i]) - low) / (high - low) * 255.0) as u8 > 127)
}

/// The best IoU that any threshold reaches with what is at least it: what the order of the pixels is worth, whoever sets the
/// threshold. Pixels that are NaN are never found.
#[must_use]
pub fn iou_best(map: &[f32], mask: Mask<'_>) -> f64 {
    mask.check(map);
    let counted = (0..map.len()).filter(|&i| mask.counts(i));
    let object = counted.clone().filter(|&i| mask.object[i]).count();
    let mut pixels: Vec<(f32, bool)> = counted
        .filter(|&i| !map[i].is_nan())
        .map(|i| (map[i] + 0.0, mask.object[i]))
        .collect();
    pixels.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let (mut best, mut both, mut found) = (0.0f64, 0, 0);
    for tied in pixels.chunk_by(|a, b| a.0 == b.0) {
        found += tied.len();
        both += tied.iter().filter(|(_, object)| *object).count();
        best = best.max(both as f64 / (object + found - both) as f64);
    }
    best
}

/// Pointing game (Zhang et al., Excitation Backprop, IJCV 2018): whether the maximum lies on the object, or at most `tolerance`
/// pixels from it; 15 is the authors' number, 0 the strict one. Where several pixels are maximal, the share of them that
/// hits, so that a constant map scores what a random pixel does. `width` is the map's.
#[must_use]
pub fn pointing(map: &[f32], width: usize, mask: Mask<'_>, tolerance: usize) -> f64 {
    mask.check(map);
    let counted = (0..map.len()).filter(|&i| mask.counts(i));
    let maximum = counted.clone().map(|i| map[i]).fold(f32::MIN, f32::max);
    let height = map.len() / width;
    let hits = |i: usize| {
        let (y, x) = (i / width, i % width);
        let span = |at: usize, side: usize| {
            at.saturating_sub(tolerance)..at.saturating_add(tolerance + 1).min(side)
        };
        span(y, height).any(|v| {
            span(x, width).any(|u| {
                let distance = v.abs_diff(y).pow(2) + u.abs_diff(x).pow(2);
                distance <= tolerance.pow(2) && mask.holds(v * width + u)
            })
        })
    };
    let (mut points, mut hit) = (0u64, 0u64);
    for i in counted.filter(|&i| map[i] == maximum) {
        points += 1;
        hit += u64::from(hits(i));
    }
    if points == 0 {
        return 0.0;
    }
    hit as f64 / points as f64
}

/// The share of the positive relevance that lies on the object (energy-based pointing game: Wang et al., Score-CAM, CVPR
/// Workshops 2020, with the mask in place of the box). 0 where nothing is positive.
#[must_use]
pub fn energy_in_mask(map: &[f32], mask: Mask<'_>) -> f64 {
    mask.check(map);
    energy(map, |i| mask.counts(i), |i| mask.holds(i))
}

/// Rows and columns of a box.
pub type Extent = (Range<usize>, Range<usize>);

/// The share of the positive relevance that lies in one of the boxes of a map of this width (Wang et al., Score-CAM, CVPR
/// Workshops 2020). 0 where nothing is positive.
#[must_use]
pub fn energy_in_boxes(map: &[f32], width: usize, boxes: &[Extent]) -> f64 {
    let inside = |i: usize| {
        let (y, x) = (i / width, i % width);
        boxes
            .iter()
            .any(|(rows, columns)| rows.contains(&y) && columns.contains(&x))
    };
    energy(map, |_| true, inside)
}

fn energy(map: &[f32], counts: impl Fn(usize) -> bool, inside: impl Fn(usize) -> bool) -> f64 {
    let (mut part, mut whole) = (0.0, 0.0);
    for (i, &value) in map.iter().enumerate() {
        if counts(i) && value > 0.0 {
            whole += f64::from(value);
            part += if inside(i) { f64::from(value) } else { 0.0 };
        }
    }
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Gini coefficient of the absolute values (Chalasani et al., ICML 2020): 0 where all are alike, near 1 where a few hold
/// everything. 0 where all are 0.
#[must_use]
pub fn sparseness(map: &[f32]) -> f64 {
    let mut values: Vec<f32> = map.iter().map(|v| v.abs()).collect();
    values.sort_unstable_by(f32::total_cmp);
    let n = values.len() as f64;
    let (mut total, mut ranked) = (0.0, 0.0);
    for (i, &value) in values.iter().enumerate() {
        total += f64::from(value);
        ranked += (2.0 * (i as f64 + 1.0) - n - 1.0) * f64::from(value);
    }
    if total > 0.0 {
        ranked / (n * total)
    } else {
        0.0
    }
}

/// Mean and deviation (of the whole, not of a sample).
fn moments(map: &[f32]) -> (f64, f64) {
    let n = map.len() as f64;
    let mean = map.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let squares: f64 = map.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
    (mean, (squares / n).sqrt())
}

/// Minimum and maximum.
fn range(map: &[f32]) -> (f64, f64) {
    let values = map.iter().map(|&v| f64::from(v));
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::Random;

    /// A bump around a point of a map of 20 x 30 on noise, an object somewhere near, and a border of it that is ignored.
    fn case(seed: u64) -> (Vec<f32>, Vec<bool>, Vec<bool>) {
        let mut random = Random::new(seed);
        let (y, x) = (random.below(20) as f32, random.below(30) as f32);
        let distance = |i: usize, dy: f32| ((i / 30) as f32 - y - dy).hypot((i % 30) as f32 - x);
        let map = (0..600).map(|i| (-distance(i, 2.0) / 6.0).exp() + 0.1 * random.draw());
        let object = (0..600).map(|i| distance(i, 0.0) < 5.0).collect();
        let ignored = (0..600).map(|i| (4.0..6.0).contains(&distance(i, 0.0)));
        (map.collect(), object, ignored.collect())
    }

    fn naive(found: &[bool], object: &[bool], ignored: &[bool]) -> f64 {
        let count = |f: &dyn Fn(usize) -> bool| (0..600).filter(|&i| !ignored[i] && f(i)).count();
        count(&|i| found[i] && object[i]) as f64 / count(&|i| found[i] || object[i]) as f64
    }

    #[test]
    fn thresholds_are_the_naive_ones() {
        for seed in 0..20 {
            let (map, object, ignored) = case(seed);
            let mask = Mask::new(&object, &ignored).unwrap();
            let at = |map: &[f32], f: &dyn Fn(f64) -> bool| {
                let found: Vec<bool> = map.iter().map(|&v| f(v.into())).collect();
                naive(&found, &object, &ignored)
            };
            let mean = map.iter().map(|&v| f64::from(v)).sum::<f64>() / 600.0;
            let square = map.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / 600.0;
            assert_eq!(iou_mean(&map, mask), at(&map, &|v| v >= mean));
            let blurred = gaussian(&map, [20, 30], 1, 1.0);
            let limit = mean + (square - mean * mean).sqrt();
            assert_eq!(
                iou_deviation(&map, [20, 30], mask),
                at(&blurred, &|v| v > limit)
            );
            let low = f64::from(map.iter().copied().fold(f32::MAX, f32::min));
            let high = f64::from(map.iter().copied().fold(f32::MIN, f32::max));
            let byte = at(&map, &|v| (v - low) / (high - low) >= 128.0 / 255.0);
            assert_eq!(iou_byte(&map, mask), byte);
            let best = map
                .iter()
                .map(|&t| at(&map, &|v| v >= f64::from(t)))
                .fold(0.0, f64::max);
            assert_eq!(iou_best(&map, mask), best);
            assert!(best >= byte && best >= iou_mean(&map, mask));
        }
    }

    #[test]
    fn constant_maps_find_everything_or_nothing() {
        let object: Vec<bool> = (0..100).map(|i| i < 25).collect();
        let mask = Mask::new(&object, &[]).unwrap();
        let map = [0.5; 100];
        assert_eq!(iou_mean(&map, mask), 0.25);
        assert_eq!(iou_best(&map, mask), 0.25);
        assert_eq!(iou_byte(&map, mask), 0.0);
        assert_eq!(pointing(&map, 10, mask, 0), 0.25);
        assert_eq!(energy_in_mask(&map, mask), 0.25);
        assert_eq!(iou_best(&[f32::NAN; 100], mask), 0.0);
        assert_eq!(pointing(&[f32::NAN; 100], 10, mask, 15), 0.0);
    }

    #[test]
    fn pointing_hits_within_its_tolerance() {
        for seed in 0..20 {
            let (map, object, ignored) = case(seed);
            let mask = Mask::new(&object, &ignored).unwrap();
            let mut top = 0;
            for i in 0..600 {
                if !ignored[i] && (ignored[top] || map[i] > map[top]) {
                    top = i;
                }
            }
            let nearest = (0..600)
                .filter(|&i| object[i] && !ignored[i])
                .map(|i| {
                    let squares = (i / 30).abs_diff(top / 30).pow(2);
                    ((squares + (i % 30).abs_diff(top % 30).pow(2)) as f64).sqrt()
                })
                .fold(f64::MAX, f64::min);
            for tolerance in [0, 1, 3, 15, 100] {
                let want = f64::from(u8::from(nearest <= tolerance as f64));
                assert_eq!(pointing(&map, 30, mask, tolerance), want);
            }
        }
    }

    #[test]
    fn energy_is_the_positive_share() {
        let map = [1.0, -5.0, 2.0, 1.0, 4.0, -1.0];
        let object = [true, true, false, false, true, false];
        let ignored = [false, false, true, false, false, false];
        let energy = |ignored| energy_in_mask(&map, Mask::new(&object, ignored).unwrap());
        assert_eq!(energy(&[]), 5.0 / 8.0);
        assert_eq!(energy(&ignored), 5.0 / 6.0);
        assert_eq!(energy_in_boxes(&map, 3, &[(0..2, 1..3)]), 6.0 / 8.0);
        assert_eq!(energy_in_boxes(&[-1.0; 6], 3, &[(0..2, 0..3)]), 0.0);
    }

    #[test]
    fn sparseness_is_the_mean_difference() {
        let (map, ..) = case(7);
        let mut differences = 0.0;
        for a in &map {
            for b in &map {
                differences += f64::from((a.abs() - b.abs()).abs());
            }
        }
        let total: f64 = map.iter().map(|v| f64::from(v.abs())).sum();
        assert!((sparseness(&map) - differences / (2.0 * 600.0 * total)).abs() < 1e-6);
        assert_eq!(sparseness(&[2.0, -2.0, 2.0]), 0.0);
        assert_eq!(sparseness(&[0.0, 0.0, 0.0, 1.0]), 0.75);
        assert_eq!((sparseness(&[0.0; 4]), sparseness(&[])), (0.0, 0.0));
    }

    #[test]
    fn masks_without_an_object_are_refused() {
        assert!(Mask::new(&[false; 4], &[]).is_err());
        assert!(Mask::new(&[true; 4], &[true; 4]).is_err());
        assert!(Mask::new(&[true; 4], &[false; 3]).is_err());
    }
}
