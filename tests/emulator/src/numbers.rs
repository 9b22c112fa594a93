//! Numbers for tests.

/// Reproducible numbers of every size, with zeros of both signs and subnormals among them.
#[must_use]
pub fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF1;
    let mut bits = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u32
    };
    (0..len)
        .map(|_| {
            let kind = bits() % 16;
            let v = bits() as f32 / (1 << 23) as f32 - 1.0;
            match kind {
                0 | 1 => 0.0,
                2 => -0.0,
                3 => v * 1e-30,
                4 => v * f32::MIN_POSITIVE,
                5 => v * 1e20,
                _ => v,
            }
        })
        .collect()
}
