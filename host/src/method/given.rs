//! Maps that another program made.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{Attribution, Channels, Subject};
use crate::classifier::Classifier;
use crate::metric::resize::bilinear;
use crate::npy::read_map;

/// Maps in files of their pictures' names: for the picture `a/b.jpg`, `a/b.npy` or `a/b.jpg.npy` in the folder, or `b.npy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The folder.
    pub folder: PathBuf,
    /// How channels are put together, where maps have some.
    pub channels: Channels,
}

impl Attribution for Given {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let id = Path::new(subject.id);
        let name = id.file_name().map(Path::new).unwrap_or(id);
        let named = id.with_added_extension("npy");
        let places = [id.with_extension("npy"), named, name.with_extension("npy")];
        let mut paths = places.map(|place| self.folder.join(place)).into_iter();
        let Some(path) = paths.find(|path| path.is_file()) else {
            bail!(
                "there is no map of it in {}; write it as {}",
                self.folder.display(),
                id.with_extension("npy").display()
            );
        };
        let (map, size) = read_map(&path, |pixel| self.channels.pixel(pixel))?;
        Ok(bilinear(&map, size, network.size()))
    }
}
