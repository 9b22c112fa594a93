//! What figures show, pixel by pixel.

use noto_sans_mono_bitmap::get_raster_width;

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

#[test]
fn panels_are_where_they_were_drawn() {
    for (w, h) in [(96, 96), (300, 100), (60, 96)] {
        let view = RgbImage::from_pixel(w, h, Rgb([10, 200, 30]));
        let page = render(&figure(&view, &blob(14), (14, 14)));
        let [photo, map, overlay] = panels(page.width(), page.height()).unwrap();
        for [left, top, width, height] in [photo, map, overlay] {
            assert_eq!(*page.get_pixel(left - 1, top - 1), LINE);
            assert_eq!(*page.get_pixel(left - 1, top + height), LINE);
            assert_eq!(*page.get_pixel(left + width, top), LINE);
        }
        assert_eq!(*page.get_pixel(photo[0], photo[1]), Rgb([10, 200, 30]));
    }
    assert!(panels(224, 224).is_none() && panels(10, 10).is_none());
}
