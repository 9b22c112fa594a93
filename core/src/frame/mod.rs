//! Camera frames: from pixels in memory to what the network sees.
//!
//! A [`Frame`] borrows RGB, BGR, NV12 or f32 pixels with any stride. [`prepare`] resizes, crops and normalises them as the
//! model file says ([`crate::model::Preprocess`]): sizes, rounding and padding are torchvision's, the antialiased filter is Pillow's, so
//! a network sees in a camera what it saw in training. It writes straight into the network's input and needs memory for one line
//! of the frame only.

mod geometry;
mod resample;
#[cfg(test)]
mod tests;

pub use geometry::{Geometry, Span};
pub(crate) use resample::{Taps, resample};

use crate::error::{Buffer, Error};
use crate::model::{ChannelOrder, Preprocess};
use crate::simd::Isa;

/// The largest side of a frame, pixels.
pub const MAX_SIDE: u32 = 32_768;

/// Lines of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a, T = u8> {
    /// The pixels, first line first.
    pub data: &'a [T],
    /// Elements from the start of a line to the start of the next.
    pub stride: usize,
}

/// How luma and colour differences become red, green and blue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matrix {
    /// ITU-R BT.601 with luma from 16 to 235: most cameras, standard definition.
    #[default]
    Bt601,
    /// ITU-R BT.709 with luma from 16 to 235: high definition.
    Bt709,
    /// ITU-R BT.601 with luma from 0 to 255: JPEG, and webcams that decode it.
    Bt601Full,
    /// ITU-R BT.709 with luma from 0 to 255.
    Bt709Full,
}

