//! Launches of what lies between weighted layers.

use std::ops::Range;

use elucid_core::Shape;
use elucid_core::graph::{Pool, Subsample};
use elucid_core::op::gate::Gate;
use elucid_core::rule::{Dead, Init, PoolRule, Share};
use elucid_kernels::params::Address;

use super::Launch;

type Launches = Vec<Launch>;

/// `y = relu?(m + s)`, all of `count` elements.
pub fn add(to: &mut Launches, branches: (Address, Address), relu: bool, count: usize, y: Address) {}

/// Max pool of every image.
pub fn max_forward(
    to: &mut Launches,
    p: &Pool,
    shapes: [Shape; 2],
    images: usize,
    x: Address,
    y: Address,
) {
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
}

/// Global average of every image.
pub fn average_forward(to: &mut Launches, input: Shape, images: usize, x: Address, y: Address) {}

/// Relevance of a global average's input, of one map.
pub fn average_relevance(
    to: &mut Launches,
    input: Shape,
    operands: (Address, Address),
    rule: (f32, Dead),
    accumulate: bool,
    out: Address,
) {
}

/// Derivative of a global average, of one map.
pub fn average_gradient(
    to: &mut Launches,
    input: Shape,
    r: Address,
    accumulate: bool,
    out: Address,
) {
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
}

/// Channel sums of one map.
pub fn collect(
    to: &mut Launches,
    r: Address,
    size: (usize, usize),
    accumulate: bool,
    heat: Address,
) {
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
}

/// Puts `count` values by in half precision.
pub fn pack(to: &mut Launches, count: usize, x: Address, packed: Address) {}

/// Takes them out again.
pub fn unpack(to: &mut Launches, count: usize, packed: Address, y: Address) {}
