//! What may be done to a finished map, always as an explicit step of its own.

/// Heat Quantization (a step of the ECCV 2024 paper): rounds every value of `map` down to one of `levels` evenly spaced edges between its
/// minimum and its maximum; only the maximum itself keeps the top level. In place; does not conserve the sum. Fewer than
/// two levels, or a map that is constant or holds NaN, is left as it is.
pub fn quantize(map: &mut [f32], levels: u32) {
    let low = map.iter().copied().fold(f32::INFINITY, f32::min);
    let high = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let spread = f64::from(high) - f64::from(low);
    if levels < 2 || !spread.is_finite() || spread <= 0.0 || map.iter().any(|v| v.is_nan()) {
        return;
    }
    let last = levels - 1;
    let step = spread / f64::from(last);
    // Edges in f64, compared in f32, as the reference's.
    let edge = |i: u32| {
        if i == last {
            high
        } else {
            (f64::from(low) + f64::from(i) * step) as f32
        }
    };
    for v in map {
        if *v >= high {
            continue;
        }
        let mut bin = ((f64::from(*v) - f64::from(low)) / step) as u32;
        bin = bin.min(last - 1);
        while bin > 0 && *v < edge(bin) {
            bin -= 1;
        }
        while bin + 1 < last && *v >= edge(bin + 1) {
            bin += 1;
        }
        *v = edge(bin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantization_is_the_references() {
        let mut map = [0., 0.05, 0.142_857_1, 0.15, 0.3, 0.5, 0.84, 0.86, 0.99, 1.];
        quantize(&mut map, 8);
        let want = [
            0., 0., 0., 0.142_857, 0.285_714, 0.428_571, 0.714_286, 0.857_143, 0.857_143, 1.,
        ];
        for (got, want) in map.iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{map:?}");
        }
    }

    #[test]
    fn maps_without_a_range_are_left_alone() {
        for map in [[2.0; 3], [f32::NAN, 1.0, 0.0], [f32::INFINITY, 1.0, 0.0]] {
            let mut quantized = map;
            quantize(&mut quantized, 8);
            assert_eq!(map.map(f32::to_bits), quantized.map(f32::to_bits));
        }
    }
}
