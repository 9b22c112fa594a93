//! How many blocks share a multiprocessor, by the limits that NVIDIA documents.

use crate::usage::Usage;

/// A multiprocessor. All have four schedulers and 65536 registers, given to warps 256 at a time.
struct Limits {
    arch: u32,
    /// Most threads.
    threads: u32,
    /// Most blocks.
    blocks: u32,
    /// Bytes of shared memory.
    shared: u32,
    /// Bytes of it that every block costs on top of its own.
    reserved: u32,
}

const fn limits(arch: u32, threads: u32, blocks: u32, shared: u32, reserved: u32) -> Limits {
    Limits {
        arch,
        threads,
        blocks,
        shared: shared * 1024,
        reserved,
    }
}

/// Nano, Xavier, Orin and H100.
const ALL: [Limits; 4] = [
    limits(53, 2048, 32, 64, 0),
    limits(72, 2048, 32, 96, 0),
    limits(87, 1536, 16, 164, 1024),
    limits(90, 2048, 32, 228, 1024),
];

/// The architectures whose occupancy is looked at.
pub const ARCHITECTURES: [u32; 4] = [53, 72, 87, 90];

/// Warps that a multiprocessor has at once, and the blocks that they are of.
pub fn warps(arch: u32, usage: Usage, threads: u32) -> (u32, u32) {
    let limits = ALL.iter().find(|l| l.arch == arch).expect("listed");
    let registers = (usage.registers.max(1) * 32).next_multiple_of(256);
    let warps = threads.div_ceil(32);
    let by_registers = 65536 / registers / 4 * 4 / warps;
    let by_shared = match usage.shared {
        0 => u32::MAX,
        bytes => limits.shared / (bytes + limits.reserved),
    };
    let blocks = by_registers
        .min(by_shared)
        .min(limits.threads / threads)
        .min(limits.blocks);
    (blocks * warps, blocks)
}

#[test]
fn multiprocessors_are_filled_up_to_their_limits() {
    let usage = |registers, shared| Usage {
        registers,
        shared,
        ..Usage::default()
    };
    // By registers, by shared memory, by threads, by blocks.
    assert_eq!(warps(87, usage(128, 16384), 128), (16, 4));
    assert_eq!(warps(53, usage(64, 16384), 128), (16, 4));
    assert_eq!(warps(87, usage(24, 0), 256), (48, 6));
    assert_eq!(warps(87, usage(24, 0), 64), (32, 16));
}
