//! What a launch costs, counted from its argument: nothing is measured, and no device is needed.
//!
//! A price has three parts. *Operations* are those of the mathematics, a multiply-add being two and comparisons none;
//! *issued* ones are those that the kernel's loops do for them: tiles are padded, a product on tensor cores is two, a sum in
//! two floats takes seven additions. *Bytes* are those that must come from memory or go there once, whatever the caches
//! hold: operands, weights, results. *Requested* bytes are what blocks ask the L2 cache for: every tile reads its operands
//! again. What depends on the data (what dead cells spread, classes that are asked for by rank) isn't counted.

mod conv;
mod flow;
mod token;
mod window;

use std::iter::Sum;
use std::ops::{Add, AddAssign};

use bytemuck::AnyBitPattern;
use elucid_kernels::Kernel;

use crate::lower::Launch;

/// The price of a launch, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Operations of the mathematics on CUDA cores.
    pub f32_flops: u64,
    /// Operations of the mathematics on tensor cores.
    pub tensor_flops: u64,
    /// Operations that are issued to CUDA cores.
    pub f32_issued: u64,
    /// Operations that are issued to tensor cores.
    pub tensor_issued: u64,
    /// Bytes that are read from memory at least once.
    pub read: u64,
    /// Bytes that are written to memory.
    pub written: u64,
    /// Bytes that blocks request of the L2 cache, read and written.
    pub requested: u64,
}

impl Cost {
    /// Bytes read and written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.read + self.written
    }

    /// So many operations as they are, and bytes that are requested once.
    fn plain(flops: u64, read: u64, written: u64) -> Self {
        Self {
            f32_flops: flops,
            f32_issued: flops,
            read,
            written,
            requested: read + written,
            ..Self::default()
        }
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            f32_flops: self.f32_flops + other.f32_flops,
            tensor_flops: self.tensor_flops + other.tensor_flops,
            f32_issued: self.f32_issued + other.f32_issued,
            tensor_issued: self.tensor_issued + other.tensor_issued,
            read: self.read + other.read,
            written: self.written + other.written,
            requested: self.requested + other.requested,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Add::add)
    }
}

/// Bytes of a float.
const FLOAT: u64 = 4;

/// How a kernel's launches are priced.
type Price = fn(&Launch) -> Option<Cost>;

/// The price of a launch; `None` for a kernel that isn't of [`elucid_kernels::kernels`], or an argument that isn't its.
#[must_use]
pub fn cost(launch: &Launch) -> Option<Cost> {
    price(launch.kernel)?(launch)
}

/// The price of all of these; `None` if one of them has none.
#[must_use]
pub fn total(launches: &[Launch]) -> Option<Cost> {
    launches.iter().map(cost).sum()
}

/// The family of a kernel: the operation whose file it is in.
#[must_use]
pub fn family(kernel: &Kernel) -> &'static str {
    let name = kernel.source.name;
    name.strip_suffix(".cu").unwrap_or(name)
}

/// Blocks of a launch.
#[must_use]
pub fn blocks(launch: &Launch) -> u64 {
    launch.grid.iter().map(|&n| u64::from(n)).product()
}

fn price(kernel: &Kernel) -> Option<Price> {
    let name = kernel.entry.strip_prefix("elucid_")?;
    conv::price(name)
        .or_else(|| flow::price(name))
        .or_else(|| token::price(name))
}

/// The argument of a launch.
fn argument<P: AnyBitPattern>(launch: &Launch) -> Option<P> {
    bytemuck::try_pod_read_unaligned(launch.argument.bytes()).ok()
}

/// Counts multiply beyond 32 bits.
fn wide(n: u32) -> u64 {
    u64::from(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use elucid_kernels::kernels;

    #[test]
    fn every_kernel_has_a_price() {
        for kernel in kernels() {
            assert!(price(kernel).is_some(), "{} has no price", kernel.entry);
        }
    }

    #[test]
    fn an_argument_of_another_kernel_has_none() {
        let split = elucid_kernels::flow::SPLIT;
        let params = elucid_kernels::params::TallyParams {
            sums: 0,
            slots: 0,
            blocks: 1,
            width: 1,
        };
        let tally = Launch::new(elucid_kernels::flow::TALLY, [1, 1, 1], &params);
        assert!(cost(&tally).is_some());
        let wrong = Launch {
            kernel: split,
            ..tally
        };
        assert!(cost(&wrong).is_none());
    }
}
