//! Launches of what lies between weighted layers.

use std::ops::Range;

use elucid_core::Shape;
use elucid_core::graph::{Pool, Subsample};
use elucid_core::op::gate::Gate;
use elucid_core::rule::{Dead, Init, PoolRule, Share, ZENNIT_EPS};
use elucid_kernels::flow as kernel;
use elucid_kernels::params::{
    AddParams, Address, AverageGradientParams, AverageParams, AverageRelevanceParams,
    CollectParams, GateKind, GateParams, HeatParams, MaxParams, MaxRelevanceParams, PackParams,
    PoolShare, RangeParams, SeedParams, Share as Shared, SplitParams, Start, SubsampleParams,
    UnpackParams,
};

use super::Launch;
use super::launch::number;
use super::layout::PARTIALS;

type Launches = Vec<Launch>;

/// Elements of a thread of a kernel that takes several at once.
const FOUR: usize = 4;
/// Elements of a thread that packs.
const EIGHT: usize = 8;
/// Channels of a block of the global average.
const AVERAGED: usize = 32;
/// Bytes that [`quantize`] and [`normalize`] work in: smallest, largest and soundness of each block.
pub const HEAT_WORK: usize = 3 * PARTIALS * size_of::<f32>();

/// Whether all addresses allow accesses of sixteen bytes; what isn't there does.
fn aligned(addresses: &[Address]) -> bool {
    addresses.iter().all(|a| a.is_multiple_of(16))
}

/// Whether `count` elements go by four, and how many threads that makes.
fn by_four(count: usize, addresses: &[Address]) -> (bool, usize) {
    let four = count.is_multiple_of(FOUR) && aligned(addresses);
    (four, if four { count / FOUR } else { count })
}

/// The same for elements of which each four must be channels of one pixel.
fn channels_by_four(count: usize, channels: usize, addresses: &[Address]) -> (bool, usize) {
    match channels.is_multiple_of(FOUR) {
        true => by_four(count, addresses),
        false => (false, count),
    }
}

/// Blocks for a reduction of `count` elements, eight or more for each thread.
pub(super) fn blocks(count: usize) -> usize {
    let each = EIGHT * kernel::TOTAL.block as usize;
    count.div_ceil(each).clamp(1, PARTIALS)
}

/// `y = relu?(m + s)`, all of `count` elements.
pub fn add(to: &mut Launches, branches: (Address, Address), relu: bool, count: usize, y: Address) {
    let (residual, skip) = branches;
    let (vector, threads) = by_four(count, &[residual, skip, y]);
    let params = AddParams {
        residual,
        skip,
        sum: y,
        count: number(count),
        relu: relu.into(),
        vector: vector.into(),
        reserved: 0,
    };
    to.push(Launch::over(kernel::ADD, threads, &params));
}

/// Max pool of every image.
pub fn max_forward(
    to: &mut Launches,
    p: &Pool,
    shapes: [Shape; 2],
    images: usize,
    x: Address,
    y: Address,
) {
    let [input, output] = shapes;
    let count = images * output.elements();
    let (vector, threads) = channels_by_four(count, output.c as usize, &[x, y]);
    let params = MaxParams {
        x,
        y,
        count: number(count),
        in_h: input.h,
        in_w: input.w,
        out_h: output.h,
        out_w: output.w,
        channels: output.c,
        kernel: p.kernel.into(),
        stride: p.stride.into(),
        pad: p.pad.into(),
        vector: vector.into(),
    };
    to.push(Launch::over(kernel::MAX, threads, &params));
}

/// What the kernels of a max pool's relevance take, but for addresses of results.
pub(super) fn max_params(
    p: &Pool,
    [input, output]: [Shape; 2],
    (a, r): (Address, Address),
    (rule, eps): (PoolRule, f32),
) -> MaxRelevanceParams {
    let (share, window, divisor) = match rule {
        PoolRule::Winner => (PoolShare::Winner, (p.kernel, p.stride, p.pad), 0.0),
        PoolRule::StrideAverage => (PoolShare::Average, (p.stride, p.stride, 0), 0.0),
        PoolRule::WindowAverage => {
            let cells = usize::from(p.kernel) * usize::from(p.kernel);
            let own = (p.kernel, p.stride, p.pad);
            (PoolShare::Average, own, cells as f32)
        }
    };
    MaxRelevanceParams {
        a,
        r,
        out: 0,
        sums: 0,
        in_h: input.h,
        in_w: input.w,
        out_h: output.h,
        out_w: output.w,
        channels: input.c,
        kernel: window.0.into(),
        stride: window.1.into(),
        pad: window.2.into(),
        share: share as u32,
        divisor,
        eps,
        accumulate: 0,
        vector: 0,
        reserved: 0,
    }
}

