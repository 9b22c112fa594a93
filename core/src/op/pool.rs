//! Max pool and global average pool, with their relevance.

use crate::graph::{PANEL, Pool};
use crate::op::{Context, LEAST_Z, Sinks};
use crate::rule::{Dead, PoolRule};
use crate::shape::Shape;
use crate::simd::{Lanes, Task};

/// Pixels of the input that lie in the window of output row `y` and column `x`, top to bottom, left to right.
fn window(
    (kernel, stride, pad): (u16, u16, u16),
    input: Shape,
    (y, x): (u32, u32),
) -> impl Iterator<Item = usize> + Clone {
    let range = move |o: u32, size: u32| {
        let start = o * u32::from(stride);
        let end = (start + u32::from(kernel))
            .saturating_sub(u32::from(pad))
            .min(size);
        start.saturating_sub(u32::from(pad)).min(end)..end
    };
    let columns = range(x, input.w);
    range(y, input.h)
        .flat_map(move |iy| columns.clone().map(move |ix| (iy * input.w + ix) as usize))
}

/// All output pixels as `(index, (y, x))`.
fn outputs(output: Shape) -> impl Iterator<Item = (usize, (u32, u32))> {
    (0..output.h)
        .flat_map(move |y| (0..output.w).map(move |x| ((y * output.w + x) as usize, (y, x))))
}

/// Max pool, `[h, w, c] -> [h', w', c]`.
pub fn max_forward(cx: &Context<'_>, p: &Pool, shapes: (Shape, Shape), x: &[f32], y: &mut [f32]) {
    cx.isa.run(Max { p, shapes, x, y });
}

struct Max<'a> {
    p: &'a Pool,
    shapes: (Shape, Shape),
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Task for Max<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let (input, output) = self.shapes;
        let c = input.c as usize;
        for (index, at) in outputs(output) {
            let y = &mut self.y[index * c..][..c];
            y.fill(f32::NEG_INFINITY);
            for pixel in window((self.p.kernel, self.p.stride, self.p.pad), input, at) {
                for (y, &x) in y.iter_mut().zip(&self.x[pixel * c..][..c]) {
                    *y = if x > *y { x } else { *y };
                }
            }
        }
    }
}

/// Relevance of a max pool's input. Windows that average may overlap, so the result is always added to `out`, which is
/// cleared first unless `accumulate`.
pub fn max_relevance(
    cx: &Context<'_>,
    p: &Pool,
    shapes: (Shape, Shape),
    (a, r): (&[f32], &[f32]),
    (rule, eps): (PoolRule, f32),
    accumulate: bool,
    out: &mut [f32],
) -> Sinks {
    if !accumulate {
        out.fill(0.0);
    }
    let geometry = match rule {
        PoolRule::Winner => {
            cx.isa.run(Winner {
                p,
                shapes,
                a,
                r,
                out,
            });
            return Sinks::default();
        }
        PoolRule::StrideAverage => (p.stride, p.stride, 0),
        PoolRule::WindowAverage => (p.kernel, p.stride, p.pad),
    };
    let (input, output) = shapes;
    let c = input.c as usize;
    let mut sinks = Sinks::default();
    for (index, at) in outputs(output) {
        let r = &r[index * c..][..c];
        let cells = window(geometry, input, at);
        let count = match rule {
            PoolRule::WindowAverage => usize::from(p.kernel) * usize::from(p.kernel),
            PoolRule::StrideAverage | PoolRule::Winner => cells.clone().count().max(1),
        } as f32;
        for (channel, &r) in r.iter().enumerate() {
            let total: f32 = cells.clone().map(|pixel| a[pixel * c + channel]).sum();
            let z = total / count + eps;
            if z <= LEAST_Z {
                sinks.dead += f64::from(r);
                continue;
            }
            let s = r / z;
            for pixel in cells.clone() {
                out[pixel * c + channel] += a[pixel * c + channel] * s / count;
            }
            if cx.audit {
                let sink = if total == 0.0 {
                    &mut sinks.dead
                } else {
                    &mut sinks.eps
                };
                *sink += f64::from(s) * f64::from(eps);
            }
        }
    }
    sinks
}

