//! Launches of the layers of transformers and of the adapter.

use elucid_core::Error;
use elucid_core::graph::Node;
use elucid_core::plan::Step;

use super::{Launch, Lowering};

/// The forward pass of a node for every image.
pub fn forward(
    l: &Lowering<'_>,
    node: &Node,
    step: &Step,
    to: &mut Vec<Launch>,
) -> Result<(), Error> {
    Err(l.unsupported(step))
}

/// The adapter's map in the size of the image, once for each target.
pub fn enlarge(l: &Lowering<'_>, step: &Step, to: &mut Vec<Launch>) {}
