//! The emulator itself: kernels that are right pass, and each mistake that was put into one is found, at its line.

use bytemuck::{Pod, Zeroable};
use elucid_emulator::{Emulator, Order};

/// `fixtures/fixture.h`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    from: u64,
    to: u64,
    rows: u32,
    columns: u32,
}

const ORDERS: [Order; 4] = [
    Order::Ascending,
    Order::Descending,
    Order::Shuffled(1),
    Order::Shuffled(2),
];

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 37 % 101) as f32).collect()
}

#[test]
fn a_transpose_and_a_reduction_are_right_in_every_order() {
    for e in [Emulator::fast(), Emulator::checked()] {
        for (rows, columns) in [(1, 1), (33, 70), (64, 96)] {
            let x = numbers(rows * columns);
            for order in ORDERS {
                let from = e.upload("from", &x);
                let (to, sums) = (
                    e.allocate("to", 4 * rows * columns),
                    e.allocate("sums", 4 * rows),
                );
                let mut p = Params {
                    from: from.address(),
                    to: to.address(),
                    rows: rows as u32,
                    columns: columns as u32,
                };
                let grid = [columns.div_ceil(32) as u32, rows.div_ceil(32) as u32, 1];
                e.launch("fixture_transpose", grid, bytemuck::bytes_of(&p), order)
                    .expect("no fault");
                let y = to.download::<f32>();
                assert!((0..x.len()).all(|i| x[i] == y[i % columns * rows + i / columns]));
                p.to = sums.address();
                e.launch(
                    "fixture_reduce",
                    [rows as u32, 1, 1],
                    bytemuck::bytes_of(&p),
                    order,
                )
                .expect("no fault");
                let sums = sums.download::<f32>();
                assert!(
                    x.chunks(columns)
                        .zip(sums)
                        .all(|(row, sum)| row.iter().sum::<f32>() == sum)
                );
            }
        }
        for site in Emulator::checked().report() {
            println!("{site}");
        }
    }
}
