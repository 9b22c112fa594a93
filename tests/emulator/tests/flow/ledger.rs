//! Sums of the ledger.

use bytemuck::Pod;
use elucid::lower::Launch;
use elucid_core::Shape;
use elucid_core::math;
use elucid_core::op::{Sinks, pool};
use elucid_core::rule::{Dead, PoolRule};
use elucid_kernels::params::{
    AverageRelevanceParams, CellsParams, DEAD_CELL, MaxRelevanceParams, PoolShare, TallyParams,
    TotalParams,
};
use elucid_kernels::{Kernel, flow};

use crate::device::{Device, Random, context, devices};
use crate::pools::{AVERAGES, pools};

/// Runs a reduction in so many blocks, each of which leaves `width` sums, and adds those.
fn tally<P: Pod>(
    device: &Device,
    kernel: &'static Kernel,
    blocks: u32,
    width: usize,
    params: impl FnOnce(u64) -> P,
) -> Vec<f64> {
    let sums = device.room::<f64>("sums", blocks as usize * width);
    let slots = device.room::<f64>("slots", width);
    let second = TallyParams {
        sums: sums.address(),
        slots: slots.address(),
        blocks,
        width: width as u32,
    };
    device.run(&[
        Launch::new(kernel, [blocks, 1, 1], &params(sums.address())),
        Launch::new(flow::TALLY, [1, 1, 1], &second),
    ]);
    slots.download()
}

fn assert_close(got: f64, want: f64, size: f64, what: &str) {
    assert!(
        (got - want).abs() <= 1e-12 * size,
        "{what}: {got:e} {want:e}"
    );
}

fn size(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(v.abs())).sum()
}

#[test]
fn totals_are_the_cpus_and_the_same_in_every_order() {
    for (count, blocks) in [
        (1, 1),
        (3, 7),
        (255, 1),
        (4000, 2),
        (70_000, 9),
        (300_000, 256),
    ] {
        let values = Random::new(count).draws(count);
        let totals: Vec<f64> = devices()
            .filter(|device| device.takes(count))
            .map(|device| {
                let at = device.tensor("values", &values);
                let params = |sums| TotalParams {
                    values: at.address(),
                    sums,
                    count: count as u32,
                    channels: 1,
                    skip_start: 0,
                    skip_end: 0,
                };
                tally(&device, flow::TOTAL, blocks, 1, params)[0]
            })
            .collect();
        assert!(totals.iter().all(|t| t.to_bits() == totals[0].to_bits()));
        assert_close(
            totals[0],
            math::sum(&values),
            size(&values),
            &format!("{count}"),
        );
    }
}

#[test]
fn channels_stay_out_of_a_total() {
    for device in devices() {
        for (pixels, channels, skip) in [(1, 1, 0..1), (9, 5, 1..3), (300, 16, 4..12), (7, 3, 0..0)]
        {
            if !device.takes(pixels * channels) {
                continue;
            }
            let values = Random::new(pixels).draws(pixels * channels);
            let at = device.tensor("values", &values);
            let params = |sums| TotalParams {
                values: at.address(),
                sums,
                count: (pixels * channels) as u32,
                channels: channels as u32,
                skip_start: skip.start as u32,
                skip_end: skip.end as u32,
            };
            let got = tally(&device, flow::TOTAL, 3, 1, params)[0];
            let in_it = values
                .iter()
                .enumerate()
                .filter(|(i, _)| !skip.contains(&(i % channels)));
            let want = in_it.map(|(_, &v)| f64::from(v)).sum();
            assert_close(got, want, size(&values), &format!("{skip:?} of {channels}"));
        }
    }
}

#[test]
fn cells_say_where_their_relevance_went() {
    let rules = [
        (0.0, Dead::Redistribute),
        (1e-5, Dead::Redistribute),
        (0.0, Dead::Sink),
        (1e-5, Dead::Sink),
    ];
    for device in devices() {
        for (count, (eps, dead)) in [1, 100, 9000]
            .into_iter()
            .flat_map(|n| rules.map(|r| (n, r)))
        {
            if !device.takes(count) {
                continue;
            }
            let mut random = Random::new(count);
            let r = random.draws(count);
            let mut want = Sinks::default();
            let s: Vec<f32> = r
                .iter()
                .map(|&r| match (random.below(4), dead) {
                    (0, Dead::Redistribute) => {
                        want.redistributed += f64::from(r);
                        f32::from_bits(DEAD_CELL)
                    }
                    (0, Dead::Sink) => {
                        want.dead += f64::from(r);
                        0.0
                    }
                    (1, _) if eps > 0.0 => {
                        want.dead += f64::from(r / eps) * f64::from(eps);
                        r / eps
                    }
                    _ => {
                        let s = r / (random.draw().abs() + 0.1);
                        want.eps += f64::from(s) * f64::from(eps);
                        s
                    }
                })
                .collect();
            let (from, quotients) = (device.tensor("r", &r), device.tensor("s", &s));
            let params = |sums| CellsParams {
                r: from.address(),
                s: quotients.address(),
                sums,
                count: count as u32,
                eps,
                redistribute: (dead == Dead::Redistribute).into(),
                reserved: 0,
            };
            let got = tally(&device, flow::CELLS, 5, 3, params);
            let what = format!("{count} cells, eps {eps}, {dead:?}");
            assert_sinks(&got, &want, size(&r), &what);
        }
    }
}