/// The pixels of a frame.
#[derive(Clone, Copy, Debug)]
pub enum Pixels<'a> {
    /// Red, green, blue: a byte each.
    Rgb8(Plane<'a>),
    /// Blue, green, red: a byte each.
    Bgr8(Plane<'a>),
    /// A plane of luma, and one of half the size (rounded up) with both colour differences, blue first.
    Nv12(Plane<'a>, Plane<'a>, Matrix),
    /// Red, green, blue from 0 to 1.
    RgbF32(Plane<'a, f32>),
}

/// A picture in memory.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    width: u32,
    height: u32,
    pixels: Pixels<'a>,
}

impl<'a> Frame<'a> {
    /// A frame of `width` x `height` pixels.
    ///
    /// # Errors
    /// [`Error::Architecture`] for a side of 0 or above [`MAX_SIDE`] or a stride below a line, [`Error::Length`] if pixels are missing.
    pub fn new(width: u32, height: u32, pixels: Pixels<'a>) -> Result<Self, Error> {
        let sides = [width, height].iter().all(|s| (1..=MAX_SIDE).contains(s));
        if !sides {
            return Err(Error::Architecture);
        }
        let (w, h) = (width as usize, height as usize);
        match pixels {
            Pixels::Rgb8(p) | Pixels::Bgr8(p) => check(p.data.len(), p.stride, 3 * w, h)?,
            Pixels::RgbF32(p) => check(p.data.len(), p.stride, 3 * w, h)?,
            Pixels::Nv12(luma, chroma, _) => {
                check(luma.data.len(), luma.stride, w, h)?;
                let chroma_line = 2 * w.div_ceil(2);
                check(chroma.data.len(), chroma.stride, chroma_line, h.div_ceil(2))?;
            }
        }
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// Columns.
    #[must_use]
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    #[must_use]
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// Whether the pixels are of 8 bits, so that what is resampled is rounded to them again.
    const fn bytes(&self) -> bool {
        !matches!(self.pixels, Pixels::RgbF32(_))
    }

    /// Adds `weight` times the pixels of line `y` from column `from` on to `line`: three values a pixel, linear in red, green and
    /// blue, which [`Frame::color`] turns into them.
    #[inline(always)]
    fn add_line(&self, y: usize, from: usize, weight: f32, line: &mut [f32]) {
        match self.pixels {
            Pixels::Rgb8(p) | Pixels::Bgr8(p) => {
                let data = &p.data[y * p.stride + 3 * from..][..line.len()];
                for (sum, &v) in line.iter_mut().zip(data) {
                    *sum += weight * f32::from(v);
                }
            }
            Pixels::RgbF32(p) => {
                let data = &p.data[y * p.stride + 3 * from..][..line.len()];
                for (sum, &v) in line.iter_mut().zip(data) {
                    *sum += weight * 255.0 * v;
                }
            }
            Pixels::Nv12(luma, chroma, _) => {
                let (line, _) = line.as_chunks_mut::<3>();
                let luma = &luma.data[y * luma.stride + from..][..line.len()];
                let chroma = &chroma.data[y / 2 * chroma.stride..];
                for ((at, sum), &v) in (from..).zip(line).zip(luma) {
                    let pair = 2 * (at / 2);
                    sum[0] += weight * f32::from(v);
                    sum[1] += weight * f32::from(chroma[pair]);
                    sum[2] += weight * f32::from(chroma[pair + 1]);
                }
            }
        }
    }

    /// Between two passes of a filter: to the nearest byte, where pixels are bytes.
    #[inline(always)]
    fn rounded(&self, pixel: [f32; 3]) -> [f32; 3] {
        if self.bytes() {
            pixel.map(nearest)
        } else {
            pixel
        }
    }

    /// Red, green and blue from 0 to 255 of three values as [`Frame::add_line`] sums them.
    #[inline(always)]
    fn color(&self, [a, b, c]: [f32; 3]) -> [f32; 3] {
        let rgb = match self.pixels {
            Pixels::Rgb8(_) | Pixels::RgbF32(_) => [a, b, c],
            Pixels::Bgr8(_) => [c, b, a],
            Pixels::Nv12(_, _, matrix) => matrix.color(a, b - 128.0, c - 128.0),
        };
        if self.bytes() {
            // As the networks' training data was.
            rgb.map(nearest)
        } else {
            rgb
        }
    }
}

/// The nearest byte.
#[inline(always)]
fn nearest(v: f32) -> f32 {
    f32::from((v.clamp(0.0, 255.0) + 0.5) as u8)
}

/// Whether `have` elements hold `lines` lines of `line` elements, `stride` apart.
fn check(have: usize, stride: usize, line: usize, lines: usize) -> Result<(), Error> {
    if stride < line {
        return Err(Error::Architecture);
    }
    let need = (lines - 1)
        .checked_mul(stride)
        .and_then(|n| n.checked_add(line));
    match need {
        Some(need) if need <= have => Ok(()),
        need => Err(Error::Length {
            buffer: Buffer::Image,
            need: need.map_or(u64::MAX, |n| n as u64),
            have: have as u64,
        }),
    }
}

impl Matrix {
    /// Red, green and blue from 0 to 255 of luma and the differences around 0.
    #[inline(always)]
    fn color(self, y: f32, u: f32, v: f32) -> [f32; 3] {
        // Red and blue weights of the luma, and the range of luma and differences.
        let (kr, kb, full) = match self {
            Matrix::Bt601 => (0.299, 0.114, false),
            Matrix::Bt709 => (0.2126, 0.0722, false),
            Matrix::Bt601Full => (0.299, 0.114, true),
            Matrix::Bt709Full => (0.2126, 0.0722, true),
        };
        let (y, u, v) = if full {
            (y, u, v)
        } else {
            (
                (y - 16.0) * (255.0 / 219.0),
                u * (255.0 / 224.0),
                v * (255.0 / 224.0),
            )
        };
        let (red, blue) = (2.0 * (1.0 - kr) * v, 2.0 * (1.0 - kb) * u);
        let kg = 1.0 - kr - kb;
        [y + red, y - (kr * red + kb * blue) / kg, y + blue]
    }
}

/// Floats of scratch that [`prepare`] needs for frames of `width` pixels; with [`crate::model::Filter::Bicubic`] the same for the
/// network's input comes on top.
#[must_use]
pub const fn scratch(width: u32) -> usize {
    3 * width as usize
}

/// Writes what the network sees of a frame to `input`, `[h, w, 3]` normalised, with the channels in the network's order; `how.crop`
/// is the size `[h, w]`.
///
/// # Errors
/// [`Error::Length`] if `input` is not of that size, [`Error::Capacity`] if the scratch is smaller than [`scratch`] says.
pub fn prepare(
    isa: Isa,
    frame: &Frame<'_>,
    how: &Preprocess,
    input: &mut [f32],
    scratch: &mut [f32],
) -> Result<(), Error> {
    let [height, width] = how.crop;
    let (need, have) = (height as usize * width as usize * 3, input.len());
    if need != have {
        return Err(Error::Length {
            buffer: Buffer::Image,
            need: need as u64,
            have: have as u64,
        });
    }
    let order = match how.order {
        ChannelOrder::Rgb => [0, 1, 2],
        ChannelOrder::Bgr => [2, 1, 0],
    };
    let normalised = |rgb: [f32; 3]| -> [f32; 3] {
        core::array::from_fn(|c| (rgb[order[c]] * how.scale - how.mean[c]) / how.std[c])
    };
    let geometry = Geometry::of((frame.width, frame.height), how);
    let (pixels, _) = input.as_chunks_mut::<3>();
    let inside = geometry.places((width, height));
    if inside != [(0, width), (0, height)] {
        // Black around a picture that is smaller than the crop.
        pixels.fill(normalised([0.0; 3]));
    }
    let line = width as usize;
    let put = |x: usize, y: usize, rgb: [f32; 3]| pixels[y * line + x] = normalised(rgb);
    resample(
        isa,
        frame,
        (&geometry, how.filter),
        (width, height),
        scratch,
        put,
    )
}
