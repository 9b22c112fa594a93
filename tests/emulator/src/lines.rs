//! From places in a library to places in the source.

use std::path::{Path, PathBuf};

use addr2line::Loader;

use crate::fault::Place;

/// Files of helpers that kernels share: the place of interest is where they are called.
const HELPERS: [&str; 2] = ["elucid.cuh", "emulator.h"];

/// The lines of a library, by the debug information in it.
#[derive(Debug)]
pub(crate) struct Lines {
    library: PathBuf,
}

impl Lines {
    pub(crate) fn of(library: PathBuf) -> Self {
        Self { library }
    }

    /// The places in the source of instructions, by their offsets in the library. Of inlined functions it is the innermost
    /// that isn't a helper; what isn't known is the default.
    pub(crate) fn places(&self, offsets: impl IntoIterator<Item = u64>) -> Vec<Place> {
        let loader = Loader::new(&self.library).ok();
        offsets
            .into_iter()
            .map(|offset| {
                loader
                    .as_ref()
                    .and_then(|l| place(l, offset))
                    .unwrap_or_default()
            })
            .collect()
    }
}

fn place(loader: &Loader, offset: u64) -> Option<Place> {
    let mut frames = loader.find_frames(offset).ok()?;
    let mut innermost = None;
    while let Ok(Some(frame)) = frames.next() {
        let Some(location) = frame.location else {
            continue;
        };
        let (Some(file), Some(line)) = (location.file, location.line) else {
            continue;
        };
        let file = Path::new(file).file_name()?.to_string_lossy().into_owned();
        let helper = HELPERS.contains(&&*file);
        innermost.get_or_insert(Place {
            file: file.clone(),
            line,
        });
        if !helper {
            return Some(Place { file, line });
        }
    }
    innermost
}
