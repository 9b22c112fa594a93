//! Vectors of sixteen f32 and the choice of instruction set.
//!
//! An instruction set supplies only a row of sixteen lanes ([`Lanes::Row`], one weight panel wide); every kernel is
//! written once, generic over [`Lanes`], as a [`Task`]. [`Isa::run`] compiles the task for the set and calls it. Tokens
//! of sets are only made after the CPU was asked (or the compiler told), which is what makes their methods safe.

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod function;
mod portable;
#[cfg(test)]
mod tests;

use core::marker::PhantomData;

use half::f16;

use crate::graph::PANEL;
use crate::view::Weight;

pub use function::{exp, gelu, quick_gelu};
pub use portable::Portable;

/// The largest finite half.
const MOST_HALF: f32 = 65_504.0;

/// Sixteen f32 and the operations the kernels need. `mul_add` is fused where the instruction set can.
pub trait Lanes: Copy + Send + Sync {
    /// A row of sixteen values in registers.
    type Row: Copy;
    /// Rows of inputs that the microkernel works on at once: as many accumulators as fit beside the weights.
    const ROWS: usize;
    /// Whether small code counts for more than loops without branches.
    const SMALL: bool = false;
    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::Row;
    /// Sixteen values from memory.
    fn load(self, from: &[f32; PANEL]) -> Self::Row;
    /// Sixteen halves from memory, widened.
    fn load_half(self, from: &[f16; PANEL]) -> Self::Row;
    /// To memory.
    fn store(self, row: Self::Row, to: &mut [f32; PANEL]);
    /// To memory as halves, rounded to nearest; finite whatever the row holds but NaN.
    fn store_half(self, row: Self::Row, to: &mut [f16; PANEL]);
    /// `a * b + c`
    fn mul_add(self, a: Self::Row, b: Self::Row, c: Self::Row) -> Self::Row;
    /// `a + b`
    fn add(self, a: Self::Row, b: Self::Row) -> Self::Row;
    /// `a * b`
    fn mul(self, a: Self::Row, b: Self::Row) -> Self::Row;
    /// `a / b`
    fn div(self, a: Self::Row, b: Self::Row) -> Self::Row;
    /// The larger in each lane; `b` where one is NaN.
    fn max(self, a: Self::Row, b: Self::Row) -> Self::Row;
    /// `2^n` for whole numbers n of at most 127; 0 below -126.
    fn pow2(self, n: Self::Row) -> Self::Row;
    /// `max(a, 0)`
    fn relu(self, a: Self::Row) -> Self::Row;
    /// `z > least ? r / z : 0` in each lane, and whether any lane with `r != 0` gave 0.
    fn guarded_div(self, r: Self::Row, z: Self::Row, least: f32) -> (Self::Row, bool);
    /// Asks for the cache line at this address, which will be wanted soon. A hint: it changes nothing, reads nothing and
    /// can't fault, so the address may be any.
    #[inline(always)]
    fn prefetch<T>(self, _: *const T) {}
    /// Transposes a 16 x 16 block.
    fn transpose(self, rows: [Self::Row; PANEL]) -> [Self::Row; PANEL];

    /// Up to sixteen values; missing lanes are 0.
    #[inline(always)]
    fn load_some(self, from: &[f32]) -> Self::Row {
        match from.first_chunk::<PANEL>() {
            Some(whole) => self.load(whole),
            None => {
                let mut padded = [0.0; PANEL];
                padded[..from.len()].copy_from_slice(from);
                self.load(&padded)
            }
        }
    }

    /// As many lanes as `to` holds, sixteen at most.
    #[inline(always)]
    fn store_some(self, row: Self::Row, to: &mut [f32]) {
        match to.first_chunk_mut::<PANEL>() {
            Some(whole) => self.store(row, whole),
            None => {
                let mut padded = [0.0; PANEL];
                self.store(row, &mut padded);
                to.copy_from_slice(&padded[..to.len()]);
            }
        }
    }

    /// The sum of all lanes, pairwise.
    #[inline(always)]
    fn sum(self, row: Self::Row) -> f32 {
        let mut v = [0.0; PANEL];
        self.store(row, &mut v);
        let mut width = PANEL / 2;
        while width > 0 {
            for i in 0..width {
                v[i] += v[i + width];
            }
            width /= 2;
        }
        v[0]
    }
}

/// Rows of weights that are asked for ahead of time: the hardware's own prefetchers stop at the end of a page.
const AHEAD: usize = 128;

