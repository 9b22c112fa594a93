//! Operations element by element.

use std::ops::Range;

use elucid::lower::flow;
use elucid_core::Shape;
use elucid_core::graph::Subsample;
use elucid_core::op::gate::{self, Gate};
use elucid_core::op::{add, half, head, subsample};
use elucid_core::rule::Share;

use crate::device::{Device, Random, assert_same_bits, context, devices};

const SHARES: [Share; 5] = [
    Share::Residual,
    Share::Half,
    Share::Ratio,
    Share::Signed,
    Share::Both,
];

fn split_case(
    device: &Device,
    share: Share,
    (pixels, channels): (usize, usize),
    live: &Range<usize>,
) {
    let count = pixels * channels;
    let mut random = Random::new(count);
    let [m, s, r, skip] = [(); 4].map(|()| random.numbers(count));
    // Not even there where the kernel must not read them.
    let read = |v: &[f32]| share.reads().then(|| device.tensor("branch", v));
    let (residual, identity) = (read(&m), read(&s));
    let address = |t: &Option<_>| t.as_ref().map_or(0, crate::device::Tensor::address);
    let branches = (address(&residual), address(&identity));
    for accumulate in [false, true] {
        let (mut want_r, mut want_skip) = (r.clone(), skip.clone());
        let parts = (&mut want_r[..], &mut want_skip[..]);
        let elements = (channels, live.clone());
        add::split(&context(), share, (&m, &s), elements, accumulate, parts);
        let (got_r, got_skip) = (device.tensor("r", &r), device.tensor("skip", &skip));
        let parts = (got_r.address(), got_skip.address());
        let elements = (count, channels, live.clone());
        device.do_as(|to| flow::split(to, share, branches, elements, accumulate, parts));
        let what = format!(
            "{share:?} {pixels} x {channels}, live {live:?}, accumulate {accumulate}, {:?}",
            device.order
        );
        assert_same_bits(&got_r.values(), &want_r, &what);
        assert_same_bits(&got_skip.values(), &want_skip, &what);
    }
}

#[test]
fn splitting_equals_the_cpu() {
    for device in devices() {
        for (pixels, channels) in [(1, 1), (7, 3), (25, 19), (33, 64), (1, 513), (256, 1)] {
            if !device.takes(pixels * channels) {
                continue;
            }
            for share in SHARES {
                for live in [
                    0..channels,
                    channels / 3..channels - channels / 4,
                    channels..channels,
                ] {
                    split_case(&device, share, (pixels, channels), &live);
                }
            }
        }
    }
}

#[test]
fn collecting_equals_the_cpu() {
    for device in devices() {
        for (pixels, channels) in [(1, 1), (7 * 5, 3), (255, 2), (256, 3), (257, 17), (4, 1000)] {
            if !device.takes(pixels * channels) {
                continue;
            }
            let mut random = Random::new(pixels * channels);
            let (r, before) = (random.numbers(pixels * channels), random.numbers(pixels));
            for accumulate in [false, true] {
                let mut want = before.clone();
                head::collect(&r, channels, accumulate, &mut want);
                let (r, heat) = (device.tensor("r", &r), device.tensor("heat", &before));
                let size = (pixels, channels);
                device.do_as(|to| {
                    flow::collect(to, r.address(), size, accumulate, heat.address());
                });
                assert_same_bits(&heat.values(), &want, &format!("{pixels} x {channels}"));
            }
        }
    }
}

#[test]
fn adding_equals_the_cpu() {
    for device in devices() {
        for (count, relu) in [
            (1, false),
            (4, true),
            (1023, true),
            (1024, false),
            (2048, true),
        ] {
            if !device.takes(count) {
                continue;
            }
            let mut random = Random::new(count);
            let (mut m, s) = (random.numbers(count), random.numbers(count));
            m[0] = f32::NAN;
            let mut want = vec![0.0; count];
            add::forward(&context(), (&m, &s), relu, &mut want);
            let (m, s) = (device.tensor("m", &m), device.tensor("s", &s));
            let y = device.tensor("y", &vec![9.0; count]);
            let branches = (m.address(), s.address());
            device.do_as(|to| flow::add(to, branches, relu, count, y.address()));
            assert_same_bits(&y.values(), &want, &format!("{count}, relu {relu}"));
        }
    }
}