/// Relevance of a max pool's input, of one map, written or added to `out`.
pub fn max_relevance(
    to: &mut Launches,
    p: &Pool,
    shapes: [Shape; 2],
    operands: (Address, Address),
    rule: (PoolRule, f32),
    accumulate: bool,
    out: Address,
) {
    let input = shapes[0];
    let addresses = [operands.0, operands.1, out];
    let (vector, threads) = channels_by_four(input.elements(), input.c as usize, &addresses);
    let params = MaxRelevanceParams {
        out,
        accumulate: accumulate.into(),
        vector: vector.into(),
        ..max_params(p, shapes, operands, rule)
    };
    to.push(Launch::over(kernel::MAX_RELEVANCE, threads, &params));
}

/// Blocks of the global average of one image.
fn average_blocks(input: Shape) -> usize {
    (input.c as usize).div_ceil(AVERAGED).max(1)
}

/// Global average of every image.
pub fn average_forward(to: &mut Launches, input: Shape, images: usize, x: Address, y: Address) {
    let params = AverageParams {
        x,
        y,
        pixels: number(input.pixels()),
        channels: input.c,
    };
    let blocks = number(images * average_blocks(input));
    to.push(Launch::new(kernel::AVERAGE, [blocks, 1, 1], &params));
}

/// What the kernels of a global average's relevance take, but for addresses of results; and their blocks.
pub(super) fn average_params(
    input: Shape,
    (a, r): (Address, Address),
    (eps, dead): (f32, Dead),
) -> (AverageRelevanceParams, usize) {
    let params = AverageRelevanceParams {
        a,
        r,
        out: 0,
        sums: 0,
        pixels: number(input.pixels()),
        channels: input.c,
        eps,
        redistribute: (dead == Dead::Redistribute).into(),
        accumulate: 0,
        reserved: 0,
    };
    (params, average_blocks(input))
}

/// Relevance of a global average's input, of one map.
pub fn average_relevance(
    to: &mut Launches,
    input: Shape,
    operands: (Address, Address),
    rule: (f32, Dead),
    accumulate: bool,
    out: Address,
) {
    let (params, blocks) = average_params(input, operands, rule);
    let params = AverageRelevanceParams {
        out,
        accumulate: accumulate.into(),
        ..params
    };
    let grid = [number(blocks), 1, 1];
    to.push(Launch::new(kernel::AVERAGE_RELEVANCE, grid, &params));
}

/// Derivative of a global average, of one map.
pub fn average_gradient(
    to: &mut Launches,
    input: Shape,
    r: Address,
    accumulate: bool,
    out: Address,
) {
    let count = input.elements();
    let (vector, threads) = channels_by_four(count, input.c as usize, &[r, out]);
    let params = AverageGradientParams {
        r,
        out,
        count: number(count),
        channels: input.c,
        pixels: input.pixels() as f32,
        accumulate: accumulate.into(),
        vector: vector.into(),
        reserved: 0,
    };
    to.push(Launch::over(kernel::AVERAGE_GRADIENT, threads, &params));
}

/// What both directions of an option-A shortcut take.
fn subsample(
    s: &Subsample,
    [input, output]: [Shape; 2],
    (from, to): (Address, Address),
    count: usize,
) -> SubsampleParams {
    SubsampleParams {
        from,
        to,
        count: number(count),
        in_h: input.h,
        in_w: input.w,
        in_c: input.c,
        out_h: output.h,
        out_w: output.w,
        out_c: output.c,
        stride: s.stride.into(),
        before: s.before.into(),
        accumulate: 0,
    }
}

/// Option-A shortcut of every image.
pub fn subsample_forward(
    to: &mut Launches,
    s: &Subsample,
    shapes: [Shape; 2],
    images: usize,
    x: Address,
    y: Address,
) {
    let count = images * shapes[1].elements();
    let params = subsample(s, shapes, (x, y), count);
    to.push(Launch::over(kernel::SUBSAMPLE, count, &params));
}

/// Relevance of its input, of one map.
pub fn subsample_relevance(
    to: &mut Launches,
    s: &Subsample,
    shapes: [Shape; 2],
    r: Address,
    accumulate: bool,
    out: Address,
) {
    let count = shapes[0].elements();
    let params = SubsampleParams {
        accumulate: accumulate.into(),
        ..subsample(s, shapes, (r, out), count)
    };
    to.push(Launch::over(kernel::SUBSAMPLE_RELEVANCE, count, &params));
}

/// Splits relevance in place, of one map: `elements` are their count, the channels, and those of the skip branch that are live.
pub fn split(
    to: &mut Launches,
    share: Share,
    branches: (Address, Address),
    elements: (usize, usize, Range<usize>),
    accumulate: bool,
    parts: (Address, Address),
) {
    let (count, channels, live) = elements;
    let (residual, skip) = if share.reads() { branches } else { (0, 0) };
    let (vector, threads) = match live == (0..channels) {
        true => by_four(count, &[residual, skip, parts.0, parts.1]),
        false => (false, count),
    };
    let share = match share {
        Share::Residual => Shared::Residual,
        Share::Half => Shared::Half,
        Share::Ratio => Shared::Ratio,
        Share::Signed => Shared::Signed,
        Share::Both => Shared::Both,
    };
    let params = SplitParams {
        residual,
        skip,
        relevance: parts.0,
        skip_relevance: parts.1,
        count: number(count),
        channels: number(channels),
        live_start: number(live.start),
        live_end: number(live.end),
        share: share as u32,
        eps: ZENNIT_EPS,
        accumulate: accumulate.into(),
        vector: vector.into(),
    };
    to.push(Launch::over(kernel::SPLIT, threads, &params));
}

