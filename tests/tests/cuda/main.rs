//! The CUDA backend without a GPU: every step of every kind of plan against the CPU's, from the same memory, by kernels that
//! are executed on the CPU; and whole explanations through the suite.

mod explanations;
mod gates;
mod prices;
mod steps;
