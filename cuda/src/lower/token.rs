//! Launches of the layers of transformers and of the adapter, all images of a step at once.
//!
//! Addresses are those of f32; where images differ, they lie one after the other.

use elucid_core::graph::{Attention, Node, Op, Part, Positions};
use elucid_core::op::token;
use elucid_core::plan::Step;
use elucid_core::{Error, Shape};
use elucid_kernels::params::{
    Address, AffineParams, AttentionParams, EnlargeParams, FuseParams, MatmulParams, MinmaxParams,
    MulmapParams, NormParams, PositionsParams, SliceParams, TokensParams,
};
use elucid_kernels::{Kernel, token as kernel};

use super::launch::number;
use super::{Launch, Lowering};

type Launches = Vec<Launch>;

/// The forward pass of a node for every image.
///
/// # Errors
/// [`Error::Unsupported`] for nodes of other kinds.
pub fn forward(l: &Lowering<'_>, node: &Node, step: &Step, to: &mut Launches) -> Result<(), Error> {
    let ([input, output], images) = (step.shapes, l.options.images);
    let (x, second, y) = (l.at(step.ins[0]), l.at(step.ins[1]), l.at(step.out));
    let count = step.out.len as usize;
    match node.op {
        Op::Tokens(t) => {
            let tokens = (l.tensor(t.weight), t.count as usize * t.c as usize);
            prepend(to, tokens, input, images, x, y);
        }
        Op::Positions(p) => {
            let tables = (l.tensor(p.tokens), l.tensor(p.grid));
            positions(to, &p, input, images, tables, x, y);
        }
        Op::Norm(n) => {
            let vectors = (l.tensor(n.weight), l.tensor(n.bias));
            norm(to, (n.c as usize, n.eps), count, vectors, x, y);
        }
        Op::Affine(f) => {
            let vectors = (l.tensor(f.scale), l.tensor(f.shift));
            affine(to, f.c as usize, count, vectors, x, y);
        }
        Op::Attention(a) => attention(to, &a, input.pixels(), images, x, y),
        Op::Slice(part) => slice(to, part, input, images, x, y),
        Op::Fuse => fuse(to, [input, output], images, (x, second), y),
        Op::MatMul => matmul(to, [input, output], images, (x, second), y),
        Op::MinMax => minmax(to, input, images, x, y),
        Op::MulMap => mulmap(to, output.c as usize, count, (x, second), y),
        Op::Input
        | Op::Conv(_)
        | Op::Linear(_)
        | Op::Add { .. }
        | Op::MaxPool(_)
        | Op::AvgPool
        | Op::Subsample(_) => return Err(l.unsupported(step)),
    }
    Ok(())
}

/// The adapter's map in the size of the image, once for each target.
pub fn enlarge(l: &Lowering<'_>, step: &Step, to: &mut Launches) {
    let (images, targets) = (l.options.images, l.options.targets);
    let (map, heat) = (l.at(step.ins[0]), l.at(step.out));
    resize(to, step.shapes, (images, targets), map, heat);
}

/// Whether 16 bytes can be read at once: all of these are addresses of them (0 for what isn't there), and rows are whole fours.
fn vector(addresses: &[Address], rows: &[usize]) -> bool {
    addresses.iter().all(|a| a.is_multiple_of(16)) && rows.iter().all(|r| r.is_multiple_of(4))
}

/// Images in a dimension of a grid; kernels go on with those that are beyond it.
fn images_of(images: usize) -> u32 {
    number(images.clamp(1, 65_535))
}

/// A launch of a thread for each element of an image, or for each four.
fn each<P: bytemuck::Pod>(
    to: &mut Launches,
    kernel: &'static Kernel,
    (count, vector): (usize, bool),
    images: usize,
    params: &P,
) {
    let threads = if vector { count / 4 } else { count };
    let mut launch = Launch::over(kernel, threads, params);
    launch.grid[1] = images_of(images);
    to.push(launch);
}

