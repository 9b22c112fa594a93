//! Operations with gradients, on candle's f32 tensors in main memory.
//!
//! Activations are `[images, rows, channels]`. Everything that is hot or that candle has no gradient for is written by
//! hand over the core's vectors and rayon's threads; sums are always taken in the same order, whatever the threads.

mod activation;
mod attention;
mod batch_norm;
mod convolution;
mod dense;
mod hand;
mod loss;
mod map;
mod norm;
mod window;

#[cfg(test)]
mod tests;

pub use activation::epilogue;
pub use attention::attention;
pub use batch_norm::{Statistics, batch_norm};
pub use convolution::{average, convolution, max_pool, subsample};
pub use dense::dense;
pub use hand::{tensor, values};
pub use loss::cross_entropy;
pub use map::{bicubic, bilinear, min_max, multiply};
pub use norm::layer_norm;
pub use window::Windows;