/// Weights that a row can be loaded from.
pub trait Load: Weight {
    /// Sixteen weights as f32; with `PLUS`, negative ones as 0.
    fn load<L: Lanes, const PLUS: bool>(lanes: L, from: &[Self; PANEL]) -> L::Row;
}

impl Load for f32 {
    #[inline(always)]
    fn load<L: Lanes, const PLUS: bool>(lanes: L, from: &[Self; PANEL]) -> L::Row {
        let row = lanes.load(from);
        if PLUS { lanes.relu(row) } else { row }
    }
}

impl Load for f16 {
    #[inline(always)]
    fn load<L: Lanes, const PLUS: bool>(lanes: L, from: &[Self; PANEL]) -> L::Row {
        let row = lanes.load_half(from);
        if PLUS { lanes.relu(row) } else { row }
    }
}

/// `M` rows of inputs, each at least `len` long: checked once, then read without a look at bounds.
#[derive(Clone, Copy)]
pub struct Sources<'a, const M: usize> {
    rows: [*const f32; M],
    len: usize,
    life: PhantomData<&'a [f32]>,
}

impl<'a, const M: usize> Sources<'a, M> {
    /// Takes the first `len` floats of each row.
    ///
    /// # Panics
    /// If a row is shorter.
    #[inline(always)]
    pub fn new(len: usize, mut row: impl FnMut(usize) -> &'a [f32]) -> Self {
        let rows = core::array::from_fn(|m| {
            let row = row(m);
            assert!(row.len() >= len);
            row.as_ptr()
        });
        Self {
            rows,
            len,
            life: PhantomData,
        }
    }
}

/// The one hot loop: `acc[r] += sum_t rows[r][t] * panel[t]`, `M` rows at a time.
///
/// # Panics
/// If the panel is longer than the rows.
#[inline(always)]
pub fn dot<L: Lanes, W: Load, const PLUS: bool, const M: usize>(
    lanes: L,
    sources: Sources<'_, M>,
    panel: &[[W; PANEL]],
    mut acc: [L::Row; M],
) -> [L::Row; M] {
    assert!(panel.len() <= sources.len);
    for (t, weights) in panel.iter().enumerate() {
        let w = W::load::<L, PLUS>(lanes, weights);
        lanes.prefetch(panel.as_ptr().wrapping_add(t + AHEAD));
        for (acc, row) in acc.iter_mut().zip(sources.rows) {
            // SAFETY: `t < panel.len() <= sources.len`, and each pointer was made from a slice of at least that length,
            // which is borrowed for as long as the sources live. The compiler doesn't see that for many rows at once, and
            // its checks cost a third of the loop.
            let x = unsafe { *row.add(t) };
            *acc = lanes.mul_add(lanes.splat(x), w, *acc);
        }
    }
    acc
}

/// Work that is compiled once for each instruction set.
pub trait Task {
    /// What it gives.
    type Output;
    /// Does it. Implementations are `#[inline(always)]`, or they'd be compiled without the set's instructions.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Whatever the compiler makes of arrays.
    Portable,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    /// AVX-512F.
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    /// NEON.
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    Neon(aarch64::Neon),
}

impl Isa {
    /// Every set that this CPU has, best first: asked at run time with the feature `std`, else what the program was
    /// compiled for. The portable one is always there, and last.
    pub fn available() -> impl Iterator<Item = Self> {
        [
            #[cfg(target_arch = "x86_64")]
            avx512::Avx512::detect().map(Isa::Avx512),
            #[cfg(target_arch = "x86_64")]
            avx2::Avx2::detect().map(Isa::Avx2),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            aarch64::Neon::detect().map(Isa::Neon),
            Some(Isa::Portable),
        ]
        .into_iter()
        .flatten()
    }

    /// The best set of this CPU.
    #[must_use]
    pub fn detect() -> Self {
        Self::available().next().unwrap_or(Isa::Portable)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::Neon(_) => "neon",
        }
    }

    /// Rows of inputs that its microkernel works on at once.
    #[must_use]
    pub const fn rows(self) -> usize {
        match self {
            Isa::Portable => Portable::ROWS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => avx2::Avx2::ROWS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => avx512::Avx512::ROWS,
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::Neon(_) => aarch64::Neon::ROWS,
        }
    }

    /// Runs a task compiled for this set.
    #[inline]
    pub fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            Isa::Portable => Portable.run(task),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(avx2) => avx2.run(task),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(avx512) => avx512.run(task),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::Neon(neon) => neon.run(task),
        }
    }
}