/// `r = gate(r, y) * scale` in place, of one map; `scale` may be 0.
pub fn gate(
    to: &mut Launches,
    gate: Gate,
    y: Address,
    channels: (usize, Address),
    count: usize,
    r: Address,
) {
    let (channels, scale) = channels;
    let (kind, eps) = match gate {
        Gate::Open if scale == 0 => return,
        Gate::Open => (GateKind::Open, 0.0),
        Gate::Mask => (GateKind::Mask, 0.0),
        Gate::ClampMask => (GateKind::ClampMask, 0.0),
        Gate::Clamp => (GateKind::Clamp, 0.0),
        Gate::Divide { eps } => (GateKind::Divide, eps),
        Gate::Weigh => (GateKind::Weigh, 0.0),
    };
    let y = if gate.reads() { y } else { 0 };
    let (vector, threads) = match scale {
        0 => by_four(count, &[y, r]),
        scale => channels_by_four(count, channels, &[y, r, scale]),
    };
    let params = GateParams {
        y,
        scale,
        relevance: r,
        count: number(count),
        channels: number(channels),
        kind: kind as u32,
        eps,
        vector: vector.into(),
        reserved: 0,
    };
    to.push(Launch::over(kernel::GATE, threads, &params));
}

/// Channel sums of one map.
pub fn collect(
    to: &mut Launches,
    r: Address,
    size: (usize, usize),
    accumulate: bool,
    heat: Address,
) {
    let (pixels, channels) = size;
    let params = CollectParams {
        relevance: r,
        heat,
        pixels: number(pixels),
        channels: number(channels),
        accumulate: accumulate.into(),
        reserved: 0,
    };
    to.push(Launch::over(kernel::COLLECT, pixels, &params));
}

/// Chooses the classes and writes their relevance: `classes` of each image, `maps` in all, `targets` of each image.
/// Reads a `SeedRequest` and writes a `SeedResult` for each map.
pub fn seed(
    to: &mut Launches,
    (logits, relevance): (Address, Address),
    (classes, images, targets): (usize, usize, usize),
    init: Init,
    (requests, results): (Address, Address),
) {
    let start = match init {
        Init::Probability => Start::Probability,
        Init::Logit => Start::Logit,
        Init::One => Start::One,
    };
    let params = SeedParams {
        logits,
        relevance,
        requests,
        results,
        classes: number(classes),
        targets: number(targets.max(1)),
        start: start as u32,
        reserved: 0,
    };
    let maps = number(images * targets.max(1));
    to.push(Launch::new(kernel::SEED, [maps, 1, 1], &params));
}

/// Puts `count` values by in half precision.
pub fn pack(to: &mut Launches, count: usize, x: Address, packed: Address) {
    let params = PackParams {
        x,
        packed,
        count: number(count),
        vector: aligned(&[x, packed]).into(),
    };
    let threads = count.div_ceil(EIGHT);
    to.push(Launch::over(kernel::PACK, threads, &params));
}

/// Takes them out again.
pub fn unpack(to: &mut Launches, count: usize, packed: Address, y: Address) {
    let params = UnpackParams {
        packed,
        y,
        count: number(count),
        vector: aligned(&[packed, y]).into(),
    };
    let threads = count.div_ceil(EIGHT);
    to.push(Launch::over(kernel::UNPACK, threads, &params));
}

/// Finds the range of a map; says in how many blocks.
fn range(to: &mut Launches, map: Address, count: usize, work: Address) -> usize {
    let blocks = blocks(count);
    let params = RangeParams {
        map,
        ranges: work,
        count: number(count),
        reserved: 0,
    };
    let grid = [number(blocks), 1, 1];
    to.push(Launch::new(kernel::RANGE, grid, &params));
    blocks
}

/// Heat Quantization of one map of `count` pixels in place, as `elucid_core::heat::quantize`. `work` has [`HEAT_WORK`] bytes.
pub fn quantize(to: &mut Launches, map: Address, count: usize, levels: u32, work: Address) {
    if levels < 2 {
        return;
    }
    let blocks = range(to, map, count, work);
    let params = HeatParams {
        ranges: work,
        map,
        count: number(count),
        blocks: number(blocks),
        levels,
        reserved: 0,
    };
    to.push(Launch::over(kernel::QUANTIZE, count, &params));
}

/// One map of `count` pixels from 0 to 1 in place; one that is constant or not finite stays as it is. `work` has [`HEAT_WORK`]
/// bytes.
pub fn normalize(to: &mut Launches, map: Address, count: usize, work: Address) {
    let blocks = range(to, map, count, work);
    let params = HeatParams {
        ranges: work,
        map,
        count: number(count),
        blocks: number(blocks),
        levels: 0,
        reserved: 0,
    };
    to.push(Launch::over(kernel::NORMALIZE, count, &params));
}
