//! Functions of sixteen values, written once for all instruction sets.

use super::Lanes;

/// `e^x` for `x <= 88`, to 2 units in the last place; 0 from -88 down.
///
/// `2^n p(x - n ln 2)` with the nearest whole n and the series of e^x to the sixth power over +-0.35.
#[inline(always)]
pub fn exp<L: Lanes>(l: L, x: L::Row) -> L::Row {
    /// Adding it leaves no bits after the point.
    const ROUND: f32 = 12_582_912.0;
    let x = l.max(x, l.splat(-89.0));
    let scaled = l.mul_add(x, l.splat(core::f32::consts::LOG2_E), l.splat(ROUND));
    let n = l.add(scaled, l.splat(-ROUND));
    // ln 2 in two parts: the first has trailing zeros, so that its product with n is exact.
    let x = l.mul_add(n, l.splat(-0.693_359_4), x);
    let x = l.mul_add(n, l.splat(2.121_944_4e-4), x);
    let series = [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let p = series
        .iter()
        .fold(l.splat(1.0 / 720.0), |p, &c| l.mul_add(p, x, l.splat(c)));
    l.mul(p, l.pow2(n))
}

/// `|x|`
#[inline(always)]
fn abs<L: Lanes>(l: L, x: L::Row) -> L::Row {
    l.add(l.relu(x), l.relu(l.mul(x, l.splat(-1.0))))
}

/// `x Phi(x)`, to 3e-7 of |x|: Phi(-|x|) by formula 7.1.26 of Abramowitz and Stegun.
#[inline(always)]
pub fn gelu<L: Lanes>(l: L, x: L::Row) -> L::Row {
    let positive = l.relu(x);
    let size = abs(l, x);
    let y = l.mul(size, l.splat(core::f32::consts::FRAC_1_SQRT_2));
    let t = l.div(
        l.splat(1.0),
        l.mul_add(y, l.splat(0.327_591_1), l.splat(1.0)),
    );
    let series = [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6];
    let p = series
        .iter()
        .fold(l.splat(1.061_405_4), |p, &c| l.mul_add(p, t, l.splat(c)));
    let tail = exp(l, l.mul(l.mul(y, y), l.splat(-1.0)));
    let half = l.mul(l.mul(p, t), l.mul(tail, l.splat(-0.5)));
    l.mul_add(size, half, positive)
}

/// `x sigmoid(1.702 x)`
#[inline(always)]
pub fn quick_gelu<L: Lanes>(l: L, x: L::Row) -> L::Row {
    let size = abs(l, x);
    let e = exp(l, l.mul(size, l.splat(-1.702)));
    let below = l.div(e, l.add(e, l.splat(1.0)));
    l.mul_add(size, l.mul(below, l.splat(-1.0)), l.relu(x))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::graph::PANEL;
    use crate::simd::{Isa, Task};
    use std::vec::Vec;

    type Row = [f32; PANEL];

    /// One of the functions of sixteen values.
    struct Call {
        which: usize,
        x: Row,
    }

    impl Task for Call {
        type Output = Row;

        #[inline(always)]
        fn run<L: Lanes>(self, l: L) -> Row {
            let x = l.load(&self.x);
            let y = match self.which {
                0 => exp(l, x),
                1 => gelu(l, x),
                _ => quick_gelu(l, x),
            };
            let mut out = [0.0; PANEL];
            l.store(y, &mut out);
            out
        }
    }

    fn exact(which: usize, x: f64) -> f64 {
        match which {
            0 => libm::exp(x),
            1 => 0.5 * x * libm::erfc(-x * core::f64::consts::FRAC_1_SQRT_2),
            _ => x / (1.0 + libm::exp(-1.702 * x)),
        }
    }

    #[test]
    fn functions_are_those_of_libm() {
        // To the last places for e^x, relative; to the size of the argument for the other two.
        for (which, tolerance) in [(0, 3e-7), (1, 4e-7), (2, 4e-7)] {
            for isa in Isa::available() {
                for start in -1200..1200 {
                    let x: Row = core::array::from_fn(|i| {
                        let x = start as f32 * 0.07 + i as f32 * 0.004_1;
                        if which == 0 { -x.abs() } else { x }
                    });
                    let got = isa.run(Call { which, x });
                    for (x, got) in x.into_iter().zip(got) {
                        let want = exact(which, x.into());
                        let size = if which == 0 { want } else { f64::from(x).abs() };
                        let error = (f64::from(got) - want).abs();
                        let least = f64::from(f32::MIN_POSITIVE);
                        assert!(
                            error <= tolerance * size + least,
                            "{} {which} {x}: {got} {want}",
                            isa.name()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn extremes_are_neither_lost_nor_made_up() {
        let x: Row = core::array::from_fn(|i| {
            [1e30, -1e30, 1e5, -1e5, f32::MAX, f32::MIN, 0.0, -0.0][i % 8]
        });
        for isa in Isa::available() {
            let negative = x.map(|x| -x.abs());
            let powers = isa.run(Call {
                which: 0,
                x: negative,
            });
            assert!(
                powers
                    .iter()
                    .zip(x)
                    .all(|(&p, x)| p == f32::from(u8::from(x == 0.0)))
            );
            for which in [1, 2] {
                let got: Vec<f32> = isa.run(Call { which, x }).to_vec();
                for (x, got) in x.into_iter().zip(got) {
                    assert!(got == x.max(0.0), "{} {which} {x}: {got}", isa.name());
                }
            }
        }
    }
}
