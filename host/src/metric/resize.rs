//! Maps in the size of an image or mask.

/// Resizes a map `[h, w]` as OpenCV's `INTER_LINEAR`: bilinear, centres of pixels on halves, borders repeated, and no
/// antialiasing when it shrinks. `from` and `to` are `[h, w]`.
#[must_use]
pub fn bilinear(map: &[f32], from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    interpolate(map, from, to, halves)
}

/// The same with the centres of the corner pixels on those of the map's: PyTorch's `UpsamplingBilinear2d`.
#[must_use]
pub fn bilinear_corners(map: &[f32], from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    interpolate(map, from, to, corners)
}

/// Where one position lies between two others, and the share of the second.
type Tap = (usize, usize, f32);

fn interpolate(
    map: &[f32],
    from: [usize; 2],
    to: [usize; 2],
    taps: fn(usize, usize) -> Vec<Tap>,
) -> Vec<f32> {
    assert_eq!(map.len(), from[0] * from[1], "{from:?}");
    if from == to || map.is_empty() {
        return map.to_vec();
    }
    let rows = taps(from[0], to[0]);
    let columns = taps(from[1], to[1]);
    let mut resized = Vec::with_capacity(to[0] * to[1]);
    for &(upper, lower, down) in &rows {
        let line = |row: usize| &map[row * from[1]..][..from[1]];
        let (upper, lower) = (line(upper), line(lower));
        for &(left, right, across) in &columns {
            let blend = |line: &[f32]| line[left] * (1.0 - across) + line[right] * across;
            resized.push(blend(upper) * (1.0 - down) + blend(lower) * down);
        }
    }
    resized
}

/// Where each of `to` positions lies between two of `from`, with centres on halves.
fn halves(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let tap = |i: usize| tap(((i as f64 + 0.5) * scale - 0.5) as f32, from);
    (0..to).map(tap).collect()
}

/// The same with corners on corners.
fn corners(from: usize, to: usize) -> Vec<Tap> {
    let scale = (from - 1) as f64 / (to.max(2) - 1) as f64;
    (0..to)
        .map(|i| tap((i as f64 * scale) as f32, from))
        .collect()
}

/// The neighbours of a position among `from`; borders are repeated.
fn tap(at: f32, from: usize) -> Tap {
    let low = at.max(0.0).floor();
    let first = (low as usize).min(from - 1);
    let share = if first + 1 < from {
        (at - low).max(0.0)
    } else {
        0.0
    };
    (first, (first + 1).min(from - 1), share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_have_their_centres_on_halves() {
        let doubled = bilinear(&[0.0, 1.0], [1, 2], [1, 4]);
        assert_eq!(doubled, [0.0, 0.25, 0.75, 1.0]);
        let halved = bilinear(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [2, 4], [1, 2]);
        assert_eq!(halved, [2.5, 4.5]);
        // No antialiasing: 8 to 2 reads pixels 1, 2 and 5, 6 only.
        let eighths = [9.0, 1.0, 3.0, 9.0, 9.0, 5.0, 7.0, 9.0];
        assert_eq!(bilinear(&eighths, [1, 8], [1, 2]), [2.0, 6.0]);
        assert_eq!(bilinear(&[5.0], [1, 1], [2, 3]), [5.0; 6]);
    }

    #[test]
    fn corners_stay_where_they_are() {
        let enlarged = bilinear_corners(&[0.0, 2.0, 4.0, 6.0], [2, 2], [3, 5]);
        let row = [0.0, 0.5, 1.0, 1.5, 2.0];
        let want = [row, row.map(|v| v + 2.0), row.map(|v| v + 4.0)].concat();
        assert_eq!(enlarged, want);
        assert_eq!(bilinear_corners(&[5.0, 6.0], [1, 2], [1, 1]), [5.0]);
    }
}
