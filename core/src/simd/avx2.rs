//! AVX2, FMA and F16C: a row is two 256-bit registers.

use core::arch::x86_64::{
    __m256, _CMP_GT_OQ, _CMP_NEQ_UQ, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _mm_add_ps,
    _mm_add_ss, _mm_cvtss_f32, _mm_loadu_si128, _mm_movehl_ps, _mm_prefetch, _mm_shuffle_ps,
    _mm_storeu_si128, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_andnot_ps,
    _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtph_ps,
    _mm256_cvtps_epi32, _mm256_cvtps_ph, _mm256_div_ps, _mm256_extractf128_ps, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_movemask_ps, _mm256_mul_ps, _mm256_or_ps,
    _mm256_permute2f128_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_shuffle_ps, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps,
};

use half::f16;

use super::{Lanes, MOST_HALF, Task};
use crate::graph::PANEL;

/// The token: it exists only where AVX2, FMA and F16C do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// The token, if this CPU has the instructions.
    #[must_use]
    pub fn detect() -> Option<Self> {
        #[cfg(feature = "std")]
        {
            extern crate std;
            let all = std::is_x86_feature_detected!("avx2")
                && std::is_x86_feature_detected!("fma")
                && std::is_x86_feature_detected!("f16c");
            all.then_some(Self(()))
        }
        #[cfg(not(feature = "std"))]
        cfg!(all(
            target_feature = "avx2",
            target_feature = "fma",
            target_feature = "f16c"
        ))
        .then_some(Self(()))
    }

    /// Runs a task compiled with these instructions.
    #[inline]
    pub fn run<T: Task>(self, task: T) -> T::Output {
        // SAFETY: a token proves that the CPU has the instructions.
        unsafe { compiled(task, self) }
    }
}

/// # Safety
/// The CPU has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn compiled<T: Task>(task: T, token: Avx2) -> T::Output {
    task.run(token)
}

/// Two registers.
type Pair = [__m256; 2];

