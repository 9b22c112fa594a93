//! Training: a network's parameters, its node list run with gradients, and the optimizer.
//!
//! - [`config`]: what a run is told;
//! - [`parameters`]: all tensors of a network by their names; `initial`: what fresh ones begin with;
//! - [`lora`]: low-rank changes of an encoder's weights;
//! - [`tape`]: a pass from given values to wanted ones; [`op`]: the operations that it is made of, and the loss;
//! - [`optimizer`]: AdamW.

pub mod config;
mod initial;
pub mod lora;
pub mod op;
pub mod optimizer;
pub mod parameters;
pub mod tape;
