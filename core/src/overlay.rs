//! Finished maps as pictures: relevance itself, 8 bits, or colours over the frame.
//!
//! A map covers what the network saw. A picture shows either just that, or the whole frame with the map at its place. Maps are
//! resampled to the picture by a triangle filter, averaged where they shrink. Nothing is allocated: scratch is lent.

use crate::error::{Buffer, Error};
use crate::frame::{Frame, Geometry, Span, Taps, resample};
use crate::model::Filter;
use crate::simd::Isa;

/// The share of a map's values that the scale of [`Canvas::Gray8`] covers; the few larger ones are clipped to it.
pub const COVERED: f64 = 0.995;

/// Cells of a map that [`Canvas::Rgba8`] shows in each direction at most: laid over a photo, single pixels are lost in its texture.
const CELLS: u32 = 28;

/// Strength of the full colour over the frame.
const STRENGTH: f32 = 0.75;

/// A picture to draw into: elements, and elements from the start of a line to the start of the next.
#[derive(Debug)]
pub enum Canvas<'a> {
    /// Relevance, one value a pixel.
    F32(&'a mut [f32], usize),
    /// 0 for none (or negative) to 255 for the most, the largest half per cent of the map clipped; one byte a pixel.
    Gray8(&'a mut [u8], usize),
    /// Red, green, blue, alpha.
    Rgba8(&'a mut [u8], usize),
}

/// What a picture shows.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Width and height of the picture.
    pub size: (u32, u32),
    /// The frame that was explained and what the network saw of it. Without one the picture shows what the network saw, and an
    /// [`Canvas::Rgba8`] is transparent where there is no relevance.
    pub frame: Option<(&'a Frame<'a>, Geometry)>,
}

/// How one side of the picture lies on the map.
#[derive(Clone, Copy)]
struct Axis {
    /// Place on the map of the picture's edge, and pixels of the map to a pixel of the picture.
    start: f64,
    scale: f64,
    /// The pixels of the map that show a part of the frame.
    inside: (u32, u32),
}

impl Axis {
    fn new(map: u32, picture: u32, frame: Option<(u32, Span)>) -> Self {
        let Some((frame, span)) = frame else {
            return Self {
                start: 0.0,
                scale: f64::from(map) / f64::from(picture),
                inside: (0, map),
            };
        };
        let (first, count) = span.place(map);
        let native = f64::from(count) / span.length;
        Self {
            start: f64::from(first) - span.start * native,
            scale: f64::from(frame) / f64::from(picture) * native,
            inside: (first, first + count),
        }
    }

    /// The pixels of the map under a pixel of the picture; `None` beside the map.
    fn taps(&self, at: u32, cell: u32) -> Option<Taps> {
        let centre = self.start + (f64::from(at) + 0.5) * self.scale;
        let (low, high) = self.inside;
        if centre < f64::from(low) || centre >= f64::from(high) {
            return None;
        }
        let cell = f64::from(cell);
        let cells = |edge: f64| (edge / cell) as u32;
        let inside = (cells(f64::from(low)), cells(f64::from(high) + cell - 1.0));
        Some(Taps::new(
            Filter::Bilinear,
            centre / cell,
            self.scale / cell,
            inside,
        ))
    }
}

/// Side of the cells that are averaged of a map of this size, pixels.
const fn cell((width, height): (u32, u32)) -> u32 {
    let side = if width < height { width } else { height };
    if side < 2 * CELLS { 1 } else { side / CELLS }
}

/// Cells of a map, averaged `cell` x `cell`.
const fn cells((width, height): (u32, u32)) -> usize {
    let cell = cell((width, height));
    width.div_ceil(cell) as usize * height.div_ceil(cell) as usize
}

/// Floats of scratch that [`draw`] needs for a map of `size` (width, height) over a frame of this width (0 for none).
#[must_use]
pub const fn scratch(size: (u32, u32), frame: u32) -> usize {
    size.0 as usize + cells(size) + crate::frame::scratch(frame)
}

/// Draws a map of `map_size` (width, height).
///
/// # Errors
/// [`Error::Length`] for a map or a picture of another size, [`Error::Architecture`] for a picture without pixels or a stride below a
/// line, [`Error::Capacity`] if the scratch is smaller than [`scratch`] says, [`Error::NotFinite`] for a map with NaN or infinity.
pub fn draw(
    isa: Isa,
    map: &[f32],
    map_size: (u32, u32),
    scene: Scene<'_>,
    canvas: Canvas<'_>,
    lent: &mut [f32],
) -> Result<(), Error> {
    let (width, height) = (map_size.0 as usize, map_size.1 as usize);
    if map.len() != width * height || map.is_empty() {
        return Err(Error::Length {
            buffer: Buffer::Image,
            need: width as u64 * height as u64,
            have: map.len() as u64,
        });
    }
    let shape = |have: usize, stride: usize, line: usize| fits(scene.size, have, stride, line);
    match &canvas {
        Canvas::F32(data, stride) => shape(data.len(), *stride, 1)?,
        Canvas::Gray8(data, stride) => shape(data.len(), *stride, 1)?,
        Canvas::Rgba8(data, stride) => shape(data.len(), *stride, 4)?,
    }
    let wide = scene.frame.map_or(0, |(frame, _)| frame.width());
    let (need, have) = (scratch(map_size, wide), lent.len() as u64);
    let lent = lent.get_mut(..need).ok_or(Error::Capacity {
        buffer: Buffer::Arena,
        need: need as u64,
        have,
    })?;
    if !map.iter().fold(true, |sound, v| sound & v.is_finite()) {
        return Err(Error::NotFinite);
    }
    let (line, lent) = lent.split_at_mut(width);
    let (means, lent) = lent.split_at_mut(cells(map_size));
    let cell = cell(map_size);
    let picture = Picture { map_size, scene };
    match canvas {
        Canvas::F32(data, stride) => {
            picture.each(map, 1, line, |x, y, v| data[y * stride + x] = v);
        }
        Canvas::Gray8(data, stride) => {
            let most = level(map, COVERED);
            let unit = if most > 0.0 { 255.0 / most } else { 0.0 };
            picture.each(map, 1, line, |x, y, v| {
                data[y * stride + x] = ((v * unit).clamp(0.0, 255.0) + 0.5) as u8;
            });
        }
        Canvas::Rgba8(data, stride) => {
            average(map, width, cell as usize, means);
            let most = means.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
            if let Some((frame, _)) = scene.frame {
                let whole = Geometry::whole((frame.width(), frame.height()));
                let put = |x: usize, y: usize, rgb: [f32; 3]| {
                    let pixel = &mut data[y * stride + 4 * x..][..4];
                    pixel.copy_from_slice(&opaque(rgb.map(|v| v.clamp(0.0, 255.0))));
                };
                let how = (&whole, Filter::Bilinear);
                resample(isa, frame, how, scene.size, lent, put)?;
            }
            let framed = scene.frame.is_some();
            picture.each(means, cell, line, |x, y, v| {
                let pixel = &mut data[y * stride + 4 * x..][..4];
                let (color, alpha) = (color(v / most), strength(v / most));
                if framed {
                    for (under, over) in pixel.iter_mut().zip(color) {
                        let below = f32::from(*under);
                        *under = (below + (over - below) * alpha + 0.5) as u8;
                    }
                } else {
                    let [r, g, b] = color;
                    pixel.copy_from_slice(&[r, g, b, 255.0 * alpha].map(|v| (v + 0.5) as u8));
                }
            });
        }
    }
    Ok(())
}

/// A map, and the picture of it.
struct Picture<'a> {
    map_size: (u32, u32),
    scene: Scene<'a>,
}

