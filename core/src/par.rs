//! Threads behind a trait: the core hands out tiles, a [`Pool`] brings the threads.
//!
//! [`tiles`] cuts a matrix into disjoint tiles and claims each exactly once through an atomic counter, so a pool that
//! calls its closure too often or too seldom still gives the right result. Each element is computed whole by one tile
//! in one order: the result is the same bit for bit for any number of threads.

use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Something that can run one closure on several threads at once.
pub trait Pool: Sync {
    /// How many threads [`Pool::broadcast`] uses.
    fn threads(&self) -> usize;
    /// Calls `f` on each thread and returns when all calls have returned.
    fn broadcast(&self, f: &(dyn Fn() + Sync));
}

/// No threads but the caller's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Pool for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn broadcast(&self, f: &(dyn Fn() + Sync)) {
        f();
    }
}

/// A row-major matrix `rows x cols` and the size of the tiles it is cut into.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix.
    pub cols: usize,
    /// Rows of a tile.
    pub row_step: usize,
    /// Columns of a tile.
    pub col_step: usize,
}

/// A tile that no other thread touches.
#[derive(Debug)]
pub struct Tile<'a> {
    base: *mut f32,
    stride: usize,
    rows: Range<usize>,
    cols: Range<usize>,
    life: PhantomData<&'a mut [f32]>,
}

impl Tile<'_> {
    /// Rows of the tile, counted in the whole matrix.
    #[inline(always)]
    #[must_use]
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Columns of the tile, counted in the whole matrix.
    #[inline(always)]
    #[must_use]
    pub fn cols(&self) -> Range<usize> {
        self.cols.clone()
    }

    /// The tile's part of row `row` (counted in the whole matrix).
    ///
    /// # Panics
    /// If the row is not one of the tile's.
    #[inline(always)]
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        self.cells(row, self.cols.start, usize::MAX)
    }

    /// Up to `len` cells of the tile's part of row `row` from column `col` on (both counted in the whole matrix).
    ///
    /// # Panics
    /// If the first cell is not one of the tile's.
    #[inline(always)]
    pub fn cells(&mut self, row: usize, col: usize, len: usize) -> &mut [f32] {
        // One comparison each: what lies before the tile wraps to something large.
        let inside = |at: usize, range: &Range<usize>| at.wrapping_sub(range.start) < range.len();
        assert!(inside(row, &self.rows) && inside(col, &self.cols));
        let len = len.min(self.cols.end - col);
        // SAFETY: `row` lies in `self.rows`, `col .. col + len` in `self.cols`, and those within the matrix (private, cut
        // from the grid by `tiles`), whose exclusive borrow outlives the tile. Tiles of one grid don't overlap and each
        // is claimed once, and `&mut self` keeps two parts of one tile from being lent at once.
        unsafe { core::slice::from_raw_parts_mut(self.base.add(row * self.stride + col), len) }
    }
}

struct Raw(*mut f32);

// SAFETY: the pointer is only used to make disjoint tiles and disjoint scratch pieces, each by the one thread that
// claimed it.
unsafe impl Sync for Raw {}

/// Runs `f` once for every tile of `out`, on all threads of `pool`.
///
/// `scratch` is divided evenly among the threads; `f` gets the piece of its thread, with whatever an earlier tile left
/// in it.
///
/// # Panics
/// If `out` is not `grid.rows * grid.cols` long or a step is zero.
pub fn tiles(
    pool: &dyn Pool,
    out: &mut [f32],
    grid: Grid,
    scratch: &mut [f32],
    f: &(dyn Fn(Tile<'_>, &mut [f32]) + Sync),
) {
    assert!(
        grid.rows.checked_mul(grid.cols) == Some(out.len())
            && grid.row_step > 0
            && grid.col_step > 0
    );
    let down = grid.rows.div_ceil(grid.row_step);
    let across = grid.cols.div_ceil(grid.col_step);
    let threads = pool.threads().max(1);
    let share = scratch.len() / threads;
    let (base, pieces) = (Raw(out.as_mut_ptr()), Raw(scratch.as_mut_ptr()));
    let (workers, next) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (base, pieces) = (&base, &pieces);
    let work = || {
        let worker = workers.fetch_add(1, Ordering::Relaxed);
        if worker >= threads {
            return;
        }
        // SAFETY: the counter gives every caller another `worker` below `threads`, so the pieces are disjoint and lie
        // within `scratch`, which is borrowed exclusively for the whole call.
        let piece = unsafe { core::slice::from_raw_parts_mut(pieces.0.add(worker * share), share) };
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= down * across {
                return;
            }
            let (r, c) = (
                index / across * grid.row_step,
                index % across * grid.col_step,
            );
            let tile = Tile {
                base: base.0,
                stride: grid.cols,
                rows: r..grid.rows.min(r + grid.row_step),
                cols: c..grid.cols.min(c + grid.col_step),
                life: PhantomData,
            };
            f(tile, piece);
        }
    };
    if threads > 1 && down * across > 1 {
        pool.broadcast(&work);
    }
    // Whatever the pool left undone (all of it, if it never called) is done here.
    workers.store(0, Ordering::Relaxed);
    work();
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    /// Three threads, one of which is called twice.
    struct Odd;

    impl Pool for Odd {
        fn threads(&self) -> usize {
            3
        }

        fn broadcast(&self, f: &(dyn Fn() + Sync)) {
            std::thread::scope(|s| {
                for _ in 0..4 {
                    s.spawn(f);
                }
            });
        }
    }

    struct Lazy;

    impl Pool for Lazy {
        fn threads(&self) -> usize {
            4
        }

        fn broadcast(&self, _: &(dyn Fn() + Sync)) {}
    }

    #[test]
    fn every_element_is_written_once_whatever_the_pool_does() {
        for pool in [&Serial as &dyn Pool, &Odd, &Lazy] {
            let (mut out, mut scratch) = ([0f32; 7 * 11], [0f32; 12]);
            let grid = Grid {
                rows: 7,
                cols: 11,
                row_step: 2,
                col_step: 4,
            };
            tiles(pool, &mut out, grid, &mut scratch, &|mut tile, piece| {
                piece.fill(1.0);
                for row in tile.rows() {
                    let first = tile.cols().start;
                    for (i, v) in tile.row(row).iter_mut().enumerate() {
                        *v += (row * 11 + first + i) as f32;
                    }
                }
            });
            assert!(out.iter().enumerate().all(|(i, &v)| v == i as f32));
        }
    }
}
