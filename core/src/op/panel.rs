//! The sweep of weight panels over gathered rows: the heart of every convolution and linear layer.

use crate::graph::{Conv, PANEL};
use crate::op::gather::{Gather, PADDING};
use crate::par::Tile;
use crate::simd::{Lanes, Load, ROWS, dot};

/// What becomes of a finished accumulator.
pub trait Epilogue {
    /// Takes sixteen channels from `channel` on of output pixel `pixel` and writes them to the tile.
    fn finish<L: Lanes>(
        &self,
        lanes: L,
        tile: &mut Tile<'_>,
        pixel: usize,
        channel: usize,
        acc: L::Row,
    );
}

/// The operands of a sweep besides the weights.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// The matrix whose rows are gathered.
    pub x: &'a [f32],
    /// Zeros for rows in the padding.
    pub zero: &'a [f32],
    /// Floats of a row that one tap reads.
    pub span: usize,
    /// For each tap of the table, its place in the panel.
    pub taps: &'a [u16],
}

/// Multiplies every group of the table with one panel of sixteen channels.
#[inline(always)]
pub fn sweep<L: Lanes, W: Load, E: Epilogue, const PLUS: bool>(
    lanes: L,
    rows: Rows<'_>,
    gather: &Gather,
    panel: &[[W; PANEL]],
    channel: usize,
    (tile, epilogue): (&mut Tile<'_>, &E),
) {
    for (pixels, offsets) in gather.groups() {
        match pixels.len() {
            1 => group::<L, W, E, PLUS, 1>(
                lanes,
                rows,
                pixels,
                offsets,
                panel,
                channel,
                (tile, epilogue),
            ),
            2 => group::<L, W, E, PLUS, 2>(
                lanes,
                rows,
                pixels,
                offsets,
                panel,
                channel,
                (tile, epilogue),
            ),
            3 | 4 => group::<L, W, E, PLUS, 4>(
                lanes,
                rows,
                pixels,
                offsets,
                panel,
                channel,
                (tile, epilogue),
            ),
            _ => group::<L, W, E, PLUS, ROWS>(
                lanes,
                rows,
                pixels,
                offsets,
                panel,
                channel,
                (tile, epilogue),
            ),
        }
    }
}

#[inline(always)]
fn group<L: Lanes, W: Load, E: Epilogue, const PLUS: bool, const M: usize>(
    lanes: L,
    rows: Rows<'_>,
    pixels: &[u32],
    offsets: &[[u32; ROWS]],
    panel: &[[W; PANEL]],
    channel: usize,
    (tile, epilogue): (&mut Tile<'_>, &E),
) {
    let mut acc = [lanes.splat(0.0); M];
    for (offsets, &tap) in offsets.iter().zip(rows.taps) {
        if offsets == &[PADDING; ROWS] {
            continue;
        }
        let sources: [&[f32]; M] = core::array::from_fn(|m| {
            if offsets[m] == PADDING {
                &rows.zero[..rows.span]
            } else {
                let start = offsets[m] as usize;
                &rows.x[start..start + rows.span]
            }
        });
        let start = usize::from(tap) * rows.span;
        acc = dot::<L, W, PLUS, M>(lanes, sources, &panel[start..start + rows.span], acc);
    }
    for (&pixel, acc) in pixels.iter().zip(acc) {
        epilogue.finish(lanes, tile, pixel as usize, channel, acc);
    }
}

/// Lays weights `[co, ci, kh, kw]` out as panels `[co/16][kh*kw*ci][16]`; lanes past `co` become 0.
///
/// # Panics
/// If a slice has not the layer's size.
pub fn pack(c: &Conv, weights: &[f32], panels: &mut [f32]) {
    let (ci, co, taps) = (c.ci as usize, c.co as usize, c.taps());
    assert!(weights.len() == co * ci * taps && panels.len() == c.stored());
    panels.fill(0.0);
    for (o, filter) in weights.chunks_exact(ci * taps).enumerate() {
        let panel = o / PANEL * taps * ci;
        for (i, plane) in filter.chunks_exact(taps).enumerate() {
            for (tap, &v) in plane.iter().enumerate() {
                panels[(panel + tap * ci + i) * PANEL + o % PANEL] = v;
            }
        }
    }
}
