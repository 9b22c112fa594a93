//! Architectures: the only place that knows what a bottleneck is.

pub mod resnet;
