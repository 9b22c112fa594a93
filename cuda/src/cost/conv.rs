//! Weighted layers.

use elucid_kernels::params::{
    BackParams, ConvParams, ConvShape, DivideParams, FoldedDivideParams, Of, OnesParams, PANEL,
    QuotientParams, SumsParams, TILE, TermInputsParams, TermWeightsParams,
};

use super::window::{Line, both, class, lines};
use super::{Cost, FLOAT, Price, argument, blocks, wide};
use crate::lower::Launch;

/// Products of a step of a tile.
const STEP: u64 = 16;

/// The price of a kernel by its name without `elucid_`.
pub fn price(name: &str) -> Option<Price> {
    Some(match name {
        "conv_f32" | "conv_single_f32" => |l| forward(l, wide(TILE), 4),
        "conv_f16" | "conv_single_f16" => |l| forward(l, wide(TILE), 2),
        "conv_half_f32" => |l| forward(l, wide(TILE / 2), 4),
        "conv_half_f16" => |l| forward(l, wide(TILE / 2), 2),
        "tensor_f16" => tensor,
        "tensor_z_f16" => tensor_denominators,
        "z_f32" | "z_single_f32" => |l| denominators(l, wide(TILE), 4),
        "z_f16" | "z_single_f16" => |l| denominators(l, wide(TILE), 2),
        "z_half_f32" => |l| denominators(l, wide(TILE / 2), 4),
        "z_half_f16" => |l| denominators(l, wide(TILE / 2), 2),
        "back_f32" | "back_single_f32" => |l| back(l, wide(TILE), 4),
        "back_f16" | "back_single_f16" => |l| back(l, wide(TILE), 2),
        "back_half_f32" => |l| back(l, wide(TILE / 2), 4),
        "back_half_f16" => |l| back(l, wide(TILE / 2), 2),
        "stem_back_f32" => |l| stem_back(l, 4),
        "stem_back_f16" => |l| stem_back(l, 2),
        "linear_f32" => |l| linear(l, 4),
        "linear_f16" => |l| linear(l, 2),
        "linear_z_f32" => |l| linear_denominators(l, 4),
        "linear_z_f16" => |l| linear_denominators(l, 2),
        "linear_back_f32" => |l| linear_back(l, 4),
        "linear_back_f16" => |l| linear_back(l, 2),
        "sums_f32" => |l| sums(l, 4),
        "sums_f16" => |l| sums(l, 2),
        "term_weights_f32" => |l| term_weights(l, 4),
        "term_weights_f16" => |l| term_weights(l, 2),
        "divide" => divide,
        "ones_divide" => ones_divide,
        "ones_collect" => ones_collect,
        "term_inputs" => term_inputs,
        "folded_divide" => folded_divide,
        _ => return None,
    })
}

/// One if an address is there.
fn there(address: u64) -> u64 {
    u64::from(address != 0)
}

/// Products of one output: taps times input channels.
fn products(s: &ConvShape) -> u64 {
    wide(s.kh) * wide(s.kw) * wide(s.ci)
}

/// Output cells of an image.
fn cells(s: &ConvShape) -> u64 {
    wide(s.oh) * wide(s.ow)
}

/// Input pixels of an image.
fn pixels(s: &ConvShape) -> u64 {
    wide(s.h) * wide(s.w)
}

/// Output channels in whole panels.
fn padded(s: &ConvShape) -> u64 {
    wide(s.co.next_multiple_of(PANEL))
}

/// Bytes of the stored weights.
fn weights(s: &ConvShape, stored: u64) -> u64 {
    padded(s) * products(s) * stored
}

/// The product of `images` over tiles of `tile` cells, without what ends it: operations and what is read.
fn product(s: &ConvShape, images: u64, tile: u64, stored: u64) -> Cost {
    let lines = lines(s);
    let (rows, columns) = (
        (images * cells(s)).div_ceil(tile),
        wide(s.co.div_ceil(TILE)),
    );
    let flops = 2 * images * cells(s) * wide(s.co) * products(s);
    let steps = products(s).div_ceil(STEP);
    let input = images * both(lines, Line::reached) * wide(s.ci) * FLOAT;
    let gathered = images * both(lines, Line::pairs) * wide(s.ci) * FLOAT;
    Cost {
        f32_flops: flops,
        f32_issued: 2 * rows * columns * tile * wide(TILE) * steps * STEP,
        read: input + weights(s, stored),
        requested: columns * gathered + rows * weights(s, stored),
        ..Cost::default()
    }
}

/// What ends a forward pass: factors and summands by channel, the skip branch, and the output.
fn epilogue(p: &ConvParams, rows: u64) -> Cost {
    let channels = wide(p.shape.co);
    let count = wide(p.images) * cells(&p.shape) * channels;
    let vectors = there(p.scale) + there(p.shift);
    let ends = 2 * vectors.min(1) + there(p.skip);
    let read = there(p.skip) * count * FLOAT;
    let vectors = vectors * channels * FLOAT;
    Cost {
        requested: read + rows * vectors + count * FLOAT,
        ..Cost::plain(ends * count, read + vectors, count * FLOAT)
    }
}

