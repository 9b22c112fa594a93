//! From a picture file to what the network sees. A JPEG, PNG or WebP is recognised by its content, decoded to 8-bit
//! RGB with its EXIF orientation applied, then resized and cropped as the model file says and normalised.
//!
//! Sizes, rounding and padding are torchvision's (`Resize`, `CenterCrop`), the antialiased convolution is Pillow's,
//! as in section 1.10 of the specification; `tests/golden/resize` holds the yardstick. Only the part of the picture
//! that the crop needs is resized, so a strip of 20,000 x 10 pixels costs no more than a square.

mod decode;
mod fit;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use elucid_core::model::{Filter, Fit, Preprocess};
use fast_image_resize::FilterType;
use image::{DynamicImage, RgbImage};

use decode::{decode, decode_stored, read, recognise};
pub use fit::Geometry;
pub(crate) use fit::normalise;
pub(crate) use fit::scaled;
use fit::{paint, view_size};

/// The most pixels a picture may have: larger ones are refused from their header, before memory is spent.
pub const MAX_PIXELS: u64 = 100_000_000;
/// The most bytes a picture file may have.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// Largest crop and resize that a model may ask for, in pixels a side.
const MAX_SIDE: u32 = 8192;
/// The longer side of [`Prepared::view`] lies between these, in pixels.
const VIEW_SIDE: (f64, f64) = (384.0, 512.0);
/// A view is at most this many times longer than wide; a thinner strip is stretched to be visible.
const VIEW_ASPECT: f64 = 4.0;
/// An intermediate picture between the two resize passes stays below this many pixels where it can.
const MAX_BETWEEN: u64 = 1 << 26;

/// A decoded picture.
pub struct Photo {
    /// The whole picture, `[h, w]` pixels, orientation applied, alpha dropped.
    pub rgb: RgbImage,
    /// The file's name, for messages.
    pub name: String,
}

/// A picture made ready for one network.
pub struct Prepared {
    /// The network's input `[h, w, 3]`: channels last, normalised, channels in the network's order.
    pub image: Vec<f32>,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// The resized and cropped 8-bit RGB picture the network saw.
    pub crop: RgbImage,
    /// The same region cut from the original, for display: the longer side is 384 to 512 pixels, the native
    /// resolution where that lies between. A squashed picture gets its own aspect ratio back.
    pub view: RgbImage,
}

/// Why a picture could not be used: one line with where, what and the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotoError(String);

impl PhotoError {
    /// The picture's name and what is the matter with it, without line breaks and other control characters.
    fn new(name: &str, matter: &str) -> PhotoError {
        PhotoError(format!("{name} {matter}").replace(char::is_control, " "))
    }
}

impl std::error::Error for PhotoError {}

impl fmt::Display for PhotoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the picture at `path` with pixels of the kind that the file holds and without turning it, as masks need it.
///
/// # Errors
/// As for [`Photo::open`].
pub fn open_stored(path: &Path) -> Result<DynamicImage, PhotoError> {
    let pixels = || {
        let bytes = read(path)?;
        decode_stored(&bytes, recognise(&bytes)?)
    };
    pixels().map_err(|matter| PhotoError::new(&path.display().to_string(), &matter))
}

impl Photo {
    /// Reads and decodes the picture at `path`.
    ///
    /// # Errors
    /// No such file, a folder, an empty file, something else than a picture (refused after its first bytes), a picture
    /// that is cut short, damaged or larger than [`MAX_PIXELS`].
    pub fn open(path: impl AsRef<Path>) -> Result<Photo, PhotoError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let bytes = read(path).map_err(|matter| PhotoError::new(&name, &matter))?;
        Photo::decode(&bytes, &name)
    }

    /// Decodes a picture that is already in memory; `name` is for messages.
    ///
    /// Grey, palette, 16-bit and CMYK pictures become 8-bit RGB. Alpha is dropped, not blended, as in Pillow's
    /// `convert("RGB")`. Of an animation the first frame is taken.
    ///
    /// # Errors
    /// As for [`Photo::open`].
    pub fn decode(bytes: &[u8], name: &str) -> Result<Photo, PhotoError> {
        let rgb = recognise(bytes).and_then(|format| decode(bytes, format));
        let rgb = rgb.map_err(|matter| PhotoError::new(name, &matter))?;
        Ok(Photo {
            rgb,
            name: name.to_string(),
        })
    }

    /// Which part of the picture becomes the input.
    fn geometry(&self, how: &Preprocess) -> Result<Geometry, PhotoError> {
        let [height, width] = how.crop;
        let numbers = how.std.iter().all(|std| std.is_normal())
            && how
                .mean
                .iter()
                .chain([&how.scale])
                .all(|number| number.is_finite());
        let geometry = Geometry::of(self.rgb.dimensions(), how).filter(|_| numbers);
        geometry.ok_or_else(|| {
            let resize = if how.fit == Fit::Squash {
                height
            } else {
                how.resize
            };
            let matter = format!(
                "cannot be prepared: the model wants it resized to {resize} and cropped to {height} x {width} pixels \
                 (1 to {MAX_SIDE} allowed), scale {}, mean {:?}, deviation {:?}; import the model again",
                how.scale, how.mean, how.std
            );
            PhotoError::new(&self.name, &matter)
        })
    }

    /// The resized and cropped picture that the network sees, without display and numbers: see [`Photo::prepare`].
    ///
    /// # Errors
    /// As for [`Photo::prepare`].
    pub fn cropped(&self, how: &Preprocess) -> Result<RgbImage, PhotoError> {
        let Geometry { across, down, .. } = self.geometry(how)?;
        let filter = match how.filter {
            Filter::Bilinear => FilterType::Bilinear,
            Filter::Bicubic => FilterType::CatmullRom,
        };
        let [height, width] = how.crop;
        Ok(paint(&self.rgb, across, down, (width, height), filter))
    }

    /// The network's input `[h, w, 3]` alone: see [`Photo::prepare`].
    ///
    /// # Errors
    /// As for [`Photo::prepare`].
    pub fn input(&self, how: &Preprocess) -> Result<Vec<f32>, PhotoError> {
        Ok(normalise(&self.cropped(how)?, how))
    }

    /// Resizes, crops and normalises the picture as `how` says.
    ///
    /// # Errors
    /// Only for preprocessing that fits no picture: sizes of zero or above 8192 pixels, a deviation of zero.
    pub fn prepare(&self, how: &Preprocess) -> Result<Prepared, PhotoError> {
        let Geometry { across, down, .. } = self.geometry(how)?;
        let crop = self.cropped(how)?;
        let [height, width] = how.crop;
        let view = paint(
            &self.rgb,
            across,
            down,
            view_size(across, down, how),
            FilterType::CatmullRom,
        );
        let image = normalise(&crop, how);
        Ok(Prepared {
            image,
            height: height as usize,
            width: width as usize,
            crop,
            view,
        })
    }
}
