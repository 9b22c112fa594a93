//! Weighted layers: `cu/params_conv.h`.
