//! Layers of transformers and of the adapter: `cu/params_token.h`.
