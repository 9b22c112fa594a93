//! Kernels between weighted layers, by the launches that steps become, against what the CPU computes: bit for bit where the
//! CPU does plain operations in one order.

mod device;
mod elements;
mod ends;
mod ledger;
mod network;
mod pools;
mod steps;
