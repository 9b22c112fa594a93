//! Random crops, flips, blur and sharpness, as the adapter's paper has them for CUB (its code's `dataloader.py`).
//!
//! A photo is resized to 510/384 of the input's size, aspect ratio not kept; a window of the input's size is cut at random
//! and flipped half of the time; one of ten is blurred (5 x 5, sigma 0.1 to 5), one of ten sharpened by a factor 1.5.

use anyhow::Result;
use elucid_core::model::{Fit, Preprocess};
use image::RgbImage;
use image::imageops;

use crate::photo::{Photo, normalise};
use crate::synthetic::Random;

/// Share of pictures that are blurred, and that are sharpened.
const SELDOM: f32 = 0.1;
/// Strength of sharpening.
const SHARPNESS: f32 = 1.5;

/// A random view of a photo, `[h, w, 3]`, normalised.
///
/// # Errors
/// For preprocessing that fits no picture.
pub fn view(photo: &Photo, how: &Preprocess, random: &mut Random) -> Result<Vec<f32>> {
    let [h, w] = how.crop;
    let larger = Preprocess {
        crop: how.crop.map(|side| (side * 510).div_ceil(384)),
        resize: (how.resize * 510).div_ceil(384),
        ..*how
    };
    let whole = photo.cropped(&larger)?;
    let left = random.below(whole.width() - w + 1);
    let top = random.below(whole.height() - h + 1);
    let mut cut = imageops::crop_imm(&whole, left, top, w, h).to_image();
    if random.share() < 0.5 {
        imageops::flip_horizontal_in_place(&mut cut);
    }
    let blurs = random.share() < SELDOM;
    let sigma = 0.1 + 4.9 * random.share();
    if blurs {
        cut = blur(&cut, sigma);
    }
    if random.share() < SELDOM {
        cut = sharpen(&cut);
    }
    Ok(normalise(&cut, how))
}

/// A random part of a photo, resized to the input, and flipped half of the time: torchvision's `RandomResizedCrop` with its
/// usual numbers (8 to 100 % of the area, sides 3:4 to 4:3) and `RandomHorizontalFlip`, as the LRP paper's classifiers were
/// trained.
///
/// # Errors
/// For preprocessing that fits no picture.
pub fn resized(photo: &Photo, how: &Preprocess, random: &mut Random) -> Result<Vec<f32>> {
    let (w, h) = photo.rgb.dimensions();
    let area = f64::from(w) * f64::from(h);
    let mut part = None;
    for _ in 0..10 {
        let size = area * (0.08 + 0.92 * f64::from(random.share()));
        let side = (4.0f64 / 3.0).ln();
        let ratio = (side * (2.0 * f64::from(random.share()) - 1.0)).exp();
        let width = (size * ratio).sqrt().round() as u32;
        let height = (size / ratio).sqrt().round() as u32;
        if (1..=w).contains(&width) && (1..=h).contains(&height) {
            let (x, y) = (random.below(w - width + 1), random.below(h - height + 1));
            part = Some((x, y, width, height));
            break;
        }
    }
    // None fits: the largest part in the middle whose sides are possible.
    let (x, y, width, height) = part.unwrap_or_else(|| {
        let (width, height) = (w.min(h * 4 / 3).max(1), h.min(w * 4 / 3).max(1));
        ((w - width) / 2, (h - height) / 2, width, height)
    });
    let cut = Photo {
        rgb: imageops::crop_imm(&photo.rgb, x, y, width, height).to_image(),
        name: photo.name.clone(),
    };
    let squash = Preprocess {
        fit: Fit::Squash,
        ..*how
    };
    let mut view = cut.cropped(&squash)?;
    if random.share() < 0.5 {
        imageops::flip_horizontal_in_place(&mut view);
    }
    Ok(normalise(&view, how))
}

/// The pixel `reach` at most outside is the one mirrored at the border, as torchvision pads.
fn mirrored(at: i64, size: u32) -> u32 {
    let last = i64::from(size) - 1;
    let at = if at < 0 { -at } else { at };
    let at = if at > last { 2 * last - at } else { at };
    at.clamp(0, last) as u32
}

