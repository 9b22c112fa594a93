//! Masks and boxes: where the object is, first in the picture's pixels, then in the network's input.

use std::path::PathBuf;

use elucid_core::model::Preprocess;

use super::{Coding, DataError, Trouble};
use crate::photo::{Geometry, open_stored};

/// The sides of a mask may be rounded a little differently from those of its picture.
const ROUNDING: f64 = 0.02;

/// Where a mask lies and how to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskSource {
    /// The file.
    pub path: PathBuf,
    /// What its pixels mean.
    pub coding: Coding,
}

/// Which pixels show the object, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `true` where the object is.
    pub object: Vec<bool>,
    /// `true` where nobody says what is there; never `true` together with `object`.
    pub ignored: Vec<bool>,
}

/// A box around an object; edges between pixels, so that a whole picture is `0, 0, width, height`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub left: f32,
    /// Upper edge.
    pub top: f32,
    /// Right edge.
    pub right: f32,
    /// Lower edge.
    pub bottom: f32,
}

impl MaskSource {
    /// Reads the mask.
    ///
    /// # Errors
    /// [`Trouble::Mask`] if it is missing, damaged or holds colours without a meaning.
    pub fn open(&self) -> Result<Mask, DataError> {
        let picture = open_stored(&self.path).map_err(|e| DataError::new(Trouble::Mask, e))?;
        self.coding
            .decode(&picture)
            .map_err(|what| DataError::at(Trouble::Mask, &self.path, what))
    }
}

impl Mask {
    /// The mask of the network's input for a picture of this size (width, height): resized to the nearest pixel and
    /// cropped as the picture is. Padding is background, as in torchvision.
    ///
    /// # Errors
    /// [`Trouble::Mask`] if the mask has another shape than the picture, or if the preprocessing fits no picture.
    pub fn fit(&self, picture: (u32, u32), how: &Preprocess) -> Result<Mask, DataError> {
        let refused = |what: String| DataError::new(Trouble::Mask, what);
        let stretch = (f64::from(self.width) * f64::from(picture.1))
            / (f64::from(self.height) * f64::from(picture.0));
        if !((1.0 - ROUNDING)..=(1.0 + ROUNDING)).contains(&stretch) {
            return Err(refused(format!(
                "the mask has {} x {} pixels, but its picture {} x {}; they must have the same shape and not be \
                 turned by EXIF",
                self.width, self.height, picture.0, picture.1
            )));
        }
        let geometry = Geometry::of(picture, how).ok_or_else(|| {
            refused("the model's preprocessing fits no picture; import it again".into())
        })?;
        let (columns, rows) = (geometry.columns(self.width), geometry.rows(self.height));
        let take = |bits: &[bool]| -> Vec<bool> {
            let row = |row: &Option<u32>| row.map(|y| y as usize * self.width as usize);
            rows.iter()
                .map(row)
                .flat_map(|start| {
                    columns.iter().map(move |x| {
                        start
                            .zip(*x)
                            .is_some_and(|(start, x)| bits[start + x as usize])
                    })
                })
                .collect()
        };
        let (width, height) = geometry.input();
        Ok(Mask {
            width,
            height,
            object: take(&self.object),
            ignored: take(&self.ignored),
        })
    }

    /// How many pixels show the object.
    #[must_use]
    pub fn area(&self) -> usize {
        self.object.iter().filter(|&&object| object).count()
    }

    /// The smallest box around all of the object; `None` if it is not in the picture.
    #[must_use]
    pub fn bounds(&self) -> Option<Rect> {
        let width = self.width as usize;
        let mut found: Option<[usize; 4]> = None;
        for (at, _) in self
            .object
            .iter()
            .enumerate()
            .filter(|(_, object)| **object)
        {
            let (x, y) = (at % width, at / width);
            let [left, top, right, bottom] = found.unwrap_or([x, y, x, y]);
            found = Some([left.min(x), top.min(y), right.max(x), bottom.max(y)]);
        }
        found.map(|[left, top, right, bottom]| Rect {
            left: left as f32,
            top: top as f32,
            right: (right + 1) as f32,
            bottom: (bottom + 1) as f32,
        })
    }
}

impl Rect {
    /// From left, top, width and height.
    #[must_use]
    pub fn sized([left, top, width, height]: [f32; 4]) -> Rect {
        Rect {
            left,
            top,
            right: left + width,
            bottom: top + height,
        }
    }

    /// The box in the network's input for a picture of this size (width, height); `None` if the crop leaves nothing of
    /// it or the preprocessing fits no picture.
    #[must_use]
    pub fn fit(&self, picture: (u32, u32), how: &Preprocess) -> Option<Rect> {
        let geometry = Geometry::of(picture, how)?;
        let (left, top) = geometry.point(self.left.into(), self.top.into());
        let (right, bottom) = geometry.point(self.right.into(), self.bottom.into());
        (right > left && bottom > top).then_some(Rect {
            left: left as f32,
            top: top as f32,
            right: right as f32,
            bottom: bottom as f32,
        })
    }

