//! The host side of elucid: everything that needs files, threads and a terminal.
//!
//! - [`checkpoint`], [`architecture`], [`import`], [`preprocess`]: from trained weights to a `.elucid` file;
//! - [`model_file`]: such files on disk; [`aligned`]: the memory they and arenas lie in;
//! - [`place`]: where networks are computed; [`engine`]: the core with memory and threads; [`timed`]: its steps against the clock;
//! - [`peak`], [`device`]: what this core and the devices could do at most;
//! - [`synthetic`]: networks with random weights;
//! - [`photo`], [`npy`], [`picture`], [`atomic`]: pictures and maps in and out;
//! - [`classifier`], [`method`]: a network that is asked and explained, and the methods that do;
//! - [`metric`]: how good a map is, in numbers; [`evaluation`]: the measures, one picture at a time;
//! - [`run`]: an evaluation on disk;
//! - [`report`]: a page of runs, for people;
//! - [`dataset`]: labelled pictures with masks and boxes, as they lie on disk;
//! - [`train`]: parameters, gradients and the optimizer;
//! - [`command`]: the commands of the program `elucid`.

pub mod aligned;
pub mod architecture;
pub mod atomic;
pub mod checkpoint;
pub mod classifier;
pub mod command;
pub mod dataset;
pub mod device;
pub mod engine;
pub mod evaluation;
pub mod import;
pub mod method;
pub mod metric;
pub mod model_file;
pub mod npy;
pub mod peak;
pub mod photo;
pub mod picture;
pub mod place;
pub mod preprocess;
pub mod report;
pub mod run;
pub mod synthetic;
pub mod timed;
pub mod train;
