//! From a picture file to what the network sees. A JPEG, PNG or WebP is recognised by its content, decoded to 8-bit
//! RGB with its EXIF orientation applied, then resized and cropped as the model file says and normalised.
//!
//! Sizes, rounding and padding are torchvision's (`Resize`, `CenterCrop`), the antialiased convolution is Pillow's,
//! as in section 1.10 of the specification; `tests/golden/resize` holds the yardstick. Only the part of the picture
//! that the crop needs is resized, so a strip of 20,000 x 10 pixels costs no more than a square.

use std::fmt;
use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::Path;

use elucid_core::model::{ChannelOrder, Filter, Fit, Preprocess};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

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

    /// Resizes, crops and normalises the picture as `how` says.
    ///
    /// # Errors
    /// Only for preprocessing that fits no picture: sizes of zero or above 8192 pixels, a deviation of zero.
    pub fn prepare(&self, how: &Preprocess) -> Result<Prepared, PhotoError> {
        let [height, width] = how.crop;
        let resize = if how.fit == Fit::Squash {
            height
        } else {
            how.resize
        };
        let numbers = how.std.iter().all(|std| std.is_normal())
            && how
                .mean
                .iter()
                .chain([&how.scale])
                .all(|number| number.is_finite());
        if !numbers
            || [height, width, resize]
                .iter()
                .any(|size| !(1..=MAX_SIDE).contains(size))
        {
            let matter = format!(
                "cannot be prepared: the model wants it resized to {resize} and cropped to {height} x {width} pixels \
                 (1 to {MAX_SIDE} allowed), scale {}, mean {:?}, deviation {:?}; import the model again",
                how.scale, how.mean, how.std
            );
            return Err(PhotoError::new(&self.name, &matter));
        }

        let (across, down) = match how.fit {
            Fit::Squash => (
                Span::whole(self.rgb.width()),
                Span::whole(self.rgb.height()),
            ),
            Fit::ShortSide => {
                let (w, h) = (u64::from(self.rgb.width()), u64::from(self.rgb.height()));
                let scaled = |side: u64| u64::from(how.resize) * side / w.min(h);
                (
                    Span::centre(w, scaled(w), width),
                    Span::centre(h, scaled(h), height),
                )
            }
        };
        let filter = match how.filter {
            Filter::Bilinear => FilterType::Bilinear,
            Filter::Bicubic => FilterType::CatmullRom,
        };
        let crop = paint(&self.rgb, across, down, (width, height), filter);
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

/// One side of the crop: which part of the picture lands where in it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    /// Where the part starts in the picture, in its pixels.
    start: f64,
    /// The length of the part in the picture's pixels.
    length: f64,
    /// The side of the crop that is padded with black before the part, as a fraction of the crop.
    before: f64,
    /// The fraction of the crop's side that the part fills.
    filled: f64,
}

impl Span {
    /// The whole side.
    fn whole(side: u32) -> Span {
        Span {
            start: 0.0,
            length: side.into(),
            before: 0.0,
            filled: 1.0,
        }
    }

    /// The middle `crop` pixels of a side of `side` pixels that was scaled to `scaled`, as torchvision's `CenterCrop`
    /// takes them: halves are rounded to even when it cuts, and rounded down before the picture when it pads.
    fn centre(side: u64, scaled: u64, crop: u32) -> Span {
        let crop = u64::from(crop);
        let native = side as f64 / scaled as f64;
        if scaled < crop {
            let share = |pixels: u64| pixels as f64 / crop as f64;
            let (before, filled) = (share((crop - scaled) / 2), share(scaled));
            return Span {
                start: 0.0,
                length: side as f64,
                before,
                filled,
            };
        }
        let spare = scaled - crop;
        let start = (spare / 2 + u64::from(spare % 4 == 3)) as f64 * native;
        Span {
            start,
            length: (crop as f64 * native).min(side as f64 - start),
            before: 0.0,
            filled: 1.0,
        }
    }

    /// First pixel and number of pixels of the part in a crop of `side` pixels.
    fn place(self, side: u32) -> (u32, u32) {
        let at = |fraction: f64| (fraction * f64::from(side)).round() as u32;
        let first = at(self.before).min(side - 1);
        (
            first,
            (at(self.before + self.filled) - first).clamp(1, side - first),
        )
    }
}

