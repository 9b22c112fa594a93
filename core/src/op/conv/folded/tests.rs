//! zennit's rules against their formulas in double precision, on odd shapes and with negative scales.

extern crate std;

use std::vec;
use std::vec::Vec;

use super::*;
use crate::op::conv::tests::{Case, close, conv, random, sets};
use crate::op::conv::zeros;
use crate::par::Serial;

/// The rules as formulas over the links of a layer, in f64: `x`, `w`, `b` to what they give.
type Share = fn(f64, f64) -> f64;
/// What counts of a bias.
type OfBias = fn(f64) -> f64;

fn plus(v: f64) -> f64 {
    v.max(0.0)
}

fn minus(v: f64) -> f64 {
    v.min(0.0)
}

/// Each group's contribution of an input, its bias, and its factor.
fn formulas(kind: Kind) -> Vec<(Share, OfBias, f64)> {
    match kind {
        Kind::Epsilon => vec![(|x, w| x * w, |b| b, 1.0)],
        Kind::AlphaBeta { alpha, beta } => vec![
            (
                |x, w| plus(x) * plus(w) + minus(x) * minus(w),
                plus,
                alpha.into(),
            ),
            (
                |x, w| plus(x) * minus(w) + minus(x) * plus(w),
                minus,
                -f64::from(beta),
            ),
        ],
        Kind::Gamma { .. } => vec![
            (
                |x, w| plus(x) * (w + 0.5 * plus(w)) + minus(x) * (w + 0.5 * minus(w)),
                |b| b + 0.5 * plus(b),
                1.0,
            ),
            (
                |x, w| plus(x) * (w + 0.5 * minus(w)) + minus(x) * (w + 0.5 * plus(w)),
                |b| b + 0.5 * minus(b),
                1.0,
            ),
        ],
        Kind::Flat => vec![(|_, _| 1.0, |_| 0.0, 1.0)],
        Kind::WSquare => vec![(|_, w| w * w, |b| b * b, 1.0)],
        Kind::ZBox { .. } => vec![(
            |x, w| x * w + 1.5 * plus(w) - 1.25 * minus(w),
            |b| b - plus(b) - minus(b),
            1.0,
        )],
    }
}

#[test]
fn rules_agree_with_their_formulas() {
    const EPS: f32 = 0.25;
    let kinds = [
        Kind::Epsilon,
        Kind::AlphaBeta {
            alpha: 1.0,
            beta: 0.0,
        },
        Kind::AlphaBeta {
            alpha: 2.0,
            beta: 1.0,
        },
        Kind::Gamma { gamma: 0.5 },
        Kind::Flat,
        Kind::WSquare,
        Kind::ZBox {
            low: [-1.5; 3],
            high: [1.25; 3],
        },
    ];
    for isa in sets() {
        for (n, (c, size)) in [
            (conv(5, 7, 3, 1, 1), (4, 5)),
            (conv(3, 20, 7, 2, 3), (13, 10)),
            (conv(17, 16, 1, 2, 0), (5, 5)),
            (conv(18, 34, 3, 2, 1), (7, 6)),
            (conv(1, 1, 3, 1, 1), (1, 1)),
        ]
        .into_iter()
        .enumerate()
        {
            let n = n as u32;
            let co = c.co as usize;
            let count = co * c.ci as usize * c.taps();
            let case = Case::new(c, size, random(count, n, -1.0), isa);
            let (scale, shift) = (random(co, 3, -1.0), random(co, 4, -1.0));
            let r = random(case.output.elements(), 50 + n, -1.0);
            for (kind, low, bias) in kinds
                .iter()
                .flat_map(|&k| [(k, 0.0, true), (k, -1.0, true), (k, -1.0, false)])
            {
                let a = random(case.input.elements(), 70 + n, low);
                let folded = |o: usize, w: f64| w * f64::from(scale[o % co]);
                let b = |o: usize| if bias { f64::from(shift[o % co]) } else { 0.0 };
                let mut whole: Vec<f64> = (0..r.len()).map(|o| f64::from(shift[o % co])).collect();
                case.links(|i, o, w| whole[o] += f64::from(a[i]) * folded(o, w));
                let mut want = vec![0f64; a.len()];
                for (group, (share, of_bias, factor)) in formulas(kind).into_iter().enumerate() {
                    let mut z: Vec<f64> = (0..r.len()).map(|o| of_bias(b(o))).collect();
                    case.links(|i, o, w| z[o] += share(f64::from(a[i]), folded(o, w)));
                    case.links(|i, o, w| {
                        let passes = match (kind, group) {
                            (Kind::Gamma { .. }, 0) => whole[o] > 0.0,
                            (Kind::Gamma { .. }, _) => whole[o] < 0.0,
                            _ => true,
                        };
                        let s = f64::from(r[o]) / (z[o] + f64::from(EPS).copysign(z[o]));
                        if passes {
                            want[i] += factor * s * share(f64::from(a[i]), folded(o, w));
                        }
                    });
                }
                let zero = vec![0.0; zeros(&c)];
                let cx = Context {
                    isa,
                    pool: &Serial,
                    zero: &zero,
                    audit: false,
                };
                let panels = case.panels();
                let w = (Weights::F32(&panels), (Some(&scale[..]), Some(&shift[..])));
                let rule = Folded {
                    kind,
                    eps: EPS,
                    bias,
                };
                let shapes = (case.input, case.output);
                let mut scratch = vec![7.0; scratch(&c, case.input, case.output, 1)];
                let mut run = |accumulate, out: &mut [f32]| {
                    let out = (out, &mut scratch[..]);
                    relevance(&cx, &c, shapes, (&a, &r), w, (rule, accumulate), out);
                };
                let (mut out, mut more) = (vec![5.0; a.len()], vec![1.0; a.len()]);
                run(false, &mut out);
                close(&out, &want, 2e-5);
                run(true, &mut more);
                let more: Vec<f32> = more.iter().map(|v| v - 1.0).collect();
                let most = out.iter().fold(1.0, |m: f32, v| m.max(v.abs()));
                for (m, o) in more.iter().zip(&out) {
                    assert!((m - o).abs() <= 1e-5 * most, "{kind:?}");
                }
            }
        }
    }
}
