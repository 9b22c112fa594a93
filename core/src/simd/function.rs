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
