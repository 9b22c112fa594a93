//! Status codes of the C API.

use core::ffi::CStr;

use crate::error::Error;

/// What a call says. The numbers are those of `elucid.h` and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// A pointer that must not be null is.
    Null = 1,
    /// A pointer or a stride is not aligned for its type.
    Alignment = 2,
    /// Two buffers overlap.
    Overlap = 3,
    /// A buffer is too small.
    TooSmall = 4,
    /// A size can't be addressed, or a side is above 32768 pixels.
    TooLarge = 5,
    /// An option has no such value, or something reserved isn't 0.
    Options = 6,
    /// No such frame or picture: format, size or stride.
    Frame = 7,
    /// Not an open explainer.
    Handle = 8,
    /// Another call is using the explainer.
    Busy = 9,
    /// Something else must be called first.
    Order = 10,
    /// No such class.
    Target = 11,
    /// NaN or infinity in the frame or the network's output.
    NotFinite = 12,
    /// The model's bytes end too early.
    Truncated = 20,
    /// Not a model.
    NotAModel = 21,
    /// Another version of the format.
    Version = 22,
    /// The model is damaged.
    Checksum = 23,
    /// A record of the model is impossible.
    Record = 24,
    /// The model's bytes are not aligned.
    Misaligned = 25,
    /// The network can't take an image of this size.
    Shape = 26,
    /// The network can't be explained so.
    Unsupported = 27,
    /// No such network.
    Architecture = 28,
    /// No CUDA driver.
    NoDriver = 40,
    /// No such CUDA device.
    NoDevice = 41,
    /// The CUDA driver fails.
    DriverBroken = 42,
    /// No longer said: this library was built without CUDA kernels for whole networks.
    NoKernels = 43,
    /// No run-time compiler for the kernels.
    NoCompiler = 44,
    /// Too little memory on the device.
    DeviceMemory = 45,
    /// The device, or a kernel on it, failed.
    Device = 46,
    /// A bug of elucid.
    Internal = 60,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 30] = [
        Status::Ok,
        Status::Null,
        Status::Alignment,
        Status::Overlap,
        Status::TooSmall,
        Status::TooLarge,
        Status::Options,
        Status::Frame,
        Status::Handle,
        Status::Busy,
        Status::Order,
        Status::Target,
        Status::NotFinite,
        Status::Truncated,
        Status::NotAModel,
        Status::Version,
        Status::Checksum,
        Status::Record,
        Status::Misaligned,
        Status::Shape,
        Status::Unsupported,
        Status::Architecture,
        Status::NoDriver,
        Status::NoDevice,
        Status::DriverBroken,
        Status::NoKernels,
        Status::NoCompiler,
        Status::DeviceMemory,
        Status::Device,
        Status::Internal,
    ];

    /// One line in English: what, and the mend.
    #[must_use]
    pub const fn text(self) -> &'static CStr {
        match self {
            Status::Ok => c"success",
            Status::Null => c"a pointer that must not be null is null",
            Status::Alignment => {
                c"a buffer or a stride is not aligned for its type; floats need multiples of 4"
            }
            Status::Overlap => c"two buffers of the call overlap",
            Status::TooSmall => c"a buffer is too small; elucid_measure and elucid.h say how large",
            Status::TooLarge => {
                c"a size is larger than this machine can address, or a side above 32768 pixels"
            }
            Status::Options => {
                c"an option has no such value, or a reserved field is not 0; start from a zeroed struct"
            }
            Status::Frame => {
                c"no such frame or picture: look at its format, width, height, stride and bytes"
            }
            Status::Handle => {
                c"not an open explainer: it was closed, or its memory was moved or overwritten"
            }
            Status::Busy => c"another call is using this explainer; one at a time",
            Status::Order => c"called too early; see the order of calls in elucid.h",
            Status::Target => c"the model has no such class",
            Status::NotFinite => {
                c"NaN or infinity in the frame, the map or the network's output"
            }
            Status::Truncated => c"the model is cut off; copy or import it again",
            Status::NotAModel => c"not an .elucid model; make one with `elucid import`",
            Status::Version => {
                c"the model is of another format version; import the weights again"
            }
            Status::Checksum => {
                c"the model is damaged (wrong checksum); copy or import it again"
            }
            Status::Record => {
                c"the model is damaged (an impossible record); copy or import it again"
            }
            Status::Misaligned => {
                c"the model's bytes are not aligned in memory; load them at a multiple of 64"
            }
            Status::Shape => c"the network cannot take an image of this size",
            Status::Unsupported => c"this network cannot be explained this way",
            Status::Architecture => c"no such network",
            Status::NoDriver => c"no CUDA driver (libcuda) on this machine",
            Status::NoDevice => c"no such CUDA device on this machine",
            Status::DriverBroken => c"the CUDA driver is there but fails",
            Status::NoKernels => {
                c"this build has no CUDA kernels for whole networks; use elucid_open"
            }
            Status::NoCompiler => {
                c"no run-time compiler (NVRTC) for this device; install cuda-nvrtc, or use elucid_open"
            }
            Status::DeviceMemory => {
                c"too little memory on the CUDA device; another memory mode, a smaller image, or elucid_open"
            }
            Status::Device => {
                c"the CUDA device failed, or is too old for the kernels; `elucid doctor` says more"
            }
            Status::Internal => c"a bug of elucid; please report it",
        }
    }

    /// The code of a result.
    pub(super) fn code(result: Result<(), Status>) -> i32 {
        match result {
            Ok(()) => Status::Ok as i32,
            Err(status) => status as i32,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Truncated { .. } => Status::Truncated,
            Error::NotAModel => Status::NotAModel,
            Error::Version { .. } => Status::Version,
            Error::Checksum { .. } => Status::Checksum,
            Error::Record { .. } => Status::Record,
            Error::Misaligned { .. } => Status::Misaligned,
            Error::Shape { .. } => Status::Shape,
            Error::Capacity { .. } | Error::Length { .. } => Status::TooSmall,
            Error::Target { .. } => Status::Target,
            Error::NotFinite => Status::NotFinite,
            Error::Overlap { .. } => Status::Internal,
            Error::Unsupported { .. } => Status::Unsupported,
            Error::Order => Status::Order,
            Error::Architecture => Status::Architecture,
        }
    }
}
