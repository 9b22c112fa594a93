//! Architectures: the only place that knows what a bottleneck is.

pub mod ala;
pub mod resnet;
pub mod vit;
