//! The sweep of weight panels over gathered rows: the heart of every convolution and linear layer.

use crate::graph::{Conv, PANEL};
use crate::op::gather::{Gather, PADDING};
use crate::par::Tile;
use crate::simd::{Lanes, Load, Sources, dot};

/// What becomes of a finished accumulator.
pub trait Epilogue {
    /// What is the same for all pixels of sixteen channels, in registers.
    type Channels<L: Lanes>: Copy;

    /// Loads it for the channels from `channel` on.
    fn channels<L: Lanes>(&self, lanes: L, channel: usize) -> Self::Channels<L>;

    /// Asks for what [`Epilogue::finish`] will touch, while the accumulator is still at work.
    fn expect<L: Lanes>(&self, lanes: L, tile: &mut Tile<'_>, at: (usize, usize));

    /// Takes sixteen channels from `channel` on of output pixel `pixel` and writes them to the tile.
    fn finish<L: Lanes>(
        &self,
        lanes: L,
        channels: Self::Channels<L>,
        tile: &mut Tile<'_>,
        at: (usize, usize),
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

/// Multiplies every pixel of the table with one panel of sixteen channels.
#[inline(always)]
pub fn sweep<L: Lanes, W: Load, E: Epilogue, const PLUS: bool>(
    lanes: L,
    rows: Rows<'_>,
    gather: &Gather,
    panel: &[[W; PANEL]],
    channel: usize,
    (tile, epilogue): (&mut Tile<'_>, &E),
) {
    const {
        assert!(L::ROWS <= 8, "each number of rows has its kernel below");
    }
    let channels = epilogue.channels(lanes, channel);
    for (pixels, offsets) in gather.groups(L::ROWS) {
        // Those with more rows than the set works on are not compiled.
        macro_rules! kernels {
            ($($m:literal)*) => {
                $(if $m <= L::ROWS && pixels.len() == $m {
                    for &pixel in pixels {
                        epilogue.expect(lanes, tile, (pixel as usize, channel));
                    }
                    let acc = if L::SMALL {
                        shared::<L, W, PLUS, $m>(lanes, rows, offsets, panel)
                    } else {
                        group::<L, W, PLUS, $m>(lanes, rows, offsets, panel)
                    };
                    for (&pixel, acc) in pixels.iter().zip(acc) {
                        epilogue.finish(lanes, channels, tile, (pixel as usize, channel), acc);
                    }
                    continue;
                })*
            };
        }
        kernels!(1 2 3 4 5 6 7 8);
    }
}

/// `acc[m] = sum over taps of the row under the tap * the tap's part of the panel` for `M` pixels.
#[inline(always)]
fn group<L: Lanes, W: Load, const PLUS: bool, const M: usize>(
    lanes: L,
    rows: Rows<'_>,
    offsets: &[u32],
    panel: &[[W; PANEL]],
) -> [L::Row; M] {
    let mut acc = [lanes.splat(0.0); M];
    let taps = rows.taps.len();
    for (t, &tap) in rows.taps.iter().enumerate() {
        let mut padding = true;
        let sources = Sources::<M>::new(rows.span, |m| {
            let offset = offsets[m * taps + t];
            if offset == PADDING {
                rows.zero
            } else {
                padding = false;
                &rows.x[offset as usize..]
            }
        });
        if !padding {
            let start = usize::from(tap) * rows.span;
            acc = dot::<L, W, PLUS, M>(lanes, sources, &panel[start..start + rows.span], acc);
        }
    }
    acc
}

/// [`group`], one copy for all epilogues.
#[inline(never)]
fn shared<L: Lanes, W: Load, const PLUS: bool, const M: usize>(
    lanes: L,
    rows: Rows<'_>,
    offsets: &[u32],
    panel: &[[W; PANEL]],
) -> [L::Row; M] {
    group::<L, W, PLUS, M>(lanes, rows, offsets, panel)
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
