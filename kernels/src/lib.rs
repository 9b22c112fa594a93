//! CUDA kernel sources of elucid and their Rust signatures.
