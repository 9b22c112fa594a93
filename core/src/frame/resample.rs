//! Antialiased resampling line by line.
//!
//! A triangle filter goes down first, over a line of the frame, and then across: the fewest operations. A cubic one overshoots, and what
//! overshoots is cut off between the passes, so the order shows; it goes across first, as Pillow does.

use crate::error::{Buffer, Error};
use crate::frame::{Frame, Geometry};
use crate::model::Filter;
use crate::simd::{Isa, Lanes, Task};

impl Filter {
    /// How far it reaches, in pixels of the coarser side.
    fn radius(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    /// Its weight at a distance.
    #[inline(always)]
    fn weight(self, distance: f32) -> f32 {
        let t = distance.abs();
        match self {
            Filter::Bilinear => (1.0 - t).max(0.0),
            Filter::Bicubic if t < 1.0 => (1.5 * t - 2.5) * t * t + 1.0,
            Filter::Bicubic if t < 2.0 => ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0,
            Filter::Bicubic => 0.0,
        }
    }
}

/// The pixels of one side that make one pixel of another, and their weights, as Pillow's.
#[derive(Clone, Copy)]
pub(crate) struct Taps {
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// Distance of the first one from the centre, and of one to the next, in units of the filter.
    offset: f32,
    step: f32,
    filter: Filter,
}

impl Taps {
    /// The pixels of `low..high` around `centre` (in pixels; that of the first pixel is 0.5), where `scale` of them are as wide as one
    /// pixel that is made.
    pub(crate) fn new(filter: Filter, centre: f64, scale: f64, (low, high): (u32, u32)) -> Self {
        let wide = scale.max(1.0);
        let reach = filter.radius() * wide;
        let (low, high) = (f64::from(low), f64::from(high));
        let first = (centre - reach + 0.5).clamp(low, high - 1.0) as usize;
        let last = (centre + reach + 0.5).clamp(low + 1.0, high) as usize;
        let step = 1.0 / wide;
        Self {
            first,
            count: last.saturating_sub(first).max(1),
            offset: ((first as f64 + 0.5 - centre) * step) as f32,
            step: step as f32,
            filter,
        }
    }

    /// Their weights; they don't sum to 1.
    #[inline(always)]
    pub(crate) fn weights(self) -> impl Iterator<Item = f32> {
        (0..self.count).map(move |i| self.filter.weight(self.offset + i as f32 * self.step))
    }
}

/// Resamples the part of a frame that `geometry` names to its place in a picture of `size` (width, height): `put` gets column, row and
/// red, green and blue from 0 to 255 of each of its pixels.
pub(crate) fn resample(
    isa: Isa,
    frame: &Frame<'_>,
    (geometry, filter): (&Geometry, Filter),
    size: (u32, u32),
    scratch: &mut [f32],
    put: impl FnMut(usize, usize, [f32; 3]),
) -> Result<(), Error> {
    let width = match filter {
        Filter::Bilinear => 0,
        Filter::Bicubic => size.0,
    };
    let need = super::scratch(frame.width()) + super::scratch(width);
    let have = scratch.len();
    let scratch = scratch.get_mut(..need).ok_or(Error::Capacity {
        buffer: Buffer::Arena,
        need: need as u64,
        have: have as u64,
    })?;
    isa.run(Resampling {
        frame,
        geometry,
        filter,
        size,
        scratch,
        put,
    });
    Ok(())
}

struct Resampling<'r, 'f, P> {
    frame: &'r Frame<'f>,
    geometry: &'r Geometry,
    filter: Filter,
    size: (u32, u32),
    scratch: &'r mut [f32],
    put: P,
}

impl<P: FnMut(usize, usize, [f32; 3])> Task for Resampling<'_, '_, P> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, _: L) {
        let (frame, filter) = (self.frame, self.filter);
        let [(left, columns), (top, rows)] = self.geometry.places(self.size);
        let (across, down) = (self.geometry.across, self.geometry.down);
        let (wide, high) = (
            across.length / f64::from(columns),
            down.length / f64::from(rows),
        );
        let side = (0, frame.width());
        let column = |x: u32| {
            Taps::new(
                filter,
                across.start + (f64::from(x) + 0.5) * wide,
                wide,
                side,
            )
        };
        let (leftmost, rightmost) = (column(0), column(columns - 1));
        let from = leftmost.first;
        let reach = 3 * (rightmost.first + rightmost.count - from);
        let (line, rest) = self.scratch.split_at_mut(reach);
        for y in 0..rows {
            let centre = down.start + (f64::from(y) + 0.5) * high;
            let taps = Taps::new(filter, centre, high, (0, frame.height()));
            let whole: f32 = taps.weights().sum();
            let (left, top) = (left as usize, (top + y) as usize);
            if filter == Filter::Bicubic {
                let (sums, _) = rest[..3 * columns as usize].as_chunks_mut::<3>();
                sums.fill([0.0; 3]);
                for (k, weight) in (taps.first..).zip(taps.weights()) {
                    line.fill(0.0);
                    frame.add_line(k, from, 1.0, line);
                    for (x, sum) in (0..columns).zip(sums.iter_mut()) {
                        let pixel = frame.rounded(across_line(line, column(x), from));
                        for (sum, v) in sum.iter_mut().zip(pixel) {
                            *sum += weight / whole * v;
                        }
                    }
                }
                for (x, sum) in sums.iter().enumerate() {
                    (self.put)(left + x, top, frame.color(*sum));
                }
                continue;
            }
            line.fill(0.0);
            for (k, weight) in (taps.first..).zip(taps.weights()) {
                frame.add_line(k, from, weight / whole, line);
            }
            for x in 0..columns {
                let sum = across_line(line, column(x), from);
                (self.put)(left + x as usize, top, frame.color(sum));
            }
        }
    }
}

/// The weighted mean of pixels of a line that starts at column `from`.
#[inline(always)]
fn across_line(line: &[f32], taps: Taps, from: usize) -> [f32; 3] {
    let (pixels, _) = line.as_chunks::<3>();
    let pixels = &pixels[taps.first - from..][..taps.count];
    let (mut sum, mut whole) = ([0.0; 3], 0.0);
    for (pixel, weight) in pixels.iter().zip(taps.weights()) {
        for (sum, v) in sum.iter_mut().zip(pixel) {
            *sum += weight * v;
        }
        whole += weight;
    }
    sum.map(|v| v / whole)
}
