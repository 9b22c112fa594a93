//! The importer as the program calls it: a model file, or the one line it would print.

use std::fmt::Display;
use std::path::Path;

use elucid_host::architecture::{self, Wanted};
use elucid_host::checkpoint::Checkpoint;
use elucid_host::import::{Options, import};
use elucid_host::preprocess;

/// An error as the program prints it.
pub fn line(error: &dyn Display) -> String {
    let text = format!("{error:#}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads a file of weights.
///
/// # Errors
/// What the program would say.
pub fn open(path: &Path) -> Result<Checkpoint, String> {
    Checkpoint::open(path).map_err(|e| line(&e))
}

/// As `elucid import FILE --arch ARCH`, with these class names.
///
/// # Errors
/// What the program would say.
pub fn import_as(checkpoint: &Checkpoint, arch: &str, classes: &[&str]) -> Result<Vec<u8>, String> {
    let wanted = Wanted {
        name: arch.to_owned(),
        ..Wanted::default()
    };
    let model = architecture::infer(checkpoint, &wanted).and_then(|net| {
        let options = Options {
            bn_eps: 1e-5,
            half: false,
            preprocess: preprocess::find(None, &net)?,
            classes: classes.iter().map(|&c| c.to_owned()).collect(),
        };
        import(checkpoint, &net, &options)
    });
    model.map_err(|e| line(&e))
}

/// As `elucid import FILE`.
///
/// # Errors
/// What the program would say.
pub fn import_file(path: &Path) -> Result<Vec<u8>, String> {
    import_as(&open(path)?, "auto", &[])
}
