//! The emulator itself: kernels that are right pass, and each mistake that was put into one is found, at its line.

use std::fs;
use std::path::Path;

use bytemuck::{Pod, Zeroable};
use elucid_emulator::{Emulator, Fault, Kind, Order, Place, Site, numbers};
use half::f16;

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

/// Small whole numbers, whose sums are exact.
fn small(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 37 % 101) as f32).collect()
}

/// Launches a fixture with `from` numbers to read and `to` that nobody has written.
fn run(
    e: &Emulator,
    entry: &str,
    blocks: u32,
    (from, to): (usize, usize),
    (rows, columns): (u32, u32),
    order: Order,
) -> Result<Vec<f32>, Fault> {
    let from = e.upload("from", &small(from));
    let to = e.allocate("to", 4 * to);
    let p = Params {
        from: from.address(),
        to: to.address(),
        rows,
        columns,
    };
    e.launch(entry, [blocks, 1, 1], bytemuck::bytes_of(&p), order)?;
    Ok(to.download())
}

/// The line of a fixture that ends with this comment.
fn marked(file: &str, comment: &str) -> u32 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(file);
    let text = fs::read_to_string(path).expect("the fixture is there");
    let line = text
        .lines()
        .position(|l| l.ends_with(&format!("// {comment}")));
    line.expect("the fixture has such a line") as u32 + 1
}

#[test]
fn a_transpose_and_a_reduction_are_right_in_every_order() {
    for e in [Emulator::fast(), Emulator::checked()] {
        for (rows, columns) in [(1, 1), (33, 70), (64, 96)] {
            let x = small(rows * columns);
            for order in ORDERS {
                let from = e.upload("from", &x);
                let to = e.allocate("to", 4 * rows * columns);
                let sums = e.allocate("sums", 4 * rows);
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
                let grid = [rows as u32, 1, 1];
                e.launch("fixture_reduce", grid, bytemuck::bytes_of(&p), order)
                    .expect("no fault");
                let sums = sums.download::<f32>();
                let mut each = x.chunks(columns).zip(sums);
                assert!(each.all(|(row, sum)| row.iter().sum::<f32>() == sum));
            }
        }
    }
}

#[test]
fn what_is_right_is_not_reported() {
    for e in [Emulator::fast(), Emulator::checked()] {
        for order in ORDERS {
            let good = run(e, "fixture_votes", 2, (0, 64), (0, 0), order);
            if e.is_checked() {
                // Both blocks write the same.
                assert!(
                    good.expect_err("a race")
                        .findings
                        .iter()
                        .all(|f| f.kind == Kind::Race)
                );
            }
            let good = run(e, "fixture_votes", 1, (0, 64), (0, 0), order).expect("no fault");
            assert_eq!(good, [511.0; 64]);
            let y = run(e, "fixture_syncwarp", 1, (64, 64), (0, 0), order).expect("no fault");
            assert!((0..64).all(|i| y[i] == small(64)[i ^ 3]));
            let y = run(e, "fixture_table", 1, (128, 128), (0, 0), order).expect("no fault");
            assert!((0..128).all(|i| y[i] == small(128)[i] * (i % 4 + 1) as f32));
            let counter = e.upload("to", &[0u32; 32 * 3 + 1]);
            let p = Params {
                from: 0,
                to: counter.address(),
                rows: 0,
                columns: 0,
            };
            e.launch(
                "fixture_neighbours",
                [3, 1, 1],
                bytemuck::bytes_of(&p),
                order,
            )
            .expect("no fault");
            let words = counter.download::<u32>();
            assert_eq!((words[0], words[96]), (1 << 16, 3 * 64));
        }
    }
}

#[test]
fn the_fast_build_finds_what_waits_in_vain() {
    for order in ORDERS {
        finds_waits(Emulator::fast(), order);
    }
}

#[test]
fn the_checked_build_finds_what_waits_in_vain() {
    for order in ORDERS {
        finds_waits(Emulator::checked(), order);
    }
}

