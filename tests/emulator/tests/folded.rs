//! What terms of rules over folded weights take, bit for bit, in every order of threads and under the checker.

use elucid_emulator::{Emulator, Memory, Order};
use elucid_kernels::conv as kernels;
use elucid_kernels::params::{FoldedDivideParams, Of, Part, TermInputsParams, TermWeightsParams};
use elucid_kernels::{Kernel, params::Address};
use half::f16;

const GAMMA: f32 = 0.3;
const SIGN: f32 = -0.7;
const CONSTANT: [f32; 3] = [-1.5, 0.25, 2.0];

/// Numbers between -1 and 1, zeros among them, the same for the same seed.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(99);
    let one = |i| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let v = (state >> 8) as f32 / 8_388_608.0 - 1.0;
        if i % 7 == 3 { 0.0 } else { v }
    };
    (0..count).map(one).collect()
}

/// Runs a kernel over so many threads on both emulators, in two orders, and compares what it writes.
fn check<P: bytemuck::Pod>(
    kernel: &Kernel,
    threads: usize,
    inputs: &[Option<&[f32]>],
    want: &[f32],
    params: impl Fn(&[Address], Address) -> P,
) {
    for e in [Emulator::fast(), Emulator::checked()] {
        let memory: Vec<Option<Memory<'_>>> = (inputs.iter())
            .map(|input| input.map(|values| e.upload("input", values)))
            .collect();
        let at: Vec<Address> = (memory.iter())
            .map(|m| m.as_ref().map_or(0, Memory::address))
            .collect();
        for order in [Order::Ascending, Order::Shuffled(3)] {
            let out = e.allocate("output", size_of_val(want));
            let params = params(&at, out.address());
            let grid = [(threads as u32).div_ceil(kernel.block), 1, 1];
            e.launch(kernel.entry, grid, bytemuck::bytes_of(&params), order)
                .unwrap_or_else(|fault| panic!("{fault}"));
            let got: Vec<u32> = out.download();
            let want: Vec<u32> = want.iter().map(|w| w.to_bits()).collect();
            assert_eq!(got, want, "{}", kernel.entry);
        }
    }
}

const PARTS: [Part; 7] = [
    Part::All,
    Part::Positive,
    Part::Negative,
    Part::MorePositive,
    Part::MoreNegative,
    Part::One,
    Part::Square,
];

/// As `Part::of` in core/src/op/conv/folded.
fn part_of(part: Part, v: f32) -> f32 {
    let (plus, minus) = (if v > 0.0 { v } else { 0.0 }, if v < 0.0 { v } else { 0.0 });
    match part {
        Part::All => v,
        Part::Positive => plus,
        Part::Negative => minus,
        Part::MorePositive => v + GAMMA * plus,
        Part::MoreNegative => v + GAMMA * minus,
        Part::One => 1.0,
        Part::Square => v * v,
    }
}

#[test]
fn terms_take_their_part_of_weights() {
    // 20 output channels in two panels, and six rows of each.
    let (co, rows, panels) = (20usize, 6usize, 2usize);
    let stored: Vec<f16> = (numbers(1, panels * rows * 16).into_iter())
        .map(f16::from_f32)
        .collect();
    let wide: Vec<f32> = stored.iter().map(|w| w.to_f32()).collect();
    // Two halves in a float: only the bits are passed on.
    let packed: Vec<f32> = (stored.chunks_exact(2))
        .map(|two| f32::from_bits(u32::from(two[0].to_bits()) | u32::from(two[1].to_bits()) << 16))
        .collect();
    let scale = numbers(2, co);
    for part in PARTS {
        for scale in [None, Some(&scale[..])] {
            let one = |(e, w): (usize, &f32)| {
                let j = e / (rows * 16) * 16 + e % 16;
                let factor = scale.map_or(1.0, |s| s.get(j).copied().unwrap_or(0.0));
                SIGN * part_of(part, w * factor)
            };
            let want: Vec<f32> = wide.iter().enumerate().map(one).collect();
            let each = [
                (kernels::TERM_WEIGHTS.f32, &wide),
                (kernels::TERM_WEIGHTS.f16, &packed),
            ];
            for (kernel, weights) in each {
                check(
                    kernel,
                    want.len(),
                    &[Some(weights), scale],
                    &want,
                    |at, to| TermWeightsParams {
                        weight: at[0],
                        scale: at[1],
                        to,
                        count: want.len() as u32,
                        rows: rows as u32,
                        co: co as u32,
                        part: part as u32,
                        gamma: GAMMA,
                        sign: SIGN,
                    },
                );
            }
        }
    }
}

#[test]
fn terms_take_their_part_of_inputs_and_bias() {
    for (count, ci, co) in [(7 * 3, 3usize, 5usize), (300, 6, 20), (4, 4, 70)] {
        let (a, shift) = (numbers(3, count), numbers(4, co));
        for of in [Of::All, Of::Positive, Of::Negative, Of::Ones, Of::Constant] {
            let one = |(e, &v): (usize, &f32)| match of {
                Of::All => v,
                Of::Positive => part_of(Part::Positive, v),
                Of::Negative => part_of(Part::Negative, v),
                Of::Ones => 1.0,
                Of::Constant => CONSTANT[e % ci % 3],
            };
            let inputs: Vec<f32> = a.iter().enumerate().map(one).collect();
            let params = |at: &[Address], x, bias| TermInputsParams {
                a: at[0],
                shift: at[1],
                x,
                bias,
                count: count as u32,
                channels: ci as u32,
                co: co as u32,
                of: of as u32,
                part: Part::MorePositive as u32,
                gamma: GAMMA,
                sign: SIGN,
                constant: CONSTANT,
            };
            let threads = count.max(co);
            let kernel = kernels::TERM_INPUTS;
            check(kernel, threads, &[Some(&a), None], &inputs, |at, to| {
                params(at, to, 0)
            });
            for shift in [None, Some(&shift[..])] {
                let bias: Vec<f32> = (0..co)
                    .map(|j| shift.map_or(0.0, |s| SIGN * part_of(Part::MorePositive, s[j])))
                    .collect();
                let aside = vec![0.0; count];
                check(
                    kernel,
                    threads,
                    &[Some(&a), shift, Some(&aside)],
                    &bias,
                    |at, to| params(at, at[2], to),
                );
            }
        }
    }
}

#[test]
fn cells_that_pass_are_divided() {
    for count in [1, 300] {
        let [r, z, whole] = [5, 6, 7].map(|seed| numbers(seed, count));
        for (eps, sign, seen) in [(1e-3, 1.0, false), (0.0, 1.0, true), (1e-6, -1.0, true)] {
            let whole = seen.then_some(&whole[..]);
            let one = |e: usize| {
                let passes = whole.is_none_or(|w| w[e] * sign > 0.0);
                let z = z[e] + if z[e] < 0.0 { -eps } else { eps };
                if passes && z != 0.0 {
                    GAMMA * r[e] / z
                } else {
                    0.0
                }
            };
            let want: Vec<f32> = (0..count).map(one).collect();
            let inputs = [Some(&r[..]), Some(&z[..]), whole];
            check(kernels::FOLDED_DIVIDE, count, &inputs, &want, |at, s| {
                FoldedDivideParams {
                    r: at[0],
                    z: at[1],
                    whole: at[2],
                    s,
                    count: count as u32,
                    eps,
                    factor: GAMMA,
                    sign,
                }
            });
        }
    }
}