/// `count` elements of tokens, the same for all images, then the rows of `x`.
pub fn prepend(
    to: &mut Launches,
    (tokens, count): (Address, usize),
    input: Shape,
    images: usize,
    x: Address,
    y: Address,
) {
    let rest = input.elements();
    let vector = vector(&[tokens, x, y], &[count, rest]);
    let params = TokensParams {
        tokens,
        x,
        y,
        head: number(count),
        rest: number(rest),
        images: number(images),
        vector: vector.into(),
    };
    each(to, kernel::TOKENS, (count + rest, vector), images, &params);
}

/// The tokens or the grid of every image.
pub fn slice(to: &mut Launches, part: Part, input: Shape, images: usize, x: Address, y: Address) {
    let (range, stride) = (part.range(input), input.elements());
    let vector = vector(&[x, y], &[range.start, range.len(), stride]);
    let params = SliceParams {
        x,
        y,
        first: number(range.start),
        count: number(range.len()),
        stride: number(stride),
        images: number(images),
        vector: vector.into(),
        reserved: 0,
    };
    each(to, kernel::SLICE, (range.len(), vector), images, &params);
}

/// Position embeddings added to every image: those of the tokens (0: none) and the table of the grid.
pub fn positions(
    to: &mut Launches,
    p: &Positions,
    shape: Shape,
    images: usize,
    (head, table): (Address, Address),
    x: Address,
    y: Address,
) {
    let (rows, columns) = (usize::from(p.rows), usize::from(p.cols));
    let (h, w, c) = (shape.h as usize, shape.w as usize, shape.c as usize);
    let vector = vector(&[head, table, x, y], &[c]);
    let params = PositionsParams {
        x,
        head,
        table,
        y,
        rows: shape.h,
        columns: shape.w,
        table_rows: p.rows.into(),
        table_columns: p.cols.into(),
        channels: shape.c,
        tokens: shape.tokens,
        down: token::step(rows, h, p.larger),
        across: token::step(columns, w, p.larger),
        images: number(images),
        vector: vector.into(),
    };
    let count = (shape.elements(), vector);
    each(to, kernel::POSITIONS, count, images, &params);
}

/// Normalisation of all rows, `count` elements of `c` channels; factors and summands are 0 where there are none.
pub fn norm(
    to: &mut Launches,
    (c, eps): (usize, f32),
    count: usize,
    (weight, bias): (Address, Address),
    x: Address,
    y: Address,
) {
    let rows = count / c.max(1);
    let params = NormParams {
        x,
        weight,
        bias,
        y,
        rows: number(rows),
        channels: number(c),
        eps,
        reserved: 0,
    };
    let narrow = c <= kernel::NORM_CHANNELS as usize;
    to.push(if narrow && vector(&[x, weight, bias, y], &[c]) {
        Launch::over(kernel::NORM, rows * 32, &params)
    } else {
        Launch::new(kernel::NORM_WIDE, [number(rows), 1, 1], &params)
    });
}

/// `x * scale + shift` of all rows, `count` elements of `c` channels; factors and summands are 0 where there are none.
pub fn affine(
    to: &mut Launches,
    c: usize,
    count: usize,
    (scale, shift): (Address, Address),
    x: Address,
    y: Address,
) {
    let vector = vector(&[x, scale, shift, y], &[c]);
    let params = AffineParams {
        x,
        scale,
        shift,
        y,
        count: number(count),
        channels: number(c),
        vector: vector.into(),
        reserved: 0,
    };
    each(to, kernel::AFFINE, (count, vector), 1, &params);
}

/// The attention kernel for heads of `width` channels, and the queries of one of its blocks.
fn attention_kernel(width: usize) -> (&'static Kernel, usize) {
    match width {
        0..=16 => (kernel::ATTENTION_16, 64),
        17..=32 => (kernel::ATTENTION_32, 64),
        33..=40 => (kernel::ATTENTION_40, 64),
        41..=64 => (kernel::ATTENTION_64, 64),
        65..=128 => (kernel::ATTENTION_128, 32),
        _ => (kernel::ATTENTION_WIDE, 64),
    }
}

