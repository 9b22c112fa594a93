//! Layers of transformers and of the adapter.

use elucid_kernels::params::{
    ATTENTION_KEYS, AffineParams, AttentionParams, EnlargeParams, FuseParams, MatmulParams,
    MinmaxParams, MulmapParams, NormParams, PositionsParams, SliceParams, TokensParams,
};
use elucid_kernels::token::{ATTENTION_CHUNK, MATMUL_PIXELS, MATMUL_QUERIES};

use super::{Cost, FLOAT, Price, argument, wide};
use crate::lower::Launch;

/// Channels that a block of the products of pixels with queries takes at a time.
const CHANNELS: u64 = 32;

/// The price of a kernel by its name without `elucid_`.
pub fn price(name: &str) -> Option<Price> {
    Some(match name {
        "tokens" => tokens,
        "slice" => slice,
        "positions" => positions,
        "norm" => |l| norm(l, 1),
        "norm_wide" => |l| norm(l, 3),
        "affine" => affine,
        "attention_16" => |l| attention(l, 16),
        "attention_32" => |l| attention(l, 32),
        "attention_40" => |l| attention(l, 40),
        "attention_64" => |l| attention(l, 64),
        "attention_128" => |l| attention(l, 128),
        "attention_wide" => |l| attention(l, ATTENTION_CHUNK),
        "fuse" => fuse,
        "enlarge" => enlarge,
        "matmul" => matmul,
        "minmax" => minmax,
        "mulmap" => mulmap,
        _ => return None,
    })
}

/// One if an address is there.
fn there(address: u64) -> u64 {
    u64::from(address != 0)
}

fn tokens(launch: &Launch) -> Option<Cost> {
    let p: TokensParams = argument(launch)?;
    let (head, rest, images) = (wide(p.head), wide(p.rest), wide(p.images));
    let written = images * (head + rest) * FLOAT;
    Some(Cost {
        requested: 2 * written,
        ..Cost::plain(0, (head + images * rest) * FLOAT, written)
    })
}

fn slice(launch: &Launch) -> Option<Cost> {
    let p: SliceParams = argument(launch)?;
    let bytes = wide(p.images) * wide(p.count) * FLOAT;
    Some(Cost::plain(0, bytes, bytes))
}

/// A table of the grid's size is added; of another one sixteen cells, weighted.
fn positions(launch: &Launch) -> Option<Cost> {
    let p: PositionsParams = argument(launch)?;
    let (images, channels) = (wide(p.images), wide(p.channels));
    let grid = wide(p.rows) * wide(p.columns) * channels;
    let head = wide(p.tokens) * channels;
    let table = wide(p.table_rows) * wide(p.table_columns) * channels;
    let same = (p.rows, p.columns) == (p.table_rows, p.table_columns);
    let (operations, cells) = if same { (1, 1) } else { (32, 16) };
    let added = there(p.head) * head;
    let (elements, lanes) = (images * (head + grid), if p.vector == 0 { 1 } else { 4 });
    let flops = images * (operations * grid + added);
    Some(Cost {
        // The weight of each cell, worked out by every thread.
        f32_issued: flops + u64::from(!same) * images * 16 * grid / lanes,
        requested: (2 * elements + images * (cells * grid + added)) * FLOAT,
        ..Cost::plain(flops, (elements + table + added) * FLOAT, elements * FLOAT)
    })
}

/// A row that is read once or three times.
fn norm(launch: &Launch, times: u64) -> Option<Cost> {
    let p: NormParams = argument(launch)?;
    let (rows, channels) = (wide(p.rows), wide(p.channels));
    let count = rows * channels;
    let vectors = (there(p.weight) + there(p.bias)) * channels;
    Some(Cost {
        requested: ((times + 1) * count + rows * vectors) * FLOAT,
        ..Cost::plain(7 * count, (count + vectors) * FLOAT, count * FLOAT)
    })
}

fn affine(launch: &Launch) -> Option<Cost> {
    let p: AffineParams = argument(launch)?;
    let (count, there) = (wide(p.count), there(p.scale) + there(p.shift));
    let vectors = there * wide(p.channels);
    Some(Cost {
        requested: (2 + there) * count * FLOAT,
        ..Cost::plain(2 * count, (count + vectors) * FLOAT, count * FLOAT)
    })
}

