//! Golden vectors of the reference implementation's layers and a naive double-precision convolution on odd shapes.

extern crate std;

use std::vec;
use std::vec::Vec;

use super::*;
use crate::graph::{Activation, NONE};
use crate::op::pack;
use crate::par::Serial;
use crate::simd::Isa;
use half::f16;

/// z+ with its eps.
type Rule = (f32, Dead);
const PAPER: Rule = (1e-5, Dead::Sink);
const EXACT: Rule = (0.0, Dead::Redistribute);

pub(super) fn conv(ci: u32, co: u32, kernel: u16, stride: u16, pad: u16) -> Conv {
    Conv {
        ci,
        co,
        kh: kernel,
        kw: kernel,
        stride,
        pad,
        weight: 0,
        scale: NONE,
        shift: NONE,
        act: Activation::Identity,
    }
}

/// One layer with its numbers, run through the kernels.
pub(super) struct Case {
    pub(super) c: Conv,
    pub(super) input: Shape,
    pub(super) output: Shape,
    weights: Vec<f32>,
    isa: Isa,
}

impl Case {
    pub(super) fn new(c: Conv, (h, w): (u32, u32), weights: Vec<f32>, isa: Isa) -> Self {
        let input = Shape::new(h, w, c.ci);
        let output = crate::graph::Op::Conv(c)
            .infer(input, Shape::default())
            .unwrap();
        Self {
            c,
            input,
            output,
            weights,
            isa,
        }
    }

    pub(super) fn panels(&self) -> Vec<f32> {
        let mut panels = vec![0.0; self.c.stored()];
        pack(&self.c, &self.weights, &mut panels);
        panels
    }

    /// Relevance of the input; of an image that is seen as ones without `a`, summed over its channels.
    fn relevance(&self, a: Option<&[f32]>, r: &[f32], rule: Rule, half: bool) -> (Vec<f32>, Sinks) {
        let (c, shapes) = (&self.c, (self.input, self.output));
        let zero = vec![0.0; zeros(c)];
        let cx = Context {
            isa: self.isa,
            pool: &Serial,
            zero: &zero,
            audit: true,
        };
        let panels = self.panels();
        let halves: Vec<f16> = panels.iter().map(|&v| f16::from_f32(v)).collect();
        let w = if half {
            Weights::F16(&halves)
        } else {
            Weights::F32(&panels)
        };
        let (cells, room) = match a {
            Some(_) => (
                self.input.elements(),
                relevance_scratch(c, self.input, self.output, 1, 2),
            ),
            None => (self.input.pixels(), ones::scratch(c, self.output, 1)),
        };
        let mut scratch = vec![7.0; room];
        let mut run = |pass, accumulate, out: &mut [f32]| {
            let (w, out) = ((w, rule), (out, &mut scratch[..]));
            match a {
                Some(a) => relevance(&cx, c, shapes, (a, r), w, (pass, accumulate), out),
                None => ones::relevance(&cx, c, shapes, r, w, accumulate, out),
            }
        };
        let mut out = vec![5.0; cells];
        let sinks = run(Pass::Only, false, &mut out);
        // Adding to what is there gives the same on top.
        let mut more = vec![1.0; out.len()];
        run(Pass::Only, true, &mut more);
        for (m, o) in more.iter().zip(&out) {
            assert!((m - 1.0 - o).abs() <= 1e-5 * (1.0 + o.abs()));
        }
        // Several maps share their denominators and get the same bits.
        for pass in [Pass::First, Pass::Again] {
            let mut other = vec![5.0; cells];
            assert_eq!(run(pass, false, &mut other), sinks);
            assert_eq!(other, out);
        }
        (out, sinks)
    }

    /// The derivative by the input, written and added.
    fn gradient(&self, s: &[f32], threads: usize) -> Vec<f32> {
        let (c, shapes) = (&self.c, (self.input, self.output));
        let zero = vec![0.0; zeros(c)];
        let cx = Context {
            isa: self.isa,
            pool: &Serial,
            zero: &zero,
            audit: false,
        };
        let panels = self.panels();
        let w = Weights::F32(&panels);
        let mut scratch = vec![7.0; gradient_scratch(c, threads)];
        let mut out = vec![5.0; self.input.elements()];
        gradient(&cx, c, shapes, s, w, false, (&mut out, &mut scratch));
        let mut more = vec![1.0; out.len()];
        gradient(&cx, c, shapes, s, w, true, (&mut more, &mut scratch));
        for (m, o) in more.iter().zip(&out) {
            assert!((m - 1.0 - o).abs() <= 1e-5 * (1.0 + o.abs()));
        }
        out
    }

