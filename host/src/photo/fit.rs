//! Resizing and cropping as torchvision and Pillow do it, only where the crop needs it.

use elucid_core::model::{ChannelOrder, Fit, Preprocess};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use super::{MAX_BETWEEN, MAX_SIDE, VIEW_ASPECT, VIEW_SIDE};

/// One side of the crop: which part of the picture lands where in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    /// Where the part starts in the picture, in its pixels.
    pub(super) start: f64,
    /// The length of the part in the picture's pixels.
    pub(super) length: f64,
    /// The side of the crop that is padded with black before the part, as a fraction of the crop.
    before: f64,
    /// The fraction of the crop's side that the part fills.
    filled: f64,
}

impl Span {
    /// The whole side.
    pub(super) fn whole(side: u32) -> Span {
        Span {
            start: 0.0,
            length: side.into(),
            before: 0.0,
            filled: 1.0,
        }
    }

    /// The middle `crop` pixels of a side of `side` pixels that was scaled to `scaled`, as torchvision's `CenterCrop`
    /// takes them: halves are rounded to even when it cuts, and rounded down before the picture when it pads.
    pub(super) fn centre(side: u64, scaled: u64, crop: u32) -> Span {
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
    pub(super) fn place(self, side: u32) -> (u32, u32) {
        let at = |fraction: f64| (fraction * f64::from(side)).round() as u32;
        let first = at(self.before).min(side - 1);
        (
            first,
            (at(self.before + self.filled) - first).clamp(1, side - first),
        )
    }

    /// For each of the `side` pixels of the crop the nearest of `other` pixels that cover the picture's `whole` side.
    fn nearest(self, side: u32, whole: u32, other: u32) -> Vec<Option<u32>> {
        let (first, filled) = self.place(side);
        let scale = f64::from(other) / f64::from(whole);
        let pixel = |at: u32| {
            let inside = f64::from(at.checked_sub(first).filter(|&at| at < filled)?) + 0.5;
            let source = (self.start + inside * self.length / f64::from(filled)) * scale;
            Some((source as u32).min(other - 1))
        };
        (0..side).map(pixel).collect()
    }

    /// Where a place on the picture's side lies on the crop's side, moved into the part that is filled.
    fn forward(self, side: u32, at: f64) -> f64 {
        let (first, filled) = self.place(side);
        let filled = f64::from(filled);
        f64::from(first) + ((at - self.start) * filled / self.length).clamp(0.0, filled)
    }
}

/// Which part of a picture the network sees, and where in its input: what masks and boxes need to follow the pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    pub(super) across: Span,
    pub(super) down: Span,
    /// Width and height of the picture.
    picture: (u32, u32),
    /// Width and height of the network's input.
    input: (u32, u32),
}

impl Geometry {
    /// The part of a picture of this size (width, height) that `how` shows to the network; `None` if `how` fits no
    /// picture (see [`Photo::prepare`](super::Photo::prepare)).
    #[must_use]
    pub fn of(picture: (u32, u32), how: &Preprocess) -> Option<Geometry> {
        let [height, width] = how.crop;
        let resize = if how.fit == Fit::Squash {
            height
        } else {
            how.resize
        };
        let fits = |size: &u32| (1..=MAX_SIDE).contains(size);
        if ![height, width, resize].iter().all(fits) || picture.0.min(picture.1) == 0 {
            return None;
        }
        let (across, down) = match how.fit {
            Fit::Squash => (Span::whole(picture.0), Span::whole(picture.1)),
            Fit::ShortSide => {
                let (w, h) = (u64::from(picture.0), u64::from(picture.1));
                let scaled = |side: u64| u64::from(how.resize) * side / w.min(h);
                (
                    Span::centre(w, scaled(w), width),
                    Span::centre(h, scaled(h), height),
                )
            }
        };
        Some(Geometry {
            across,
            down,
            picture,
            input: (width, height),
        })
    }

    /// Width and height of the network's input.
    #[must_use]
    pub fn input(&self) -> (u32, u32) {
        self.input
    }

    /// For every column of the input the column nearest to its centre in a picture of the same view that is `width`
    /// pixels wide; `None` where the input is padded.
    #[must_use]
    pub fn columns(&self, width: u32) -> Vec<Option<u32>> {
        self.across.nearest(self.input.0, self.picture.0, width)
    }

    /// For every row of the input what [`columns`](Geometry::columns) says for columns.
    #[must_use]
    pub fn rows(&self, height: u32) -> Vec<Option<u32>> {
        self.down.nearest(self.input.1, self.picture.1, height)
    }

    /// Where a point of the picture lies in the input, moved to the nearest place that shows a part of the picture.
    #[must_use]
    pub fn point(&self, x: f64, y: f64) -> (f64, f64) {
        (
            self.across.forward(self.input.0, x),
            self.down.forward(self.input.1, y),
        )
    }
}

/// Width and height of the view of a region.
pub(super) fn view_size(across: Span, down: Span, how: &Preprocess) -> (u32, u32) {
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
pub(super) fn paint(
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
pub(super) fn resize(
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
pub(super) fn pass(
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
pub(crate) fn normalise(crop: &RgbImage, how: &Preprocess) -> Vec<f32> {
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
