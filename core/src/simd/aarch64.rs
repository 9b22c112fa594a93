//! NEON: a row is four 128-bit registers.
//!
//! Six rows of four accumulators, four registers of weights and one broadcast input are 29 of the 32 registers. The
//! compiler multiplies by one lane of the loaded input (`fmla v.4s, v.4s, v.s[0]`), so a broadcast costs no instruction.

use core::arch::aarch64::{
    float32x4_t, uint16x8_t, vadd_f32, vaddq_f32, vaddq_s32, vandq_u32, vbslq_f32, vceqzq_f32,
    vcgtq_f32, vcvtnq_s32_f32, vdivq_f32, vdupq_n_f32, vdupq_n_s32, vfmaq_f32, vget_high_f32,
    vget_lane_f32, vget_low_f32, vld1q_f32, vld1q_u16, vmaxnmq_f32, vmaxq_f32, vminq_f32,
    vminvq_u32, vmulq_f32, vorrq_u32, vreinterpretq_f32_f64, vreinterpretq_f32_s32,
    vreinterpretq_f32_u32, vreinterpretq_f64_f32, vreinterpretq_u32_f32, vshlq_n_s32, vst1q_f32,
    vst1q_u16, vtrn1q_f32, vtrn1q_f64, vtrn2q_f32, vtrn2q_f64,
};
use core::arch::asm;

use half::f16;

use super::{Lanes, MOST_HALF, Task};
use crate::graph::PANEL;

/// The token: it exists only in programs compiled with NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    /// The token. Nothing is asked at run time: this module is compiled only for targets that include NEON, which is
    /// every one with a hard-float ABI.
    #[must_use]
    pub const fn detect() -> Option<Self> {
        Some(Self(()))
    }

    /// Runs a task: everything is compiled with NEON already.
    #[inline]
    pub fn run<T: Task>(self, task: T) -> T::Output {
        task.run(self)
    }
}

/// Four registers.
type Four = [float32x4_t; 4];

#[inline(always)]
fn each(f: impl FnMut(usize) -> float32x4_t) -> Four {
    core::array::from_fn(f)
}

