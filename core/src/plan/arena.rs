//! Places values in one arena: in some order, each at the lowest address where nothing alive at the same time lies.
//!
//! No order is best for every schedule, so several are tried until one meets the lower bound.

use crate::error::{Buffer, Error};
use crate::plan::Value;

/// Values start at multiples of this many f32 (64 bytes).
pub const ALIGN: u64 = 16;

const UNPLACED: u32 = u32::MAX;

/// Pairs of values that are looked at before the best placement so far has to do: some 50 ms.
const PATIENCE: usize = 1 << 25;
/// Rounds of improvement for each order.
const ROUNDS: usize = 48;

/// What comes first.
#[derive(Clone, Copy)]
enum Order {
    /// The largest.
    Size,
    /// The largest product of size and lifetime.
    Area,
    /// What lives longest.
    Life,
    /// What dies last, and of those the largest.
    Death,
    /// What is born first, and of those the largest.
    Birth,
}

const ORDERS: [Order; 5] = [
    Order::Size,
    Order::Area,
    Order::Life,
    Order::Death,
    Order::Birth,
];

impl Order {
    fn key(self, value: &Value) -> (u64, u64) {
        let size = u64::from(value.region.len);
        let life = u64::from(value.death.min(1 << 24) - value.birth.min(1 << 24)) + 1;
        match self {
            Order::Size => (size, life),
            Order::Area => (size * life, size),
            Order::Life => (life, size),
            Order::Death => (u64::from(value.death), size),
            Order::Birth => (u64::from(u32::MAX - value.birth), size),
        }
    }
}

/// Gives every value its place; returns the elements of the arena.
///
/// After each order, whatever sticks out above the bound is placed earlier in the next round, until nothing does or
/// patience ends; the best placement of all wins.
pub fn place(values: &mut [Value], bound: usize) -> Result<usize, Error> {
    let bound = bound as u64;
    let mut best = place_by(values, Order::Size)?;
    save(values);
    let rounds = PATIENCE / (values.len() * values.len()).max(1) / ORDERS.len();
    for order in ORDERS {
        values.iter_mut().for_each(|v| v.urgency = 0);
        for _ in 0..rounds.min(ROUNDS) {
            if best <= bound {
                break;
            }
            let Ok(end) = place_by(values, order) else {
                break;
            };
            if end < best {
                best = end;
                save(values);
            }
            for value in values.iter_mut().filter(|v| v.end() > bound) {
                value.urgency += 1;
            }
        }
    }
    for value in values {
        value.region.start = value.best;
    }
    addressable(best)
}

/// A number of f32 whose bytes this machine can address, or an error.
fn addressable(elements: u64) -> Result<usize, Error> {
    let most = u64::from(UNPLACED).min(usize::MAX as u64 / size_of::<f32>() as u64);
    match usize::try_from(elements) {
        Ok(n) if elements < most => Ok(n),
        _ => Err(Error::Capacity {
            buffer: Buffer::Arena,
            need: elements,
            have: most,
        }),
    }
}

fn save(values: &mut [Value]) {
    for value in values {
        value.best = value.region.start;
    }
}

fn place_by(values: &mut [Value], order: Order) -> Result<u64, Error> {
    values.iter_mut().for_each(|v| v.region.start = UNPLACED);
    let mut end = 0;
    loop {
        let next = (0..values.len())
            .filter(|&i| values[i].region.start == UNPLACED)
            .max_by_key(|&i| {
                let value = &values[i];
                (value.urgency, order.key(value), core::cmp::Reverse(i))
            });
        let Some(next) = next else { return Ok(end) };
        let value = values[next];
        let len = u64::from(value.region.len).next_multiple_of(ALIGN);
        let mut start = 0;
        while let Some(conflict) = values.iter().find(|v| {
            v.region.start != UNPLACED
                && v.meets(&value)
                && u64::from(v.region.start) < start + len
                && start < v.end()
        }) {
            start = conflict.end();
        }
        addressable(start + len)?;
        values[next].region.start = start as u32;
        end = end.max(start + len);
    }
}

/// Most elements alive at one step.
pub fn lower_bound(values: &[Value], steps: usize) -> Result<usize, Error> {
    let alive = |step: u32| {
        let at = values
            .iter()
            .filter(move |v| v.birth <= step && step <= v.death);
        at.map(|v| u64::from(v.region.len).next_multiple_of(ALIGN))
            .sum::<u64>()
    };
    addressable((0..steps as u32).map(alive).max().unwrap_or(0))
}