    /// Whether the centre of the pixel in column `x` and row `y` lies in the box.
    #[must_use]
    pub fn contains(&self, x: u32, y: u32) -> bool {
        let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
        (self.left..self.right).contains(&x) && (self.top..self.bottom).contains(&y)
    }
}

#[cfg(test)]
mod tests {
    use elucid_core::model::{ChannelOrder, Filter, Fit};
    use image::{DynamicImage, GrayImage, Luma};

    use super::*;
    use crate::photo::Photo;

    fn how(fit: Fit, resize: u32, crop: [u32; 2]) -> Preprocess {
        Preprocess {
            fit,
            resize,
            crop,
            filter: Filter::Bilinear,
            order: ChannelOrder::Rgb,
            scale: 1.0,
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }

    fn disc(width: u32, height: u32) -> GrayImage {
        let (cx, cy) = (f64::from(width) * 0.4, f64::from(height) * 0.55);
        GrayImage::from_fn(width, height, |x, y| {
            let far = (f64::from(x) - cx).hypot(f64::from(y) - cy);
            Luma([if far < f64::from(height) * 0.3 {
                255
            } else {
                0
            }])
        })
    }

    #[test]
    fn a_mask_goes_where_its_picture_goes() {
        let source = disc(331, 207);
        let photo = Photo {
            rgb: DynamicImage::ImageLuma8(source.clone()).to_rgb8(),
            name: "disc".into(),
        };
        let mask = Coding::Grey { above: 0 }.decode(&source.into()).unwrap();
        for how in [
            how(Fit::ShortSide, 96, [80, 88]),
            how(Fit::ShortSide, 300, [224, 224]),
            how(Fit::ShortSide, 40, [61, 80]),
            how(Fit::Squash, 1, [90, 70]),
        ] {
            let crop = photo.prepare(&how).unwrap().crop;
            let fitted = mask.fit((331, 207), &how).unwrap();
            assert_eq!((fitted.width, fitted.height), crop.dimensions());
            // Nearest and antialiased pixels agree but for the rim.
            let wrong = crop
                .pixels()
                .zip(&fitted.object)
                .filter(|(pixel, object)| {
                    let clear = pixel.0[0] < 32 || pixel.0[0] > 223;
                    clear && (pixel.0[0] > 127) != **object
                })
                .count();
            assert_eq!(wrong, 0, "{how:?}");
            assert!(fitted.area() > 300, "{how:?}");
            // The box round the mask is the mask's box carried over, to a pixel.
            let carried = mask.bounds().unwrap().fit((331, 207), &how).unwrap();
            let found = fitted.bounds().unwrap();
            for (a, b) in [
                (carried.left, found.left),
                (carried.top, found.top),
                (carried.right, found.right),
                (carried.bottom, found.bottom),
            ] {
                assert!((a - b).abs() <= 1.5, "{carried:?} {found:?} {how:?}");
            }
        }
    }

    #[test]
    fn masks_of_another_scale_fit_and_of_another_shape_do_not() {
        let how = how(Fit::ShortSide, 50, [40, 40]);
        let small = Coding::Grey { above: 0 }
            .decode(&disc(100, 60).into())
            .unwrap();
        let fitted = small.fit((400, 240), &how).unwrap();
        let same = small.fit((100, 60), &how).unwrap();
        let differ = fitted
            .object
            .iter()
            .zip(&same.object)
            .filter(|(a, b)| a != b);
        assert!(differ.count() < 40);
        let error = small.fit((240, 400), &how).unwrap_err();
        assert_eq!(error.trouble(), Trouble::Mask);
        assert!(error.to_string().contains("100 x 60"), "{error}");
    }

    #[test]
    fn boxes_outside_the_crop_vanish() {
        let how = how(Fit::ShortSide, 100, [50, 50]);
        let whole = Rect::sized([0.0, 0.0, 200.0, 100.0]);
        let want = Rect::sized([0.0, 0.0, 50.0, 50.0]);
        assert_eq!(whole.fit((200, 100), &how), Some(want));
        assert_eq!(
            Rect::sized([0.0, 0.0, 70.0, 100.0]).fit((200, 100), &how),
            None
        );
        let part = Rect::sized([80.0, 30.0, 10.0, 20.0])
            .fit((200, 100), &how)
            .unwrap();
        assert_eq!(part, Rect::sized([5.0, 5.0, 10.0, 20.0]));
        assert!(part.contains(5, 5) && !part.contains(15, 5) && !part.contains(4, 5));
    }
}
