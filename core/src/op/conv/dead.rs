//! Cells whose z vanished: all their positively weighted inputs are 0.

use crate::graph::{Conv, PANEL};
use crate::op::LEAST_Z;
use crate::shape::Shape;
use crate::view::{Weight, Weights};

/// Cells whose z vanished, with their relevance.
pub fn dead_cells<'a>(r: &'a [f32], s: &'a [f32]) -> impl Iterator<Item = (usize, f32)> + 'a {
    r.iter()
        .zip(s)
        .enumerate()
        .filter(|&(_, (&r, &s))| s == 0.0 && r != 0.0)
        .map(|(i, (&r, _))| (i, r))
}

/// Spreads the relevance of dead cells over their receptive fields in proportion to `w+`, or evenly where no weight is
/// positive: `give` takes a pixel, a channel and what they get. Returns how much that was in all.
pub fn spread(
    c: &Conv,
    shapes: (Shape, Shape),
    (r, s): (&[f32], &[f32]),
    w: Weights<'_>,
    give: impl FnMut(usize, usize, f32),
) -> f64 {
    match w {
        Weights::F32(w) => spread_typed(c, shapes, (r, s), w, give),
        Weights::F16(w) => spread_typed(c, shapes, (r, s), w, give),
    }
}

fn spread_typed<W: Weight>(
    c: &Conv,
    (input, output): (Shape, Shape),
    (r, s): (&[f32], &[f32]),
    w: &[W],
    mut give: impl FnMut(usize, usize, f32),
) -> f64 {
    let (ci, co, taps) = (c.ci as usize, c.co as usize, c.taps());
    let (stride, pad) = (i64::from(c.stride), i64::from(c.pad));
    let mut moved = 0.0;
    for (cell, r) in dead_cells(r, s) {
        let (pixel, j) = (cell / co, cell % co);
        let (oy, ox) = (pixel / output.w as usize, pixel % output.w as usize);
        let (top, left) = (oy as i64 * stride - pad, ox as i64 * stride - pad);
        // Taps inside the input, with the pixel under each.
        let field = || {
            (0..taps).filter_map(move |tap| {
                let (y, x) = (
                    top + (tap / usize::from(c.kw)) as i64,
                    left + (tap % usize::from(c.kw)) as i64,
                );
                let inside = y >= 0 && x >= 0 && y < i64::from(input.h) && x < i64::from(input.w);
                inside.then(|| (tap, y as usize * input.w as usize + x as usize))
            })
        };
        let plus = |tap: usize, i: usize| {
            w[((j / PANEL * taps + tap) * ci + i) * PANEL + j % PANEL]
                .widen()
                .max(0.0)
        };
        let total: f32 = field()
            .map(|(tap, _)| (0..ci).map(|i| plus(tap, i)).sum::<f32>())
            .sum();
        let even = 1.0 / (field().count() * ci) as f32;
        for (tap, pixel) in field() {
            for i in 0..ci {
                let share = if total > LEAST_Z {
                    plus(tap, i) / total
                } else {
                    even
                };
                give(pixel, i, r * share);
            }
        }
        moved += f64::from(r);
    }
    moved
}