impl Picture<'_> {
    /// Hands `put` column, row and value of every pixel of the picture. `values` are the map's, averaged over `cell` x `cell` pixels.
    fn each(
        &self,
        values: &[f32],
        cell: u32,
        line: &mut [f32],
        mut put: impl FnMut(usize, usize, f32),
    ) {
        let (width, height) = self.scene.size;
        let (across, down) = match self.scene.frame {
            Some((frame, geometry)) => (
                Some((frame.width(), geometry.across)),
                Some((frame.height(), geometry.down)),
            ),
            None => (None, None),
        };
        let across = Axis::new(self.map_size.0, width, across);
        let down = Axis::new(self.map_size.1, height, down);
        let columns = self.map_size.0.div_ceil(cell) as usize;
        let line = &mut line[..columns];
        for y in 0..height {
            line.fill(0.0);
            if let Some(taps) = down.taps(y, cell) {
                let whole: f32 = taps.weights().sum();
                for (row, weight) in (taps.first..).zip(taps.weights()) {
                    let values = &values[row * columns..][..columns];
                    for (sum, v) in line.iter_mut().zip(values) {
                        *sum += weight / whole * v;
                    }
                }
            }
            for x in 0..width {
                let value = across.taps(x, cell).map_or(0.0, |taps| {
                    let (mut sum, mut whole) = (0.0, 0.0);
                    for (v, weight) in line[taps.first..].iter().zip(taps.weights()) {
                        sum += weight * v;
                        whole += weight;
                    }
                    sum / whole
                });
                put(x as usize, y as usize, value);
            }
        }
    }
}

