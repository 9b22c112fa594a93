//! Kernels of transformers and of the adapter.

use crate::Kernel;

/// All of them.
pub const KERNELS: &[&Kernel] = &[];
