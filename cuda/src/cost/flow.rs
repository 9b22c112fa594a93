//! What lies between weighted layers, the two ends of an explanation, and the ledger.

use elucid_kernels::params::{
    AddParams, AverageGradientParams, AverageParams, AverageRelevanceParams, CellsParams,
    CollectParams, GateKind, GateParams, HeatParams, MaxParams, MaxRelevanceParams, PackParams,
    PoolShare, RangeParams, SeedParams, SeedRequest, SeedResult, Share, SplitParams,
    SubsampleParams, TallyParams, TotalParams, UnpackParams,
};

use super::window::{Line, both};
use super::{Cost, FLOAT, Price, argument, blocks, wide};
use crate::lower::Launch;

/// Bytes of a double.
const DOUBLE: u64 = 8;
/// Additions for one value of a sum in two floats.
const EXACT: u64 = 7;
/// Channels of a block of the global average.
const AVERAGED: u64 = 32;

/// The price of a kernel by its name without `elucid_`.
pub fn price(name: &str) -> Option<Price> {
    Some(match name {
        "split" => split,
        "collect" => collect,
        "add" => add,
        "gate" => gate,
        "subsample" => subsample,
        "subsample_relevance" => subsample_relevance,
        "pack" => pack,
        "unpack" => unpack,
        "max" => max,
        "max_relevance" => max_relevance,
        "max_sinks" => max_sinks,
        "average" => average,
        "average_relevance" => average_relevance,
        "average_sinks" => average_sinks,
        "average_gradient" => average_gradient,
        "seed" => seed,
        "total" => total,
        "cells" => cells,
        "tally" => tally,
        "range" => range,
        "quantize" => |l| heat(l, 10),
        "normalize" => |l| heat(l, 2),
        _ => return None,
    })
}

fn one_if(flag: bool) -> u64 {
    u64::from(flag)
}

fn split(launch: &Launch) -> Option<Cost> {
    let p: SplitParams = argument(launch)?;
    let (count, channels) = (wide(p.count), wide(p.channels.max(1)));
    let added = one_if(p.accumulate != 0);
    let is = |share: Share| p.share == share as u32;
    // What stays with the residual branch is only cleared in the other.
    let live = match is(Share::Residual) {
        true => 0,
        false => count / channels * wide(p.live_end.saturating_sub(p.live_start)),
    };
    let operations = if is(Share::Ratio) {
        5
    } else if is(Share::Signed) {
        6
    } else {
        1 + one_if(is(Share::Half))
    };
    let branches = 2 * one_if(is(Share::Ratio) || is(Share::Signed));
    let kept = one_if(!is(Share::Both));
    let read = (1 + branches + added) * live;
    let written = (1 + kept) * live + (1 - added) * (count - live);
    Some(Cost::plain(
        operations * live,
        read * FLOAT,
        written * FLOAT,
    ))
}

fn collect(launch: &Launch) -> Option<Cost> {
    let p: CollectParams = argument(launch)?;
    let (pixels, channels) = (wide(p.pixels), wide(p.channels.max(1)));
    let added = one_if(p.accumulate != 0);
    let read = (channels + added) * pixels * FLOAT;
    Some(Cost::plain(
        (channels - 1 + added) * pixels,
        read,
        pixels * FLOAT,
    ))
}

fn add(launch: &Launch) -> Option<Cost> {
    let p: AddParams = argument(launch)?;
    let count = wide(p.count);
    Some(Cost::plain(count, 2 * count * FLOAT, count * FLOAT))
}

fn gate(launch: &Launch) -> Option<Cost> {
    let p: GateParams = argument(launch)?;
    let count = wide(p.count);
    let is = |kind: GateKind| p.kind == kind as u32;
    let output = one_if(!is(GateKind::Open) && !is(GateKind::Clamp));
    let scaled = one_if(p.scale != 0);
    let operations = 2 * one_if(is(GateKind::Divide)) + one_if(is(GateKind::Weigh)) + scaled;
    let scale = scaled * wide(p.channels) * FLOAT;
    let read = (1 + output) * count * FLOAT;
    let cost = Cost::plain(operations * count, read + scale, count * FLOAT);
    let requested = read + (1 + scaled) * count * FLOAT;
    Some(Cost { requested, ..cost })
}

