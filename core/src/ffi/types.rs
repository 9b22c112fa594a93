//! The structs of `elucid.h`, field by field. What they mean is said there.

use core::ffi::{c_char, c_void};

use crate::frame;
use crate::model::Model;
use crate::plan;
use crate::rule::Composite;
use crate::rule::Init;
use crate::shape::Shape;

use super::Status;

/// `elucid_options`
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Options {
    pub preset: u32,
    pub split: u32,
    pub init: u32,
    pub memory: u32,
    pub half: u32,
    pub threads: u32,
    pub width: u32,
    pub height: u32,
    pub audit: u32,
    pub reserved: [u32; 7],
}

/// `elucid_info`
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Info {
    pub memory_bytes: usize,
    pub work_bytes: usize,
    pub width: u32,
    pub height: u32,
    pub classes: u32,
    pub steps: u32,
    pub max_frame_width: u32,
    pub reserved: [u32; 3],
}

/// `elucid_pool`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Pool {
    pub context: *mut c_void,
    pub broadcast: Option<Broadcast>,
    pub threads: u32,
    pub reserved: u32,
}

/// `elucid_broadcast`
pub type Broadcast =
    unsafe extern "C" fn(context: *mut c_void, work: Option<Work>, data: *mut c_void);

/// `elucid_work`
pub type Work = unsafe extern "C" fn(data: *mut c_void);

/// `elucid_frame`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Frame {
    pub data: *const c_void,
    pub bytes: usize,
    pub stride: usize,
    pub chroma: *const c_void,
    pub chroma_bytes: usize,
    pub chroma_stride: usize,
    pub width: u32,
    pub height: u32,
    pub format: u32,
    pub matrix: u32,
}

/// `elucid_picture`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Picture {
    pub data: *mut c_void,
    pub bytes: usize,
    pub stride: usize,
    pub width: u32,
    pub height: u32,
    pub format: u32,
    pub reserved: u32,
}

/// `elucid_result`
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Answer {
    pub predicted: u32,
    pub target: u32,
    pub predicted_probability: f32,
    pub probability: f32,
    pub logit: f32,
    pub relevance: f32,
}

/// `elucid_ledger`
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Account {
    pub start: f64,
    pub map: f64,
    pub eps: f64,
    pub dead: f64,
    pub redistributed: f64,
    pub unexplained: f64,
    pub steps: u32,
    pub balances: u32,
}

/// `elucid_ledger_step`
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct AccountStep {
    pub into: f64,
    pub out: f64,
    pub eps: f64,
    pub dead: f64,
    pub redistributed: f64,
    pub node: u32,
    pub act: u32,
}

/// `elucid_cuda_info`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[allow(missing_docs)]
pub struct CudaInfo {
    pub memory_bytes: u64,
    pub devices: u32,
    pub capability_major: u32,
    pub capability_minor: u32,
    pub integrated: u32,
    pub compiler: u32,
    pub kernels: u32,
    pub name: [c_char; 64],
}

/// Formats of frames and pictures.
#[allow(missing_docs)]
pub mod format {
    pub const RGB8: u32 = 0;
    pub const BGR8: u32 = 1;
    pub const NV12: u32 = 2;
    pub const RGB_F32: u32 = 3;
    pub const TENSOR_F32: u32 = 4;
    pub const HEAT_F32: u32 = 16;
    pub const HEAT_U8: u32 = 17;
    pub const HEAT_RGBA8: u32 = 18;
}

/// What the numbers in [`Options`] and [`Frame`] choose: each is the place of a choice in its list.
pub mod choice {
    use crate::frame::Matrix;
    use crate::plan::Memory;
    use crate::rule::{Composite, Init, Split};

    /// `elucid_options.preset`
    pub const PRESETS: [fn(Split) -> Composite; 2] = [Composite::exact, Composite::paper];
    /// `elucid_options.split`
    pub const SPLITS: [Split; 4] = [
        Split::Ratio,
        Split::Half,
        Split::ProjectionRatio,
        Split::ProjectionHalf,
    ];
    /// `elucid_options.init`
    pub const INITS: [Init; 3] = [Init::Probability, Init::Logit, Init::One];
    /// `elucid_options.memory`
    pub const MEMORIES: [Memory; 3] = [Memory::Block, Memory::Keep, Memory::Stage];
    /// `elucid_frame.matrix`
    pub const MATRICES: [Matrix; 4] = [
        Matrix::Bt601,
        Matrix::Bt709,
        Matrix::Bt601Full,
        Matrix::Bt709Full,
    ];
}

impl Options {
    /// What the planner is told.
    pub(super) fn plan(&self, model: &Model<'_>) -> Result<plan::Options, Status> {
        let split = pick(&choice::SPLITS, self.split)?;
        let rules = pick(&choice::PRESETS, self.preset)?(split);
        // Relevance can't pass a transformer; one that was trained with an adapter says itself where it looked.
        let composite = if model.explainable() {
            rules
        } else {
            Composite::Attention
        };
        self.init()?;
        let memory = pick(&choice::MEMORIES, self.memory)?;
        let own = model.input_shape();
        let image = match (self.width, self.height) {
            (0, 0) => own,
            (w, h) if w.max(h) > frame::MAX_SIDE => return Err(Status::TooLarge),
            (w, h) if w > 0 && h > 0 => Shape::new(h, w, 3),
            _ => return Err(Status::Options),
        };
        let sound = self.half <= 1
            && self.audit <= 1
            && self.threads <= MOST_THREADS
            && self.reserved == [0; 7];
        if !sound {
            return Err(Status::Options);
        }
        Ok(plan::Options {
            memory,
            half: self.half == 1,
            threads: self.threads.max(1) as usize,
            ..plan::Options::new(image, Some(composite))
        })
    }

    pub(super) fn init(&self) -> Result<Init, Status> {
        pick(&choice::INITS, self.init)
    }
}

/// Most threads that an explainer is planned for.
const MOST_THREADS: u32 = 1024;

fn pick<T: Copy>(all: &[T], index: u32) -> Result<T, Status> {
    all.get(index as usize).copied().ok_or(Status::Options)
}
