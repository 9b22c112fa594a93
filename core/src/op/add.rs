//! Residual addition, and relevance splitting where it is undone.
//!
//! Splitting (paper, eq. for `R_s`, `R_m`): `R_m = R |m| / (|m| + |s|)`, `R_s = R - R_m`, or half and half. Where both
//! branches are 0 the reference gives NaN; here each gets half. Derivatives aren't split: each branch gets all.

use core::ops::Range;

use crate::op::Context;
use crate::rule::{Share, ZENNIT_EPS};
use crate::simd::{Lanes, Task};

/// `y = relu?(m + s)`, all of one shape.
pub fn forward(cx: &Context<'_>, (m, s): (&[f32], &[f32]), relu: bool, y: &mut [f32]) {
    cx.isa.run(Sum { m, s, relu, y });
}

struct Sum<'a> {
    m: &'a [f32],
    s: &'a [f32],
    relu: bool,
    y: &'a mut [f32],
}

impl Task for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        for ((y, &m), &s) in self.y.iter_mut().zip(self.m).zip(self.s) {
            let sum = m + s;
            *y = if self.relu && sum < 0.0 { 0.0 } else { sum };
        }
    }
}

/// Splits `r` in place: it keeps the residual branch's share, `skip` gets the rest (added to it with `accumulate`).
/// `branches` are the two summands, needed only where [`Share::reads`] them. Only the `live` ones of the skip branch's channels
/// can pass relevance on; on the others all of it goes to the residual branch.
pub fn split(
    cx: &Context<'_>,
    share: Share,
    branches: (&[f32], &[f32]),
    (channels, live): (usize, Range<usize>),
    accumulate: bool,
    (r, skip): (&mut [f32], &mut [f32]),
) {
    if live == (0..channels) {
        splitting(cx, share, branches, accumulate, (r, skip));
        return;
    }
    if !accumulate {
        skip.fill(0.0);
    }
    for at in (0..r.len())
        .step_by(channels.max(1))
        .map(|pixel| pixel + live.start..pixel + live.end)
    {
        let (m, s) = branches;
        let some = |b: &[f32]| if b.is_empty() { 0..0 } else { at.clone() };
        let branches = (&m[some(m)], &s[some(s)]);
        let parts = (&mut r[at.clone()], &mut skip[at.clone()]);
        splitting(cx, share, branches, true, parts);
    }
}

fn splitting(
    cx: &Context<'_>,
    share: Share,
    branches: (&[f32], &[f32]),
    accumulate: bool,
    (r, skip): (&mut [f32], &mut [f32]),
) {
    if accumulate {
        cx.isa.run(Splitting::<true> {
            share,
            branches,
            r,
            skip,
        });
    } else {
        cx.isa.run(Splitting::<false> {
            share,
            branches,
            r,
            skip,
        });
    }
}

/// Adds to the skip branch's share, or writes it with `ADD` false.
struct Splitting<'a, const ADD: bool> {
    share: Share,
    branches: (&'a [f32], &'a [f32]),
    r: &'a mut [f32],
    skip: &'a mut [f32],
}

impl<const ADD: bool> Task for Splitting<'_, ADD> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        match self.share {
            Share::Residual if ADD => {}
            Share::Residual => self.skip.fill(0.0),
            Share::Half => {
                for (r, skip) in self.r.iter_mut().zip(self.skip) {
                    *r *= 0.5;
                    // Added to zero where nothing was: a negative zero comes out the same either way.
                    *skip = if ADD { *skip } else { 0.0 } + *r;
                }
            }
            Share::Ratio => {
                let (m, s) = self.branches;
                for (((r, skip), &m), &s) in self.r.iter_mut().zip(self.skip).zip(m).zip(s) {
                    let (m, s) = (m.abs(), s.abs());
                    let both = m + s;
                    let rho = if both > 0.0 { m / both } else { 0.5 };
                    let residual = *r * rho;
                    let rest = *r - residual;
                    *skip = if ADD { *skip } else { 0.0 } + rest;
                    *r = residual;
                }
            }
            Share::Signed => {
                let (m, s) = self.branches;
                for (((r, skip), &m), &s) in self.r.iter_mut().zip(self.skip).zip(m).zip(s) {
                    let sum = m + s;
                    let t = *r / (sum + if sum < 0.0 { -ZENNIT_EPS } else { ZENNIT_EPS });
                    *skip = if ADD { *skip } else { 0.0 } + s * t;
                    *r = m * t;
                }
            }
            Share::Both => {
                for (&mut r, skip) in self.r.iter_mut().zip(self.skip) {
                    *skip = if ADD { *skip } else { 0.0 } + r;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::par::Serial;
    use crate::simd::Isa;

    #[test]
    fn parts_sum_to_the_whole_and_nothing_over_nothing_is_a_half() {
        let cx = Context {
            isa: Isa::detect(),
            pool: &Serial,
            zero: &[],
            audit: false,
        };
        let (m, s) = ([-0.1, 3.0, 0.0, 0.0, 1e-30], [1.0, -1.0, 0.0, 2.0, 0.0]);
        let before = [1.0, 2.0, 3.0, 4.0, 5.0];
        for share in [Share::Residual, Share::Half, Share::Ratio] {
            let (mut r, mut skip) = (before, [9.0; 5]);
            split(&cx, share, (&m, &s), (1, 0..1), false, (&mut r, &mut skip));
            for i in 0..5 {
                assert!((r[i] + skip[i] - before[i]).abs() <= f32::EPSILON * before[i]);
            }
            if share == Share::Ratio {
                assert_eq!((r[2], skip[2], r[3], r[4]), (1.5, 1.5, 0.0, 5.0));
            }
        }
        let (mut r, mut skip) = (before, [9.0; 5]);
        let parts = (&mut r[..], &mut skip[..]);
        split(&cx, Share::Signed, (&m, &s), (1, 0..1), false, parts);
        for i in 0..5 {
            let z = m[i] + s[i] + ZENNIT_EPS;
            assert!((r[i] - before[i] * m[i] / z).abs() <= 1e-6 * before[i] / z.abs());
            assert!((skip[i] - before[i] * s[i] / z).abs() <= 1e-6 * before[i] / z.abs());
        }
        let (mut r, mut skip) = (before, [1.0; 5]);
        for (accumulate, more) in [(false, 0.0), (true, 1.0)] {
            let parts = (&mut r[..], &mut skip[..]);
            split(&cx, Share::Both, (&[], &[]), (1, 0..1), accumulate, parts);
            assert_eq!(r, before);
            assert_eq!(skip, before.map(|r| r + more * r));
        }
    }
}