/// Adds each output's relevance to the first maximum of its window.
struct Winner<'a> {
    p: &'a Pool,
    shapes: (Shape, Shape),
    a: &'a [f32],
    r: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Winner<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let (input, output) = self.shapes;
        let c = input.c as usize;
        for (index, at) in outputs(output) {
            let cells = window((self.p.kernel, self.p.stride, self.p.pad), input, at);
            let Some(first) = cells.clone().next() else {
                continue;
            };
            for start in (0..c).step_by(PANEL) {
                let width = PANEL.min(c - start);
                let (mut best, mut place) = ([f32::NEG_INFINITY; PANEL], [first as u32; PANEL]);
                for pixel in cells.clone() {
                    let a = &self.a[pixel * c + start..][..width];
                    for ((best, place), &a) in best.iter_mut().zip(&mut place).zip(a) {
                        let more = a > *best;
                        *place = if more { pixel as u32 } else { *place };
                        *best = if more { a } else { *best };
                    }
                }
                let r = &self.r[index * c + start..][..width];
                for (channel, (&r, &place)) in (start..).zip(r.iter().zip(&place)) {
                    self.out[place as usize * c + channel] += r;
                }
            }
        }
    }
}

/// Channels that are summed side by side.
const LANES: usize = 64;

/// The sums of up to [`LANES`] channels from `first` on, in f64: a map may have millions of pixels.
#[inline(always)]
fn totals(x: &[f32], first: usize, count: usize, channels: usize) -> [f64; LANES] {
    let mut totals = [0.0; LANES];
    for pixel in x.chunks_exact(channels) {
        for (total, &v) in totals.iter_mut().zip(&pixel[first..first + count]) {
            *total += f64::from(v);
        }
    }
    totals
}

/// Global average, `[h, w, c] -> [c]`.
pub fn average_forward(cx: &Context<'_>, input: Shape, x: &[f32], y: &mut [f32]) {
    cx.isa.run(Average { input, x, y });
}

struct Average<'a> {
    input: Shape,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Task for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let (c, count) = (self.input.c as usize, self.input.pixels() as f64);
        for (first, y) in (0..c).step_by(LANES).zip(self.y.chunks_mut(LANES)) {
            for (y, total) in y
                .iter_mut()
                .zip(totals(self.x, first, LANES.min(c - first), c))
            {
                *y = (total / count) as f32;
            }
        }
    }
}

/// Relevance of a global average's input: `a / (h w) * R / (mean + eps)`. Where the denominator vanishes, even shares or
/// nothing as `dead` says.
pub fn average_relevance(
    cx: &Context<'_>,
    input: Shape,
    (a, r): (&[f32], &[f32]),
    (eps, dead): (f32, Dead),
    accumulate: bool,
    out: &mut [f32],
) -> Sinks {
    if !accumulate {
        out.fill(0.0);
    }
    cx.isa.run(Averaged {
        input,
        a,
        r,
        eps,
        dead,
        audit: cx.audit,
        out,
    })
}

/// Derivative of a global average: `R / (h w)` for every pixel, `[c] -> [h, w, c]`, written or added to `out`.
pub fn average_gradient(
    cx: &Context<'_>,
    input: Shape,
    r: &[f32],
    accumulate: bool,
    out: &mut [f32],
) {
    if !accumulate {
        out.fill(0.0);
    }
    cx.isa.run(Evenly { input, r, out });
}

struct Evenly<'a> {
    input: Shape,
    r: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Evenly<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let count = self.input.pixels() as f32;
        for pixel in self.out.chunks_exact_mut(self.r.len().max(1)) {
            for (out, &r) in pixel.iter_mut().zip(self.r) {
                *out += r / count;
            }
        }
    }
}

struct Averaged<'a> {
    input: Shape,
    a: &'a [f32],
    r: &'a [f32],
    eps: f32,
    dead: Dead,
    audit: bool,
    out: &'a mut [f32],
}

