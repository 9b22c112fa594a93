//! Places values in one arena: largest first, each at the lowest address where nothing alive at the same time lies.

use crate::error::{Buffer, Error};
use crate::plan::Value;

/// Values start at multiples of this many f32 (64 bytes).
pub const ALIGN: usize = 16;

/// Gives every value its place; returns the elements of the arena.
pub fn place(values: &mut [Value]) -> Result<usize, Error> {
    const UNPLACED: u32 = u32::MAX;
    values.iter_mut().for_each(|v| v.region.start = UNPLACED);
    let mut end = 0;
    loop {
        let next = (0..values.len())
            .filter(|&i| values[i].region.start == UNPLACED)
            .max_by_key(|&i| (values[i].region.len, core::cmp::Reverse(i)));
        let Some(next) = next else { return Ok(end) };
        let value = values[next];
        let len = (value.region.len as usize).next_multiple_of(ALIGN);
        let mut start = 0usize;
        loop {
            let conflict = values.iter().find(|v| {
                v.region.start != UNPLACED
                    && v.meets(&value)
                    && (v.region.start as usize) < start + len
                    && start < v.region.start as usize + v.region.len as usize
            });
            match conflict {
                Some(v) => {
                    start =
                        (v.region.start as usize + v.region.len as usize).next_multiple_of(ALIGN);
                }
                None => break,
            }
        }
        if start + len >= UNPLACED as usize {
            let (need, have) = ((start + len) as u64, u64::from(UNPLACED));
            return Err(Error::Capacity {
                buffer: Buffer::Arena,
                need,
                have,
            });
        }
        values[next].region.start = start as u32;
        end = end.max(start + len);
    }
}

/// Most elements alive at one step.
pub fn lower_bound(values: &[Value], steps: usize) -> usize {
    let alive = |step: u32| {
        let at = values
            .iter()
            .filter(move |v| v.birth <= step && step <= v.death);
        at.map(|v| (v.region.len as usize).next_multiple_of(ALIGN))
            .sum::<usize>()
    };
    (0..steps as u32).map(alive).max().unwrap_or(0)
}