/// Whether `have` elements hold a picture of `size` with `pixel` elements a pixel.
fn fits(
    (width, height): (u32, u32),
    have: usize,
    stride: usize,
    pixel: usize,
) -> Result<(), Error> {
    let line = (width as usize).saturating_mul(pixel);
    if width == 0 || height == 0 || stride < line {
        return Err(Error::Architecture);
    }
    let need = (height as usize - 1)
        .saturating_mul(stride)
        .saturating_add(line);
    if need > have {
        return Err(Error::Length {
            buffer: Buffer::Output,
            need: need as u64,
            have: have as u64,
        });
    }
    Ok(())
}

/// The size that `share` of the values stay below or reach: the exact value, found bit by bit so that nothing is sorted or copied.
/// 0 for an empty map; the largest size where that would be 0.
#[must_use]
pub fn level(map: &[f32], share: f64) -> f32 {
    // Positive floats are ordered as their bits are.
    let size = |v: &f32| v.to_bits() & 0x7FFF_FFFF;
    let below = (map.len() as f64 * share) as usize;
    let mut found = 0u32;
    for bit in (0..31).rev() {
        let next = found | 1 << bit;
        if map.iter().filter(|v| size(v) < next).count() <= below {
            found = next;
        }
    }
    let most = map.iter().map(size).max().unwrap_or(0);
    f32::from_bits(if found == 0 { most } else { found.min(most) })
}

/// The means over cells of `cell` x `cell` pixels.
fn average(map: &[f32], width: usize, cell: usize, means: &mut [f32]) {
    let lines = map.chunks(width * cell);
    for (lines, means) in lines.zip(means.chunks_mut(width.div_ceil(cell))) {
        let rows = lines.len() / width;
        for (at, mean) in means.iter_mut().enumerate() {
            let columns = at * cell..width.min((at + 1) * cell);
            let count = rows * columns.len();
            let cells = lines.chunks(width).map(|line| &line[columns.clone()]);
            *mean = cells.flatten().sum::<f32>() / count as f32;
        }
    }
}

/// A frame's pixel, mostly grey and a little lighter, so that colour laid over it means relevance.
fn opaque([r, g, b]: [f32; 3]) -> [u8; 4] {
    let grey = 0.299 * r + 0.587 * g + 0.114 * b;
    let [r, g, b] = [r, g, b].map(|c| (18.5 + 0.9 * (0.88 * grey + 0.12 * c)) as u8);
    [r, g, b, 255]
}

/// How much of the colour is seen: rises fast at first.
fn strength(shade: f32) -> f32 {
    let s = shade.abs().min(1.0);
    STRENGTH * s * (1.6 - 0.6 * s)
}

/// Seventeen colours of "inferno": black over purple and orange to pale yellow, perceptually uniform.
const INFERNO: [[u8; 3]; 17] = [
    [0, 0, 4],
    [11, 7, 36],
    [33, 12, 74],
    [61, 9, 101],
    [87, 16, 110],
    [113, 25, 110],
    [138, 34, 106],
    [163, 44, 97],
    [188, 55, 84],
    [208, 69, 69],
    [227, 89, 51],
    [241, 113, 31],
    [249, 140, 10],
    [252, 170, 15],
    [249, 201, 50],
    [242, 232, 101],
    [252, 255, 164],
];

