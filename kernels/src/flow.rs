//! Kernels of what lies between weighted layers: sums, pools, shortcuts, gates, the two ends of an explanation, the ledger.

use crate::params::{BLOCK, CollectParams, SplitParams};
use crate::{Kernel, Source};

const SPLIT_SOURCE: &Source = source!("split.cu");
const COLLECT_SOURCE: &Source = source!("collect.cu");

/// Relevance splitting; takes [`SplitParams`].
pub const SPLIT: &Kernel = &Kernel {
    source: SPLIT_SOURCE,
    entry: "elucid_split",
    block: BLOCK,
    argument: size_of::<SplitParams>(),
};

/// Channel sum of the image's relevance; takes [`CollectParams`].
pub const COLLECT: &Kernel = &Kernel {
    source: COLLECT_SOURCE,
    entry: "elucid_collect",
    block: BLOCK,
    argument: size_of::<CollectParams>(),
};

/// All of them.
pub const KERNELS: &[&Kernel] = &[SPLIT, COLLECT];