fn finds_waits(e: &Emulator, order: Order) {
    for (name, kinds) in [
        ("divergent", &[Kind::Divergence][..]),
        ("returned", &[Kind::Exited]),
        ("half_a_shuffle", &[Kind::Deadlock]),
        ("returned_lanes", &[Kind::Exited]),
        ("inactive_lane", &[Kind::Warp]),
        ("not_in_mask", &[Kind::Warp]),
    ] {
        let fault =
            run(e, &format!("fixture_{name}"), 1, (64, 64), (0, 40), order).expect_err("a mistake");
        let found = &fault.findings[0];
        assert!(kinds.contains(&found.kind), "{fault}");
        if name == "divergent" {
            // One of the two barriers: the other is in the text.
            assert_eq!(found.place.file, "barriers.cu");
            let line = marked("barriers.cu", "mistake: divergent");
            assert!([line, line - 3].contains(&found.place.line), "{fault}");
            continue;
        }
        assert_eq!(found.place.file, "barriers.cu", "{fault}");
        assert_eq!(
            found.place.line,
            marked("barriers.cu", &format!("mistake: {name}")),
            "{fault}"
        );
    }
    let fault = run(e, "fixture_misaligned", 1, (129, 128), (1, 0), order).expect_err("a mistake");
    assert_eq!(fault.findings[0].kind, Kind::Misaligned, "{fault}");
    // After a fault everything is as before.
    run(e, "fixture_table", 1, (128, 128), (0, 0), order).expect("no fault");
}

#[test]
fn the_checked_build_finds_accesses_that_are_wrong() {
    let e = Emulator::checked();
    for order in ORDERS {
        for (name, file, kind, blocks, columns) in [
            ("no_barrier", "races.cu", Kind::Race, 1, 0),
            ("write_after_read", "races.cu", Kind::Race, 1, 0),
            ("between_blocks", "races.cu", Kind::Race, 2, 0),
            ("neighbour_block", "races.cu", Kind::Race, 3, 0),
            ("no_syncwarp", "races.cu", Kind::Race, 1, 0),
            ("other_half", "races.cu", Kind::Race, 1, 0),
            ("read_past", "memory.cu", Kind::OutOfBounds, 5, 256),
            ("write_past", "memory.cu", Kind::OutOfBounds, 5, 256),
            ("write_past_shared", "memory.cu", Kind::OutOfBounds, 1, 0),
            ("unwritten_shared", "memory.cu", Kind::Uninitialised, 1, 0),
            ("unwritten_global", "memory.cu", Kind::Uninitialised, 4, 256),
            ("misaligned", "memory.cu", Kind::Misaligned, 1, 0),
        ] {
            let fault = run(
                e,
                &format!("fixture_{name}"),
                blocks,
                (256, 256),
                (3, columns),
                order,
            )
            .expect_err(name);
            let line = marked(file, &format!("mistake: {name}"));
            let here = |p: &Place| p.file == file && p.line == line;
            let found = fault.findings.iter().any(|f| {
                f.kind == kind && (here(&f.place) || f.earlier.iter().any(|(p, _)| here(p)))
            });
            assert!(found, "{order:?} {fault}");
        }
    }
}

/// The site at a marked line of `costs.cu`.
fn site(all: &[Site], comment: &str, shared: bool) -> Site {
    let line = marked("costs.cu", &format!("dear: {comment}"));
    let at = |s: &&Site| s.place.file == "costs.cu" && s.place.line == line && s.shared == shared;
    all.iter().find(at).expect("a site").clone()
}

#[test]
fn what_accesses_cost_is_counted() {
    let e = Emulator::checked();
    run(e, "fixture_banks", 1, (32, 32), (0, 0), Order::Shuffled(3)).expect("no fault");
    run(
        e,
        "fixture_strided",
        1,
        (256, 32),
        (0, 0),
        Order::Descending,
    )
    .expect("no fault");
    run(e, "fixture_wide", 1, (128, 128), (0, 0), Order::Ascending).expect("no fault");
    let all = e.report();
    let banks = site(&all, "banks", true);
    assert_eq!(
        (banks.wavefronts, banks.ideal_wavefronts, banks.store),
        (8, 1, true)
    );
    assert_eq!((banks.requests, banks.lanes, banks.bytes), (1, 32, 128));
    // Four lanes ask for the same word, and all eight words are of one bank.
    let broadcast = site(&all, "broadcast", true);
    assert_eq!((broadcast.wavefronts, broadcast.ideal_wavefronts), (8, 1));
    let strided = site(&all, "strided", false);
    assert_eq!(
        all.iter().filter(|s| s.place == strided.place).count(),
        2,
        "a load and a store"
    );
    let loads = all
        .iter()
        .find(|s| s.place == strided.place && !s.store)
        .expect("a load");
    assert_eq!((loads.sectors, loads.ideal_sectors), (32, 4));
    let wide = site(&all, "wide", true);
    assert_eq!(
        (wide.wavefronts, wide.ideal_wavefronts, wide.bytes),
        (4, 4, 512)
    );
    let wide = site(&all, "wide", false);
    assert_eq!(
        (wide.requests, wide.sectors, wide.ideal_sectors),
        (1, 16, 16)
    );
    // In each turn eight lanes ask for sixteen bytes, and each two of four start in the same bank.
    let conflict = site(&all, "wide_conflict", true);
    assert_eq!((conflict.requests, conflict.wavefronts), (1, 16));
}

