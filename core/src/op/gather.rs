//! Which input rows each output pixel reads: the indirection that replaces im2col.
//!
//! A [`Gather`] lists, for a block of pixels, the offset of the input row under every kernel tap, or [`PADDING`]. It is
//! small and lives on the stack; a layer is worked through block by block.

use crate::graph::Conv;
use crate::shape::Shape;

/// Entries of the table: pixels times taps.
const TABLE: usize = 1024;
/// Pixels of a block at most.
const PIXELS: usize = 256;
/// Kernel taps at most: kernels go to 11 x 11.
const TAPS: usize = 121;
/// Offset of a row that lies in the padding.
pub const PADDING: u32 = u32::MAX;
/// `0, 1, 2, ...`: the tap list of a forward pass.
pub static ALL_TAPS: [u16; TAPS] = {
    let mut taps = [0; TAPS];
    let mut i = 0;
    while i < TAPS {
        taps[i] = i as u16;
        i += 1;
    }
    taps
};

/// Row offsets of a block of pixels.
pub struct Gather {
    offsets: [u32; TABLE],
    pixels: [u32; PIXELS],
    taps: usize,
    count: usize,
}

impl Gather {
    /// An empty table for this many taps, at most 121.
    pub fn new(taps: usize) -> Self {
        assert!(taps > 0 && taps <= TAPS);
        Self {
            offsets: [PADDING; TABLE],
            pixels: [0; PIXELS],
            taps,
            count: 0,
        }
    }

    /// Pixels that fit into a table for this many taps.
    pub const fn capacity(taps: usize) -> usize {
        let fit = TABLE / taps;
        if fit < PIXELS { fit } else { PIXELS }
    }

    /// Forgets all pixels.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Whether no more pixels fit.
    pub fn full(&self) -> bool {
        self.count == Self::capacity(self.taps)
    }

    /// Adds output pixel `pixel` whose tap `t` reads the row at `offset(t)`.
    #[inline(always)]
    pub fn push(&mut self, pixel: usize, mut offset: impl FnMut(usize) -> u32) {
        let row = &mut self.offsets[self.count * self.taps..][..self.taps];
        for (t, cell) in row.iter_mut().enumerate() {
            *cell = offset(t);
        }
        self.pixels[self.count] = pixel as u32;
        self.count += 1;
    }

    /// Groups of up to `most` pixels, as even as can be: the pixels, and the row offsets of each, tap by tap.
    #[inline(always)]
    pub fn groups(&self, most: usize) -> impl Iterator<Item = (&[u32], &[u32])> {
        let groups = self.count.div_ceil(most);
        let (size, larger) = (self.count / groups.max(1), self.count % groups.max(1));
        let mut next = 0;
        (0..groups).map(move |group| {
            let first = next;
            next += size + usize::from(group < larger);
            (
                &self.pixels[first..next],
                &self.offsets[first * self.taps..next * self.taps],
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
    /// Output rows and columns.
    output: [usize; 2],
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
            output: [output.h as usize, output.w as usize],
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
            output: [output.h as usize, output.w as usize],
        }
    }

    /// Number of taps.
    pub fn taps(&self) -> usize {
        usize::from(self.taps[0]) * usize::from(self.taps[1])
    }

    /// Adds output pixels `first..` to the table until it is full or `end` is reached; returns the next pixel. Pixels are
    /// counted through all images of a batch.
    #[inline(always)]
    pub fn fill(&self, gather: &mut Gather, first: usize, end: usize) -> usize {
        gather.clear();
        let [height, width] = self.output;
        let (line, mut x) = (first / width, first % width);
        let (mut image, mut y) = (line / height, line % height);
        let pixels = self.size[0] as usize * self.size[1] as usize;
        let end = end.min(first + Gather::capacity(self.taps()));
        for pixel in first..end {
            let top = y as i32 * self.stride - self.pad;
            let left = x as i32 * self.stride - self.pad;
            let base = image * pixels;
            let (mut ky, mut kx) = (0, 0);
            gather.push(pixel, |_| {
                let (iy, ix) = (top + ky, left + kx);
                kx += 1;
                if kx == i32::from(self.taps[1]) {
                    (ky, kx) = (ky + 1, 0);
                }
                let inside = iy >= 0 && iy < self.size[0] && ix >= 0 && ix < self.size[1];
                if inside {
                    ((base + (iy * self.size[1] + ix) as usize) * self.row) as u32
                } else {
                    PADDING
                }
            });
            x += 1;
            if x == width {
                (y, x) = (y + 1, 0);
            }
            if y == height {
                (image, y) = (image + 1, 0);
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
    taps: [u16; TAPS],
    /// Shift of the output pixel under each tap, in output pixels, rows and columns.
    shifts: [[i16; 2]; TAPS],
    count: usize,
}

impl Residue {
    /// The taps of input pixels with `y % stride == ry` and `x % stride == rx`.
    pub fn new(c: &Conv, ry: u32, rx: u32) -> Self {
        let (stride, pad) = (i32::from(c.stride), i32::from(c.pad));
        let mut list = Self {
            taps: [0; TAPS],
            shifts: [[0; 2]; TAPS],
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

    /// The output pixels that input pixels `(y, x)`, `(y, x + stride)`, ... of this class feed through tap `t` of the list:
    /// a function of their number, or `None` if the whole line feeds none.
    #[inline(always)]
    pub fn cells(
        &self,
        t: usize,
        (y, x): (u32, u32),
        stride: u32,
        output: Shape,
    ) -> Option<impl Fn(usize) -> Option<usize> + use<>> {
        let [dy, dx] = self.shifts[t].map(i64::from);
        let (oy, ox) = (i64::from(y / stride) + dy, i64::from(x / stride) + dx);
        let width = i64::from(output.w);
        (oy >= 0 && oy < i64::from(output.h)).then_some(move |p: usize| {
            let ox = ox + p as i64;
            (ox >= 0 && ox < width).then(|| (oy * width + ox) as usize)
        })
    }

    /// The output pixel that input pixel `(y, x)` of this class feeds through tap `t` of the list, if any.
    #[inline(always)]
    pub fn output(&self, t: usize, y: u32, x: u32, stride: u32, output: Shape) -> Option<usize> {
        self.cells(t, (y, x), stride, output)?(0)
    }
}
