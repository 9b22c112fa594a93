//! The explanation as a figure: the photo, its relevance map in colour and both laid over each other, side by side
//! under a caption, with a colour bar. Nothing here changes a number that is reported; it is for the eye alone.
//!
//! Relevance is heavy-tailed: a few pixels hold a hundred times the typical amount. The colours therefore run from 0
//! to the 99.5th percentile of |relevance|, and what lies beyond is clipped (the colour bar then ends in a point, as
//! in matplotlib). A map with negative relevance gets a diverging map from blue over white to red, symmetric about 0.
//!
//! The colour bar belongs to the map beside it. The overlay shows that map, clipped, averaged over a few pixels and
//! scaled to its own maximum: more relevance is more colour and less photo.

use std::fmt;
use std::str::FromStr;

use colorous::Gradient;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::F32;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::{Rgb, RgbImage};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

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

/// A colour map for relevance without negative values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorMap {
    /// Black over purple and orange to pale yellow; perceptually uniform.
    #[default]
    Inferno,
    /// Purple over green to yellow; perceptually uniform and fit for most colour-blind eyes.
    Viridis,
    /// Black over purple and pink to pale yellow; perceptually uniform.
    Magma,
    /// An improved rainbow: many steps, nearly uniform.
    Turbo,
    /// Black to white.
    Gray,
    /// The old rainbow of many papers, for comparison with them; its steps are not uniform.
    Jet,
}

impl ColorMap {
    /// The names that [`FromStr`] accepts.
    pub const NAMES: [&'static str; 6] = ["inferno", "viridis", "magma", "turbo", "gray", "jet"];
    const ALL: [ColorMap; 6] = [
        ColorMap::Inferno,
        ColorMap::Viridis,
        ColorMap::Magma,
        ColorMap::Turbo,
        ColorMap::Gray,
        ColorMap::Jet,
    ];

    /// The colour of `t`, clipped to 0..=1.
    pub fn color(self, t: f32) -> Rgb<u8> {
        let t = t.clamp(0.0, 1.0);
        match self {
            ColorMap::Inferno => sample(colorous::INFERNO, t),
            ColorMap::Viridis => sample(colorous::VIRIDIS, t),
            ColorMap::Magma => sample(colorous::MAGMA, t),
            ColorMap::Turbo => sample(colorous::TURBO, t),
            ColorMap::Gray => Rgb([(255.0 * t).round() as u8; 3]),
            // The piecewise linear form: each channel is a trapezium about its own centre.
            ColorMap::Jet => Rgb([3.0, 2.0, 1.0].map(|centre| {
                let height = 1.5 - (4.0 * t - centre).abs();
                (255.0 * height.clamp(0.0, 1.0)).round() as u8
            })),
        }
    }
}

impl fmt::Display for ColorMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ColorMap::NAMES[*self as usize])
    }
}

impl FromStr for ColorMap {
    type Err = String;

    fn from_str(name: &str) -> Result<ColorMap, String> {
        let known = ColorMap::ALL
            .into_iter()
            .find(|map| map.to_string() == name.to_ascii_lowercase());
        known.ok_or_else(|| {
            format!(
                "there is no colour map `{name}`; choose one of {}",
                ColorMap::NAMES.join(", ")
            )
        })
    }
}

fn sample(gradient: Gradient, t: f32) -> Rgb<u8> {
    Rgb(gradient.eval_continuous(t.into()).as_array())
}

/// How numbers become colours.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    map: ColorMap,
    /// The value of the last colour; 0 when there is no relevance at all.
    limit: f32,
    /// Whether negative relevance has colours of its own.
    signed: bool,
    /// Whether values beyond the limit exist.
    clipped: bool,
    /// How many values are NaN or infinite.
    broken: usize,
}

impl Scale {
    fn of(heat: &[f32], map: ColorMap) -> Scale {
        let mut sizes: Vec<f32> = heat
            .iter()
            .filter(|value| value.is_finite())
            .map(|value| value.abs())
            .collect();
        let broken = heat.len() - sizes.len();
        let most = sizes.iter().copied().fold(0.0, f32::max);
        let lowest = heat
            .iter()
            .copied()
            .filter(|value| value.is_finite())
            .fold(0.0, f32::min);
        let mut limit = 0.0;
        if !sizes.is_empty() {
            let rank = (PERCENTILE * (sizes.len() - 1) as f64).round() as usize;
            limit = *sizes.select_nth_unstable_by(rank, f32::total_cmp).1;
        }
        if limit == 0.0 {
            limit = most; // nearly everything is zero: show the rest
        }
        // Rounding leaves specks below zero in maps that have no negative relevance; they get no colours.
        Scale {
            map,
            limit,
            signed: lowest < -0.01 * limit,
            clipped: most > limit,
            broken,
        }
    }

