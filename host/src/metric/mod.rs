//! How good a map is, in numbers: pure functions of maps, masks and what a network says, without files.
//!
//! - [`ranking`]: in which order a map reveals or removes pixels; [`perturbation`]: the images that makes;
//! - [`curve`]: insertion, deletion and ID score; [`sensitivity`]: sensitivity-n;
//! - [`overlap`]: IoU, pointing game, energy in masks and boxes, sparseness;
//! - [`statistics`]: intervals, paired tests, correlations;
//! - [`resize`], [`blur`]: what some of them do to a map first.
//!
//! Maps are `[h, w]`, images `[h, w, 3]` and normalised, masks `[h, w]`. Sums are in f64 and in one fixed order, random
//! numbers come from a seed: the same input gives the same bytes.

pub mod blur;
pub mod curve;
pub mod overlap;
pub mod perturbation;
pub mod ranking;
pub mod resize;
pub mod sensitivity;
pub mod statistics;

/// The stub model of the tests: the probability of an image of which this share can be seen.
#[cfg(test)]
fn stub(visible: f64) -> f64 {
    1.0 / (1.0 + (-8.0 * (visible - 0.5)).exp())
}