/// Scores and sums of values by tiles of queries and keys; `most` channels of a head, or of it at a time.
fn attention(launch: &Launch, most: u32) -> Option<Cost> {
    let p: AttentionParams = argument(launch)?;
    let (n, width, keys) = (wide(p.n), wide(p.width.max(1)), wide(ATTENTION_KEYS));
    let heads = wide(p.images) * wide(p.channels) / width;
    // Queries of a block and of one of its two warps; channels that a head takes at a time.
    let queries: u64 = if most > 64 { 32 } else { 64 };
    let (blocks, busy) = (n.div_ceil(queries), n.next_multiple_of(queries / 2));
    let chunks = width.div_ceil(wide(most));
    let tiles = n.div_ceil(keys);
    let last = n - (tiles.max(1) - 1) * keys;
    let scored = tiles * keys * width.next_multiple_of(4);
    let summed = ((tiles.max(1) - 1) * keys + last.next_multiple_of(4)) * wide(most);
    // A difference, a factor, an exponential and a sum of every score; what was summed so far is brought to a new maximum.
    let softened = 4 * tiles * keys + tiles * wide(most);
    let scores = heads * n * n;
    let elements = heads * n * width;
    let taken = if chunks > 1 { tiles } else { 1 };
    Some(Cost {
        f32_flops: 4 * scores * width + 4 * scores,
        f32_issued: heads * chunks * busy * (2 * scored + 2 * summed + softened),
        read: 3 * elements * FLOAT,
        written: elements * FLOAT,
        requested: (chunks * taken * elements
            + chunks * blocks * elements
            + blocks * elements
            + elements)
            * FLOAT,
        ..Cost::default()
    })
}

fn fuse(launch: &Launch) -> Option<Cost> {
    let p: FuseParams = argument(launch)?;
    let (images, channels) = (wide(p.images), wide(p.channels));
    let grid = wide(p.rows) * wide(p.columns) * channels;
    let elements = images * (grid + wide(p.tokens) * channels);
    let map = images * wide(p.map_rows) * wide(p.map_columns) * channels;
    Some(Cost {
        requested: (2 * elements + 4 * images * grid) * FLOAT,
        ..Cost::plain(
            8 * images * grid,
            (elements + map) * FLOAT,
            elements * FLOAT,
        )
    })
}

fn enlarge(launch: &Launch) -> Option<Cost> {
    let p: EnlargeParams = argument(launch)?;
    let (images, pixels) = (wide(p.images), wide(p.rows) * wide(p.columns));
    let map = images * wide(p.map_rows) * wide(p.map_columns) * FLOAT;
    let written = images * wide(p.targets) * pixels * FLOAT;
    Some(Cost {
        requested: 4 * images * pixels * FLOAT + written,
        ..Cost::plain(8 * images * pixels, map, written)
    })
}

fn matmul(launch: &Launch) -> Option<Cost> {
    let p: MatmulParams = argument(launch)?;
    let [images, pixels, queries, channels] = [p.images, p.pixels, p.queries, p.channels].map(wide);
    let (tall, broad) = (wide(MATMUL_PIXELS), wide(MATMUL_QUERIES));
    let (rows, columns) = (pixels.div_ceil(tall), queries.div_ceil(broad));
    let (x, query) = (pixels * channels, queries * channels);
    let written = images * pixels * queries * FLOAT;
    let flops = 2 * images * pixels * queries * channels;
    let steps = channels.next_multiple_of(CHANNELS);
    Some(Cost {
        f32_issued: 2 * images * rows * columns * tall * broad * steps,
        requested: images * (columns * x + rows * query) * FLOAT + written,
        ..Cost::plain(flops, images * (x + query) * FLOAT, written)
    })
}

fn minmax(launch: &Launch) -> Option<Cost> {
    let p: MinmaxParams = argument(launch)?;
    let count = wide(p.images) * wide(p.count);
    Some(Cost {
        requested: 3 * count * FLOAT,
        ..Cost::plain(2 * count, count * FLOAT, count * FLOAT)
    })
}

fn mulmap(launch: &Launch) -> Option<Cost> {
    let p: MulmapParams = argument(launch)?;
    let count = wide(p.count);
    let map = count / wide(p.channels.max(1));
    let lanes = if p.vector == 0 { 1 } else { 4 };
    Some(Cost {
        requested: (2 * count + count / lanes) * FLOAT,
        ..Cost::plain(count, (count + map) * FLOAT, count * FLOAT)
    })
}