impl Task for Averaged<'_> {
    type Output = Sinks;

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) -> Sinks {
        let (c, count) = (self.input.c as usize, self.input.pixels() as f32);
        let mut sinks = Sinks::default();
        for (first, r) in (0..c).step_by(LANES).zip(self.r.chunks(LANES)) {
            let totals = totals(self.a, first, r.len(), c);
            // What a cell gets for its activation, and what it gets in any case.
            let (mut factor, mut even) = ([0f32; LANES], [0f32; LANES]);
            for (lane, (&r, total)) in r.iter().zip(totals).enumerate() {
                let z = total as f32 / count + self.eps;
                if z > LEAST_Z {
                    let s = r / z;
                    factor[lane] = s / count;
                    if self.audit {
                        let sink = if total == 0.0 {
                            &mut sinks.dead
                        } else {
                            &mut sinks.eps
                        };
                        *sink += f64::from(s) * f64::from(self.eps);
                    }
                } else if self.dead == Dead::Redistribute {
                    even[lane] = r / count;
                    sinks.redistributed += f64::from(r);
                } else {
                    sinks.dead += f64::from(r);
                }
            }
            let pixels = self.out.chunks_exact_mut(c).zip(self.a.chunks_exact(c));
            for (out, a) in pixels {
                let (out, a) = (&mut out[first..first + r.len()], &a[first..]);
                for (lane, (out, &a)) in out.iter_mut().zip(a).enumerate() {
                    *out += a * factor[lane] + even[lane];
                }
            }
        }
        sinks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::par::Serial;
    use crate::simd::Isa;

    fn context() -> Context<'static> {
        Context {
            isa: Isa::detect(),
            pool: &Serial,
            zero: &[],
            audit: true,
        }
    }

    const STEM: Pool = Pool {
        kernel: 3,
        stride: 2,
        pad: 1,
    };

    #[test]
    fn reference_pool_loses_a_dead_window_and_says_so() {
        let a = [
            0., 0., 1., 2., 0., 0., 3., 4., 1., 0., 0., 5., 0., 2., 6., 0.,
        ];
        let want = [
            0., 0., 0.0999996, 0.1999992, 0., 0., 0.2999988, 0.3999984, 0.3333289, 0., 0.,
            0.4545438, 0., 0.6666577, 0.5454525, 0.,
        ];
        let mut out = [9.0; 16];
        let shapes = (Shape::new(4, 4, 1), Shape::new(2, 2, 1));
        let rule = (PoolRule::StrideAverage, 1e-5);
        let sinks = max_relevance(
            &context(),
            &STEM,
            shapes,
            (&a, &[1.0; 4]),
            rule,
            false,
            &mut out,
        );
        for (got, want) in out.iter().zip(want) {
            assert!((got - want).abs() <= 1e-6, "{out:?}");
        }
        assert!(
            (sinks.dead - 1.0).abs() < 1e-6 && (sinks.eps - 2.1e-5).abs() < 1e-6,
            "{sinks:?}"
        );
    }

    #[test]
    fn winner_takes_all_and_ties_go_to_the_first() {
        let a = [
            0., 0., 1., 2., 0., 0., 0., 4., 1., 0., 0., 5., 0., 2., 6., 0., 1., 1., 1., 1., 1., 1.,
            1., 1., 1.,
        ];
        let shapes = (Shape::new(5, 5, 1), Shape::new(3, 3, 1));
        let mut out = [0.0; 25];
        let r: [f32; 9] = core::array::from_fn(|i| i as f32 + 1.0);
        max_relevance(
            &context(),
            &STEM,
            shapes,
            (&a, &r),
            (PoolRule::Winner, 0.0),
            false,
            &mut out,
        );
        assert_eq!(out.iter().sum::<f32>(), 45.0);
        assert_eq!(out[0], 1.0);
        let mut y = [0.0; 9];
        max_forward(&context(), &STEM, shapes, &a, &mut y);
        for (index, (oy, ox)) in outputs(shapes.1) {
            let cells = window((3, 2, 1), shapes.0, (oy, ox));
            assert_eq!(
                y[index],
                cells.map(|i| a[i]).fold(f32::NEG_INFINITY, f32::max)
            );
        }
    }

    #[test]
    fn global_average_matches_the_reference_and_spreads_a_dead_map() {
        let (a, input) = ([1., 0., 2., 0., 3., 0., 4., 0.], Shape::new(2, 2, 2));
        let mut out = [0.0; 8];
        average_relevance(
            &context(),
            input,
            (&a, &[1.0, 1.0]),
            (1e-5, Dead::Sink),
            false,
            &mut out,
        );
        for (got, want) in out
            .iter()
            .zip([0.0999996, 0., 0.1999992, 0., 0.2999988, 0., 0.3999984, 0.])
        {
            assert!((got - want).abs() < 1e-6);
        }
        let sinks = average_relevance(
            &context(),
            input,
            (&a, &[1.0, 1.0]),
            (0.0, Dead::Redistribute),
            false,
            &mut out,
        );
        assert_eq!((out[1], out[7], sinks.redistributed), (0.25, 0.25, 1.0));
    }
}