    /// `value` in units of the limit, clipped to -1..=1; 0 for NaN and infinity.
    fn shade(&self, value: f32) -> f32 {
        if !value.is_finite() || self.limit == 0.0 {
            return 0.0;
        }
        (value / self.limit).clamp(if self.signed { -1.0 } else { 0.0 }, 1.0)
    }

    fn color(&self, shade: f32) -> Rgb<u8> {
        if self.signed {
            sample(colorous::RED_BLUE, 0.5 - 0.5 * shade)
        } else {
            self.map.color(shade)
        }
    }
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

/// One weight and size of Noto Sans Mono.
struct Font {
    weight: FontWeight,
    height: RasterHeight,
}

impl Font {
    /// `text` cut to `room` pixels with three dots. What follows the last double space is kept.
    fn shorten(&self, text: &str, room: u32) -> String {
        let room = room as usize / get_raster_width(self.weight, self.height);
        let count = text.chars().count();
        if count <= room {
            return text.to_string();
        }
        let tail = text.rfind("  ").map_or("", |at| &text[at..]);
        let tail = if tail.chars().count() + 8 > room {
            ""
        } else {
            tail
        };
        let kept = room.saturating_sub(3 + tail.chars().count());
        let head: String = text.chars().take(kept).collect();
        format!("{}...{tail}", head.trim_end())
    }

