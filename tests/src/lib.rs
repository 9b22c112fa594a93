//! placeholder
pub mod reference;
pub mod tensors;
