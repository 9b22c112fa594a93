//! Small pictures of a run, for its report.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use image::codecs::jpeg::JpegEncoder;
use image::{GrayImage, RgbImage};

use super::folder::Folder;
use crate::dataset::Mask;
use crate::picture::PERCENTILE;

/// Quality of the photos.
const QUALITY: u8 = 88;
/// Grey levels of a mask.
const OBJECT: u8 = 255;
const IGNORED: u8 = 128;

/// Writes previews.
#[derive(Clone, Debug)]
pub struct Previews {
    folder: PathBuf,
    every: usize,
}

impl Previews {
    /// Of every so many pictures, into the folder of a run.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn new(run: &Folder, every: usize) -> Result<Self> {
        let folder = run.previews();
        let made = fs::create_dir_all(&folder);
        made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self {
            folder,
            every: every.max(1),
        })
    }

    /// Whether the picture at this position gets some.
    #[must_use]
    pub fn shows(&self, position: usize) -> bool {
        position.is_multiple_of(self.every)
    }

    /// What the network saw.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn photo(&self, position: usize, picture: &RgbImage) -> Result<()> {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(picture)?;
        self.write(position, "jpg", &bytes)
    }

    /// Where the object is.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn mask(&self, position: usize, mask: &Mask) -> Result<()> {
        let pixels = mask.object.iter().zip(&mask.ignored);
        let grey = pixels.map(|(&object, &ignored)| match (object, ignored) {
            (true, _) => OBJECT,
            (false, true) => IGNORED,
            (false, false) => 0,
        });
        self.grey(position, "mask", [mask.height, mask.width], grey.collect())
    }

    /// A map `[h, w]`: black at 0 and below, white at the value that all but half a percent of its pixels stay below.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn map(&self, position: usize, method: &str, size: [u32; 2], map: &[f32]) -> Result<()> {
        let mut sorted: Vec<f32> = map.iter().map(|v| v.max(0.0)).collect();
        sorted.sort_unstable_by(f32::total_cmp);
        let at = (sorted.len() as f64 * PERCENTILE) as usize;
        let most = sorted.get(at.min(sorted.len().saturating_sub(1))).copied();
        let white = most
            .filter(|&v| v > 0.0)
            .or(sorted.last().copied())
            .unwrap_or(0.0);
        let level = |v: &f32| (v / white.max(f32::MIN_POSITIVE) * 255.0).round() as u8;
        let grey = map.iter().map(level).collect();
        self.grey(position, &file_name(method), size, grey)
    }

    fn grey(&self, position: usize, name: &str, [h, w]: [u32; 2], pixels: Vec<u8>) -> Result<()> {
        let picture = GrayImage::from_raw(w, h, pixels).context("a preview of another size")?;
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Png)?;
        self.write(position, &format!("{name}.png"), bytes.get_ref())
    }

    fn write(&self, position: usize, ending: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(format!("{position:06}.{ending}"));
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A method's name in the names of files.
#[must_use]
pub fn file_name(method: &str) -> String {
    method.replace(':', "-")
}