fn subsample(launch: &Launch) -> Option<Cost> {
    let p: SubsampleParams = argument(launch)?;
    let pixels = wide(p.count) / wide(p.out_c.max(1));
    let read = pixels * wide(p.in_c) * FLOAT;
    Some(Cost::plain(0, read, wide(p.count) * FLOAT))
}

fn subsample_relevance(launch: &Launch) -> Option<Cost> {
    let p: SubsampleParams = argument(launch)?;
    let (count, stride) = (wide(p.count), p.stride.max(1));
    let image = wide(p.in_h) * wide(p.in_w) * wide(p.in_c);
    let passed = wide(p.in_h.div_ceil(stride)) * wide(p.in_w.div_ceil(stride)) * wide(p.in_c);
    let passed = count / image.max(1) * passed;
    let (read, written) = match p.accumulate {
        0 => (passed, count),
        _ => (2 * passed, passed),
    };
    Some(Cost::plain(passed, read * FLOAT, written * FLOAT))
}

fn pack(launch: &Launch) -> Option<Cost> {
    let p: PackParams = argument(launch)?;
    let count = wide(p.count);
    Some(Cost::plain(0, count * FLOAT, count * FLOAT / 2))
}

fn unpack(launch: &Launch) -> Option<Cost> {
    let p: UnpackParams = argument(launch)?;
    let count = wide(p.count);
    Some(Cost::plain(0, count * FLOAT / 2, count * FLOAT))
}

/// Windows in both directions: sizes of the input, windows, and kernel, stride and padding.
fn windows(input: [u32; 2], output: [u32; 2], [kernel, stride, pad]: [u32; 3]) -> [Line; 2] {
    [0, 1].map(|i| Line {
        size: input[i],
        count: output[i],
        kernel,
        stride,
        pad,
    })
}

fn max(launch: &Launch) -> Option<Cost> {
    let p: MaxParams = argument(launch)?;
    let (count, channels) = (wide(p.count), wide(p.channels));
    let output = wide(p.out_h) * wide(p.out_w) * channels;
    let images = count / output.max(1);
    let window = [p.kernel, p.stride, p.pad];
    let lines = windows([p.in_h, p.in_w], [p.out_h, p.out_w], window);
    let read = images * both(lines, Line::reached) * channels * FLOAT;
    let gathered = images * both(lines, Line::pairs) * channels * FLOAT;
    Some(Cost {
        requested: gathered + count * FLOAT,
        ..Cost::plain(0, read, count * FLOAT)
    })
}

fn pool_lines(p: &MaxRelevanceParams) -> [Line; 2] {
    let window = [p.kernel, p.stride, p.pad];
    windows([p.in_h, p.in_w], [p.out_h, p.out_w], window)
}

/// Every pixel looks at all cells of the windows over it.
fn max_relevance(launch: &Launch) -> Option<Cost> {
    let p: MaxRelevanceParams = argument(launch)?;
    let (lines, channels) = (pool_lines(&p), wide(p.channels));
    let input = wide(p.in_h) * wide(p.in_w) * channels;
    let output = wide(p.out_h) * wide(p.out_w) * channels;
    let pairs = both(lines, Line::pairs) * channels;
    let visits = both(lines, Line::squares) * channels;
    let averages = p.share == PoolShare::Average as u32;
    let (own, added) = (one_if(averages), one_if(p.accumulate != 0));
    // A mean and its eps are the window's, and worked out once for every pixel under it.
    let (flops, issued) = match averages {
        true => (2 * pairs + 3 * output + 3 * pairs, visits + 6 * pairs),
        false => (pairs, pairs),
    };
    Some(Cost {
        f32_flops: flops,
        f32_issued: issued,
        read: (input + output + added * input) * FLOAT,
        written: input * FLOAT,
        requested: (visits + pairs + (own + added + 1) * input) * FLOAT,
        ..Cost::default()
    })
}

fn max_sinks(launch: &Launch) -> Option<Cost> {
    let p: MaxRelevanceParams = argument(launch)?;
    let (lines, channels) = (pool_lines(&p), wide(p.channels));
    let output = wide(p.out_h) * wide(p.out_w) * channels;
    let pairs = both(lines, Line::pairs) * channels;
    let read = (both(lines, Line::reached) * channels + output) * FLOAT;
    let written = 3 * DOUBLE * blocks(launch);
    Some(Cost {
        requested: (pairs + output) * FLOAT + written,
        ..Cost::plain(pairs + 4 * output, read, written)
    })
}

