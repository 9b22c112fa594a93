//! The product of gathered rows with weight panels, handed to an epilogue.

use crate::graph::{Conv, PANEL};
use crate::op::gather::{ALL_TAPS, Gather, Window, padded};
use crate::op::panel::{Epilogue, Rows, sweep};
use crate::op::{Context, part};
use crate::par::{Grid, Tile, tiles};
use crate::shape::Shape;
use crate::simd::{Lanes, Load, Task};
use crate::view::Weights;

use super::narrow;

/// Floats of inputs and outputs that a block of pixels may span, so that it stays in the second-level cache.
const BLOCK: usize = 128 * 1024;

/// Rows per tile and columns per tile of a product, so that threads have enough tiles and blocks stay in the cache.
fn product_grid(cx: &Context<'_>, c: &Conv, rows: usize, capacity: usize) -> Grid {
    let kernel = cx.isa.rows();
    let most = (BLOCK / (c.ci + c.co) as usize).clamp(1, capacity);
    // Blocks of one size, in whole kernels where that fits.
    let even = rows.div_ceil(rows.div_ceil(most));
    let whole = even.next_multiple_of(kernel);
    let row_step = if whole <= capacity { whole } else { even };
    let blocks = rows.div_ceil(row_step);
    let splits = match cx.pool.threads() {
        1 => 1,
        threads => (4 * threads).div_ceil(blocks).min(c.panels()),
    };
    Grid {
        rows,
        cols: c.co as usize,
        row_step,
        col_step: c.panels().div_ceil(splits) * PANEL,
    }
}

/// Hands `conv(x, w)`, or `conv(x, w+)` with `PLUS`, to the epilogue, for as many images as `y` holds (one if the layer is
/// narrow).
pub fn product<const PLUS: bool, E: Epilogue + Sync>(
    cx: &Context<'_>,
    c: &Conv,
    (input, output): (Shape, Shape),
    x: &[f32],
    w: Weights<'_>,
    (y, scratch): (&mut [f32], &mut [f32]),
    epilogue: &E,
) {
    let (window, x) = if narrow(c) {
        let copy = &mut scratch[..padded(c, input).elements()];
        write_padding(c, input, x, copy);
        (Window::merged(c, input, output), &*copy)
    } else {
        (Window::plain(c, input, output), x)
    };
    let rows = Rows {
        x,
        zero: cx.zero,
        span: window.span,
        taps: &ALL_TAPS[..window.taps()],
    };
    let pixels = y.len() / c.co as usize;
    let grid = product_grid(cx, c, pixels, Gather::capacity(window.taps()));
    tiles(cx.pool, y, grid, &mut [], &|tile, _| match w {
        Weights::F32(w) => cx.isa.run(Product::<_, _, PLUS> {
            rows,
            window,
            c,
            w,
            tile,
            epilogue,
        }),
        Weights::F16(w) => cx.isa.run(Product::<_, _, PLUS> {
            rows,
            window,
            c,
            w,
            tile,
            epilogue,
        }),
    });
}

struct Product<'a, W, E, const PLUS: bool> {
    rows: Rows<'a>,
    window: Window,
    c: &'a Conv,
    w: &'a [W],
    tile: Tile<'a>,
    epilogue: &'a E,
}

impl<W: Load, E: Epilogue, const PLUS: bool> Task for Product<'_, W, E, PLUS> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let (panels, _) = self.w.as_chunks::<PANEL>();
        let depth = self.c.taps() * self.c.ci as usize;
        let mut gather = Gather::new(self.window.taps());
        let (mut next, end) = (self.tile.rows().start, self.tile.rows().end);
        while next < end {
            next = self.window.fill(&mut gather, next, end);
            let mut channel = self.tile.cols().start;
            while channel < self.tile.cols().end {
                let panel = &panels[channel / PANEL * depth..][..depth];
                let out = (&mut self.tile, self.epilogue);
                sweep::<L, W, E, PLUS>(lanes, self.rows, &gather, panel, channel, out);
                channel += PANEL;
            }
        }
    }
}

/// Copies `x` into the middle of a buffer whose border is zero.
fn write_padding(c: &Conv, input: Shape, x: &[f32], copy: &mut [f32]) {
    let (pad, ci) = (usize::from(c.pad), c.ci as usize);
    let line = input.w as usize * ci;
    let wide = line + 2 * pad * ci;
    copy.fill(0.0);
    for y in 0..input.h as usize {
        let to = &mut copy[(y + pad) * wide + pad * ci..][..line];
        to.copy_from_slice(part(x, y * line, line));
    }
}
