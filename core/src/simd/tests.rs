//! Every instruction set against the portable one, on ordinary numbers and on extremes.

use super::*;

/// A little of everything, on odd numbers.
struct Everything;

impl Task for Everything {
    type Output = [f32; 8];

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> [f32; 8] {
        let ramp: [f32; PANEL] = core::array::from_fn(|i| i as f32 - 3.0);
        let halves: [f16; PANEL] = core::array::from_fn(|i| f16::from_f32(0.5 * i as f32));
        let (a, b) = (l.load(&ramp), l.load_half(&halves));
        let (guarded, dead) = l.guarded_div(l.splat(2.0), l.relu(a), 1e-30);
        let block: [[f32; PANEL]; PANEL] =
            core::array::from_fn(|i| core::array::from_fn(|j| (i * 100 + j) as f32));
        let turned = l.transpose(block.map(|row| l.load(&row)));
        let right = turned.into_iter().enumerate().all(|(i, row)| {
            let mut column = [0.0; PANEL];
            l.store(row, &mut column);
            column.iter().enumerate().all(|(j, &v)| v == block[j][i])
        });
        let mut some = [0.0; 5];
        l.store_some(l.load_some(&ramp[..7]), &mut some);
        [
            l.sum(l.mul_add(a, b, l.splat(1.0))),
            l.sum(l.add(a, b)),
            l.sum(l.mul(a, b)),
            l.sum(l.div(a, l.splat(4.0))),
            l.sum(guarded),
            f32::from(u8::from(dead)),
            f32::from(u8::from(right)),
            some[4],
        ]
    }
}

#[test]
fn every_set_agrees_with_the_portable_one() {
    let want = Isa::Portable.run(Everything);
    for isa in Isa::available() {
        let got = isa.run(Everything);
        for (g, w) in got.iter().zip(&want) {
            assert!((g - w).abs() <= 1e-5 * w.abs(), "{isa:?}: {got:?} {want:?}");
        }
    }
    assert_eq!(&want[5..], &[1.0, 1.0, 1.0]);
}

/// A half by its bits: sign, five of exponent, ten of fraction.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (bits >> 10 & 31, f32::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (fraction + 1024.0) * 2f32.powi(i32::from(e) - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// Sixteen halves, widened.
struct Widen([f16; PANEL]);

impl Task for Widen {
    type Output = [f32; PANEL];

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> [f32; PANEL] {
        let mut wide = [0.0; PANEL];
        l.store(l.load_half(&self.0), &mut wide);
        wide
    }
}

/// The same bits, or both NaN.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

#[test]
fn every_half_is_widened_exactly() {
    for isa in Isa::available() {
        for first in (0..=u16::MAX).step_by(PANEL) {
            let bits: [u16; PANEL] = core::array::from_fn(|i| first + i as u16);
            let wide = isa.run(Widen(bits.map(f16::from_bits)));
            for (&v, bits) in wide.iter().zip(bits) {
                assert!(same(v, half(bits)), "{isa:?}, {bits:#06x}: {v}");
            }
        }
    }
}

/// Everything that isn't an ordinary number, and some that are.
const EXTREMES: [f32; PANEL] = [
    f32::NAN,
    -f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    0.0,
    -0.0,
    1e-45,
    -1e-40,
    f32::MIN_POSITIVE,
    f32::MAX,
    f32::MIN,
    1.0,
    -1.5,
    1e-30,
    2e-30,
    65504.0,
];

/// All operations on two rows: `a + b`, `a * b`, `a / b`, `a * b + a`, `relu(a)`, guarded `a / b`.
struct Pair([f32; PANEL], [f32; PANEL]);

impl Task for Pair {
    type Output = ([[f32; PANEL]; 6], bool);

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> Self::Output {
        let (a, b) = (l.load(&self.0), l.load(&self.1));
        let (guarded, dead) = l.guarded_div(a, b, 1e-30);
        let mut out = [[0.0; PANEL]; 6];
        l.store(l.add(a, b), &mut out[0]);
        l.store(l.mul(a, b), &mut out[1]);
        l.store(l.div(a, b), &mut out[2]);
        l.store(l.mul_add(a, b, a), &mut out[3]);
        l.store(l.relu(a), &mut out[4]);
        l.store(guarded, &mut out[5]);
        (out, dead)
    }
}

#[test]
fn extremes_agree_with_the_portable_set() {
    for turn in 0..PANEL {
        let mut other = EXTREMES;
        other.rotate_left(turn);
        let (want, lost) = Isa::Portable.run(Pair(EXTREMES, other));
        let (got, dead) = Isa::detect().run(Pair(EXTREMES, other));
        assert_eq!(dead, lost);
        for (op, (got, want)) in got.iter().zip(&want).enumerate() {
            for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
                let (a, b) = (EXTREMES[i], other[i]);
                let fused = op == 3 && same(g, libm::fmaf(a, b, a));
                assert!(same(g, w) || fused, "{op}: {a:e}, {b:e}: {g:e}, not {w:e}");
            }
        }
    }
}

#[test]
fn one_dead_lane_is_noticed() {
    for isa in Isa::available() {
        for lane in 0..PANEL {
            for (r, z, dead) in [
                (1.0, 0.0, true),
                (-1e-45, f32::NAN, true),
                (f32::NAN, 1e-30, true),
                (0.0, 0.0, false),
                (-0.0, f32::NEG_INFINITY, false),
                (f32::NAN, 1.0, false),
            ] {
                let (mut a, mut b) = ([1.0; PANEL], [2.0; PANEL]);
                (a[lane], b[lane]) = (r, z);
                let (_, found) = isa.run(Pair(a, b));
                assert_eq!(found, dead, "{isa:?}, lane {lane}: {r:e} / {z:e}");
            }
        }
    }
}