fn average(launch: &Launch) -> Option<Cost> {
    let p: AverageParams = argument(launch)?;
    let (pixels, channels) = (wide(p.pixels), wide(p.channels));
    let images = blocks(launch) / channels.div_ceil(AVERAGED).max(1);
    let (input, output) = (images * pixels * channels, images * channels);
    let cost = Cost::plain(input + output, input * FLOAT, output * FLOAT);
    let f32_issued = EXACT * input + output;
    Some(Cost { f32_issued, ..cost })
}

fn average_relevance(launch: &Launch) -> Option<Cost> {
    let p: AverageRelevanceParams = argument(launch)?;
    let channels = wide(p.channels);
    let input = wide(p.pixels) * channels;
    let added = one_if(p.accumulate != 0);
    let read = ((1 + added) * input + channels) * FLOAT;
    Some(Cost {
        f32_issued: (EXACT + 3) * input + 4 * channels,
        requested: read + 2 * input * FLOAT,
        ..Cost::plain(4 * input + 4 * channels, read, input * FLOAT)
    })
}

fn average_sinks(launch: &Launch) -> Option<Cost> {
    let p: AverageRelevanceParams = argument(launch)?;
    let channels = wide(p.channels);
    let input = wide(p.pixels) * channels;
    let read = (input + channels) * FLOAT;
    let cost = Cost::plain(input + 4 * channels, read, 3 * DOUBLE * blocks(launch));
    let f32_issued = EXACT * input + 4 * channels;
    Some(Cost { f32_issued, ..cost })
}

fn average_gradient(launch: &Launch) -> Option<Cost> {
    let p: AverageGradientParams = argument(launch)?;
    let (count, channels) = (wide(p.count), wide(p.channels));
    let added = one_if(p.accumulate != 0);
    let read = (added * count + channels) * FLOAT;
    Some(Cost {
        requested: (2 + added) * count * FLOAT,
        ..Cost::plain((1 + added) * count, read, count * FLOAT)
    })
}

/// A map whose class is the predicted one or given: a difference, an exponential and a sum for each class.
fn seed(launch: &Launch) -> Option<Cost> {
    let p: SeedParams = argument(launch)?;
    let (maps, classes) = (blocks(launch), wide(p.classes));
    let images = maps / wide(p.targets.max(1));
    let (request, result) = (
        size_of::<SeedRequest>() as u64,
        size_of::<SeedResult>() as u64,
    );
    let read = images * classes * FLOAT + maps * request;
    let written = maps * (classes * FLOAT + result);
    Some(Cost {
        requested: maps * (2 * classes * FLOAT + request) + written,
        ..Cost::plain(3 * maps * classes, read, written)
    })
}

fn total(launch: &Launch) -> Option<Cost> {
    let p: TotalParams = argument(launch)?;
    let (count, channels) = (wide(p.count), wide(p.channels.max(1)));
    let skipped = wide(p.skip_end.saturating_sub(p.skip_start));
    let count = count / channels * channels.saturating_sub(skipped);
    Some(Cost::plain(count, count * FLOAT, blocks(launch) * DOUBLE))
}

fn cells(launch: &Launch) -> Option<Cost> {
    let p: CellsParams = argument(launch)?;
    let count = wide(p.count);
    let operations = 3 * one_if(p.eps > 0.0);
    let written = 3 * blocks(launch) * DOUBLE;
    Some(Cost::plain(operations * count, 2 * count * FLOAT, written))
}

fn tally(launch: &Launch) -> Option<Cost> {
    let p: TallyParams = argument(launch)?;
    let (count, width) = (wide(p.blocks) * wide(p.width), wide(p.width));
    Some(Cost::plain(count, count * DOUBLE, width * DOUBLE))
}

fn range(launch: &Launch) -> Option<Cost> {
    let p: RangeParams = argument(launch)?;
    let written = 3 * blocks(launch) * FLOAT;
    Some(Cost::plain(0, wide(p.count) * FLOAT, written))
}

/// Every block folds the ranges of all blocks before it changes its pixels.
fn heat(launch: &Launch, operations: u64) -> Option<Cost> {
    let p: HeatParams = argument(launch)?;
    let (count, ranges) = (wide(p.count), 3 * wide(p.blocks) * FLOAT);
    let cost = Cost::plain(operations * count, count * FLOAT + ranges, count * FLOAT);
    let requested = 2 * count * FLOAT + blocks(launch) * ranges;
    Some(Cost { requested, ..cost })
}
