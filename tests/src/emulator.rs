//! The CUDA kernels as functions on slices, executed on the CPU.
//!
//! The build script compiles the kernels' own sources as host C++ (`src/emulator/emulator.cpp`). [`split`] and
//! [`collect`] put slices into the kernel's parameters and run every thread of the grid in the order of a [`Launch`].
#![allow(unsafe_code)] // The kernels are C++ and take addresses.

use std::ops::Range;

use elucid_host::synthetic::Random;
use elucid_kernels::{BLOCK, CollectParams, Params, Share, SplitParams};

unsafe extern "C" {
    fn emulate_split(params: *const SplitParams, blocks: u32, block: u32, order: *const u32);
    fn emulate_collect(params: *const CollectParams, blocks: u32, block: u32, order: *const u32);
}

/// In which order the threads of a grid run. A GPU promises none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// First to last.
    Ascending,
    /// Last to first.
    Descending,
    /// At random, the same for the same seed.
    Shuffled(u64),
}

/// How a kernel is launched.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// Order of the threads.
    pub order: Order,
    /// Blocks beyond those that have something to do.
    pub spare: u32,
}

impl Launch {
    /// Blocks of a grid with at least this many threads, and the numbers of its threads in order.
    fn grid(self, blocks: u32) -> (u32, Vec<u32>) {
        let blocks = blocks + self.spare;
        let mut order: Vec<u32> = (0..blocks * BLOCK).collect();
        match self.order {
            Order::Ascending => {}
            Order::Descending => order.reverse(),
            Order::Shuffled(seed) => {
                let mut random = Random::new(seed);
                for i in (1..order.len()).rev() {
                    let j = ((random.draw() + 1.0) / 2.0 * (i + 1) as f32) as usize;
                    order.swap(i, j.min(i));
                }
            }
        }
        (blocks, order)
    }
}

/// `elucid_split` with the arguments of `elucid_core::op::add::split`. `branches` may be empty unless the share is
/// [`Share::Ratio`].
///
/// # Panics
/// If the slices don't fit each other.
pub fn split(
    share: Share,
    branches: (&[f32], &[f32]),
    (channels, live): (usize, Range<usize>),
    accumulate: bool,
    (r, skip): (&mut [f32], &mut [f32]),
    launch: Launch,
) {
    let lengths = [branches.0.len(), branches.1.len(), skip.len()];
    let needed = if share == Share::Ratio { 0 } else { 2 };
    assert!(lengths[needed..].iter().all(|&len| len == r.len()));
    assert!(channels > 0 && live.start <= live.end && live.end <= channels);
    let params = SplitParams {
        residual: branches.0.as_ptr() as u64,
        skip: branches.1.as_ptr() as u64,
        relevance: r.as_mut_ptr() as u64,
        skip_relevance: skip.as_mut_ptr() as u64,
        count: r.len() as u32,
        channels: channels as u32,
        live_start: live.start as u32,
        live_end: live.end as u32,
        share: share as u32,
        accumulate: u32::from(accumulate),
    };
    let (blocks, order) = launch.grid(params.blocks());
    // SAFETY: the addresses are those of slices that live to the end of this call, the written ones borrowed
    // exclusively. All that the kernel reads or writes have `count` elements, as asserted above. `order` has an entry
    // for each thread.
    unsafe { emulate_split(&raw const params, blocks, BLOCK, order.as_ptr()) }
}

/// `elucid_collect` with the arguments of `elucid_core::op::head::collect`.
///
/// # Panics
/// If the slices don't fit each other.
pub fn collect(r: &[f32], channels: usize, heat: &mut [f32], launch: Launch) {
    assert!(channels > 0 && r.len() == heat.len() * channels);
    let params = CollectParams {
        relevance: r.as_ptr() as u64,
        heat: heat.as_mut_ptr() as u64,
        pixels: heat.len() as u32,
        channels: channels as u32,
    };
    let (blocks, order) = launch.grid(params.blocks());
    // SAFETY: as in `split`: `heat` has `pixels` elements and `r` has `channels` for each, as asserted above.
    unsafe { emulate_collect(&raw const params, blocks, BLOCK, order.as_ptr()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_names_every_thread_once() {
        for order in [Order::Ascending, Order::Descending, Order::Shuffled(7)] {
            let (blocks, mut threads) = Launch { order, spare: 1 }.grid(2);
            assert_eq!(blocks, 3);
            assert_eq!(
                order == Order::Ascending,
                threads.is_sorted(),
                "{order:?} looks like another"
            );
            threads.sort_unstable();
            assert!(threads.iter().copied().eq(0..3 * BLOCK));
        }
    }
}
