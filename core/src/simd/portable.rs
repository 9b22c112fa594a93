//! Sixteen lanes as an array: correct everywhere, fast where the compiler vectorises it.

use half::f16;

use super::{Lanes, MOST_HALF, Task};
use crate::graph::PANEL;

/// The token of the portable set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portable;

impl Portable {
    /// Runs a task. A function of its own, as for the other sets: what it keeps on the stack is only there while it runs.
    #[inline(never)]
    pub fn run<T: Task>(self, task: T) -> T::Output {
        task.run(self)
    }
}

#[inline(always)]
fn each(f: impl FnMut(usize) -> f32) -> [f32; PANEL] {
    core::array::from_fn(f)
}

impl Lanes for Portable {
    type Row = [f32; PANEL];
    /// Two rows of sixteen lanes fit the sixteen registers of four lanes that most CPUs have, and keep the code small.
    const ROWS: usize = 2;
    const SMALL: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Row {
        [x; PANEL]
    }

    #[inline(always)]
    fn load(self, from: &[f32; PANEL]) -> Self::Row {
        *from
    }

    #[inline(always)]
    fn load_half(self, from: &[f16; PANEL]) -> Self::Row {
        from.map(f16::to_f32)
    }

    #[inline(always)]
    fn store(self, row: Self::Row, to: &mut [f32; PANEL]) {
        *to = row;
    }

    #[inline(always)]
    fn store_half(self, row: Self::Row, to: &mut [f16; PANEL]) {
        *to = row.map(|v| f16::from_f32(v.clamp(-MOST_HALF, MOST_HALF)));
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Row, b: Self::Row, c: Self::Row) -> Self::Row {
        each(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn add(self, a: Self::Row, b: Self::Row) -> Self::Row {
        each(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn mul(self, a: Self::Row, b: Self::Row) -> Self::Row {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: Self::Row, b: Self::Row) -> Self::Row {
        each(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn max(self, a: Self::Row, b: Self::Row) -> Self::Row {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn pow2(self, n: Self::Row) -> Self::Row {
        n.map(|n| f32::from_bits(((n.clamp(-127.0, 127.0) as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    fn relu(self, a: Self::Row) -> Self::Row {
        each(|i| if a[i] > 0.0 { a[i] } else { 0.0 })
    }

    #[inline(always)]
    fn guarded_div(self, r: Self::Row, z: Self::Row, least: f32) -> (Self::Row, bool) {
        let mut dead = false;
        let row = each(|i| {
            let alive = z[i] > least;
            dead |= !alive && r[i] != 0.0;
            if alive { r[i] / z[i] } else { 0.0 }
        });
        (row, dead)
    }

    #[inline(always)]
    fn transpose(self, rows: [Self::Row; PANEL]) -> [Self::Row; PANEL] {
        core::array::from_fn(|i| each(|j| rows[j][i]))
    }
}
