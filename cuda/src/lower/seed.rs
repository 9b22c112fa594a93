//! What the host asks a seed for, and what the device answers.

use elucid_core::Error;
use elucid_core::op::head::Seed;
use elucid_core::rule::Target;
use elucid_kernels::params::{SeedRequest, SeedResult};

/// A target as the device takes it.
#[must_use]
pub fn request(target: Target) -> SeedRequest {
    let (kind, index) = match target {
        Target::Predicted => (0, 0),
        Target::Rank(rank) => (0, rank),
        Target::Class(class) => (1, class),
    };
    SeedRequest { kind, index }
}

/// What the device chose for a target among so many classes.
///
/// # Errors
/// [`Error::NotFinite`] or [`Error::Target`], as [`elucid_core::op::head::seed`].
pub fn answer(result: &SeedResult, target: Target, classes: usize) -> Result<Seed, Error> {
    match result.status {
        0 => Ok(Seed {
            predicted: result.predicted,
            target: result.target,
            probability: result.probability,
            logit: result.logit,
            relevance: result.relevance,
        }),
        1 => Err(Error::NotFinite),
        _ => {
            let index = match target {
                Target::Class(index) | Target::Rank(index) => index,
                Target::Predicted => 0,
            };
            let classes = classes as u32;
            Err(Error::Target { index, classes })
        }
    }
}
