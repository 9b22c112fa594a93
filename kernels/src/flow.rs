//! Kernels of what lies between weighted layers: sums, pools, shortcuts, gates, the two ends of an explanation, the ledger.

use crate::params::{
    AddParams, AverageGradientParams, AverageParams, AverageRelevanceParams, BLOCK, CellsParams,
    CollectParams, GateParams, HeatParams, MaxParams, MaxRelevanceParams, PackParams, RangeParams,
    SeedParams, SplitParams, SubsampleParams, TallyParams, TotalParams, UnpackParams,
};
use crate::{Kernel, Source};

/// A kernel of this module: its file, function and argument.
const fn kernel<P>(source: &'static Source, entry: &'static str) -> Kernel {
    Kernel {
        source,
        entry,
        block: BLOCK,
        argument: size_of::<P>(),
    }
}

const SPLIT_SOURCE: &Source = source!("split.cu");
const COLLECT_SOURCE: &Source = source!("collect.cu");
const ADD_SOURCE: &Source = source!("add.cu");
const GATE_SOURCE: &Source = source!("gate.cu");
const SUBSAMPLE_SOURCE: &Source = source!("subsample.cu");
const PACK_SOURCE: &Source = source!("pack.cu");
const MAXPOOL_SOURCE: &Source = source!("maxpool.cu");
const AVGPOOL_SOURCE: &Source = source!("avgpool.cu");
const SEED_SOURCE: &Source = source!("seed.cu");
const LEDGER_SOURCE: &Source = source!("ledger.cu");
const HEAT_SOURCE: &Source = source!("heat.cu");

/// Relevance splitting; takes [`SplitParams`].
pub const SPLIT: &Kernel = &kernel::<SplitParams>(SPLIT_SOURCE, "elucid_split");

/// Channel sum of the image's relevance; takes [`CollectParams`].
pub const COLLECT: &Kernel = &kernel::<CollectParams>(COLLECT_SOURCE, "elucid_collect");

/// Addition of two branches; takes [`AddParams`].
pub const ADD: &Kernel = &kernel::<AddParams>(ADD_SOURCE, "elucid_add");

/// What is done to a derivative element by element; takes [`GateParams`].
pub const GATE: &Kernel = &kernel::<GateParams>(GATE_SOURCE, "elucid_gate");

/// Option-A shortcut; takes [`SubsampleParams`].
pub const SUBSAMPLE: &Kernel = &kernel::<SubsampleParams>(SUBSAMPLE_SOURCE, "elucid_subsample");

/// Relevance of its input; takes [`SubsampleParams`].
pub const SUBSAMPLE_RELEVANCE: &Kernel =
    &kernel::<SubsampleParams>(SUBSAMPLE_SOURCE, "elucid_subsample_relevance");

/// Single to half precision; takes [`PackParams`].
pub const PACK: &Kernel = &kernel::<PackParams>(PACK_SOURCE, "elucid_pack");

/// Half to single precision; takes [`UnpackParams`].
pub const UNPACK: &Kernel = &kernel::<UnpackParams>(PACK_SOURCE, "elucid_unpack");

/// Max pool; takes [`MaxParams`].
pub const MAX: &Kernel = &kernel::<MaxParams>(MAXPOOL_SOURCE, "elucid_max");

/// Relevance of its input; takes [`MaxRelevanceParams`].
pub const MAX_RELEVANCE: &Kernel =
    &kernel::<MaxRelevanceParams>(MAXPOOL_SOURCE, "elucid_max_relevance");

/// What it loses in averages; takes [`MaxRelevanceParams`].
pub const MAX_SINKS: &Kernel = &kernel::<MaxRelevanceParams>(MAXPOOL_SOURCE, "elucid_max_sinks");

/// Global average pool; takes [`AverageParams`].
pub const AVERAGE: &Kernel = &kernel::<AverageParams>(AVGPOOL_SOURCE, "elucid_average");

/// Relevance of its input; takes [`AverageRelevanceParams`].
pub const AVERAGE_RELEVANCE: &Kernel =
    &kernel::<AverageRelevanceParams>(AVGPOOL_SOURCE, "elucid_average_relevance");

/// What it loses; takes [`AverageRelevanceParams`].
pub const AVERAGE_SINKS: &Kernel =
    &kernel::<AverageRelevanceParams>(AVGPOOL_SOURCE, "elucid_average_sinks");

/// Its derivative; takes [`AverageGradientParams`].
pub const AVERAGE_GRADIENT: &Kernel =
    &kernel::<AverageGradientParams>(AVGPOOL_SOURCE, "elucid_average_gradient");

/// The explained class and its relevance; takes [`SeedParams`].
pub const SEED: &Kernel = &kernel::<SeedParams>(SEED_SOURCE, "elucid_seed");

/// Sums of relevance, block by block; takes [`TotalParams`].
pub const TOTAL: &Kernel = &kernel::<TotalParams>(LEDGER_SOURCE, "elucid_total");

/// What z+ loses, block by block; takes [`CellsParams`].
pub const CELLS: &Kernel = &kernel::<CellsParams>(LEDGER_SOURCE, "elucid_cells");

/// The sums of all blocks; takes [`TallyParams`].
pub const TALLY: &Kernel = &kernel::<TallyParams>(LEDGER_SOURCE, "elucid_tally");

/// Smallest and largest of a map, block by block; takes [`RangeParams`].
pub const RANGE: &Kernel = &kernel::<RangeParams>(HEAT_SOURCE, "elucid_range");

/// Heat Quantization; takes [`HeatParams`].
pub const QUANTIZE: &Kernel = &kernel::<HeatParams>(HEAT_SOURCE, "elucid_quantize");

/// A map from 0 to 1; takes [`HeatParams`].
pub const NORMALIZE: &Kernel = &kernel::<HeatParams>(HEAT_SOURCE, "elucid_normalize");

/// All of them.
pub const KERNELS: &[&Kernel] = &[
    SPLIT,
    COLLECT,
    ADD,
    GATE,
    SUBSAMPLE,
    SUBSAMPLE_RELEVANCE,
    PACK,
    UNPACK,
    MAX,
    MAX_RELEVANCE,
    MAX_SINKS,
    AVERAGE,
    AVERAGE_RELEVANCE,
    AVERAGE_SINKS,
    AVERAGE_GRADIENT,
    SEED,
    TOTAL,
    CELLS,
    TALLY,
    RANGE,
    QUANTIZE,
    NORMALIZE,
];
