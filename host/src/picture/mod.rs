//! The explanation as a figure: the photo, its relevance map in colour and both laid over each other, side by side
//! under a caption, with a colour bar. Nothing here changes a number that is reported; it is for the eye alone.
//!
//! Relevance is heavy-tailed: a few pixels hold a hundred times the typical amount. The colours therefore run from 0
//! to the 99.5th percentile of |relevance|, and what lies beyond is clipped (the colour bar then ends in a point, as
//! in matplotlib). A map with negative relevance gets a diverging map from blue over white to red, symmetric about 0.
//!
//! The colour bar belongs to the map beside it. The overlay shows that map, clipped, averaged over a few pixels and
//! scaled to its own maximum: more relevance is more colour and less photo.

mod color;
mod font;
#[cfg(test)]
mod tests;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::F32;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::{Rgb, RgbImage};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight};

pub use color::ColorMap;
use color::Scale;
use font::Font;

/// The share of |relevance| values that the colours cover without clipping.
pub const PERCENTILE: f64 = 0.995;

/// What a figure shows.
pub struct Figure<'a> {
    /// The photo, or the part of it that the network saw; it is scaled to the panel.
    pub view: &'a RgbImage,
    /// Relevance of the same region, `[h, w]`, row by row, of any sign.
    pub heat: &'a [f32],
    /// Height and width of `heat`.
    pub heat_size: (usize, usize),
    /// The headline, such as `tulip  97.3 %`. What follows the last double space survives shortening.
    pub caption: &'a str,
    /// The smaller line below it: how the map was made.
    pub detail: &'a str,
    /// Colours of a map without negative relevance.
    pub map: ColorMap,
}

const PAPER: Rgb<u8> = Rgb([252, 252, 250]);
const INK: Rgb<u8> = Rgb([28, 30, 34]);
const SOFT_INK: Rgb<u8> = Rgb([98, 102, 110]);
const LINE: Rgb<u8> = Rgb([190, 192, 196]);
const WARNING: Rgb<u8> = Rgb([190, 30, 40]);
/// Colours of the hatching that marks NaN and infinity: no colour map has them side by side.
const BROKEN: [Rgb<u8>; 2] = [Rgb([60, 255, 60]), Rgb([0, 0, 0])];

const MARGIN: u32 = 32;
const GAP: u32 = 20;
const PANEL_HEIGHT: u32 = 416;
const PANEL_WIDTH: (u32, u32) = (168, 640);
const BAR_WIDTH: u32 = 18;
/// Room for the colour bar and its ticks, between the map it belongs to and the overlay.
const BAR_ROOM: u32 = 128;
const BAR_POINT: u32 = 13;
/// Height of the caption, the detail and the titles.
const HEAD: u32 = 98;
/// The overlay shows the mean over about this many pixels of the panel each way.
const SMOOTH: u32 = 9;

const CAPTION: Font = Font {
    weight: FontWeight::Bold,
    height: RasterHeight::Size24,
};
const DETAIL: Font = Font {
    weight: FontWeight::Regular,
    height: RasterHeight::Size20,
};
const TICK: Font = Font {
    weight: FontWeight::Regular,
    height: RasterHeight::Size16,
};
const TITLE: Font = Font {
    weight: FontWeight::Regular,
    height: RasterHeight::Size20,
};