fn forward(launch: &Launch, tile: u64, stored: u64) -> Option<Cost> {
    let p: ConvParams = argument(launch)?;
    let images = wide(p.images);
    Some(product(&p.shape, images, tile, stored) + epilogue(&p, wide(launch.grid[0])))
}

/// Two products of halves for one, and the splitting of what is gathered: two differences and a size.
fn tensor_product(launch: &Launch, s: &ConvShape, images: u64) -> Cost {
    let product = product(s, images, wide(TILE), 2);
    let split = 3 * blocks(launch) * wide(TILE) * products(s).next_multiple_of(STEP);
    Cost {
        tensor_flops: product.f32_flops,
        tensor_issued: 2 * product.f32_issued,
        f32_flops: 0,
        f32_issued: split,
        ..product
    }
}

fn tensor(launch: &Launch) -> Option<Cost> {
    let p: ConvParams = argument(launch)?;
    let product = tensor_product(launch, &p.shape, wide(p.images));
    Some(product + epilogue(&p, wide(launch.grid[0])))
}

/// As [`denominators`], and a comparison of each with the sum of its weights.
fn tensor_denominators(launch: &Launch) -> Option<Cost> {
    let p: QuotientParams = argument(launch)?;
    let seen = there(p.sums);
    let (count, sums) = (
        cells(&p.shape) * wide(p.shape.co),
        seen * wide(p.shape.co) * FLOAT,
    );
    let compared = Cost {
        requested: wide(launch.grid[0]) * sums,
        ..Cost::plain(seen * count, sums, 0)
    };
    Some(tensor_product(launch, &p.shape, 1) + compared + quotients(&p))
}

/// Denominators, and quotients if there is relevance: an addition and a division.
fn denominators(launch: &Launch, tile: u64, stored: u64) -> Option<Cost> {
    let p: QuotientParams = argument(launch)?;
    Some(product(&p.shape, 1, tile, stored) + quotients(&p))
}

fn quotients(p: &QuotientParams) -> Cost {
    let count = cells(&p.shape) * wide(p.shape.co);
    let divided = there(p.r);
    Cost::plain(
        (1 + divided) * count,
        divided * count * FLOAT,
        count * FLOAT,
    )
}

/// What ends a transposed product: the input activation, and the relevance of the input.
fn onto(p: &BackParams) -> Cost {
    let count = pixels(&p.shape) * wide(p.shape.ci);
    let (a, added) = (there(p.a), u64::from(p.accumulate != 0));
    let read = (a + added) * count * FLOAT;
    Cost::plain((a + added) * count, read, count * FLOAT)
}

/// The transposed product, residue class by residue class of the stride.
fn back(launch: &Launch, tile: u64, stored: u64) -> Option<Cost> {
    let p: BackParams = argument(launch)?;
    let s = &p.shape;
    let (lines, columns) = (lines(s), wide(s.ci.div_ceil(TILE)));
    let (mut issued, mut panels) = (0, 0);
    for ry in 0..s.stride {
        for rx in 0..s.stride {
            let [(rows, down), (wide_rows, across)] = [class(lines[0], ry), class(lines[1], rx)];
            let (blocks, taps) = ((rows * wide_rows).div_ceil(tile), down * across);
            issued += 2 * blocks * columns * tile * wide(TILE) * taps * padded(s);
            panels += blocks * taps * padded(s) * wide(s.ci) * stored;
        }
    }
    let gathered = both(lines, Line::pairs) * wide(s.co) * FLOAT;
    let product = Cost {
        f32_flops: 2 * cells(s) * wide(s.co) * products(s),
        f32_issued: issued,
        read: cells(s) * wide(s.co) * FLOAT + weights(s, stored),
        requested: columns * gathered + panels,
        ..Cost::default()
    };
    Some(product + onto(&p))
}

/// The transposed product of a few input channels: a warp for each pixel, 32 output channels at a time.
fn stem_back(launch: &Launch, stored: u64) -> Option<Cost> {
    let p: BackParams = argument(launch)?;
    let s = &p.shape;
    let pairs = both(lines(s), Line::pairs);
    let lanes = wide(s.co.next_multiple_of(32));
    let product = Cost {
        f32_flops: 2 * cells(s) * wide(s.co) * products(s),
        f32_issued: 2 * pairs * lanes * wide(s.ci),
        read: cells(s) * wide(s.co) * FLOAT + weights(s, stored),
        requested: pairs * wide(s.co) * (FLOAT + wide(s.ci) * stored),
        ..Cost::default()
    };
    Some(product + onto(&p))
}

