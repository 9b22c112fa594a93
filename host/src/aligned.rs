//! Memory at multiples of 64 bytes, as model files and arenas want it.

use anyhow::{Result, anyhow};
use bytemuck::{Pod, Zeroable};

/// One cache line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Zeroed memory that starts at a multiple of 64 bytes.
pub struct Aligned {
    lines: Vec<Line>,
    bytes: usize,
}

impl Aligned {
    /// This many zero bytes. The system provides them when they are first touched.
    ///
    /// # Errors
    /// If the system refuses that much memory.
    pub fn zeroed(bytes: usize) -> Result<Self> {
        let lines = bytemuck::allocation::try_zeroed_slice_box(bytes.div_ceil(64)).map_err(|()| {
            anyhow!("{:.1} GB of memory are needed and the system refuses them; use a smaller image, or --memory block", bytes as f64 / 1e9)
        })?;
        Ok(Self {
            lines: lines.into_vec(),
            bytes,
        })
    }

    /// No memory.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            lines: Vec::new(),
            bytes: 0,
        }
    }

    /// A copy of `bytes`.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut memory = Self {
            lines: vec![Line::zeroed(); bytes.len().div_ceil(64)],
            bytes: bytes.len(),
        };
        memory.bytes_mut().copy_from_slice(bytes);
        memory
    }

    /// Forgets the bytes from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.bytes = self.bytes.min(len);
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.bytes]
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.bytes]
    }

    /// The memory as floats; the last line may hold more of them than bytes were asked for.
    pub fn floats_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}