/// Width and height of the view of a region.
fn view_size(across: Span, down: Span, how: &Preprocess) -> (u32, u32) {
    let (width, height) = match how.fit {
        Fit::Squash => (across.length, down.length),
        Fit::ShortSide => {
            // Truncated sizes scale the two sides a little differently; the crop's own shape is the true one.
            let native = (across.length / across.filled).max(down.length / down.filled);
            let [h, w] = how.crop.map(f64::from);
            (native * w / w.max(h), native * h / w.max(h))
        }
    };
    let longer = width.max(height);
    let wanted = longer.clamp(VIEW_SIDE.0, VIEW_SIDE.1);
    let side = |length: f64| (length / longer).max(1.0 / VIEW_ASPECT) * wanted;
    (side(width).round() as u32, side(height).round() as u32)
}

/// Resizes the part of `picture` that the two spans name into a black picture of `size` (width, height).
fn paint(
    picture: &RgbImage,
    across: Span,
    down: Span,
    size: (u32, u32),
    filter: FilterType,
) -> RgbImage {
    let ((left, width), (top, height)) = (across.place(size.0), down.place(size.1));
    let part = resize(
        picture,
        (across.start, across.length),
        (down.start, down.length),
        (width, height),
        filter,
    );
    if part.dimensions() == size {
        return part;
    }
    let mut canvas = RgbImage::new(size.0, size.1);
    image::imageops::replace(&mut canvas, &part, left.into(), top.into());
    canvas
}

/// Resizes a part of `picture`, given by start and length across and down in fractional pixels, to `size` (width,
/// height). Pixels beyond the part take part in the filter, so the result is that of resizing the whole picture.
///
/// Across first and 8 bits between the passes is what Pillow does; only when that intermediate picture would be huge
/// (a tall strip squashed flat) the order is swapped.
fn resize(
    picture: &RgbImage,
    across: (f64, f64),
    down: (f64, f64),
    size: (u32, u32),
    filter: FilterType,
) -> RgbImage {
    let reach = |(start, length): (f64, f64), out: u32, side: u32| {
        let radius = 2.0 * (length / f64::from(out)).max(1.0) + 1.0;
        let first = (start - radius).floor().max(0.0);
        (
            first,
            (start + length + radius).ceil().min(side.into()) - first,
        )
    };
    let rows = reach(down, size.1, picture.height());
    if rows.1 as u64 * u64::from(size.0) <= MAX_BETWEEN {
        let between = pass(picture, across, rows, (size.0, rows.1 as u32), filter);
        return pass(
            &between,
            (0.0, size.0.into()),
            (down.0 - rows.0, down.1),
            size,
            filter,
        );
    }
    let columns = reach(across, size.0, picture.width());
    let between = pass(picture, columns, down, (columns.1 as u32, size.1), filter);
    pass(
        &between,
        (across.0 - columns.0, across.1),
        (0.0, size.1.into()),
        size,
        filter,
    )
}

/// The whole of `picture` at another size, antialiased.
pub(crate) fn scaled(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (across, down) = (Span::whole(picture.width()), Span::whole(picture.height()));
    paint(
        picture,
        across,
        down,
        (width, height),
        FilterType::CatmullRom,
    )
}

/// One call of the resizer; where a part has whole coordinates and the length it gets, pixels are only copied.
fn pass(
    picture: &RgbImage,
    across: (f64, f64),
    down: (f64, f64),
    size: (u32, u32),
    filter: FilterType,
) -> RgbImage {
    let mut out = RgbImage::new(size.0, size.1);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(filter))
        .crop(across.0, down.0, across.1, down.1)
        .use_alpha(false);
    let source = ImageRef::new(
        picture.width(),
        picture.height(),
        picture.as_raw(),
        PixelType::U8x3,
    );
    let target = Image::from_slice_u8(size.0, size.1, &mut out, PixelType::U8x3);
    let (Ok(source), Ok(mut target)) = (source, target) else {
        unreachable!("an RgbImage holds 3 bytes a pixel")
    };
    Resizer::new()
        .resize(&source, &mut target, &options)
        .expect("the part lies inside the picture");
    out
}

