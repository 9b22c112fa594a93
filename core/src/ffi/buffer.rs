//! Buffers of a C caller: what can be known of them is checked before anything is touched.

use core::ffi::c_void;

use crate::error::Error;
use crate::frame::{self, Matrix, Pixels, Plane};

use super::{Frame, Picture, Status, choice, format};

/// Addresses that a buffer covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    start: usize,
    bytes: usize,
}

impl Extent {
    pub(super) const EMPTY: Extent = Extent { start: 0, bytes: 0 };

    /// The extent of `bytes` bytes at `data`, which must not be null and must be aligned to `align`.
    pub(super) fn of<T>(data: *const T, bytes: usize, align: usize) -> Result<Self, Status> {
        let start = data.addr();
        if data.is_null() {
            return Err(Status::Null);
        }
        if !start.is_multiple_of(align) {
            return Err(Status::Alignment);
        }
        // No slice may be longer, and none wraps around.
        if isize::try_from(bytes).is_err() || start.checked_add(bytes).is_none() {
            return Err(Status::TooLarge);
        }
        Ok(Self { start, bytes })
    }

    /// The extent of one `T` that the call reads or writes.
    pub(super) fn one<T>(value: *const T) -> Result<Self, Status> {
        Self::of(value, size_of::<T>(), align_of::<T>())
    }

    /// The same, or nothing for a null pointer.
    pub(super) fn maybe<T>(value: *const T) -> Result<Self, Status> {
        if value.is_null() {
            return Ok(Self::EMPTY);
        }
        Self::one(value)
    }

    fn meets(self, other: Self) -> bool {
        self.bytes > 0
            && other.bytes > 0
            && self.start < other.start + other.bytes
            && other.start < self.start + self.bytes
    }

    /// That `self`, which is written, meets none of the others.
    pub(super) fn apart(self, others: &[Extent]) -> Result<(), Status> {
        if others.iter().any(|&other| self.meets(other)) {
            return Err(Status::Overlap);
        }
        Ok(())
    }
}

/// One plane of a frame as it was given.
struct Raw {
    data: *const c_void,
    bytes: usize,
    stride: usize,
}

impl Raw {
    /// Its extent and its stride in elements of `size` bytes; a stride of 0 means `line` elements.
    fn check(&self, line: usize, size: usize) -> Result<(Extent, usize), Status> {
        let extent = Extent::of(self.data, self.bytes, size)?;
        if !self.stride.is_multiple_of(size) {
            return Err(Status::Alignment);
        }
        let stride = if self.stride == 0 {
            line
        } else {
            self.stride / size
        };
        Ok((extent, stride))
    }
}

/// A frame whose numbers were checked, and what it covers.
pub(super) struct Checked<'f> {
    pub(super) image: Image<'f>,
    pub(super) extents: [Extent; 2],
}

/// What a frame holds.
#[derive(Clone, Copy)]
pub(super) enum Image<'f> {
    /// Pixels.
    Pixels(frame::Frame<'f>),
    /// The network's input, width and height before.
    Tensor((u32, u32), &'f [f32]),
}

impl Checked<'_> {
    /// Looks at a frame.
    ///
    /// # Safety
    /// What `frame` says of its planes is true: there is as much memory to read, and nobody writes to it while `'f` lasts.
    pub(super) unsafe fn read<'f>(frame: &Frame) -> Result<Checked<'f>, Status> {
        let sides = [frame.width, frame.height];
        if sides.contains(&0) {
            return Err(Status::Frame);
        }
        if sides.iter().any(|&s| s > frame::MAX_SIDE) {
            return Err(Status::TooLarge);
        }
        let width = frame.width as usize;
        let (line, size) = match frame.format {
            format::RGB8 | format::BGR8 => (3 * width, 1),
            format::NV12 => (width, 1),
            format::RGB_F32 | format::TENSOR_F32 => (3 * width, size_of::<f32>()),
            _ => return Err(Status::Frame),
        };
        let first = Raw {
            data: frame.data,
            bytes: frame.bytes,
            stride: frame.stride,
        };
        let (extent, stride) = first.check(line, size)?;
        let mut extents = [extent, Extent::EMPTY];
        // SAFETY: not null, aligned, no longer than a slice may be, and there by the caller's promise.
        let bytes = || unsafe { core::slice::from_raw_parts(frame.data.cast::<u8>(), frame.bytes) };
        // SAFETY: the same; the alignment is that of a float.
        let floats =
            || unsafe { core::slice::from_raw_parts(frame.data.cast::<f32>(), frame.bytes / 4) };
        let pixels = match frame.format {
            format::RGB8 => Pixels::Rgb8(Plane {
                data: bytes(),
                stride,
            }),
            format::BGR8 => Pixels::Bgr8(Plane {
                data: bytes(),
                stride,
            }),
            format::RGB_F32 => Pixels::RgbF32(Plane {
                data: floats(),
                stride,
            }),
            format::NV12 => {
                let second = Raw {
                    data: frame.chroma,
                    bytes: frame.chroma_bytes,
                    stride: frame.chroma_stride,
                };
                let (extent, chroma_stride) = second.check(2 * width.div_ceil(2), 1)?;
                extents[1] = extent;
                // SAFETY: as for the first plane.
                let chroma = unsafe {
                    core::slice::from_raw_parts(frame.chroma.cast::<u8>(), frame.chroma_bytes)
                };
                let chroma = Plane {
                    data: chroma,
                    stride: chroma_stride,
                };
                let luma = Plane {
                    data: bytes(),
                    stride,
                };
                Pixels::Nv12(luma, chroma, matrix(frame.matrix)?)
            }
            _ => {
                if stride != line {
                    return Err(Status::Frame);
                }
                let elements = line * frame.height as usize;
                let data = floats().get(..elements).ok_or(Status::TooSmall)?;
                let image = Image::Tensor((frame.width, frame.height), data);
                return Ok(Checked { image, extents });
            }
        };
        let pixels = frame::Frame::new(frame.width, frame.height, pixels).map_err(impossible)?;
        Ok(Checked {
            image: Image::Pixels(pixels),
            extents,
        })
    }
}

fn matrix(index: u32) -> Result<Matrix, Status> {
    let all = choice::MATRICES;
    all.get(index as usize).copied().ok_or(Status::Frame)
}

/// What the core calls an impossible architecture is an impossible frame or picture here.
pub(super) fn impossible(error: Error) -> Status {
    match error {
        Error::Architecture => Status::Frame,
        other => other.into(),
    }
}

impl Picture {
    /// The extent of the picture, and its stride in elements.
    pub(super) fn check(&self) -> Result<(Extent, usize), Status> {
        let (line, size) = match self.format {
            format::HEAT_F32 => (self.width as usize, size_of::<f32>()),
            format::HEAT_U8 => (self.width as usize, 1),
            format::HEAT_RGBA8 => (4usize.saturating_mul(self.width as usize), 1),
            _ => return Err(Status::Frame),
        };
        if self.reserved != 0 {
            return Err(Status::Options);
        }
        let sides = [self.width, self.height];
        if sides.contains(&0) {
            return Err(Status::Frame);
        }
        if sides.iter().any(|&s| s > frame::MAX_SIDE) {
            return Err(Status::TooLarge);
        }
        let raw = Raw {
            data: self.data,
            bytes: self.bytes,
            stride: self.stride,
        };
        raw.check(line, size)
    }
}
