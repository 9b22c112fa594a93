//! The bundled model, where the core can read it.

use std::fs;
use std::path::Path;

use elucid_core::Model;
use elucid_core::plan::{Options, Plan, Slot, Step, Value, Workspace};

/// Pieces of 64 bytes at multiples of 64.
#[repr(C, align(64))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Line([u8; 64]);

/// The model's bytes.
pub struct Bytes {
    lines: Vec<Line>,
    len: usize,
}

impl Bytes {
    /// Those of the flower model.
    pub fn flowers() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../host/demo/flowers.elucid");
        let bytes = fs::read(path).expect("the bundled model");
        let mut lines = vec![Line([0; 64]); bytes.len().div_ceil(64)];
        bytemuck::cast_slice_mut(&mut lines)[..bytes.len()].copy_from_slice(&bytes);
        Self {
            lines,
            len: bytes.len(),
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        let bytes: &[u8] = bytemuck::cast_slice(&self.lines);
        &bytes[..self.len]
    }

    /// The model.
    pub fn model(&self) -> Model<'_> {
        Model::parse(self.bytes()).expect("a model")
    }
}

/// Memory that plans are made in.
pub struct Memory {
    slots: Vec<Slot>,
    values: Vec<Value>,
    steps: Vec<Step>,
}

impl Memory {
    /// Enough for any plan.
    pub fn new(model: &Model<'_>) -> Self {
        let (slots, values, steps) = Workspace::capacity(model.node_count());
        Self {
            slots: vec![Slot::EMPTY; slots],
            values: vec![Value::EMPTY; values],
            steps: vec![Step::EMPTY; steps],
        }
    }

    /// A plan.
    pub fn plan(&mut self, model: &Model<'_>, options: &Options) -> Plan<'_> {
        let workspace = Workspace {
            slots: &mut self.slots,
            values: &mut self.values,
            steps: &mut self.steps,
        };
        Plan::new(model, options, workspace).expect("a plan")
    }
}

/// An image of any size, the same in every run.
pub fn image(elements: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..elements).map(|_| 2.0 * draw()).collect()
}