    fn forward(&self, x: &[f32], finish: Finish<'_>) -> Vec<f32> {
        let zero = vec![0.0; zeros(&self.c)];
        let cx = Context {
            isa: self.isa,
            pool: &Serial,
            zero: &zero,
            audit: false,
        };
        let mut scratch = vec![7.0; forward_scratch(&self.c, self.input)];
        let mut y = vec![5.0; x.len() / self.input.elements() * self.output.elements()];
        let panels = self.panels();
        let w = Weights::F32(&panels);
        forward(
            &cx,
            &self.c,
            (self.input, self.output),
            x,
            w,
            finish,
            (&mut y, &mut scratch),
        );
        y
    }

    /// Every (input cell, output cell, weight) of the layer.
    pub(super) fn links(&self, mut f: impl FnMut(usize, usize, f64)) {
        let (c, taps) = (&self.c, self.c.taps());
        for p in 0..self.output.pixels() {
            let (oy, ox) = (
                p as i64 / i64::from(self.output.w),
                p as i64 % i64::from(self.output.w),
            );
            for tap in 0..taps {
                let y = oy * i64::from(c.stride) - i64::from(c.pad) + tap as i64 / i64::from(c.kw);
                let x = ox * i64::from(c.stride) - i64::from(c.pad) + tap as i64 % i64::from(c.kw);
                if y < 0 || x < 0 || y >= i64::from(self.input.h) || x >= i64::from(self.input.w) {
                    continue;
                }
                for o in 0..c.co as usize {
                    for i in 0..c.ci as usize {
                        let cell =
                            (y as usize * self.input.w as usize + x as usize) * c.ci as usize + i;
                        let w = self.weights[(o * c.ci as usize + i) * taps + tap];
                        f(cell, p * c.co as usize + o, f64::from(w));
                    }
                }
            }
        }
    }
}

pub(super) fn close(got: &[f32], want: &[f64], tolerance: f64) {
    let most = want.iter().fold(1e-30, |m: f64, w| m.max(w.abs()));
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!(
            (f64::from(g) - w).abs() <= tolerance * most,
            "entry {i}: got {g}, want {w} (largest {most})"
        );
    }
}

pub(super) fn random(n: usize, seed: u32, low: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        low + (state >> 8) as f32 / (1 << 24) as f32 * (1.0 - low)
    };
    (0..n).map(|_| next()).collect()
}

pub(super) fn sets() -> impl Iterator<Item = Isa> {
    Isa::available()
}

#[test]
fn golden_vectors_of_the_reference_layers() {
    for isa in sets() {
        // 1x1, two channels, two pixels; the 2.0 at channel 0 of pixel 1 has a dead receptive field.
        let case = Case::new(conv(2, 2, 1, 1, 0), (1, 2), vec![1., -2., 0.5, 3.], isa);
        let (got, sinks) = case.relevance(Some(&[1., 2., 0., 4.]), &[1., 3., 2., 4.], PAPER, false);
        close(&got, &[1.2307589, 2.7692266, 0., 3.9999969], 1e-6);
        assert!((sinks.dead - 2.0).abs() < 1e-6, "{sinks:?}");
        let (got, sinks) = case.relevance(Some(&[1., 2., 0., 4.]), &[1., 3., 2., 4.], EXACT, false);
        assert!((got.iter().sum::<f32>() - 10.0).abs() < 1e-5 && sinks.redistributed == 2.0);
        // Linear, as one pixel.
        let case = Case::new(
            conv(3, 2, 1, 1, 0),
            (1, 1),
            vec![1., -1., 2., 0.5, 0.5, -3.],
            isa,
        );
        let (got, _) = case.relevance(Some(&[1., 2., 3.]), &[0.5, 0.2], PAPER, false);
        close(&got, &[0.1380947, 0.1333325, 0.4285708], 1e-6);
        // The first layer: ones instead of an image.
        let case = Case::new(
            conv(1, 1, 3, 1, 1),
            (3, 3),
            vec![1., -1., 2., 0., 1., -3., 4., 0., 1.],
            isa,
        );
        let r: Vec<f32> = (1..10).map(|v| v as f32).collect();
        let (got, _) = case.relevance(None, &r, PAPER, true);
        let want = [
            1.0555525, 3.3333261, 1.7111087, 4.3333235, 12.6221762, 5.3333216, 4.5555458,
            6.9999862, 5.0555325,
        ];
        close(&got, &want, 1e-6);
        // 1x1 of stride 2 touches a quarter of the pixels.
        let case = Case::new(conv(1, 1, 1, 2, 0), (4, 4), vec![2.0], isa);
        let a: Vec<f32> = (1..17).map(|v| v as f32).collect();
        let (got, _) = case.relevance(Some(&a), &[1.0; 4], PAPER, false);
        let want: Vec<f64> = (0..16)
            .map(|i| f64::from(u8::from(i / 4 % 2 == 0 && i % 2 == 0)))
            .collect();
        close(&got, &want, 6e-6);
    }
}

