//! Launches: what a kernel is run with.

use bytemuck::Pod;
use elucid_kernels::Kernel;

/// The argument of a kernel: the bytes of its struct, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    words: [u64; Argument::WORDS],
    len: usize,
}

impl Argument {
    /// The longest argument, in words of eight bytes.
    const WORDS: usize = 32;

    /// The bytes of a struct.
    ///
    /// # Panics
    /// If it is longer than any kernel's.
    #[must_use]
    pub fn new<P: Pod>(params: &P) -> Self {
        let mut words = [0; Self::WORDS];
        let len = size_of::<P>();
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..len]
            .copy_from_slice(bytemuck::bytes_of(params));
        Self { words, len }
    }

    /// The bytes, aligned to eight.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }
}

/// One launch of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// What is run.
    pub kernel: &'static Kernel,
    /// Blocks in three dimensions, each of [`Kernel::block`] threads.
    pub grid: [u32; 3],
    /// Its argument.
    pub argument: Argument,
}

impl Launch {
    /// A kernel with its argument over a grid.
    #[must_use]
    pub fn new<P: Pod>(kernel: &'static Kernel, grid: [u32; 3], params: &P) -> Self {
        debug_assert_eq!(size_of::<P>(), kernel.argument, "{}", kernel.entry);
        let argument = Argument::new(params);
        Self {
            kernel,
            grid,
            argument,
        }
    }

    /// A kernel of one dimension whose threads past `threads` return at once.
    #[must_use]
    pub fn over<P: Pod>(kernel: &'static Kernel, threads: usize, params: &P) -> Self {
        let blocks = threads.div_ceil(kernel.block as usize).max(1);
        Self::new(kernel, [number(blocks), 1, 1], params)
    }
}

/// A count as kernels take it: plans keep every tensor below 2^30 elements.
pub(super) fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