/// Dot products, a block for each panel: operations and what is read.
fn dots(s: &ConvShape, images: u64, stored: u64) -> Cost {
    let (inputs, panels) = (wide(s.ci), padded(s) / wide(PANEL));
    let weights = padded(s) * inputs * stored;
    Cost {
        f32_flops: 2 * images * inputs * wide(s.co),
        f32_issued: 2 * images * inputs * padded(s),
        read: images * inputs * FLOAT + weights,
        requested: images * (panels * inputs * FLOAT + weights),
        ..Cost::default()
    }
}

fn linear(launch: &Launch, stored: u64) -> Option<Cost> {
    let p: ConvParams = argument(launch)?;
    let images = wide(p.images);
    Some(dots(&p.shape, images, stored) + epilogue(&p, images))
}

fn linear_denominators(launch: &Launch, stored: u64) -> Option<Cost> {
    let p: QuotientParams = argument(launch)?;
    Some(dots(&p.shape, 1, stored) + quotients(&p))
}

fn linear_back(launch: &Launch, stored: u64) -> Option<Cost> {
    let p: BackParams = argument(launch)?;
    let s = &p.shape;
    let (inputs, outputs) = (wide(s.ci), wide(s.co));
    let weights = padded(s) * inputs * stored;
    let product = Cost {
        f32_flops: 2 * inputs * outputs,
        f32_issued: 2 * inputs.next_multiple_of(32) * outputs,
        read: outputs * FLOAT + weights,
        requested: wide(launch.grid[0]) * outputs * FLOAT + weights,
        ..Cost::default()
    };
    Some(product + onto(&p))
}

fn sums(launch: &Launch, stored: u64) -> Option<Cost> {
    let p: SumsParams = argument(launch)?;
    let row = wide(p.panels) * wide(PANEL);
    let (taps, inputs) = (wide(p.taps), wide(p.ci));
    let written = (taps + 1) * row * FLOAT;
    Some(Cost::plain(
        taps * (inputs + 1) * row,
        taps * inputs * row * stored,
        written,
    ))
}

fn divide(launch: &Launch) -> Option<Cost> {
    let p: DivideParams = argument(launch)?;
    let count = wide(p.count);
    Some(Cost::plain(count, 2 * count * FLOAT, count * FLOAT))
}

/// Cells on the rim add the sums of their taps up.
fn ones_divide(launch: &Launch) -> Option<Cost> {
    let p: OnesParams = argument(launch)?;
    let s = &p.shape;
    let (lines, channels) = (lines(s), wide(s.co));
    let taps = wide(s.kh) * wide(s.kw);
    let whole = both(lines, Line::whole);
    let rim = both(lines, Line::pairs) - whole * taps;
    let count = cells(s) * channels;
    let sums = (taps + 1) * padded(s) * FLOAT;
    let cost = Cost::plain(
        2 * count + rim * channels,
        count * FLOAT + sums,
        count * FLOAT,
    );
    let requested = 2 * count * FLOAT + (whole + rim) * channels * FLOAT;
    Some(Cost { requested, ..cost })
}

/// A warp for each pixel, 32 channels at a time.
fn ones_collect(launch: &Launch) -> Option<Cost> {
    let p: OnesParams = argument(launch)?;
    let s = &p.shape;
    let (pairs, channels) = (both(lines(s), Line::pairs), wide(s.co));
    let added = u64::from(p.accumulate != 0);
    let heat = (1 + added) * pixels(s) * FLOAT;
    let sums = wide(s.kh) * wide(s.kw) * padded(s) * FLOAT;
    Some(Cost {
        f32_flops: 2 * pairs * channels,
        f32_issued: 2 * pairs * wide(s.co.next_multiple_of(32)),
        read: cells(s) * channels * FLOAT + sums + added * pixels(s) * FLOAT,
        written: pixels(s) * FLOAT,
        requested: 2 * pairs * channels * FLOAT + heat,
        ..Cost::default()
    })
}

fn term_weights(launch: &Launch, stored: u64) -> Option<Cost> {
    let p: TermWeightsParams = argument(launch)?;
    let (count, scale) = (wide(p.count), there(p.scale) * wide(p.co) * FLOAT);
    Some(Cost::plain(
        2 * count,
        count * stored + scale,
        count * FLOAT,
    ))
}

fn term_inputs(launch: &Launch) -> Option<Cost> {
    let p: TermInputsParams = argument(launch)?;
    let (count, bias) = (wide(p.count), there(p.bias) * wide(p.co));
    let reads = p.of != Of::Ones as u32 && p.of != Of::Constant as u32;
    let read = u64::from(reads) * count + there(p.shift) * bias;
    Some(Cost::plain(bias, read * FLOAT, (count + bias) * FLOAT))
}

fn folded_divide(launch: &Launch) -> Option<Cost> {
    let p: FoldedDivideParams = argument(launch)?;
    let count = wide(p.count);
    let read = (2 + there(p.whole)) * count * FLOAT;
    Some(Cost::plain(3 * count, read, count * FLOAT))
}