impl Lanes for Avx2 {
    type Row = Pair;
    /// Six rows are twelve registers of accumulators; two hold weights and one an input.
    const ROWS: usize = 6;

    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        // SAFETY: the token proves the instructions.
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; PANEL]) -> Pair {
        // SAFETY: the token proves the instructions; both loads lie within the sixteen floats, unaligned is fine.
        unsafe {
            [
                _mm256_loadu_ps(from.as_ptr()),
                _mm256_loadu_ps(from.as_ptr().add(8)),
            ]
        }
    }

    #[inline(always)]
    fn load_half(self, from: &[f16; PANEL]) -> Pair {
        let bits = from.as_ptr().cast::<u16>();
        // SAFETY: the token proves the instructions; `f16` is a transparent `u16`, and both loads of eight lie within
        // the sixteen.
        unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(bits.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(bits.add(8).cast())),
            ]
        }
    }

    #[inline(always)]
    fn store(self, row: Pair, to: &mut [f32; PANEL]) {
        // SAFETY: the token proves the instructions; both stores lie within the sixteen floats.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), row[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), row[1]);
        }
    }

    #[inline(always)]
    fn store_half(self, row: Pair, to: &mut [f16; PANEL]) {
        let bits = to.as_mut_ptr().cast::<u16>();
        // SAFETY: the token proves the instructions; `f16` is a transparent `u16`, and both stores of eight lie within the
        // sixteen.
        unsafe {
            let (least, most) = (_mm256_set1_ps(-MOST_HALF), _mm256_set1_ps(MOST_HALF));
            let halves = row.map(|v| {
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_max_ps(
                    least,
                    _mm256_min_ps(most, v),
                ))
            });
            _mm_storeu_si128(bits.cast(), halves[0]);
            _mm_storeu_si128(bits.add(8).cast(), halves[1]);
        }
    }

    #[inline(always)]
    fn mul_add(self, a: Pair, b: Pair, c: Pair) -> Pair {
        // SAFETY: the token proves the instructions.
        unsafe {
            [
                _mm256_fmadd_ps(a[0], b[0], c[0]),
                _mm256_fmadd_ps(a[1], b[1], c[1]),
            ]
        }
    }

    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: the token proves the instructions.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: the token proves the instructions.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn div(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: the token proves the instructions.
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn max(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: the token proves the instructions.
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn pow2(self, n: Pair) -> Pair {
        // SAFETY: the token proves the instructions.
        unsafe {
            n.map(|n| {
                let n = _mm256_max_ps(n, _mm256_set1_ps(-127.0));
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
            })
        }
    }

    #[inline(always)]
    fn relu(self, a: Pair) -> Pair {
        // SAFETY: the token proves the instructions. The second operand is returned for NaN: zero, as in the portable set.
        unsafe {
            let zero = _mm256_setzero_ps();
            [_mm256_max_ps(a[0], zero), _mm256_max_ps(a[1], zero)]
        }
    }

    #[inline(always)]
    fn guarded_div(self, r: Pair, z: Pair, least: f32) -> (Pair, bool) {
        // SAFETY: the token proves the instructions.
        unsafe {
            let (least, zero) = (_mm256_set1_ps(least), _mm256_setzero_ps());
            let alive = z.map(|z| _mm256_cmp_ps::<_CMP_GT_OQ>(z, least));
            let lost =
                |i: usize| _mm256_andnot_ps(alive[i], _mm256_cmp_ps::<_CMP_NEQ_UQ>(r[i], zero));
            let dead = _mm256_movemask_ps(_mm256_or_ps(lost(0), lost(1))) != 0;
            let s = |i: usize| _mm256_and_ps(alive[i], _mm256_div_ps(r[i], z[i]));
            ([s(0), s(1)], dead)
        }
    }

    #[inline(always)]
    fn sum(self, row: Pair) -> f32 {
        // SAFETY: register operations only; the token proves the instructions.
        unsafe { sum8(_mm256_add_ps(row[0], row[1])) }
    }

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        // SAFETY: a prefetch reads nothing and can't fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    fn transpose(self, rows: [Pair; PANEL]) -> [Pair; PANEL] {
        // SAFETY: the token proves the instructions.
        let [a, b, c, d] = unsafe {
            let part = |i: usize, half: usize| core::array::from_fn(|r| rows[i + r][half]);
            [
                transpose8(part(0, 0)),
                transpose8(part(8, 0)),
                transpose8(part(0, 1)),
                transpose8(part(8, 1)),
            ]
        };
        core::array::from_fn(|i| {
            if i < 8 {
                [a[i], b[i]]
            } else {
                [c[i - 8], d[i - 8]]
            }
        })
    }
}

/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn transpose8(r: [__m256; 8]) -> [__m256; 8] {
    // SAFETY: register operations only; the caller vouches for the instructions.
    unsafe {
        let mut t = r;
        for i in [0, 2, 4, 6] {
            t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
            t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
        }
        let mut u = t;
        for i in [0, 4] {
            u[i] = _mm256_shuffle_ps::<0x44>(t[i], t[i + 2]);
            u[i + 1] = _mm256_shuffle_ps::<0xEE>(t[i], t[i + 2]);
            u[i + 2] = _mm256_shuffle_ps::<0x44>(t[i + 1], t[i + 3]);
            u[i + 3] = _mm256_shuffle_ps::<0xEE>(t[i + 1], t[i + 3]);
        }
        let mut v = u;
        for i in 0..4 {
            v[i] = _mm256_permute2f128_ps::<0x20>(u[i], u[i + 4]);
            v[i + 4] = _mm256_permute2f128_ps::<0x31>(u[i], u[i + 4]);
        }
        v
    }
}

/// The sum of eight lanes, pairwise: each with the one four, then two, then one further.
///
/// # Safety
/// The CPU has AVX.
#[inline(always)]
pub unsafe fn sum8(v: __m256) -> f32 {
    // SAFETY: register operations only; the caller vouches for the instructions.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}