/// Draws the figure.
///
/// Panels are 416 pixels high; those of a picture wider than 640 x 416 are 640 wide and lower, but at least 104 high.
///
/// # Panics
/// When `heat` does not hold `heat_size.0 * heat_size.1` values, or either picture has no pixels.
pub fn render(figure: &Figure) -> RgbImage {
    let (rows, columns) = figure.heat_size;
    assert_eq!(
        figure.heat.len(),
        rows * columns,
        "the heat map does not have the size it claims"
    );
    assert!(
        rows * columns > 0 && figure.view.width() > 0 && figure.view.height() > 0,
        "nothing to draw"
    );

    let scale = Scale::of(figure.heat, figure.map);
    let aspect = f64::from(figure.view.width()) / f64::from(figure.view.height());
    let width = (f64::from(PANEL_HEIGHT) * aspect)
        .round()
        .clamp(1.0, PANEL_WIDTH.1.into());
    let height = (width / aspect)
        .round()
        .clamp(f64::from(PANEL_HEIGHT / 4), PANEL_HEIGHT.into());
    let (width, height) = ((width as u32).max(PANEL_HEIGHT / 4), height as u32);
    let column = width.max(PANEL_WIDTH.0);
    let text_room = 3 * column + GAP + BAR_ROOM;

    let photo = crate::photo::scaled(figure.view, width, height);
    let shades: Vec<f32> = figure
        .heat
        .iter()
        .map(|&value| scale.shade(value))
        .collect();
    let fine = resample(
        &shades,
        figure.heat_size,
        (height, width),
        FilterType::Bilinear,
    );
    let mut heat = RgbImage::from_fn(width, height, |x, y| {
        scale.color(fine[(y * width + x) as usize])
    });

    let smooth = smoothed(&shades, figure.heat_size, (height, width));
    let most = smooth
        .iter()
        .fold(f32::MIN_POSITIVE, |most, shade| most.max(shade.abs()));
    // White in the middle of the diverging map says little when it is thin, so that map rises faster.
    let (strength, power) = if scale.signed {
        (0.85, 0.5)
    } else {
        (0.75, 0.7)
    };
    let mut overlay = RgbImage::from_fn(width, height, |x, y| {
        let shade = smooth[(y * width + x) as usize] / most;
        blend(
            faded(*photo.get_pixel(x, y)),
            scale.color(shade),
            strength * shade.abs().powf(power),
        )
    });
    if scale.broken > 0 {
        let mask: Vec<f32> = figure
            .heat
            .iter()
            .map(|value| f32::from(u8::from(!value.is_finite())))
            .collect();
        let mask = resample(
            &mask,
            figure.heat_size,
            (height, width),
            FilterType::Bilinear,
        );
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            if mask[(y * width + x) as usize] > 0.1 {
                let stripe = BROKEN[usize::from((x + y) % 8 >= 5)];
                heat.put_pixel(x, y, stripe);
                overlay.put_pixel(x, y, stripe);
            }
        }
    }

    let top = MARGIN + HEAD;
    let mut page = RgbImage::from_pixel(2 * MARGIN + text_room, top + height + MARGIN, PAPER);
    CAPTION.write(
        &mut page,
        MARGIN,
        MARGIN - 6,
        &CAPTION.shorten(figure.caption, text_room),
        INK,
    );
    DETAIL.write(
        &mut page,
        MARGIN,
        MARGIN + 26,
        &DETAIL.shorten(figure.detail, text_room),
        SOFT_INK,
    );
    let (relevance, ink) = match scale {
        Scale { broken: 1.., .. } => (format!("relevance ({} not finite)", scale.broken), WARNING),
        Scale { limit: 0.0, .. } => ("relevance (all zero)".to_string(), WARNING),
        _ => ("relevance".to_string(), INK),
    };
    let second = MARGIN + column + GAP;
    let third = second + column + BAR_ROOM;
    let panels = [
        (MARGIN, "photo", INK, &photo),
        (second, &relevance, ink, &heat),
        (third, "overlay (smoothed)", INK, &overlay),
    ];
    for (left, title, ink, panel) in panels {
        TITLE.write(
            &mut page,
            left,
            top - 28,
            &TITLE.shorten(title, column),
            ink,
        );
        frame(&mut page, left, top, width, height);
        image::imageops::replace(&mut page, panel, left.into(), top.into());
    }
    color_bar(&mut page, second + width + 14, top, height, &scale);
    page
}

/// Left, top, width and height of the photo, the map and the overlay in a figure of this width and height, so that what lies
/// on disk can be shown in parts; `None` for a picture that [`render`] didn't draw. A narrow panel comes with paper beside it.
#[must_use]
pub fn panels(width: u32, height: u32) -> Option<[[u32; 4]; 3]> {
    let columns = width.checked_sub(2 * MARGIN + GAP + BAR_ROOM)?;
    let height = height.checked_sub(2 * MARGIN + HEAD)?;
    let column = columns / 3;
    if !columns.is_multiple_of(3)
        || !(PANEL_WIDTH.0..=PANEL_WIDTH.1).contains(&column)
        || !(PANEL_HEIGHT / 4..=PANEL_HEIGHT).contains(&height)
    {
        return None;
    }
    let second = MARGIN + column + GAP;
    let lefts = [MARGIN, second, second + column + BAR_ROOM];
    Some(lefts.map(|left| [left, MARGIN + HEAD, column, height]))
}

