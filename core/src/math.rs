//! The few transcendental functions, from `libm` with and without the standard library, so that both agree bit for bit.

/// `e^x`
#[must_use]
pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// Sum in f64 in one fixed order: eight running sums, added at the end.
#[must_use]
pub fn sum(values: &[f32]) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut acc = [0f64; 8];
    for chunk in chunks {
        for (a, &v) in acc.iter_mut().zip(chunk) {
            *a += f64::from(v);
        }
    }
    acc.iter().sum::<f64>() + rest.iter().map(|&v| f64::from(v)).sum::<f64>()
}
