//! Weighted layers: `cu/params_conv.h`.

/// The bits of `s` in a cell of z+ without a denominator whose relevance is redistributed: a NaN that no arithmetic makes.
pub const DEAD_CELL: u32 = 0x7fff_dead;