#[test]
fn gates_equal_the_cpu() {
    let gates = [
        Gate::Open,
        Gate::Mask,
        Gate::ClampMask,
        Gate::Clamp,
        Gate::Divide { eps: 0.0 },
        Gate::Divide { eps: 1e-9 },
        Gate::Weigh,
    ];
    for device in devices() {
        for (pixels, channels) in [(1, 1), (5, 3), (9, 8), (300, 4), (7, 65)] {
            if !device.takes(pixels * channels) {
                continue;
            }
            let count = pixels * channels;
            let mut random = Random::new(count);
            let [y, r, scale] = [count, count, channels].map(|n| random.numbers(n));
            for (kind, scaled) in gates.into_iter().flat_map(|g| [(g, false), (g, true)]) {
                let mut want = r.clone();
                let factors = scaled.then_some(&scale[..]);
                gate::gate(&context(), kind, &y, (channels, factors), &mut want);
                let at = device.tensor("r", &r);
                let y = kind.reads().then(|| device.tensor("y", &y));
                let factors = scaled.then(|| device.tensor("scale", &scale));
                let address =
                    |t: &Option<crate::device::Tensor>| t.as_ref().map_or(0, |t| t.address());
                let of_channels = (channels, address(&factors));
                let out = at.address();
                device.do_as(|to| flow::gate(to, kind, address(&y), of_channels, count, out));
                let what = format!("{kind:?}, scaled {scaled}, {pixels} x {channels}");
                assert_same_bits(&at.values(), &want, &what);
            }
        }
    }
}

#[test]
fn shortcuts_equal_the_cpu_both_ways() {
    for device in devices() {
        for ((h, w, c), (stride, before, after)) in [
            ((1, 1, 1), (2, 0, 0)),
            ((3, 3, 2), (2, 1, 2)),
            ((8, 8, 16), (2, 8, 8)),
            ((5, 7, 3), (3, 0, 4)),
            ((4, 6, 5), (1, 2, 0)),
        ] {
            let s = Subsample {
                stride,
                before,
                after,
            };
            let input = Shape::new(h, w, c);
            let step = u32::from(stride);
            let channels = c + u32::from(before) + u32::from(after);
            let output = Shape::new(h.div_ceil(step), w.div_ceil(step), channels);
            let (images, shapes) = (3, [input, output]);
            let mut random = Random::new(input.elements());
            let x = random.numbers(images * input.elements());
            let mut want = vec![0.0; images * output.elements()];
            let parts = want.chunks_mut(output.elements());
            for (x, y) in x.chunks(input.elements()).zip(parts) {
                subsample::forward(&s, (input, output), x, y);
            }
            let y = device.tensor("y", &vec![9.0; want.len()]);
            let from = device.tensor("x", &x);
            device.do_as(|to| {
                flow::subsample_forward(to, &s, shapes, images, from.address(), y.address());
            });
            assert_same_bits(&y.values(), &want, &format!("{input:?} {s:?}"));

            let (r, held) = (
                random.numbers(output.elements()),
                random.numbers(input.elements()),
            );
            for accumulate in [false, true] {
                let mut want = held.clone();
                subsample::relevance(&s, (input, output), &r, accumulate, &mut want);
                let (r, out) = (device.tensor("r", &r), device.tensor("out", &held));
                let (r, at) = (r.address(), out.address());
                device.do_as(|to| flow::subsample_relevance(to, &s, shapes, r, accumulate, at));
                assert_same_bits(&out.values(), &want, &format!("back, {input:?} {s:?}"));
            }
        }
    }
}

#[test]
fn halves_equal_the_cpus() {
    for device in devices() {
        for count in [1, 7, 8, 37, 2048, 2050] {
            if !device.takes(count) {
                continue;
            }
            let mut random = Random::new(count);
            let mut x = random.numbers(count);
            for v in &mut x {
                *v *= [1.0, 1e3, 1e5, 1e-5, 1e-7][random.below(5)];
            }
            for (v, special) in x
                .iter_mut()
                .zip([65_504.0, 65_519.0, -1e6, 1e-7, 2f32.powi(-25)])
            {
                *v = special;
            }
            // The half behind an odd end stays as it is, on both sides.
            let words = count.div_ceil(2);
            let untouched = vec![f32::from_bits(0x4567_4567); words];
            let (mut packed, mut back) = (untouched.clone(), vec![0.0; count]);
            half::pack(&context(), &x, &mut packed);
            half::unpack(&context(), &packed, &mut back);
            let (from, kept) = (device.tensor("x", &x), device.tensor("packed", &untouched));
            let y = device.tensor("y", &vec![9.0; count]);
            device.do_as(|to| {
                flow::pack(to, count, from.address(), kept.address());
                flow::unpack(to, count, kept.address(), y.address());
            });
            assert_same_bits(&kept.values(), &packed, &format!("{count} packed"));
            assert_same_bits(&y.values(), &back, &format!("{count} unpacked"));
        }
    }
}
