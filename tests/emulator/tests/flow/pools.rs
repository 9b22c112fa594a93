//! Pools, both ways.

use elucid::lower::flow;
use elucid_core::Shape;
use elucid_core::graph::{Op, Pool};
use elucid_core::op::pool;
use elucid_core::rule::{Dead, PoolRule};

use crate::device::{Random, assert_near, assert_same_bits, context, devices};

/// Kernel, stride and padding.
const POOLS: [(u16, u16, u16); 8] = [
    (3, 2, 1),
    (2, 2, 0),
    (3, 1, 1),
    (2, 3, 1),
    (1, 1, 0),
    (5, 2, 2),
    (2, 2, 1),
    (3, 3, 0),
];

const INPUTS: [(u32, u32, u32); 7] = [
    (1, 1, 1),
    (4, 4, 4),
    (5, 7, 3),
    (9, 8, 8),
    (3, 10, 17),
    (2, 3, 20),
    (14, 13, 2),
];

/// All pools with the shapes they fit.
pub fn pools() -> impl Iterator<Item = (Pool, [Shape; 2])> {
    POOLS.into_iter().flat_map(|(kernel, stride, pad)| {
        let p = Pool {
            kernel,
            stride,
            pad,
        };
        INPUTS.into_iter().filter_map(move |(h, w, c)| {
            let input = Shape::new(h, w, c);
            let output = Op::MaxPool(p).infer(input, Shape::default())?;
            Some((p, [input, output]))
        })
    })
}

#[test]
fn maxima_equal_the_cpus() {
    for device in devices() {
        for (p, [input, output]) in pools() {
            if !device.takes(input.elements()) {
                continue;
            }
            let images = 2;
            let mut random = Random::new(input.elements());
            let mut x = random.numbers(images * input.elements());
            x[0] = f32::NAN;
            let mut want = vec![0.0; images * output.elements()];
            let parts = want.chunks_mut(output.elements());
            for (x, y) in x.chunks(input.elements()).zip(parts) {
                pool::max_forward(&context(), &p, (input, output), x, y);
            }
            let y = device.tensor("y", &vec![9.0; want.len()]);
            let x = device.tensor("x", &x);
            let shapes = [input, output];
            device.do_as(|to| {
                flow::max_forward(to, &p, shapes, images, x.address(), y.address());
            });
            assert_same_bits(&y.values(), &want, &format!("{p:?} {input:?}"));
        }
    }
}

#[test]
fn relevance_of_maxima_equals_the_cpus() {
    let rules = [
        (PoolRule::Winner, 0.0),
        (PoolRule::StrideAverage, 1e-5),
        (PoolRule::StrideAverage, 0.0),
        (PoolRule::WindowAverage, 1e-6),
        (PoolRule::WindowAverage, 0.0),
    ];
    for device in devices() {
        for (p, [input, output]) in pools() {
            if !device.takes(input.elements()) {
                continue;
            }
            let mut random = Random::new(input.elements() + usize::from(p.kernel));
            let mut a = random.activations(input.elements());
            let (r, held) = (
                random.numbers(output.elements()),
                random.numbers(input.elements()),
            );
            for (rule, accumulate) in rules.into_iter().flat_map(|r| [(r, false), (r, true)]) {
                if rule.0 == PoolRule::Winner && accumulate {
                    // What the largest is if something isn't a number.
                    a[input.elements() / 2] = f32::NAN;
                    a[0] = f32::NEG_INFINITY;
                } else {
                    a.iter_mut().for_each(|v| *v = v.max(0.0));
                }
                let mut want = held.clone();
                let shapes = (input, output);
                pool::max_relevance(
                    &context(),
                    &p,
                    shapes,
                    (&a, &r),
                    rule,
                    accumulate,
                    &mut want,
                );
                let (from, kept) = (device.tensor("a", &a), device.tensor("r", &r));
                let out = device.tensor("out", &held);
                let (operands, at) = ((from.address(), kept.address()), out.address());
                let shapes = [input, output];
                device.do_as(|to| {
                    flow::max_relevance(to, &p, shapes, operands, rule, accumulate, at);
                });
                let what = format!("{rule:?} {p:?} {input:?}, accumulate {accumulate}");
                assert_same_bits(&out.values(), &want, &what);
            }
        }
    }
}

/// Pixels and channels of averages.
pub const AVERAGES: [(u32, u32, u32); 7] = [
    (1, 1, 1),
    (2, 2, 2),
    (7, 7, 64),
    (3, 5, 33),
    (1, 9, 100),
    (20, 30, 5),
    (4, 4, 32),
];

#[test]
fn averages_are_the_cpus_to_rounding() {
    for device in devices() {
        for (h, w, c) in AVERAGES {
            if !device.takes((h * w * c) as usize) {
                continue;
            }
            let (input, images) = (Shape::new(h, w, c), 3);
            let x = Random::new(input.elements()).draws(images * input.elements());
            let mut want = vec![0.0; images * c as usize];
            let parts = want.chunks_mut(c as usize);
            for (x, y) in x.chunks(input.elements()).zip(parts) {
                pool::average_forward(&context(), input, x, y);
            }
            let y = device.tensor("y", &vec![9.0; want.len()]);
            let x = device.tensor("x", &x);
            device.do_as(|to| flow::average_forward(to, input, images, x.address(), y.address()));
            assert_near(&y.values(), &want, (1e-7, 1e-6), &format!("{input:?}"));
        }
    }
}

#[test]
fn relevance_of_averages_is_the_cpus_to_rounding() {
    let rules = [
        (0.0, Dead::Redistribute),
        (1e-5, Dead::Sink),
        (0.0, Dead::Sink),
        (1e-6, Dead::Redistribute),
    ];
    for device in devices() {
        for (h, w, c) in AVERAGES {
            if !device.takes((h * w * c) as usize) {
                continue;
            }
            let input = Shape::new(h, w, c);
            let mut random = Random::new(input.elements());
            let mut a = random.activations(input.elements());
            // A channel without a denominator.
            a.iter_mut().step_by(c as usize).for_each(|a| *a = 0.0);
            let (r, held) = (random.draws(c as usize), random.draws(input.elements()));
            for (rule, accumulate) in rules.into_iter().flat_map(|r| [(r, false), (r, true)]) {
                let mut want = held.clone();
                pool::average_relevance(&context(), input, (&a, &r), rule, accumulate, &mut want);
                let (from, kept) = (device.tensor("a", &a), device.tensor("r", &r));
                let out = device.tensor("out", &held);
                let (operands, at) = ((from.address(), kept.address()), out.address());
                device.do_as(|to| {
                    flow::average_relevance(to, input, operands, rule, accumulate, at);
                });
                let what = format!("{rule:?} {input:?}, accumulate {accumulate}");
                assert_near(&out.values(), &want, (3e-7, 1e-6), &what);
            }
            for accumulate in [false, true] {
                let mut want = held.clone();
                pool::average_gradient(&context(), input, &r, accumulate, &mut want);
                let (kept, out) = (device.tensor("r", &r), device.tensor("out", &held));
                let (r, at) = (kept.address(), out.address());
                device.do_as(|to| flow::average_gradient(to, input, r, accumulate, at));
                assert_same_bits(&out.values(), &want, &format!("gradient {input:?}"));
            }
        }
    }
}
