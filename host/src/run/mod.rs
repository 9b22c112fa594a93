//! A run of an evaluation on disk: a folder that can be interrupted at any moment and gone on with.
//!
//! | file | what |
//! |---|---|
//! | `config.json` | what the run was asked to do ([`config::Config`]) |
//! | `images.jsonl` | a line for every picture, in order ([`record::Record`]) |
//! | `summary.json` | means, intervals and comparisons ([`summary::Summary`]), written when the last picture is done |
//! | `curves.csv` | mean curves, for plotting elsewhere |
//! | `previews/POSITION.jpg` | what the network saw of a picture |
//! | `previews/POSITION.mask.png` | its mask, 8-bit grey: 255 on the object, 128 where it is to be ignored |
//! | `previews/POSITION.METHOD.png` | a method's map, 8-bit grey, of the input's size; `:` in its name is `-` here |
//!
//! `POSITION` has at least six digits. `images.jsonl` and `summary.json` hold neither times nor paths of a machine: a run that
//! was killed and started again ends with the same bytes as one that wasn't.

pub mod config;
pub mod folder;
pub mod measure;
pub mod merge;
pub mod preview;
pub mod record;
pub mod summary;