fn assert_sinks(got: &[f64], want: &Sinks, size: f64, what: &str) {
    let all = [want.eps, want.dead, want.redistributed];
    for ((&got, want), sink) in got.iter().zip(all).zip(["eps", "dead", "redistributed"]) {
        assert_close(got, want, size, &format!("{what}, {sink}"));
    }
}

#[test]
fn sinks_of_max_pools_are_the_cpus() {
    for device in devices() {
        for (p, [input, output]) in pools() {
            if !device.takes(input.elements()) {
                continue;
            }
            let mut random = Random::new(input.elements());
            let (a, r) = (
                random.activations(input.elements()),
                random.draws(output.elements()),
            );
            for (rule, eps) in [
                (PoolRule::StrideAverage, 1e-5),
                (PoolRule::StrideAverage, 0.0),
                (PoolRule::WindowAverage, 1e-5),
            ] {
                let mut out = vec![0.0; input.elements()];
                let shapes = (input, output);
                let how = (rule, eps);
                let want =
                    pool::max_relevance(&context(), &p, shapes, (&a, &r), how, false, &mut out);
                let (from, kept) = (device.tensor("a", &a), device.tensor("r", &r));
                let whole = f32::from(p.kernel) * f32::from(p.kernel);
                let (kernel, stride, pad, divisor) = match rule {
                    PoolRule::WindowAverage => (p.kernel, p.stride, p.pad, whole),
                    _ => (p.stride, p.stride, 0, 0.0),
                };
                let params = |sums| MaxRelevanceParams {
                    a: from.address(),
                    r: kept.address(),
                    out: 0,
                    sums,
                    in_h: input.h,
                    in_w: input.w,
                    out_h: output.h,
                    out_w: output.w,
                    channels: input.c,
                    kernel: kernel.into(),
                    stride: stride.into(),
                    pad: pad.into(),
                    share: PoolShare::Average as u32,
                    divisor,
                    eps,
                    accumulate: 0,
                    vector: 0,
                    reserved: 0,
                };
                let got = tally(&device, flow::MAX_SINKS, 2, 3, params);
                assert_sinks(&got, &want, size(&r), &format!("{rule:?} {p:?} {input:?}"));
            }
        }
    }
}

#[test]
fn sinks_of_averages_are_the_cpus() {
    let rules = [
        (0.0, Dead::Redistribute),
        (1e-5, Dead::Sink),
        (0.0, Dead::Sink),
    ];
    for device in devices() {
        for (h, w, c) in AVERAGES {
            if !device.takes((h * w * c) as usize) {
                continue;
            }
            let input = Shape::new(h, w, c);
            let mut random = Random::new(input.elements());
            let mut a = random.activations(input.elements());
            a.iter_mut().step_by(c as usize).for_each(|a| *a = 0.0);
            let r = random.draws(c as usize);
            for (eps, dead) in rules {
                let mut out = vec![0.0; input.elements()];
                let operands = (&a[..], &r[..]);
                let want = pool::average_relevance(
                    &context(),
                    input,
                    operands,
                    (eps, dead),
                    false,
                    &mut out,
                );
                let (from, kept) = (device.tensor("a", &a), device.tensor("r", &r));
                let params = |sums| AverageRelevanceParams {
                    a: from.address(),
                    r: kept.address(),
                    out: 0,
                    sums,
                    pixels: h * w,
                    channels: c,
                    eps,
                    redistribute: (dead == Dead::Redistribute).into(),
                    accumulate: 0,
                    reserved: 0,
                };
                let got = tally(&device, flow::AVERAGE_SINKS, 2, 3, params);
                // The mean is rounded once, the product with eps not.
                let what = format!("{input:?}, eps {eps}, {dead:?}");
                assert_sinks(&got, &want, 1e5 * size(&r), &what);
            }
        }
    }
}
