//! Training: networks that explain themselves, and ResNets.
//!
//! - [`config`]: a run's file; [`examples`]: what is learnt from; [`augment`]: random views of photos;
//! - [`frozen`]: what training leaves alone, run by the core, and [`cache`], where that is kept;
//! - [`parameters`]: all tensors of a network by their names; `initial`: what fresh ones begin with;
//! - [`lora`]: low-rank changes of an encoder's weights;
//! - [`tape`]: a pass from given values to wanted ones; [`op`]: the operations that it is made of, and the loss;
//! - [`optimizer`]: AdamW, or SGD with momentum;
//! - [`adapter`], [`classifier`]: from the file of a run to an exported model, for adapters and for ResNets;
//! - [`ablation`]: what each part of it is worth;
//! - [`session`]: the loop over epochs; [`state`]: a run on disk, which can be killed and resumed at any moment.

pub mod ablation;
pub mod adapter;
pub mod augment;
pub mod cache;
pub mod classifier;
pub mod config;
pub mod examples;
pub mod feed;
pub mod frozen;
mod initial;
pub mod lora;
pub mod op;
pub mod optimizer;
pub mod parameters;
pub mod session;
pub mod state;
pub mod tape;