/// Gaussian of 5 x 5.
fn blur(picture: &RgbImage, sigma: f32) -> RgbImage {
    let weight = |i: i64| (-0.5 * (i as f32 / sigma).powi(2)).exp();
    let whole: f32 = (-2..=2).map(weight).sum();
    let pass = |picture: &RgbImage, (dx, dy): (i64, i64)| {
        RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
            let mut sum = [0.0; 3];
            for i in -2..=2 {
                let x = mirrored(i64::from(x) + i * dx, picture.width());
                let y = mirrored(i64::from(y) + i * dy, picture.height());
                let pixel = picture.get_pixel(x, y);
                for (sum, &byte) in sum.iter_mut().zip(&pixel.0) {
                    *sum += weight(i) / whole * f32::from(byte);
                }
            }
            image::Rgb(sum.map(|v| v.round().clamp(0.0, 255.0) as u8))
        })
    };
    pass(&pass(picture, (1, 0)), (0, 1))
}

/// `1.5 picture - 0.5 smoothed`, borders as they are.
fn sharpen(picture: &RgbImage) -> RgbImage {
    let (w, h) = picture.dimensions();
    RgbImage::from_fn(w, h, |x, y| {
        let own = *picture.get_pixel(x, y);
        if x == 0 || y == 0 || x + 1 == w || y + 1 == h {
            return own;
        }
        let mut sum = own.0.map(|byte| 4.0 * f32::from(byte));
        for pixel in (y - 1..=y + 1).flat_map(|y| (x - 1..=x + 1).map(move |x| (x, y))) {
            let pixel = picture.get_pixel(pixel.0, pixel.1);
            for (sum, &byte) in sum.iter_mut().zip(&pixel.0) {
                *sum += f32::from(byte);
            }
        }
        let mix = |c: usize| SHARPNESS * f32::from(own[c]) + (1.0 - SHARPNESS) * sum[c] / 13.0;
        image::Rgb([0, 1, 2].map(|c| mix(c).round().clamp(0.0, 255.0) as u8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::UNIT;

    fn made(f: impl Fn(u32, u32) -> [u8; 3]) -> Photo {
        Photo {
            rgb: RgbImage::from_fn(90, 60, |x, y| image::Rgb(f(x, y))),
            name: "made.png".to_owned(),
        }
    }

    #[test]
    fn the_same_numbers_give_the_same_view_and_others_another() {
        let how = Preprocess {
            crop: [32, 32],
            resize: 32,
            fit: Fit::Squash,
            ..UNIT
        };
        let photo = made(|x, y| [(2 * x) as u8, (4 * y) as u8, 77]);
        let seen = |seed| view(&photo, &how, &mut Random::new(seed)).unwrap();
        assert_eq!(seen(1).len(), 32 * 32 * 3);
        assert_eq!(seen(1), seen(1));
        assert_ne!(seen(1), seen(2));
        // What is the same everywhere stays so, whatever is done.
        let plain = made(|_, _| [10, 20, 30]);
        for seed in 0..60 {
            let part = resized(&plain, &how, &mut Random::new(seed)).unwrap();
            assert_eq!(part.len(), 32 * 32 * 3);
            assert!(part.chunks(3).all(|p| (p[2] - 30.0 / 255.0).abs() < 1e-6));
            let view = view(&plain, &how, &mut Random::new(seed)).unwrap();
            let same = [10.0 / 255.0, 20.0 / 255.0, 30.0 / 255.0];
            assert!(view.chunks(3).all(|p| {
                p.iter()
                    .zip(same)
                    .all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6)
            }));
        }
    }

    #[test]
    fn blur_and_sharpness_are_torchvisions() {
        // One bright pixel. torchvision.transforms.functional.gaussian_blur(x, 5, 1.0), adjust_sharpness(x, 1.5).
        let dot = RgbImage::from_fn(7, 7, |x, y| {
            image::Rgb([if (x, y) == (3, 3) { 200 } else { 20 }; 3])
        });
        let blurred = blur(&dot, 1.0);
        assert_eq!(
            [(3, 3), (4, 3), (4, 4), (5, 3)].map(|(x, y)| blurred.get_pixel(x, y)[0]),
            [49, 38, 31, 24]
        );
        let sharp = sharpen(&dot);
        assert_eq!(
            [(3, 3), (4, 3), (0, 0)].map(|(x, y)| sharp.get_pixel(x, y)[0]),
            [255, 13, 20]
        );
    }
}