/// The colour of a share of the most relevance, from 0 to 255: inferno, and blue for negative relevance.
fn color(shade: f32) -> [f32; 3] {
    if shade < 0.0 {
        return [30.0, 100.0, 235.0];
    }
    let at = shade.min(1.0) * (INFERNO.len() - 1) as f32;
    let first = (at as usize).min(INFERNO.len() - 2);
    let part = at - first as f32;
    core::array::from_fn(|c| {
        let (a, b) = (
            f32::from(INFERNO[first][c]),
            f32::from(INFERNO[first + 1][c]),
        );
        a + (b - a) * part
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Pixels, Plane};

    fn drawn<T: Copy>(
        map: &[f32],
        size: (u32, u32),
        scene: Scene<'_>,
        (fill, count): (T, usize),
        canvas: impl FnOnce(&mut [T]) -> Canvas<'_>,
    ) -> ([T; 400], Result<(), Error>) {
        let (mut out, mut lent) = ([fill; 400], [0.0; 500]);
        let result = draw(
            Isa::detect(),
            map,
            size,
            scene,
            canvas(&mut out[..count]),
            &mut lent,
        );
        (out, result)
    }

    #[test]
    fn a_picture_of_the_maps_size_is_the_map() {
        let map: [f32; 12] = core::array::from_fn(|i| i as f32 - 2.0);
        let scene = Scene {
            size: (4, 3),
            frame: None,
        };
        let (out, result) = drawn(&map, (4, 3), scene, (9.0, 14), |d| Canvas::F32(d, 5));
        result.unwrap();
        for y in 0..3 {
            assert_eq!(out[y * 5..][..4], map[y * 4..][..4]);
            assert_eq!(out[y * 5 + 4], 9.0);
        }
        let (gray, result) = drawn(&map, (4, 3), scene, (7u8, 12), |d| Canvas::Gray8(d, 4));
        result.unwrap();
        assert_eq!((gray[0], gray[2], gray[11]), (0, 0, 255));
        assert_eq!(gray[6], (4.0 / 9.0 * 255.0f32).round() as u8);
        // A smaller one averages.
        let scene = Scene {
            size: (1, 1),
            ..scene
        };
        let (out, _) = drawn(&map, (4, 3), scene, (0.0, 1), |d| Canvas::F32(d, 1));
        assert!((out[0] - 3.5).abs() < 1e-5, "{}", out[0]);
    }

    #[test]
    fn a_map_lies_where_the_network_looked() {
        // 8 x 4 pixels, of which the middle 4 x 4 were seen.
        let bytes = [255u8; 96];
        let data = Plane {
            data: &bytes[..],
            stride: 24,
        };
        let frame = Frame::new(8, 4, Pixels::Rgb8(data)).unwrap();
        let whole = Span::whole(4);
        let geometry = Geometry {
            across: Span {
                start: 2.0,
                ..whole
            },
            down: whole,
        };
        let scene = Scene {
            size: (8, 4),
            frame: Some((&frame, geometry)),
        };
        let map = [1.0; 16];
        let (out, result) = drawn(&map, (4, 4), scene, (9.0, 32), |d| Canvas::F32(d, 8));
        result.unwrap();
        for (i, v) in out[..32].iter().enumerate() {
            assert_eq!(*v, if (2..6).contains(&(i % 8)) { 1.0 } else { 0.0 });
        }
        let (rgba, result) = drawn(&map, (4, 4), scene, (9u8, 128), |d| Canvas::Rgba8(d, 32));
        result.unwrap();
        // White turned grey beside the map, warm under it, opaque everywhere.
        assert_eq!(rgba[..4], [248, 248, 248, 255]);
        assert!(rgba[12] > 240 && rgba[14] < 200 && rgba[15] == 255);
        let free = Scene {
            size: (4, 4),
            frame: None,
        };
        let (rgba, result) = drawn(&[0.0; 16], (4, 4), free, (9u8, 64), |d| {
            Canvas::Rgba8(d, 16)
        });
        result.unwrap();
        assert_eq!(rgba[..4], [0, 0, 4, 0]);
        let mut map = [0.0; 16];
        map[3] = f32::NAN;
        let (out, result) = drawn(&map, (4, 4), free, (9u8, 64), |d| Canvas::Rgba8(d, 16));
        assert_eq!((out[0], result), (9, Err(Error::NotFinite)));
        for (count, stride) in [(63, 16), (64, 15)] {
            let map = [0.0; 16];
            let (_, result) = drawn(&map, (4, 4), free, (9u8, count), |d| {
                Canvas::Rgba8(d, stride)
            });
            result.unwrap_err();
        }
    }

    #[test]
    fn a_level_is_found_without_sorting() {
        let map: [f32; 200] = core::array::from_fn(|i| ((i * 37) % 200) as f32 * -0.5);
        assert_eq!(level(&map, 0.995), 99.5);
        assert_eq!(level(&map, 0.5), 50.0);
        let mut flat = [0.0; 300];
        assert_eq!(level(&flat, 0.9), 0.0);
        flat[7] = 3.0;
        assert_eq!(level(&flat, 0.9), 3.0);
        assert_eq!(level(&[], 0.9), 0.0);
    }
}