/// `(byte * scale - mean) / std` of every byte, channels in the network's order.
fn normalise(crop: &RgbImage, how: &Preprocess) -> Vec<f32> {
    let value = |channel: usize, byte: usize| {
        (byte as f32 * how.scale - how.mean[channel]) / how.std[channel]
    };
    let table: [[f32; 256]; 3] =
        std::array::from_fn(|channel| std::array::from_fn(|byte| value(channel, byte)));
    let source = match how.order {
        ChannelOrder::Rgb => [0, 1, 2],
        ChannelOrder::Bgr => [2, 1, 0],
    };
    let pixel = |rgb: &image::Rgb<u8>| -> [f32; 3] {
        std::array::from_fn(|c| table[c][usize::from(rgb[source[c]])])
    };
    crop.pixels().flat_map(pixel).collect()
}

/// Reads a file that begins like a picture.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => "cannot be read: no such file; check the path".to_string(),
        _ => format!("cannot be read: {error}"),
    };
    if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Err("is a folder; name a picture in it".to_string());
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.by_ref()
        .take(64)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    recognise(&bytes)?;
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!(
            "is larger than {} MiB; scale the picture down first",
            MAX_FILE_BYTES >> 20
        ));
    }
    Ok(bytes)
}

/// The format of a picture by its first bytes.
fn recognise(bytes: &[u8]) -> Result<ImageFormat, String> {
    let head = &bytes[..bytes.len().min(64)];
    let has =
        |at: usize, pattern: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(pattern));
    let found = match image::guess_format(head) {
        _ if head.is_empty() => {
            return Err("is empty (0 bytes); copy or download it again".to_string());
        }
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)) => {
            return Ok(format);
        }
        _ if has(4, b"ftyphei") || has(4, b"ftypmif1") => "a HEIC photo",
        _ if has(0, b"%PDF") => "a PDF",
        _ if has(0, b"PK\x03\x04") => "a zip archive or PyTorch weights",
        _ if has(0, b"\x93NUMPY") => "a NumPy array, whose name must end in .npy",
        _ if has(0, b"<") => "a web page or a drawing in XML",
        Ok(format) => format
            .extensions_str()
            .first()
            .copied()
            .unwrap_or("another picture format"),
        Err(_) if head.iter().all(|&byte| byte == 0) => "nothing but zeros",
        Err(_)
            if !head
                .iter()
                .any(|&byte| byte < 0x20 && !byte.is_ascii_whitespace()) =>
        {
            "text"
        }
        Err(_) => "data of an unknown kind",
    };
    Err(format!(
        "is not a JPEG, PNG or WebP picture (it looks like {found}); convert it to one of these first"
    ))
}

/// Decodes to RGB, checking the size in the header first.
fn decode(bytes: &[u8], format: ImageFormat) -> Result<RgbImage, String> {
    let damaged = |why: &str| format!("is cut short or damaged ({why}); copy or download it again");
    let explain = |error: ImageError| match error {
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            damaged("the data ends too early")
        }
        ImageError::Unsupported(why) => {
            format!("is of a kind that cannot be decoded ({why}); save it again as a PNG")
        }
        error => damaged(&error.to_string()),
    };
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        // The decoder would fill the missing part with grey, and the network would explain the grey.
        return Err(damaged("the JPEG data has no end"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(8 * MAX_PIXELS + (64 << 20));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(explain)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let limit = MAX_PIXELS / 1_000_000;
        return Err(format!(
            "has {width} x {height} pixels, more than {limit} million; scale it down first"
        ));
    }
    let orientation = decoder.orientation().map_err(explain)?;
    let mut upright = DynamicImage::ImageRgb8(
        DynamicImage::from_decoder(decoder)
            .map_err(explain)?
            .into_rgb8(),
    );
    upright.apply_orientation(orientation);
    Ok(upright.into_rgb8())
}

/// Walks the markers of a JPEG to its end marker. In the compressed data every 0xff is followed by 0 or by a restart
/// mark, so the end marker cannot occur by chance; a thumbnail's end lies inside a segment that is skipped.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[mark, code]) = bytes.get(at..at + 2) {
        at += match (mark, code, bytes.get(at + 2..at + 4)) {
            (0xff, 0xd9, _) => return true,
            (0xff, 0x00 | 0x01 | 0xd0..=0xd7, _) => 2,
            (0xff, 0x02.., Some(&[high, low])) if code != 0xff => {
                2 + usize::from(u16::from_be_bytes([high, low]))
            }
            _ => 1,
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use image::{GrayAlphaImage, LumaA, Rgb, Rgba};

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
        let open = |picture: DynamicImage, format| {
            Photo::decode(&encoded(picture, format), "x").unwrap().rgb
        };
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
        let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
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
}
