//! Maps that another program made.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use elucid_core::model::checksum;

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

impl Given {
    /// The file with the map of a picture.
    ///
    /// # Errors
    /// One line if there is none.
    pub fn path(&self, id: &str) -> Result<PathBuf> {
        let id = Path::new(id);
        let name = id.file_name().map_or(id, Path::new);
        let added = id.with_added_extension("npy");
        let places = [id.with_extension("npy"), added, name.with_extension("npy")];
        let mut paths = places.map(|place| self.folder.join(place)).into_iter();
        paths.find(|path| path.is_file()).ok_or_else(|| {
            anyhow!(
                "{} holds no map of {}; write it there as {}",
                self.folder.display(),
                id.display(),
                id.with_extension("npy").display()
            )
        })
    }

    /// What tells these maps from others: a checksum of the sizes of their files.
    ///
    /// # Errors
    /// If a picture has no map, or two have the same.
    pub fn identity(&self, ids: impl Iterator<Item = String>) -> Result<String> {
        let mut taken = HashMap::new();
        let mut sizes = String::new();
        for id in ids {
            let path = self.path(&id)?;
            let size = path.metadata().map_or(0, |file| file.len());
            sizes.push_str(&format!("{id} {size}\n"));
            if let Some(other) = taken.insert(path, id.clone()) {
                bail!(
                    "{other} and {id} have the same map; keep the pictures' folders, as in {}",
                    Path::new(&id).with_extension("npy").display()
                );
            }
        }
        Ok(format!("sizes {:08x}", checksum(sizes.as_bytes())))
    }
}

impl Attribution for Given {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let path = self.path(subject.id)?;
        let (map, [h, w]) = read_map(&path, |pixel| self.channels.pixel(pixel))?;
        let [height, width] = network.size();
        let stretch = (h * width) as f64 / (w * height) as f64;
        if !(0.95..=1.05).contains(&stretch) {
            bail!(
                "{} is {h} x {w}, but the network sees {height} x {width} pixels: maps are of what it sees, resized and \
                 cropped",
                path.display()
            );
        }
        Ok(bilinear(&map, [h, w], [height, width]))
    }
}
