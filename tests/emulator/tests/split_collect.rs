//! Splitting relevance and collecting the map: what the CPU backend computes, bit for bit, in any order of the threads.

use std::ops::Range;

use bytemuck::Pod;
use elucid_core::op::{Context, add, head};
use elucid_core::par::Serial;
use elucid_core::rule;
use elucid_core::simd::Isa;
use elucid_emulator::{Emulator, Order, numbers};
use elucid_kernels::params::{BLOCK, CollectParams, Share, SplitParams};

const ORDERS: [Order; 4] = [
    Order::Ascending,
    Order::Descending,
    Order::Shuffled(1),
    Order::Shuffled(2),
];

const SHARES: [(Share, rule::Share); 3] = [
    (Share::Residual, rule::Share::Residual),
    (Share::Half, rule::Share::Half),
    (Share::Ratio, rule::Share::Ratio),
];

/// Launches over at least as many threads, with blocks to spare.
fn launch<P: Pod>(e: &Emulator, entry: &str, threads: usize, spare: u32, params: &P, order: Order) {
    let blocks = (threads as u32).div_ceil(BLOCK) + spare;
    e.launch(entry, [blocks, 1, 1], bytemuck::bytes_of(params), order)
        .unwrap_or_else(|fault| panic!("{fault}"));
}

fn assert_same_bits(got: &[f32], want: &[f32], what: &str) {
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert_eq!(g.to_bits(), w.to_bits(), "{what}: element {i}: {g:e} {w:e}");
    }
    assert_eq!(got.len(), want.len(), "{what}");
}

fn split_case(
    e: &Emulator,
    shares: (Share, rule::Share),
    (pixels, channels): (usize, usize),
    live: &Range<usize>,
) {
    let cx = Context {
        isa: Isa::detect(),
        pool: &Serial,
        zero: &[],
        audit: false,
    };
    let len = pixels * channels;
    let [m, s, r, skip] = [1, 2, 3, 4].map(|seed| numbers(len as u64 * 8 + seed, len));
    let ratio = shares.0 == Share::Ratio;
    // Only for the ratio: else the branches aren't even there.
    let residual = e.upload("residual", if ratio { &m[..] } else { &[] });
    let skipped = e.upload("skip", if ratio { &s[..] } else { &[] });
    for accumulate in [false, true] {
        let (mut want_r, mut want_skip) = (r.clone(), skip.clone());
        let branches = if ratio {
            (&m[..], &s[..])
        } else {
            (&[][..], &[][..])
        };
        let ends = (&mut want_r[..], &mut want_skip[..]);
        add::split(
            &cx,
            shares.1,
            branches,
            (channels, live.clone()),
            accumulate,
            ends,
        );
        for (order, spare) in ORDERS.into_iter().zip([0, 1, 2, 1]) {
            let relevance = e.upload("relevance", &r);
            let skip_relevance = e.upload("skip_relevance", &skip);
            let params = SplitParams {
                residual: residual.address(),
                skip: skipped.address(),
                relevance: relevance.address(),
                skip_relevance: skip_relevance.address(),
                count: len as u32,
                channels: channels as u32,
                live_start: live.start as u32,
                live_end: live.end as u32,
                share: shares.0 as u32,
                eps: 0.0,
                accumulate: u32::from(accumulate),
                vector: 0,
            };
            launch(e, "elucid_split", len, spare, &params, order);
            let what = format!(
                "{:?} {pixels} x {channels}, live {live:?}, accumulate {accumulate}, {order:?}",
                shares.0
            );
            assert_same_bits(&relevance.download::<f32>(), &want_r, &what);
            assert_same_bits(&skip_relevance.download::<f32>(), &want_skip, &what);
        }
    }
}

fn split(e: &Emulator, sizes: &[(usize, usize)]) {
    for &(pixels, channels) in sizes {
        for shares in SHARES {
            for live in [
                0..channels,
                channels / 3..channels - channels / 4,
                channels..channels,
            ] {
                split_case(e, shares, (pixels, channels), &live);
            }
        }
    }
}

#[test]
fn splitting_equals_the_cpu() {
    let sizes = [(1, 1), (7, 3), (25, 19), (33, 64), (1, 513), (256, 1)];
    split(Emulator::fast(), &sizes);
}

#[test]
fn splitting_passes_the_checker() {
    split(Emulator::checked(), &[(1, 1), (7, 3), (25, 19)]);
}

fn collect(e: &Emulator, sizes: &[(usize, usize)]) {
    for &(pixels, channels) in sizes {
        let r = numbers((pixels * channels) as u64, pixels * channels);
        let mut want = vec![0.0; pixels];
        head::collect(&r, channels, false, &mut want);
        for (order, spare) in ORDERS.into_iter().zip([0, 1, 2, 1]) {
            let (relevance, heat) = (e.upload("relevance", &r), e.allocate("heat", 4 * pixels));
            let params = CollectParams {
                relevance: relevance.address(),
                heat: heat.address(),
                pixels: pixels as u32,
                channels: channels as u32,
                accumulate: 0,
                reserved: 0,
            };
            launch(e, "elucid_collect", pixels, spare, &params, order);
            assert_same_bits(
                &heat.download::<f32>(),
                &want,
                &format!("{pixels} x {channels}, {order:?}"),
            );
        }
    }
}

#[test]
fn collecting_equals_the_cpu() {
    let sizes = [(1, 1), (7 * 5, 3), (255, 2), (256, 3), (257, 17), (4, 1000)];
    collect(Emulator::fast(), &sizes);
}

#[test]
fn collecting_passes_the_checker() {
    collect(Emulator::checked(), &[(1, 1), (7 * 5, 3), (257, 17)]);
}
