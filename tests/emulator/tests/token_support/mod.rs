//! What tests of the layers of transformers share: random values, launches in several orders of threads, comparisons.
#![allow(dead_code)] // Each of the tests uses a part.

use elucid::lower::Launch;
use elucid_core::op::Context;
use elucid_core::par::Serial;
use elucid_core::simd::Isa;
use elucid_emulator::{Emulator, Order};

/// The reference's context.
pub fn context(zero: &[f32]) -> Context<'_> {
    Context {
        isa: Isa::detect(),
        pool: &Serial,
        zero,
        audit: false,
    }
}

/// `count` values in -2..2, always the same of a seed.
pub fn values(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 4_194_304.0 - 2.0
        })
        .collect()
}

/// Puts launches by, given the addresses of the inputs and of the output.
pub type Lower<'a> = &'a dyn Fn(&mut Vec<Launch>, &[u64], u64);

/// What `lower` launches, given the addresses of the inputs (0 for one that is `None`) and of an output of `count` floats.
///
/// Runs with the threads in several orders, once with all images in the same blocks, which must agree to the last bit, and
/// where there are few values under the checker. `shift` floats lie before each input and the output, so with 1 nothing is
/// a multiple of 16 bytes.
pub fn run(inputs: &[Option<&[f32]>], count: usize, shift: usize, lower: Lower<'_>) -> Vec<f32> {
    let fast = run_on(Emulator::fast(), inputs, count, shift, lower);
    let size = count + inputs.iter().flatten().map(|i| i.len()).sum::<usize>();
    if size <= CHECKED {
        let checked = run_on(Emulator::checked(), inputs, count, shift, lower);
        assert!(
            bits(&fast) == bits(&checked),
            "checked, it is another result"
        );
    }
    fast
}

/// The most values that the checker, a hundred times slower, is shown.
const CHECKED: usize = 40_000;

fn run_on(
    e: &'static Emulator,
    inputs: &[Option<&[f32]>],
    count: usize,
    shift: usize,
    lower: Lower<'_>,
) -> Vec<f32> {
    let memory: Vec<_> = (inputs.iter())
        .map(|input| {
            input.map(|input| {
                let mut all = vec![f32::NAN; shift];
                all.extend(input);
                e.upload("input", &all)
            })
        })
        .collect();
    let addresses: Vec<u64> = (memory.iter())
        .map(|m| m.as_ref().map_or(0, |m| m.element::<f32>(shift)))
        .collect();
    let out = e.allocate("output", 4 * (shift + count));
    let mut launches = Vec::new();
    lower(&mut launches, &addresses, out.element::<f32>(shift));
    assert!(!launches.is_empty());
    let mut first: Option<Vec<f32>> = None;
    let orders = [
        (Order::Ascending, false),
        (Order::Descending, true),
        (Order::Shuffled(7), false),
    ];
    // One order is enough for the checker: it doesn't depend on who comes first.
    let skipped = if e.is_checked() { 2 } else { 0 };
    for (order, together) in orders.into_iter().skip(skipped) {
        out.upload(&vec![f32::NAN; shift + count]);
        for l in &launches {
            let grid = if together { one_for_all(l) } else { l.grid };
            e.launch(l.kernel.entry, grid, l.argument.bytes(), order)
                .unwrap_or_else(|fault| panic!("{}: {fault}", l.kernel.entry));
        }
        let all: Vec<f32> = out.download();
        let got = all[shift..].to_vec();
        assert!(all[..shift].iter().all(|v| v.is_nan()), "before the output");
        let before = first.get_or_insert_with(|| got.clone());
        assert!(bits(before) == bits(&got), "{order:?} is another result");
    }
    first.unwrap_or_default()
}

/// A grid whose blocks have all images to do, one after the other, as where there are more than a grid has room for.
fn one_for_all(launch: &Launch) -> [u32; 3] {
    let [x, y, _] = launch.grid;
    match launch.kernel.entry {
        "elucid_minmax" => [1, 1, 1],
        "elucid_tokens" | "elucid_slice" | "elucid_positions" | "elucid_fuse"
        | "elucid_enlarge" => [x, 1, 1],
        _ => [x, y, 1],
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// That all are the same, zeros of either sign included.
pub fn assert_same(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let same = got == want || (got.is_nan() && want.is_nan());
        assert!(same, "{what}: {i}: {got} instead of {want}");
    }
}

/// That no difference is above 2e-6 of the largest value.
pub fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0f32, |most, v| most.max(v.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let close = (got - want).abs() <= 2e-6 * largest;
        assert!(close, "{what}: {i}: {got} instead of {want} of {largest}");
    }
}
