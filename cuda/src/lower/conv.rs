//! Launches of weighted layers.

use elucid_core::Error;
use elucid_core::graph::{Conv, Linear};
use elucid_core::op::conv::Pass;
use elucid_core::plan::Step;
use elucid_core::rule::{Dead, Folded};

use super::{Launch, Lowering, Map};

type Launches = Vec<Launch>;

/// Sums over weights of all layers whose rules need them.
pub fn prepare(l: &Lowering<'_>) -> Launches {
    Vec::new()
}

/// The forward pass of a convolution for every image, with the addition that is fused into it.
pub fn forward(l: &Lowering<'_>, c: &Conv, step: &Step, to: &mut Launches) {}

/// The forward pass of a fully connected layer for every image.
pub fn linear(l: &Lowering<'_>, linear: &Linear, step: &Step, to: &mut Launches) {}

/// Relevance of one map through a layer by z+. The scratch begins with `s` of every cell.
pub fn relevance(
    l: &Lowering<'_>,
    c: &Conv,
    step: &Step,
    map: &Map,
    rule: (f32, Dead),
    pass: Pass,
    to: &mut Launches,
) -> Result<(), Error> {
    Err(l.unsupported(step))
}

/// The first layer, which sees ones and gives the map. The scratch begins with `s` of every cell.
pub fn ones(
    l: &Lowering<'_>,
    c: &Conv,
    step: &Step,
    map: &Map,
    rule: (f32, Dead),
    to: &mut Launches,
) -> Result<(), Error> {
    Err(l.unsupported(step))
}

/// Relevance of one map through a layer by a rule of zennit's.
pub fn folded(
    l: &Lowering<'_>,
    c: &Conv,
    step: &Step,
    map: &Map,
    rule: Folded,
    to: &mut Launches,
) -> Result<(), Error> {
    Err(l.unsupported(step))
}

/// The derivative of one map through a layer.
pub fn gradient(
    l: &Lowering<'_>,
    c: &Conv,
    step: &Step,
    map: &Map,
    to: &mut Launches,
) -> Result<(), Error> {
    Err(l.unsupported(step))
}