#[test]
fn tensor_cores_multiply_and_add() {
    let a: Vec<f16> = (0..256)
        .map(|i| f16::from_f32((i * 7 % 23) as f32 - 11.0))
        .collect();
    let b: Vec<f16> = (0..128)
        .map(|i| f16::from_f32((i * 5 % 19) as f32 * 0.25 - 2.0))
        .collect();
    let halves: Vec<u16> = a.iter().chain(&b).map(|h| h.to_bits()).collect();
    for e in [Emulator::fast(), Emulator::checked()] {
        for order in ORDERS {
            let (from, to) = (e.upload("from", &halves), e.allocate("to", 4 * 128));
            let p = Params {
                from: from.address(),
                to: to.address(),
                rows: 0,
                columns: 0,
            };
            e.launch("fixture_tensor", [1, 1, 1], bytemuck::bytes_of(&p), order)
                .expect("no fault");
            let d = to.download::<f32>();
            for (row, column) in (0..16).flat_map(|r| (0..8).map(move |c| (r, c))) {
                let products =
                    (0..16).map(|k| a[row * 16 + k].to_f32() * b[column * 16 + k].to_f32());
                assert_eq!(
                    d[row * 8 + column],
                    1.0 + products.sum::<f32>(),
                    "{row} {column}"
                );
            }
        }
    }
}

#[test]
fn launches_that_cannot_be_are_refused() {
    let e = Emulator::fast();
    let bytes = [0u8; 24];
    for (entry, grid, argument) in [
        ("fixture_missing", [1, 1, 1], &bytes[..]),
        ("fixture_votes", [0, 1, 1], &bytes),
        ("fixture_votes", [1, 65536, 1], &bytes),
        ("fixture_votes", [1, 1, 1], &bytes[1..]),
    ] {
        let fault = e
            .launch(entry, grid, argument, Order::Ascending)
            .expect_err("no launch");
        assert!(fault.has(Kind::Launch), "{fault}");
    }
}

#[test]
fn halves_are_floats_and_floats_are_halves() {
    let mut x = numbers(3, 2000);
    // Ties, subnormals, the greatest, what is too great.
    x.extend((0..2000).map(|i| f16::from_bits(i * 16).to_f32() * (1.0 + 1.0 / 4096.0)));
    x.extend((0..2000).map(|i| f16::from_bits(i).to_f32() * (1.0 + 1.0 / 2048.0)));
    x.extend([
        65504.0,
        65519.99,
        65520.0,
        1e9,
        f32::INFINITY,
        -65520.0,
        6e-8,
        2.9e-8,
        3e-8,
        1e-40,
    ]);
    x.retain(|v| !v.is_nan());
    let y = {
        let e = Emulator::fast();
        let (from, to) = (
            e.upload("from", &x),
            e.allocate("to", 4 * (65536 + x.len())),
        );
        let p = Params {
            from: from.address(),
            to: to.address(),
            rows: 0,
            columns: x.len() as u32,
        };
        e.launch(
            "fixture_halves",
            [256, 1, 1],
            bytemuck::bytes_of(&p),
            Order::Ascending,
        )
        .expect("no fault");
        to.download::<f32>()
    };
    for bits in 0..=u16::MAX {
        let (got, want) = (y[usize::from(bits)], f16::from_bits(bits).to_f32());
        assert!(
            got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
            "{bits:#x}"
        );
    }
    for (v, half) in x.iter().zip(&y[65536..]) {
        assert_eq!(f32::from(f16::from_f32(*v).to_bits()), *half, "{v:e}");
    }
}

#[test]
fn several_threads_launch_at_once() {
    for e in [Emulator::fast(), Emulator::checked()] {
        std::thread::scope(|scope| {
            for seed in 0..4 {
                scope.spawn(move || {
                    for round in 0..20 {
                        let order = Order::Shuffled(seed * 100 + round);
                        let y = run(e, "fixture_syncwarp", 1, (64, 64), (0, 0), order);
                        let y = y.expect("no fault");
                        assert!((0..64).all(|i| y[i] == small(64)[i ^ 3]));
                        run(e, "fixture_divergent", 1, (64, 64), (0, 0), order)
                            .expect_err("a fault");
                    }
                });
            }
        });
    }
}
