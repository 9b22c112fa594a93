//! The most floating-point operations a core can do: what the kernels' rates are shares of.
//!
//! Nothing but fused multiply-adds on accumulators that stay in registers, enough of them to hide the latency: six rows
//! where a row takes two registers, twelve where it takes one. The best of several tries counts.

use std::hint::black_box;
use std::sync::Mutex;
use std::time::Instant;

use elucid_core::graph::PANEL;
use elucid_core::par::Pool;
use elucid_core::simd::{Isa, Lanes, Task};

/// Rounds of a try: about two milliseconds.
const ROUNDS: usize = 1 << 17;
/// Tries for each number of rows: some 50 milliseconds in all.
const TRIES: usize = 12;

/// Multiplies and adds on `M` rows of accumulators, `rounds` times.
struct Chains<const M: usize> {
    rounds: usize,
}

impl<const M: usize> Task for Chains<M> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f32 {
        let (factor, summand) = (lanes.splat(black_box(0.5)), lanes.splat(black_box(1.0)));
        let mut acc = [lanes.splat(black_box(0.0)); M];
        for _ in 0..self.rounds {
            for acc in &mut acc {
                *acc = lanes.mul_add(*acc, factor, summand);
            }
        }
        acc.iter().map(|&row| lanes.sum(row)).sum()
    }
}

/// Operations a second with `M` rows.
fn rate<const M: usize>(isa: Isa) -> f64 {
    let mut best = 0.0f64;
    for _ in 0..TRIES {
        let start = Instant::now();
        black_box(isa.run(Chains::<M> { rounds: ROUNDS }));
        let operations = (2 * ROUNDS * M * PANEL) as f64;
        best = best.max(operations / start.elapsed().as_secs_f64());
    }
    best
}

/// Floating-point operations a second that the threads of `pool` reach together.
#[must_use]
pub fn measure(isa: Isa, pool: &dyn Pool) -> f64 {
    let total = Mutex::new(0.0);
    pool.broadcast(&|| {
        let best = rate::<6>(isa).max(rate::<12>(isa));
        if let Ok(mut total) = total.lock() {
            *total += best;
        }
    });
    total.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use elucid_core::par::Serial;

    #[test]
    fn every_chain_runs_to_its_limit() {
        // x = x / 2 + 1 ends at 2 in each of the lanes.
        let sum = Isa::detect().run(Chains::<12> { rounds: 100 });
        assert!((sum - 2.0 * 12.0 * 16.0).abs() < 1e-3, "{sum}");
    }

    #[test]
    fn the_peak_is_a_rate_of_this_century() {
        let peak = measure(Isa::detect(), &Serial);
        assert!((1e8..1e13).contains(&peak), "{peak}");
    }
}