#[test]
fn odd_shapes_agree_with_a_naive_convolution() {
    let cases = [
        (conv(5, 7, 3, 1, 1), (4, 5)),
        (conv(3, 20, 7, 2, 3), (13, 10)),
        (conv(4, 33, 3, 2, 1), (7, 9)),
        (conv(17, 16, 1, 2, 0), (5, 5)),
        (conv(32, 40, 3, 2, 1), (9, 6)),
        (conv(70, 19, 1, 1, 0), (3, 17)),
        (conv(18, 2, 5, 3, 2), (11, 8)),
        (conv(1, 1, 3, 1, 1), (1, 1)),
    ];
    for isa in sets() {
        for (n, &(c, size)) in cases.iter().enumerate() {
            let count = (c.co * c.ci) as usize * c.taps();
            let case = Case::new(c, size, random(count, n as u32, -1.0), isa);
            let mut a = random(case.input.elements(), 90 + n as u32, 0.0);
            // Half of what a ReLU leaves is zero.
            a.iter_mut().step_by(2).for_each(|v| *v = 0.0);
            let x = random(case.input.elements(), 70 + n as u32, -1.0);
            let r = random(case.output.elements(), 50 + n as u32, 0.0);
            let co = c.co as usize;
            let (scale, shift) = (random(co, 3, -1.0), random(co, 4, -1.0));
            let skip = random(r.len(), 5, -1.0);
            let mut want = vec![0f64; r.len()];
            case.links(|i, o, w| want[o] += f64::from(a[i]) * w);
            let bare = want.clone();
            for (o, y) in want.iter_mut().enumerate() {
                let channel = o % co;
                *y = (*y * f64::from(scale[channel])
                    + f64::from(shift[channel])
                    + f64::from(skip[o]))
                .max(0.0);
            }
            let finish = Finish {
                scale: Some(&scale),
                shift: Some(&shift),
                skip: Some(&skip),
                act: Activation::Relu,
            };
            close(&case.forward(&a, finish), &want, 2e-6);
            close(&case.forward(&a, Finish::default()), &bare, 2e-6);
            // A batch is its images one after the other, bit for bit.
            let (pair, skips) = ([&a[..], &x[..]].concat(), [&skip[..], &r[..]].concat());
            let both = Finish {
                skip: Some(&skips),
                ..finish
            };
            let second = Finish {
                skip: Some(&r),
                ..finish
            };
            let alone = [case.forward(&a, finish), case.forward(&x, second)].concat();
            assert_eq!(case.forward(&pair, both), alone);

            let signed = random(r.len(), 6, -1.0);
            let mut want = vec![0f64; a.len()];
            case.links(|i, o, w| want[i] += w * f64::from(signed[o]));
            close(&case.gradient(&signed, 1 + a.len() % 2), &want, 2e-6);

            for (input, rule) in [
                (Some(&a[..]), PAPER),
                (Some(&a[..]), EXACT),
                (None, PAPER),
                (None, EXACT),
            ] {
                if input.is_none() && !narrow(&c) {
                    continue;
                }
                let (eps, dead) = rule;
                let value = |i: usize| input.map_or(1.0, |a| f64::from(a[i]));
                let (mut z, mut plus, mut fan) = (
                    vec![0f64; r.len()],
                    vec![0f64; r.len()],
                    vec![0f64; r.len()],
                );
                case.links(|i, o, w| {
                    z[o] += value(i) * w.max(0.0);
                    plus[o] += w.max(0.0);
                    fan[o] += 1.0;
                });
                let mut want = vec![0f64; a.len()];
                case.links(|i, o, w| {
                    let (w, r) = (w.max(0.0), f64::from(r[o]));
                    want[i] += if z[o] + f64::from(eps) > 0.0 {
                        value(i) * w * r / (z[o] + f64::from(eps))
                    } else if dead == Dead::Sink {
                        0.0
                    } else if plus[o] > 0.0 {
                        w * r / plus[o]
                    } else {
                        r / fan[o]
                    };
                });
                if input.is_none() {
                    want = want
                        .chunks(c.ci as usize)
                        .map(|pixel| pixel.iter().sum())
                        .collect();
                }
                let (got, sinks) = case.relevance(input, &r, rule, false);
                close(&got, &want, 4e-6);
                let (r_sum, got_sum) = (crate::math::sum(&r), crate::math::sum(&got));
                assert!(
                    (r_sum - got_sum - sinks.eps - sinks.dead).abs() < 1e-5 * r_sum,
                    "{c:?} {sinks:?}"
                );
            }
        }
    }
}
