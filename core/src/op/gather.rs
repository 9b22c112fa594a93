//! Which input rows each output pixel reads: the indirection that replaces im2col.
//!
//! A [`Gather`] lists, for groups of six pixels, the offset of the input row under every kernel tap, or [`PADDING`]. It
//! is small and lives on the stack; a layer is worked through block by block.

use crate::graph::Conv;
use crate::shape::Shape;
use crate::simd::ROWS;

/// Entries of the table: groups times taps.
const TABLE: usize = 128;
/// Offset of a row that lies in the padding.
pub const PADDING: u32 = u32::MAX;
/// `0, 1, 2, ...`: the tap list of a forward pass.
pub static ALL_TAPS: [u16; TABLE] = {
    let mut taps = [0; TABLE];
    let mut i = 0;
    while i < TABLE {
        taps[i] = i as u16;
        i += 1;
    }
    taps
};

/// Row offsets of a block of pixels.
pub struct Gather {
    offsets: [[u32; ROWS]; TABLE],
    pixels: [[u32; ROWS]; TABLE],
    taps: usize,
    count: usize,
}

impl Gather {
    /// An empty table for this many taps, at most 128 (kernels go to 11 x 11).
    pub fn new(taps: usize) -> Self {
        assert!(taps > 0 && taps <= TABLE);
        Self {
            offsets: [[PADDING; ROWS]; TABLE],
            pixels: [[0; ROWS]; TABLE],
            taps,
            count: 0,
        }
    }

    /// Pixels that fit.
    pub fn capacity(&self) -> usize {
        TABLE / self.taps * ROWS
    }

    /// Forgets all pixels.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Whether no more pixels fit.
    pub fn full(&self) -> bool {
        self.count == self.capacity()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds output pixel `pixel` whose tap `t` reads the row at `offset(t)`.
    #[inline(always)]
    pub fn push(&mut self, pixel: usize, mut offset: impl FnMut(usize) -> u32) {
        let (group, row) = (self.count / ROWS, self.count % ROWS);
        self.pixels[group][row] = pixel as u32;
        for t in 0..self.taps {
            // Rows of the last group that no pixel fills keep offsets of earlier pixels: read, never written back.
            self.offsets[group * self.taps + t][row] = offset(t);
        }
        self.count += 1;
    }

    /// Groups of up to six pixels: the pixels and, for each tap, their row offsets.
    #[inline(always)]
    pub fn groups(&self) -> impl Iterator<Item = (&[u32], &[[u32; ROWS]])> {
        (0..self.count.div_ceil(ROWS)).map(|group| {
            let rows = ROWS.min(self.count - group * ROWS);
            (
                &self.pixels[group][..rows],
                &self.offsets[group * self.taps..(group + 1) * self.taps],
            )
        })
    }
}

/// How the windows of a convolution lie on its input.
#[derive(Clone, Copy)]
pub struct Window {
    /// Input rows and columns.
    size: [i32; 2],
    /// Floats of one input pixel.
    row: usize,
    /// Floats that one tap reads.
    pub span: usize,
    taps: [u16; 2],
    stride: i32,
    pad: i32,
    out_w: usize,
}

impl Window {
    /// The windows of a convolution over its input as it is.
    pub fn plain(c: &Conv, input: Shape, output: Shape) -> Self {
        Self {
            size: [input.h as i32, input.w as i32],
            row: c.ci as usize,
            span: c.ci as usize,
            taps: [c.kh, c.kw],
            stride: i32::from(c.stride),
            pad: i32::from(c.pad),
            out_w: output.w as usize,
        }
    }

    /// The windows over a copy of the input with its padding written out: a whole kernel row is one tap.
    pub fn merged(c: &Conv, input: Shape, output: Shape) -> Self {
        let padded = padded(c, input);
        Self {
            size: [padded.h as i32, padded.w as i32],
            row: c.ci as usize,
            span: c.ci as usize * usize::from(c.kw),
            taps: [c.kh, 1],
            stride: i32::from(c.stride),
            pad: 0,
            out_w: output.w as usize,
        }
    }

    /// Number of taps.
    pub fn taps(&self) -> usize {
        usize::from(self.taps[0]) * usize::from(self.taps[1])
    }

    /// Adds output pixels `first..` to the table until it is full or `end` is reached; returns the next pixel.
    #[inline(always)]
    pub fn fill(&self, gather: &mut Gather, first: usize, end: usize) -> usize {
        gather.clear();
        let (mut y, mut x) = ((first / self.out_w) as i32, (first % self.out_w) as i32);
        let end = end.min(first + gather.capacity());
        for pixel in first..end {
            let (top, left) = (y * self.stride - self.pad, x * self.stride - self.pad);
            let (mut ky, mut kx) = (0, 0);
            gather.push(pixel, |_| {
                let (iy, ix) = (top + ky, left + kx);
                kx += 1;
                if kx == i32::from(self.taps[1]) {
                    (ky, kx) = (ky + 1, 0);
                }
                let inside = iy >= 0 && iy < self.size[0] && ix >= 0 && ix < self.size[1];
                if inside {
                    ((iy * self.size[1] + ix) as usize * self.row) as u32
                } else {
                    PADDING
                }
            });
            x += 1;
            if x as usize == self.out_w {
                (y, x) = (y + 1, 0);
            }
        }
        end
    }
}

/// The shape of the input with its padding written out.
pub fn padded(c: &Conv, input: Shape) -> Shape {
    let more = 2 * u32::from(c.pad);
    Shape::new(input.h + more, input.w + more, input.c)
}

/// The taps that reach input pixels of one residue class of a strided convolution, and where.
pub struct Residue {
    taps: [u16; TABLE],
    /// Shift of the output pixel under each tap, in output pixels, rows and columns.
    shifts: [[i16; 2]; TABLE],
    count: usize,
}

impl Residue {
    /// The taps of input pixels with `y % stride == ry` and `x % stride == rx`.
    pub fn new(c: &Conv, ry: u32, rx: u32) -> Self {
        let (stride, pad) = (i32::from(c.stride), i32::from(c.pad));
        let mut list = Self {
            taps: [0; TABLE],
            shifts: [[0; 2]; TABLE],
            count: 0,
        };
        for ky in 0..i32::from(c.kh) {
            for kx in 0..i32::from(c.kw) {
                let (dy, dx) = (ry as i32 + pad - ky, rx as i32 + pad - kx);
                if dy.rem_euclid(stride) == 0 && dx.rem_euclid(stride) == 0 {
                    list.taps[list.count] = (ky * i32::from(c.kw) + kx) as u16;
                    list.shifts[list.count] =
                        [dy.div_euclid(stride) as i16, dx.div_euclid(stride) as i16];
                    list.count += 1;
                }
            }
        }
        list
    }

    /// Kernel taps, as indices into the panel.
    pub fn taps(&self) -> &[u16] {
        &self.taps[..self.count]
    }

    /// The output pixel that input pixel `(y, x)` of this class feeds through tap `t` of the list, if any.
    #[inline(always)]
    pub fn output(&self, t: usize, y: u32, x: u32, stride: u32, output: Shape) -> Option<usize> {
        let [dy, dx] = self.shifts[t];
        let (oy, ox) = (
            (y / stride) as i32 + i32::from(dy),
            (x / stride) as i32 + i32::from(dx),
        );
        let inside = oy >= 0 && ox >= 0 && (oy as u32) < output.h && (ox as u32) < output.w;
        inside.then(|| oy as usize * output.w as usize + ox as usize)
    }
}
