//! Vectors of sixteen f32 and the choice of instruction set.
//!
//! An instruction set supplies only a row of sixteen lanes ([`Lanes::Row`], one weight panel wide); every kernel is
//! written once, generic over [`Lanes`], as a [`Task`]. [`Isa::run`] compiles the task for the set and calls it. Tokens
//! of sets are only made after the CPU was asked (or the compiler told), which is what makes their methods safe.

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod aarch64;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use half::f16;

use crate::graph::PANEL;
use crate::view::Weight;

pub use portable::Portable;

/// Rows of inputs that the microkernel works on at once.
pub const ROWS: usize = 6;

/// Sixteen f32 and the operations the kernels need. `mul_add` is fused where the instruction set can.
pub trait Lanes: Copy + Send + Sync {
    /// A row of sixteen values in registers.
    type Row: Copy;
    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::Row;
    /// Sixteen values from memory.
    fn load(self, from: &[f32; PANEL]) -> Self::Row;
    /// Sixteen halves from memory, widened.
    fn load_half(self, from: &[f16; PANEL]) -> Self::Row;
    /// To memory.
    fn store(self, row: Self::Row, to: &mut [f32; PANEL]);
    /// `a * b + c`
    fn mul_add(self, a: Self::Row, b: Self::Row, c: Self::Row) -> Self::Row;
    /// `a + b`
    fn add(self, a: Self::Row, b: Self::Row) -> Self::Row;
    /// `a * b`
    fn mul(self, a: Self::Row, b: Self::Row) -> Self::Row;
    /// `a / b`
    fn div(self, a: Self::Row, b: Self::Row) -> Self::Row;
    /// `max(a, 0)`
    fn relu(self, a: Self::Row) -> Self::Row;
    /// `z > least ? r / z : 0` in each lane, and whether any lane with `r != 0` gave 0.
    fn guarded_div(self, r: Self::Row, z: Self::Row, least: f32) -> (Self::Row, bool);
    /// Transposes a 16 x 16 block.
    fn transpose(self, from: &[[f32; PANEL]; PANEL], to: &mut [[f32; PANEL]; PANEL]) {
        for (i, row) in from.iter().enumerate() {
            for (j, &v) in row.iter().enumerate() {
                to[j][i] = v;
            }
        }
    }

    /// Up to sixteen values; missing lanes are 0.
    #[inline(always)]
    fn load_some(self, from: &[f32]) -> Self::Row {
        match from.first_chunk::<PANEL>() {
            Some(whole) => self.load(whole),
            None => {
                let mut padded = [0.0; PANEL];
                padded[..from.len()].copy_from_slice(from);
                self.load(&padded)
            }
        }
    }

    /// As many lanes as `to` holds, sixteen at most.
    #[inline(always)]
    fn store_some(self, row: Self::Row, to: &mut [f32]) {
        match to.first_chunk_mut::<PANEL>() {
            Some(whole) => self.store(row, whole),
            None => {
                let mut padded = [0.0; PANEL];
                self.store(row, &mut padded);
                to.copy_from_slice(&padded[..to.len()]);
            }
        }
    }

    /// The sum of all lanes, pairwise.
    #[inline(always)]
    fn sum(self, row: Self::Row) -> f32 {
        let mut v = [0.0; PANEL];
        self.store(row, &mut v);
        let mut width = PANEL / 2;
        while width > 0 {
            for i in 0..width {
                v[i] += v[i + width];
            }
            width /= 2;
        }
        v[0]
    }
}

/// Weights that a row can be loaded from.
pub trait Load: Weight {
    /// Sixteen weights as f32; with `PLUS`, negative ones as 0.
    fn load<L: Lanes, const PLUS: bool>(lanes: L, from: &[Self; PANEL]) -> L::Row;
}

impl Load for f32 {
    #[inline(always)]
    fn load<L: Lanes, const PLUS: bool>(lanes: L, from: &[Self; PANEL]) -> L::Row {
        let row = lanes.load(from);
        if PLUS { lanes.relu(row) } else { row }
    }
}

impl Load for f16 {
    #[inline(always)]
    fn load<L: Lanes, const PLUS: bool>(lanes: L, from: &[Self; PANEL]) -> L::Row {
        let row = lanes.load_half(from);
        if PLUS { lanes.relu(row) } else { row }
    }
}

/// The one hot loop: `acc[r] += sum_t rows[r][t] * panel[t]`, `M` rows at a time.
#[inline(always)]
pub fn dot<L: Lanes, W: Load, const PLUS: bool, const M: usize>(
    lanes: L,
    rows: [&[f32]; M],
    panel: &[[W; PANEL]],
    mut acc: [L::Row; M],
) -> [L::Row; M] {
    let k = panel.len();
    let rows = rows.map(|row| &row[..k]);
    for (t, weights) in panel.iter().enumerate() {
        let w = W::load::<L, PLUS>(lanes, weights);
        for m in 0..M {
            // SAFETY: `t < panel.len() == k`, and every row was cut to `k` elements above. The compiler doesn't see that
            // for six rows at once, and its checks cost a third of the loop.
            let x = unsafe { *rows[m].get_unchecked(t) };
            acc[m] = lanes.mul_add(lanes.splat(x), w, acc[m]);
        }
    }
    acc
}

/// Work that is compiled once for each instruction set.
pub trait Task {
    /// What it gives.
    type Output;
    /// Does it. Implementations are `#[inline(always)]`, or they'd be compiled without the set's instructions.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Whatever the compiler makes of arrays.
    Portable,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    /// NEON.
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    Neon(aarch64::Neon),
}

impl Isa {
    /// The best set of this CPU: asked at run time with the feature `std`, else what the program was compiled for.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = x86::Avx2::detect() {
            return Isa::Avx2(avx2);
        }
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        if let Some(neon) = aarch64::Neon::detect() {
            return Isa::Neon(neon);
        }
        Isa::Portable
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::Neon(_) => "neon",
        }
    }

    /// Runs a task compiled for this set.
    #[inline]
    pub fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            Isa::Portable => task.run(Portable),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(avx2) => avx2.run(task),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::Neon(neon) => neon.run(task),
        }
    }
}

#[cfg(test)]
mod tests {
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
            let mut turned = [[0.0; PANEL]; PANEL];
            l.transpose(&block, &mut turned);
            let right = turned
                .iter()
                .enumerate()
                .all(|(i, r)| r.iter().enumerate().all(|(j, &v)| v == block[j][i]));
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
        let got = Isa::detect().run(Everything);
        for (g, w) in got.iter().zip(&want) {
            assert!((g - w).abs() <= 1e-5 * w.abs(), "{got:?} {want:?}");
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
        for isa in [Isa::Portable, Isa::detect()] {
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
        for isa in [Isa::Portable, Isa::detect()] {
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
}
