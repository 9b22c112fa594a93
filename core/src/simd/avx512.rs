//! AVX-512 (foundation alone): a row is one 512-bit register.

use core::arch::x86_64::{
    __m512, _CMP_GT_OQ, _CMP_NEQ_UQ, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _mm_prefetch,
    _mm256_loadu_si256, _mm256_storeu_si256, _mm512_add_epi32, _mm512_add_ps,
    _mm512_castps512_ps256, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtph_ps,
    _mm512_cvtps_epi32, _mm512_cvtps_ph, _mm512_div_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_div_ps, _mm512_maskz_loadu_ps, _mm512_max_ps,
    _mm512_min_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_shuffle_f32x4, _mm512_shuffle_ps, _mm512_slli_epi32, _mm512_storeu_ps,
    _mm512_unpackhi_ps, _mm512_unpacklo_ps,
};

use half::f16;

use super::avx2::sum8;
use super::{Lanes, MOST_HALF, Task};
use crate::graph::PANEL;

/// The token: it exists only where AVX-512F does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

impl Avx512 {
    /// The token, if this CPU has the instructions.
    #[must_use]
    pub fn detect() -> Option<Self> {
        #[cfg(feature = "std")]
        {
            extern crate std;
            std::is_x86_feature_detected!("avx512f").then_some(Self(()))
        }
        #[cfg(not(feature = "std"))]
        cfg!(target_feature = "avx512f").then_some(Self(()))
    }

    /// Runs a task compiled with these instructions.
    #[inline]
    pub fn run<T: Task>(self, task: T) -> T::Output {
        // SAFETY: a token proves that the CPU has the instructions.
        unsafe { compiled(task, self) }
    }
}

/// # Safety
/// The CPU has AVX-512F.
#[target_feature(enable = "avx512f")]
unsafe fn compiled<T: Task>(task: T, token: Avx512) -> T::Output {
    task.run(token)
}

/// The lanes below `count`, which is less than sixteen.
#[inline(always)]
fn first(count: usize) -> u16 {
    (1 << (count % PANEL)) - 1
}

impl Lanes for Avx512 {
    type Row = __m512;
    /// Eight accumulators hide the latency twice over, and eight rows of the same power-of-two length share a set of the
    /// first-level cache without pushing one another out: it has eight ways.
    const ROWS: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; PANEL]) -> __m512 {
        // SAFETY: the token proves the instructions; the load is the sixteen floats, unaligned is fine.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_half(self, from: &[f16; PANEL]) -> __m512 {
        // SAFETY: the token proves the instructions; `f16` is a transparent `u16`, the load is the sixteen of them.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store(self, row: __m512, to: &mut [f32; PANEL]) {
        // SAFETY: the token proves the instructions; the store is the sixteen floats.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), row) }
    }

    #[inline(always)]
    fn store_half(self, row: __m512, to: &mut [f16; PANEL]) {
        // SAFETY: the token proves the instructions; `f16` is a transparent `u16`, the store is the sixteen of them.
        unsafe {
            let (least, most) = (_mm512_set1_ps(-MOST_HALF), _mm512_set1_ps(MOST_HALF));
            let row = _mm512_max_ps(least, _mm512_min_ps(most, row));
            let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(row);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), halves);
        }
    }

    #[inline(always)]
    fn load_some(self, from: &[f32]) -> __m512 {
        match from.first_chunk::<PANEL>() {
            Some(whole) => self.load(whole),
            // SAFETY: the token proves the instructions; only the lanes of the mask, which lie within the slice, are read.
            None => unsafe { _mm512_maskz_loadu_ps(first(from.len()), from.as_ptr()) },
        }
    }

    #[inline(always)]
    fn store_some(self, row: __m512, to: &mut [f32]) {
        match to.first_chunk_mut::<PANEL>() {
            Some(whole) => self.store(row, whole),
            // SAFETY: the token proves the instructions; only the lanes of the mask, which lie within the slice, are
            // written.
            None => unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), first(to.len()), row) },
        }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn pow2(self, n: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let n = _mm512_max_ps(n, _mm512_set1_ps(-127.0));
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        }
    }

    #[inline(always)]
    fn relu(self, a: __m512) -> __m512 {
        // SAFETY: the token proves the instructions. The second operand is returned for NaN: zero, as in the portable set.
        unsafe { _mm512_max_ps(a, _mm512_setzero_ps()) }
    }

    #[inline(always)]
    fn guarded_div(self, r: __m512, z: __m512, least: f32) -> (__m512, bool) {
        // SAFETY: the token proves the instructions.
        unsafe {
            let alive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(z, _mm512_set1_ps(least));
            let some = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(r, _mm512_setzero_ps());
            (_mm512_maskz_div_ps(alive, r, z), some & !alive != 0)
        }
    }

    #[inline(always)]
    fn sum(self, row: __m512) -> f32 {
        // SAFETY: register operations only; the token proves the instructions, AVX among them.
        unsafe {
            let swapped = _mm512_shuffle_f32x4::<0x4E>(row, row);
            sum8(_mm512_castps512_ps256(_mm512_add_ps(row, swapped)))
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        // SAFETY: a prefetch reads nothing and can't fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    fn transpose(self, r: [__m512; PANEL]) -> [__m512; PANEL] {
        // SAFETY: register operations only; the token proves the instructions.
        unsafe {
            let mut t = r;
            for i in (0..PANEL).step_by(2) {
                t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
                t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
            }
            // Row 4 q + i now holds column 4 l + i of rows 4 q .. 4 q + 4 in its quarter l.
            let mut u = t;
            for q in (0..PANEL).step_by(4) {
                u[q] = _mm512_shuffle_ps::<0x44>(t[q], t[q + 2]);
                u[q + 1] = _mm512_shuffle_ps::<0xEE>(t[q], t[q + 2]);
                u[q + 2] = _mm512_shuffle_ps::<0x44>(t[q + 1], t[q + 3]);
                u[q + 3] = _mm512_shuffle_ps::<0xEE>(t[q + 1], t[q + 3]);
            }
            let mut v = u;
            for i in 0..4 {
                let even = |a, b| _mm512_shuffle_f32x4::<0x88>(a, b);
                let odd = |a, b| _mm512_shuffle_f32x4::<0xDD>(a, b);
                let (a, b) = (even(u[i], u[4 + i]), odd(u[i], u[4 + i]));
                let (c, d) = (even(u[8 + i], u[12 + i]), odd(u[8 + i], u[12 + i]));
                v[i] = even(a, c);
                v[4 + i] = even(b, d);
                v[8 + i] = odd(a, c);
                v[12 + i] = odd(b, d);
            }
            v
        }
    }
}
