//! Kernels of weighted layers.

use crate::Kernel;

/// All of them.
pub const KERNELS: &[&Kernel] = &[];
