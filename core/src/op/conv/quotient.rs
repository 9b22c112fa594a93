//! The division of z+: `s = R / (z + eps)`, and the account of what it loses.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::graph::PANEL;
use crate::op::panel::Epilogue;
use crate::op::{Context, LEAST_Z, Sinks, part};
use crate::par::{Grid, Tile, tiles};
use crate::rule::Dead;
use crate::simd::{Lanes, Task};

use super::dead::dead_cells;

/// Divides as soon as z is known: `s = R / (z + eps)`, 0 where that denominator vanishes.
pub struct Quotient<'a> {
    r: &'a [f32],
    eps: f32,
    co: usize,
    dead: AtomicBool,
}

impl<'a> Quotient<'a> {
    /// For relevance `r` of `[h', w', co]`.
    pub fn new(r: &'a [f32], eps: f32, co: usize) -> Self {
        let dead = AtomicBool::new(false);
        Self { r, eps, co, dead }
    }

    /// Whether a cell with relevance had no denominator.
    pub fn dead(self) -> bool {
        self.dead.into_inner()
    }
}

impl Epilogue for Quotient<'_> {
    type Channels<L: Lanes> = L::Row;

    #[inline(always)]
    fn channels<L: Lanes>(&self, l: L, _: usize) -> L::Row {
        l.splat(self.eps)
    }

    #[inline(always)]
    fn expect<L: Lanes>(&self, l: L, tile: &mut Tile<'_>, (pixel, channel): (usize, usize)) {
        l.prefetch(tile.cells(pixel, channel, PANEL).as_ptr());
        l.prefetch(part(self.r, pixel * self.co + channel, 1).as_ptr());
    }

    #[inline(always)]
    fn finish<L: Lanes>(
        &self,
        l: L,
        eps: L::Row,
        tile: &mut Tile<'_>,
        (pixel, channel): (usize, usize),
        acc: L::Row,
    ) {
        let out = tile.cells(pixel, channel, PANEL);
        let r = l.load_some(part(self.r, pixel * self.co + channel, out.len()));
        let (s, dead) = l.guarded_div(r, l.add(acc, eps), LEAST_Z);
        if dead {
            self.dead.store(true, Ordering::Relaxed);
        }
        l.store_some(s, out);
    }
}

/// Keeps `z + eps`, for several maps.
pub struct Denominator {
    pub eps: f32,
}

impl Epilogue for Denominator {
    type Channels<L: Lanes> = L::Row;

    #[inline(always)]
    fn channels<L: Lanes>(&self, l: L, _: usize) -> L::Row {
        l.splat(self.eps)
    }

    #[inline(always)]
    fn expect<L: Lanes>(&self, l: L, tile: &mut Tile<'_>, (pixel, channel): (usize, usize)) {
        l.prefetch(tile.cells(pixel, channel, PANEL).as_ptr());
    }

    #[inline(always)]
    fn finish<L: Lanes>(
        &self,
        l: L,
        eps: L::Row,
        tile: &mut Tile<'_>,
        (pixel, channel): (usize, usize),
        acc: L::Row,
    ) {
        l.store_some(l.add(acc, eps), tile.cells(pixel, channel, PANEL));
    }
}

/// `s = r / z` where z is known already; whether a cell with relevance had no denominator.
pub fn divide(cx: &Context<'_>, r: &[f32], z: &[f32], co: usize, s: &mut [f32]) -> bool {
    let dead = AtomicBool::new(false);
    let rows = r.len() / co;
    let grid = Grid {
        rows,
        cols: co,
        row_step: rows.div_ceil(4 * cx.pool.threads()).max(1),
        col_step: co,
    };
    tiles(cx.pool, s, grid, &mut [], &|tile, _| {
        let (r, z, dead) = (r, z, &dead);
        cx.isa.run(Divide { r, z, tile, dead });
    });
    dead.into_inner()
}

struct Divide<'a> {
    r: &'a [f32],
    z: &'a [f32],
    tile: Tile<'a>,
    dead: &'a AtomicBool,
}

impl Task for Divide<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let co = self.tile.cols().len();
        let mut any = false;
        for row in self.tile.rows() {
            let (r, z) = (part(self.r, row * co, co), part(self.z, row * co, co));
            any |= quotients(l, (r, z), self.tile.row(row));
        }
        if any {
            self.dead.store(true, Ordering::Relaxed);
        }
    }
}

/// `s = r / z` for the channels of one pixel; whether one with relevance had no denominator.
#[inline(always)]
pub fn quotients<L: Lanes>(l: L, (r, z): (&[f32], &[f32]), s: &mut [f32]) -> bool {
    let mut any = false;
    let parts = r.chunks(PANEL).zip(z.chunks(PANEL));
    for (s, (r, z)) in s.chunks_mut(PANEL).zip(parts) {
        let (quotient, dead) = l.guarded_div(l.load_some(r), l.load_some(z), LEAST_Z);
        l.store_some(quotient, s);
        any |= dead;
    }
    any
}

/// Where relevance went besides onwards: what dead cells held is spread or lost, and an audit books what eps took.
/// `any` says whether there are dead cells at all.
pub fn settle(
    cx: &Context<'_>,
    (r, s): (&[f32], &[f32]),
    (eps, dead, any): (f32, Dead, bool),
    spread: impl FnOnce() -> f64,
) -> Sinks {
    let mut sinks = Sinks::default();
    match dead {
        Dead::Redistribute if any => sinks.redistributed = spread(),
        Dead::Sink if any => sinks.dead = dead_cells(r, s).map(|(_, r)| f64::from(r)).sum(),
        Dead::Redistribute | Dead::Sink => {}
    }
    if cx.audit && eps > 0.0 {
        for (&r, &s) in r.iter().zip(s) {
            // z = 0 gives exactly R / eps: nothing of it went on.
            let sink = if s == r / eps {
                &mut sinks.dead
            } else {
                &mut sinks.eps
            };
            *sink += f64::from(s) * f64::from(eps);
        }
    }
    sinks
}