/// Eight halves as f32, by the base instruction set (the half-precision extension isn't needed to convert).
#[inline(always)]
fn widen(halves: uint16x8_t) -> [float32x4_t; 2] {
    let (low, high): (float32x4_t, float32x4_t);
    // SAFETY: FCVTL and FCVTL2 belong to NEON, which the target includes; they read one register and write another.
    unsafe {
        asm!(
            "fcvtl {low:v}.4s, {halves:v}.4h",
            "fcvtl2 {high:v}.4s, {halves:v}.8h",
            low = out(vreg) low,
            high = lateout(vreg) high,
            halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    [low, high]
}

/// Eight f32 as halves, rounded to nearest.
#[inline(always)]
fn narrow(low: float32x4_t, high: float32x4_t) -> uint16x8_t {
    let halves: uint16x8_t;
    // SAFETY: FCVTN and FCVTN2 belong to NEON, which the target includes; they read two registers and write another.
    unsafe {
        asm!(
            "fcvtn {halves:v}.4h, {low:v}.4s",
            "fcvtn2 {halves:v}.8h, {high:v}.4s",
            halves = out(vreg) halves,
            low = in(vreg) low,
            high = in(vreg) high,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    halves
}

impl Lanes for Neon {
    type Row = Four;
    /// Twenty-four accumulators, four registers of weights and one of inputs.
    const ROWS: usize = 6;

    #[inline(always)]
    fn splat(self, x: f32) -> Four {
        // SAFETY: the target includes NEON.
        unsafe { [vdupq_n_f32(x); 4] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; PANEL]) -> Four {
        // SAFETY: the target includes NEON; the four loads of four lie within the sixteen floats, unaligned is fine.
        each(|i| unsafe { vld1q_f32(from.as_ptr().add(4 * i)) })
    }

    #[inline(always)]
    fn load_half(self, from: &[f16; PANEL]) -> Four {
        let bits = from.as_ptr().cast::<u16>();
        // SAFETY: the target includes NEON; `f16` is a transparent `u16`, and both loads of eight lie within the sixteen.
        let [[a, b], [c, d]] = unsafe { [vld1q_u16(bits), vld1q_u16(bits.add(8))] }.map(widen);
        [a, b, c, d]
    }

    #[inline(always)]
    fn store(self, row: Four, to: &mut [f32; PANEL]) {
        for (i, four) in row.into_iter().enumerate() {
            // SAFETY: the target includes NEON; the four stores of four lie within the sixteen floats.
            unsafe { vst1q_f32(to.as_mut_ptr().add(4 * i), four) }
        }
    }

    #[inline(always)]
    fn store_half(self, row: Four, to: &mut [f16; PANEL]) {
        // SAFETY: the target includes NEON.
        let row = each(|i| unsafe {
            let (least, most) = (vdupq_n_f32(-MOST_HALF), vdupq_n_f32(MOST_HALF));
            vmaxq_f32(least, vminq_f32(most, row[i]))
        });
        let bits = to.as_mut_ptr().cast::<u16>();
        // SAFETY: the target includes NEON; `f16` is a transparent `u16`, and both stores of eight lie within the sixteen.
        unsafe {
            vst1q_u16(bits, narrow(row[0], row[1]));
            vst1q_u16(bits.add(8), narrow(row[2], row[3]));
        }
    }

    #[inline(always)]
    fn mul_add(self, a: Four, b: Four, c: Four) -> Four {
        // SAFETY: the target includes NEON.
        each(|i| unsafe { vfmaq_f32(c[i], a[i], b[i]) })
    }

    #[inline(always)]
    fn add(self, a: Four, b: Four) -> Four {
        // SAFETY: the target includes NEON.
        each(|i| unsafe { vaddq_f32(a[i], b[i]) })
    }

    #[inline(always)]
    fn mul(self, a: Four, b: Four) -> Four {
        // SAFETY: the target includes NEON.
        each(|i| unsafe { vmulq_f32(a[i], b[i]) })
    }

    #[inline(always)]
    fn div(self, a: Four, b: Four) -> Four {
        // SAFETY: the target includes NEON.
        each(|i| unsafe { vdivq_f32(a[i], b[i]) })
    }

    #[inline(always)]
    fn max(self, a: Four, b: Four) -> Four {
        // SAFETY: the target includes NEON. Where `a` is no number, no comparison holds and `b` is chosen.
        each(|i| unsafe { vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i]) })
    }

    #[inline(always)]
    fn pow2(self, n: Four) -> Four {
        // SAFETY: the target includes NEON.
        each(|i| unsafe {
            let n = vmaxq_f32(n[i], vdupq_n_f32(-127.0));
            let exponent = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
        })
    }

    #[inline(always)]
    fn relu(self, a: Four) -> Four {
        // SAFETY: the target includes NEON. FMAXNM gives the number where the other operand is a quiet NaN: zero, as in
        // the portable set. (Only a quiet one can come out of arithmetic; FMAX would give NaN.)
        each(|i| unsafe { vmaxnmq_f32(a[i], vdupq_n_f32(0.0)) })
    }

    #[inline(always)]
    fn guarded_div(self, r: Four, z: Four, least: f32) -> (Four, bool) {
        // SAFETY: the target includes NEON.
        unsafe {
            let least = vdupq_n_f32(least);
            let alive = z.map(|z| vcgtq_f32(z, least));
            // A lane is fine if it's alive or had nothing to lose; NaN isn't equal to zero.
            let fine = |i: usize| vorrq_u32(alive[i], vceqzq_f32(r[i]));
            let all = vandq_u32(vandq_u32(fine(0), fine(1)), vandq_u32(fine(2), fine(3)));
            let s = each(|i| {
                let bits = vreinterpretq_u32_f32(vdivq_f32(r[i], z[i]));
                vreinterpretq_f32_u32(vandq_u32(alive[i], bits))
            });
            (s, vminvq_u32(all) == 0)
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        // SAFETY: a prefetch reads nothing and can't fault.
        unsafe {
            asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags));
        }
    }

    #[inline(always)]
    fn transpose(self, rows: [Four; PANEL]) -> [Four; PANEL] {
        let mut turned = rows;
        for i in 0..4 {
            for j in 0..4 {
                let block = transpose4(each(|r| rows[4 * i + r][j]));
                for (r, row) in block.into_iter().enumerate() {
                    turned[4 * j + r][i] = row;
                }
            }
        }
        turned
    }

    #[inline(always)]
    fn sum(self, row: Four) -> f32 {
        // SAFETY: the target includes NEON. Each lane with the one eight, four, two and one further, as the default does.
        unsafe {
            let four = vaddq_f32(vaddq_f32(row[0], row[2]), vaddq_f32(row[1], row[3]));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }
}

/// Four rows of four: pairs of lanes change places, then pairs of pairs.
#[inline(always)]
fn transpose4(r: Four) -> Four {
    // SAFETY: register operations of NEON, which the target includes.
    unsafe {
        let pairs = [
            vtrn1q_f32(r[0], r[1]),
            vtrn2q_f32(r[0], r[1]),
            vtrn1q_f32(r[2], r[3]),
            vtrn2q_f32(r[2], r[3]),
        ]
        .map(|v| vreinterpretq_f64_f32(v));
        [
            vtrn1q_f64(pairs[0], pairs[2]),
            vtrn1q_f64(pairs[1], pairs[3]),
            vtrn2q_f64(pairs[0], pairs[2]),
            vtrn2q_f64(pairs[1], pairs[3]),
        ]
        .map(|v| vreinterpretq_f32_f64(v))
    }
}