/// A map at another size, `[h, w]` both, by a filter about the pixels' centres that averages where the map shrinks.
fn resample(values: &[f32], from: (usize, usize), to: (u32, u32), filter: FilterType) -> Vec<f32> {
    let values: Vec<F32> = values.iter().map(|&value| F32::new(value)).collect();
    let source =
        TypedImageRef::new(from.1 as u32, from.0 as u32, &values).expect("one value a pixel");
    let mut target = TypedImage::<F32>::new(to.1, to.0);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    Resizer::new()
        .resize_typed(&source, &mut target, &options)
        .expect("the whole map lies inside itself");
    target.pixels().iter().map(|pixel| pixel.0).collect()
}

/// Laid over a photo, single pixels are lost in its texture: the overlay takes their mean over a neighbourhood. A map
/// that is coarser than that stays as it is.
fn smoothed(shades: &[f32], from: (usize, usize), to: (u32, u32)) -> Vec<f32> {
    let coarse = (
        to.0.div_ceil(SMOOTH).min(from.0 as u32),
        to.1.div_ceil(SMOOTH).min(from.1 as u32),
    );
    let means = resample(shades, from, coarse, FilterType::Bilinear);
    resample(
        &means,
        (coarse.0 as usize, coarse.1 as usize),
        to,
        FilterType::Mitchell,
    )
}

/// A photo's pixel, mostly grey and a little lighter, so that colour laid over it means relevance.
fn faded(pixel: Rgb<u8>) -> Rgb<u8> {
    let [r, g, b] = pixel.0.map(f32::from);
    let grey = 0.299 * r + 0.587 * g + 0.114 * b;
    Rgb([r, g, b].map(|c| (18.0 + 0.9 * (0.88 * grey + 0.12 * c)).round() as u8))
}

fn blend(under: Rgb<u8>, over: Rgb<u8>, alpha: f32) -> Rgb<u8> {
    Rgb(std::array::from_fn(|c| {
        let (under, over) = (f32::from(under[c]), f32::from(over[c]));
        (under + (over - under) * alpha).round() as u8
    }))
}

/// A thin line around the given area.
fn frame(page: &mut RgbImage, left: u32, top: u32, width: u32, height: u32) {
    let line = RgbImage::from_pixel(width + 2, height + 2, LINE);
    image::imageops::replace(page, &line, i64::from(left) - 1, i64::from(top) - 1);
}

/// The colour bar with its ticks; pointed where values are clipped.
fn color_bar(page: &mut RgbImage, left: u32, top: u32, height: u32, scale: &Scale) {
    let up = if scale.clipped { BAR_POINT } else { 0 };
    let down = if scale.clipped && scale.signed {
        BAR_POINT
    } else {
        0
    };
    let (first, length) = (top + up, height - up - down);
    let low = if scale.signed { -1.0 } else { 0.0 };
    frame(page, left, first, BAR_WIDTH, length);
    for y in 0..length {
        let shade = 1.0 + (low - 1.0) * (y as f32 + 0.5) / length as f32;
        (0..BAR_WIDTH).for_each(|x| page.put_pixel(left + x, first + y, scale.color(shade)));
    }
    let half = BAR_WIDTH as f32 / 2.0;
    for (point, base, step, shade) in [(up, first - 1, -1, 1.0), (down, first + length, 1, low)] {
        for y in 0..point {
            // Coverage of the triangle's edge, so that it has no steps.
            let reach = half * (1.0 - (y as f32 + 0.5) / point as f32);
            for x in 0..BAR_WIDTH {
                let inside = (reach - (x as f32 + 0.5 - half).abs() + 0.5).clamp(0.0, 1.0);
                let pixel = page.get_pixel_mut(left + x, base.wrapping_add_signed(step * y as i32));
                *pixel = blend(PAPER, scale.color(shade), inside);
            }
        }
    }
    let ticks: &[f32] = match (scale.limit == 0.0, scale.signed) {
        (true, _) => &[0.0],
        (_, true) => &[-1.0, 0.0, 1.0],
        (_, false) => &[0.0, 0.5, 1.0],
    };
    for tick in ticks {
        let y = first + ((1.0 - tick) / (1.0 - low) * (length - 1) as f32).round() as u32;
        (0..5).for_each(|x| page.put_pixel(left + BAR_WIDTH + 1 + x, y, SOFT_INK));
        TICK.write(
            page,
            left + BAR_WIDTH + 10,
            y - 8,
            &number(tick * scale.limit),
            SOFT_INK,
        );
    }
}

/// A short number for a tick.
fn number(value: f32) -> String {
    match value.abs() {
        0.0 => "0".to_string(),
        0.01..1.0 => format!("{value:.3}"),
        1.0..100.0 => format!("{value:.2}"),
        100.0..10_000.0 => format!("{value:.0}"),
        _ => format!("{value:.1e}"),
    }
}
