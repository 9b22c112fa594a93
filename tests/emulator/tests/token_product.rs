//! Norms, attention and products: sums that the CPU takes in another order.

mod token_support;

use elucid::lower::token as lower;
use elucid_core::Shape;
use elucid_core::graph::Attention;
use elucid_core::op::{attention, map, norm};
use token_support::{assert_close, context, run, values};

#[test]
fn norms_are_those_of_the_cpu() {
    for (rows, c) in [
        (1, 1),
        (5, 3),
        (9, 64),
        (3, 240),
        (6, 768),
        (2, 1024),
        (3, 1028),
        (2, 1371),
    ] {
        for (shift, learned, offset) in [
            (0, true, 0.0),
            (1, true, 0.0),
            (0, false, 0.0),
            (0, true, 30.0),
        ] {
            let (weight, bias) = (values(1, c), values(2, c));
            let (weight, bias) = (learned.then_some(&*weight), learned.then_some(&*bias));
            let x: Vec<f32> = values(3, rows * c).iter().map(|v| v + offset).collect();
            let mut want = vec![f32::NAN; x.len()];
            norm::forward(&context(&[]), (c, 1e-6), &x, (weight, bias), &mut want);
            let inputs = [weight, bias, Some(&*x)];
            let got = run(&inputs, x.len(), shift, &|to, a, y| {
                lower::norm(to, (c, 1e-6), x.len(), (a[0], a[1]), a[2], y);
            });
            assert_close(&format!("{rows} {c} {shift} {offset}"), &got, &want);
        }
    }
}

/// Attention of both, in one image or several.
fn attend((n, c, heads): (usize, u32, u16), images: usize, shift: usize, size: f32) {
    let a = Attention { c, heads };
    let c = c as usize;
    let qkv: Vec<f32> = values(n as u32, images * n * 3 * c)
        .iter()
        .map(|v| v * size)
        .collect();
    let mut want = vec![f32::NAN; images * n * c];
    let mut scratch = vec![f32::NAN; attention::forward_scratch(&a, n, 1)];
    for (x, y) in qkv
        .chunks_exact(3 * n * c)
        .zip(want.chunks_exact_mut(n * c))
    {
        attention::forward(&context(&[]), &a, n, x, (y, &mut scratch));
    }
    let got = run(&[Some(&qkv)], want.len(), shift, &|to, address, y| {
        lower::attention(to, &a, n, images, address[0], y);
    });
    assert_close(&format!("{n} {c} {heads} {images} {shift}"), &got, &want);
}

#[test]
fn heads_of_every_width_attend() {
    for width in [
        1, 3, 4, 13, 16, 17, 24, 32, 33, 40, 41, 48, 63, 64, 65, 80, 128,
    ] {
        attend((37, 2 * width, 2), 1, 0, 1.0);
    }
    for width in [129, 132, 200] {
        attend((35, 2 * width, 2), 2, 0, 1.0);
    }
}

#[test]
fn any_number_of_rows_attends() {
    for n in [1, 2, 31, 32, 33, 64, 65, 96, 97, 131] {
        attend((n, 32, 2), 1, 0, 1.0);
        attend((n, 128, 2), 1, 0, 0.5);
    }
    attend((70, 128, 1), 1, 0, 1.0);
    attend((33, 128, 1), 1, 1, 1.0);
}

#[test]
fn images_attend_to_themselves_alone() {
    for (c, heads, shift) in [(48, 3, 0), (80, 2, 0), (64, 1, 1), (6, 2, 1)] {
        attend((66, c, heads), 3, shift, 1.0);
    }
}

#[test]
fn large_scores_attend() {
    // Scores of some 100: nearly everything but the largest vanishes.
    attend((70, 64, 1), 1, 0, 3.0);
    attend((70, 64, 4), 1, 0, 4.0);
}

#[test]
fn products_are_those_of_the_cpu() {
    for (q, h, w, c, images) in [
        (1, 1, 1, 1, 1),
        (5, 3, 7, 3, 2),
        (33, 13, 5, 36, 2),
        (100, 9, 15, 64, 1),
        (31, 8, 8, 257, 1),
    ] {
        for shift in [0, 1] {
            let queries = Shape::new(1, q, c);
            let (pixels, output) = (Shape::new(h, w, c), Shape::new(h, w, q));
            let query = values(1, images * queries.elements());
            let x = values(2, images * pixels.elements());
            let mut want = vec![f32::NAN; images * output.elements()];
            let zero = vec![0.0; 4096];
            let mut scratch = vec![f32::NAN; map::matmul_scratch(queries, pixels)];
            let each = query
                .chunks_exact(queries.elements())
                .zip(x.chunks_exact(pixels.elements()));
            for ((q, x), y) in each.zip(want.chunks_exact_mut(output.elements())) {
                map::matmul(
                    &context(&zero),
                    (queries, pixels),
                    (q, x),
                    (y, &mut scratch),
                );
            }
            let got = run(&[Some(&query), Some(&x)], want.len(), shift, &|to, a, y| {
                lower::matmul(to, [queries, output], images, (a[0], a[1]), y);
            });
            assert_close(&format!("{q} {h} {w} {c} {images} {shift}"), &got, &want);
        }
    }
}