/// Self-attention among the `n` rows of every image, `[n, 3 c]` to `[n, c]`.
pub fn attention(
    to: &mut Launches,
    a: &Attention,
    n: usize,
    images: usize,
    qkv: Address,
    y: Address,
) {
    let width = a.width();
    let (kernel, queries) = attention_kernel(width);
    let chunks = match width {
        0..=128 => 1,
        _ => width.div_ceil(kernel::ATTENTION_CHUNK as usize),
    };
    let params = AttentionParams {
        qkv,
        y,
        n: number(n),
        channels: a.c,
        width: number(width),
        images: number(images),
        scale: core::f32::consts::LOG2_E / (width as f32).sqrt(),
        vector: vector(&[qkv, y], &[width]).into(),
    };
    let heads = usize::from(a.heads) * chunks;
    let grid = [
        number(n.div_ceil(queries)),
        number(heads),
        images_of(images),
    ];
    to.push(Launch::new(kernel, grid, &params));
}

/// A feature map, resized, added to the grid of `x`, image by image: `shapes` are those of the map and of `x`.
pub fn fuse(
    to: &mut Launches,
    [from, shape]: [Shape; 2],
    images: usize,
    (map, x): (Address, Address),
    y: Address,
) {
    let vector = vector(&[map, x, y], &[shape.c as usize]);
    let params = FuseParams {
        map,
        x,
        y,
        rows: shape.h,
        columns: shape.w,
        map_rows: from.h,
        map_columns: from.w,
        channels: shape.c,
        tokens: shape.tokens,
        down: from.h as f32 / shape.h as f32,
        across: from.w as f32 / shape.w as f32,
        images: number(images),
        vector: vector.into(),
    };
    let count = (shape.elements(), vector);
    each(to, kernel::FUSE, count, images, &params);
}

/// Maps of one channel, one of each image, resized to as many heat maps as an image has targets: `shapes` are those of both.
pub fn resize(
    to: &mut Launches,
    [from, shape]: [Shape; 2],
    (images, targets): (usize, usize),
    map: Address,
    heat: Address,
) {
    let params = EnlargeParams {
        map,
        heat,
        rows: shape.h,
        columns: shape.w,
        map_rows: from.h,
        map_columns: from.w,
        down: from.h as f32 / shape.h as f32,
        across: from.w as f32 / shape.w as f32,
        images: number(images),
        targets: number(targets),
    };
    let count = (shape.h as usize * shape.w as usize, false);
    each(to, kernel::ENLARGE, count, images, &params);
}

/// Products of the queries, `[1, q, c]`, with the pixels, `[h, w, c]`, of every image: `shapes` are those of the queries and of
/// the output, `[h, w, q]`.
pub fn matmul(
    to: &mut Launches,
    [queries, output]: [Shape; 2],
    images: usize,
    (query, x): (Address, Address),
    y: Address,
) {
    let pixels = output.pixels();
    let params = MatmulParams {
        query,
        x,
        y,
        queries: queries.w,
        pixels: number(pixels),
        channels: queries.c,
        images: number(images),
        vector: vector(&[query, x], &[queries.c as usize]).into(),
        reserved: 0,
    };
    let grid = [
        number(pixels.div_ceil(kernel::MATMUL_PIXELS as usize)),
        queries.w.div_ceil(kernel::MATMUL_QUERIES),
        images_of(images),
    ];
    to.push(Launch::new(kernel::MATMUL, grid, &params));
}

/// Minimum to 0 and maximum to 1 in every image.
pub fn minmax(to: &mut Launches, shape: Shape, images: usize, x: Address, y: Address) {
    let params = MinmaxParams {
        x,
        y,
        count: number(shape.elements()),
        images: number(images),
    };
    let blocks = [images_of(images), 1, 1];
    to.push(Launch::new(kernel::MINMAX, blocks, &params));
}

/// Pixels of `c` channels, `count` elements of all images, times their cells of the maps.
pub fn mulmap(to: &mut Launches, c: usize, count: usize, (x, map): (Address, Address), y: Address) {
    let vector = vector(&[x, y], &[c]);
    let params = MulmapParams {
        x,
        map,
        y,
        count: number(count),
        channels: number(c),
        vector: vector.into(),
        reserved: 0,
    };
    each(to, kernel::MULMAP, (count, vector), 1, &params);
}
