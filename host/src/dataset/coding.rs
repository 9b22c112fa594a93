//! What the pixels of mask files mean in each data set.

use image::DynamicImage;

use super::Mask;

/// What the pixels of a mask file mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Brighter than this is object; of coloured pixels the brightest channel counts.
    Grey {
        /// The brightest level that is still background, 0 to 255.
        above: u8,
    },
    /// ImageNet-S: class = red + 256 green, counted from 1; 0 is anything else, 1000 is ignored.
    ImagenetS {
        /// The class that counts as object, or any.
        only: Option<u16>,
    },
    /// PASCAL VOC: class = index in the palette, 0 is background, 255 is ignored. Files of these indices as grey levels
    /// are understood too.
    Voc {
        /// The class that counts as object, or any.
        only: Option<u16>,
    },
}

impl Coding {
    /// The mask that a picture stands for.
    pub(super) fn decode(self, picture: &DynamicImage) -> Result<Mask, String> {
        let (width, height) = (picture.width(), picture.height());
        let chosen = |class: u32, only: Option<u32>| only.map_or(class > 0, |only| class == only);
        let pairs: Vec<(bool, bool)> = match self {
            Coding::Grey { above } => levels(picture)
                .map(|level| level > u16::from(above) * 257)
                .map(|object| (object, false))
                .collect(),
            Coding::ImagenetS { only } => classes(picture, |[r, g, b]| {
                (b == 0).then_some(u32::from(r) + 256 * u32::from(g))
            })?
            .into_iter()
            .map(|class| {
                (
                    class != 1000 && chosen(class, only.map(u32::from)),
                    class == 1000,
                )
            })
            .collect(),
            Coding::Voc { only } => classes(picture, |rgb| Some(voc_index(rgb)?.into()))?
                .into_iter()
                .map(|class| {
                    (
                        class != 255 && chosen(class, only.map(u32::from)),
                        class == 255,
                    )
                })
                .collect(),
        };
        let (object, ignored) = pairs.into_iter().unzip();
        Ok(Mask {
            width,
            height,
            object,
            ignored,
        })
    }
}

/// The brightest channel of every pixel, 0 to 65535; alpha is left out.
fn levels(picture: &DynamicImage) -> Box<dyn Iterator<Item = u16> + '_> {
    match picture {
        DynamicImage::ImageLuma8(grey) => {
            Box::new(grey.iter().map(|&level| u16::from(level) * 257))
        }
        DynamicImage::ImageLuma16(grey) => Box::new(grey.iter().copied()),
        other => {
            let pixels = other.to_rgb16().into_raw();
            Box::new((0..pixels.len() / 3).map(move |i| {
                let [r, g, b] = [0, 1, 2].map(|c| pixels[3 * i + c]);
                r.max(g).max(b)
            }))
        }
    }
}

/// The class of every pixel: grey levels are classes, `class` tells those of colours.
fn classes(
    picture: &DynamicImage,
    class: impl Fn([u8; 3]) -> Option<u32>,
) -> Result<Vec<u32>, String> {
    match picture {
        DynamicImage::ImageLuma8(grey) => Ok(grey.iter().map(|&level| level.into()).collect()),
        DynamicImage::ImageLuma16(grey) => Ok(grey.iter().map(|&level| level.into()).collect()),
        other => {
            let rgb = other.to_rgb8();
            let known = rgb.pixels().map(|pixel| {
                class(pixel.0).ok_or_else(|| {
                    let [r, g, b] = pixel.0;
                    format!(
                        "holds the colour {r}, {g}, {b}, which stands for no class; check --format and unpack it again"
                    )
                })
            });
            known.collect()
        }
    }
}

/// The index of a colour in the palette of PASCAL VOC, which spreads its bits over the channels from the top down.
fn voc_index([r, g, b]: [u8; 3]) -> Option<u8> {
    let bit = |value: u8, at: u32| u32::from(value) >> (7 - at) & 1;
    if (r | g) & 0b1_1111 != 0 || b & 0b11_1111 != 0 {
        return None;
    }
    let index = (0..3).fold(0, |index, at| {
        index | (bit(r, at) | bit(g, at) << 1 | bit(b, at) << 2) << (3 * at)
    });
    u8::try_from(index).ok()
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageBuffer, Luma, Rgb, RgbImage};

    use super::*;

    #[test]
    fn soft_masks_have_two_readings() {
        let grey = GrayImage::from_raw(4, 1, vec![0, 1, 127, 128]).unwrap();
        let read =
            |above, picture: DynamicImage| Coding::Grey { above }.decode(&picture).unwrap().object;
        assert_eq!(read(0, grey.clone().into()), [false, true, true, true]);
        assert_eq!(read(127, grey.into()), [false, false, false, true]);
        let deep = ImageBuffer::<Luma<u16>, _>::from_raw(2, 1, vec![0, 1]).unwrap();
        assert_eq!(read(0, DynamicImage::ImageLuma16(deep)), [false, true]);
        let blue = RgbImage::from_pixel(1, 1, Rgb([0, 0, 1]));
        assert_eq!(read(0, blue.into()), [true]);
    }

    #[test]
    fn class_codes_are_told_apart() {
        let ids = [[0, 0, 0], [1, 0, 0], [44, 1, 0], [232, 3, 0]];
        let picture = |colours: &[[u8; 3]]| -> DynamicImage {
            let bytes = colours.concat();
            RgbImage::from_raw(colours.len() as u32, 1, bytes)
                .unwrap()
                .into()
        };
        let any = Coding::ImagenetS { only: None }
            .decode(&picture(&ids))
            .unwrap();
        assert_eq!(any.object, [false, true, true, false]);
        assert_eq!(any.ignored, [false, false, false, true]);
        let one = Coding::ImagenetS { only: Some(300) }
            .decode(&picture(&ids))
            .unwrap();
        assert_eq!(one.object, [false, false, true, false]);

        // aeroplane 1, bicycle 2, tv monitor 20, void 255
        let colours = [
            [0, 0, 0],
            [128, 0, 0],
            [0, 128, 0],
            [0, 64, 128],
            [224, 224, 192],
        ];
        let indices = colours.map(|colour| voc_index(colour).unwrap());
        assert_eq!(indices, [0, 1, 2, 20, 255]);
        let any = Coding::Voc { only: None }
            .decode(&picture(&colours))
            .unwrap();
        assert_eq!(any.object, [false, true, true, true, false]);
        assert_eq!(any.ignored, [false, false, false, false, true]);
        let grey = GrayImage::from_raw(3, 1, vec![0, 20, 255]).unwrap();
        let one = Coding::Voc { only: Some(20) }.decode(&grey.into()).unwrap();
        assert_eq!(
            (one.object, one.ignored),
            (vec![false, true, false], vec![false, false, true])
        );
        let error = Coding::Voc { only: None }
            .decode(&picture(&[[1, 2, 3]]))
            .unwrap_err();
        assert!(error.contains("1, 2, 3"), "{error}");
    }
}
