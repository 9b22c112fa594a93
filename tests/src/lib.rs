//! What the tests of elucid are made of.
//!
//! - [`mod@reference`]: residual networks and their relevance in f64, as naive as can be; [`tensors`]: its tensors, and how
//!   two are compared;
//! - [`subject`]: the implementation under test, one [`subject::Subject`] for each backend;
//! - [`suite`]: the conformance suite: networks of every kind, run on a subject and on the reference;
//! - [`importer`]: the importer as the program calls it;
//! - [`schedule`]: what must hold of every plan; [`robustness`]: whether anything panics;
//! - [`golden`]: what the official implementation computed, from files;
//! - [`forge`]: model files made by hand, for the parser and the planner.
//!
//! The tests themselves lie in `tests/`, one file a subject; each says at its top what it proves.

pub mod forge;
pub mod golden;
pub mod importer;
pub mod reference;
pub mod robustness;
pub mod schedule;
pub mod subject;
pub mod suite;
pub mod tensors;
