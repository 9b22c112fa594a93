//! Pictures of every kind against what Pillow and torchvision make of them.

use std::io::Cursor;

use elucid_core::model::ChannelOrder;
use image::{DynamicImage, GrayAlphaImage, ImageFormat, LumaA, Rgb, Rgba};

use super::fit::Span;
use super::*;

const IMAGENET: Preprocess = Preprocess {
    fit: Fit::ShortSide,
    resize: 256,
    crop: [224, 224],
    filter: Filter::Bilinear,
    order: ChannelOrder::Rgb,
    scale: 1.0 / 255.0,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
};

fn photo(rgb: RgbImage) -> Photo {
    Photo {
        rgb,
        name: "test".to_string(),
    }
}

fn slope(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 90])
    })
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn golden(name: &str) -> RgbImage {
    let path = format!(
        "{}/../tests/golden/resize/{name}.png",
        env!("CARGO_MANIFEST_DIR")
    );
    Photo::open(path).unwrap().rgb
}

fn worst(a: &RgbImage, b: &RgbImage) -> u8 {
    assert_eq!(a.dimensions(), b.dimensions());
    a.as_raw()
        .iter()
        .zip(b.as_raw())
        .map(|(a, b)| a.abs_diff(*b))
        .max()
        .unwrap()
}

#[test]
fn resize_is_pillows_to_one_level() {
    let source = photo(golden("source"));
    let bilinear = Preprocess {
        resize: 48,
        crop: [40, 40],
        ..IMAGENET
    };
    let bicubic = Preprocess {
        filter: Filter::Bicubic,
        ..bilinear
    };
    let padded = Preprocess {
        resize: 24,
        crop: [31, 36],
        ..IMAGENET
    };
    for (name, how) in [
        ("bilinear", bilinear),
        ("bicubic", bicubic),
        ("padded", padded),
    ] {
        let difference = worst(&source.prepare(&how).unwrap().crop, &golden(name));
        assert!(difference <= 1, "{name} differs by {difference} levels");
    }
    // Resizing only what the crop needs gives what resizing everything gives.
    let whole = scaled(&source.rgb, 76, 48);
    let middle = image::imageops::crop_imm(&whole, 18, 4, 40, 40).to_image();
    assert_eq!(worst(&source.prepare(&bicubic).unwrap().crop, &middle), 0);
}

#[test]
fn centre_crop_rounds_like_python() {
    // int(round((scaled - crop) / 2)): 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, 3.5 -> 4
    for (scaled, first) in [
        (10, 0.0),
        (11, 0.0),
        (12, 1.0),
        (13, 2.0),
        (14, 2.0),
        (15, 2.0),
        (17, 4.0),
    ] {
        let span = Span::centre(scaled, scaled, 10);
        assert_eq!((span.start, span.length), (first, 10.0), "{scaled}");
    }
    assert_eq!(Span::centre(7, 7, 10).place(10), (1, 7));
}

#[test]
fn normalises_in_the_networks_order() {
    let source = photo(RgbImage::from_pixel(4, 4, Rgb([255, 128, 0])));
    let rgb = source
        .prepare(&Preprocess {
            resize: 4,
            crop: [2, 3],
            ..IMAGENET
        })
        .unwrap();
    assert_eq!((rgb.height, rgb.width, rgb.image.len()), (2, 3, 18));
    assert!(
        (rgb.image[15] - (1.0 - 0.485) / 0.229).abs() < 1e-6 && rgb.image[17] == -0.406 / 0.225
    );
    let mean = [104.0, 117.0, 124.0];
    let caffe = Preprocess {
        order: ChannelOrder::Bgr,
        scale: 1.0,
        mean,
        std: [1.0; 3],
        ..IMAGENET
    };
    let bgr = source
        .prepare(&Preprocess {
            fit: Fit::Squash,
            crop: [1, 1],
            ..caffe
        })
        .unwrap();
    assert_eq!(bgr.image, [-104.0, 11.0, 131.0]);
    assert_eq!(
        bgr.crop.get_pixel(0, 0),
        &Rgb([255, 128, 0]),
        "the crop stays RGB"
    );
}

#[test]
fn extreme_pictures_work() {
    for (width, height) in [(20_000, 10), (10, 20_000), (1, 1), (1, 50_000), (3000, 1)] {
        for fit in [Fit::ShortSide, Fit::Squash] {
            let ready = photo(slope(width, height))
                .prepare(&Preprocess { fit, ..IMAGENET })
                .unwrap();
            assert_eq!(ready.crop.dimensions(), (224, 224));
            let (w, h) = ready.view.dimensions();
            assert!(
                (384..=512).contains(&w.max(h)) && w.min(h) >= 96,
                "{width} x {height} -> view {w} x {h}"
            );
        }
    }
}

#[test]
fn the_view_shows_the_region_of_the_crop() {
    let how = |fit, resize| Preprocess {
        fit,
        resize,
        ..IMAGENET
    };
    let middle = photo(slope(600, 500))
        .prepare(&how(Fit::ShortSide, 256))
        .unwrap()
        .view;
    assert_eq!(
        middle.dimensions(),
        (438, 438),
        "native resolution: 500 * 224 / 256"
    );
    assert!(middle.get_pixel(219, 219)[0].abs_diff(127) < 3);
    let squashed = photo(slope(1024, 512))
        .prepare(&how(Fit::Squash, 256))
        .unwrap()
        .view;
    assert_eq!(squashed.dimensions(), (512, 256));
    let padded = photo(slope(400, 400))
        .prepare(&how(Fit::ShortSide, 112))
        .unwrap()
        .view;
    assert_eq!(padded.dimensions(), (512, 512));
    assert_eq!(
        (padded.get_pixel(127, 256)[2], padded.get_pixel(128, 256)[2]),
        (0, 90)
    );
}