    /// Writes one line with its upper left corner at (`left`, `top`); what runs over the edge is cut.
    fn write(&self, page: &mut RgbImage, left: u32, top: u32, text: &str, ink: Rgb<u8>) {
        let advance = get_raster_width(self.weight, self.height) as u32;
        for (index, character) in (0..).zip(text.chars()) {
            let glyph = get_raster(character, self.weight, self.height)
                .or_else(|| get_raster('?', self.weight, self.height))
                .expect("the font has a question mark");
            for (y, row) in (top..).zip(glyph.raster()) {
                for (x, &cover) in (left + index * advance..).zip(*row) {
                    if let Some(pixel) = page.get_pixel_mut_checked(x, y) {
                        *pixel = blend(*pixel, ink, f32::from(cover) / 255.0);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A blob with one outlier: `size` x `size`.
    fn blob(size: usize) -> Vec<f32> {
        let distance = |i: usize| {
            ((i / size) as f32 - size as f32 / 2.0).hypot((i % size) as f32 - size as f32 / 2.0)
        };
        let mut heat: Vec<f32> = (0..size * size)
            .map(|i| 1e-5 * (-distance(i) * 8.0 / size as f32).exp())
            .collect();
        heat[1] = 1.0;
        heat
    }

    fn figure<'a>(view: &'a RgbImage, heat: &'a [f32], heat_size: (usize, usize)) -> Figure<'a> {
        Figure {
            view,
            heat,
            heat_size,
            caption: "tulip  97.3 %",
            detail: "lrp exact",
            map: ColorMap::default(),
        }
    }

    fn holds(page: &RgbImage, color: Rgb<u8>) -> bool {
        page.pixels().any(|pixel| *pixel == color)
    }

    #[test]
    fn names_and_ends_of_the_maps() {
        for name in ColorMap::NAMES {
            assert_eq!(name.parse::<ColorMap>().unwrap().to_string(), name);
        }
        assert_eq!("Viridis".parse(), Ok(ColorMap::Viridis));
        assert!(
            "rainbow"
                .parse::<ColorMap>()
                .unwrap_err()
                .contains("inferno, viridis, magma")
        );
        assert_eq!(ColorMap::Inferno.color(0.0), Rgb([0, 0, 4]));
        assert_eq!(
            (ColorMap::Gray.color(-3.0), ColorMap::Gray.color(7.0)),
            (Rgb([0; 3]), Rgb([255; 3]))
        );
        let jet = [0.0, 0.25, 0.5, 0.75, 1.0].map(|t| ColorMap::Jet.color(t).0);
        assert_eq!(
            jet,
            [
                [0, 0, 128],
                [0, 128, 255],
                [128, 255, 128],
                [255, 128, 0],
                [128, 0, 0]
            ]
        );
    }

    #[test]
    fn the_scale_clips_outliers_and_finds_signs() {
        let scale = Scale::of(&blob(40), ColorMap::Inferno);
        assert!(
            scale.limit < 1.1e-5 && scale.clipped && !scale.signed,
            "{scale:?}"
        );
        assert_eq!(scale.shade(1.0), 1.0);
        let specks = Scale::of(&[1.0, -1e-7, 0.5], ColorMap::Inferno);
        assert_eq!(
            (specks.signed, specks.clipped, specks.shade(-1e-7)),
            (false, false, 0.0)
        );
        let signed = Scale::of(&[1.0, -0.5, f32::NAN, f32::INFINITY], ColorMap::Inferno);
        assert_eq!(
            (
                signed.limit,
                signed.signed,
                signed.broken,
                signed.shade(f32::NAN)
            ),
            (1.0, true, 2, 0.0)
        );
        let [red, _, blue] = signed.color(0.9).0;
        assert!(red > blue, "positive relevance is red");
        // Where nearly everything is zero, the percentile is zero too, and the rest still has to show.
        let mut sparse = vec![0.0; 1000];
        sparse[7] = 3.0;
        assert_eq!(Scale::of(&sparse, ColorMap::Inferno).limit, 3.0);
        assert_eq!(Scale::of(&[f32::NAN], ColorMap::Inferno).limit, 0.0);
    }

    #[test]
    fn extremes_make_pages_of_sensible_size() {
        for (width, height) in [
            (384, 384),
            (512, 100),
            (100, 512),
            (1, 1),
            (1, 3000),
            (3000, 1),
        ] {
            let view = RgbImage::from_pixel(width, height, Rgb([90, 120, 60]));
            let page = render(&figure(&view, &blob(56), (56, 56)));
            assert!(
                (700..2200).contains(&page.width()) && (250..600).contains(&page.height()),
                "{:?}",
                page.dimensions()
            );
        }
        let view = RgbImage::new(40, 30);
        for heat in [
            0.0,
            1.0,
            -1.0,
            f32::NAN,
            f32::NEG_INFINITY,
            f32::MIN_POSITIVE,
            f32::MAX,
        ] {
            render(&figure(&view, &[heat], (1, 1)));
            render(&figure(&view, &[heat; 700 * 3], (700, 3)));
        }
    }

    #[test]
    fn nan_is_hatched_and_zero_is_told() {
        let view = RgbImage::from_pixel(384, 384, Rgb([90; 3]));
        let mut heat = blob(28);
        let clean = render(&figure(&view, &heat, (28, 28)));
        assert!(!holds(&clean, BROKEN[0]) && !holds(&clean, WARNING));
        heat[300] = f32::NAN;
        let broken = render(&figure(&view, &heat, (28, 28)));
        assert!(holds(&broken, BROKEN[0]) && holds(&broken, WARNING));
        let zero = render(&figure(&view, &[0.0; 9], (3, 3)));
        assert!(!holds(&zero, BROKEN[0]) && holds(&zero, WARNING));
        assert!(
            holds(&zero, faded(Rgb([90; 3]))),
            "the overlay of no relevance is the faded photo"
        );
    }

    #[test]
    fn captions_are_shortened_and_unknown_letters_replaced() {
        let room = 20 * get_raster_width(CAPTION.weight, CAPTION.height) as u32;
        assert_eq!(CAPTION.shorten("tulip  97.3 %", room), "tulip  97.3 %");
        assert_eq!(
            CAPTION.shorten("black-footed ferret  97.3 %", room),
            "black-foo...  97.3 %"
        );
        assert_eq!(
            CAPTION.shorten("a name with no number at all", room),
            "a name with no nu..."
        );
        let write = |text: &str| {
            let mut page = RgbImage::from_pixel(40, 24, PAPER);
            CAPTION.write(&mut page, 0, 0, text, INK);
            page
        };
        assert_eq!(write("\u{30c1}\n"), write("??"));
        assert_ne!(write("\u{e9}"), write("?"));
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 3.3e-5, -3.3e-5, 0.9731, 12.345, 4321.0, 5e7].map(number);
        assert_eq!(
            shown,
            ["0", "3.3e-5", "-3.3e-5", "0.973", "12.35", "4321", "5.0e7"]
        );
    }
}