#[test]
fn every_kind_becomes_rgb() {
    let open =
        |picture: DynamicImage, format| Photo::decode(&encoded(picture, format), "x").unwrap().rgb;
    let faint = GrayAlphaImage::from_pixel(2, 2, LumaA([77, 3])).into();
    assert_eq!(open(faint, ImageFormat::Png).get_pixel(1, 1), &Rgb([77; 3]));
    let clear = image::RgbaImage::from_pixel(2, 2, Rgba([1, 2, 3, 0]));
    assert_eq!(
        open(clear.clone().into(), ImageFormat::Png).get_pixel(1, 1),
        &Rgb([1, 2, 3])
    );
    assert_eq!(
        open(clear.into(), ImageFormat::WebP).get_pixel(1, 1),
        &Rgb([1, 2, 3])
    );
    let deep = image::ImageBuffer::from_pixel(2, 2, Rgb([0x1234_u16, 0x8000, 0xffff])).into();
    assert_eq!(
        open(deep, ImageFormat::Png).get_pixel(1, 1),
        &Rgb([0x12, 0x80, 0xff])
    );
    assert!(
        worst(
            &open(slope(40, 40).into(), ImageFormat::Jpeg),
            &slope(40, 40)
        ) < 16
    );
}

#[test]
fn exif_orientation_is_applied() {
    let plain = encoded(slope(40, 20), ImageFormat::Jpeg);
    // A big-endian EXIF segment with one entry: orientation (0x112), one short, 6 = turn by 90 degrees clockwise.
    let exif =
        b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = [&plain[..2], exif, &plain[2..]].concat();
    let (plain, turned) = (
        Photo::decode(&plain, "x").unwrap().rgb,
        Photo::decode(&turned, "x").unwrap().rgb,
    );
    assert_eq!(turned, image::imageops::rotate90(&plain));
}

#[test]
fn bad_files_are_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.jpg");
    let refusal = |part: &str| {
        let line = Photo::open(&path).err().expect(part).to_string();
        assert!(
            line.contains(part) && line.contains("x.jpg") && !line.contains('\n'),
            "{line}"
        );
    };
    refusal("no such file");
    let cut = "cut short or damaged";
    for (bytes, part) in [
        (&b""[..], "is empty (0 bytes)"),
        (
            b"GIF89a",
            "is not a JPEG, PNG or WebP picture (it looks like gif)",
        ),
        (b"a letter, not a picture", "looks like text"),
        (&[0; 100], "nothing but zeros"),
        (b"\xff\xd8\xff", cut),
        (b"\x89PNG\r\n\x1a\n", cut),
        (b"RIFF\x10\0\0\0WEBPVP8 ", cut),
    ] {
        std::fs::write(&path, bytes).unwrap();
        refusal(part);
    }
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let whole = encoded(golden("source"), format);
        for share in [1, 5, 9] {
            std::fs::write(&path, &whole[..whole.len() * share / 10]).unwrap();
            refusal(cut);
        }
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    refusal("is a folder");
}

#[test]
fn a_giant_is_refused_by_its_header() {
    let mut bytes = encoded(slope(1, 1), ImageFormat::Png);
    bytes[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]); // 20,000 x 20,000
    bytes[29..33].copy_from_slice(&[0x6c, 0x12, 0xd1, 0x6e]); // the header's checksum
    let line = Photo::decode(&bytes, "giant.png")
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        line,
        "giant.png has 20000 x 20000 pixels, more than 100 million; scale it down first"
    );
}

#[test]
fn impossible_preprocessing_is_refused() {
    let refused = |how| photo(slope(8, 8)).prepare(&how).err().unwrap().to_string();
    assert!(
        refused(Preprocess {
            crop: [0, 224],
            ..IMAGENET
        })
        .contains("cropped to 0 x 224 pixels")
    );
    assert!(
        refused(Preprocess {
            resize: 9000,
            ..IMAGENET
        })
        .contains("resized to 9000")
    );
    assert!(
        refused(Preprocess {
            std: [1.0, 0.0, 1.0],
            ..IMAGENET
        })
        .contains("deviation [1.0, 0.0, 1.0]")
    );
}

#[test]
fn jpegs_are_pillows_to_the_last_bit() {
    // zlib.crc32(PIL.Image.open(FILE).convert("RGB").tobytes()), Pillow with libjpeg-turbo.
    let photos: [(&[u8], u32); 2] = [
        (
            include_bytes!("../../demo/photos/sunflower.jpg"),
            2873180313,
        ),
        (include_bytes!("../../demo/photos/dandelion.jpg"), 286121315),
    ];
    for (bytes, want) in photos {
        let photo = Photo::decode(bytes, "photo").unwrap();
        assert_eq!(crc32fast::hash(photo.rgb.as_raw()), want);
    }
}
